/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A recorded guest's clock beside its host's: guests of every speed, simulated. */
#include <CUnit/CUnit.h>
#include <stdlib.h>

#include "monitor/agent/wait.h"
#include "monitor/common/guest-clock.h"
#include "suites.h"

#define MS INT64_C(1000000)

/* A guest and the thread that executes it. */
struct machine {
	struct vmft_guest_clock clock;
	struct vmft_clock_steer steer;
	int64_t real_ns;
	uint64_t cpu_ns;
	int64_t least,
	    most; /* of the guest's clock minus the host's, at any time it was looked at */
};

static struct machine machine_new(void)
{
	return (struct machine){.clock = {.icount = 1000, .bias = 5 * MS, .shift = 3},
				.real_ns = 5 * MS + 8000,
				.cpu_ns = 1};
}

static int64_t off(const struct machine *m)
{
	return vmft_guest_clock_ns(&m->clock) - m->real_ns;
}

static bool look(struct machine *m, bool rested)
{
	const int64_t before = vmft_guest_clock_ns(&m->clock);
	bool changed;

	if (off(m) < m->least)
		m->least = off(m);
	if (off(m) > m->most)
		m->most = off(m);
	changed = vmft_clock_steer(&m->steer, &m->clock, m->real_ns, m->cpu_ns, rested);
	CU_ASSERT(vmft_guest_clock_ns(&m->clock) >= before);
	CU_ASSERT(m->clock.shift >= 0 && m->clock.shift <= VMFT_GUEST_CLOCK_SHIFT_MAX);
	return changed;
}

/* Executes for ns of the host's time at ps an instruction, and is looked at. */
static void execute(struct machine *m, int64_t ns, int64_t ps)
{
	m->clock.icount += ns * 1000 / ps;
	m->real_ns += ns;
	m->cpu_ns += (uint64_t)ns;
	(void)look(m, false);
}

/* Between powers of two and on them; it starts with a factor that may be far off. */
static void test_any_speed(void)
{
	for (int64_t ps = 1100; ps < 900000; ps = ps * 107 / 100) {
		struct machine m = machine_new();

		for (int i = 0; i < 200; i++)
			execute(&m, 4 * MS, ps);
		m.least = m.most = 0;
		for (int i = 0; i < 1000; i++)
			execute(&m, 4 * MS, ps);
		CU_ASSERT(m.least > -5 * MS);
		CU_ASSERT(m.most < 5 * MS);
	}
}

/* What a guest does changes, and with it how fast it executes. A run is no longer than the guest's
 * next timer, 4 ms away. */
static void test_speed_changes(void)
{
	struct machine m = machine_new();
	int64_t ps = 2000;

	srandom(1);
	for (int i = 0; i < 100000; i++) {
		int64_t ns = 4 * MS, most;

		if (random() % 100 == 0)
			ps = 1200 + random() % 60000;
		most = ((4 * MS) >> m.clock.shift) * ps / 1000;
		execute(&m, ns < most ? ns : most, ps);
	}
	CU_ASSERT(m.least > -15 * MS);
	CU_ASSERT(m.most < 10 * MS);
}

/* A host that lets others run: what was lost is added at once if it is much, else soon. */
static void test_stalls(void)
{
	struct machine m = machine_new();

	for (int i = 0; i < 20; i++)
		execute(&m, 4 * MS, 5000);
	m.real_ns += 300 * MS;
	CU_ASSERT(look(&m, false));
	CU_ASSERT_EQUAL(off(&m), 0);
	m.real_ns += 8 * MS;
	(void)look(&m, false);
	CU_ASSERT(off(&m) < -5 * MS);
	for (int i = 0; i < 10; i++)
		execute(&m, 2 * MS, 5000);
	CU_ASSERT(off(&m) > -4 * MS);
}

/* A hypervisor runs somebody else, and the kernel counts that as time of the guest's thread. The
 * clock does not run ahead for it. */
static void test_stolen_time(void)
{
	struct machine m = machine_new();

	for (int i = 0; i < 200; i++)
		execute(&m, 4 * MS, 5000);
	m.least = m.most = 0;
	for (int i = 0; i < 100; i++) {
		m.clock.icount += 6000;
		m.real_ns += 300 * MS;
		m.cpu_ns += 300 * (uint64_t)MS;
		(void)look(&m, false);
		for (int j = 0; j < 20; j++)
			execute(&m, 4 * MS, 5000);
	}
	CU_ASSERT(m.most < 10 * MS);
}

static void test_rests(void)
{
	struct machine m = machine_new();

	m.real_ns += 20000;
	CU_ASSERT_FALSE(look(&m, true)); /* not worth an entry */
	m.real_ns += 300 * MS;
	CU_ASSERT(look(&m, true));
	CU_ASSERT_EQUAL(off(&m), 0);
	CU_ASSERT_EQUAL(m.clock.shift, 3); /* nothing is known of its speed */
	m.real_ns -= 7 * MS;		   /* ahead: it is never set back */
	CU_ASSERT_FALSE(look(&m, true));
	CU_ASSERT_EQUAL(off(&m), 7 * MS);
}

