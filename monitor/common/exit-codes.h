/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the programs of vmft exit with. The manual pages list the same; append only. */
#ifndef VMFT_EXIT_CODES_H
#define VMFT_EXIT_CODES_H

enum vmft_exit {
	VMFT_EXIT_OK = 0,
	VMFT_EXIT_INTERNAL = 1,	   /* a bug, or the system refused something unusual */
	VMFT_EXIT_CONFIG = 2,	   /* wrong pair file, environment or option */
	VMFT_EXIT_UNPROTECTED = 3, /* the command line asks for what cannot be protected */
	VMFT_EXIT_QEMU = 4,	   /* QEMU missing, unsupported build, symbols missing */
	VMFT_EXIT_IMAGE = 5,	   /* a disk image cannot be read or is in use */
	VMFT_EXIT_ADDRESS = 6,	   /* channel or control address in use or not ours */
	VMFT_EXIT_PEER = 7,	   /* the peer was refused, or refused us */
	VMFT_EXIT_ARBITER = 8,	   /* arbiter not usable, or the generation is taken */
	VMFT_EXIT_FENCED = 9,	   /* lost the arbitration: the other side is live */
	VMFT_EXIT_GUEST = 10,	   /* the guest's QEMU died and this side does not carry it on */
	VMFT_EXIT_ATTACH = 11,	   /* an attach to this backup failed half-way: start it again */
	VMFT_EXIT_DIVERGED = 12,   /* this backup is not what the primary is: start it again */
	VMFT_EXIT_HANDED_OVER =
	    13, /* the guest goes on on the other host: start this one as backup */

	/* What vmft status says of a side beside these; 0: protected (also lagging, handing-over).
	 */
	VMFT_EXIT_ALONE = 14,	  /* the guest runs, and nothing protects it */
	VMFT_EXIT_ATTACHING = 15, /* a backup is being attached */
	VMFT_EXIT_WAITING = 16,	  /* no guest runs here yet, or which side goes on is undecided */
	VMFT_EXIT_ENDED = 17,	  /* this side's guest is gone */
};

#endif
