/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the command-line rewriter share; nobody else includes this. */
#ifndef VMFT_REWRITE_H
#define VMFT_REWRITE_H

#include "cmdline.h"
#include "optset.h"
#include "report.h"
#include "scan.h"

/*
 * Why something is refused. Most reasons hold for every strategy. A reason that names what lockstep
 * relies on (the log) has another wording for checkpoint.
 */
struct vmft_reason {
	const char *text;
	const char *checkpoint; /* NULL: text holds for checkpoint as well */
	bool checkpoint_can;	/* strategy checkpoint does not refuse it */
};

#define VMFT_REASON(why)                                                                           \
	{                                                                                          \
		.text = (why)                                                                      \
	}
#define VMFT_REASONS(lockstep, checkpoints)                                                        \
	{                                                                                          \
		.text = (lockstep), .checkpoint = (checkpoints)                                    \
	}

#define VMFT_NODE_PREFIX "vmft-" /* of block nodes that are not the user's */

#define VMFT_RAM_ID "vmft.ram" /* of the guest's memory, which is vmft's object */

/* Reasons that stand in more than one place. */
#define VMFT_NOT_REPLAY_SAFE "not known to be replay-safe"
#define VMFT_NOT_KNOWN	     "not known to work with vmft"
#define VMFT_OUTSIDE                                                                               \
	VMFT_REASONS(                                                                              \
	    "operations that come from outside are not in the log and make the backup diverge",    \
	    "operations that come from outside would change the guest behind vmft's back")
#define VMFT_MONITOR                                                                               \
	VMFT_REASONS("a monitor's commands are not in the log",                                    \
		     "a monitor's commands would change the guest behind vmft's back")
#define VMFT_ONE_QUEUE                                                                             \
	VMFT_REASONS("more than one queue is not recorded in one order",                           \
		     "vmft holds back the output of one queue only")
#define VMFT_NO_USB                                                                                \
	VMFT_REASONS("no USB controller is on the list of replay-safe devices",                    \
		     "no USB controller is on the list of known devices")
#define VMFT_NO_CD                                                                                 \
	VMFT_REASONS("no CD drive is on the list of replay-safe devices",                          \
		     "no CD drive is on the list of known devices")

struct vmft_rewrite;
struct vmft_arg;

/* Checks one option of the line and notes what later steps need of it. */
typedef int vmft_option_fn(struct vmft_rewrite *rw, struct vmft_arg *arg);

struct vmft_option {
	const char *name;
	bool has_arg;
	bool once;
	vmft_option_fn *check;	   /* NULL: kept as it is, the guest cannot see it */
	const char *implied_key;   /* of the argument's first value */
	struct vmft_reason reason; /* of a refusal, or of letting it through */
};

/* One option of the line. */
struct vmft_arg {
	const struct vmft_option *option;
	const char *text;	 /* its argument as given, NULL when it takes none */
	struct vmft_optset *set; /* the same parsed, when the option's check needs it so */
	const char *emit;	 /* option name to write instead, NULL for its own */
	bool drop;
};

/* A disk image or a layer of one, from -drive or -blockdev. */
struct vmft_node {
	struct vmft_arg *arg;
	const char *name; /* node-name, or id of a -drive */
	bool drive;
	bool auto_device; /* if=virtio: the -device is ours to write */
	bool board;	  /* QEMU's board makes the device of it: if=ide, if=pflash */
	bool used;
	bool refused; /* is in the list so that its device is not refused for the lack of it */
};

struct vmft_netdev {
	struct vmft_arg *arg;
	const char *id;
	int fd;			     /* that was handed over; -1: QEMU makes the tap */
	struct vmft_arg *device;     /* NULL until one uses it */
	const char *bridge, *helper; /* of -netdev bridge; NULL: the tap is there already */
	/* ":25:26" and "30:31", of a tap with several queues: to be closed; or NULL */
	const char *spare_fds, *spare_vhost_fds;
	bool refused; /* as in struct vmft_node */
};

/* A memory-backend object of the line. */
struct vmft_memory {
	struct vmft_arg *arg;
	const char *id;
	const char *name; /* of vmft's object that takes its place; NULL: nothing uses it */
	uint64_t bytes;
};

#define VMFT_MEMORIES_MAX 16u

struct vmft_rules;

struct vmft_rewrite {
	const struct vmft_rewrite_options *opt;
	const struct vmft_rules *rules; /* of the strategy, and of the board */
	struct vmft_report *report;
	struct vmft_arena *arena;
	struct vmft_scan scan;
	struct vmft_cmdline out;

