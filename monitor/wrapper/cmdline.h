/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From an ordinary QEMU command line to one whose guest can be protected: recorded and
 * replayed (lockstep), or its state sent an epoch at a time (checkpoint).
 *
 * Pure: it reads nothing but its arguments, so golden files test all of it. What is not known to
 * be safe is refused. The tables in options.c, board.c, disks.c, nics.c and the two rules-*.c are
 * the whole list of what is accepted, with the reasons.
 */
#ifndef VMFT_CMDLINE_H
#define VMFT_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "monitor/common/error.h"
#include "monitor/common/pair-config.h"
#include "monitor/interface.h"
#include "report.h"

#define VMFT_NICS_MAX	   VMFT_NICS_SHARED_MAX
#define VMFT_DIGEST_HEX	   33  /* 128 bits in hex and the terminating zero */
#define VMFT_PROCESSOR_MAX 128 /* a model name and the terminating zero */

struct vmft_rewrite_options {
	enum vmft_role role;
	enum vmft_strategy_kind strategy; /* as asked for; auto: what the line allows */
	const char *ram_path;		  /* shared guest RAM, such as /proc/self/fd/9 */
	const char *name;		  /* of the pair; QEMU's -name unless one is given */
	/*
	 * Content digest of a kernel, initrd or firmware. Returns 0 or a negative errno, *err
	 * filled. NULL: the files are left out of the machine description.
	 */
	int (*file_digest)(void *ctx, const char *path, char ret_hex[static VMFT_DIGEST_HEX],
			   struct vmft_error *err);
	void *file_digest_ctx;
	/* What this host's processor is. The same returns; NULL: left out. */
	int (*host_processor)(char ret[static VMFT_PROCESSOR_MAX], struct vmft_error *err);
	/*
	 * The format of an image whose line does not say it, by its contents and its name. Returns
	 * 0, or a negative errno with *err filled. NULL: the format must be given.
	 */
	int (*image_format)(const char *path, const char **ret_format, struct vmft_error *err);
	/*
	 * A tap on a bridge, made by QEMU's helper program (NULL: the usual one). Returns its
	 * descriptor, or a negative errno with *err filled. NULL: none is made.
	 */
	int (*bridge_tap)(const char *bridge, const char *helper, struct vmft_error *err);
	/* Closes a descriptor that was handed over and that nobody is to have open. NULL: none is
	 * closed. */
	void (*drop_fd)(int fd);
	/* Whether one could be made; the same returns, 0 for yes. NULL: not looked at. */
	int (*bridge_look)(const char *bridge, const char *helper, struct vmft_error *err);
	/* Whether KVM can be used on this host, for a line that leaves the choice to QEMU. NULL:
	 * no. */
	bool (*has_kvm)(void);
	/* Why frames written to a descriptor that is given as fd= could not be held back, or NULL.
	 * NULL itself: not looked at. */
	const char *(*tap_fault)(int fd);
};

struct vmft_disk {
	const char *path;
	const char *node; /* what the guest's device is attached to: for lockstep blkreplay's */
	enum vmft_image_format format;
	bool read_only;
	bool write_through; /* the guest is shown no write cache */
};

struct vmft_cmdline_nic {
	const char *netdev;
	const char *fd, *ifname; /* as given, or NULL */
	bool no_vnet_hdr;
	char mac[18]; /* aa:bb:cc:dd:ee:ff, lower case */
};

/* Everything points into arena; vmft_cmdline_free() gives all of it back. */
struct vmft_cmdline {
	struct vmft_arena *arena;
	enum vmft_strategy_kind strategy; /* chosen: never auto */
	const char *strategy_reason;	  /* why, in a few words for people */
	int argc;
	char **argv; /* NULL-terminated; argv[0] is the caller's */
	struct vmft_disk *disks;
	size_t disk_count; /* in the order of the guest's disk devices */
	struct vmft_cmdline_nic *nics;
	size_t nic_count; /* in the order of -netdev */
	uint64_t ram_bytes;
	unsigned machine_version; /* 702: its type names version 7.2; 0: none, QEMU's newest */
	const char
	    *huge_pages; /* a hugetlbfs directory whose pages the memory is to have; or NULL */
	bool daemonize;	 /* QEMU is to run in the background */
	/*
	 * Everything the guest can see, one thing per line, in canonical order, without what
	 * may differ between two hosts: equal texts are equal machines.
	 */
	const char *machine_text;
};

/*
 * True for a call that asks QEMU about itself (-version, -device help, -machine none as
 * libvirt uses it): nothing to protect, to be passed on untouched.
 */
bool vmft_cmdline_is_probe(int argc, char *const argv[]);

/*
 * Checks and rewrites argv. Returns 0; or -EINVAL if report has a refusal, and *ret is untouched
 * then. report, empty before, has all that is refused, each with the reason and what to write
 * instead, and all that is replaced; its arena is the caller's.
 */
int vmft_cmdline_rewrite(int argc, char *const argv[], const struct vmft_rewrite_options *opt,
			 struct vmft_report *report, struct vmft_cmdline *ret);

/* XXH3 of machine_text. Not against forgery: it tells machines apart that differ by mistake. */
void vmft_cmdline_digest(const struct vmft_cmdline *cmdline, char ret_hex[static VMFT_DIGEST_HEX]);

/* NULL and an all-zero struct are fine. */
void vmft_cmdline_free(struct vmft_cmdline *cmdline);

#endif
