/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The role/pair file: what both hosts must agree on before a VM is protected.
 *
 * One INI file, the same on both hosts. It is read once at start; nothing in it is trusted
 * further than the checks here: a value that passes needs no second look by the programs.
 */
#ifndef VMFT_PAIR_CONFIG_H
#define VMFT_PAIR_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "error.h"

#define VMFT_PAIR_FILE_MAX (64u * 1024)
#define VMFT_PATH_MAX	   4096 /* Linux's own limit */
#define VMFT_PAIR_NAME_MAX 64u

enum vmft_role {
	VMFT_ROLE_PRIMARY, /* runs the guest and records it */
	VMFT_ROLE_BACKUP,  /* replays the log, ready to go live */
	VMFT_ROLE_COUNT,
};

/* How the two sides' disks are compared before the guest starts. */
enum vmft_disk_check {
	VMFT_DISK_CHECK_FULL, /* sizes and contents */
	VMFT_DISK_CHECK_SIZE, /* sizes only: the administrator vouches for the contents */
};

struct vmft_channel_address {
	struct sockaddr_storage addr; /* AF_INET or AF_INET6, port set */
	socklen_t addr_len;
	char text[64]; /* as written in the file, for messages */
};

struct vmft_pair_side {
	struct vmft_channel_address channel;
	char control[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* absolute, fits bind() */
};

struct vmft_pair_config {
	char name[VMFT_PAIR_NAME_MAX + 1]; /* [A-Za-z0-9._-], never "." or ".." */
	char arbiter[VMFT_PATH_MAX];	   /* as written, "file:/..." */
	uint32_t silence_ms;		   /* 200..60000 */
	uint32_t lag_ms; /* 20..60000: execution lag beyond which the primary is slowed */
	enum vmft_disk_check disk_check;
	uint32_t gate_bytes;	  /* 64 KiB..1 GiB */
	uint64_t log_bytes;	  /* a power of two, 1 MiB..4 GiB */
	char qemu[VMFT_PATH_MAX]; /* absolute path of the emulator */
	struct vmft_pair_side side[VMFT_ROLE_COUNT];
};

/* "primary" or "backup", exactly. Returns -EINVAL and leaves *ret alone on anything else. */
int vmft_role_parse(const char *text, enum vmft_role *ret);

/* A string constant. */
const char *vmft_role_name(enum vmft_role role);

/*
 * Reads and checks the file at path. On failure *ret is untouched, *err says
 * "FILE:LINE: what; what to do" and the result is -EINVAL for a bad file, -E2BIG for one
 * over VMFT_PAIR_FILE_MAX, otherwise what open() or read() reported.
 */
int vmft_pair_config_load(const char *path, struct vmft_pair_config *ret, struct vmft_error *err);

/* The same for text already in memory; path is used in messages only. */
int vmft_pair_config_parse(const char *path, const char *text, size_t size,
			   struct vmft_pair_config *ret, struct vmft_error *err);

#endif
