/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Would-be output: the primary logs a digest of each frame that its guest sends. The backup
 * compares the digest with the frame that its own guest sends at this position.
 *
 * While QEMU replays, its filter-replay drops frames before they reach the tap. So the wrapper adds
 * a filter-dump that sees each frame first. (On the command line it comes after filter-replay:
 * net/net.c passes frames for a netdev through the filters from the last to the first.) The
 * filter-dump writes each frame to a file that is opened here: one writev() for each frame, by the
 * thread that holds the replay mutex, with a header that contains a time before the frame
 * (dump_receive_iov() in net/dump.c).
 *
 * The order: the primary's guest sends a frame as an effect of the event before the OUTPUT entry,
 * or of an instruction that the INSTRUCTION event directly after it counts. The backup's feed reads
 * OUTPUT before it hands out the event after it. So the backup's guest never sends a frame before
 * it is expected, and sends it at the latest while the event after OUTPUT is carried out.
 */
#define _GNU_SOURCE
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "diverge.h"
#include "feed.h"
#include "monitor/interface.h"
#include "tap.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* A frame is due within one event. It is reported as missing only after 64, in case a frame can be
 * late for a reason that is not known here. If the guest sends another frame first, that one
 * differs and is reported at once. */
#define SLACK_EVENTS 64u

struct vmft_output vmft_output;

bool vmft_output_is_name(const char *path)
{
	return strncmp(path, VMFT_FRAMES_NAME, sizeof(VMFT_FRAMES_NAME) - 1) == 0;
}

int vmft_output_open(const char *path)
{
	struct vmft_output *output = &vmft_output;
	const char *digits = path + sizeof(VMFT_FRAMES_NAME) - 1;
	const unsigned long nic = strtoul(digits, NULL, 10);
	int fd;

	if (nic >= VMFT_AGENT_NICS || output->fd[nic] > 0) {
		errno = EINVAL;
		return -1;
	}
	/* QEMU writes the header of its file format to this descriptor itself. */
	fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return fd;
	output->fd[nic] = fd;
	if (nic >= output->nics)
		output->nics = (unsigned)nic + 1;
	return fd;
}

int vmft_output_nic(int fd)
{
	const struct vmft_output *output = &vmft_output;

	for (unsigned i = 0; i < output->nics; i++)
		if (output->fd[i] == fd)
			return (int)i;
	return -1;
}

/* The card is part of the digest: the same bytes sent by another card are another frame. */
static void digest(unsigned nic, const struct iovec *iov, int count, struct vmft_output_entry *ret)
{
	XXH3_state_t state;
	size_t length = 0;

	XXH3_INITSTATE(&state);
	(void)XXH3_64bits_reset_withSeed(&state, nic);
	for (int i = 0; i < count; i++) {
		(void)XXH3_64bits_update(&state, iov[i].iov_base, iov[i].iov_len);
		length += iov[i].iov_len;
	}
	ret->length = (uint32_t)length;
	ret->digest = XXH3_64bits_digest(&state);
}

static void record(const struct vmft_output_entry *frame)
{
	uint8_t bytes[VMFT_OUTPUT_ENTRY_BYTES];

	vmft_tap_add(bytes, vmft_output_entry_encode(frame, bytes));
}

static void compare(struct vmft_output *output, const struct vmft_output_entry *frame)
{
	const struct vmft_expected *expected = &output->expected[output->first];

	if (vmft_feed.diverged)
		return;
	if (output->count == 0) {
		vmft_diverge(VMFT_DIVERGENCE_MORE_OUTPUT, vmft_feed.cursor.fed, 0, frame->digest);
		return;
	}
	if (frame->digest != expected->frame.digest || frame->length != expected->frame.length) {
		vmft_diverge(VMFT_DIVERGENCE_OUTPUT, expected->position, expected->frame.digest,
			     frame->digest);
		return;
	}
	output->first = (output->first + 1) % VMFT_EXPECTED_MAX;
	output->count--;
	atomic_fetch_add_explicit(&vmft_agent.iface->outputs_compared, 1, memory_order_relaxed);
}

ssize_t vmft_output_writev(unsigned nic, const struct iovec *iov, int count)
{
	struct vmft_output_entry frame;
	ssize_t length = 0;

	for (int i = 0; i < count; i++)
		length += (ssize_t)iov[i].iov_len;
	if (count < 2)
		return length;
	if (vmft_feed_is_replaying()) {
		digest(nic, iov + 1, count - 1, &frame);
		compare(&vmft_output, &frame);
	} else if (vmft_tap_is_kept()) {
		digest(nic, iov + 1, count - 1, &frame);
		record(&frame);
	}
	return length;
}

void vmft_output_expect(uint64_t position, const struct vmft_output_entry *frame)
{
	struct vmft_output *output = &vmft_output;
	struct vmft_expected *expected;

	/* A guest cannot send so many frames between two events: it does not send them at all. */
	if (output->count == VMFT_EXPECTED_MAX) {
		vmft_output_miss();
		return;
	}
	expected = &output->expected[(output->first + output->count) % VMFT_EXPECTED_MAX];
	expected->frame = *frame;
	expected->position = position;
	expected->events = vmft_feed.cursor.events;
	output->count++;
}

void vmft_output_miss(void)
{
	const struct vmft_output *output = &vmft_output;
	const struct vmft_expected *expected = &output->expected[output->first];

	vmft_diverge(VMFT_DIVERGENCE_NO_OUTPUT, expected->position, expected->frame.digest, 0);
}

bool vmft_output_is_late(void)
{
	const struct vmft_output *output = &vmft_output;

	return output->count > 0 &&
	       output->expected[output->first].events + SLACK_EVENTS < vmft_feed.cursor.events;
}
