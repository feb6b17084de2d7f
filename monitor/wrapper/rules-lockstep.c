/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of lockstep: QEMU records the guest, and replays it on the backup.
 *
 * A device or option is accepted when a guest that uses it was recorded and replayed identically,
 * and when everything that reaches the guest through it is known to pass through the log.
 */
#include <string.h>

#include "keys.h"
#include "rewrite.h"

#define NO_KVM                                                                                     \
	{                                                                                          \
		.text = "KVM guests cannot be replayed; lockstep needs TCG",                       \
		.checkpoint_can = true                                                             \
	}
#define ONE_CPU                                                                                    \
	{                                                                                          \
		.text = "QEMU records one processor only", .checkpoint_can = true                  \
	}
#define QEMU_NODE_NAME_MAX 31 /* QEMU's own limit */

static const struct vmft_reason no_kvm = NO_KVM;

static const char *words(const struct vmft_reason *reason)
{
	return reason->text;
}

/* --- the board --------------------------------------------------------------- */

static const struct vmft_key_rule machine_rules[] = {
    BOARD_KEYS,
    PC_KEYS,
    {"usb", "off", VMFT_NO_USB, false},
    {"accel", "tcg", NO_KVM, true},
    {"kernel-irqchip", "", NO_KVM, false},
    {"kernel_irqchip", "", NO_KVM, false},
    {0},
};

static int check_accel(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"accel", "tcg", NO_KVM, true},
	    {"thread", "single",
	     VMFT_REASON("processors in threads of their own run in no fixed order"), true},
	    {.key = "tb-size", .hidden = true},
	    {0},
	};

	return vmft_check_keys(rw, arg, rules);
}

static int check_enable_kvm(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return vmft_refuse_for(rw, arg, &no_kvm, "leave it out");
}

static int check_smp(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"cpus", "1", ONE_CPU, true},     {"maxcpus", "1", ONE_CPU, true},
	    {"sockets", "1", ONE_CPU, true},  {"dies", "1", ONE_CPU, true},
	    {"cores", "1", ONE_CPU, true},    {"threads", "1", ONE_CPU, true},
	    {"clusters", "1", ONE_CPU, true}, {0},
	};

	return vmft_check_keys(rw, arg, rules);
}

static int check_bios(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return vmft_refuse(rw, arg, "firmware other than QEMU's own is " VMFT_NOT_REPLAY_SAFE,
			   "leave it out, or write strategy = checkpoint in the pair file");
}

/*
 * With the virtual APIC page on, a reset waits for a vCPU, which waits for the replay mutex, which
 * the reset holds: every reboot would hang the guest.
 */
#define NO_VAPIC "apic-common.vapic=off"

static void finish(struct vmft_rewrite *rw)
{
	bool record = rw->opt->role == VMFT_ROLE_PRIMARY;

	vmft_lockstep_sockets(rw);
	vmft_add(rw, "-global", NO_VAPIC);
	vmft_add(rw, "-icount",
		 record ? "shift=auto,rr=record,rrfile=vmft:log"
			: "shift=auto,rr=replay,rrfile=vmft:log");
}

/* --- devices ----------------------------------------------------------------- */

static const struct vmft_key_rule blk_rules[] = {
    PCI_KEYS,
    BLK_KEYS,
    {"num-queues", "1", VMFT_ONE_QUEUE, false},
    {0},
};

static const struct vmft_key_rule net_rules[] = {
    PCI_KEYS,
    NET_KEYS,
    {"mq", "off", VMFT_ONE_QUEUE, false},
    {.key = "tx", .hidden = true},	       /* always timer */
    {.key = "guest_announce", .hidden = true}, /* always off */
    {0},
};

static const struct vmft_key_rule rng_rules[] = {PCI_KEYS, RNG_KEYS, {0}};
static const struct vmft_key_rule serial_rules[] = {SERIAL_KEYS, {0}};

/* QEMU records characters only of devices that the board makes from -serial, so an isa-serial
 * device becomes one: the same port at the same address. */
static int attach_serial(struct vmft_rewrite *rw, struct vmft_arg *arg,
			 const struct vmft_model *model)
{
	int r = vmft_attach_serial(rw, arg, model);

	if (r < 0)
		return r;
	arg->emit = "serial";
	arg->text = vmft_arena_printf(rw->arena, "chardev:%s", vmft_get(arg, "chardev"));
	arg->set = NULL;
	return 0;
}

static const struct vmft_model models[] = {
    {"virtio-blk-pci", "virtio-blk", blk_rules, vmft_attach_disk,
     "completions are logged by the blkreplay node vmft puts under it", false},
    {"virtio-net-pci", "virtio-net", net_rules, vmft_attach_nic,
     "packets are logged by filter-replay; with tx=timer sending is part of the replayed clock",
     false},
    {"virtio-rng-pci", "virtio-rng", rng_rules, vmft_attach_rng,
     "rng-builtin takes its bytes from QEMU's own generator, whose output is logged; bytes from "
     "/dev/urandom or a daemon are not",
     false},
    {"isa-serial", NULL, serial_rules, attach_serial,
     "characters in both directions are logged for ports made by -serial", false},
    /*
     * What pc and q35 bring with -nodefaults: PIIX3 or ICH9, PIT, HPET, PIC, IOAPIC, CMOS
     * clock, i8042 and PCI host bridge are clocked by the virtual clock or read logged
     * clocks; the IDE, SATA and floppy controllers have no drive.
     */
    {0},
};

