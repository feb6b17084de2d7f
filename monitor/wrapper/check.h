/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a user is told of a command line before a guest starts: "vmft-qemu --check", and a start. */
#ifndef VMFT_CHECK_H
#define VMFT_CHECK_H

#include <stdio.h>

#include "cmdline.h"
#include "images.h"
#include "monitor/common/pair-config.h"
#include "qemu-binary.h"
#include "report.h"

/* The programs that the guest could run. */
struct vmft_qemu_choice {
	const char *installed; /* as the pair file names it */
	const char *kept;   /* a copy of the build that the guest runs already; "": there is none */
	const char *digits; /* the beginning of that build's id; "": it is not known */
};

/* A command line that was rewritten, and what of this host it needs. */
struct vmft_checked {
	struct vmft_cmdline cmdline; /* all zeroes if the line is refused */
	const char *qemu_path;	     /* one of the choice */
	struct vmft_qemu_binary qemu;
	char disk_digest[VMFT_DIGEST_HEX];
	struct vmft_image_facts images[VMFT_AREA_DISKS_MAX];
};

/*
 * Rewrites argv and looks at the QEMU and the images of this host. The QEMU is the installed one;
 * or the kept one, if that is of another build and the guest could not go on in another. how says
 * how much of an image is read. Starts nothing. Returns 0, or -EINVAL with refusals in report.
 * vmft_cmdline_free() what is in ret in either case.
 */
int vmft_check(int argc, char *argv[], const struct vmft_rewrite_options *opt,
	       const struct vmft_qemu_choice *choice, enum vmft_disk_check how,
	       struct vmft_report *report, struct vmft_checked *ret);

/* One line for each finding of that kind, with words before it. */
void vmft_check_print(FILE *out, const char *before, const struct vmft_report *report,
		      enum vmft_finding_kind kind);

/* One line for each strategy that refuses less of the line than the one of the report. */
void vmft_check_print_others(FILE *out, const char *before, int argc, char *argv[],
			     const struct vmft_rewrite_options *opt,
			     const struct vmft_report *report);

/* "vmft-qemu --check ...": argv[1] is --check. Returns the exit code. */
int vmft_check_main(int argc, char *argv[]);

#endif
