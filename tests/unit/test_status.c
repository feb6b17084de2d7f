/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a monitor says of its side: the table of fields, the JSON, the advice, the history. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/common/status-json.h"
#include "monitor/daemon/status/advice.h"
#include "monitor/daemon/status/history.h"
#include "suites.h"

#define S UINT64_C(1000000000)

/* --- the table ------------------------------------------------------------------ */

static bool ends_with(const char *text, const char *end)
{
	const size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

/* A metric is in base units, and its name says which: "vmft_execution_lag_seconds". */
static void check_metric(const struct vmft_status_field *field)
{
	char unit[32], total[48];
	const char *base;
	double factor;

	base = vmft_unit_base(field->unit, &factor);
	(void)snprintf(unit, sizeof(unit), "_%s", base);
	(void)snprintf(total, sizeof(total), "%s_total", *base ? unit : "");
	CU_ASSERT(factor > 0 && factor <= 1);
	CU_ASSERT_EQUAL(strncmp(field->metric, "vmft_", 5), 0);
	if (field->metric_type == VMFT_METRIC_COUNTER) {
		CU_ASSERT(ends_with(field->metric, total));
	} else {
		CU_ASSERT(!ends_with(field->metric, "_total"));
		CU_ASSERT(!*base || ends_with(field->metric, unit));
	}
}

static void check_field(const struct vmft_status_field *field)
{
	const size_t n = field->help ? strlen(field->help) : 0;
	const bool holds_text = field->type == VMFT_STATUS_TEXT;

	/* One sentence, which fits on a line of HELP as it is. */
	CU_ASSERT_FATAL(n > 1);
	CU_ASSERT_EQUAL(field->help[n - 1], '.');
	CU_ASSERT_PTR_NULL(strchr(field->help, '\n'));
	CU_ASSERT_EQUAL(field->metric != NULL, field->metric_type != VMFT_METRIC_NONE);
	CU_ASSERT(!holds_text || field->size > 1);
	CU_ASSERT(!field->null || holds_text || field->part != 0);
	CU_ASSERT_EQUAL(field->inside != NULL,
			field->type == VMFT_STATUS_OBJECT || field->type == VMFT_STATUS_LIST);
	CU_ASSERT(field->unit == VMFT_UNIT_NONE || !holds_text);
	if (field->metric)
		check_metric(field);
}

static bool is_twice(const struct vmft_status_field *table, const struct vmft_status_field *one)
{
	for (const struct vmft_status_field *field = table; field < one; field++)
		if (strcmp(field->name, one->name) == 0 ||
		    (one->metric && field->metric && strcmp(field->metric, one->metric) == 0))
			return true;
	return false;
}

static void check_table(const struct vmft_status_field *table)
{
	for (const struct vmft_status_field *field = table; field->name; field++) {
		check_field(field);
		CU_ASSERT(!is_twice(table, field));
		if (field->inside)
			check_table(field->inside);
	}
}

static void test_table(void)
{
	check_table(vmft_status_fields);
	CU_ASSERT_PTR_NOT_NULL(vmft_status_fields[0].group);
	for (int unit = 0; unit < VMFT_UNITS; unit++)
		CU_ASSERT_PTR_NOT_NULL(vmft_unit_name((enum vmft_status_unit)unit));
	for (int type = 0; type < VMFT_STATUS_TYPES; type++)
		CU_ASSERT_PTR_NOT_NULL(vmft_status_type_name((enum vmft_status_type)type));
}

/* --- JSON and back --------------------------------------------------------------- */

static uint64_t next_value;

static void put(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

/* Each member gets a value of its own. */
static void fill(const struct vmft_status_field *table, uint8_t *base)
{
	for (const struct vmft_status_field *field = table; field->name; field++) {
		uint8_t *at = base + field->offset;

		switch (field->type) {
		case VMFT_STATUS_TEXT:
			(void)snprintf((char *)at, field->size, "t%llu",
				       (unsigned long long)++next_value);
			break;
		case VMFT_STATUS_BOOL:
			*(bool *)at = true;
			break;
		case VMFT_STATUS_QUANTILES:
		case VMFT_STATUS_SPAN_QUANTILES:
			for (unsigned i = 0; i < 3; i++)
				put(at + 8 * i, ++next_value * 1000);
			break;
		case VMFT_STATUS_OBJECT:
			fill(field->inside, at);
			break;
		case VMFT_STATUS_LIST:
			for (unsigned i = 0; i < field->max; i++)
				fill(field->inside, at + i * field->size);
			put(base + field->count_offset, field->max);
			break;
		default:
			put(at, ++next_value * 1000);
		}
	}
}

static struct json_object *as_read(const struct vmft_status *status)
{
	struct json_object *object = json_object_new_object(), *read;

	vmft_status_encode(status, object);
	read = json_tokener_parse(json_object_to_json_string(object));
	json_object_put(object);
	CU_ASSERT_PTR_NOT_NULL_FATAL(read);
	return read;
}

static struct vmft_status before, after;

static void test_round_trip(void)
{
	struct json_object *object;

	memset(&before, 0, sizeof(before));
	next_value = 0;
	fill(vmft_status_fields, (uint8_t *)&before);
	before.parts = (VMFT_STATUS_LOST_BACKUP << 1) - 1;
	object = as_read(&before);
	vmft_status_decode(object, &after);
	CU_ASSERT_EQUAL(memcmp(&before, &after, sizeof(before)), 0);
	json_object_put(object);
}

static const char *text_of(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value))
		return "missing";
	return value ? json_object_to_json_string(value) : "null";
}

