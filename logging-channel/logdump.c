/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft-logdump prints a log that a backup saved, one entry a line. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "event-text.h"
#include "monitor/common/exit-codes.h"
#include "savedlog.h"

static const char doc[] =
    "Show a log that the backup of a VM saved (save-log in the pair file), an entry a line: its "
    "position, when the backup held it, its kind and what stands in it.\v"
    "Exit status: 0 done, 1 the file is damaged further up (what comes before is shown), 2 wrong "
    "usage or no saved log.";

enum { KEY_FROM = 256, KEY_TO, KEY_KIND, KEY_STATS };

static const struct argp_option option_table[] = {
    {"from", KEY_FROM, "POS", 0, "leave out entries that begin before this position", 0},
    {"to", KEY_TO, "POS", 0, "leave out entries that begin at this position or after it", 0},
    {"kind", KEY_KIND, "NAME", 0, "entries of this kind only", 0},
    {"json", 'j', NULL, 0, "one JSON object a line", 0},
    {"stats", KEY_STATS, NULL, 0, "counts and bytes by kind instead of the entries", 0},
    {0},
};

struct stats {
	struct {
		uint64_t count, bytes;
	} kind[256];
	uint64_t count, bytes;
	int64_t first_ns, last_ns; /* of CLOCK_REALTIME; both 0: no entry yet */
};

struct dump {
	const char *path;
	uint64_t from, to;
	const char *kind; /* NULL: all */
	bool json, want_stats;
	struct vmft_savedlog_reader reader;
	struct stats stats;
};

static void parse_position(const char *text, uint64_t *ret, struct argp_state *state)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-')
		argp_error(state, "%s: not a log position", text);
}

static void parse_kind(const char *text, struct dump *dump, struct argp_state *state)
{
	dump->kind = text;
	if (!vmft_event_is_kind_name(text))
		argp_error(state, "%s: no kind of entry; --stats names those of a file", text);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct dump *dump = state->input;

	switch (key) {
	case KEY_FROM:
		parse_position(arg, &dump->from, state);
		return 0;
	case KEY_TO:
		parse_position(arg, &dump->to, state);
		return 0;
	case KEY_KIND:
		parse_kind(arg, dump, state);
		return 0;
	case 'j':
		dump->json = true;
		return 0;
	case KEY_STATS:
		dump->want_stats = true;
		return 0;
	case ARGP_KEY_ARG:
		if (dump->path)
			argp_error(state, "one file: %s is too much", arg);
		dump->path = arg;
		return 0;
	case ARGP_KEY_END:
		if (!dump->path)
			argp_error(state, "needs the path of a saved log");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* "2026-01-31 12:00:00.123456" in UTC, because people compare the logs of two hosts. */
static void format_time(int64_t ns, char *text, size_t size)
{
	const time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;
	char day[32] = "?";

	if (gmtime_r(&seconds, &tm))
		(void)strftime(day, sizeof(day), "%Y-%m-%d %H:%M:%S", &tm);
	(void)snprintf(text, size, "%s.%06lld", day, (long long)(ns % 1000000000 / 1000));
}

static void print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
}

static void add_number(struct json_object *object, const char *key, int64_t value)
{
	json_object_object_add(object, key, json_object_new_int64(value));
}

static void add_text(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

static struct json_object *json_head(uint64_t position, int64_t held_ns)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "position", json_object_new_uint64(position));
	add_number(object, "held_ns", held_ns);
	return object;
}

static void show_json(const struct vmft_log_format *format, const struct vmft_savedlog_entry *entry)
{
	struct json_object *object = json_head(entry->position, entry->held_ns);
	struct vmft_event_field field[VMFT_EVENT_FIELDS_MAX];
	const size_t count = vmft_event_fields(format, entry->bytes, entry->length, field);

	add_number(object, "bytes", (int64_t)entry->length);
	add_text(object, "kind", vmft_event_kind_name(format, entry->bytes[0]));
	for (size_t i = 0; i < count; i++)
		if (field[i].is_text)
			add_text(object, field[i].name, field[i].text);
		else
			add_number(object, field[i].name, field[i].number);
	print_json(object);
}

