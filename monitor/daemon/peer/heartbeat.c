/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "heartbeat.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "strangers.h"

#define MS	       UINT64_C(1000000)
#define PREDECESSOR_NS (3000 * MS)
#define DATAGRAM_MAX   (VMFT_FRAME_HEADER + VMFT_BEAT_MAX)
/* How many datagrams are read before the loop goes on: a sender that floods the address must not
 * delay the channel. This is more than the kernel keeps by default (net.core.rmem_default, 212992
 * bytes; a datagram of ours takes 768), so the whole buffer is read and has room for the next. */
#define READS_MAX 512

static void speak(struct vmft_heartbeat *h, uint64_t now)
{
	const struct vmft_channel_address *to = &h->config->host[h->peer].heartbeat;
	struct vmft_beat beat = {
	    .host = (uint8_t)h->host,
	    .clock = now,
	    .echo = h->their_clock,
	};
	struct vmft_frame_info info = {.type = VMFT_FRAME_BEAT, .generation = h->generation};
	uint8_t bytes[DATAGRAM_MAX];

	memcpy(beat.ticket, h->theirs, sizeof(beat.ticket));
	(void)snprintf(beat.name, sizeof(beat.name), "%s", h->config->name);
	info.length = (uint32_t)vmft_beat_encode(&beat, bytes + VMFT_FRAME_HEADER);
	vmft_frame_seal(bytes, &info);
	h->sent_ns = now;
	/* A datagram that cannot be sent counts as lost. */
	(void)sendto(h->fd, bytes, VMFT_FRAME_HEADER + info.length, MSG_DONTWAIT | MSG_NOSIGNAL,
		     (const struct sockaddr *)&to->addr, to->addr_len);
}

static bool is_of_peer(const struct vmft_heartbeat *h, const struct vmft_beat *beat)
{
	return memcmp(beat->ticket, h->ours, sizeof(h->ours)) == 0 && beat->host == h->peer &&
	       strcmp(beat->name, h->config->name) == 0;
}

int vmft_heartbeat_take(struct vmft_heartbeat *h, const uint8_t *bytes, size_t n, uint64_t now)
{
	struct vmft_frame_info frame;
	struct vmft_beat beat;
	const ssize_t length = vmft_frame_decode(bytes, n, &frame);

	if (length < 0)
		return (int)length;
	if (length == 0 || (size_t)length != n || frame.type != VMFT_FRAME_BEAT ||
	    frame.position != 0 || vmft_beat_decode(frame.payload, frame.length, &beat) < 0)
		return -EBADMSG;
	if (!h->active || frame.generation != h->generation)
		return -ESTALE;
	if (!is_of_peer(h, &beat) || beat.echo > h->sent_ns)
		return -EACCES;
	if (beat.clock <= h->their_clock)
		return -ESTALE;
	h->their_clock = beat.clock;
	h->heard_ns = now;
	if (beat.echo != 0 && vmft_loop_since(beat.echo, now) < h->fresh_ns)
		h->works_ns = now;
	return 0;
}

static void on_readable(struct vmft_op *op, int result)
{
	struct vmft_heartbeat *h = op->owner;
	uint8_t bytes[DATAGRAM_MAX];

	(void)result;
	/* Errors on the socket (ICMP) are ignored: they mean silence, which is noticed anyway. */
	for (int i = 0; i < READS_MAX; i++) {
		/* With MSG_TRUNC recv() returns the whole length, so a datagram that is too long is
		 * not taken for a shorter one. */
		ssize_t n = recv(h->fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC);

		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0)
			continue;
		if ((size_t)n > sizeof(bytes) ||
		    vmft_heartbeat_take(h, bytes, (size_t)n, vmft_loop_now()) < 0)
			h->refused++;
	}
	vmft_loop_poll(h->loop, op, h->fd, POLLIN);
}

