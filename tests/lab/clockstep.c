/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A preload that steps CLOCK_REALTIME for the processes of one host, as an administrator or a bad
 * time server does; CLOCK_MONOTONIC is left alone. VMFT_CLOCK_STEP names a file of two 64-bit
 * words: the step in ns, signed, which may change at any time, and how many readings were
 * answered with a step so far.
 *
 * Not libfaketime: it looks at its file once in so many seconds, or at each call (QEMU reads
 * clocks many thousand times a second), and stands in for waits, files' times and fork as well.
 * Deadlines in CLOCK_REALTIME are not moved here: libc's waits see the true clock. A wait that QEMU
 * begins while the clock is an hour ahead is therefore one that a clock which is set back by an
 * hour makes longer. The agent stands in for pthread_cond_timedwait() so that none of QEMU's is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORT	  __attribute__((visibility("default")))
#define NS_PER_S  1000000000ll
#define NS_PER_US 1000ll

struct step {
	_Atomic int64_t ns;
	_Atomic uint64_t readings;
};

static struct step *step;
static int (*real_clock_gettime)(clockid_t clock, struct timespec *ret_time);

__attribute__((constructor)) static void set_up(void)
{
	const char *path = getenv("VMFT_CLOCK_STEP");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map;

	real_clock_gettime =
	    (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*step), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (map != MAP_FAILED)
		step = map;
}

static void take_step(struct timespec *time)
{
	int64_t ns = step ? atomic_load(&step->ns) : 0, sum;

	if (ns == 0)
		return;
	atomic_fetch_add(&step->readings, 1);
	sum = time->tv_nsec + ns % NS_PER_S;
	time->tv_sec += ns / NS_PER_S + sum / NS_PER_S;
	time->tv_nsec = sum % NS_PER_S;
	if (time->tv_nsec < 0) {
		time->tv_nsec += NS_PER_S;
		time->tv_sec--;
	}
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	int r;

	/* Constructors of libraries that come before this one read clocks, too. */
	if (!real_clock_gettime)
		set_up();
	r = real_clock_gettime(clock, ret_time);
	if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		take_step(ret_time);
	return r;
}

EXPORT int gettimeofday(struct timeval *restrict ret_time, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &now) < 0)
		return -1;
	*ret_time = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / NS_PER_US};
	return 0;
}

EXPORT time_t time(time_t *ret_time)
{
	struct timespec now;

	if (clock_gettime(CLOCK_REALTIME, &now) < 0)
		return (time_t)-1;
	if (ret_time)
		*ret_time = now.tv_sec;
	return now.tv_sec;
}
