/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two ways to protect a guest do differently inside QEMU. vmft_agent.strategy is NULL
 * until the constructor has read the settings, and in a process that is not protected; after that
 * it is one of the two tables below and does not change. All operations are there in both.
 *
 * The words for threads: "main loop" is a bottom half of QEMU's main loop, which holds QEMU's big
 * lock and replay mutex; "about to wait" is the main loop without these locks.
 */
#ifndef VMFT_AGENT_STRATEGY_H
#define VMFT_AGENT_STRATEGY_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>

#include "monitor/agent/qemu/port.h"
#include "monitor/interface.h"

/* What is done about a call on an image that has failed. */
enum vmft_disk_answer {
	VMFT_DISK_TELL,	  /* QEMU gets the error */
	VMFT_DISK_HOLD,	  /* the call does not return for now */
	VMFT_DISK_REPEAT, /* the call is made again; a flush does not return for now */
};

struct vmft_agent_strategy_ops {
	/* --- QEMU's start and end ------------------------------------------------- */

	/* QEMU opens its record/replay log, by fopen() with this mode. Returns the stream, or NULL
	 * and errno. Main thread, before the machine is made. */
	FILE *(*open_log)(const char *mode);
	/* The first RUN, or OPEN if open, while the agent's state is WAITING. Service thread. */
	void (*start)(bool open);
	/* The monitor's END, exit_code is for the process. May not return. Service thread. */
	void (*end)(uint32_t exit_code);
	/* The monitor is gone and QEMU runs on: state is VMFT_AGENT_ENDED, or the gate is open.
	 * Service thread. */
	void (*orphaned)(uint32_t state);
	/* Each turn of the service thread. */
	void (*service)(void);
	/* The process ends in order: the library's destructor. */
	void (*process_ends)(void);

	/* --- the main loop's wait ------------------------------------------------- */

	/* A thread of QEMU is about to wait in ppoll(), it need not be the main loop. */
	void (*before_wait)(void);
	/* In the place of that ppoll(), with its arguments and its result. */
	int (*wait)(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		    const sigset_t *mask);

	/* --- frames --------------------------------------------------------------- */

	/* What must be acknowledged before output that is sent now may leave: a log position, or
	 * the number of an epoch. Under the gate's lock. */
	uint64_t (*output_position)(void);
	/* The gate has no room for a frame; counts it in gate_stalls. Returns true: the sending
	 * thread waits for room; false: the frame is held over the limit. Under the gate's lock. */
	bool (*gate_full)(void);
	/* Half of the gate is free again. Under the gate's lock. */
	void (*gate_has_room)(void);
	/* QEMU reads fd. Returns true: it gets the frame put into bytes, *ret long, instead of what
	 * the descriptor has. */
	bool (*frame_next)(int fd, void *bytes, size_t n, ssize_t *ret);
	/* QEMU has read n bytes from fd, which may be no tap. */
	void (*frame_read)(int fd, const void *bytes, size_t n);

	/* --- images and clocks ---------------------------------------------------- */

	/* What is to be done about a call on an image that has failed, as things are now. Any
	 * thread; asked again and again while the call is held. */
	enum vmft_disk_answer (*disk_answer)(void);
	/* Around QEMU's fdatasync() of any file. Any thread. */
	void (*flush_begins)(void);
	void (*flush_ends)(void);
	/* QEMU has read the host's clock; *tv may be changed. Any thread. */
	void (*host_clock_read)(struct timeval *tv);

	/* --- QEMU's monitors ------------------------------------------------------ */

	/* What is done about a command to a guest that runs here, or has run. Main loop. */
	enum vmft_qemu_answer (*command)(enum vmft_qemu_command command);

	/* --- requests through the area --------------------------------------------
	 * Main loop. 0 or a negative errno, the reason in area->error; -EINPROGRESS: the main loop
	 * has something to do first, the request is carried out again after that. */

	int (*point)(struct vmft_area *area);
	int (*epoch)(struct vmft_area *area);
	int (*drop)(struct vmft_area *area);
	int (*load)(struct vmft_area *area);
	int (*prove)(struct vmft_area *area);
	/* Service thread: whether a request is to wait for the next turn. */
	bool (*postpones)(enum vmft_area_op op);
};

extern const struct vmft_agent_strategy_ops vmft_agent_lockstep;
extern const struct vmft_agent_strategy_ops vmft_agent_checkpoint;

#endif