static int socket_bound(const struct vmft_pair_config *config,
			const struct vmft_channel_address *own)
{
	int fd = socket(own->addr.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return -errno;
	rc = vmft_strangers_filter(fd, config);
	if (rc == 0 && bind(fd, (const struct sockaddr *)&own->addr, own->addr_len) == 0)
		return fd;
	rc = rc < 0 ? rc : -errno;
	close(fd);
	return rc;
}

int vmft_heartbeat_open(struct vmft_heartbeat *h, struct vmft_loop *loop,
			const struct vmft_pair_config *config, enum vmft_host host, bool patient,
			struct vmft_journal *journal)
{
	const struct vmft_channel_address *own = &config->host[host].heartbeat;
	const uint64_t until = vmft_loop_now() + PREDECESSOR_NS;
	const struct timespec step = {.tv_nsec = 20000000};

	*h = (struct vmft_heartbeat){
	    .loop = loop,
	    .config = config,
	    .journal = journal,
	    .host = host,
	    .fd = -1,
	    .read_op = {.done = on_readable, .owner = h},
	};
	if (own->addr_len == 0)
		return 0;
	for (;;) {
		h->fd = socket_bound(config, own);
		if (h->fd != -EADDRINUSE || !patient || vmft_loop_now() > until)
			break;
		(void)nanosleep(&step, NULL);
	}
	if (h->fd < 0) {
		const int rc = h->fd;

		h->fd = -1;
		return rc;
	}
	vmft_loop_poll(loop, &h->read_op, h->fd, POLLIN);
	return 0;
}

void vmft_heartbeat_close(struct vmft_heartbeat *h)
{
	if (h->fd < 0)
		return;
	(void)vmft_loop_withdraw(h->loop, &h->read_op);
	close(h->fd);
	h->fd = -1;
}

void vmft_heartbeat_introduce(struct vmft_heartbeat *h, struct vmft_hello *hello)
{
	vmft_heartbeat_end(h);
	hello->host = (uint8_t)h->host;
	/* If there are no random bytes, the hello has no ticket and the peer refuses this side.
	 * That is better than a ticket that can be guessed. */
	if (h->fd < 0 || getrandom(h->ours, sizeof(h->ours), 0) != (ssize_t)sizeof(h->ours))
		return;
	hello->ticket_bytes = VMFT_TICKET_BYTES;
	memcpy(hello->ticket, h->ours, sizeof(h->ours));
}

void vmft_heartbeat_begin(struct vmft_heartbeat *h, const struct vmft_hello *theirs,
			  uint64_t generation, uint64_t every_ns, uint64_t fresh_ns)
{
	if (h->fd < 0)
		return;
	h->active = true;
	h->said_silent = false;
	h->peer = (enum vmft_host)theirs->host;
	h->generation = generation;
	h->every_ns = every_ns;
	h->fresh_ns = fresh_ns;
	h->begun_ns = vmft_loop_now();
	h->sent_ns = h->their_clock = h->heard_ns = h->works_ns = 0;
	memcpy(h->theirs, theirs->ticket, sizeof(h->theirs));
}

void vmft_heartbeat_end(struct vmft_heartbeat *h)
{
	h->active = false;
}

uint64_t vmft_heartbeat_silent_ns(const struct vmft_heartbeat *h, uint64_t now)
{
	if (!h->active || h->works_ns == 0)
		return UINT64_MAX;
	return vmft_loop_since(h->works_ns, now);
}

/* Counts from the beginning if no datagram can have come yet. */
static uint64_t missed_ns(const struct vmft_heartbeat *h, uint64_t now)
{
	return vmft_loop_since(h->works_ns ? h->works_ns : h->begun_ns, now);
}

static bool hears(const struct vmft_heartbeat *h, uint64_t now)
{
	return h->heard_ns != 0 && vmft_loop_since(h->heard_ns, now) < h->fresh_ns;
}

void vmft_heartbeat_describe(const struct vmft_heartbeat *h, uint64_t now, char *text, size_t size)
{
	if (h->fd < 0)
		(void)snprintf(text, size, "none");
	else if (!h->active)
		(void)snprintf(text, size, "idle");
	else if (missed_ns(h, now) < h->fresh_ns)
		(void)snprintf(text, size, "ok");
	else
		(void)snprintf(text, size, "%s for %llu ms",
			       hears(h, now) ? "one way only" : "silent",
			       (unsigned long long)(missed_ns(h, now) / MS));
}

static void say_changes(struct vmft_heartbeat *h, uint64_t now)
{
	const bool silent = missed_ns(h, now) >= h->fresh_ns;
	char text[64];

	if (silent == h->said_silent)
		return;
	h->said_silent = silent;
	vmft_heartbeat_describe(h, now, text, sizeof(text));
	vmft_journal_say(h->journal, "heartbeat path to %s: %s%s",
			 h->config->host[h->peer].heartbeat.text, text, silent ? "" : " again");
}

void vmft_heartbeat_tick(struct vmft_heartbeat *h, uint64_t now, uint64_t slept, bool speaks)
{
	if (!h->active)
		return;
	/* Datagrams that came while this monitor slept are still in the socket. They echo datagrams
	 * that are old by now, so the time slept is not counted. */
	h->begun_ns += slept;
	if (h->works_ns != 0)
		h->works_ns += slept;
	if (speaks && (h->sent_ns == 0 || vmft_loop_since(h->sent_ns, now) >= h->every_ns))
		speak(h, now);
	say_changes(h, now);
}
