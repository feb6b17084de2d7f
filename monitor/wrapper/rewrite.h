/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the command-line rewriter share; nobody else includes this. */
#ifndef VMFT_REWRITE_H
#define VMFT_REWRITE_H

#include "cmdline.h"
#include "optset.h"
#include "scan.h"

/* Reasons that stand in more than one place, in the words of lockstep. */
#define VMFT_UNKNOWN "not known to be replay-safe"
#define VMFT_UNLOGGED                                                                              \
	"operations that come from outside are not in the log and make the backup diverge"
#define VMFT_NO_KVM    "KVM guests cannot be replayed; lockstep needs TCG"
#define VMFT_ONE_CPU   "QEMU records one processor only"
#define VMFT_ONE_QUEUE "more than one queue is not recorded in one order"

struct vmft_rewrite;
struct vmft_arg;

/* Checks one option of the line and notes what later steps need of it. */
typedef int vmft_option_fn(struct vmft_rewrite *rw, struct vmft_arg *arg);

struct vmft_option {
	const char *name;
	bool has_arg;
	bool once;
	vmft_option_fn *check;	 /* NULL: kept as it is, the guest cannot see it */
	const char *implied_key; /* of the argument's first value */
	const char *reason;	 /* of a refusal, or of letting it through */
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
	bool used;
};

struct vmft_netdev {
	struct vmft_arg *arg;
	const char *id;
	int fd;			 /* that was handed over; -1: QEMU makes the tap */
	struct vmft_arg *device; /* NULL until one uses it */
};

struct vmft_rewrite {
	const struct vmft_rewrite_options *opt;
	struct vmft_error *err;
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
};

/* What one key of an option may hold. */
struct vmft_key_rule {
	const char *key;
	const char *values; /* "a|b", or NULL for any */
	const char *reason; /* why not other values; NULL: not known to be replay-safe */
	bool hidden;	    /* the guest cannot see it: left out of the machine text */
};

bool vmft_is_checkpoint(const struct vmft_rewrite *rw);

/*
 * A reason as it is true for the strategy in use. Tables and callers give those of lockstep;
 * rewrite.c has what they come to for checkpoint.
 */
const char *vmft_reworded(const struct vmft_rewrite *rw, const char *why);

/* Refusals are -EINVAL; why is reworded, todo is what the user should do about it. */
int vmft_refuse(struct vmft_rewrite *rw, const struct vmft_arg *arg, const char *why,
		const char *todo);

/* Every key of arg must have a rule and a value the rule lets through. */
int vmft_check_keys(struct vmft_rewrite *rw, const struct vmft_arg *arg,
		    const struct vmft_key_rule *rules);

const struct vmft_key_rule *vmft_rule_find(const struct vmft_key_rule *rules, const char *key);

/* True if value is one of "a|b|c". */
bool vmft_value_in(const char *value, const char *values);

/* True if the key is there and on. */
bool vmft_is_on(const struct vmft_arg *arg, const char *key);

const char *vmft_get(const struct vmft_arg *arg, const char *key);

/* "-option argument" is appended to the line; the strings live in the arena. */
void vmft_add(struct vmft_rewrite *rw, const char *option, const char *argument);

/* Lines of the machine text; values are escaped. */
void vmft_fact(struct vmft_rewrite *rw, const char *what, const char *value);
void vmft_fact_ordered(struct vmft_rewrite *rw, const char *line);
/* "what key=value ..." of the visible keys of arg, sorted by key. */
const char *vmft_fact_keys(struct vmft_rewrite *rw, const char *what, const struct vmft_arg *arg,
			   const struct vmft_key_rule *rules);
const char *vmft_machine_text(struct vmft_rewrite *rw);

/* The table of options; NULL for a name that is not in it. */
const struct vmft_option *vmft_option_find(const char *name);

/* "-name" and "--name" are the same to QEMU; NULL for what is no option. */
const char *vmft_option_name(const char *arg);

vmft_option_fn vmft_check_refused, vmft_check_unknown;
vmft_option_fn vmft_check_accel, vmft_check_enable_kvm, vmft_check_machine, vmft_check_memory,
    vmft_check_smp, vmft_check_cpu, vmft_check_global;
vmft_option_fn vmft_check_drive, vmft_check_blockdev, vmft_check_netdev, vmft_check_nic_option;
vmft_option_fn vmft_check_device, vmft_check_object, vmft_check_serial, vmft_check_chardev;

/* Steps after all options are checked; the order of the calls is the order of the guest's bus. */
int vmft_board_finish(struct vmft_rewrite *rw);
int vmft_devices_finish(struct vmft_rewrite *rw);
int vmft_consoles_finish(struct vmft_rewrite *rw);
int vmft_disk_attach(struct vmft_rewrite *rw, struct vmft_arg *device, size_t *ret_disk);
/* The machine text's line for a disk; device is what its -device says. */
void vmft_disk_fact(struct vmft_rewrite *rw, const char *device, size_t index);
int vmft_drives_finish(struct vmft_rewrite *rw);
int vmft_nic_attach(struct vmft_rewrite *rw, struct vmft_arg *device, size_t *ret_nic);
int vmft_nics_finish(struct vmft_rewrite *rw);

#endif
