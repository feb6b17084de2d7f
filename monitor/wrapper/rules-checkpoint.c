/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of checkpoint: the backup is sent the guest's state, an epoch at a time.
 *
 * The devices are in models-checkpoint.c, the options that differ from lockstep's in
 * options-checkpoint.c.
 */
#include <stdint.h>
#include <string.h>

#include "keys.h"
#include "rewrite.h"

#define CPUS_MAX  8
#define NOT_KNOWN VMFT_NOT_KNOWN

static const char *words(const struct vmft_reason *reason)
{
	return reason->checkpoint ? reason->checkpoint : reason->text;
}

/* --- the board --------------------------------------------------------------- */

/* Not formatted: clang-format takes the braces for blocks. */
/* clang-format off */

/* check_accelerator() checks these keys as well. */
#define IRQCHIP_KEYS \
	{.key = "accel", .hidden = true}, \
	{"kernel-irqchip", "on|off|split", {0}, false}, \
	{"kernel_irqchip", "on|off|split", {0}, false}

/* clang-format on */

static const struct vmft_key_rule machine_rules[] = {
    BOARD_KEYS,
    PC_KEYS,
    IRQCHIP_KEYS,
    {.key = "usb"},
    {.key = "pflash0", .hidden = true}, /* disks.c */
    {.key = "pflash1", .hidden = true},
    {0},
};

static const struct vmft_key_rule microvm_rules[] = {
    BOARD_KEYS,
    IRQCHIP_KEYS,
    {"usb", "off", VMFT_REASON("this board has no USB controller that vmft knows"), false},
    {.key = "rtc"},
    {.key = "isa-serial"},
    {.key = "ioapic2"},
    {.key = "auto-kernel-cmdline"},
    {.key = "x-option-roms"},
    {0},
};

static int check_accelerator(struct vmft_rewrite *rw, const struct vmft_arg *arg)
{
	const char *accel = vmft_get(arg, "accel");
	bool irqchip = vmft_get(arg, "kernel-irqchip") || vmft_get(arg, "kernel_irqchip");

	if (accel && strchr(accel, ':')) {
		vmft_replaced(rw, arg,
			      rw->scan.kvm ? "accel=kvm, which this host has"
					   : "accel=tcg: this host has no KVM");
		return 0;
	}
	if (accel && !vmft_value_in(accel, "tcg|kvm"))
		return vmft_refuse(rw, arg, "this accelerator is " NOT_KNOWN,
				   "use accel=tcg or kvm");
	if (accel && rw->scan.kvm != (strcmp(accel, "kvm") == 0))
		return vmft_refuse(rw, arg, "another accelerator is asked for as well",
				   "keep one of them");
	if (irqchip && !rw->scan.kvm)
		return vmft_refuse(rw, arg, "only KVM has an interrupt controller of its own",
				   "leave out kernel-irqchip");
	return 0;
}

static int check_accel(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule kvm[] = {
	    {.key = "accel", .hidden = true},
	    {"kernel-irqchip", "on|off|split", {0}, false},
	    {.key = "dirty-ring-size", .hidden = true},
	    {0},
	};
	static const struct vmft_key_rule tcg[] = {
	    {.key = "accel", .hidden = true},
	    {"thread", "single|multi", {0}, true},
	    {.key = "tb-size", .hidden = true},
	    {0},
	};
	const struct vmft_key_rule *rules = rw->scan.kvm ? kvm : tcg;
	int r = check_accelerator(rw, arg);

	if (r == 0)
		r = vmft_check_keys(rw, arg, rules);
	if (r < 0)
		return r;
	vmft_optset_set(arg->set, "accel", vmft_accelerator(rw));
	vmft_fact(rw,
		  vmft_fact_keys(rw, vmft_arena_printf(rw->arena, "accel %s", vmft_accelerator(rw)),
				 arg, rules),
		  "");
	return 0;
}

/* -accel kvm says it, the user's or the one that is added. */
static int check_enable_kvm(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	(void)rw;
	arg->drop = true;
	return 0;
}

static int check_smp(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {.key = "cpus", .hidden = true},	/* told apart as "processors" */
	    {.key = "maxcpus", .hidden = true}, /* the same number */
	    {.key = "sockets"},
	    {.key = "dies"},
	    {.key = "cores"},
	    {.key = "threads"},
	    {"clusters", "1", VMFT_REASON("no board of x86 has clusters"), false},
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
		return vmft_refuse(rw, arg, "more than 8 processors are " NOT_KNOWN,
				   "use 8 at most");
	if (!smp.fits)
		return vmft_refuse(rw, arg,
				   "sockets, dies, cores and threads make another number of "
				   "processors",
				   "correct them");
	rw->topology = vmft_fact_keys(rw, "smp", arg, rules);
	return 0;
}

