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
#include <sys/mman.h>
#include <unistd.h>

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
	CU_ASSERT_PTR_NOT_NULL(vmft_qemu_series_find("10.0.13"));
	CU_ASSERT_PTR_NOT_EQUAL(vmft_qemu_series_find("10.0.13"), series);
	CU_ASSERT_STRING_EQUAL(vmft_qemu_series_names(names, sizeof(names)), "7.2, 10.0");
	CU_ASSERT_EQUAL(vmft_qemu_choose("9.2.0", world_places_7_2), -EPROTO);
}

/* --- the list of symbols ------------------------------------------------------- */

static const char *asked[160];
static size_t asked_count;
static const char *withheld;

/* An enumeration must have its names, or the agent finds no numbers. */
static void *enumeration(const char *name)
{
	static const struct {
		const char *name;
		const struct vmft_qemu_enum *names;
	} all[] = {
	    {"RunState_lookup", &world_run_states},
	    {"ShutdownCause_lookup", &world_shutdown_causes},
	    {"ReplayMode_lookup", &world_replay_modes},
	    {"ShutdownAction_lookup", &world_shutdown_actions},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(name, all[i].name) == 0)
			return (void *)(uintptr_t)all[i].names;
	return NULL;
}

static void *look_up(const char *name)
{
	static char found[8];
	void *names = enumeration(name);

	CU_ASSERT_FATAL(asked_count < sizeof(asked) / sizeof(asked[0]));
	asked[asked_count++] = name;
	if (withheld && strcmp(name, withheld) == 0)
		return NULL;
	return names ? names : found;
}

static bool is_asked(const char *name)
{
	for (size_t i = 0; i < asked_count; i++)
		if (strcmp(asked[i], name) == 0)
			return true;
	return false;
}

static const struct {
	const char *version;
	const struct vmft_qemu_place *places;
} builds[] = {
    {"7.2.22", world_places_7_2},
    {"10.0.2", world_places_10_0},
};

#define BUILDS (sizeof(builds) / sizeof(builds[0]))

/* What the wrapper looks for in a binary is what the agent looks up, but for GLib's g_free(). */
static void test_one_list(void)
{
	for (size_t i = 0; i < BUILDS; i++) {
		const struct vmft_qemu_series *series = vmft_qemu_series_find(builds[i].version);
		size_t count = 0;

		withheld = NULL;
		asked_count = 0;
		CU_ASSERT_EQUAL(vmft_qemu_choose(builds[i].version, builds[i].places), 0);
		CU_ASSERT_PTR_NULL(vmft_qemu_bind(look_up));
		for (const struct vmft_qemu_symbol *s = series->symbols; s->name; s++, count++)
			CU_ASSERT(is_asked(s->name));
		CU_ASSERT(is_asked("g_free"));
		CU_ASSERT_EQUAL(asked_count, count + 1);
	}
	world_reset_agent();
}

static void test_missing_symbol(void)
{
	static const char *const names[] = {"vm_start", "replay_disable_events", "g_free"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *missing;

		withheld = names[i];
		asked_count = 0;
		CU_ASSERT_EQUAL(vmft_qemu_choose("7.2.22", world_places_7_2), 0);
		missing = vmft_qemu_bind(look_up);
		CU_ASSERT_PTR_NOT_NULL_FATAL(missing);
		CU_ASSERT_STRING_EQUAL(missing, names[i]);
	}
	world_reset_agent();
}

/* An enumeration that lacks a name, or that has another order. */
static void test_names(void)
{
	static const char *const reordered[] = {"pause", "poweroff"}, *const shorter[] = {"pause"};
	struct vmft_qemu_enum actions = {reordered, NULL, 2};
	struct world_qemu played = world_qemu;

	played.ShutdownAction_lookup = &actions;
	world_use_qemu(&played);
	CU_ASSERT_EQUAL(vmft_qemu.names.end_pause, 0);
	CU_ASSERT_EQUAL(vmft_qemu.names.end_poweroff, 1);
	CU_ASSERT_EQUAL(vmft_qemu.names.cause_load, 10);
	CU_ASSERT_EQUAL(vmft_qemu_state_number(VMFT_QEMU_RUNS), 9);
	CU_ASSERT_EQUAL(vmft_qemu_state_number(VMFT_QEMU_SLEEPS), 12);

	actions = (struct vmft_qemu_enum){shorter, NULL, 1};
	CU_ASSERT_STRING_EQUAL(vmft_qemu_bind(world_look_up), "poweroff");
	world_reset_agent();
}

/* What shared memory says of a place is taken if the field may have it. */
static void test_places(void)
{
	static const struct {
		enum vmft_qemu_field_id field;
		struct vmft_qemu_place place;
	} bad[] = {
	    {VMFT_QEMU_TICKS_OFFSET, {VMFT_QEMU_OFFSET_MAX + 1, 8}},
	    {VMFT_QEMU_TICKS_OFFSET, {8, 4}},
	    {VMFT_QEMU_TICKS_OFFSET, {8, 9}},
	    {VMFT_QEMU_EVENT_IS_READ, {32, 2}},
	    {VMFT_QEMU_EVENT_IS_READ, {32, 0}},
	    {VMFT_QEMU_TIMER_OPAQUE, {16, 8}},
	    {VMFT_QEMU_RNG_LIMIT, {528, 8}},
	};
	struct vmft_qemu_place places[VMFT_QEMU_FIELDS];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(places, world_places_7_2, sizeof(places));
		CU_ASSERT_EQUAL(vmft_qemu_choose("7.2.22", places), 0);
		places[bad[i].field] = bad[i].place;
		CU_ASSERT_EQUAL(vmft_qemu_choose("7.2.22", places), -EINVAL);
	}
	for (size_t i = 0; i < VMFT_QEMU_FIELDS; i++)
		CU_ASSERT_PTR_NOT_NULL(vmft_qemu_fields[i].member);
	world_reset_agent();
}

