/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The devices a protected guest may have, and what may be behind them.
 *
 * For lockstep a model is on the list when a guest using it was recorded and replayed
 * identically, and when everything that reaches the guest through it is known to pass through
 * the log. For checkpoint it is the same devices, whose state QEMU can save while the guest
 * stands still; on a board without PCI their other halves.
 */
#include <string.h>

#include "rewrite.h"

#define NO_SWITCH     "the cache mode a guest switches to is in no state that QEMU saves"
#define OTHER_THREAD  "work in a thread of its own is not recorded"
#define ROM_BY_PATH   "a ROM file would have to be equal on both hosts"
#define NO_HOT_BACKUP "the device would be unplugged by the host, which is not recorded"

struct model {
	const char *name;
	const char *alias;
	const struct vmft_key_rule *rules;
	int (*attach)(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct model *model);
	const char *reason; /* why it may be protected */
	/*
	 * Has an ioeventfd, which is to be off: what the guest asked for must be with the
	 * device, and with its state, not in a descriptor. Recording, QEMU sees to it itself.
	 */
	bool ioeventfd;
};

#define PCI_RULES                                                                                  \
	{.key = "driver", .hidden = true}, {.key = "id", .hidden = true}, {.key = "bus"},          \
	    {.key = "addr"}, {.key = "acpi-index"}, {.key = "bootindex"},                          \
	    {.key = "multifunction"}, {.key = "rombar"}, {"romfile", "", ROM_BY_PATH, false},      \
	    {.key = "disable-legacy"}, {.key = "disable-modern"}, {.key = "vectors"},              \
	    {.key = "event_idx"}, {.key = "indirect_desc"}, {.key = "packed"},                     \
	{                                                                                          \
		.key = "ioeventfd", .hidden = true                                                 \
	}

#define MMIO_RULES                                                                                 \
	{.key = "driver", .hidden = true}, {.key = "id", .hidden = true}, {.key = "bus"},          \
	    {.key = "bootindex"}, {.key = "event_idx"}, {.key = "indirect_desc"},                  \
	{                                                                                          \
		.key = "packed"                                                                    \
	}

#define BLK_RULES                                                                                  \
	{.key = "drive", .hidden = true}, {"iothread", "", OTHER_THREAD, false},                   \
	    {"scsi", "off", "SCSI commands would pass the log by", false},                         \
	    {"share-rw", "off", "another writer's changes are not in the log", false},             \
	    {"config-wce", "off", NO_SWITCH, false}, {.key = "serial"}, {.key = "queue-size"},     \
	    {.key = "write-cache"}, {.key = "logical_block_size"}, {.key = "physical_block_size"}, \
	    {.key = "discard"}, {.key = "write-zeroes"}, {.key = "werror"},                        \
	{                                                                                          \
		.key = "rerror"                                                                    \
	}

#define NET_RULES                                                                                  \
	{.key = "netdev", .hidden = true}, {.key = "ctrl_vlan", .hidden = true}, /* always off */  \
	    {.key = "mac"}, {"mq", "off", VMFT_ONE_QUEUE, false},                                  \
	    {"failover", "off", NO_HOT_BACKUP, false}, {.key = "host_mtu"}, {.key = "speed"},      \
	    {.key = "duplex"}, {.key = "status"}, {.key = "rx_queue_size"}, {.key = "csum"},       \
	    {.key = "gso"}, {.key = "guest_csum"}, {.key = "guest_tso4"}, {.key = "guest_tso6"},   \
	    {.key = "guest_ecn"}, {.key = "guest_ufo"}, {.key = "host_tso4"},                      \
	    {.key = "host_tso6"}, {.key = "host_ecn"}, {.key = "host_ufo"},                        \
	{                                                                                          \
		.key = "mrg_rxbuf"                                                                 \
	}

#define RNG_RULES                                                                                  \
	{.key = "rng", .hidden = true}, {.key = "max-bytes"},                                      \
	{                                                                                          \
		.key = "period"                                                                    \
	}

/* The queues of a disk are served in one thread: their number is as good as any. */
#define QUEUES_RULE                                                                                \
	{                                                                                          \
		.key = "num-queues"                                                                \
	}

/* The guest cannot see when its frames are sent, but is offered to announce itself. */
#define SENDER_RULES                                                                               \
	{.key = "tx", .hidden = true},                                                             \
	{                                                                                          \
		.key = "guest_announce"                                                            \
	}

