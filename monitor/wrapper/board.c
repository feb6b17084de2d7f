/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine itself: board, accelerator, processor, memory, and vmft's own objects. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

#define RAM_ID	   "vmft.ram"
#define MIB	   (UINT64_C(1) << 20)
#define RAM_MAX	   (UINT64_C(1) << 40)
#define DEFAULT_MB 128 /* of all three boards, when there is no -m */
#define CPUS_MAX   8

/* "type" is told apart as "board". */
#define BOARD_RULES                                                                                \
	{.key = "type", .hidden = true},                                                           \
	    {"usb", "off", "no USB controller is on the list of replay-safe devices", false},      \
	    {"nvdimm", "off", "vmft supplies all of the guest's RAM", false},                      \
	    {"memory-backend", "", "vmft supplies the guest's RAM, shared with its monitor",       \
	     false},                                                                               \
	    {.key = "acpi"}, {.key = "graphics"}, {.key = "pic"}, {.key = "pit"},                  \
	    {.key = "dump-guest-core", .hidden = true},                                            \
	{                                                                                          \
		.key = "mem-merge", .hidden = true                                                 \
	}

#define PC_RULES                                                                                   \
	{.key = "hpet"}, {.key = "i8042"}, {.key = "sata"}, {.key = "smbus"}, {.key = "smm"},      \
	{                                                                                          \
		.key = "vmport"                                                                    \
	}

/* Whether KVM may be asked for is looked at by itself. */
#define IRQCHIP_RULES                                                                              \
	{.key = "accel", .hidden = true}, {"kernel-irqchip", "on|off|split", NULL, false},         \
	{                                                                                          \
		"kernel_irqchip", "on|off|split", NULL, false                                      \
	}

static const struct vmft_key_rule lockstep_rules[] = {
    BOARD_RULES,
    PC_RULES,
    {"accel", "tcg", VMFT_NO_KVM, true},
    {"kernel-irqchip", "", VMFT_NO_KVM, false},
    {"kernel_irqchip", "", VMFT_NO_KVM, false},
    {0},
};

static const struct vmft_key_rule checkpoint_rules[] = {BOARD_RULES, PC_RULES, IRQCHIP_RULES, {0}};

static const struct vmft_key_rule microvm_rules[] = {
    BOARD_RULES,
    IRQCHIP_RULES,
    {.key = "rtc"},
    {.key = "isa-serial"},
    {.key = "ioapic2"},
    {.key = "auto-kernel-cmdline"},
    {.key = "x-option-roms"},
    {0},
};

static bool digits(const char **p)
{
	size_t n = strspn(*p, "0123456789");

	*p += n;
	return n > 0;
}

/* Of lockstep only pc and q35 are tested: other boards record, but nothing is known of replay. */
static bool board_known(const struct vmft_rewrite *rw, const char *type)
{
	if (vmft_is_checkpoint(rw) && strcmp(type, "microvm") == 0)
		return true;
	if (vmft_value_in(type, "pc|q35"))
		return true;
	if (strncmp(type, "pc-i440fx-", 10) == 0)
		type += 10;
	else if (strncmp(type, "pc-q35-", 7) == 0)
		type += 7;
	else
		return false;
	return digits(&type) && *type++ == '.' && digits(&type) && *type == '\0';
}

static bool has_machine(const struct vmft_rewrite *rw, const struct vmft_arg *but)
{
	for (const struct vmft_arg *arg = rw->args; arg < but; arg++)
		if (arg->option->check == vmft_check_machine)
			return true;
	return false;
}

static int refuse_board(struct vmft_rewrite *rw, const struct vmft_arg *arg)
{
	const char *todo = "use pc, q35 or one of their versions";

	if (vmft_is_checkpoint(rw))
		todo = "use pc, q35, one of their versions, or microvm";
	else if (rw->scan.microvm)
		todo = "use pc, q35 or one of their versions, or write strategy = checkpoint in "
		       "the pair file";
	return vmft_refuse(rw, arg, "this board is " VMFT_UNKNOWN, todo);
}

static const struct vmft_key_rule *machine_rules(const struct vmft_rewrite *rw)
{
	if (!vmft_is_checkpoint(rw))
		return lockstep_rules;
	return rw->scan.microvm ? microvm_rules : checkpoint_rules;
}

