/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arbiter: a test-and-set that at most one side of a VM wins for each generation.
 *
 * Backends fill an operations table with calls that may block (a dead NFS server blocks for
 * ever); vmft_arbiter_worker runs one at a time on a thread of its own, so that the monitor
 * never waits. There are no leases: what was won stays won.
 */
#ifndef VMFT_ARBITER_H
#define VMFT_ARBITER_H

#include <stdbool.h>
#include <stdint.h>

#include "../common/error.h"

#define VMFT_ARBITER_OWNER_MAX 128u

struct vmft_arbiter;

/* The latest generation on record. */
struct vmft_arbiter_latest {
	uint64_t generation; /* 0: the VM is not known here */
	bool ended;	     /* its guest ended in an orderly way */
	char owner[VMFT_ARBITER_OWNER_MAX];
	char record[512]; /* where the record is, for messages */
};

enum vmft_claim {
	VMFT_CLAIM_WON,
	VMFT_CLAIM_LOST,
	VMFT_CLAIM_UNREACHABLE, /* nobody knows whether the claim was recorded: ask again */
};

struct vmft_arbiter_ops {
	const char *scheme; /* "file:" */
	/* Checks that the place can be written to. where: what follows the scheme. */
	int (*open)(const char *where, const char *vm, struct vmft_arbiter **ret,
		    struct vmft_error *err);
	void (*close)(struct vmft_arbiter *arbiter);
	int (*latest)(struct vmft_arbiter *arbiter, struct vmft_arbiter_latest *ret,
		      struct vmft_error *err);
	/* Idempotent: claiming what owner has won before is won again. owner is unique to
	 * this monitor process and holds no newline. err says why it is unreachable. */
	enum vmft_claim (*claim)(struct vmft_arbiter *arbiter, uint64_t generation,
				 const char *owner, struct vmft_error *err);
	/* The guest of this generation ended in an orderly way. 0 or a negative errno. */
	int (*end)(struct vmft_arbiter *arbiter, uint64_t generation);
};

extern const struct vmft_arbiter_ops vmft_arbiter_file;

/* The backend for "SCHEME:WHERE"; *ret_where points into spec. NULL: no such scheme. */
const struct vmft_arbiter_ops *vmft_arbiter_find(const char *spec, const char **ret_where);

struct vmft_arbiter_worker;

/* Starts the thread. done_fd (an eventfd) becomes readable with each answer. */
int vmft_arbiter_worker_start(const struct vmft_arbiter_ops *ops, struct vmft_arbiter *arbiter,
			      const char *owner, struct vmft_arbiter_worker **ret);
int vmft_arbiter_worker_fd(const struct vmft_arbiter_worker *worker);
/* One claim at a time: the answer must have been taken before the next. */
void vmft_arbiter_worker_claim(struct vmft_arbiter_worker *worker, uint64_t generation);
/* True when an answer was there; *ret_err holds the reason of VMFT_CLAIM_UNREACHABLE. */
bool vmft_arbiter_worker_answer(struct vmft_arbiter_worker *worker, enum vmft_claim *ret,
				struct vmft_error *ret_err);

#endif