/* A field of another role is left out, or null where a reader may count on it. */
static void test_parts(void)
{
	struct json_object *object;

	memset(&before, 0, sizeof(before));
	before.parts = VMFT_STATUS_BACKUP;
	before.hiccup.p99 = 1234567;
	object = as_read(&before);
	CU_ASSERT_STRING_EQUAL(text_of(object, "lag_ms"), "missing");
	CU_ASSERT_STRING_EQUAL(text_of(object, "log_held"), "0");
	CU_ASSERT_STRING_EQUAL(text_of(object, "frozen_at"), "null");
	CU_ASSERT_STRING_EQUAL(text_of(object, "next"), "null");
	CU_ASSERT_STRING_EQUAL(text_of(object, "peer"), "null");
	CU_ASSERT_STRING_EQUAL(text_of(object, "reason"), "\"\"");
	CU_ASSERT_STRING_EQUAL(text_of(object, "attach_last"), "missing");
	CU_ASSERT_STRING_EQUAL(text_of(object, "pause_ms_p50"), "missing");
	CU_ASSERT_STRING_EQUAL(text_of(object, "hiccup_ms_p99"), "1.235");
	CU_ASSERT_STRING_EQUAL(text_of(object, "events"), "[ ]");
	vmft_status_decode(object, &after);
	CU_ASSERT_EQUAL(after.parts, VMFT_STATUS_BACKUP);
	json_object_put(object);
	before.parts = VMFT_STATUS_PRIMARY | VMFT_STATUS_FROZEN;
	object = as_read(&before);
	CU_ASSERT_STRING_EQUAL(text_of(object, "lag_ms"), "0");
	CU_ASSERT_STRING_EQUAL(text_of(object, "frozen_at"), "0");
	json_object_put(object);
}

/* Another program that has the socket may answer anything. */
static void test_bad_answers(void)
{
	static const char text[] =
	    "{\"name\":\"a\\nb\\u007f\",\"state\":17,\"generation\":-3,\"lag_ms\":1e300,"
	    "\"log_head\":\"x\",\"log_events\":9223372036854775807,\"reason\":null,"
	    "\"attach_last\":[],\"events\":{\"ms\":1},\"hiccup_ms_p50\":null,"
	    "\"log_sent\":1.6,\"disk_paused\":\"\",\"unknown\":{}}";
	struct json_object *object = json_tokener_parse(text), *list = json_object_new_array();

	CU_ASSERT_PTR_NOT_NULL_FATAL(object);
	vmft_status_decode(object, &after);
	CU_ASSERT_STRING_EQUAL(after.name, "a?b?");
	CU_ASSERT_STRING_EQUAL(after.state, "17");
	CU_ASSERT_EQUAL(after.generation, 0);
	CU_ASSERT_EQUAL(after.lag_ms, (uint64_t)VMFT_STATUS_NUMBER_MAX);
	CU_ASSERT_EQUAL(after.log_events, (uint64_t)VMFT_STATUS_NUMBER_MAX);
	CU_ASSERT_EQUAL(after.log_head, 0);
	CU_ASSERT_EQUAL(after.log_sent, 2);
	CU_ASSERT_EQUAL(after.event_count, 0);
	/* The last ones of too many; one that is no object is empty. */
	for (int i = 0; i < (int)VMFT_STATUS_EVENTS + 5; i++) {
		struct json_object *event = json_object_new_object();

		json_object_object_add(event, "ms", json_object_new_int(i));
		json_object_array_add(list, event);
	}
	json_object_array_put_idx(list, 7, NULL);
	json_object_object_add(object, "events", list);
	vmft_status_decode(object, &after);
	CU_ASSERT_EQUAL(after.event_count, VMFT_STATUS_EVENTS);
	CU_ASSERT_EQUAL(after.events[0].ms, 5);
	CU_ASSERT_EQUAL(after.events[2].ms, 0);
	CU_ASSERT_EQUAL(after.events[VMFT_STATUS_EVENTS - 1].ms, VMFT_STATUS_EVENTS + 4);
	json_object_put(object);
}