/* Only a run of many instructions shows what one costs. */
static void test_short_runs_tell_nothing(void)
{
	struct machine m = machine_new();

	for (int i = 0; i < 20; i++)
		execute(&m, 4 * MS, 8000);
	for (int i = 0; i < 50; i++) {
		m.clock.icount += 1;
		m.cpu_ns += 3000;
		m.real_ns += 3000;
		(void)look(&m, true);
	}
	CU_ASSERT_EQUAL(m.clock.shift, 3);
}

/* The reading that was least late counts, for ten to twenty seconds. */
static void test_base(void)
{
	struct vmft_clock_base base = {0};
	int64_t got = 1;

	CU_ASSERT_FALSE(vmft_clock_base_get(&base, &got));
	vmft_clock_base_note(&base, 1000, 5000);
	CU_ASSERT(vmft_clock_base_get(&base, &got));
	CU_ASSERT_EQUAL(got, 4000);
	vmft_clock_base_note(&base, 2000, 9000);
	CU_ASSERT(vmft_clock_base_get(&base, &got));
	CU_ASSERT_EQUAL(got, 4000);
	vmft_clock_base_note(&base, 3000, 6900);
	CU_ASSERT(vmft_clock_base_get(&base, &got));
	CU_ASSERT_EQUAL(got, 3900);
	/* The clocks of two hosts drift apart. */
	for (int64_t second = 1; second <= 30; second++)
		vmft_clock_base_note(&base, 3000 + second * 1000 * MS,
				     (uint64_t)(6900 + second * 1000 * MS + second * 10));
	CU_ASSERT(vmft_clock_base_get(&base, &got));
	CU_ASSERT(got > 3900 + 90 && got <= 3900 + 300);
	/* Another host that was up for longer. */
	base = (struct vmft_clock_base){0};
	vmft_clock_base_note(&base, 1000 * MS, 5);
	CU_ASSERT(vmft_clock_base_get(&base, &got));
	CU_ASSERT_EQUAL(got, 5 - 1000 * MS);
}

static const struct timespec real = {.tv_sec = 1800000000, .tv_nsec = 900000000};

/* A wait until a time ends at those seconds and ns of CLOCK_MONOTONIC; whole: it is not cut. */
static void waits_to(const struct timespec *until, const struct timespec *monotonic, bool whole,
		     int64_t seconds, int64_t nanoseconds)
{
	struct timespec time;

	CU_ASSERT_EQUAL(vmft_wait_as_monotonic(until, &real, monotonic, &time), whole);
	CU_ASSERT_EQUAL(time.tv_sec, seconds);
	CU_ASSERT_EQUAL(time.tv_nsec, nanoseconds);
}

/* Until a time of either clock; all that is said of a time is used, and nothing overflows. */
static void test_wait_as_monotonic(void)
{
	const struct timespec monotonic = {.tv_sec = 5000, .tv_nsec = 200000000};
	const struct timespec up_for_a_minute = {.tv_sec = 60};
	struct timespec until = {.tv_sec = 1800000001, .tv_nsec = 100000000};

	waits_to(&until, &monotonic, true, 5000, 400000000);
	until = (struct timespec){.tv_sec = 1800000000};
	waits_to(&until, &monotonic, true, 4999, 300000000);
	until = (struct timespec){.tv_sec = 5001, .tv_nsec = 7};
	waits_to(&until, &monotonic, true, 5001, 7);
	until = (struct timespec){.tv_sec = 1800000000 + 2 * VMFT_WAIT_MAX_S};
	waits_to(&until, &monotonic, false, 5000 + VMFT_WAIT_MAX_S, 200000000);
	until.tv_sec = INT64_MAX;
	waits_to(&until, &monotonic, false, 5000 + VMFT_WAIT_MAX_S, 200000000);
	until.tv_sec = 1800000000 - 2 * VMFT_WAIT_MAX_S;
	waits_to(&until, &monotonic, true, 5000 - VMFT_WAIT_MAX_S, 200000000);
	/* A host that was up for a minute: nothing before that. */
	waits_to(&until, &up_for_a_minute, true, 0, 0);
}

int vmft_suite_guest_clock(void)
{
	CU_pSuite suite = CU_add_suite("guest's clock", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_any_speed) ||
	    !CU_ADD_TEST(suite, test_speed_changes) || !CU_ADD_TEST(suite, test_stalls) ||
	    !CU_ADD_TEST(suite, test_stolen_time) || !CU_ADD_TEST(suite, test_rests) ||
	    !CU_ADD_TEST(suite, test_short_runs_tell_nothing) || !CU_ADD_TEST(suite, test_base) ||
	    !CU_ADD_TEST(suite, test_wait_as_monotonic))
		return -1;
	return 0;
}
