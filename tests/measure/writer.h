/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A writer: dirties random pages of the measured memory, as a thread or as a guest of KVM.
 * Both run the same instructions, so that what differs is how their memory is reached.
 */
#ifndef VMFT_MEASURE_WRITER_H
#define VMFT_MEASURE_WRITER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WRITER_PAGE_BYTES 4096u

struct kvm_run;

/* What the instructions work on; addresses are the writer's own. Offsets are known to them. */
struct writer_task {
	uint64_t memory;
	uint64_t window; /* pages, from the beginning of the memory */
	uint64_t bitmap; /* a bit for each page written to */
	uint64_t work;	 /* rounds of doing nothing after each page */
	_Atomic uint32_t stop;
	uint32_t unused;
	_Atomic uint64_t count; /* pages written so far; each gets the number of its write */
	uint64_t seed;
};

struct writer {
	struct writer_task *task;
	uint64_t *bitmap;
	size_t bitmap_bytes;
	bool is_guest;
	pthread_t thread;
	sem_t go;
	sem_t stopped;
	atomic_bool end;
	atomic_bool failed; /* the guest left its loop */
	/* a guest's */
	uint8_t *private; /* what it has beside the measured memory */
	int kvm_fd, vm_fd, vcpu_fd;
	struct kvm_run *run;
	size_t run_bytes;
};

/* 0 or a negative errno; the writer is stopped then. */
int writer_open_thread(struct writer *writer, void *memory, size_t bytes);
int writer_open_guest(struct writer *writer, void *memory, size_t bytes);
void writer_close(struct writer *writer);

void writer_go(struct writer *writer);
/* Returns when it has stopped; false if it can never go on. */
bool writer_stop(struct writer *writer);

#endif
