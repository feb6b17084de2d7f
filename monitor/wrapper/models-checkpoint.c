/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The devices of strategy checkpoint.
 *
 * A device is here when QEMU saves all of its state while the guest is stopped, when it writes to
 * memory and images only through QEMU, and when tests/integration/test_devices.py has shown a guest
 * that used it over epochs and a failover. What such a device emits on the host it is attached to
 * (a socket, a display) is not held until the backup has the epoch; docs/command-lines.md says so.
 */
#include "keys.h"
#include "rewrite.h"

/* Not formatted: clang-format takes the braces for blocks. */
/* clang-format off */

/* Of a virtio device without PCI. */
#define MMIO_KEYS \
	{.key = "driver", .hidden = true}, \
	{.key = "id", .hidden = true}, \
	{.key = "bus"}, \
	{.key = "bootindex"}, \
	{.key = "event_idx"}, \
	{.key = "indirect_desc"}, \
	{.key = "packed"}

/* One thread serves all queues of a disk: any number of them will do. */
#define QUEUES_KEY {.key = "num-queues"}

/* The guest cannot see when its frames are sent. guest_announce is a feature that it sees. */
#define SENDER_KEYS {.key = "tx", .hidden = true}, {.key = "guest_announce"}

#define ROM_KEY \
	{"romfile", "", VMFT_REASON("a ROM file would have to be equal on both hosts"), false}

/* The properties of such a device are what the guest sees of it, and equal on both hosts. */
#define ANY_KEYS \
	{.key = "driver", .hidden = true}, \
	ROM_KEY, \
	{.key = "ioeventfd", .hidden = true}, \
	{.key = "iothread", .hidden = true}, \
	{.key = VMFT_ANY_KEY}

/* clang-format on */

static const struct vmft_key_rule blk_pci_rules[] = {PCI_KEYS, BLK_KEYS, QUEUES_KEY, {0}};
static const struct vmft_key_rule net_pci_rules[] = {
    PCI_KEYS, NET_KEYS, SENDER_KEYS, {.key = "mq"}, {.key = "tx_queue_size"}, {0}};
static const struct vmft_key_rule rng_pci_rules[] = {PCI_KEYS, RNG_KEYS, {0}};

static const struct vmft_key_rule blk_mmio_rules[] = {MMIO_KEYS, BLK_KEYS, QUEUES_KEY, {0}};
static const struct vmft_key_rule net_mmio_rules[] = {
    MMIO_KEYS, NET_KEYS, SENDER_KEYS, {.key = "mq"}, {.key = "tx_queue_size"}, {0}};
static const struct vmft_key_rule rng_mmio_rules[] = {MMIO_KEYS, RNG_KEYS, {0}};

static const struct vmft_key_rule serial_rules[] = {SERIAL_KEYS, {0}};
static const struct vmft_key_rule any_rules[] = {ANY_KEYS, {0}};
static const struct vmft_key_rule port_rules[] = {
    {.key = "chardev", .hidden = true}, ANY_KEYS, {0}};
static const struct vmft_key_rule other_nic_rules[] = {
    {.key = "netdev", .hidden = true}, ANY_KEYS, {0}};
static const struct vmft_key_rule other_disk_rules[] = {
    {.key = "drive", .hidden = true},
    {"share-rw", "off", VMFT_REASON("another writer's changes would not reach the backup"), false},
    ANY_KEYS,
    {0},
};
static const struct vmft_key_rule generation_rules[] = {
    {"guid", NULL, {0}, false},
    {.key = "driver", .hidden = true},
    {.key = "id", .hidden = true},
    {0},
};

#define DRAINED	 "requests are finished when the guest stands still"
#define HELD	 "frames out are held back by its tap until the backup has the guest's state"
#define NO_STATE "bytes come from the host; none are owed to a guest that stands still"
#define REGISTER "its state is its registers"
#define QUEUES	 "its state is its registers and queues; what the host has taken is not taken back"
#define MEMORY	 "its state is its registers and its memory, which is sent like the guest's"
#define TIMER	 "its state is its registers and a timer of the guest's clock"

