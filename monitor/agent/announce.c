/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest shows of itself on its networks (addresses, VLANs, multicast groups) is noted when
 * its frames pass the gate, and announced to the networks when the guest has gone live here
 * (monitor/common/presence.h, announcement.h).
 *
 * The table is protected by the gate's lock. Threads that send or receive frames change it. The
 * monitor reads each change from shared memory, and sends it to the backup before the position that
 * the frame depends on. So the backup knows everything that frames which have left have shown.
 */
#define _GNU_SOURCE
#include "announce.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "agent.h"
#include "gate.h"
#include "ground.h"
#include "monitor/common/exchange.h"
#include "nic.h"

/* A guest may change what it shows with each frame. At most so many changes are published in each
 * turn of the service thread; the rest is published together in the next turn. */
#define PUBLISH_MAX 16u
#define EXPIRE_NS   UINT64_C(60000000000)

struct vmft_announcer vmft_announcer;

static struct vmft_announcer *self(void)
{
	return &vmft_announcer;
}

/* The callers of the next three functions hold the gate's lock. */
static void publish(struct vmft_announcer *a)
{
	uint8_t bytes[VMFT_PRESENCE_BYTES_MAX];

	static_assert(VMFT_PRESENCE_BYTES_MAX <= VMFT_EXCHANGE_MAX, "fits");
	if (a->published == PUBLISH_MAX) {
		a->publish_due = true;
		return;
	}
	a->published++;
	a->publish_due = false;
	vmft_exchange_write(vmft_exchange_shown(vmft_agent.area), bytes,
			    vmft_presence_encode(&a->presence, bytes));
}

static void add_own(struct vmft_announcer *a)
{
	const struct vmft_nics *nics = &vmft_nics;
	bool changed = false;

	for (unsigned i = 0; i < nics->count; i++)
		changed |= vmft_presence_own(&a->presence, (uint8_t)i, nics->nic[i].mac);
	if (changed)
		publish(a);
}

/* What the side that ran this guest before has told the monitor. */
static void add_told(struct vmft_announcer *a)
{
	uint8_t bytes[VMFT_EXCHANGE_MAX];
	uint32_t version;
	const ssize_t n = vmft_exchange_read(vmft_exchange_told(vmft_agent.area), bytes, &version);

	if (n > 0 && vmft_presence_decode(bytes, (size_t)n, &a->copy) == 0)
		vmft_presence_merge(&a->presence, &a->copy, vmft_agent_now());
	publish(a);
}

/* --- noting --------------------------------------------------------------- */

/* Copies the first max bytes of the frame, without the header before it. Returns how many. */
static size_t head_of(unsigned nic, const struct iovec *iov, int count, uint8_t *ret, size_t max)
{
	size_t skip = atomic_load_explicit(&vmft_nics.nic[nic].header, memory_order_relaxed);
	size_t n = 0;

	for (int i = 0; i < count && n < max; i++) {
		const size_t passed = skip < iov[i].iov_len ? skip : iov[i].iov_len;
		size_t piece = iov[i].iov_len - passed;

		skip -= passed;
		if (piece > max - n)
			piece = max - n;
		memcpy(ret + n, (const uint8_t *)iov[i].iov_base + passed, piece);
		n += piece;
	}
	return n;
}

/* With the gate's lock. Only the source of a frame is looked at, unless the frame is multicast. */
void vmft_announce_sent(int fd, const struct iovec *iov, int count)
{
	struct vmft_announcer *a = self();
	const int nic = vmft_nic_of(fd);
	uint8_t frame[VMFT_PRESENCE_FRAME_MAX];
	size_t n;

	if (nic < 0)
		return;
	n = head_of((unsigned)nic, iov, count, frame, VMFT_PRESENCE_HEAD_BYTES);
	if (n > 0 && (frame[0] & 1u) != 0)
		n = head_of((unsigned)nic, iov, count, frame, sizeof(frame));
	if (vmft_presence_sent(&a->presence, (uint8_t)nic, frame, n, vmft_agent_now()))
		publish(a);
}

