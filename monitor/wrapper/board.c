/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine itself: board, accelerator, processor, memory, and vmft's own objects. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

#define MIB_SHIFT  20
#define MIB	   (UINT64_C(1) << MIB_SHIFT)
#define RAM_MAX	   (UINT64_C(1) << 40)
#define DEFAULT_MB 128 /* of all three boards, when there is no -m */

#define FIXED_MEMORY                                                                               \
	{                                                                                          \
		.text = "memory cannot be plugged into a guest that is replayed",                  \
		.checkpoint_can = true                                                             \
	}

static bool digits(const char **p)
{
	size_t n = strspn(*p, "0123456789");

	*p += n;
	return n > 0;
}

/* Besides those that the rules name: the versions of pc and q35. */
static bool board_known(const struct vmft_rewrite *rw, const char *type)
{
	if (vmft_value_in(type, rw->rules->boards))
		return true;
	if (strncmp(type, "pc-i440fx-", 10) == 0)
		type += 10;
	else if (strncmp(type, "pc-q35-", 7) == 0)
		type += 7;
	else
		return false;
	return digits(&type) && *type++ == '.' && digits(&type) && *type == '\0';
}

/* "pc-i440fx-7.2" is the same machine in each QEMU that has it; "pc" is the newest one of each.
 * Returns 702 for it; 0: no version. */
static unsigned version_of(const char *type)
{
	const char *at = strrchr(type, '-');
	unsigned major, minor;
	int end = 0;

	if (!at || sscanf(at, "-%3u.%2u%n", &major, &minor, &end) != 2 || at[end] != '\0')
		return 0;
	return major * 100 + minor;
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
	const char *todo = rw->rules->use_board;

	if (rw->scan.microvm)
		todo = vmft_arena_printf(rw->arena, "%s%s", todo, rw->rules->microvm_instead);
	return vmft_refuse(
	    rw, arg, vmft_arena_printf(rw->arena, "this board is %s", vmft_unknown(rw)), todo);
}

int vmft_check_machine(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const struct vmft_key_rule *rules = rw->rules->machine;
	const char *type = vmft_get(arg, "type");
	int r;

	if (has_machine(rw, arg))
		return vmft_refuse(rw, arg, "a second -machine", "write one with all settings");
	if (type && !board_known(rw, type))
		return refuse_board(rw, arg);
	r = vmft_check_keys(rw, arg, rules);
	if (r == 0 && rw->rules->check_accelerator)
		r = rw->rules->check_accelerator(rw, arg);
	if (r < 0)
		return r;
	rw->out.machine_version = type ? version_of(type) : 0;
	rw->machine = arg;
	vmft_fact(rw, "board", type ? type : "pc");
	vmft_fact(rw, vmft_fact_keys(rw, "machine", arg, rules), "");
	/* The -accel option names it; QEMU refuses a second one. */
	vmft_optset_remove(arg->set, "accel");
	return 0;
}

const char *vmft_accelerator(const struct vmft_rewrite *rw)
{
	return rw->scan.kvm ? "kvm" : "tcg";
}

static bool model_is(const struct vmft_arg *arg, const char *model)
{
	return strcspn(arg->text, ",") == strlen(model) &&
	       strncmp(arg->text, model, strlen(model)) == 0;
}

/* The guest sees this host's processor, so the other host must have the same one. */
static int add_host_processor(struct vmft_rewrite *rw)
{
	char model[VMFT_PROCESSOR_MAX];
	struct vmft_error err;

	if (!rw->opt->host_processor)
		return 0;
	if (rw->opt->host_processor(model, &err) < 0)
		return vmft_report_refuse(rw->report, &err);
	vmft_fact(rw, "host-processor", model);
	return 0;
}

int vmft_check_cpu(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	bool host = model_is(arg, "host");

	if (host && rw->rules->no_host_cpu)
		return vmft_refuse_for(rw, arg, rw->rules->no_host_cpu, "use a named model or max");
	if (host && !rw->scan.kvm)
		return vmft_refuse(rw, arg, "only KVM can show the guest the host's processor",
				   "use a named model or max");
	vmft_fact(rw, "cpu", arg->text);
	/* With KVM max is all that the host's processor has. */
	if (host || (rw->scan.kvm && model_is(arg, "max")))
		return add_host_processor(rw);
	return 0;
}

static bool begins_with_any(const char *text, const char *const *beginnings)
{
	for (; *beginnings; beginnings++)
		if (strncmp(text, *beginnings, strlen(*beginnings)) == 0)
			return true;
	return false;
}

