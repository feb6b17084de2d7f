/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The output gate: a frame leaves only after the backup has acknowledged the position that it
 * depends on (VM-FT 2.2, the output rule). Frames leave in order and none is dropped. The strategy
 * says which position a frame depends on.
 *
 * QEMU is told at once that a frame has been sent. A later answer, or "try again", would reach the
 * guest at a moment that is not in the log, and the backup would diverge.
 */
#define _GNU_SOURCE
#include "gate.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "announce.h"
#include "ground.h"
#include "monitor/interface.h"
#include "nic.h"
#include "strategy.h"

struct vmft_gate vmft_gate;

struct vmft_frame {
	struct vmft_frame *next;
	uint64_t position; /* it may leave when this is acknowledged */
	int fd;
	size_t length;
	uint8_t data[];
};

void vmft_gate_init(struct vmft_gate *gate, uint64_t limit)
{
	(void)pthread_mutex_init(&gate->lock, NULL);
	(void)pthread_cond_init(&gate->room, NULL);
	gate->last = &gate->first;
	gate->limit = limit;
}

static bool is_open(void)
{
	return atomic_load(&vmft_agent.open);
}

static bool is_fenced(void)
{
	return atomic_load(&vmft_agent.fenced);
}

static size_t iov_length(const struct iovec *iov, int count)
{
	size_t length = 0;

	for (int i = 0; i < count; i++)
		length += iov[i].iov_len;
	return length;
}

static struct vmft_frame *frame_copy(int fd, const struct iovec *iov, int count)
{
	size_t length = iov_length(iov, count);
	struct vmft_frame *frame = malloc(sizeof(*frame) + length);
	uint8_t *to;

