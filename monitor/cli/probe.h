/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a client of the guest sees of a fault, by TCP connections: a new one every
 * VMFT_PROBE_STEP_NS, whether or not the earlier ones were made, and one that is kept from before
 * the fault to after it. Many are tried at the same time, because the kernel repeats the SYN of
 * one only after a second (TCP_TIMEOUT_INIT): the outage would seem to be a whole number of
 * seconds.
 */
#ifndef VMFT_PROBE_H
#define VMFT_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define VMFT_PROBE_STEP_NS  20000000u
#define VMFT_PROBE_LIMIT_NS 1000000000u /* an attempt that takes longer is given up */
#define VMFT_PROBE_ATTEMPTS 64u

struct vmft_probe {
	struct sockaddr_storage to;
	socklen_t to_len;
	struct {
		int fd; /* -1: free */
		uint64_t began_ns;
	} attempt[VMFT_PROBE_ATTEMPTS];
	int kept_fd; /* the connection that is kept; -1: none */
	uint64_t next_ns;
	uint64_t good, bad;
	uint64_t last_good_ns;
	uint64_t gap_ns, gap_from_ns; /* the longest between two successes, and where it began */
};

/* "HOST:PORT" or "[IPV6]:PORT", resolved once. 0, or -EINVAL. */
int vmft_probe_init(struct vmft_probe *probe, const char *where);
void vmft_probe_fini(struct vmft_probe *probe);

/* Starts attempts that are due and looks how others ended, for at most ms. */
void vmft_probe_run(struct vmft_probe *probe, int ms);

/* Opens the connection that is kept. 0, or a negative errno. */
int vmft_probe_keep(struct vmft_probe *probe);
/* 0 while it lives; -EPIPE when the guest closed it in order, else what broke it. */
int vmft_probe_kept(struct vmft_probe *probe);

/* CLOCK_MONOTONIC */
uint64_t vmft_probe_now(void);

#endif
