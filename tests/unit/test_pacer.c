/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When an epoch ends, and the figures that are kept of them. */
#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/daemon/checkpoint/epoch-figures.h"
#include "monitor/daemon/checkpoint/pacer.h"
#include "suites.h"

#define MS   UINT64_C(1000000)
#define MUCH (UINT64_C(64) << 20)

/* --- pacer -------------------------------------------------------------------- */

static struct vmft_pacer pacer_at(uint64_t now)
{
	struct vmft_pacer pacer;

	vmft_pacer_init(&pacer, 10, 50, 1000, now);
	return pacer;
}

static void test_pacer_first(void)
{
	struct vmft_pacer pacer = pacer_at(7 * MS);

	CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 57 * MS);
	/* Nothing is known of the pauses yet. */
	pacer.output = true;
	CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 17 * MS);
	pacer.output = false;
	CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 57 * MS);
}

/* Twice as long from one to the next, up to the most. */
static void test_pacer_doubles(void)
{
	static const uint64_t want[] = {100, 200, 400, 800, 1000, 1000};
	struct vmft_pacer pacer = pacer_at(0);
	uint64_t now = 0;

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		now += 5 * MS;
		vmft_pacer_began(&pacer, now, MS, 8u << 20);
		CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), now + want[i] * MS);
	}
}

/* Half as long while much is changed, down to the normal length. */
static void test_pacer_halves(void)
{
	static const uint64_t want[] = {400, 200, 100, 50, 50};
	struct vmft_pacer pacer = pacer_at(0);

	for (int i = 0; i < 4; i++)
		vmft_pacer_began(&pacer, 0, MS, 0);
	CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 800 * MS);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		vmft_pacer_began(&pacer, 0, MS, (8u << 20) + 1);
		CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), want[i] * MS);
	}
}

/* Output ends the epoch under way, however long it was to be, and the next begins as a normal
 * one without output. */
static void test_pacer_output(void)
{
	struct vmft_pacer pacer = pacer_at(0);

	for (int i = 0; i < 6; i++)
		vmft_pacer_began(&pacer, 0, MS, 0);
	CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 1000 * MS);
	pacer.output = true;
	CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 10 * MS);
	vmft_pacer_began(&pacer, 30 * MS, MS, 0);
	CU_ASSERT(!pacer.output);
	CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 80 * MS);
	vmft_pacer_began(&pacer, 80 * MS, MS, 0);
	CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 180 * MS);
}

/* How long an epoch with output is whose ends stop the guest for so long. */
static uint64_t length_at(uint64_t pause_ns)
{
	struct vmft_pacer pacer = pacer_at(0);

	for (int i = 0; i < 100; i++)
		vmft_pacer_began(&pacer, 0, pause_ns, 0);
	pacer.output = true;
	return vmft_pacer_due(&pacer);
}

/* Not shorter than the least, not longer than a normal one, and in between stopped for a tenth of
 * the time. */
static void test_pacer_share(void)
{
	uint64_t before = 0;

	CU_ASSERT_EQUAL(length_at(0), 10 * MS);
	CU_ASSERT_EQUAL(length_at(MS), 10 * MS);
	CU_ASSERT_EQUAL(length_at(2 * MS), 18 * MS);
	CU_ASSERT_EQUAL(length_at(5 * MS), 45 * MS);
	CU_ASSERT_EQUAL(length_at(6 * MS), 50 * MS);
	CU_ASSERT_EQUAL(length_at(1000 * MS), 50 * MS);
	for (uint64_t pause = 0; pause < 20 * MS; pause += MS / 10) {
		const uint64_t length = length_at(pause);

		CU_ASSERT(length >= before && length >= 10 * MS && length <= 50 * MS);
		CU_ASSERT(length == 50 * MS || pause * 10 <= pause + length);
		before = length;
	}
}