static const struct vmft_key_rule blk_rules[] = {
    PCI_RULES,
    BLK_RULES,
    {"num-queues", "1", VMFT_ONE_QUEUE, false},
    {0},
};

static const struct vmft_key_rule net_rules[] = {
    PCI_RULES,
    NET_RULES,
    {.key = "tx", .hidden = true},	       /* always timer */
    {.key = "guest_announce", .hidden = true}, /* always off */
    {0},
};

static const struct vmft_key_rule blk_pci_rules[] = {PCI_RULES, BLK_RULES, QUEUES_RULE, {0}};
static const struct vmft_key_rule net_pci_rules[] = {PCI_RULES, NET_RULES, SENDER_RULES, {0}};
static const struct vmft_key_rule rng_pci_rules[] = {PCI_RULES, RNG_RULES, {0}};

static const struct vmft_key_rule blk_mmio_rules[] = {MMIO_RULES, BLK_RULES, QUEUES_RULE, {0}};
static const struct vmft_key_rule net_mmio_rules[] = {MMIO_RULES, NET_RULES, SENDER_RULES, {0}};
static const struct vmft_key_rule rng_mmio_rules[] = {MMIO_RULES, RNG_RULES, {0}};

static const struct vmft_key_rule serial_rules[] = {
    {.key = "driver", .hidden = true},
    {.key = "id", .hidden = true},
    {.key = "chardev", .hidden = true},
    {.key = "index", .hidden = true},
    {0},
};

static int attach_disk(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct model *model)
{
	size_t index;
	int r = vmft_disk_attach(rw, arg, &index);

	if (r < 0)
		return r;
	vmft_disk_fact(rw, vmft_fact_keys(rw, model->name, arg, model->rules), index);
	return 0;
}

static int attach_nic(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct model *model)
{
	size_t index;
	int r = vmft_nic_attach(rw, arg, &index);

	if (r < 0)
		return r;
	vmft_fact_ordered(rw, vmft_arena_printf(rw->arena, "%s nic=%zu",
						vmft_fact_keys(rw, model->name, arg, model->rules),
						index));
	return 0;
}

static int attach_rng(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct model *model)
{
	vmft_fact_ordered(rw, vmft_fact_keys(rw, model->name, arg, model->rules));
	return 0;
}

/*
 * QEMU records characters only of devices that the board makes from -serial, so for lockstep
 * an isa-serial device becomes one: the same port at the same address.
 */
static int attach_serial(struct vmft_rewrite *rw, struct vmft_arg *arg, const struct model *model)
{
	const char *chardev = vmft_get(arg, "chardev");
	const char *index = vmft_get(arg, "index");
	const char *next = vmft_arena_printf(rw->arena, "%zu", rw->serial_count);

	(void)model;
	if (!chardev)
		return vmft_refuse(rw, arg, "no chardev= is given", "use -serial chardev:ID");
	if (index && strcmp(index, next) != 0)
		return vmft_refuse(rw, arg, "serial ports must be given in the order of index",
				   "use -serial chardev:ID for each port in turn");
	rw->serial_count++;
	if (vmft_is_checkpoint(rw))
		return 0;
	arg->emit = "serial";
	arg->text = vmft_arena_printf(rw->arena, "chardev:%s", chardev);
	arg->set = NULL;
	return 0;
}

#define DRAINED	 "requests are finished when the guest stands still"
#define HELD	 "frames out are held back by its tap until the backup has the guest's state"
#define NO_STATE "bytes come from the host; none are owed to a guest that stands still"
#define REGISTER "its state is its registers"

static const struct model lockstep_models[] = {
    {"virtio-blk-pci", "virtio-blk", blk_rules, attach_disk,
     "completions are logged by the blkreplay node vmft puts under it", false},
    {"virtio-net-pci", "virtio-net", net_rules, attach_nic,
     "packets are logged by filter-replay; with tx=timer sending is part of the replayed clock",
     false},
    {"virtio-rng-pci", "virtio-rng", rng_pci_rules, attach_rng,
     "rng-builtin takes its bytes from QEMU's own generator, whose output is logged", false},
    {"isa-serial", NULL, serial_rules, attach_serial,
     "characters in both directions are logged for ports made by -serial", false},
    /*
     * What pc and q35 bring with -nodefaults: PIIX3 or ICH9, PIT, HPET, PIC, IOAPIC, CMOS
     * clock, i8042 and PCI host bridge are clocked by the virtual clock or read logged
     * clocks; the IDE, SATA and floppy controllers have no drive.
     */
    {0},
};

