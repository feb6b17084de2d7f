/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-monitor --replay: instead of a peer there is a file, a log that a backup saved. QEMU
 * replays it as a backup does, to its end or to where it differs; then QEMU is ended.
 */
#ifndef VMFT_REPLAY_H
#define VMFT_REPLAY_H

#include "logging-channel/frame.h"
#include "logging-channel/hello.h"

struct vmft_replay_options {
	const char *pair_file;
	const char *log;		   /* the saved log's path */
	const struct vmft_hello *identity; /* of the QEMU that replays: compared with the log's */
	int iface_fd, area_fd, ram_fd, bell_monitor_fd, bell_agent_fd;
	int lifeline_fd; /* vmft-qemu waits for a byte on it */
	int guest_pid;
};

/* Prints progress to stderr and the result to stdout. Returns the exit code. */
int vmft_replay_run(const struct vmft_replay_options *options);

#endif
