/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that arrive for a checkpointed guest. Frames that reached the guest after its last whole
 * epoch are lost when the primary dies, and a TCP client repeats them only after 200 ms: longer
 * than the rest of a takeover. So the primary sends these frames to the backup too. The backup
 * keeps the frames that are in no whole epoch, and hands them to its guest when the guest goes
 * live. That is safe: the guest, as it is in the last whole epoch, has not seen them, and nobody
 * outside has seen an answer to them. All of this is best effort: a frame may be lost or arrive
 * twice, as on a network.
 *
 * QEMU reads its taps in the main loop only. With this strategy there is no log in the ring: on the
 * primary the agent writes records into it, and on a backup that goes live the monitor does.
 */
#define _GNU_SOURCE
#include "input.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "checkpoint.h"
#include "ground.h"
#include "logging-channel/ring.h"
#include "monitor/interface.h"
#include "nic.h"

/* Bytes for each epoch. TCP repairs a bulk transfer by itself; it should not go over the channel a
 * second time. */
#define EPOCH_MAX (1u << 20)
/* If the guest's card takes no frame for so long after going live, the rest is dropped. */
#define INJECT_NS UINT64_C(2000000000)

struct vmft_input_state vmft_input_state;

static struct vmft_input_state *self(void)
{
	return &vmft_input_state;
}

static uint64_t record_bytes(uint32_t n)
{
	return sizeof(struct vmft_input) + (n + UINT64_C(7)) / 8 * 8;
}

/* --- the primary ---------------------------------------------------------- */

static bool has_room(struct vmft_input_state *in, uint64_t epoch, size_t n)
{
	int64_t room = vmft_ring_room(&vmft_agent.ring, in->at);

	if (in->epoch != epoch)
		in->bytes = 0;
	in->epoch = epoch;
	return n <= VMFT_INPUT_MAX && in->bytes + n <= EPOCH_MAX && room > 0 &&
	       record_bytes((uint32_t)n) <= (uint64_t)room;
}

void vmft_input_taken(int fd, const void *bytes, size_t n)
{
	struct vmft_input_state *in = self();
	const int nic = vmft_nic_of(fd);
	struct vmft_input head;

	if (nic < 0 || !atomic_load_explicit(&vmft_agent.logging, memory_order_relaxed) ||
	    atomic_load_explicit(&vmft_agent.fenced, memory_order_relaxed))
		return;
	head = (struct vmft_input){
	    .epoch = vmft_checkpoint_output_position(),
	    .nic = (uint32_t)nic,
	    .bytes = (uint32_t)n,
	};
	if (!has_room(in, head.epoch, n))
		return;
	vmft_ring_write(&vmft_agent.ring, in->at, (const uint8_t *)&head, sizeof(head));
	vmft_ring_write(&vmft_agent.ring, in->at + sizeof(head), bytes, n);
	in->at += record_bytes(head.bytes);
	in->bytes += n;
	vmft_ring_publish(&vmft_agent.ring, in->at);
	/* The monitor stores monitor_sleeps, then reads the ring's head; the head was stored here
	 * first. The same pair as in publish() of tap.c. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_exchange(&vmft_agent.iface->monitor_sleeps, 0))
		vmft_agent_ring_monitor();
}

/* --- a backup that goes live ---------------------------------------------- */

/* The next record that the monitor has written. It is checked like anything from the network. */
static bool next_record(struct vmft_input_state *in, struct vmft_input *ret)
{
	const int64_t ready = vmft_ring_ready(&vmft_agent.ring, in->at);

	if (ready < (int64_t)sizeof(*ret) || vmft_agent_now() > in->until_ns)
		return false;
	vmft_ring_read(&vmft_agent.ring, in->at, (uint8_t *)ret, sizeof(*ret));
	return ret->bytes > 0 && ret->bytes <= VMFT_INPUT_MAX && vmft_nic_fd(ret->nic) >= 0 &&
	       record_bytes(ret->bytes) <= (uint64_t)ready;
}

/* Records that are left are dropped: from now on this side is the primary, and writes the ring. */
static void end(struct vmft_input_state *in)
{
	in->handing_out = false;
	in->at = atomic_load(&vmft_agent.iface->log_head);
	vmft_ring_release(&vmft_agent.ring, in->at);
}

void vmft_input_hand_out(void)
{
	struct vmft_input_state *in = self();

	in->handing_out = true;
	in->until_ns = vmft_agent_now() + INJECT_NS;
}

bool vmft_input_next(int fd, void *bytes, size_t n, ssize_t *ret)
{
	struct vmft_input_state *in = self();
	struct vmft_input head;

	if (!in->handing_out || vmft_nic_of(fd) < 0)
		return false;
	if (!next_record(in, &head)) {
		end(in);
		return false;
	}
	if ((int)head.nic != vmft_nic_of(fd))
		return false;
	if (n > head.bytes)
		n = head.bytes;
	vmft_ring_read(&vmft_agent.ring, in->at + sizeof(head), bytes, n);
	in->at += record_bytes(head.bytes);
	vmft_ring_release(&vmft_agent.ring, in->at);
	*ret = (ssize_t)n;
	return true;
}

struct pollfd *vmft_input_waits(struct pollfd *fds, nfds_t count)
{
	struct vmft_input_state *in = self();
	struct vmft_input head;

	if (!in->handing_out)
		return NULL;
	if (!next_record(in, &head)) {
		end(in);
		return NULL;
	}
	for (nfds_t i = 0; i < count; i++)
		if (fds[i].fd == vmft_nic_fd(head.nic) && fds[i].events & POLLIN)
			return &fds[i];
	return NULL;
}