/* --- what a person should do -------------------------------------------------- */

static char arbiter[4096];

static struct vmft_situation situation_of(enum vmft_side side, enum vmft_state state)
{
	memset(arbiter, 'x', sizeof(arbiter) - 1);
	return (struct vmft_situation){.side = side,
				       .state = state,
				       .generation = 6,
				       .guest_pid = 4711,
				       .drops = true,
				       .drop_ns = 5 * S - 1,
				       .arbiter = arbiter,
				       .address = "10.9.0.2:7700",
				       .refusal = "",
				       .connect_error = ""};
}

static bool advises(const struct vmft_situation *s, const char *words)
{
	char text[VMFT_ADVICE_MAX];

	return vmft_advice(s, text, sizeof(text)) && strstr(text, words) && !strchr(text, '{') &&
	       strlen(text) < sizeof(text) - 1 && !strchr(text, '\n') && !strchr(text, '?');
}

static bool says(enum vmft_side side, enum vmft_state state, const char *words)
{
	const struct vmft_situation s = situation_of(side, state);

	return advises(&s, words);
}

static void test_advice(void)
{
	const enum vmft_side p = VMFT_SIDE_PRIMARY, b = VMFT_SIDE_BACKUP;
	struct vmft_situation s = situation_of(p, VMFT_STATE_PROTECTED);
	char text[VMFT_ADVICE_MAX];

	CU_ASSERT(says(p, VMFT_STATE_FENCED, "generation 7"));
	CU_ASSERT(says(p, VMFT_STATE_FENCED, "kill 4711"));
	CU_ASSERT(says(b, VMFT_STATE_FENCED, "VMFT_ROLE=backup"));
	CU_ASSERT(says(b, VMFT_STATE_DIVERGED, "never go live"));
	CU_ASSERT(says(p, VMFT_STATE_WAITING_ARBITER, "xxx reachable"));
	CU_ASSERT(says(b, VMFT_STATE_WAITING_ARBITER, "asked again"));
	CU_ASSERT(says(p, VMFT_STATE_ALONE, "start a backup"));
	CU_ASSERT(says(p, VMFT_STATE_LAGGING, "in 5 s"));
	CU_ASSERT(says(p, VMFT_STATE_FORMING, "vmft start"));
	CU_ASSERT(says(b, VMFT_STATE_FORMING, "VMFT_ROLE=primary"));
	CU_ASSERT(says(b, VMFT_STATE_FORMING, "waits on 10.9.0.2:7700"));
	for (int state = 0; state < VMFT_STATE_COUNT; state++)
		if (state != VMFT_STATE_PROTECTED)
			CU_ASSERT(says(p, (enum vmft_state)state, "") &&
				  says(b, (enum vmft_state)state, ""));
	CU_ASSERT(!vmft_advice(&s, text, sizeof(text)));
	CU_ASSERT_STRING_EQUAL(text, "");
}

