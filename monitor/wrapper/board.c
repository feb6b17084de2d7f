/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine itself: board, accelerator, processor, memory, and vmft's own objects. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

#define NO_KVM	   "KVM guests cannot be replayed; lockstep needs TCG"
#define ONE_CPU	   "QEMU records one processor only"
#define RAM_ID	   "vmft.ram"
#define MIB	   (UINT64_C(1) << 20)
#define RAM_MAX	   (UINT64_C(1) << 40)
#define DEFAULT_MB 128 /* of the pc and q35 boards, when there is no -m */

static const struct vmft_key_rule machine_rules[] = {
    {.key = "type", .hidden = true}, /* told apart as "board" */
    {"accel", "tcg", NO_KVM, true},
    {"usb", "off", "no USB controller is on the list of replay-safe devices", false},
    {"nvdimm", "off", "vmft supplies all of the guest's RAM", false},
    {"memory-backend", "", "vmft supplies the guest's RAM, shared with its monitor", false},
    {"kernel-irqchip", "", NO_KVM, false},
    {"kernel_irqchip", "", NO_KVM, false},
    {.key = "acpi"},
    {.key = "graphics"},
    {.key = "hpet"},
    {.key = "i8042"},
    {.key = "pic"},
    {.key = "pit"},
    {.key = "sata"},
    {.key = "smbus"},
    {.key = "smm"},
    {.key = "vmport"},
    {.key = "dump-guest-core", .hidden = true},
    {.key = "mem-merge", .hidden = true},
    {0},
};

static bool digits(const char **p)
{
	size_t n = strspn(*p, "0123456789");

	*p += n;
	return n > 0;
}

/* pc and q35 are what was tested: QEMU's other boards record, but nothing is known of replay. */
static bool board_known(const char *type)
{
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

int vmft_check_machine(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *type = vmft_get(arg, "type");
	int r;

	if (has_machine(rw, arg))
		return vmft_refuse(rw, arg, "a second -machine", "write one with all settings");
	if (type && !board_known(type))
		return vmft_refuse(rw, arg, "this board is not known to be replay-safe",
				   "use pc, q35 or one of their versions");
	r = vmft_check_keys(rw, arg, machine_rules);
	if (r < 0)
		return r;
	vmft_fact(rw, "board", type ? type : "pc");
	vmft_fact(rw, vmft_fact_keys(rw, "machine", arg, machine_rules), "");
	/* -accel says it; QEMU refuses to be told twice. */
	vmft_optset_remove(arg->set, "accel");
	vmft_optset_set(arg->set, "memory-backend", RAM_ID);
	return 0;
}

int vmft_check_accel(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"accel", "tcg", NO_KVM, true},
	    {"thread", "single", "processors in threads of their own run in no fixed order", true},
	    {.key = "tb-size", .hidden = true},
	    {0},
	};

	return vmft_check_keys(rw, arg, rules);
}

int vmft_check_smp(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"cpus", "1", ONE_CPU, true},     {"maxcpus", "1", ONE_CPU, true},
	    {"sockets", "1", ONE_CPU, true},  {"dies", "1", ONE_CPU, true},
	    {"cores", "1", ONE_CPU, true},    {"threads", "1", ONE_CPU, true},
	    {"clusters", "1", ONE_CPU, true}, {0},
	};

	return vmft_check_keys(rw, arg, rules);
}

int vmft_check_cpu(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (strcspn(arg->text, ",") == 4 && strncmp(arg->text, "host", 4) == 0)
		return vmft_refuse(rw, arg, NO_KVM, "use a named model or max");
	vmft_fact(rw, "cpu", arg->text);
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
	    /* Of KVM's timer, which TCG does not have. */
	    "kvm-pit.lost_tick_policy=",
	};

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

static void add_missing(struct vmft_rewrite *rw)
{
	if (!given(rw, "machine") && !given(rw, "M")) {
		vmft_fact(rw, "board", "pc");
		vmft_fact(rw, "machine", "");
		vmft_add(rw, "-machine", "pc,memory-backend=" RAM_ID);
	}
	if (!given(rw, "accel"))
		vmft_add(rw, "-accel", "tcg");
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

int vmft_board_finish(struct vmft_rewrite *rw)
{
	bool record = rw->opt->mode == VMFT_REWRITE_RECORD;

	add_missing(rw);
	add_memory(rw);
	/*
	 * A reset with the virtual APIC page on waits for a vCPU that waits for the replay
	 * mutex, which the reset holds: any reboot would hang the guest.
	 */
	vmft_add(rw, "-global", "apic-common.vapic=off");
	vmft_add(rw, "-icount",
		 record ? "shift=auto,rr=record,rrfile=vmft:log"
			: "shift=auto,rr=replay,rrfile=vmft:log");
	vmft_fact(rw, "serial", vmft_arena_printf(rw->arena, "%zu", rw->serial_count));
	return 0;
}