	/* Arrays below have room for every option of the line. */
	struct vmft_arg *args;
	size_t arg_count;
	struct vmft_arg **devices;
	size_t device_count;
	struct vmft_node *nodes;
	size_t node_count;
	struct vmft_netdev *netdevs;
	size_t netdev_count;
	char **added; /* options and arguments to append, in order */
	size_t added_count;

	const char **facts; /* lines of the machine text, sorted */
	size_t fact_count;
	const char **ordered; /* lines whose order the guest can see */
	size_t ordered_count;
	size_t serial_count;
	const char *topology; /* the machine text's line for -smp; NULL while there is none */
	struct vmft_arg *legacy_card, *legacy_tap; /* -net nic and -net tap; or NULL */
	struct vmft_arg *machine;		   /* NULL while there is none */
	struct vmft_memory memories[VMFT_MEMORIES_MAX];
	size_t memory_count;
	const char *mem_path; /* of -mem-path; or NULL */
	bool mem_prealloc;
	bool numa_memory; /* -numa names the memory, so -machine may not */
	bool no_sound;	  /* an -audiodev of vmft's is added */
	bool no_defaults; /* -nodefaults is there, or all that it leaves out is */
	/* A -drive, -blockdev or -netdev was refused before its name was known: a device that
	 * names it is not refused as well. */
	bool nodes_lost, netdevs_lost;
};

/* What one key of an option may hold. */
struct vmft_key_rule {
	const char *key;
	const char *values;	   /* "a|b", or NULL for any */
	struct vmft_reason reason; /* why not other values; no text: not known to work */
	bool hidden;		   /* the guest cannot see it: left out of the machine text */
};

/* As a key of a rule, the last one: any key that no other rule has, but for QEMU's own "x-...". */
#define VMFT_ANY_KEY "*"

/* A model of device that a guest may have. */
struct vmft_model {
	const char *name;
	const char *alias; /* or NULL */
	const struct vmft_key_rule *rules;
	/* The device gets its disk, tap or port, and its line of the machine text. */
	int (*attach)(struct vmft_rewrite *rw, struct vmft_arg *arg,
		      const struct vmft_model *model);
	const char *reason; /* why it may be protected */
	/*
	 * Has an ioeventfd, which is to be off: what the guest asked for must be with the
	 * device, and with its state, not in a descriptor. Recording, QEMU sees to it itself.
	 */
	bool ioeventfd;
};

/* Models that no strategy can protect. */
struct vmft_refused_model {
	const char *names; /* "a|b"; NULL ends the list */
	const char *why, *todo;
};

/* NULL: the model is not in the list. */
const struct vmft_refused_model *vmft_refused_model_find(const char *name);

/*
 * What a strategy lets through on a board, and what it makes of it. One of these is chosen for a
 * command line before its options are checked (vmft_rules_choose()); nothing else in this folder
 * asks which strategy it is. Functions may be NULL where it says so: nothing is done then.
 */
struct vmft_rules {
	/* The words of a reason that are true of this strategy. */
	const char *(*words)(const struct vmft_reason *reason);
	/* "-OPTION ARGUMENT is ..." of what is on no list. */
	struct vmft_reason unknown;

	/* The board: board.c */
	const char *boards;	     /* "a|b", besides the versions of pc and q35 */
	const char *use_board;	     /* what to write instead of another board */
	const char *microvm_instead; /* added to that if the line asks for microvm; or "" */
	const struct vmft_key_rule *machine;
	/* Options that this strategy treats in another way than options.c does; or NULL. Ends with
	 * a row without a name. */
	const struct vmft_option *options;
	/* The line has no -nodefaults. */
	void (*default_devices)(struct vmft_rewrite *rw);
	/* Of -machine and -accel: whether the keys for the accelerator fit; or NULL. */
	int (*check_accelerator)(struct vmft_rewrite *rw, const struct vmft_arg *arg);
	const struct vmft_reason *no_host_cpu; /* why not -cpu host; NULL: KVM guests may have it */
	const char *const *globals;	       /* beginnings of -global, besides those of all */
	bool one_memory;		       /* the guest's RAM may not be in several objects */
	const char *own_global;		       /* a -global that vmft adds itself; or NULL */
	bool tells_accelerator;		       /* in the machine text, also if it is added */
	void (*finish)(struct vmft_rewrite *rw); /* vmft's own options */

