/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 32u /* of a page that differs; the primary's page is not on this host */

static void print_page(const struct vmft_report *r, uint64_t offset, FILE *to)
{
	uint8_t bytes[PAGE_BYTES];
	ssize_t n = pread(r->link->ram_fd, bytes, sizeof(bytes), (off_t)offset);

	(void)fprintf(to, "  %#014" PRIx64 " ", offset);
	for (ssize_t i = 0; i < n; i++)
		(void)fprintf(to, " %02x", bytes[i]);
	(void)fputc('\n', to);
}

static void print_pages(const struct vmft_report *r, FILE *to)
{
	const struct vmft_iface *iface = r->link->iface;
	uint32_t count = atomic_load(&iface->diverged_page_count);

	if (count > VMFT_DIVERGENCE_PAGES_MAX)
		count = VMFT_DIVERGENCE_PAGES_MAX;
	(void)fprintf(to,
		      "\npages that differ (%" PRIu32 "%s): offset in the guest's memory, the "
		      "page's first bytes on this host\n",
		      count, count == VMFT_DIVERGENCE_PAGES_MAX ? " or more" : "");
	for (uint32_t i = 0; i < count; i++)
		print_page(r, atomic_load(&iface->diverged_page[i]), to);
}

static void print_head(const struct vmft_report *r, FILE *to)
{
	const unsigned kind = r->finding->kind;
	const time_t now = time(NULL);
	char when[32] = "";
	struct tm tm;

	if (gmtime_r(&now, &tm))
		(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	(void)fprintf(to,
		      "VM:           %s\nhost:         %s\ngeneration:   %" PRIu64 "\n"
		      "when:         %s\nwhat:         %s: %s\nlog position: %" PRIu64 "\n"
		      "replayed:     %" PRIu64 "\nheld:         %" PRIu64 "\n",
		      r->config->name, vmft_pair_host_name(r->config, r->host), r->generation, when,
		      vmft_divergence_name(kind), vmft_divergence_text(kind), r->finding->position,
		      r->ops->applied(r->strategy), r->ops->held(r->strategy));
	(void)fprintf(to,
		      "compared:     %" PRIu64 " frames, %" PRIu64 " samples of memory and "
		      "registers before\n",
		      atomic_load(&r->link->iface->outputs_compared),
		      atomic_load(&r->link->iface->digests_compared));
}

static void print(const struct vmft_report *r, FILE *to)
{
	const struct vmft_divergence_finding *f = r->finding;

	print_head(r, to);
	if (f->kind != VMFT_DIVERGENCE_STALLED)
		(void)fprintf(to,
			      "expected:     digest %016" PRIx64
			      "\nfound:        digest %016" PRIx64 "\n",
			      f->expected, f->found);
	if (f->kind == VMFT_DIVERGENCE_MEMORY)
		print_pages(r, to);
	(void)fprintf(to, "\nlog before and after it: position, kind, bytes\n");
	if (r->ops->around)
		r->ops->around(r->strategy, f->position, to);
}

static void path_of(const struct vmft_report *r, char *ret, size_t size)
{
	const struct vmft_pair_config *config = r->config;
	const char *control = config->host[r->host].control;
	const char *slash = strrchr(control, '/');
	const int beside = slash ? (int)(slash - control) : 0;
	const bool saved = config->save_log[0] != '\0';

	(void)snprintf(ret, size, "%.*s/%s.%s.divergence-%" PRIu64 ".txt",
		       saved ? VMFT_PATH_MAX : beside, saved ? config->save_log : control,
		       config->name, vmft_pair_host_name(r->config, r->host), r->finding->position);
}

int vmft_report_write(const struct vmft_report *r, char *ret_path, size_t size)
{
	FILE *file;

	path_of(r, ret_path, size);
	file = fopen(ret_path, "we");
	if (!file)
		return -errno;
	print(r, file);
	return fclose(file) == 0 ? 0 : -errno;
}