/* One long pause among short ones does not make the next epochs long. */
static void test_pacer_smooths(void)
{
	struct vmft_pacer pacer = pacer_at(0);

	for (int i = 0; i < 10; i++)
		vmft_pacer_began(&pacer, 0, 2 * MS, 0);
	vmft_pacer_began(&pacer, 0, 12 * MS, 0);
	pacer.output = true;
	CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 36 * MS);
	for (int i = 0; i < 40; i++)
		vmft_pacer_began(&pacer, 0, 2 * MS, 0);
	pacer.output = true;
	CU_ASSERT(vmft_pacer_due(&pacer) < 19 * MS);
}

/* Whatever comes, an epoch without output is between the normal and the longest. */
static void test_pacer_bounds(void)
{
	struct vmft_pacer pacer = pacer_at(0);

	srand(1);
	for (int i = 0; i < 10000; i++) {
		const uint64_t bytes = (unsigned)rand() % 2 ? MUCH : 0;
		uint64_t due;

		pacer.output = (unsigned)rand() % 4 == 0;
		vmft_pacer_began(&pacer, 0, (uint64_t)rand() % (40 * MS), bytes);
		due = vmft_pacer_due(&pacer);
		CU_ASSERT(due >= 50 * MS && due <= 1000 * MS);
		pacer.output = true;
		due = vmft_pacer_due(&pacer);
		CU_ASSERT(due >= 10 * MS && due <= 50 * MS);
	}
}

/* A pair file may give one length for all three. */
static void test_pacer_fixed(void)
{
	struct vmft_pacer pacer;

	vmft_pacer_init(&pacer, 25, 25, 25, 0);
	for (int i = 0; i < 10; i++) {
		CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 25 * MS);
		pacer.output = i % 2;
		CU_ASSERT_EQUAL(vmft_pacer_due(&pacer), 25 * MS);
		vmft_pacer_began(&pacer, 0, (unsigned)i * MS, i % 3 ? MUCH : 0);
	}
}

/* --- figures ------------------------------------------------------------------ */

static struct vmft_epoch_figures figures;

static void nothing_yet(uint64_t position)
{
	figures = (struct vmft_epoch_figures){.released = position};
}

static void taken(uint64_t epoch, uint64_t asked, uint64_t output)
{
	*vmft_epoch_sample(&figures, epoch) = (struct vmft_epoch_sample){
	    .epoch = epoch,
	    .asked_ns = asked,
	    .output_ns = output,
	    .value = {[VMFT_FIGURE_PAUSE] = epoch},
	};
}

static uint64_t value(uint64_t epoch, enum vmft_epoch_figure which)
{
	const struct vmft_epoch_sample *sample = vmft_epoch_sample(&figures, epoch);

	return sample->epoch == epoch ? sample->value[which] : UINT64_MAX;
}

static uint64_t quantile(enum vmft_epoch_figure which, unsigned permille)
{
	return vmft_epoch_quantile(&figures, which, permille);
}

static void test_quantiles(void)
{
	nothing_yet(0);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_PAUSE, 0), 0);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_COMMIT, 1000), 0);
	taken(1, 0, 0);
	for (unsigned permille = 0; permille <= 1000; permille += 100)
		CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_PAUSE, permille), 1);
	for (uint64_t epoch = 101; epoch > 1; epoch--)
		taken(epoch, 0, 0);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_PAUSE, 0), 1);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_PAUSE, 500), 51);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_PAUSE, 950), 96);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_PAUSE, 999), 100);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_PAUSE, 1000), 101);
	/* A zero is a value of the others. */
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_STOP, 1000), 0);
}

/* More epochs than there are samples: the last of them count. */
static void test_samples_wrap(void)
{
	nothing_yet(0);
	for (uint64_t epoch = 1; epoch <= VMFT_EPOCH_SAMPLES + 10; epoch++)
		taken(epoch, 0, 0);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_PAUSE, 0), 11);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_PAUSE, 1000), VMFT_EPOCH_SAMPLES + 10);
	CU_ASSERT_EQUAL(value(10, VMFT_FIGURE_PAUSE), UINT64_MAX);
	CU_ASSERT_EQUAL(value(11, VMFT_FIGURE_PAUSE), 11);
}