	/* Options that are looked at in another way. */
	vmft_option_fn *accel, *enable_kvm, *smp, *bios, *action;

	/* Devices: devices.c */
	const struct vmft_model *models;
	const char *use_device;		      /* what to write instead of another device */
	const struct vmft_key_rule *host_rng; /* keys of rng-random; NULL: becomes rng-builtin */

	/* Disks: disks.c */
	const char *interfaces;	  /* "a|b": what if= of a -drive may be */
	const char *interface;	  /* of a -drive without if=; NULL: it is refused */
	const char *disk_model;	  /* of if=virtio */
	const char *disk_options; /* added to it; or "" */
	size_t node_name_max;	  /* bytes of a name that the line gives to a drive or node */
	/* An image is to be opened; or NULL. */
	void (*open_image)(struct vmft_arg *arg, bool drive);
	/* Puts a node of vmft's own on top of an image, and changes disk->node to it; or NULL. */
	void (*add_node)(struct vmft_rewrite *rw, const struct vmft_node *node,
			 struct vmft_disk *disk);

	/* Network cards: nics.c */
	const char *nic_model;
	void (*set_nic)(struct vmft_arg *device); /* or NULL */
	bool one_of_queues;			  /* a tap with several queues gets one */
	/* Puts filters of vmft's own between a card and its tap; or NULL. */
	void (*add_filters)(struct vmft_rewrite *rw, const struct vmft_netdev *netdev, size_t nic);
};

/* A constant. */
const struct vmft_rules *vmft_rules_choose(enum vmft_strategy_kind strategy, bool microvm);
extern const struct vmft_rules vmft_lockstep_rules;	   /* rules-lockstep.c */
extern const struct vmft_rules vmft_checkpoint_rules[2];   /* rules-checkpoint.c; [1]: microvm */
extern const struct vmft_option vmft_checkpoint_options[]; /* options-checkpoint.c */
extern const struct vmft_option vmft_lockstep_options[];
/* Refuses sockets of lockstep that are no QMP monitor's. */
void vmft_lockstep_sockets(struct vmft_rewrite *rw);
extern const struct vmft_model vmft_checkpoint_models[];	 /* models-checkpoint.c */
extern const struct vmft_model vmft_checkpoint_microvm_models[]; /* the same */
void vmft_checkpoint_defaults(struct vmft_rewrite *rw);		 /* options-checkpoint.c */

/* The words of rules->unknown. */
const char *vmft_unknown(const struct vmft_rewrite *rw);

/*
 * Adds a refusal to the report and returns -EINVAL; why is one line, todo is what the user should
 * do about it. The caller goes on with what does not depend on the refused part.
 */
int vmft_refuse(struct vmft_rewrite *rw, const struct vmft_arg *arg, const char *why,
		const char *todo);
/* The same in the words of the strategy, with the other strategy as a way out if it is one. */
int vmft_refuse_for(struct vmft_rewrite *rw, const struct vmft_arg *arg,
		    const struct vmft_reason *why, const char *todo);

/* Every key of arg must have a rule and a value the rule lets through. Adds a refusal for each
 * that has not. */
int vmft_check_keys(struct vmft_rewrite *rw, const struct vmft_arg *arg,
		    const struct vmft_key_rule *rules);

const struct vmft_key_rule *vmft_rule_find(const struct vmft_key_rule *rules, const char *key);

/* True if value is one of "a|b|c". */
bool vmft_value_in(const char *value, const char *values);

/* True if the key is there and on. */
bool vmft_is_on(const struct vmft_arg *arg, const char *key);

const char *vmft_get(const struct vmft_arg *arg, const char *key);

/* The line has no -nodefaults, and QEMU's default devices cannot be had. */
void vmft_refuse_defaults(struct vmft_rewrite *rw, const char *why);

/* Tells the user that QEMU is given something else than arg says; text says what, and why nothing
 * is lost by it. */
void vmft_replaced(struct vmft_rewrite *rw, const struct vmft_arg *arg, const char *text);

/* "-option argument" is appended to the line; the strings live in the arena. */
void vmft_add(struct vmft_rewrite *rw, const char *option, const char *argument);

/* Lines of the machine text; values are escaped. */
void vmft_fact(struct vmft_rewrite *rw, const char *what, const char *value);
void vmft_fact_ordered(struct vmft_rewrite *rw, const char *line);
/* "what key=value ..." of the visible keys of arg, sorted by key. */
const char *vmft_fact_keys(struct vmft_rewrite *rw, const char *what, const struct vmft_arg *arg,
			   const struct vmft_key_rule *rules);