/* --- disks ------------------------------------------------------------------- */

/*
 * The cache mode has two halves: how the file is opened stays with the image; whether the
 * guest is shown a write cache, and what happens on errors, go with the drive it sees.
 */
static const char *drive_extras(struct vmft_rewrite *rw, struct vmft_arg *arg,
				const struct vmft_disk *disk)
{
	const char *text = disk->write_through ? ",cache=writethrough" : "";

	for (size_t i = 0; i < 2; i++) {
		const char *key = i ? "rerror" : "werror";
		const char *value = vmft_get(arg, key);

		if (value)
			text = vmft_arena_printf(rw->arena, "%s,%s=%s", text, key, value);
		vmft_optset_remove(arg->set, key);
	}
	return text;
}

/*
 * The node on top of each image makes the moment at which a request completes part of the log.
 *
 * Discards do not get through it (it is opened without discard=unmap), and should not: two hosts'
 * file systems may answer them differently, and the guest could read that back.
 */
static void add_blkreplay(struct vmft_rewrite *rw, const struct vmft_node *node,
			  struct vmft_disk *disk)
{
	struct vmft_optset set = {.arena = rw->arena, .json = true};

	disk->node = vmft_arena_printf(rw->arena, VMFT_NODE_PREFIX "%s", node->name);
	if (node->drive) {
		vmft_add(rw, "-drive",
			 vmft_arena_printf(rw->arena, "driver=blkreplay,if=none,image=%s,id=%s%s%s",
					   node->name, disk->node,
					   disk->read_only ? ",readonly=on" : "",
					   drive_extras(rw, node->arg, disk)));
		return;
	}
	vmft_optset_set(&set, "driver", "blkreplay");
	vmft_optset_set(&set, "node-name", disk->node);
	vmft_optset_set(&set, "image", node->name);
	if (disk->read_only)
		vmft_optset_set_bool(&set, "read-only", true);
	vmft_add(rw, "-blockdev", vmft_optset_format(&set));
}

/* --- network cards ----------------------------------------------------------- */

static void set_nic(struct vmft_arg *device)
{
	/* The default sender of QEMU 7.2, a bottom half, is not in the log. */
	vmft_optset_set(device->set, "tx", "timer");
	/* Its timer is armed outside the log. */
	vmft_optset_set_bool(device->set, "guest_announce", false);
}

/*
 * Shows the agent each frame the guest sends, also while QEMU replays (agent/output.c): behind
 * filter-replay, because frames to a netdev meet the last filter first.
 */
static void add_witness(struct vmft_rewrite *rw, const struct vmft_netdev *netdev, size_t nic)
{
	vmft_add(rw, "-object",
		 vmft_arena_printf(rw->arena,
				   "filter-dump,id=vmft-fd-%s,netdev=%s,queue=rx,maxlen=262144,"
				   "file=vmft:frames%zu",
				   netdev->id, netdev->id, nic));
}

/* filter-replay logs what comes in and, on the side that replays, keeps frames from passing either
 * way. Filters are numbered in the log in the order they are made: that of -netdev. */
static void add_filters(struct vmft_rewrite *rw, const struct vmft_netdev *netdev, size_t nic)
{
	vmft_add(rw, "-object",
		 vmft_arena_printf(rw->arena, "filter-replay,id=vmft-fr-%s,netdev=%s", netdev->id,
				   netdev->id));
	add_witness(rw, netdev, nic);
}

static void refuse_default_devices(struct vmft_rewrite *rw)
{
	vmft_refuse_defaults(rw, "QEMU's default devices are not on the list of replay-safe ones; "
				 "add it, and name each device the guest needs");
}

static const char *const no_globals[] = {NULL};

/* Only pc and q35 are tested: other boards record, but nothing is known of replay. */
const struct vmft_rules vmft_lockstep_rules = {
    .words = words,
    .unknown = VMFT_REASON(VMFT_NOT_REPLAY_SAFE),
    .boards = "pc|q35",
    .use_board = "use pc, q35 or one of their versions",
    .microvm_instead = ", or write strategy = checkpoint in the pair file",
    .machine = machine_rules,
    .default_devices = refuse_default_devices,
    .no_host_cpu = &no_kvm,
    .globals = no_globals,
    .one_memory = true,
    .own_global = NO_VAPIC,
    .finish = finish,
    .accel = check_accel,
    .enable_kvm = check_enable_kvm,
    .smp = check_smp,
    .bios = check_bios,
    .action = vmft_check_unknown,
    .options = vmft_lockstep_options,
    .models = models,
    .use_device = "use virtio-blk-pci, virtio-net-pci, virtio-rng-pci or isa-serial",
    .interfaces = "virtio|none",
    .disk_model = "virtio-blk-pci",
    .disk_options = "",
    .node_name_max = QEMU_NODE_NAME_MAX - (sizeof(VMFT_NODE_PREFIX) - 1),
    .add_node = add_blkreplay,
    .nic_model = "virtio-net-pci",
    .set_nic = set_nic,
    .add_filters = add_filters,
};