static void show(const struct dump *dump, const struct vmft_savedlog_entry *entry)
{
	char when[64], line[256];

	if (dump->json) {
		show_json(dump->reader.format, entry);
		return;
	}
	format_time(entry->held_ns, when, sizeof(when));
	vmft_event_line(dump->reader.format, entry->bytes, entry->length, line, sizeof(line));
	printf("%12" PRIu64 "  %s  %s\n", entry->position, when, line);
}

static void show_epoch(const struct dump *dump, const struct vmft_savedlog_record *record)
{
	char when[64];

	if (dump->json) {
		struct json_object *object = json_head(record->position, record->held_ns);

		add_text(object, "kind", "epoch");
		print_json(object);
		return;
	}
	format_time(record->held_ns, when, sizeof(when));
	printf("%12" PRIu64 "  %s  epoch\n", record->position, when);
}

static void count(struct stats *stats, uint8_t kind, size_t bytes, int64_t held_ns)
{
	if (stats->count == 0)
		stats->first_ns = held_ns;
	stats->last_ns = held_ns;
	stats->count++;
	stats->bytes += bytes;
	stats->kind[kind].count++;
	stats->kind[kind].bytes += bytes;
}

static bool is_asked(const struct dump *dump, uint64_t position)
{
	return position >= dump->from && position < dump->to;
}

static bool is_kind(const struct dump *dump, uint8_t kind)
{
	return !dump->kind ||
	       strcmp(vmft_event_kind_name(dump->reader.format, kind), dump->kind) == 0;
}

static int dump_entries(struct dump *dump)
{
	struct vmft_savedlog_entries entries;
	struct vmft_savedlog_entry entry;
	int rc = vmft_savedlog_entries_init(&entries, &dump->reader);

	if (rc < 0)
		return rc;
	while ((rc = vmft_savedlog_entries_next(&entries, &entry)) > 0) {
		if (!is_asked(dump, entry.position) || !is_kind(dump, entry.bytes[0]))
			continue;
		count(&dump->stats, entry.bytes[0], entry.length, entry.held_ns);
		if (!dump->want_stats)
			show(dump, &entry);
	}
	vmft_savedlog_entries_fini(&entries);
	return rc;
}

static int dump_epochs(struct dump *dump)
{
	struct vmft_savedlog_record record;
	int rc;

	while ((rc = vmft_savedlog_next(&dump->reader, &record)) > 0) {
		if (!is_asked(dump, record.position))
			continue;
		count(&dump->stats, 0, 0, record.held_ns);
		if (!dump->want_stats)
			show_epoch(dump, &record);
	}
	return rc;
}

static const char *row_name(const struct dump *dump, unsigned kind, char *text, size_t size)
{
	const uint8_t bytes[VMFT_EVENT_HEAD_MAX] = {(uint8_t)kind};
	struct vmft_event_field field[VMFT_EVENT_FIELDS_MAX];
	const struct vmft_log_format *format = dump->reader.format;
	const char *name;

	if (dump->reader.header.kind == VMFT_SAVEDLOG_CHECKPOINT)
		return "epoch";
	name = vmft_event_kind_name(format, bytes[0]);
	/* Kinds that share a name have what tells them apart first. */
	if (vmft_event_kind(format, bytes[0]) == VMFT_EVENT_INPUT ||
	    vmft_event_fields(format, bytes, sizeof(bytes), field) == 0 || !field[0].is_text)
		return name;
	(void)snprintf(text, size, "%s %s", name, field[0].text);
	return text;
}

static double rate(const struct stats *stats)
{
	const int64_t ns = stats->last_ns - stats->first_ns;

	return ns > 0 ? (double)stats->count * 1e9 / (double)ns : 0;
}