	if (!frame)
		return NULL;
	frame->next = NULL;
	frame->fd = fd;
	frame->length = length;
	to = frame->data;
	for (int i = 0; i < count; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	return frame;
}

static void report(const struct vmft_gate *gate)
{
	struct vmft_iface *iface = vmft_agent.iface;

	atomic_store_explicit(&iface->gate_frames, gate->frames, memory_order_relaxed);
	atomic_store_explicit(&iface->gate_bytes, gate->bytes, memory_order_relaxed);
}

static uint64_t depends_on(void)
{
	return vmft_agent.strategy->output_position();
}

static void push(struct vmft_gate *gate, struct vmft_frame *frame)
{
	frame->position = depends_on();
	*gate->last = frame;
	gate->last = &frame->next;
	gate->bytes += frame->length;
	gate->frames++;
	atomic_store_explicit(&vmft_agent.iface->gate_newest, frame->position,
			      memory_order_relaxed);
	report(gate);
}

static void pop(struct vmft_gate *gate)
{
	struct vmft_frame *frame = gate->first;

	gate->first = frame->next;
	if (!gate->first)
		gate->last = &gate->first;
	gate->bytes -= frame->length;
	gate->frames--;
	free(frame);
	report(gate);
}

static void left(struct vmft_gate *gate, uint64_t position)
{
	if (position > gate->left_at)
		gate->left_at = position;
}

static bool is_full(const struct vmft_gate *gate, size_t length)
{
	return gate->bytes > 0 && gate->bytes + length > gate->limit;
}

/* A full gate stops the guest. The strategy says whether the sending thread waits here for that, or
 * stops the guest by itself. */
static void wait_for_room(struct vmft_gate *gate, size_t length)
{
	if (!is_full(gate, length) || !vmft_agent.strategy->gate_full())
		return;
	while (is_full(gate, length) && !is_fenced())
		(void)pthread_cond_wait(&gate->room, &gate->lock);
}

ssize_t vmft_gate_writev(int fd, const struct iovec *iov, int count)
{
	struct vmft_gate *gate = &vmft_gate;
	const ssize_t length = (ssize_t)iov_length(iov, count);
	struct vmft_frame *frame;
	ssize_t rc = length;

	pthread_mutex_lock(&gate->lock);
	vmft_announce_sent(fd, iov, count);
	if (is_open() && !is_fenced() && !gate->first) {
		rc = vmft_libc_writev(fd, iov, count);
		left(gate, depends_on());
		atomic_fetch_add(&vmft_agent.iface->frames_released, 1);
		goto out;
	}
	wait_for_room(gate, (size_t)length);
	if (is_fenced()) {
		atomic_fetch_add(&vmft_agent.iface->frames_dropped, 1);
		goto out;
	}
	frame = frame_copy(fd, iov, count);
	if (!frame) {
		vmft_agent_say("no memory for a frame of %zd bytes", length);
		abort();
	}
	push(gate, frame);
	vmft_agent_ring_monitor();
out:
	pthread_mutex_unlock(&gate->lock);
	return rc;
}

/*
 * Besides the acknowledgement a frame needs the lease, release_until. The monitor extends it each
 * time it hears from a backup that has heard from it. If this process was stopped, and the backup
 * went live because of the silence, the lease has expired when the process goes on: no frame
 * leaves then.
 */
static bool may_leave(const struct vmft_frame *frame)
{
	struct vmft_iface *iface = vmft_agent.iface;
	uint64_t acked;

	if (is_open())
		return true;
	/* A hand-over: the other side sends the held frames, or they leave when the gate opens. */
	if (atomic_load(&iface->keep_output))
		return false;
	acked = atomic_load_explicit(&iface->acked, memory_order_acquire);
	if (acked > atomic_load_explicit(&iface->log_position, memory_order_acquire)) {
		vmft_agent_broken("the monitor acknowledged more than was logged");
		return false;
	}
	return frame->position <= acked && vmft_agent_now() < atomic_load(&iface->release_until);
}

/*
 * An announcement depends on no position of the log, so it needs only the lease. Without the lease
 * a primary that was stopped, and goes on after its backup went live, would direct the network back
 * to itself.
 */
bool vmft_gate_may_speak(void)
{
	struct vmft_iface *iface = vmft_agent.iface;

	if (is_fenced() || atomic_load(&iface->keep_output))
		return false;
	return is_open() || vmft_agent_now() < atomic_load(&iface->release_until);
}

static bool emit(const struct vmft_frame *frame)
{
	struct iovec iov = {.iov_base = (void *)frame->data, .iov_len = frame->length};
	ssize_t rc;

	do
		rc = vmft_libc_writev(frame->fd, &iov, 1);
	while (rc < 0 && errno == EINTR);
	/* After any other error the frame is lost, as on a network: the interface may be down. */
	return rc >= 0 || errno != EAGAIN;
}

int vmft_gate_service(void)
{
	struct vmft_gate *gate = &vmft_gate;
	int wait_on = -1;
	bool moved = false;

	pthread_mutex_lock(&gate->lock);
	while (gate->first) {
		if (is_fenced()) {
			atomic_fetch_add(&vmft_agent.iface->frames_dropped, 1);
		} else if (!may_leave(gate->first)) {
			break;
		} else if (!emit(gate->first)) {
			wait_on = gate->first->fd;
			break;
		} else {
			left(gate, gate->first->position);
			atomic_fetch_add(&vmft_agent.iface->frames_released, 1);
		}
		pop(gate);
		moved = true;
	}
	if (moved)
		(void)pthread_cond_broadcast(&gate->room);
	if (moved && gate->bytes <= gate->limit / 2)
		vmft_agent.strategy->gate_has_room();
	pthread_mutex_unlock(&gate->lock);
	return wait_on;
}

/* --- a hand-over ----------------------------------------------------------- */

static size_t record_bytes(size_t length)
{
	return sizeof(struct vmft_held_output) + (length + 7) / 8 * 8;
}

/* Copies all held frames. A frame that does not fit is lost, as on a network. */
static uint64_t copy_all(const struct vmft_gate *gate, uint8_t *to, uint64_t room)
{
	uint64_t at = 0;

	for (const struct vmft_frame *frame = gate->first; frame; frame = frame->next) {
		const int nic = vmft_nic_of(frame->fd);
		const struct vmft_held_output head = {.tap = (uint32_t)nic,
						      .bytes = (uint32_t)frame->length};

		if (nic < 0 || frame->length > VMFT_HELD_OUTPUT_MAX ||
		    record_bytes(frame->length) > room - at)
			continue;
		memcpy(to + at, &head, sizeof(head));
		memcpy(to + at + sizeof(head), frame->data, frame->length);
		at += record_bytes(frame->length);
	}
	return at;
}

void vmft_gate_keep_service(void)
{
	struct vmft_iface *iface = vmft_agent.iface;
	struct vmft_area *area = vmft_agent.area;
	const bool keep = atomic_load(&iface->keep_output) != 0;
	uint64_t bytes;

	if (!area || keep == (atomic_load(&iface->kept_output) != 0))
		return;
	if (!keep) {
		atomic_store(&iface->kept_output, 0);
		return;
	}
	pthread_mutex_lock(&vmft_gate.lock);
	bytes = copy_all(&vmft_gate, (uint8_t *)area + area->staging_at, VMFT_AREA_STAGING_BYTES);
	pthread_mutex_unlock(&vmft_gate.lock);
	atomic_store(&iface->kept_output, bytes + 1);
	vmft_agent_ring_monitor();
}

/* A frame that the tap does not take at once is dropped: later it would be as late as one that its
 * sender repeats. */
void vmft_gate_take_output(void)
{
	const struct vmft_area *area = vmft_agent.area;
	const uint64_t bytes = atomic_load(&vmft_agent.iface->take_output);
	struct vmft_held_output head;
	const uint8_t *from;

	if (bytes == 0 || bytes > VMFT_AREA_STAGING_BYTES)
		return;
	from = (const uint8_t *)area + area->staging_at;
	for (uint64_t at = 0; bytes - at >= sizeof(head); at += record_bytes(head.bytes)) {
		struct iovec iov = {.iov_base = (void *)(from + at + sizeof(head))};
		int fd;

		memcpy(&head, from + at, sizeof(head));
		if (head.bytes > VMFT_HELD_OUTPUT_MAX || record_bytes(head.bytes) > bytes - at)
			return;
		iov.iov_len = head.bytes;
		fd = vmft_nic_fd(head.tap);
		if (fd >= 0)
			(void)!vmft_libc_writev(fd, &iov, 1);
	}
}

void vmft_gate_mode_changed(void)
{
	pthread_mutex_lock(&vmft_gate.lock);
	(void)pthread_cond_broadcast(&vmft_gate.room);
	pthread_mutex_unlock(&vmft_gate.lock);
}

void vmft_gate_open(void)
{
	pthread_mutex_lock(&vmft_gate.lock);
	atomic_store(&vmft_agent.open, true);
	atomic_store(&vmft_agent.iface->gate_closed_at, 0);
	(void)pthread_cond_broadcast(&vmft_gate.room);
	pthread_mutex_unlock(&vmft_gate.lock);
}

/* Under the lock: so no frame is being sent that left_at does not count yet. */
void vmft_gate_close(void)
{
	pthread_mutex_lock(&vmft_gate.lock);
	atomic_store(&vmft_agent.open, false);
	atomic_store(&vmft_agent.iface->gate_closed_at, vmft_gate.left_at + 1);
	pthread_mutex_unlock(&vmft_gate.lock);
	vmft_agent_ring_monitor();
}