static int attach_generation(struct vmft_rewrite *rw, struct vmft_arg *arg,
			     const struct vmft_model *model)
{
	const char *guid = vmft_get(arg, "guid");

	if (!guid || vmft_value_in(guid, "auto"))
		return vmft_refuse(rw, arg, "each host would make another number of its own",
				   "use guid= with the same number on both hosts");
	return vmft_attach_plain(rw, arg, model);
}

const struct vmft_model vmft_checkpoint_models[] = {
    {"virtio-blk-pci", "virtio-blk", blk_pci_rules, vmft_attach_disk, DRAINED, true},
    {"virtio-net-pci", "virtio-net", net_pci_rules, vmft_attach_nic, HELD, true},
    {"virtio-rng-pci", "virtio-rng", rng_pci_rules, vmft_attach_rng, NO_STATE, true},
    {"isa-serial", NULL, serial_rules, vmft_attach_serial, REGISTER, false},

    /* Disks and CD drives. */
    {"virtio-scsi-pci", "virtio-scsi", any_rules, vmft_attach_plain, DRAINED, true},
    {"scsi-hd", NULL, other_disk_rules, vmft_attach_disk, DRAINED, false},
    {"ahci", "ich9-ahci", any_rules, vmft_attach_plain, DRAINED, false},
    {"ide-hd", NULL, other_disk_rules, vmft_attach_disk, DRAINED, false},
    {"ide-cd", NULL, other_disk_rules, vmft_attach_removable, DRAINED, false},

    /* Network cards. */
    {"e1000", "e1000-82540em", other_nic_rules, vmft_attach_other_nic, HELD, false},
    {"e1000e", NULL, other_nic_rules, vmft_attach_other_nic, HELD, false},

    /* Buses. */
    {"pcie-root-port", NULL, any_rules, vmft_attach_plain, REGISTER, false},
    {"pcie-pci-bridge", NULL, any_rules, vmft_attach_plain, REGISTER, false},
    {"pci-bridge", NULL, any_rules, vmft_attach_plain, REGISTER, false},
    {"qemu-xhci", NULL, any_rules, vmft_attach_plain, REGISTER, false},
    {"piix3-usb-uhci", NULL, any_rules, vmft_attach_plain, REGISTER, false},

    /* What a person uses. */
    {"usb-tablet", NULL, any_rules, vmft_attach_plain, REGISTER, false},
    {"VGA", NULL, any_rules, vmft_attach_plain, MEMORY, false},
    {"virtio-vga", NULL, any_rules, vmft_attach_plain, MEMORY, true},

    /* What the host's tools use. */
    {"virtio-serial-pci", "virtio-serial", any_rules, vmft_attach_plain, QUEUES, true},
    {"virtserialport", NULL, port_rules, vmft_attach_plain, QUEUES, false},
    {"virtconsole", NULL, port_rules, vmft_attach_plain, QUEUES, false},
    {"virtio-balloon-pci", "virtio-balloon", any_rules, vmft_attach_plain, QUEUES, false},
    {"i6300esb", NULL, any_rules, vmft_attach_plain, TIMER, false},
    {"pvpanic", NULL, any_rules, vmft_attach_plain, REGISTER, false},
    {"vmgenid", NULL, generation_rules, attach_generation, REGISTER, false},
    {0},
};

/*
 * The board's transports have the ioeventfd of these. virtio-serial-device is the part of
 * virtio-serial-pci that has its state; the transport is the one of the disks and cards.
 */
const struct vmft_model vmft_checkpoint_microvm_models[] = {
    {"virtio-blk-device", NULL, blk_mmio_rules, vmft_attach_disk, DRAINED, false},
    {"virtio-net-device", NULL, net_mmio_rules, vmft_attach_nic, HELD, false},
    {"virtio-rng-device", NULL, rng_mmio_rules, vmft_attach_rng, NO_STATE, false},
    {"isa-serial", NULL, serial_rules, vmft_attach_serial, REGISTER, false},
    {"virtio-serial-device", NULL, any_rules, vmft_attach_plain, QUEUES, false},
    {"virtserialport", NULL, port_rules, vmft_attach_plain, QUEUES, false},
    {"virtconsole", NULL, port_rules, vmft_attach_plain, QUEUES, false},
    {0},
};
