/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is said to an etcd cluster and what it answers: JSON for POST /v3/kv/txn, as etcd's
 * gRPC gateway maps it (api/v3rpc/rpc.proto, TxnRequest and TxnResponse; keys and values in
 * base64, 64-bit numbers as text, fields that are zero left out).
 *
 * Pure functions. An answer that is not wholly understood is refused: whoever asked knows
 * nothing then.
 */
#ifndef VMFT_ETCD_WIRE_H
#define VMFT_ETCD_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "arbiter.h"

#define VMFT_ETCD_ANSWER_MAX 16384u /* bytes; the largest that is right has four records */
#define VMFT_ETCD_KEY_MAX    128u

struct vmft_etcd_request {
	char body[4096];
};

/* The key of a record; what is "gen" or "end". */
void vmft_etcd_key(const char *vm, const char *what, uint64_t generation,
		   char ret[static VMFT_ETCD_KEY_MAX]);

/* 0 and the cluster that answered, or -EBADMSG. Every answer that is no error has it. */
int vmft_etcd_cluster_parse(const char *text, size_t n, uint64_t *ret);

/* Makes the generation the owner's if no record of it or of a later one is there, the one before
 * is claim->after's, and has ended or not, as the claim says; else shows what is there. */
void vmft_etcd_claim_build(const char *vm, const struct vmft_arbiter_claim *claim,
			   struct vmft_etcd_request *ret);
/* 0 and WON or LOST; -ESTALE: the record of the generation before is not there; -EBADMSG. */
int vmft_etcd_claim_parse(const char *text, size_t n, const char *vm,
			  const struct vmft_arbiter_claim *claim, enum vmft_claim *ret);

/* Shows the latest record of either kind. It is a write that never comes to pass, so that a
 * cluster which would refuse one (no quorum, no space, no permission) refuses this. */
void vmft_etcd_latest_build(const char *vm, struct vmft_etcd_request *ret);
/* 0 or -EBADMSG. */
int vmft_etcd_latest_parse(const char *text, size_t n, const char *vm,
			   struct vmft_arbiter_latest *ret);

/* Records an end if the generation is the owner's. */
void vmft_etcd_end_build(const char *vm, uint64_t generation, const char *owner,
			 enum vmft_arbiter_end how, struct vmft_etcd_request *ret);
/* 0; -ESTALE: the generation is not the owner's; -EBADMSG. */
int vmft_etcd_end_parse(const char *text, size_t n);

void vmft_etcd_mark_build(const char *vm, const char *host, const char *text,
			  struct vmft_etcd_request *ret);
/* 0 or -EBADMSG. */
int vmft_etcd_mark_parse(const char *text, size_t n);

void vmft_etcd_look_build(const char *vm, const char *host, struct vmft_etcd_request *ret);
/* 0 and what is there, "" if nothing is; or -EBADMSG. */
int vmft_etcd_look_parse(const char *text, size_t n, const char *vm, const char *host,
			 char ret[static VMFT_ARBITER_OWNER_MAX]);

/* What an answer that is an error says, for people; "" if it says nothing. */
void vmft_etcd_error_text(const char *text, size_t n, char *ret, size_t size);

#endif
