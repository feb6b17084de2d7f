/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * monitor/agent/qemu: which series a version belongs to, that the one list of symbols is looked up
 * whole, and that the functions of port.h work for a series that has its fields, numbers and calls
 * elsewhere.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "agent_world.h"
#include "fake_qemu.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/agent/track.h"
#include "suites.h"

static void test_series(void)
{
	const struct vmft_qemu_series *series = vmft_qemu_series_find("7.2.22");
	char names[32];

	CU_ASSERT_PTR_NOT_NULL_FATAL(series);
	CU_ASSERT_STRING_EQUAL(series->name, "7.2");
	CU_ASSERT_PTR_EQUAL(vmft_qemu_series_find("7.2.0"), series);
	CU_ASSERT_PTR_NULL(vmft_qemu_series_find("7.2")); /* no release says so */
	CU_ASSERT_PTR_NULL(vmft_qemu_series_find("7.20.1"));
	CU_ASSERT_PTR_NULL(vmft_qemu_series_find("7.1.2"));
	CU_ASSERT_PTR_NULL(vmft_qemu_series_find("17.2.2"));
	CU_ASSERT_PTR_NULL(vmft_qemu_series_find(""));
	CU_ASSERT_STRING_EQUAL(vmft_qemu_series_names(names, sizeof(names)), "7.2");
	CU_ASSERT_EQUAL(vmft_qemu_choose("10.0.2"), -EPROTO);
}

/* --- the list of symbols ------------------------------------------------------- */

static const char *asked[160];
static size_t asked_count;
static const char *withheld;

static void *look_up(const char *name)
{
	static char found[8];

	CU_ASSERT_FATAL(asked_count < sizeof(asked) / sizeof(asked[0]));
	asked[asked_count++] = name;
	return withheld && strcmp(name, withheld) == 0 ? NULL : found;
}

static bool is_asked(const char *name)
{
	for (size_t i = 0; i < asked_count; i++)
		if (strcmp(asked[i], name) == 0)
			return true;
	return false;
}

/* What the wrapper looks for in a binary is what the agent looks up, but for GLib's g_free(). */
static void test_one_list(void)
{
	const struct vmft_qemu_series *series = vmft_qemu_series_find("7.2.22");
	size_t count = 0, layouts = 0;

	withheld = NULL;
	asked_count = 0;
	CU_ASSERT_EQUAL(vmft_qemu_choose("7.2.22"), 0);
	CU_ASSERT_PTR_NULL(vmft_qemu_bind(look_up));
	for (const struct vmft_qemu_symbol *s = series->symbols; s->name; s++) {
		CU_ASSERT(is_asked(s->name));
		layouts += strcmp(s->name, "timers_state") == 0 && s->size == 96;
		layouts += strcmp(s->name, "replay_state") == 0 && s->size == 72;
		count++;
	}
	CU_ASSERT(is_asked("g_free"));
	CU_ASSERT_EQUAL(layouts, 2);
	/* The two are listed twice: as a variable, and with their size. */
	CU_ASSERT_EQUAL(asked_count, count - 2 + 1);
	world_reset_agent();
}

static void test_missing_symbol(void)
{
	static const char *const names[] = {"vm_start", "replay_disable_events", "g_free"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *missing;

		withheld = names[i];
		asked_count = 0;
		CU_ASSERT_EQUAL(vmft_qemu_choose("7.2.22"), 0);
		missing = vmft_qemu_bind(look_up);
		CU_ASSERT_PTR_NOT_NULL_FATAL(missing);
		CU_ASSERT_STRING_EQUAL(missing, names[i]);
	}
	world_reset_agent();
}

/* Each field has a place within its struct and as many bytes as fit into a number. */
static void test_fields(void)
{
	const struct vmft_qemu_series *series = vmft_qemu_series_find("7.2.22");

	for (size_t i = 0; i < VMFT_QEMU_FIELDS; i++) {
		const struct vmft_qemu_field *field = &series->field[i];
		const size_t size = !field->type			       ? 0
				    : strcmp(field->type, "timers_state") == 0 ? 96
				    : strcmp(field->type, "replay_state") == 0 ? 72
									       : 2048;

		CU_ASSERT_PTR_NOT_NULL(field->member);
		CU_ASSERT(field->bytes <= 8);
		CU_ASSERT(field->offset + field->bytes <= size);
	}
}

/* --- another series -------------------------------------------------------------- */

static char calls[128];

static void called(const char *what)
{
	strncat(calls, what, sizeof(calls) - strlen(calls) - 1);
}