static void finish(struct vmft_rewrite *rw)
{
	const char *processors = vmft_arena_printf(rw->arena, "%u", rw->scan.processors);

	vmft_add(rw, "-S", NULL);
	if (rw->opt->role == VMFT_ROLE_BACKUP)
		vmft_add(rw, "-incoming", "defer");
	/* QEMU must not end before the guest's last epoch is sent: the agent ends it. */
	vmft_add(rw, "-action", "shutdown=pause");
	vmft_fact(rw, "strategy", vmft_strategy_kind_name(VMFT_STRATEGY_CHECKPOINT));
	vmft_fact(rw, "processors", processors);
	vmft_fact(rw, rw->topology ? rw->topology : "smp", "");
}

static void finish_microvm(struct vmft_rewrite *rw)
{
	/* The board makes its virtio transports; they listen to no other option. */
	vmft_add(rw, "-global", "virtio-mmio.ioeventfd=off");
	finish(rw);
}

/* --- devices: models-checkpoint.c --------------------------------------------- */

static const struct vmft_key_rule random_rules[] = {
    {.key = "qom-type"}, {.key = "id"}, {.key = "filename"}, {0}};

/* --- disks ------------------------------------------------------------------- */

/*
 * An image that QEMU takes over from its monitor, on the same host: by default QEMU would make all
 * of it durable and throw it out of the page cache first, as if another host had written it
 * (raw_co_invalidate_cache()), which takes longer than everything else of going live.
 */
static void keep_cache(struct vmft_arg *arg, bool drive)
{
	const char *driver = vmft_get(arg, "driver");
	const char *below = vmft_get(arg, "file.driver");

	if (drive)
		vmft_optset_set(arg->set, "file.drop-cache", "off");
	else if (vmft_value_in(driver, "file|host_device"))
		vmft_optset_set_bool(arg->set, "drop-cache", false);
	else if (below)
		vmft_optset_set_bool(arg->set, "file.drop-cache", false);
}

/* --- the rules --------------------------------------------------------------- */

static const char *const globals[] = {
    "apic-common.vapic=",
    /* Whether only code in system management mode may write the flash. */
    "driver=cfi.pflash01,property=secure,",
    "cfi.pflash01.secure=",
    /* How much memory is for system management mode. */
    "mch.extended-tseg-mbytes=",
    /* Whether the chipset's watchdog resets the guest. */
    "ICH9-LPC.noreboot=",
    "driver=ICH9-LPC,property=noreboot,",
    NULL,
};

/* clang-format off */

#define EVERY_BOARD \
	.words = words, \
	.unknown = VMFT_REASON(NOT_KNOWN), \
	.boards = "pc|q35|microvm", \
	.use_board = "use pc, q35, one of their versions, or microvm", \
	.microvm_instead = "", \
	.check_accelerator = check_accelerator, \
	.globals = globals, \
	.tells_accelerator = true, \
	.accel = check_accel, \
	.enable_kvm = check_enable_kvm, \
	.smp = check_smp, \
	.bios = vmft_check_file, \
	.action = vmft_check_refused, \
	.host_rng = random_rules, \
	.options = vmft_checkpoint_options, \
	.default_devices = vmft_checkpoint_defaults, \
	.one_of_queues = true, \
	.node_name_max = SIZE_MAX, \
	.open_image = keep_cache

/* clang-format on */

/* The agent alone stands at the tap: no filters. */
const struct vmft_rules vmft_checkpoint_rules[2] = {
    {
	EVERY_BOARD,
	.machine = machine_rules,
	.finish = finish,
	.models = vmft_checkpoint_models,
	.use_device = "use a device of docs/command-lines.md",
	.interfaces = "virtio|none|ide|pflash",
	.interface = "ide",
	.disk_model = "virtio-blk-pci",
	.disk_options = ",ioeventfd=off",
	.nic_model = "virtio-net-pci",
    },
    {
	EVERY_BOARD,
	.machine = microvm_rules,
	.finish = finish_microvm,
	.models = vmft_checkpoint_microvm_models,
	.interfaces = "virtio|none",
	.use_device = "use virtio-blk-device, virtio-net-device, virtio-rng-device or isa-serial",
	.disk_model = "virtio-blk-device",
	.disk_options = "",
	.nic_model = "virtio-net-device",
    },
};
