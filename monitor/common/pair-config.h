/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pair file: what both hosts must agree on before a VM is protected.
 *
 * One INI file, the same on both hosts. It is read once at start; nothing in it is trusted
 * further than the checks here: a value that passes needs no second look by the programs.
 */
#ifndef VMFT_PAIR_CONFIG_H
#define VMFT_PAIR_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "error.h"
#include "strategy-kind.h"

#define VMFT_PAIR_FILE_MAX  (64u * 1024)
#define VMFT_PATH_MAX	    4096 /* Linux's own limit */
#define VMFT_PAIR_NAME_MAX  64u
#define VMFT_HOST_NAME_MAX  27u		/* what a socket's path has room for */
#define VMFT_PAIR_DIRECTORY "/etc/vmft" /* NAME.conf in it is found by the VM's name */
#define VMFT_UUID_MAX	    37u		/* 8-4-4-4-12 digits and the terminating zero */
#define VMFT_QEMU_DEFAULT   "/usr/bin/qemu-system-x86_64"

enum vmft_role {
	VMFT_ROLE_PRIMARY, /* runs the guest and records it */
	VMFT_ROLE_BACKUP,  /* replays the log, ready to go live */
	VMFT_ROLE_COUNT,
};

/*
 * The hosts of a pair file, a section each, in the order of the file (both hosts have the same
 * file). [primary], [backup] and [spare], as older files have them, are the first, the second and
 * the third. Any host can have any role.
 */
enum vmft_host {
	VMFT_HOST_FIRST,
	VMFT_HOST_SECOND,
	VMFT_HOST_THIRD, /* need not be there */
	VMFT_HOST_COUNT,
};

/* Who a guest that is alone is protected by again. */
enum vmft_reprotect {
	VMFT_REPROTECT_AUTO,   /* whatever backup is there */
	VMFT_REPROTECT_MANUAL, /* one, each time "vmft attach" is said */
};

enum vmft_start {
	VMFT_START_PAIR,  /* the guest starts when its backup is there */
	VMFT_START_ALONE, /* at once; a backup is attached when there is one */
};

/* What becomes of the guest of a pair whose primary is told to stop. */
enum vmft_on_stop {
	VMFT_ON_STOP_END,	/* it ends, on both sides */
	VMFT_ON_STOP_HAND_OVER, /* it goes on on the backup, if there is one */
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
	char name[VMFT_HOST_NAME_MAX + 1];    /* [A-Za-z0-9_-] */
	char section[VMFT_HOST_NAME_MAX + 6]; /* "host NAME", or NAME in an older file */
	struct vmft_channel_address channel;
	struct vmft_channel_address heartbeat;			   /* addr_len 0: no second path */
	char control[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* absolute, fits bind() */
};

struct vmft_pair_config {
	char name[VMFT_PAIR_NAME_MAX + 1]; /* [A-Za-z0-9._-], never "." or ".." */
	char uuid[VMFT_UUID_MAX];	   /* of the VM, lower case; "": not given */
	char arbiter[VMFT_PATH_MAX];	   /* as written, "file:/..." or "etcd:URL,..." */
	/* Absolute paths or "": ca and the other two only with etcd:https, those two together. */
	char arbiter_ca[VMFT_PATH_MAX], arbiter_cert[VMFT_PATH_MAX], arbiter_key[VMFT_PATH_MAX];
	uint32_t silence_ms; /* 200..60000 */
	uint32_t lag_ms;     /* 20..60000: execution lag beyond which the primary is slowed */
	enum vmft_disk_check disk_check;
	uint32_t gate_bytes;	  /* 64 KiB..1 GiB */
	uint64_t log_bytes;	  /* a power of two, 1 MiB..4 GiB */
	char qemu[VMFT_PATH_MAX]; /* absolute path of the emulator */
	enum vmft_start start;
	enum vmft_reprotect reprotect;
	enum vmft_on_stop on_stop;
	uint32_t stun_ms; /* 10..10000: the guest is to be stopped no longer by an attach */
	uint32_t attach_mib_per_s; /* 0..100000: cap on an attach's copying; 0: none */
	enum vmft_strategy_kind strategy;
	uint32_t epoch_ms;	  /* 5..500: the length of an epoch */
	uint32_t epoch_min_ms;	  /* 1..epoch_ms: not shorter, when output waits */
	uint32_t epoch_max_ms;	  /* epoch_ms..5000: not longer, when nothing waits */
	uint32_t delta_cache_mib; /* 0..4096: of the pages last sent; 0: none */
	uint32_t grace_ms;     /* silence_ms..180000: how long the channel may be silent while the
				* heartbeat path says that the peer is there */
	uint32_t stall_ms;     /* 1000..600000: replay that stands still this long has diverged */
	uint32_t lag_drop_ms;  /* 0..600000: a backup that lags this long is given up; 0: never */
	uint32_t digest_ms;    /* 0..60000: how often guest memory is compared; 0: never */
	uint32_t digest_pages; /* 1..1024: pages compared each time */
	char save_log[VMFT_PATH_MAX];	/* directory the backup saves the log in; "": it does not */
	char alarm[VMFT_PATH_MAX];	/* program run when protection is lost; "": none */
	bool named;			/* the hosts' sections are [host NAME] */
	bool has_host[VMFT_HOST_COUNT]; /* the section is there */
	struct vmft_pair_side host[VMFT_HOST_COUNT];
};

/*
 * "IPV4:PORT" or "[IPV6]:PORT" in numbers. -EINVAL for anything else, -EADDRNOTAVAIL for an address
 * that is not one host's (any, a group); *ret is left alone then.
 */
int vmft_channel_address_parse(const char *text, struct vmft_channel_address *ret);

/* "primary" or "backup", exactly. Returns -EINVAL and leaves *ret alone on anything else. */
int vmft_role_parse(const char *text, enum vmft_role *ret);

/* A string constant. */
const char *vmft_role_name(enum vmft_role role);

/* The name of its section, also if that is not there. Lives as long as *config. */
const char *vmft_pair_host_name(const struct vmft_pair_config *config, enum vmft_host host);

/* The host whose section has that name. Returns -ENOENT and leaves *ret alone if there is none. */
int vmft_pair_host_find(const struct vmft_pair_config *config, const char *name,
			enum vmft_host *ret);

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