static void stats_json(const struct dump *dump)
{
	const struct stats *s = &dump->stats;
	struct json_object *object = json_object_new_object();
	struct json_object *kinds = json_object_new_object();
	char text[128];

	add_number(object, "entries", (int64_t)s->count);
	add_number(object, "bytes", (int64_t)s->bytes);
	json_object_object_add(object, "seconds",
			       json_object_new_double((double)(s->last_ns - s->first_ns) / 1e9));
	json_object_object_add(object, "entries_per_s", json_object_new_double(rate(s)));
	for (unsigned i = 0; i < 256; i++) {
		struct json_object *kind;

		if (s->kind[i].count == 0)
			continue;
		kind = json_object_new_object();
		add_number(kind, "entries", (int64_t)s->kind[i].count);
		add_number(kind, "bytes", (int64_t)s->kind[i].bytes);
		json_object_object_add(kinds, row_name(dump, i, text, sizeof(text)), kind);
	}
	json_object_object_add(object, "kinds", kinds);
	print_json(object);
}

static void stats_text(const struct dump *dump)
{
	const struct stats *s = &dump->stats;
	char text[128];

	printf("%-32s %12s %14s\n", "kind", "entries", "bytes");
	for (unsigned i = 0; i < 256; i++)
		if (s->kind[i].count > 0)
			printf("%-32s %12" PRIu64 " %14" PRIu64 "\n",
			       row_name(dump, i, text, sizeof(text)), s->kind[i].count,
			       s->kind[i].bytes);
	printf("%-32s %12" PRIu64 " %14" PRIu64 "\n", "all", s->count, s->bytes);
	printf("in %.1f s, %.0f entries a second\n", (double)(s->last_ns - s->first_ns) / 1e9,
	       rate(s));
}

static int refuse(const char *path, int rc)
{
	const char *why =
	    rc == -EPROTO ? "not a log that vmft saved"
	    : rc == -EPROTONOSUPPORT
		? "saved by another version of vmft, or with a QEMU that this one does not know"
	    : rc == -EBADMSG ? "its header is damaged"
			     : strerror(-rc);

	(void)fprintf(stderr, "vmft-logdump: %s: %s\n", path, why);
	return VMFT_EXIT_CONFIG;
}

static int run(struct dump *dump)
{
	const bool epochs = dump->reader.header.kind == VMFT_SAVEDLOG_CHECKPOINT;
	int rc = epochs ? dump_epochs(dump) : dump_entries(dump);

	if (dump->want_stats && dump->json)
		stats_json(dump);
	else if (dump->want_stats)
		stats_text(dump);
	if (fflush(stdout) != 0)
		return VMFT_EXIT_INTERNAL;
	if (dump->reader.torn > 0)
		(void)fprintf(
		    stderr, "vmft-logdump: %s: its last %" PRIu64 " bytes are torn and left out\n",
		    dump->path, dump->reader.torn);
	if (rc == 0)
		return VMFT_EXIT_OK;
	(void)fprintf(stderr,
		      "vmft-logdump: %s: %s at byte %" PRIu64 ", log position %" PRIu64 "\n",
		      dump->path, rc == -EBADMSG ? "damaged" : strerror(-rc), dump->reader.offset,
		      dump->reader.next);
	return VMFT_EXIT_INTERNAL;
}

int main(int argc, char *argv[])
{
	static const struct argp argp = {
	    .options = option_table,
	    .parser = parse_option,
	    .args_doc = "FILE",
	    .doc = doc,
	};
	static struct dump dump = {.to = UINT64_MAX};
	int fd, rc;

	argp_err_exit_status = VMFT_EXIT_CONFIG;
	argp_parse(&argp, argc, argv, 0, NULL, &dump);
	fd = open(dump.path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refuse(dump.path, -errno);
	rc = vmft_savedlog_open(&dump.reader, fd);
	if (rc < 0)
		rc = refuse(dump.path, rc);
	else
		rc = run(&dump);
	vmft_savedlog_close(&dump.reader);
	close(fd);
	return rc;
}