/* Each epoch's wait ends once, with the release that first covers it. */
static void test_released(void)
{
	nothing_yet(5);
	taken(6, 100, 0);
	taken(7, 200, 150);
	taken(8, 300, 250);
	vmft_epoch_released(&figures, 5, 1000);
	CU_ASSERT_EQUAL(value(6, VMFT_FIGURE_COMMIT), 0);
	vmft_epoch_released(&figures, 7, 1000);
	CU_ASSERT_EQUAL(value(6, VMFT_FIGURE_COMMIT), 900);
	CU_ASSERT_EQUAL(value(6, VMFT_FIGURE_OUTPUT), 0); /* it had none */
	CU_ASSERT_EQUAL(value(7, VMFT_FIGURE_COMMIT), 800);
	CU_ASSERT_EQUAL(value(7, VMFT_FIGURE_OUTPUT), 850);
	CU_ASSERT_EQUAL(value(8, VMFT_FIGURE_COMMIT), 0);
	vmft_epoch_released(&figures, 7, 2000);
	vmft_epoch_released(&figures, 0, 2000); /* what an earlier pair was allowed is void */
	CU_ASSERT_EQUAL(value(7, VMFT_FIGURE_COMMIT), 800);
	CU_ASSERT_EQUAL(figures.released, 7);
	vmft_epoch_released(&figures, 8, 2000);
	CU_ASSERT_EQUAL(value(8, VMFT_FIGURE_OUTPUT), 1750);
	/* Those without are left out. */
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_OUTPUT, 0), 850);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_OUTPUT, 1000), 1750);
	CU_ASSERT_EQUAL(quantile(VMFT_FIGURE_COMMIT, 0), 800);
}

/* A clock read before the sample's own: no wait, not all of time. */
static void test_released_at_once(void)
{
	nothing_yet(0);
	taken(1, 500, 500);
	vmft_epoch_released(&figures, 1, 400);
	CU_ASSERT_EQUAL(value(1, VMFT_FIGURE_COMMIT), 0);
	CU_ASSERT_EQUAL(value(1, VMFT_FIGURE_OUTPUT), 0);
}

/* A position far ahead of the last: no more is looked at than there is, and a place that holds
 * another epoch is left alone. */
static void test_released_far(void)
{
	const uint64_t far = UINT64_C(1) << 60;

	nothing_yet(0);
	taken(1, 100, 0);
	taken(far, 100, 0);
	taken(far - VMFT_EPOCH_SAMPLES + 2, 100, 0);
	vmft_epoch_released(&figures, far, 300);
	CU_ASSERT_EQUAL(value(1, VMFT_FIGURE_COMMIT), 0);
	CU_ASSERT_EQUAL(value(far, VMFT_FIGURE_COMMIT), 200);
	CU_ASSERT_EQUAL(value(far - VMFT_EPOCH_SAMPLES + 2, VMFT_FIGURE_COMMIT), 200);
	CU_ASSERT_EQUAL(figures.released, far);
}

int vmft_suite_pacer(void)
{
	static CU_TestInfo tests[] = {
	    {"the first epoch", test_pacer_first},
	    {"nothing waits: longer", test_pacer_doubles},
	    {"much is changed: shorter", test_pacer_halves},
	    {"output ends an epoch", test_pacer_output},
	    {"a tenth of the time stopped", test_pacer_share},
	    {"pauses are smoothed", test_pacer_smooths},
	    {"bounds", test_pacer_bounds},
	    {"one length for all", test_pacer_fixed},
	    {"quantiles", test_quantiles},
	    {"samples wrap around", test_samples_wrap},
	    {"released", test_released},
	    {"released at once", test_released_at_once},
	    {"released far ahead", test_released_far},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"pacing epochs", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
