/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-copy-or-protect: how an epoch's dirty pages are best taken. Copied while the guest is
 * stopped, or write-protected, so that the guest goes on at once, and copied while it runs:
 * those it writes to first by the handler of the faults.
 *
 * All ways run in turn, again and again: what else the machine does hits each of them.
 *
 * This file has more than 600 lines because it is one program: the ways that it compares share
 * its setup and its measurement.
 */
#define _GNU_SOURCE
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ME	    "vmft-copy-or-protect"
#define PAGE_BYTES  WRITER_PAGE_BYTES
#define PAGES	    262144u /* 1 GiB */
#define EPOCH_NS    25000000u
#define WARM_EPOCHS 2u
#define RUN_MAX_NS  UINT64_C(3000000000) /* a way that is very slow gets fewer epochs */
#define CHUNK_PAGES 64u /* unprotected at once; a fault among them waits for so long */
#define GAP_PAGES   16u /* of clean pages protected too, to have fewer calls */
#define LOOK_NS	    50000000u
#define MANY_ROUNDS 100000u /* of the writer doing nothing */
#define RUNS_MAX    100u
#define EPOCHS_MAX  1000u
#define NS_PER_S    UINT64_C(1000000000)

/*
 * n writes at random among 2 d pages dirty 2 d (1 - exp(-n / 2 d)) of them, which is d for
 * n = 2 d ln 2; about half of these are dirtied again in the next epoch.
 */
#define WINDOW(dirty) (2 * (uint64_t)(dirty))
#define WRITES(dirty) ((uint64_t)(dirty)*1386 / 1000)

static const unsigned sizes[] = {100, 1000, 2621, 10000, 26214};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

enum way { WAY_NONE, WAY_COPY, WAY_PROTECT, WAY_PROTECT_GAPS, WAY_PROTECT_POLL, N_WAYS };
static const char *const way_names[] = {"take nothing", "copy", "protect", "protect with gaps",
					"protect with gaps, poll"};

static bool way_protects(enum way way)
{
	return way != WAY_NONE && way != WAY_COPY;
}

enum page_state { PAGE_CLEAN, PAGE_TO_COPY, PAGE_TAKEN };

struct extent {
	uint32_t first, pages;
};

struct measure {
	int memory_fd, staging_fd, uffd, end_fd;
	uint8_t *memory, *staging;
	_Atomic uint8_t *state; /* of each page: enum page_state */
	uint32_t *slot;		/* of each dirty page: its place in the staging */
	uint32_t *dirty;	/* this epoch's pages, in order */
	uint32_t n_dirty;
	struct extent *extents;
	uint32_t n_extents;
	_Atomic uint64_t faults;
	struct writer *writer;
};

struct epoch {
	uint64_t stopped, gone, copied; /* when the writer was stopped, let go, its pages taken */
	uint64_t written, faults;
};

struct samples {
	double *values;
	size_t n;
};

struct row {
	bool is_guest;
	unsigned wanted; /* dirty pages */
	enum way way;
	struct samples stop_us, copied_us, dirty, faults; /* of each epoch */
	struct samples speed;				  /* of each run, pages a second */
	struct samples percent;				  /* of that of WAY_NONE */
};

struct reading {
	const char *name;
	struct samples ns; /* per page, of each run */
};

