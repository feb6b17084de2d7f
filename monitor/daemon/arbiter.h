/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arbiter: a test-and-set that at most one side of a VM wins for each generation.
 *
 * Backends fill an operations table with calls that may block (a dead NFS server blocks for
 * ever, a cluster without a majority for seconds); vmft_arbiter_worker makes them on a
 * thread of its own, so that the monitor never waits. There are no leases: what was won
 * stays won. A claim is lost as soon as a later generation is on record, whatever became of
 * the one that is claimed: a side that slept through failovers can never win.
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

/* What open() is given; only read while it runs. */
struct vmft_arbiter_settings {
	const char *where;	     /* what follows the scheme */
	const char *vm;		     /* a name as in the pair file */
	const char *ca, *cert, *key; /* paths of PEM files, or ""; for backends with TLS */
};

struct vmft_arbiter_ops {
	const char *scheme; /* "file:" */
	/* Checks that the place can be written to. */
	int (*open)(const struct vmft_arbiter_settings *settings, struct vmft_arbiter **ret,
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
extern const struct vmft_arbiter_ops vmft_arbiter_etcd;

/* The backend for "SCHEME:WHERE"; *ret_where points into spec. NULL: no such scheme. */
const struct vmft_arbiter_ops *vmft_arbiter_find(const char *spec, const char **ret_where);

struct vmft_arbiter_worker;

enum vmft_arbiter_ask {
	VMFT_ASK_CLAIM,
	VMFT_ASK_LATEST,
	VMFT_ASK_END,
	VMFT_ASKS,
};

struct vmft_arbiter_answer {
	enum vmft_arbiter_ask ask;
	enum vmft_claim claim;		   /* VMFT_ASK_CLAIM */
	int rc;				   /* the others: 0 or a negative errno */
	struct vmft_arbiter_latest latest; /* VMFT_ASK_LATEST, if rc is 0 */
	struct vmft_error err;		   /* why there is no answer */
};

/* Starts the thread; from then on the backend is called there only, but for calls made before
 * the first vmft_arbiter_worker_ask(). done_fd (an eventfd) becomes readable with each answer. */
int vmft_arbiter_worker_start(const struct vmft_arbiter_ops *ops, struct vmft_arbiter *arbiter,
			      const char *owner, struct vmft_arbiter_worker **ret);
int vmft_arbiter_worker_fd(const struct vmft_arbiter_worker *worker);
/* One of each kind at a time: its answer must have been taken before the next. generation is
 * not looked at for VMFT_ASK_LATEST. */
void vmft_arbiter_worker_ask(struct vmft_arbiter_worker *worker, enum vmft_arbiter_ask ask,
			     uint64_t generation);
/* True when an answer was there; there may be another. */
bool vmft_arbiter_worker_answer(struct vmft_arbiter_worker *worker,
				struct vmft_arbiter_answer *ret);
/* Waits, at most so long, until all that was asked has an answer. False: it has not. */
bool vmft_arbiter_worker_wait(struct vmft_arbiter_worker *worker, uint64_t milliseconds);

#endif