/* --- QEMU 10.0: the functions of port.h make its calls ---------------------------- */

static char calls[128];
static bool log_starts;

static void called(const char *what)
{
	strncat(calls, what, sizeof(calls) - strlen(calls) - 1);
}

static bool bql_locked(void)
{
	return false;
}

static void bql_lock(const char *file, int line)
{
	CU_ASSERT_PTR_NOT_NULL(file);
	CU_ASSERT(line > 0);
	world.locked = true;
	called("bql-lock ");
}

static void bql_unlock(void)
{
	world.locked = false;
	called("bql-unlock ");
}

static void finish_events(void)
{
	called("finish-events ");
}

static bool dirty_log_start(unsigned flags, void **err)
{
	CU_ASSERT_EQUAL(flags, 1);
	CU_ASSERT_PTR_NULL(err);
	return log_starts;
}

static void dirty_log_sync(bool last_stage)
{
	CU_ASSERT(!last_stage);
	called("sync ");
}

static void set_suspended(bool suspended)
{
	CU_ASSERT(!suspended);
	called("not-suspended ");
}

static int load_state(void *file)
{
	(void)file;
	called("load ");
	return 0;
}

static int phase_asked;

static bool phase_check(int phase)
{
	phase_asked = phase;
	return true;
}

static void *look_up_10_0(const char *name)
{
	static const struct {
		const char *name;
		void *function;
	} own[] = {
	    {"bql_locked", (void *)bql_locked},
	    {"bql_lock_impl", (void *)bql_lock},
	    {"bql_unlock", (void *)bql_unlock},
	    {"replay_finish_events", (void *)finish_events},
	    {"memory_global_dirty_log_start", (void *)dirty_log_start},
	    {"memory_global_dirty_log_sync", (void *)dirty_log_sync},
	    {"qemu_load_device_state", (void *)load_state},
	    {"vm_set_suspended", (void *)set_suspended},
	};

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (strcmp(name, own[i].name) == 0)
			return own[i].function;
	return world_look_up(name);
}

static void use_10_0(void)
{
	CU_ASSERT_EQUAL_FATAL(vmft_qemu_choose("10.0.2", world_places_10_0), 0);
	CU_ASSERT_PTR_NULL_FATAL(vmft_qemu_bind(look_up_10_0));
	calls[0] = '\0';
	log_starts = false;
}

static void test_10_0(void)
{
	world_up(4096, NULL, 0);
	use_10_0();
	vmft_qemu.symbols.phase_check = phase_check;
	CU_ASSERT_STRING_EQUAL(vmft_qemu_name(), "10.0");
	CU_ASSERT(vmft_qemu_machine_is_made());
	CU_ASSERT_EQUAL(phase_asked, 5);
	memset(world.replay_state, 0xff, sizeof(world.replay_state));
	world.replay_state[32] = 29;
	world.replay_state[28] = 0;
	CU_ASSERT_EQUAL(vmft_qemu_next_event(), VMFT_EVENT_CLOCK_VIRTUAL_RT);
	vmft_qemu_next_event_forget();
	CU_ASSERT_EQUAL(world.replay_state[36], 0);
	CU_ASSERT_EQUAL(world.replay_state[37], 0xff); /* the field has one byte */
	vmft_qemu_events_off();
	vmft_qemu_vcpu_wake();
	CU_ASSERT_EQUAL(vmft_qemu_dirty_log_start(), -EIO);
	log_starts = true;
	CU_ASSERT_EQUAL(vmft_qemu_dirty_log_start(), 0);
	vmft_qemu_dirty_log_sync();
	CU_ASSERT_STRING_EQUAL(calls, "finish-events bql-lock bql-unlock sync ");
	world_down();
}

/* A guest that was saved asleep, and was woken after the load, is not put to sleep by a later
 * start. */
static void test_10_0_forgets_sleep(void)
{
	int fd;

	qemu_up();
	use_10_0();
	fd = memfd_create("state", 0);
	CU_ASSERT_EQUAL(ftruncate(fd, 100), 0);
	CU_ASSERT_EQUAL(vmft_qemu_device_state_load(fd), 0);
	CU_ASSERT_STRING_EQUAL(calls, "load not-suspended ");
	close(fd);
	qemu_down();
}

/* A QEMU that cannot note what is written to is asked for no attach. */
static void test_no_dirty_log(void)
{
	qemu_up();
	use_10_0();
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
	    {"numbers by name", test_names},
	    {"places", test_places},
	    {"QEMU 10.0", test_10_0},
	    {"QEMU 10.0 forgets sleep", test_10_0_forgets_sleep},
	    {"no dirty log", test_no_dirty_log},
	};
	CU_pSuite suite = CU_add_suite("QEMU port", NULL, NULL);

	for (size_t i = 0; suite && i < sizeof(tests) / sizeof(tests[0]); i++)
		if (!CU_add_test(suite, tests[i].name, tests[i].run))
			return -1;
	return suite ? 0 : -1;
}