static void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", ME, what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t when_ns)
{
	struct timespec when = {
	    .tv_sec = (time_t)(when_ns / NS_PER_S),
	    .tv_nsec = (long)(when_ns % NS_PER_S),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
		;
}

static void *allocate(size_t n, size_t bytes)
{
	void *memory = calloc(n, bytes);

	if (!memory)
		die("memory");
	return memory;
}

/* ---- samples ---- */

static void samples_add(struct samples *samples, double value)
{
	if (samples->n % EPOCHS_MAX == 0) {
		samples->values = reallocarray(samples->values, samples->n + EPOCHS_MAX,
					       sizeof(*samples->values));
		if (!samples->values)
			die("memory");
	}
	samples->values[samples->n++] = value;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double samples_at(struct samples *samples, unsigned percent)
{
	if (samples->n == 0)
		return 0;
	qsort(samples->values, samples->n, sizeof(*samples->values), compare);
	return samples->values[(samples->n - 1) * percent / 100];
}

static double samples_last(const struct samples *samples)
{
	return samples->values[samples->n - 1];
}

/* ---- dirty pages ---- */

static void dirty_take(struct measure *m)
{
	const struct writer *writer = m->writer;

	m->n_dirty = 0;
	for (uint32_t word = 0; word < writer->bitmap_bytes / 8; word++) {
		uint64_t bits = writer->bitmap[word];

		writer->bitmap[word] = 0;
		for (; bits; bits &= bits - 1)
			m->dirty[m->n_dirty++] = word * 64 + (uint32_t)__builtin_ctzll(bits);
	}
}

static void dirty_extents(struct measure *m, uint32_t gap)
{
	struct extent *last = m->extents;

	m->n_extents = 0;
	for (uint32_t i = 0; i < m->n_dirty; i++) {
		uint32_t page = m->dirty[i];

		if (m->n_extents > 0 && page - (last->first + last->pages) <= gap) {
			last->pages = page + 1 - last->first;
		} else {
			last = &m->extents[m->n_extents++];
			*last = (struct extent){page, 1};
		}
	}
}

static void copy_page(struct measure *m, uint32_t page, uint32_t slot)
{
	memcpy(m->staging + (size_t)slot * PAGE_BYTES, m->memory + (size_t)page * PAGE_BYTES,
	       PAGE_BYTES);
}

/* Each page begins with the number of its last write. */
static void staging_check(const struct measure *m, uint64_t count_at_stop)
{
	for (uint32_t slot = 0; slot < m->n_dirty; slot++) {
		uint64_t number;

		memcpy(&number, m->staging + (size_t)slot * PAGE_BYTES, sizeof(number));
		/* One more: a guest may be stopped between the page and the count. */
		if (number <= count_at_stop + 1)
			continue;
		fprintf(stderr, "%s: a page was copied as it was after the stop\n", ME);
		exit(1);
	}
}

/* ---- protecting ---- */

static void protect(struct measure *m, uint32_t first, uint32_t pages, bool on)
{
	struct uffdio_writeprotect wp = {
	    .range = {(uintptr_t)m->memory + (uint64_t)first * PAGE_BYTES,
		      (uint64_t)pages * PAGE_BYTES},
	    .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	while (ioctl(m->uffd, UFFDIO_WRITEPROTECT, &wp) < 0)
		if (errno != EAGAIN)
			die("UFFDIO_WRITEPROTECT");
}

static bool claim(struct measure *m, uint32_t page)
{
	uint8_t to_copy = PAGE_TO_COPY;

	return atomic_compare_exchange_strong(&m->state[page], &to_copy, PAGE_TAKEN);
}

static void handle_fault(struct measure *m, uint64_t address)
{
	uint32_t page = (uint32_t)((address - (uintptr_t)m->memory) / PAGE_BYTES);

	atomic_fetch_add(&m->faults, 1);
	if (claim(m, page)) {
		copy_page(m, page, m->slot[page]);
		protect(m, page, 1, false);
	} else if (atomic_load(&m->state[page]) == PAGE_CLEAN) {
		protect(m, page, 1, false);
	}
	/* Otherwise it is in a chunk being copied and is let go with it. */
}

static void handle_faults(struct measure *m)
{
	struct uffd_msg msg;

	while (read(m->uffd, &msg, sizeof(msg)) == sizeof(msg))
		if (msg.event == UFFD_EVENT_PAGEFAULT)
			handle_fault(m, msg.arg.pagefault.address);
	if (errno != EAGAIN && errno != EINTR)
		die("userfaultfd");
}

static void *handler(void *arg)
{
	struct measure *m = arg;
	struct pollfd fds[] = {{m->uffd, POLLIN, 0}, {m->end_fd, POLLIN, 0}};

	while (!fds[1].revents) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			die("poll");
		if (fds[0].revents)
			handle_faults(m);
	}
	return NULL;
}

static pthread_t handler_start(struct measure *m)
{
	pthread_t thread;

	m->end_fd = eventfd(0, EFD_CLOEXEC);
	if (m->end_fd < 0)
		die("eventfd");
	errno = pthread_create(&thread, NULL, handler, m);
	if (errno)
		die("thread");
	return thread;
}

static void handler_end(struct measure *m, pthread_t thread)
{
	if (eventfd_write(m->end_fd, 1) < 0)
		die("eventfd");
	pthread_join(thread, NULL);
	close(m->end_fd);
}

static void protect_all(struct measure *m, enum way way)
{
	dirty_extents(m, way == WAY_PROTECT ? 0 : GAP_PAGES);
	for (uint32_t i = 0; i < m->n_dirty; i++) {
		m->slot[m->dirty[i]] = i;
		atomic_store_explicit(&m->state[m->dirty[i]], PAGE_TO_COPY, memory_order_release);
	}
	for (uint32_t i = 0; i < m->n_extents; i++)
		protect(m, m->extents[i].first, m->extents[i].pages, true);
}

static void copy_chunk(struct measure *m, uint32_t first, uint32_t pages)
{
	for (uint32_t page = first; page < first + pages; page++)
		if (claim(m, page))
			copy_page(m, page, m->slot[page]);
	protect(m, first, pages, false);
}

static void copy_protected(struct measure *m, enum way way)
{
	for (uint32_t i = 0; i < m->n_extents; i++) {
		struct extent left = m->extents[i];

		while (left.pages > 0) {
			uint32_t pages = left.pages < CHUNK_PAGES ? left.pages : CHUNK_PAGES;

			copy_chunk(m, left.first, pages);
			if (way == WAY_PROTECT_POLL)
				handle_faults(m);
			left.first += pages;
			left.pages -= pages;
		}
	}
	for (uint32_t i = 0; i < m->n_dirty; i++)
		atomic_store(&m->state[m->dirty[i]], PAGE_CLEAN);
}

/* The other ways run without it: memory that is registered is mapped in another manner. */
static void register_memory(struct measure *m, bool on)
{
	struct uffdio_register reg = {
	    .range = {(uintptr_t)m->memory, (uint64_t)PAGES * PAGE_BYTES},
	    .mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (on && ioctl(m->uffd, UFFDIO_REGISTER, &reg) < 0)
		die("UFFDIO_REGISTER");
	if (!on && ioctl(m->uffd, UFFDIO_UNREGISTER, &reg.range) < 0)
		die("UFFDIO_UNREGISTER");
}

/* ---- epochs ---- */

static uint64_t written(const struct measure *m)
{
	return atomic_load(&m->writer->task->count);
}

static void stop(struct measure *m)
{
	if (writer_stop(m->writer))
		return;
	fprintf(stderr, "%s: the guest ended, exit reason %u\n", ME, m->writer->run->exit_reason);
	exit(1);
}

static void epoch(struct measure *m, enum way way, struct epoch *epoch)
{
	uint64_t faults = atomic_load(&m->faults);

	stop(m);
	dirty_take(m);
	epoch->written = written(m);
	epoch->stopped = now_ns();
	if (way == WAY_COPY)
		for (uint32_t i = 0; i < m->n_dirty; i++)
			copy_page(m, m->dirty[i], i);
	else if (way != WAY_NONE)
		protect_all(m, way);
	epoch->gone = now_ns();
	writer_go(m->writer);
	if (way_protects(way))
		copy_protected(m, way);
	epoch->copied = now_ns();
	epoch->faults = atomic_load(&m->faults) - faults;
	if (way != WAY_NONE)
		staging_check(m, epoch->written);
}

static void count_epoch(const struct measure *m, struct row *row, const struct epoch *epoch)
{
	samples_add(&row->stop_us, (double)(epoch->gone - epoch->stopped) / 1e3);
	if (way_protects(row->way))
		samples_add(&row->copied_us, (double)(epoch->copied - epoch->gone) / 1e3);
	samples_add(&row->dirty, m->n_dirty);
	samples_add(&row->faults, (double)epoch->faults);
}

/* Flat out for as long as it takes to have nearly every page mapped as it will be. */
static void settle(struct measure *m)
{
	uint64_t work = m->writer->task->work, until = written(m) + 8 * m->writer->task->window;

	m->writer->task->work = 0;
	writer_go(m->writer);
	while (written(m) < until && !atomic_load(&m->writer->failed))
		sleep_until(now_ns() + NS_PER_S / 1000);
	stop(m);
	m->writer->task->work = work;
}

/* The speed is that from stop to stop: as many stops as times of running. */
static void run_epochs(struct measure *m, struct row *row, unsigned epochs)
{
	struct epoch now, first = {0};

	settle(m);
	writer_go(m->writer);
	now.gone = now_ns();
	for (unsigned i = 0; i < epochs + WARM_EPOCHS; i++) {
		sleep_until(now.gone + EPOCH_NS);
		epoch(m, row->way, &now);
		if (i < WARM_EPOCHS)
			continue;
		if (i == WARM_EPOCHS)
			first = now;
		count_epoch(m, row, &now);
		if (now.copied - first.stopped > RUN_MAX_NS)
			break;
	}
	sleep_until(now.gone + EPOCH_NS);
	epoch(m, WAY_NONE, &now);
	stop(m);
	samples_add(&row->speed, (double)(now.written - first.written) * 1e9 /
				     (double)(now.stopped - first.stopped));
}

static void run(struct measure *m, struct row *row, unsigned epochs)
{
	pthread_t thread;

	if (!way_protects(row->way)) {
		run_epochs(m, row, epochs);
		return;
	}
	register_memory(m, true);
	if (row->way == WAY_PROTECT_POLL) {
		run_epochs(m, row, epochs);
	} else {
		thread = handler_start(m);
		run_epochs(m, row, epochs);
		handler_end(m, thread);
	}
	register_memory(m, false);
}

/* ns for each write when it does so many rounds of nothing after each. */
static double look(struct measure *m, uint64_t work)
{
	uint64_t begin, end, count;

	m->writer->task->work = work;
	count = written(m);
	begin = now_ns();
	writer_go(m->writer);
	sleep_until(begin + LOOK_NS);
	end = now_ns();
	stop(m);
	return (double)(end - begin) / (double)(written(m) - count);
}

/* Sets the writer to dirty so many pages in an epoch that it runs through undisturbed. */
static void pace(struct measure *m, unsigned dirty)
{
	double target = (double)EPOCH_NS / (double)WRITES(dirty);
	double bare, round;

	m->writer->task->window = WINDOW(dirty);
	settle(m);
	bare = look(m, 0);
	round = (look(m, MANY_ROUNDS) - bare) / MANY_ROUNDS;
	m->writer->task->work = target > bare ? (uint64_t)((target - bare) / round) : 0;
}

static void run_size(struct measure *m, struct row rows[N_WAYS], unsigned runs, unsigned epochs)
{
	pace(m, rows[0].wanted);
	for (unsigned i = 0; i < runs; i++) {
		for (unsigned way = 0; way < N_WAYS; way++) {
			run(m, &rows[way], epochs);
			samples_add(&rows[way].percent, 100 * samples_last(&rows[way].speed) /
							    samples_last(&rows[0].speed));
		}
	}
}

/* ---- reading ---- */

enum read_way {
	READ_MEMCPY,
	READ_PREAD,
	READ_MEMCPY_FRESH,
	READ_PREAD_FRESH,
	READ_MEMCPY_UNMAPPED,
	READ_PUNCH,
	N_READ_WAYS
};
static const char *const read_names[] = {"memcpy, staging used before",
					 "pread, staging used before",
					 "memcpy, staging fresh",
					 "pread, staging fresh",
					 "memcpy, source not mapped yet, staging used before",
					 "punching the hole that makes staging fresh"};

#define READ_PAGES 2621u

static void punch(struct measure *m)
{
	if (fallocate(m->staging_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      (off_t)READ_PAGES * PAGE_BYTES) < 0)
		die("punching a hole");
}

/* Every other page or so, each time of another part: caches do not hold it. */
static void read_choose(struct measure *m)
{
	static uint32_t at;
	static unsigned seed = 1;

	for (m->n_dirty = 0; m->n_dirty < READ_PAGES; m->n_dirty++) {
		at = (at + 1 + (unsigned)rand_r(&seed) % 3) % PAGES;
		m->dirty[m->n_dirty] = at;
	}
}

static void read_pages(struct measure *m, const uint8_t *source, bool by_pread)
{
	for (uint32_t i = 0; i < m->n_dirty; i++) {
		uint8_t *to = m->staging + (size_t)i * PAGE_BYTES;
		size_t from = (size_t)m->dirty[i] * PAGE_BYTES;

		if (!by_pread)
			memcpy(to, source + from, PAGE_BYTES);
		else if (pread(m->memory_fd, to, PAGE_BYTES, (off_t)from) != PAGE_BYTES)
			die("pread");
	}
}

static uint64_t read_timed(struct measure *m, enum read_way way)
{
	uint8_t *source = m->memory;
	uint64_t begin, took;

	read_choose(m);
	if (way == READ_MEMCPY_FRESH || way == READ_PREAD_FRESH)
		punch(m);
	if (way == READ_MEMCPY_UNMAPPED)
		source =
		    mmap(NULL, (size_t)PAGES * PAGE_BYTES, PROT_READ, MAP_SHARED, m->memory_fd, 0);
	if (source == MAP_FAILED)
		die("mmap");
	begin = now_ns();
	if (way == READ_PUNCH)
		punch(m);
	else
		read_pages(m, source, way == READ_PREAD || way == READ_PREAD_FRESH);
	took = now_ns() - begin;
	if (source != m->memory)
		munmap(source, (size_t)PAGES * PAGE_BYTES);
	return took;
}

static void read_all(struct measure *m, struct reading readings[N_READ_WAYS], unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		for (unsigned way = 0; way < N_READ_WAYS; way++) {
			memset(m->staging, 1, (size_t)READ_PAGES * PAGE_BYTES);
			samples_add(&readings[way].ns,
				    (double)read_timed(m, way) / (double)READ_PAGES);
		}
	}
	memset(m->staging, 1, (size_t)READ_PAGES * PAGE_BYTES);
	for (unsigned way = 0; way < N_READ_WAYS; way++)
		readings[way].name = read_names[way];
}

/* ---- results ---- */

static void row_print(struct row *row)
{
	printf("| %s | %.0f | %s | %.0f | %.0f | ", row->is_guest ? "KVM guest" : "thread",
	       samples_at(&row->dirty, 50), way_names[row->way], samples_at(&row->stop_us, 50),
	       samples_at(&row->stop_us, 99));
	if (way_protects(row->way))
		printf("%.0f | %.0f | ", samples_at(&row->copied_us, 50),
		       samples_at(&row->faults, 50));
	else
		printf("- | - | ");
	printf("%.1f |\n", samples_at(&row->percent, 50));
}

static void print_tables(struct row *rows, size_t n_rows, struct reading *readings)
{
	printf("| writer | dirty pages | way | stop us | p99 | all copied after us | faults "
	       "| writer's work %% |\n|---|---|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < n_rows; i++)
		row_print(&rows[i]);
	printf("\n| taking a page | ns |\n|---|---|\n");
	for (size_t i = 0; i < N_READ_WAYS; i++)
		printf("| %s | %.0f |\n", readings[i].name, samples_at(&readings[i].ns, 50));
}

static void row_write(FILE *file, struct row *row, bool last)
{
	fprintf(file,
		"    {\"writer\": \"%s\", \"wanted_pages\": %u, \"way\": \"%s\", "
		"\"epochs\": %zu, \"dirty_pages\": %.0f, \"stop_us\": %.1f, "
		"\"stop_p99_us\": %.1f, \"copied_us\": %.1f, \"faults\": %.0f, "
		"\"pages_per_s\": %.0f, \"work_percent\": %.1f}%s\n",
		row->is_guest ? "kvm" : "thread", row->wanted, way_names[row->way], row->stop_us.n,
		samples_at(&row->dirty, 50), samples_at(&row->stop_us, 50),
		samples_at(&row->stop_us, 99), samples_at(&row->copied_us, 50),
		samples_at(&row->faults, 50), samples_at(&row->speed, 50),
		samples_at(&row->percent, 50), last ? "" : ",");
}

static void write_json(const char *path, struct row *rows, size_t n_rows, struct reading *readings)
{
	FILE *file = fopen(path, "w");

	if (!file)
		die(path);
	fprintf(file, "{\n  \"epoch_ms\": %u, \"memory_pages\": %u,\n  \"epochs\": [\n",
		EPOCH_NS / 1000000, PAGES);
	for (size_t i = 0; i < n_rows; i++)
		row_write(file, &rows[i], i + 1 == n_rows);
	fprintf(file, "  ],\n  \"ns_per_page\": {\n");
	for (size_t i = 0; i < N_READ_WAYS; i++)
		fprintf(file, "    \"%s\": %.0f%s\n", readings[i].name,
			samples_at(&readings[i].ns, 50), i + 1 == N_READ_WAYS ? "" : ",");
	fprintf(file, "  }\n}\n");
	if (ferror(file) || fclose(file) != 0)
		die(path);
}

/* ---- setup ---- */

static uint8_t *memory_open(const char *name, size_t pages, int *fd)
{
	uint8_t *memory;

	*fd = memfd_create(name, MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, (off_t)(pages * PAGE_BYTES)) < 0)
		die("memfd");
	memory = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < pages; i++)
		memset(memory + i * PAGE_BYTES, (int)(i & 0x7f), PAGE_BYTES);
	/* The number a page begins with: written to never. */
	for (size_t i = 0; i < pages; i++)
		memset(memory + i * PAGE_BYTES, 0, sizeof(uint64_t));
	return memory;
}

/* Not USER_MODE_ONLY: KVM writes for the guest from within the kernel. */
static void uffd_open(struct measure *m)
{
	struct uffdio_api api = {
	    .api = UFFD_API,
	    .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};

	m->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (m->uffd < 0)
		die("userfaultfd (root and Linux 5.19 are needed)");
	if (ioctl(m->uffd, UFFDIO_API, &api) < 0)
		die("write protection of shared memory (Linux 5.19 is needed)");
}

static void measure_open(struct measure *m)
{
	m->memory = memory_open("measured", PAGES, &m->memory_fd);
	m->staging = memory_open("staging", PAGES / 4, &m->staging_fd);
	m->state = allocate(PAGES, sizeof(*m->state));
	m->slot = allocate(PAGES, sizeof(*m->slot));
	m->dirty = allocate(PAGES, sizeof(*m->dirty));
	m->extents = allocate(PAGES, sizeof(*m->extents));
	uffd_open(m);
}

static size_t run_writer(struct measure *m, struct row *rows, unsigned runs, unsigned epochs)
{
	size_t n = 0;

	for (size_t size = 0; size < N_SIZES; size++) {
		for (unsigned way = 0; way < N_WAYS; way++)
			rows[n + way] = (struct row){
			    .is_guest = m->writer->is_guest, .wanted = sizes[size], .way = way};
		run_size(m, &rows[n], runs, epochs);
		n += N_WAYS;
	}
	return n;
}

static size_t run_writers(struct measure *m, struct row *rows, unsigned runs, unsigned epochs)
{
	static struct writer writer;
	uint64_t count;
	size_t n = 0;
	int err;

	m->writer = &writer;
	err = writer_open_thread(&writer, m->memory, (size_t)PAGES * PAGE_BYTES);
	if (err) {
		errno = -err;
		die("thread");
	}
	n += run_writer(m, rows, runs, epochs);
	count = written(m);
	writer_close(&writer);
	err = writer_open_guest(&writer, m->memory, (size_t)PAGES * PAGE_BYTES);
	if (err) {
		fprintf(stderr, "%s: no KVM guest: %s\n", ME, strerror(-err));
		return n;
	}
	atomic_store(&writer.task->count, count); /* no page has a higher number */
	n += run_writer(m, rows + n, runs, epochs);
	writer_close(&writer);
	return n;
}

static unsigned number(const char *text, unsigned max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || value < 1 || value > max) {
		fprintf(stderr, "%s: %s: from 1 to %u\n", ME, text, max);
		exit(2);
	}
	return (unsigned)value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"runs", required_argument, NULL, 'r'},
	    {"epochs", required_argument, NULL, 'e'},
	    {"json", required_argument, NULL, 'j'},
	    {NULL, 0, NULL, 0},
	};
	static struct row rows[2 * N_SIZES * N_WAYS];
	static struct reading readings[N_READ_WAYS];
	static struct measure measure;
	unsigned runs = 5, epochs = 20;
	const char *json = NULL;
	size_t n_rows;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'r') {
			runs = number(optarg, RUNS_MAX);
		} else if (option == 'e') {
			epochs = number(optarg, EPOCHS_MAX);
		} else if (option == 'j') {
			json = optarg;
		} else {
			fprintf(stderr, "usage: %s [--runs N] [--epochs N] [--json FILE]\n", ME);
			return 2;
		}
	}
	measure_open(&measure);
	read_all(&measure, readings, runs * 4);
	n_rows = run_writers(&measure, rows, runs, epochs);
	print_tables(rows, n_rows, readings);
	if (json)
		write_json(json, rows, n_rows, readings);
	return 0;
}