void vmft_announce_got(int fd, const uint8_t *bytes, size_t n)
{
	struct vmft_announcer *a = self();
	const int nic = vmft_nic_of(fd);
	size_t header;

	if (nic < 0)
		return;
	header = atomic_load_explicit(&vmft_nics.nic[nic].header, memory_order_relaxed);
	if (n <= header)
		return;
	pthread_mutex_lock(&vmft_gate.lock);
	if (vmft_presence_got(&a->presence, (uint8_t)nic, bytes + header, n - header,
			      vmft_agent_now()))
		publish(a);
	pthread_mutex_unlock(&vmft_gate.lock);
}

/* --- announcing ----------------------------------------------------------- */

static void send(unsigned nic, const uint8_t *frame, size_t n)
{
	static const uint8_t no_offload[VMFT_NIC_HEADER_MAX];
	const int fd = vmft_nic_fd(nic);
	const struct iovec iov[] = {
	    {.iov_base = (void *)no_offload, .iov_len = atomic_load(&vmft_nics.nic[nic].header)},
	    {.iov_base = (void *)frame, .iov_len = n},
	};

	/* An interface that is down loses the frame. When its link comes up, all is announced
	 * again. */
	if (fd >= 0)
		(void)!vmft_libc_writev(fd, iov, 2);
}

/*
 * Called by one thread at a time: the thread that goes live, after that the service thread. The
 * service thread asks the gate before each frame: this process may have been stopped since the
 * frame before.
 */
static void announce_all(struct vmft_announcer *a, bool (*may_speak)(void))
{
	uint8_t frame[VMFT_ANNOUNCEMENT_MAX];

	pthread_mutex_lock(&vmft_gate.lock);
	a->copy = a->presence;
	pthread_mutex_unlock(&vmft_gate.lock);
	for (uint32_t i = 0; i < a->copy.addresses; i++) {
		const struct vmft_address *address = &a->copy.address[i];

		if (address->place.nic < vmft_nics.count && may_speak())
			send(address->place.nic, frame,
			     vmft_announcement_of_address(address, frame));
	}
	for (uint32_t i = 0; i < a->copy.groups; i++) {
		const struct vmft_group *group = &a->copy.group[i];

		if (group->place.nic < vmft_nics.count && may_speak())
			send(group->place.nic, frame, vmft_announcement_of_group(group, frame));
	}
	a->made++;
}

void vmft_announce_begin(void)
{
	pthread_mutex_lock(&vmft_gate.lock);
	add_own(self());
	pthread_mutex_unlock(&vmft_gate.lock);
}

/* The thread that goes live has won the arbitration: it may send. */
static bool is_live(void)
{
	return true;
}

/* Announces before the guest's own first frame. The service thread repeats it. */
void vmft_announce_live(void)
{
	struct vmft_announcer *a = self();

	pthread_mutex_lock(&vmft_gate.lock);
	a->published = 0;
	add_own(a);
	add_told(a);
	pthread_mutex_unlock(&vmft_gate.lock);
	a->again = atomic_load(&vmft_agent.iface->announce_again);
	a->begin_ns = vmft_agent_now();
	a->made = 0;
	announce_all(a, is_live);
}

static void tidy(struct vmft_announcer *a, uint64_t now)
{
	pthread_mutex_lock(&vmft_gate.lock);
	a->published = 0;
	if (now - a->expired_ns > EXPIRE_NS) {
		a->expired_ns = now;
		a->publish_due |= vmft_presence_expire(&a->presence, now);
	}
	if (a->publish_due)
		publish(a);
	pthread_mutex_unlock(&vmft_gate.lock);
}

void vmft_announce_service(void)
{
	struct vmft_announcer *a = self();
	const uint64_t now = vmft_agent_now();
	uint32_t again;

	tidy(a, now);
	if (atomic_load(&vmft_agent.iface->live_at_ns) == 0)
		return;
	again = atomic_load(&vmft_agent.iface->announce_again);
	if (again != a->again) {
		a->again = again;
		a->begin_ns = now;
		a->made = 0;
	}
	/* Without the lease nothing is announced, and it is due until there is a lease again. */
	if (vmft_announcement_is_due(now - a->begin_ns, a->made) && vmft_gate_may_speak())
		announce_all(a, vmft_gate_may_speak);
}
