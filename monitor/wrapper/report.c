/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report.h"

#include <errno.h>
#include <string.h>

#include "monitor/common/exit-codes.h"

static void add(struct vmft_report *report, enum vmft_finding_kind kind,
		const struct vmft_error *err)
{
	struct vmft_finding *items;

	if (report->count == report->capacity) {
		report->capacity = report->capacity ? 2 * report->capacity : 16;
		items = vmft_arena_alloc(report->arena, report->capacity, sizeof(*items));
		if (report->count)
			memcpy(items, report->items, report->count * sizeof(*items));
		report->items = items;
	}
	report->items[report->count++] = (struct vmft_finding){
	    .kind = kind,
	    .exit_code = err->exit_code,
	    .text = vmft_arena_copy(report->arena, err->text, strlen(err->text)),
	};
}

int vmft_report_refuse(struct vmft_report *report, const struct vmft_error *err)
{
	add(report, VMFT_FINDING_REFUSED, err);
	return -EINVAL;
}

void vmft_report_replaced(struct vmft_report *report, const char *text)
{
	struct vmft_error clean;

	(void)vmft_error_set(&clean, 0, VMFT_EXIT_OK, "%s", text);
	add(report, VMFT_FINDING_REPLACED, &clean);
}

size_t vmft_report_count(const struct vmft_report *report, enum vmft_finding_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < report->count; i++)
		count += report->items[i].kind == kind;
	return count;
}

const struct vmft_finding *vmft_report_first(const struct vmft_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		if (report->items[i].kind == VMFT_FINDING_REFUSED)
			return &report->items[i];
	return NULL;
}

int vmft_report_to_error(const struct vmft_report *report, struct vmft_error *err)
{
	const size_t count = vmft_report_count(report, VMFT_FINDING_REFUSED);
	const char *text = vmft_report_first(report)->text;
	const int exit_code = vmft_report_exit_code(report);

	if (count == 1)
		return vmft_error_set(err, -EINVAL, exit_code, "%s", text);
	return vmft_error_set(err, -EINVAL, exit_code, "%.440s (and %zu more)", text, count - 1);
}

int vmft_report_exit_code(const struct vmft_report *report)
{
	const struct vmft_finding *first = vmft_report_first(report);

	for (size_t i = 0; i < report->count; i++)
		if (report->items[i].kind == VMFT_FINDING_REFUSED &&
		    report->items[i].exit_code == VMFT_EXIT_UNPROTECTED)
			return VMFT_EXIT_UNPROTECTED;
	return first ? first->exit_code : VMFT_EXIT_OK;
}