int vmft_check_global(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const char *const allowed[] = {
	    /* Power states that the firmware tables offer. The guest sees them; QEMU keeps no
	     * other state for them. */
	    "PIIX4_PM.disable_s3=",
	    "PIIX4_PM.disable_s4=",
	    "ICH9-LPC.disable_s3=",
	    "ICH9-LPC.disable_s4=",
	    /* What KVM's timer does with ticks the guest missed. */
	    "kvm-pit.lost_tick_policy=",
	    NULL,
	};

	if (rw->rules->own_global && strcmp(arg->text, rw->rules->own_global) == 0) {
		arg->drop = true;
		return 0;
	}
	if (!begins_with_any(arg->text, allowed) && !begins_with_any(arg->text, rw->rules->globals))
		return vmft_check_unknown(rw, arg);
	vmft_fact(rw, "global", arg->text);
	return 0;
}

static int shift_of(char unit)
{
	switch (unit) {
	case 'k':
	case 'K':
		return 10;
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

uint64_t vmft_size_parse(const char *text, unsigned unit)
{
	const char *end = text;
	uint64_t number;
	int shift;

	if (!digits(&end) || end - text > 15 || (*end && end[1]))
		return 0;
	shift = *end ? shift_of(*end) : (int)unit;
	number = strtoull(text, NULL, 10);
	if (shift < 0 || number > RAM_MAX >> shift)
		return 0;
	number <<= shift;
	return number % MIB == 0 ? number : 0;
}

int vmft_check_memory_size(struct vmft_rewrite *rw, struct vmft_arg *arg,
			   const struct vmft_key_rule *rules)
{
	const char *size = vmft_get(arg, "size");
	int r = vmft_check_keys(rw, arg, rules);

	if (r < 0)
		return r;
	rw->out.ram_bytes = size ? vmft_size_parse(size, MIB_SHIFT) : 0;
	/* QEMU rounds a size that is not a whole number of MiB up: the shared memory would be too
	 * small. */
	if (rw->out.ram_bytes == 0)
		return vmft_refuse(rw, arg, "no size in whole MiB, 1024G at most",
				   "write for example -m 2G");
	return 0;
}

int vmft_check_memory(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {{.key = "size"},
						     {"maxmem", "", FIXED_MEMORY, false},
						     {"slots", "", FIXED_MEMORY, false},
						     {0}};

	return vmft_check_memory_size(rw, arg, rules);
}

bool vmft_given(const struct vmft_rewrite *rw, const char *option)
{
	for (size_t i = 0; i < rw->arg_count; i++)
		if (strcmp(rw->args[i].option->name, option) == 0)
			return true;
	return false;
}

static void add_accel(struct vmft_rewrite *rw)
{
	vmft_add(rw, "-accel", vmft_accelerator(rw));
	if (rw->rules->tells_accelerator)
		vmft_fact(rw, "accel", vmft_accelerator(rw));
}

static void add_missing(struct vmft_rewrite *rw)
{
	if (!vmft_given(rw, "machine") && !vmft_given(rw, "M")) {
		vmft_fact(rw, "board", "pc");
		vmft_fact(rw, "machine", "");
		vmft_add(rw, "-machine", rw->numa_memory ? "pc" : "pc,memory-backend=" VMFT_RAM_ID);
	}
	if (!vmft_given(rw, "accel"))
		add_accel(rw);
	if (!vmft_given(rw, "display"))
		vmft_add(rw, "-display", "none");
	if (!vmft_given(rw, "no-user-config"))
		vmft_add(rw, "-no-user-config", NULL);
	if (!vmft_given(rw, "name") && rw->opt->name)
		vmft_add(rw, "-name", vmft_arena_printf(rw->arena, "guest=%s", rw->opt->name));
}

static void add_memory(struct vmft_rewrite *rw)
{
	if (rw->out.ram_bytes == 0) {
		rw->out.ram_bytes = DEFAULT_MB * MIB;
		vmft_add(rw, "-m", vmft_arena_printf(rw->arena, "%d", DEFAULT_MB));
	}
	vmft_memory_finish(rw);
	if (rw->machine && !rw->numa_memory)
		vmft_optset_set(rw->machine->set, "memory-backend", VMFT_RAM_ID);
	else if (rw->machine)
		vmft_optset_remove(rw->machine->set, "memory-backend");
	vmft_fact(rw, "ram", vmft_arena_printf(rw->arena, "%" PRIu64, rw->out.ram_bytes));
}

void vmft_board_finish(struct vmft_rewrite *rw)
{
	add_missing(rw);
	add_memory(rw);
	/*
	 * A guest that has switched its disks to write-through sends no flushes any more. The
	 * mode is not in the state that QEMU saves: the next host would have the old mode and
	 * keep the writes in a cache. So the guest may not switch.
	 */
	vmft_add(rw, "-global", "virtio-blk-device.config-wce=off");
	rw->rules->finish(rw);
	vmft_fact(rw, "serial", vmft_arena_printf(rw->arena, "%zu", rw->serial_count));
}
