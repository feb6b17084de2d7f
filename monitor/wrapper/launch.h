/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starts the monitor and becomes QEMU. Everything before it only checks. */
#ifndef VMFT_LAUNCH_H
#define VMFT_LAUNCH_H

#include "cmdline.h"
#include "images.h"
#include "monitor/common/error.h"
#include "monitor/common/pair-config.h"
#include "monitor/interface.h"
#include "qemu-binary.h"
#include "tap-probe.h"

/* Where the other programs of vmft are; both checked to be there. */
struct vmft_programs {
	char monitor[VMFT_PATH_MAX];
	char agent[VMFT_PATH_MAX];
};

/* What a build of QEMU is tried with. */
struct vmft_test_programs {
	char directory[VMFT_PATH_MAX]; /* vmft-qemu and vmft are there */
	char script[VMFT_PATH_MAX];
	char guest[VMFT_PATH_MAX];
};

struct vmft_launch {
	const char *pair_path;
	enum vmft_role role;
	enum vmft_host host;
	const struct vmft_pair_config *config;
	const struct vmft_qemu_binary *qemu;
	const struct vmft_cmdline *cmdline;
	const struct vmft_programs *programs;
	const char *machine_digest;
	const char *disk_digest;
	const struct vmft_image_facts *images; /* as many as cmdline->disks */
	const struct vmft_tap_probe *taps;     /* as many as cmdline->nics */
	int ram_fd;			       /* a memfd; sized by vmft_launch() */
	char *const *words;		       /* the arguments as given, NULL-terminated */
	bool managed;			       /* libvirt's: see struct vmft_settings */
	int ready_fd;	    /* of -daemonize: background.h; -1: not in the background */
	const char *replay; /* a saved log to replay instead of a peer's; or NULL */
};

/* Next to this program, or in the installed place. */
int vmft_programs_find(struct vmft_programs *ret, struct vmft_error *err);
int vmft_test_programs_find(struct vmft_test_programs *ret, struct vmft_error *err);

/* A memfd that no other program inherits yet, its number above the standard three. */
int vmft_ram_create(struct vmft_error *err);

/*
 * Gives the guest's memory pages of a size: huge_pages is a directory of hugetlbfs, or
 * "hugetlbsize=SIZE" (0: the host's default), as struct vmft_cmdline has it. A directory of another
 * file system changes nothing. ram_fd stays the same number. 0 or a negative errno with *err
 * filled.
 */
int vmft_ram_use_pages(int ram_fd, const char *huge_pages, uint64_t ram_bytes,
		       struct vmft_error *err);

/*
 * Fills in the settings of agent and monitor, except the descriptors, which are the caller's.
 * Fields that are not set must be zero before. -E2BIG with *err filled when a name or path is too
 * long for its field. guest_pid is the calling process, which becomes QEMU.
 */
int vmft_launch_settings(const struct vmft_launch *launch, struct vmft_settings *ret,
			 struct vmft_error *err);

/*
 * Does not return on success: the calling process becomes QEMU, after its monitor is ready.
 * Otherwise a negative errno; err->text is empty when the monitor has printed the reason.
 */
int vmft_launch(const struct vmft_launch *launch, struct vmft_error *err);

#endif