static const char *bind_nothing(vmft_qemu_lookup *lookup)
{
	(void)lookup;
	return NULL;
}

static bool other_is_locked(void)
{
	return false;
}

static void other_lock(void)
{
	world.locked = true;
	called("bql-lock ");
}

static void other_unlock(void)
{
	world.locked = false;
	called("bql-unlock ");
}

static void other_events_off(void)
{
	called("finish-events ");
}

static int other_log_start(unsigned flags)
{
	CU_ASSERT_EQUAL(flags, 4);
	return -EIO;
}

static void other_log_sync(void)
{
	called("sync ");
}

/* As QEMU 10.0 has them: ReplayState has grown, what was a word is a byte. */
static struct vmft_qemu_series other_series(void)
{
	struct vmft_qemu_series other = *vmft_qemu_series_find("7.2.22");

	other.name = "10.0";
	other.field[VMFT_QEMU_EVENT_KIND].offset = 32;
	other.field[VMFT_QEMU_EVENT_IS_READ].offset = 36;
	other.field[VMFT_QEMU_EVENT_IS_READ].bytes = 1;
	other.numbers.state[VMFT_QEMU_AWAITS_STATE] = 77;
	other.numbers.phase_ready = 5;
	other.numbers.dirty_log = 4;
	other.ops = (struct vmft_qemu_ops){
	    .bind = bind_nothing,
	    .is_locked = other_is_locked,
	    .lock = other_lock,
	    .unlock = other_unlock,
	    .replay_events_off = other_events_off,
	    .dirty_log_start = other_log_start,
	    .dirty_log_sync = other_log_sync,
	};
	return other;
}

static int phase_asked;

static bool phase_check(int phase)
{
	phase_asked = phase;
	return true;
}

static void test_other_series(void)
{
	const struct vmft_qemu_series other = other_series();

	world_up(4096, NULL, 0);
	vmft_qemu.series = &other;
	vmft_qemu.field = other.field;
	vmft_qemu.symbols.phase_check = phase_check;
	calls[0] = '\0';
	CU_ASSERT_STRING_EQUAL(vmft_qemu_name(), "10.0");
	CU_ASSERT(vmft_qemu_machine_is_made());
	CU_ASSERT_EQUAL(phase_asked, 5);
	vmft_qemu_expect_state();
	CU_ASSERT_EQUAL(world.run_state, 77);
	memset(world.replay_state, 0xff, sizeof(world.replay_state));
	world.replay_state[32] = 29;
	world.replay_state[28] = 0;
	CU_ASSERT_EQUAL(vmft_qemu_next_event(), VMFT_EVENT_CLOCK_VIRTUAL_RT);
	vmft_qemu_next_event_forget();
	CU_ASSERT_EQUAL(world.replay_state[36], 0);
	CU_ASSERT_EQUAL(world.replay_state[37], 0xff); /* one byte is all there is of it */
	vmft_qemu_events_off();
	vmft_qemu_vcpu_wake();
	CU_ASSERT_EQUAL(vmft_qemu_dirty_log_start(), -EIO);
	vmft_qemu_dirty_log_sync();
	CU_ASSERT_STRING_EQUAL(calls, "finish-events bql-lock bql-unlock sync ");
	world_down();
}

/* A QEMU that cannot note what is written to is asked for no attach. */
static void test_no_dirty_log(void)
{
	const struct vmft_qemu_series other = other_series();

	qemu_up();
	vmft_qemu.series = &other;
	CU_ASSERT_EQUAL(vmft_track_begin(area), -EIO);
	CU_ASSERT_STRING_EQUAL(area->error, "QEMU cannot note which memory is written to");
	CU_ASSERT(!vmft_track.dirty_log);
	CU_ASSERT(!atomic_load(&vmft_track.disks));
	qemu_down();
}

int vmft_suite_qemu_port(void)
{
	static const struct {
		const char *name;
		CU_TestFunc run;
	} tests[] = {
	    {"series", test_series},
	    {"one list of symbols", test_one_list},
	    {"missing symbol", test_missing_symbol},
	    {"fields", test_fields},
	    {"another series", test_other_series},
	    {"no dirty log", test_no_dirty_log},
	};
	CU_pSuite suite = CU_add_suite("QEMU port", NULL, NULL);

	for (size_t i = 0; suite && i < sizeof(tests) / sizeof(tests[0]); i++)
		if (!CU_add_test(suite, tests[i].name, tests[i].run))
			return -1;
	return suite ? 0 : -1;
}
