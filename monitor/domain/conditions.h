/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The conditions under which a domain can be protected, judged by what two hosts say of themselves
 * (look.h). Pure.
 */
#ifndef VMFT_CONDITIONS_H
#define VMFT_CONDITIONS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "domain-xml.h"
#include "link-probe.h"

#define VMFT_CONDITIONS_MAX 160u

enum vmft_condition_result {
	VMFT_CONDITION_PASSED,
	VMFT_CONDITION_NOTED,  /* worth knowing; it prevents nothing */
	VMFT_CONDITION_FAILED, /* the domain cannot be protected until this is changed */
};

/* "ok", "note" or "FAIL". */
const char *vmft_condition_result_name(enum vmft_condition_result result);

struct vmft_condition {
	enum vmft_condition_result result;
	char what[96];	/* "disk vda" */
	char text[512]; /* what was found; of a failure also what to do */
};

struct vmft_conditions {
	struct vmft_condition item[VMFT_CONDITIONS_MAX];
	size_t count; /* those that did not fit are left out, never a failure of an earlier part */
	size_t failed;
};

/* The host of the domain, and the one of its backup. */
enum { VMFT_HERE, VMFT_THERE, VMFT_BOTH };

struct vmft_evidence {
	const struct vmft_domain_definition *domain;
	const char *host[VMFT_BOTH];	      /* what they are called in the texts */
	struct json_object *facts[VMFT_BOTH]; /* NULL: the host could not be asked */
	const char *unanswered[VMFT_BOTH];    /* why, or NULL */
	/* Of the request to the other host, for the comparison of clocks: CLOCK_REALTIME, ns. */
	int64_t asked_ns, answered_ns;
	const char *token;		      /* that was left at the arbiter here */
	const struct vmft_link_figures *link; /* NULL: not measured, link_error says why */
	const char *link_error;
};

/* Fills *ret. Each part of the evidence gives at least one condition. */
void vmft_conditions_judge(const struct vmft_evidence *evidence, struct vmft_conditions *ret);

/* For a caller that found out something more. */
void vmft_conditions_add(struct vmft_conditions *conditions, enum vmft_condition_result result,
			 const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