static const struct model checkpoint_models[] = {
    {"virtio-blk-pci", "virtio-blk", blk_pci_rules, attach_disk, DRAINED, true},
    {"virtio-net-pci", "virtio-net", net_pci_rules, attach_nic, HELD, true},
    {"virtio-rng-pci", "virtio-rng", rng_pci_rules, attach_rng, NO_STATE, true},
    {"isa-serial", NULL, serial_rules, attach_serial, REGISTER, false},
    {0},
};

/* The board's transports have the ioeventfd of these. */
static const struct model microvm_models[] = {
    {"virtio-blk-device", NULL, blk_mmio_rules, attach_disk, DRAINED, false},
    {"virtio-net-device", NULL, net_mmio_rules, attach_nic, HELD, false},
    {"virtio-rng-device", NULL, rng_mmio_rules, attach_rng, NO_STATE, false},
    {"isa-serial", NULL, serial_rules, attach_serial, REGISTER, false},
    {0},
};

static const struct model *model_find(const struct vmft_rewrite *rw, const char *name)
{
	const struct model *model = lockstep_models;

	if (vmft_is_checkpoint(rw))
		model = rw->scan.microvm ? microvm_models : checkpoint_models;
	for (; model->name; model++)
		if (strcmp(model->name, name) == 0 ||
		    (model->alias && strcmp(model->alias, name) == 0))
			return model;
	return NULL;
}

int vmft_check_device(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *driver = vmft_get(arg, "driver");
	const struct model *model = driver ? model_find(rw, driver) : NULL;
	const char *todo = "use virtio-blk-pci, virtio-net-pci, virtio-rng-pci or isa-serial";

	if (vmft_is_checkpoint(rw) && rw->scan.microvm)
		todo = "use virtio-blk-device, virtio-net-device, virtio-rng-device or isa-serial";
	if (!model)
		return vmft_refuse(rw, arg, "this device is " VMFT_UNKNOWN, todo);
	rw->devices[rw->device_count++] = arg;
	return vmft_check_keys(rw, arg, model->rules);
}

int vmft_devices_finish(struct vmft_rewrite *rw)
{
	for (size_t i = 0; i < rw->device_count; i++) {
		struct vmft_arg *arg = rw->devices[i];
		const struct model *model = model_find(rw, vmft_get(arg, "driver"));
		int r = model->attach(rw, arg, model);

		if (r < 0)
			return r;
		if (model->ioeventfd)
			vmft_optset_set_bool(arg->set, "ioeventfd", false);
	}
	return 0;
}

int vmft_check_object(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule random_rules[] = {
	    {.key = "qom-type"}, {.key = "id"}, {.key = "filename"}, {0}};
	const char *type = vmft_get(arg, "qom-type");
	const char *id = vmft_get(arg, "id");
	const char *rewritten;

	if (type && strncmp(type, "memory-backend-", strlen("memory-backend-")) == 0)
		return vmft_refuse(rw, arg,
				   "vmft supplies the guest's RAM, shared with its monitor",
				   "leave it out and give the size with -m");
	if (type && strcmp(type, "iothread") == 0)
		return vmft_refuse(rw, arg, OTHER_THREAD, "leave it out");
	if (!type || !vmft_value_in(type, "rng-builtin|rng-random|rng-egd"))
		return vmft_check_unknown(rw, arg);
	if (!id)
		return vmft_refuse(rw, arg, "no id= is given", "add id=NAME");
	/*
	 * Bytes from /dev/urandom or a daemon are not logged; those of rng-builtin are. For
	 * checkpoint only the daemon is one too many: it would have to be there on both hosts.
	 */
	if (vmft_is_checkpoint(rw) && strcmp(type, "rng-random") == 0)
		return vmft_check_keys(rw, arg, random_rules);
	rewritten = vmft_arena_printf(rw->arena, "rng-builtin,id=%s", id);
	arg->text = rewritten;
	arg->set = NULL;
	return 0;
}