/* The same state, and something more to say of it. */
static void test_advice_of_situations(void)
{
	struct vmft_situation s = situation_of(VMFT_SIDE_PRIMARY, VMFT_STATE_ALONE);
	char text[64];

	s.manual = true;
	CU_ASSERT(advises(&s, "then run \"vmft attach\""));
	s.manual = false;
	s.retry_later = true;
	s.retry_ns = 90 * S;
	CU_ASSERT(advises(&s, "attached in 91 s"));
	s.state = VMFT_STATE_LAGGING;
	s.drops = false;
	CU_ASSERT(advises(&s, "does not keep up") && !advises(&s, "given up"));
	s.state = VMFT_STATE_PROTECTED;
	s.stands = true;
	s.stands_at = 4242;
	CU_ASSERT(advises(&s, "at log position 4242") && advises(&s, "in 0 s"));
	s = situation_of(VMFT_SIDE_BACKUP, VMFT_STATE_DRAINING);
	CU_ASSERT(!advises(&s, "log position"));
	s.stuck = true;
	s.replayed = 10;
	s.held = 20;
	CU_ASSERT(advises(&s, "log position 10 of 20"));
	s = situation_of(VMFT_SIDE_BACKUP, VMFT_STATE_FORMING);
	s.refusal = "10.9.0.1:5555: another machine";
	CU_ASSERT(advises(&s, "it has refused 10.9.0.1:5555: another machine"));
	/* Room for a part of it. */
	CU_ASSERT(vmft_advice(&s, text, sizeof(text)));
	CU_ASSERT_EQUAL(strlen(text), sizeof(text) - 1);
}

/* A primary that finds no backup says why. */
static void test_cannot_connect(void)
{
	struct vmft_situation s = situation_of(VMFT_SIDE_PRIMARY, VMFT_STATE_FORMING);

	CU_ASSERT(!advises(&s, "so far"));
	s.connect_error = "10.9.0.2:7700: Connection refused";
	CU_ASSERT(advises(&s, "so far 10.9.0.2:7700: Connection refused"));
	CU_ASSERT(!advises(&s, "repair"));
	s.reach = VMFT_REACH_NETWORK;
	CU_ASSERT(advises(&s, "Connection refused: repair the network"));
	s.reach = VMFT_REACH_ADDRESS;
	CU_ASSERT(advises(&s, "give this host the address"));
	s.reach = VMFT_REACH_FILES;
	CU_ASSERT(advises(&s, "limit of open files"));
	s.reach = VMFT_REACH_MTU;
	s.state = VMFT_STATE_ALONE;
	CU_ASSERT(advises(&s, "one MTU"));
	s.state = VMFT_STATE_FENCED;
	CU_ASSERT(!advises(&s, "MTU"));
}

/* --- the last failover ---------------------------------------------------------- */

static void test_history(void)
{
	struct vmft_core from = {.side = VMFT_SIDE_BACKUP, .state = VMFT_STATE_GOING_LIVE};
	struct vmft_core to = {.state = VMFT_STATE_ALONE, .lost = VMFT_WHY_SILENCE};
	struct vmft_history h = {0};

	vmft_history_step(&h, &from, &to, 5 * S);
	CU_ASSERT(h.failovers == 1 && h.took_over_ns == 5 * S);
	CU_ASSERT_EQUAL(h.took_over_why, VMFT_WHY_SILENCE);
	from = to;
	/* An attach that fails, and one that does not. */
	to.state = VMFT_STATE_ATTACHING;
	vmft_history_step(&h, &from, &to, 6 * S);
	vmft_history_step(&h, &to, &from, 7 * S);
	CU_ASSERT(h.failovers == 1 && h.backups_lost == 0);
	from.state = VMFT_STATE_ARBITRATING;
	to.state = VMFT_STATE_ALONE;
	to.lost = VMFT_WHY_STALLED;
	vmft_history_step(&h, &from, &to, 8 * S);
	CU_ASSERT(h.backups_lost == 1 && h.backup_lost_ns == 8 * S);
	CU_ASSERT_EQUAL(h.backup_lost_why, VMFT_WHY_STALLED);
	CU_ASSERT_EQUAL(h.took_over_ns, 5 * S);
	/* A start without a backup is neither. */
	from = (struct vmft_core){.state = VMFT_STATE_FORMING};
	vmft_history_step(&h, &from, &to, 9 * S);
	CU_ASSERT(h.failovers == 1 && h.backups_lost == 1);
}

int vmft_suite_status(void)
{
	CU_pSuite suite = CU_add_suite("status", NULL, NULL);

	if (!suite || !CU_add_test(suite, "table", test_table) ||
	    !CU_add_test(suite, "round trip", test_round_trip) ||
	    !CU_add_test(suite, "parts", test_parts) ||
	    !CU_add_test(suite, "bad answers", test_bad_answers) ||
	    !CU_add_test(suite, "advice", test_advice) ||
	    !CU_add_test(suite, "advice of situations", test_advice_of_situations) ||
	    !CU_add_test(suite, "cannot connect", test_cannot_connect) ||
	    !CU_add_test(suite, "history", test_history))
		return -1;
	return 0;
}