const char *vmft_machine_text(struct vmft_rewrite *rw);

/* The table of options; NULL for a name that is not in it. The strategy may have another row. */
const struct vmft_option *vmft_option_find(const char *name);

/* "-name" and "--name" are the same to QEMU; NULL for what is no option. */
const char *vmft_option_name(const char *arg);

vmft_option_fn vmft_check_refused, vmft_check_unknown;
vmft_option_fn vmft_check_kept;	   /* the guest cannot see it */
vmft_option_fn vmft_check_visible; /* the guest sees it as it is written */
vmft_option_fn vmft_check_dropped; /* option->reason says in the report why nothing is lost */
vmft_option_fn vmft_check_machine, vmft_check_memory, vmft_check_cpu, vmft_check_global;
vmft_option_fn vmft_check_file, vmft_check_audiodev;
/* A file whose contents the guest sees; what is its name in the machine text. */
int vmft_check_contents(struct vmft_rewrite *rw, const char *what, const char *path);
vmft_option_fn vmft_check_mem_path, vmft_check_mem_prealloc, vmft_check_numa;
vmft_option_fn vmft_check_drive, vmft_check_blockdev, vmft_check_netdev, vmft_check_nic,
    vmft_check_net;
vmft_option_fn vmft_check_device, vmft_check_object, vmft_check_serial, vmft_check_chardev;

/* -m, of which the keys must pass the rules. */
int vmft_check_memory_size(struct vmft_rewrite *rw, struct vmft_arg *arg,
			   const struct vmft_key_rule *rules);

/* True if the option is on the line so far. */
bool vmft_given(const struct vmft_rewrite *rw, const char *option);

/* An -object of type memory-backend-*: memory.c */
int vmft_check_backend(struct vmft_rewrite *rw, struct vmft_arg *arg);
/* Adds vmft's memory in the place of all that the line has. */
void vmft_memory_finish(struct vmft_rewrite *rw);
/* Bytes of "512", "2G", ... in whole MiB, a number without unit in units of 1 << shift bytes; 0 if
 * it is no size. */
uint64_t vmft_size_parse(const char *text, unsigned shift);

/* "tcg" or "kvm". */
const char *vmft_accelerator(const struct vmft_rewrite *rw);

/* For struct vmft_model. */
int vmft_attach_disk(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct vmft_model *model);
int vmft_attach_nic(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct vmft_model *model);
/* A card of another kind than virtio. */
int vmft_attach_other_nic(struct vmft_rewrite *rw, struct vmft_arg *arg,
			  const struct vmft_model *model);
int vmft_attach_rng(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct vmft_model *model);
int vmft_attach_serial(struct vmft_rewrite *rw, struct vmft_arg *arg,
		       const struct vmft_model *model);
/* A device that has nothing of the host but, perhaps, a character device. */
int vmft_attach_plain(struct vmft_rewrite *rw, struct vmft_arg *arg,
		      const struct vmft_model *model);
/* A drive that may be empty. */
int vmft_attach_removable(struct vmft_rewrite *rw, struct vmft_arg *arg,
			  const struct vmft_model *model);

/*
 * Steps after all options are checked; the order of the calls is the order of the guest's bus. Each
 * of them goes on after a refusal, and is called also if an option was refused.
 */
void vmft_board_finish(struct vmft_rewrite *rw);
void vmft_devices_finish(struct vmft_rewrite *rw);
void vmft_consoles_finish(struct vmft_rewrite *rw);
int vmft_disk_attach(struct vmft_rewrite *rw, struct vmft_arg *device, size_t *ret_disk);
/* True if the drive that the device names has no medium. */
bool vmft_disk_is_empty(struct vmft_rewrite *rw, const struct vmft_arg *device);
/* The machine text's line for a disk; device is what its -device says. */
void vmft_disk_fact(struct vmft_rewrite *rw, const char *device, size_t index);
void vmft_drives_finish(struct vmft_rewrite *rw);
int vmft_nic_attach(struct vmft_rewrite *rw, struct vmft_arg *device, bool virtio, size_t *ret_nic);
void vmft_legacy_nics_finish(struct vmft_rewrite *rw); /* legacy-nics.c */
void vmft_nics_finish(struct vmft_rewrite *rw);
/* Makes the taps on bridges. Only for a line that is accepted: it changes the host's network. */
void vmft_nics_make(struct vmft_rewrite *rw);

#endif
