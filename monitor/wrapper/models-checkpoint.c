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
static const struct vmft_key_rule audio_rules[] = {
    {.key = "audiodev", .hidden = true}, ANY_KEYS, {0}};
static const struct vmft_key_rule other_nic_rules[] = {
    {.key = "netdev", .hidden = true}, ANY_KEYS, {0}};
static const struct vmft_key_rule other_disk_rules[] = {OTHER_DISK_KEYS, {0}};
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
#define STREAM	 "its state is its registers and how far it has read; the host plays nothing"
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

#define NO_SOUND VMFT_NODE_PREFIX "no-sound"

/* Without audiodev= QEMU 7.2 plays on this host, and 10.0 does not start. */
static int attach_audio(struct vmft_rewrite *rw, struct vmft_arg *arg,
			const struct vmft_model *model)
{
	if (!vmft_get(arg, "audiodev")) {
		vmft_replaced(rw, arg,
			      "audiodev=none: the guest has its sound card, and nobody "
			      "hears it");
		if (!rw->no_sound)
			vmft_add(rw, "-audiodev", "none,id=" NO_SOUND);
		rw->no_sound = true;
		vmft_optset_set(arg->set, "audiodev", NO_SOUND);
	}
	return vmft_attach_plain(rw, arg, model);
}

/* The same device under three names: which versions of virtio it offers, and on which bus. */
#define VIRTIO_PCI(name, alias, rules, attach, why, ioeventfd)                                     \
	{name "-pci", alias, rules, attach, why, ioeventfd},                                       \
	    {name "-pci-transitional", NULL, rules, attach, why, ioeventfd},                       \
	{                                                                                          \
		name "-pci-non-transitional", NULL, rules, attach, why, ioeventfd                  \
	}

#define PLAIN(name, why)                                                                           \
	{                                                                                          \
		name, NULL, any_rules, vmft_attach_plain, why, false                               \
	}

const struct vmft_model vmft_checkpoint_models[] = {
    VIRTIO_PCI("virtio-blk", "virtio-blk", blk_pci_rules, vmft_attach_disk, DRAINED, true),
    VIRTIO_PCI("virtio-net", "virtio-net", net_pci_rules, vmft_attach_nic, HELD, true),
    VIRTIO_PCI("virtio-rng", "virtio-rng", rng_pci_rules, vmft_attach_rng, NO_STATE, true),
    {"isa-serial", NULL, serial_rules, vmft_attach_serial, REGISTER, false},

    /* Disks and CD drives. */
    VIRTIO_PCI("virtio-scsi", "virtio-scsi", any_rules, vmft_attach_plain, DRAINED, true),
    {"lsi53c895a", "lsi", any_rules, vmft_attach_plain, DRAINED, false},
    {"scsi-hd", NULL, other_disk_rules, vmft_attach_disk, DRAINED, false},
    {"scsi-cd", NULL, other_disk_rules, vmft_attach_removable, DRAINED, false},
    {"ahci", "ich9-ahci", any_rules, vmft_attach_plain, DRAINED, false},
    {"ide-hd", NULL, other_disk_rules, vmft_attach_disk, DRAINED, false},
    {"ide-cd", NULL, other_disk_rules, vmft_attach_removable, DRAINED, false},

    /* Network cards. */
    {"e1000", "e1000-82540em", other_nic_rules, vmft_attach_other_nic, HELD, false},
    {"e1000-82544gc", NULL, other_nic_rules, vmft_attach_other_nic, HELD, false},
    {"e1000-82545em", NULL, other_nic_rules, vmft_attach_other_nic, HELD, false},
    {"e1000e", NULL, other_nic_rules, vmft_attach_other_nic, HELD, false},
    {"rtl8139", NULL, other_nic_rules, vmft_attach_other_nic, HELD, false},
    {"vmxnet3", NULL, other_nic_rules, vmft_attach_other_nic, HELD, false},

    /* Buses. */
    PLAIN("pcie-root-port", REGISTER),
    PLAIN("pcie-pci-bridge", REGISTER),
    PLAIN("pci-bridge", REGISTER),
    PLAIN("qemu-xhci", REGISTER),
    PLAIN("usb-ehci", REGISTER),
    PLAIN("ich9-usb-ehci1", REGISTER),
    PLAIN("ich9-usb-uhci1", REGISTER),
    PLAIN("ich9-usb-uhci2", REGISTER),
    PLAIN("ich9-usb-uhci3", REGISTER),
    PLAIN("piix3-usb-uhci", REGISTER),

    /* What a person uses. */
    PLAIN("usb-tablet", REGISTER),
    PLAIN("usb-mouse", REGISTER),
    PLAIN("usb-kbd", REGISTER),
    PLAIN("VGA", MEMORY),
    {"virtio-vga", NULL, any_rules, vmft_attach_plain, MEMORY, true},
    PLAIN("qxl-vga", MEMORY),
    PLAIN("cirrus-vga", MEMORY),
    PLAIN("intel-hda", STREAM),
    PLAIN("ich9-intel-hda", STREAM),
    {"hda-duplex", NULL, audio_rules, attach_audio, STREAM, false},
    {"hda-output", NULL, audio_rules, attach_audio, STREAM, false},
    {"hda-micro", NULL, audio_rules, attach_audio, STREAM, false},
    {"AC97", NULL, audio_rules, attach_audio, STREAM, false},

    /* What the host's tools use. */
    VIRTIO_PCI("virtio-serial", "virtio-serial", any_rules, vmft_attach_plain, QUEUES, true),
    {"virtserialport", NULL, port_rules, vmft_attach_plain, QUEUES, false},
    {"virtconsole", NULL, port_rules, vmft_attach_plain, QUEUES, false},
    VIRTIO_PCI("virtio-balloon", "virtio-balloon", any_rules, vmft_attach_plain, QUEUES, false),
    PLAIN("i6300esb", TIMER),
    PLAIN("pvpanic", REGISTER),
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