/* Of checkpoint. */
static int check_accelerator(struct vmft_rewrite *rw, const struct vmft_arg *arg)
{
	const char *accel = vmft_get(arg, "accel");
	bool irqchip = vmft_get(arg, "kernel-irqchip") || vmft_get(arg, "kernel_irqchip");

	if (accel && !vmft_value_in(accel, "tcg|kvm"))
		return vmft_refuse(rw, arg,
				   strchr(accel, ':')
				       ? "which of them it will be may differ between the hosts"
				       : "this accelerator is " VMFT_UNKNOWN,
				   "use accel=tcg or kvm");
	if (accel && rw->scan.kvm != (strcmp(accel, "kvm") == 0))
		return vmft_refuse(rw, arg, "another accelerator is asked for as well",
				   "keep one of them");
	if (irqchip && !rw->scan.kvm)
		return vmft_refuse(rw, arg, "only KVM has an interrupt controller of its own",
				   "leave out kernel-irqchip");
	return 0;
}

int vmft_check_machine(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const struct vmft_key_rule *rules = machine_rules(rw);
	const char *type = vmft_get(arg, "type");
	int r;

	if (has_machine(rw, arg))
		return vmft_refuse(rw, arg, "a second -machine", "write one with all settings");
	if (type && !board_known(rw, type))
		return refuse_board(rw, arg);
	r = vmft_check_keys(rw, arg, rules);
	if (r == 0 && vmft_is_checkpoint(rw))
		r = check_accelerator(rw, arg);
	if (r < 0)
		return r;
	vmft_fact(rw, "board", type ? type : "pc");
	vmft_fact(rw, vmft_fact_keys(rw, "machine", arg, rules), "");
	/* -accel says it; QEMU refuses to be told twice. */
	vmft_optset_remove(arg->set, "accel");
	vmft_optset_set(arg->set, "memory-backend", RAM_ID);
	return 0;
}

static const char *accelerator(const struct vmft_rewrite *rw)
{
	return rw->scan.kvm ? "kvm" : "tcg";
}

/* Of checkpoint. */
static int take_accel(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule kvm[] = {
	    {.key = "accel", .hidden = true},
	    {"kernel-irqchip", "on|off|split", NULL, false},
	    {.key = "dirty-ring-size", .hidden = true},
	    {0},
	};
	static const struct vmft_key_rule tcg[] = {
	    {.key = "accel", .hidden = true},
	    {"thread", "single|multi", NULL, true},
	    {.key = "tb-size", .hidden = true},
	    {0},
	};
	const struct vmft_key_rule *rules = rw->scan.kvm ? kvm : tcg;
	int r = check_accelerator(rw, arg);

	if (r == 0)
		r = vmft_check_keys(rw, arg, rules);
	if (r < 0)
		return r;
	vmft_fact(rw,
		  vmft_fact_keys(rw, vmft_arena_printf(rw->arena, "accel %s", accelerator(rw)), arg,
				 rules),
		  "");
	return 0;
}

int vmft_check_accel(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"accel", "tcg", VMFT_NO_KVM, true},
	    {"thread", "single", "processors in threads of their own run in no fixed order", true},
	    {.key = "tb-size", .hidden = true},
	    {0},
	};

	if (vmft_is_checkpoint(rw))
		return take_accel(rw, arg);
	return vmft_check_keys(rw, arg, rules);
}

/* -accel kvm says it, the user's or the one that is added. */
int vmft_check_enable_kvm(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (!vmft_is_checkpoint(rw))
		return vmft_check_refused(rw, arg);
	arg->drop = true;
	return 0;
}

/* Of checkpoint. */
static int take_smp(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {.key = "cpus", .hidden = true},	/* told apart as "processors" */
	    {.key = "maxcpus", .hidden = true}, /* the same number */
	    {.key = "sockets"},
	    {.key = "dies"},
	    {.key = "cores"},
	    {.key = "threads"},
	    {"clusters", "1", "no board of x86 has clusters", false},
	    {0},
	};
	struct vmft_smp smp;
	int r = vmft_check_keys(rw, arg, rules);

	if (r < 0)
		return r;
	if (!vmft_smp_read(arg->set, &smp))
		return vmft_refuse(rw, arg, "no number of processors", "write for example -smp 2");
	if (smp.maxcpus != smp.cpus)
		return vmft_refuse(rw, arg,
				   "processors cannot be plugged into a guest that is "
				   "protected",
				   "leave out maxcpus");
	if (smp.cpus > CPUS_MAX)
		return vmft_refuse(rw, arg, "more than 8 processors are " VMFT_UNKNOWN,
				   "use 8 at most");
	if (!smp.fits)
		return vmft_refuse(rw, arg,
				   "sockets, dies, cores and threads make another number of "
				   "processors",
				   "correct them");
	rw->topology = vmft_fact_keys(rw, "smp", arg, rules);
	return 0;
}

