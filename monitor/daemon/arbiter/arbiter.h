/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arbiter: a test-and-set that at most one side of a VM wins for each generation.
 *
 * The record of a generation names its owner: a token that no other process has, and words for
 * people. Whoever claims generation N + 1 says what it knows to be the record of N. Only where
 * that record is found can the claim be won or lost. Anywhere else the claim is unreachable:
 * an arbiter that was emptied or replaced, or a share that is not mounted, is not the arbiter
 * the pair lives on.
 *
 * Backends fill an operations table with calls that may block (a dead NFS server blocks for
 * ever, a cluster without a majority for seconds); vmft_arbiter_worker makes them on a
 * thread of its own, so that the monitor never waits. There are no leases: what was won
 * stays won. Records are added, never removed, and numbers never go down: a claim is lost as
 * soon as a later generation is on record, so a side that slept through failovers never wins.
 */
#ifndef VMFT_ARBITER_H
#define VMFT_ARBITER_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/common/error.h"

#define VMFT_ARBITER_OWNER_MAX 128u

struct vmft_arbiter;

/* The latest generation on record. */
struct vmft_arbiter_latest {
	uint64_t generation; /* 0: the VM is not known here */
	bool ended;	     /* its guest ended in order, or a person declared it dead */
	bool declared;	     /* ended: a person declared it dead */
	char owner[VMFT_ARBITER_OWNER_MAX]; /* as its claim gave it */
	char record[512];		    /* where the record is, for messages */
};

/* What is claimed; only read while claim() runs. */
struct vmft_arbiter_claim {
	uint64_t generation;
	/* Unique to this monitor process; printable, no newline, shorter than
	 * VMFT_ARBITER_OWNER_MAX. */
	const char *owner;
	/* The record of generation - 1 as the claimant knows it: from its own claim, or from the
	 * peer's hello. "": there is none, the VM was never started. */
	const char *after;
	/* The VM is started: generation - 1 must have ended. Else a backup or a primary takes
	 * the VM on: the claim is lost if generation - 1 has ended. */
	bool starts;
};

enum vmft_claim {
	VMFT_CLAIM_WON,
	VMFT_CLAIM_LOST,
	/* Nobody knows whether the claim was recorded, or this is not the arbiter that has the
	 * record of the generation before: ask again. */
	VMFT_CLAIM_UNREACHABLE,
};

/* How the end of a generation came about. */
enum vmft_arbiter_end {
	VMFT_END_ORDERLY,  /* its guest ended, or never ran */
	VMFT_END_DECLARED, /* a person says that it is not running anywhere */
};

/* What an end's record says. */
#define VMFT_END_TEXT_ORDERLY  "ended"
#define VMFT_END_TEXT_DECLARED "declared dead"

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
	/* Idempotent: claiming what owner has won before is won again. err says why it is
	 * unreachable. */
	enum vmft_claim (*claim)(struct vmft_arbiter *arbiter,
				 const struct vmft_arbiter_claim *claim, struct vmft_error *err);
	/* Records that the generation whose record is owner is over. Idempotent. 0 or a negative
	 * errno; -ESTALE: the record is not there, nothing was recorded. err may be NULL. */
	int (*end)(struct vmft_arbiter *arbiter, uint64_t generation, const char *owner,
		   enum vmft_arbiter_end how, struct vmft_error *err);
	/* Leaves text (as an owner) where the other hosts of the pair find it by host, a section
	 * of the pair file. It replaces an earlier one. */
	int (*mark)(struct vmft_arbiter *arbiter, const char *host, const char *text,
		    struct vmft_error *err);
	/* Finds what was left for host; "" if there is nothing. */
	int (*look)(struct vmft_arbiter *arbiter, const char *host,
		    char ret[static VMFT_ARBITER_OWNER_MAX], struct vmft_error *err);
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
	VMFT_ASK_MARK,
	VMFT_ASKS,
};

struct vmft_arbiter_question {
	enum vmft_arbiter_ask ask;
	uint64_t generation;		     /* CLAIM, END */
	char record[VMFT_ARBITER_OWNER_MAX]; /* CLAIM: of generation - 1; END: of generation */
	const char *host;		     /* MARK: whose; outlives the answer */
};

struct vmft_arbiter_answer {
	enum vmft_arbiter_ask ask;
	enum vmft_claim claim;		   /* VMFT_ASK_CLAIM */
	int rc;				   /* the others: 0 or a negative errno */
	struct vmft_arbiter_latest latest; /* VMFT_ASK_LATEST, if rc is 0 */
	char mark[VMFT_ARBITER_OWNER_MAX]; /* VMFT_ASK_MARK, if rc is 0 */
	struct vmft_error err;		   /* why there is no answer */
};

/* Starts the thread; from then on the backend is called there only, but for calls made before
 * the first vmft_arbiter_worker_ask(). done_fd (an eventfd) becomes readable with each answer. */
int vmft_arbiter_worker_start(const struct vmft_arbiter_ops *ops, struct vmft_arbiter *arbiter,
			      const char *owner, struct vmft_arbiter_worker **ret);
int vmft_arbiter_worker_fd(const struct vmft_arbiter_worker *worker);
/* The question is copied. One of each kind at a time: its answer must have been taken before the
 * next. A claim is one that takes the VM on, by the worker's owner. */
void vmft_arbiter_worker_ask(struct vmft_arbiter_worker *worker,
			     const struct vmft_arbiter_question *question);
/* True when an answer was there; there may be another. */
bool vmft_arbiter_worker_answer(struct vmft_arbiter_worker *worker,
				struct vmft_arbiter_answer *ret);
/* Waits, at most so long, until all that was asked has an answer. False: it has not. */
bool vmft_arbiter_worker_wait(struct vmft_arbiter_worker *worker, uint64_t milliseconds);

#endif
