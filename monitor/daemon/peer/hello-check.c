/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hello-check.h"

#include <stdio.h>
#include <string.h>

#include "monitor/common/tap-facts.h"

#define PATH_SHOWN 80u /* the end of a longer path is shown */

static bool same(const uint8_t *a, uint8_t a_bytes, const uint8_t *b, uint8_t b_bytes)
{
	return a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0;
}

/* Whether the pair file has the host that the peer says it is on. */
static bool host_fits(const struct vmft_hello_terms *terms, uint8_t host)
{
	if (host >= VMFT_HOST_COUNT || !terms->config->has_host[host])
		return false;
	return terms->primary ? host == terms->to : host != terms->host;
}

/* Names the image that differs: one of several is hard to find otherwise. */
static const char *other_disks(const struct vmft_hello_terms *terms,
			       const struct vmft_hello *theirs, char *text)
{
	const struct vmft_hello *ours = terms->ours;

	for (uint32_t i = 0; i < terms->disk_count && i < theirs->image_count; i++) {
		const char *path = terms->disk[i].path;
		const size_t n = strlen(path);

		if (i >= ours->image_count || ours->image_sum[i] == theirs->image_sum[i])
			continue;
		(void)snprintf(text, VMFT_HELLO_WHY_MAX + 1,
			       "other disk contents at disk %u (%s%s): copy the images before the "
			       "start",
			       i, n > PATH_SHOWN ? "..." : "",
			       n > PATH_SHOWN ? path + n - PATH_SHOWN : path);
		return text;
	}
	return "other disk contents: copy the images before the start";
}

static bool taps_fit(const struct vmft_hello_terms *terms, const struct vmft_hello *theirs,
		     char *text)
{
	const struct vmft_hello *primary = terms->primary ? terms->ours : theirs;
	const struct vmft_hello *backup = terms->primary ? theirs : terms->ours;

	return vmft_tap_facts_equal(primary, backup, text, VMFT_HELLO_WHY_MAX + 1);
}

const char *vmft_hello_foreign(const struct vmft_versions *theirs, char *text)
{
	(void)snprintf(text, VMFT_HELLO_WHY_MAX + 1,
		       "versions %u to %u of the channel, the side that refuses it speaks %u to "
		       "%u: install the same vmft on both hosts",
		       theirs->lowest, theirs->highest, VMFT_FRAME_VERSION_LOWEST,
		       VMFT_FRAME_VERSION);
	return text;
}

/* A feature that one side requires and the other does not have. */
static const char *other_features(const struct vmft_hello *ours, const struct vmft_hello *theirs,
				  char *text)
{
	const struct vmft_feature *missing;
	uint64_t features;
	bool is_theirs;

	if (vmft_hello_agree(ours, theirs, &features, &missing) == 0)
		return NULL;
	is_theirs =
	    missing >= theirs->feature && missing < theirs->feature + VMFT_HELLO_FEATURES_MAX;
	(void)snprintf(
	    text, VMFT_HELLO_WHY_MAX + 1,
	    "%s \"%s\", which the side that refuses it %s: install the same vmft on both "
	    "hosts and use one pair file",
	    is_theirs ? "a need for the feature" : "no feature", missing->name,
	    is_theirs ? "does not have" : "requires");
	return text;
}

/* Two builds have the same machine only if its type names a version: "pc" is another one in each
 * series. */
static const char *other_build(const struct vmft_hello_terms *terms,
			       const struct vmft_hello *theirs)
{
	const struct vmft_hello *ours = terms->ours;

	if (same(ours->build_id, ours->build_id_bytes, theirs->build_id, theirs->build_id_bytes))
		return NULL;
	if (!terms->other_builds)
		return "another QEMU build: install the same package version on both hosts";
	if (!terms->versioned_machine)
		return "another QEMU build, in which the machine may be another one: name its "
		       "version on both hosts (-machine pc-i440fx-7.2)";
	return NULL;
}

const char *vmft_hello_mismatch(const struct vmft_hello_terms *terms,
				const struct vmft_hello *theirs, char *text)
{
	const struct vmft_hello *ours = terms->ours;
	const bool attach = theirs->attach || terms->attach;
	const char *why = other_features(ours, theirs, text);

	if (why)
		return why;
	if (strcmp(ours->name, theirs->name) != 0)
		return "another VM's name";
	if ((theirs->role == VMFT_ROLE_PRIMARY) == terms->primary)
		return "the same role: one side must be primary, the other backup";
	if (!terms->other_builds && theirs->log_version != ours->log_version)
		return "another record/replay log version: install the same QEMU on both hosts";
	why = other_build(terms, theirs);
	if (why)
		return why;
	/* Before the machine, whose digest covers the taps and says nothing of what differs. */
	if (!taps_fit(terms, theirs, text))
		return text;
	if (!same(ours->machine, ours->machine_bytes, theirs->machine, theirs->machine_bytes))
		return "another machine: the QEMU command lines, kernels and initrds must describe "
		       "the same guest";
	/* An attach makes the disks equal. */
	if (!attach && !same(ours->disk, ours->disk_bytes, theirs->disk, theirs->disk_bytes))
		return other_disks(terms, theirs, text);
	if (theirs->silence_ms != ours->silence_ms)
		return "another silence-ms: use one pair file on both hosts";
	/* With another grace-ms the backup might ask the arbiter before the primary does. */
	if (theirs->grace_ms != ours->grace_ms)
		return "another grace-ms: use one pair file on both hosts";
	if ((theirs->ticket_bytes > 0) != terms->heartbeat)
		return "a heartbeat path on one side only: use one pair file on both hosts";
	if (!host_fits(terms, theirs->host))
		return "another VMFT_HOST than its address in the pair file says";
	return NULL;
}