int vmft_check_smp(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"cpus", "1", VMFT_ONE_CPU, true},	   {"maxcpus", "1", VMFT_ONE_CPU, true},
	    {"sockets", "1", VMFT_ONE_CPU, true},  {"dies", "1", VMFT_ONE_CPU, true},
	    {"cores", "1", VMFT_ONE_CPU, true},	   {"threads", "1", VMFT_ONE_CPU, true},
	    {"clusters", "1", VMFT_ONE_CPU, true}, {0},
	};

	if (vmft_is_checkpoint(rw))
		return take_smp(rw, arg);
	return vmft_check_keys(rw, arg, rules);
}

static bool model_is(const struct vmft_arg *arg, const char *model)
{
	return strcspn(arg->text, ",") == strlen(model) &&
	       strncmp(arg->text, model, strlen(model)) == 0;
}

/* The guest sees this host's processor, so the other host's must be such a one too. */
static int add_host_processor(struct vmft_rewrite *rw)
{
	char model[VMFT_PROCESSOR_MAX];
	int r;

	if (!rw->opt->host_processor)
		return 0;
	r = rw->opt->host_processor(model, rw->err);
	if (r == 0)
		vmft_fact(rw, "host-processor", model);
	return r;
}

int vmft_check_cpu(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	bool host = model_is(arg, "host");

	if (host && !vmft_is_checkpoint(rw))
		return vmft_refuse(rw, arg, VMFT_NO_KVM, "use a named model or max");
	if (host && !rw->scan.kvm)
		return vmft_refuse(rw, arg, "only KVM can show the guest the host's processor",
				   "use a named model or max");
	vmft_fact(rw, "cpu", arg->text);
	/* With KVM max is all that the host's processor has. */
	if (host || (rw->scan.kvm && model_is(arg, "max")))
		return add_host_processor(rw);
	return 0;
}

int vmft_check_global(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const char *const allowed[] = {
	    /* Power states the firmware tables offer: guest-visible, nothing behind them. */
	    "PIIX4_PM.disable_s3=",
	    "PIIX4_PM.disable_s4=",
	    "ICH9-LPC.disable_s3=",
	    "ICH9-LPC.disable_s4=",
	    /* What KVM's timer does with ticks the guest missed. */
	    "kvm-pit.lost_tick_policy=",
	};
	static const char vapic[] = "apic-common.vapic=";

	if (strncmp(arg->text, vapic, strlen(vapic)) == 0 && vmft_is_checkpoint(rw)) {
		vmft_fact(rw, "global", arg->text);
		return 0;
	}
	if (strcmp(arg->text, "apic-common.vapic=off") == 0) {
		arg->drop = true;
		return 0;
	}
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		if (strncmp(arg->text, allowed[i], strlen(allowed[i])) != 0)
			continue;
		vmft_fact(rw, "global", arg->text);
		return 0;
	}
	return vmft_check_unknown(rw, arg);
}

static int shift_of(char unit)
{
	switch (unit) {
	case 'k':
	case 'K':
		return 10;
	case '\0': /* QEMU's default unit is MiB */
	case 'm':
	case 'M':
		return 20;
	case 'g':
	case 'G':
		return 30;
	default:
		return -1;
	}
}

static uint64_t parse_size(const char *text)
{
	const char *end = text;
	uint64_t number;
	int shift;

	if (!digits(&end) || end - text > 12 || (*end && end[1]))
		return 0;
	shift = shift_of(*end);
	number = strtoull(text, NULL, 10);
	return shift < 0 || number > RAM_MAX >> shift ? 0 : number << shift;
}

int vmft_check_memory(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const char fixed[] = "memory cannot be plugged into a guest that is replayed";
	static const struct vmft_key_rule rules[] = {
	    {.key = "size"}, {"maxmem", "", fixed, false}, {"slots", "", fixed, false}, {0}};
	const char *size = vmft_get(arg, "size");
	int r = vmft_check_keys(rw, arg, rules);

	if (r < 0)
		return r;
	rw->out.ram_bytes = size ? parse_size(size) : 0;
	/* Whole MiB: QEMU rounds other sizes up, and the shared memory would be too small. */
	if (rw->out.ram_bytes == 0 || rw->out.ram_bytes % MIB != 0)
		return vmft_refuse(rw, arg, "no size in whole MiB, 1024G at most",
				   "write for example -m 2G");
	return 0;
}

