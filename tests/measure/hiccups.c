/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How late a thread with the monitor's settings wakes up, as cyclictest measures it: nice -10,
 * memory locked, sleeping 20 ms at a time. What silence-ms rests on (docs/detection.md). Beside it,
 * to compare, a thread without the nice value and one of the lowest real-time priority.
 *
 * Prints one JSON object a thread and line; scripts/bench hiccups makes tables of them.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#define TICK_NS	    20000000u /* monitor.c */
#define SECONDS_MAX 86400u
#define SLEEPERS    3u
#define BUCKETS	    24u /* the last one begins at 2^23 us, eight seconds */

struct sleeper {
	const char *name;
	int nice;
	bool real_time;
	unsigned seconds;
	uint32_t *late_us; /* one a wakeup, owned */
	size_t count, room;
	int error;
	pthread_t thread;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	const struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
				    .tv_nsec = (long)(ns % 1000000000u)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* Either is, on Linux, the calling thread's alone. */
static int prioritise(const struct sleeper *s)
{
	const struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_RR)};

	if (setpriority(PRIO_PROCESS, 0, s->nice) < 0 ||
	    (s->real_time && sched_setscheduler(0, SCHED_RR, &lowest) < 0))
		return -errno;
	return 0;
}

static void *run(void *arg)
{
	struct sleeper *s = arg;
	const uint64_t end = now_ns() + (uint64_t)s->seconds * 1000000000u;
	uint64_t woken = now_ns();

	s->error = prioritise(s);
	if (s->error < 0)
		return NULL;
	while (woken < end && s->count < s->room) {
		const uint64_t due = woken + TICK_NS;
		uint64_t late;

		sleep_until(due);
		woken = now_ns();
		late = (woken - due) / 1000;
		s->late_us[s->count++] = late > UINT32_MAX ? UINT32_MAX : (uint32_t)late;
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double quantile_ms(const struct sleeper *s, unsigned per_100000)
{
	return s->late_us[(s->count - 1) * per_100000 / 100000] / 1e3;
}

/* Bucket 0 is below 1 us, bucket i from 2^(i-1) us. */
static void print_histogram(const struct sleeper *s)
{
	unsigned long count[BUCKETS] = {0};

	for (size_t i = 0; i < s->count; i++) {
		unsigned bucket = 0;

		while (bucket < BUCKETS - 1 && s->late_us[i] >= UINT32_C(1) << bucket)
			bucket++;
		count[bucket]++;
	}
	for (unsigned i = 0; i < BUCKETS; i++)
		printf("%s%lu", i ? ", " : "", count[i]);
}

static void print(struct sleeper *s)
{
	qsort(s->late_us, s->count, sizeof(s->late_us[0]), compare);
	printf("{\"thread\": \"%s\", \"nice\": %d, \"wakeups\": %zu, \"p50_ms\": %.3f, "
	       "\"p99_ms\": %.3f, \"p99_9_ms\": %.3f, \"p99_99_ms\": %.3f, \"max_ms\": %.3f, "
	       "\"histogram_log2_us\": [",
	       s->name, s->nice, s->count, quantile_ms(s, 50000), quantile_ms(s, 99000),
	       quantile_ms(s, 99900), quantile_ms(s, 99990), quantile_ms(s, 100000));
	print_histogram(s);
	printf("]}\n");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	unsigned *seconds = state->input;
	char *end;
	unsigned long value;

	if (key != 's')
		return ARGP_ERR_UNKNOWN;
	value = strtoul(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || value < 1 || value > SECONDS_MAX)
		argp_error(state, "--seconds: a whole number from 1 to %u, not %s", SECONDS_MAX,
			   arg);
	*seconds = (unsigned)value;
	return 0;
}

static int start(struct sleeper *s, unsigned seconds)
{
	s->seconds = seconds;
	s->room = (size_t)seconds * (1000000000u / TICK_NS) + 1;
	s->late_us = calloc(s->room, sizeof(s->late_us[0]));
	if (!s->late_us)
		return -ENOMEM;
	return -pthread_create(&s->thread, NULL, run, s);
}

int main(int argc, char *argv[])
{
	const struct argp_option options[] = {
	    {"seconds", 's', "N", 0, "how long, default 60", 0},
	    {0},
	};
	const struct argp argp = {
	    .options = options,
	    .parser = parse_option,
	    .doc = "Measure how late sleeping threads wake up. Root, for the nice value.",
	};
	struct sleeper sleepers[SLEEPERS] = {
	    {.name = "monitor", .nice = -10},
	    {.name = "plain"},
	    {.name = "real-time", .real_time = true},
	};
	unsigned seconds = 60;
	int rc = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &seconds);
	(void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	for (size_t i = 0; i < SLEEPERS && rc == 0; i++)
		rc = start(&sleepers[i], seconds);
	if (rc < 0) {
		(void)fprintf(stderr, "vmft-hiccups: %s\n", strerror(-rc));
		return 1;
	}
	for (size_t i = 0; i < SLEEPERS; i++) {
		(void)pthread_join(sleepers[i].thread, NULL);
		if (sleepers[i].error < 0) {
			(void)fprintf(stderr, "vmft-hiccups: thread %s: %s\n", sleepers[i].name,
				      strerror(-sleepers[i].error));
			return 1;
		}
		print(&sleepers[i]);
		free(sleepers[i].late_us);
	}
	return 0;
}
