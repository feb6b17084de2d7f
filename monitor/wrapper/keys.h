/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys that the rules of several strategies or boards have in common, as lists for tables of
 * struct vmft_key_rule. Included by devices.c and the rules only.
 */
#ifndef VMFT_KEYS_H
#define VMFT_KEYS_H

#include "rewrite.h"

#define VMFT_OTHER_THREAD                                                                          \
	VMFT_REASONS("work in a thread of its own is not recorded",                                \
		     "work in a thread of its own is not known to work with vmft")

/* Not formatted: clang-format takes the braces for blocks. */
/* clang-format off */

/* Of -machine. "type" is told apart as "board". */
#define BOARD_KEYS \
	{.key = "type", .hidden = true}, \
	{"nvdimm", "off", VMFT_REASON("vmft supplies all of the guest's RAM"), false}, \
	{.key = "memory-backend", .hidden = true}, \
	{.key = "acpi"}, \
	{.key = "graphics"}, \
	{.key = "pic"}, \
	{.key = "pit"}, \
	{.key = "dump-guest-core", .hidden = true}, \
	{.key = "mem-merge", .hidden = true}

/* The boards pc and q35 have these in addition. */
#define PC_KEYS \
	{.key = "hpet"}, \
	{.key = "fd-bootchk"}, \
	{.key = "i8042"}, \
	{.key = "sata"}, \
	{.key = "smbus"}, \
	{.key = "smm"}, \
	{.key = "vmport"}

/* Every device on a PCI bus. */
#define PCI_KEYS \
	{.key = "driver", .hidden = true}, \
	{.key = "id", .hidden = true}, \
	{.key = "bus"}, \
	{.key = "addr"}, \
	{.key = "acpi-index"}, \
	{.key = "bootindex"}, \
	{.key = "multifunction"}, \
	{.key = "rombar"}, \
	{"romfile", "", VMFT_REASON("a ROM file would have to be equal on both hosts"), false}, \
	{.key = "disable-legacy"}, \
	{.key = "disable-modern"}, \
	{.key = "vectors"}, \
	{.key = "event_idx"}, \
	{.key = "indirect_desc"}, \
	{.key = "packed"}, \
	{.key = "ioeventfd", .hidden = true}

#define BLK_KEYS \
	{.key = "drive", .hidden = true}, \
	{.key = "iothread", .hidden = true}, \
	{"scsi", "off", \
	 VMFT_REASONS("SCSI commands would pass the log by", \
		      "what SCSI commands write would not reach the backup"), false}, \
	{"share-rw", "off", \
	 VMFT_REASONS("another writer's changes are not in the log", \
		      "another writer's changes would not reach the backup"), false}, \
	{"config-wce", "off", \
	 VMFT_REASON("the cache mode a guest switches to is in no state that QEMU saves"), false}, \
	{.key = "serial"}, \
	{.key = "queue-size"}, \
	{.key = "write-cache"}, \
	{.key = "logical_block_size"}, \
	{.key = "physical_block_size"}, \
	{.key = "discard_granularity"}, \
	{.key = "min_io_size"}, \
	{.key = "opt_io_size"}, \
	{.key = "discard"}, \
	{.key = "write-zeroes"}, \
	{.key = "werror"}, \
	{.key = "rerror"}

/* ctrl_vlan is always off. */
#define NET_KEYS \
	{.key = "netdev", .hidden = true}, \
	{.key = "ctrl_vlan", .hidden = true}, \
	{.key = "mac"}, \
	{"failover", "off", \
	 VMFT_REASONS("the device would be unplugged by the host, which is not recorded", \
		      "the device would be unplugged by the host when the guest's state is taken"), \
	 false}, \
	{.key = "host_mtu"}, \
	{.key = "speed"}, \
	{.key = "duplex"}, \
	{.key = "status"}, \
	{.key = "rx_queue_size"}, \
	{.key = "csum"}, \
	{.key = "gso"}, \
	{.key = "guest_csum"}, \
	{.key = "guest_tso4"}, \
	{.key = "guest_tso6"}, \
	{.key = "guest_ecn"}, \
	{.key = "guest_ufo"}, \
	{.key = "host_tso4"}, \
	{.key = "host_tso6"}, \
	{.key = "host_ecn"}, \
	{.key = "host_ufo"}, \
	{.key = "mrg_rxbuf"}

#define RNG_KEYS \
	{.key = "rng", .hidden = true}, \
	{.key = "max-bytes"}, \
	{.key = "period"}

#define SERIAL_KEYS \
	{.key = "driver", .hidden = true}, \
	{.key = "id", .hidden = true}, \
	{.key = "chardev", .hidden = true}, \
	{.key = "index", .hidden = true}

#define ROM_KEY \
	{"romfile", "", VMFT_REASON("a ROM file would have to be equal on both hosts"), false}

/* The properties of such a device are what the guest sees of it, and equal on both hosts. */
#define ANY_KEYS \
	{.key = "driver", .hidden = true}, \
	ROM_KEY, \
	{.key = "ioeventfd", .hidden = true}, \
	{.key = "iothread", .hidden = true}, \
	{.key = VMFT_ANY_KEY}

#define OTHER_DISK_KEYS \
	{.key = "drive", .hidden = true}, \
	{"share-rw", "off", VMFT_REASON("another writer's changes would not reach the backup"), false}, \
	ANY_KEYS

/* clang-format on */

#endif