static bool given(const struct vmft_rewrite *rw, const char *option)
{
	for (size_t i = 0; i < rw->arg_count; i++)
		if (strcmp(rw->args[i].option->name, option) == 0)
			return true;
	return false;
}

static void add_accel(struct vmft_rewrite *rw)
{
	vmft_add(rw, "-accel", accelerator(rw));
	if (vmft_is_checkpoint(rw))
		vmft_fact(rw, "accel", accelerator(rw));
}

static void add_missing(struct vmft_rewrite *rw)
{
	if (!given(rw, "machine") && !given(rw, "M")) {
		vmft_fact(rw, "board", "pc");
		vmft_fact(rw, "machine", "");
		vmft_add(rw, "-machine", "pc,memory-backend=" RAM_ID);
	}
	if (!given(rw, "accel"))
		add_accel(rw);
	if (!given(rw, "display"))
		vmft_add(rw, "-display", "none");
	if (!given(rw, "no-user-config"))
		vmft_add(rw, "-no-user-config", NULL);
	if (!given(rw, "name") && rw->opt->name)
		vmft_add(rw, "-name", vmft_arena_printf(rw->arena, "guest=%s", rw->opt->name));
}

static void add_memory(struct vmft_rewrite *rw)
{
	if (rw->out.ram_bytes == 0) {
		rw->out.ram_bytes = DEFAULT_MB * MIB;
		vmft_add(rw, "-m", vmft_arena_printf(rw->arena, "%d", DEFAULT_MB));
	}
	vmft_add(rw, "-object",
		 vmft_arena_printf(rw->arena,
				   "memory-backend-file,id=" RAM_ID ",size=%" PRIu64
				   ",mem-path=%s,share=on",
				   rw->out.ram_bytes, rw->opt->ram_path));
	vmft_fact(rw, "ram", vmft_arena_printf(rw->arena, "%" PRIu64, rw->out.ram_bytes));
}

static void finish_lockstep(struct vmft_rewrite *rw)
{
	bool record = rw->opt->role == VMFT_ROLE_PRIMARY;

	/*
	 * A reset with the virtual APIC page on waits for a vCPU that waits for the replay
	 * mutex, which the reset holds: any reboot would hang the guest.
	 */
	vmft_add(rw, "-global", "apic-common.vapic=off");
	vmft_add(rw, "-icount",
		 record ? "shift=auto,rr=record,rrfile=vmft:log"
			: "shift=auto,rr=replay,rrfile=vmft:log");
}

static void finish_checkpoint(struct vmft_rewrite *rw)
{
	const char *processors = vmft_arena_printf(rw->arena, "%u", rw->scan.processors);

	/* Its virtio transports are made by the board and listen to no other option. */
	if (rw->scan.microvm)
		vmft_add(rw, "-global", "virtio-mmio.ioeventfd=off");
	vmft_add(rw, "-S", NULL);
	if (rw->opt->role == VMFT_ROLE_BACKUP)
		vmft_add(rw, "-incoming", "defer");
	/* A QEMU that ends by itself could not say what its guest did last. */
	vmft_add(rw, "-action", "shutdown=pause");
	vmft_fact(rw, "strategy", vmft_strategy_kind_name(VMFT_STRATEGY_CHECKPOINT));
	vmft_fact(rw, "processors", processors);
	vmft_fact(rw, rw->topology ? rw->topology : "smp", "");
}

int vmft_board_finish(struct vmft_rewrite *rw)
{
	add_missing(rw);
	add_memory(rw);
	/*
	 * A guest that may switch its disks to write through is not asked for flushes after it
	 * has: its next host, where the mode is the old one, would keep its writes in a cache.
	 */
	vmft_add(rw, "-global", "virtio-blk-device.config-wce=off");
	if (vmft_is_checkpoint(rw))
		finish_checkpoint(rw);
	else
		finish_lockstep(rw);
	vmft_fact(rw, "serial", vmft_arena_printf(rw->arena, "%zu", rw->serial_count));
	return 0;
}
