/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints docs/man/vmft-status.5, the manual page of the fields: scripts/draw-status. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "monitor/common/status-fields.h"

static const char head[] =
    ".\\\" Made from monitor/common/status-fields.c by scripts/draw-status: do not edit.\n"
    ".TH VMFT-STATUS 5 \"\" \"vmft\" \"vmft\"\n"
    ".SH NAME\n"
    "vmft-status \\- the fields of vmft status \\-\\-json\n"
    ".SH DESCRIPTION\n"
    ".B vmft status \\-\\-json\n"
    "prints one JSON object, on one line, for each side of a VM. These are its fields. A field "
    "that "
    "belongs to one role or strategy is left out on the others. Times on the monotonic clock can "
    "be "
    "compared with each other and with\n"
    ".IR now_ms ;\n"
    "they are not the time of day.\n"
    ".PP\n"
    "The field\n"
    ".I ok\n"
    "is true; of a request that is refused it is false, and\n"
    ".I error\n"
    "says why. The version of what follows is %u. Fields may be added to a version: a reader skips "
    "what it does not know.\n"
    ".PP\n"
    "A field of three numbers is three fields: NAME_p50, NAME_p99 and NAME_max, median, 99th "
    "percentile and greatest.\n";

/* roff takes a hyphen for one that may break a word, and a leading dot for a request. */
static void print_text(const char *text)
{
	for (; *text; text++) {
		if (*text == '-' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
}

static void print_kind(const struct vmft_status_field *field)
{
	print_text(vmft_status_type_name(field->type));
	if (field->unit != VMFT_UNIT_NONE)
		printf(", %s", vmft_unit_name(field->unit));
	if (field->null)
		printf(", or null");
}

static const char *where(uint32_t part)
{
	static const struct {
		uint32_t part;
		const char *text;
	} places[] = {
	    {VMFT_STATUS_PRIMARY, "Primary only."},
	    {VMFT_STATUS_BACKUP, "Backup only."},
	    {VMFT_STATUS_CHECKPOINTS, "With checkpoints only."},
	    {VMFT_STATUS_EPOCHS, "Primary with checkpoints only."},
	    {VMFT_STATUS_ATTACHED, "Once there was one."},
	    {VMFT_STATUS_SAVES, "Of a side that was started as backup."},
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (part == places[i].part)
			return places[i].text;
	return "";
}

static void print_field(const struct vmft_status_field *field)
{
	printf(".TP\n.BR ");
	print_text(field->name);
	printf(" \" (");
	print_kind(field);
	printf(")\"\n");
	print_text(field->help);
	if (*where(field->part) && !field->null)
		printf(" %s", where(field->part));
	putchar('\n');
}

static void print_table(const struct vmft_status_field *table)
{
	for (const struct vmft_status_field *field = table; field->name; field++) {
		if (field->group)
			printf(".SH %s\n", field->group);
		print_field(field);
		if (!field->inside)
			continue;
		printf("Its fields:\n.RS\n");
		print_table(field->inside);
		printf(".RE\n");
	}
}

int main(void)
{
	printf(head, VMFT_STATUS_VERSION);
	print_table(vmft_status_fields);
	printf(".SH SEE ALSO\n.BR vmft (1)\n");
	return 0;
}
