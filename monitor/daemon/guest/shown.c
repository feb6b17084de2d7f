/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "shown.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/common/announcement.h"
#include "monitor/common/exchange.h"

#define MS UINT64_C(1000000)

/* A guest may change what it shows with each frame. The channel has other work: no more often. */
#define SEND_NS (20 * MS)
/* For a link that goes up and down all the time: it is announced to no more often. */
#define AGAIN_NS   (1000 * MS)
#define NAMED_MAX  8u /* in one line of the journal's */
#define RECV_BYTES 32768u

/* --- on its way ------------------------------------------------------------ */

/* What the agent has noted, checked; false: there is nothing, or not now. */
static bool read_shown(struct vmft_shown *s, size_t *ret_n, uint32_t *ret_version)
{
	const ssize_t n = vmft_exchange_read(s->shown, s->bytes, ret_version);

	*ret_n = n > 0 ? (size_t)n : 0;
	return n > 0 && vmft_presence_decode(s->bytes, (size_t)n, s->presence) == 0;
}

void vmft_shown_pump(struct vmft_shown *s)
{
	const uint64_t now = vmft_loop_now();
	uint32_t version = atomic_load(&s->shown->version);
	uint8_t *room;
	size_t n;

	if (version == s->sent || (s->sent != 0 && vmft_loop_since(s->sent_ns, now) < SEND_NS) ||
	    !read_shown(s, &n, &version))
		return;
	room = vmft_channel_room(s->channel, n);
	if (!room)
		return;
	memcpy(room, s->bytes, n);
	vmft_channel_commit(s->channel, VMFT_FRAME_SHOWN, 0, room, n);
	s->sent = version;
	s->sent_ns = now;
}

int vmft_shown_got(struct vmft_shown *s, const struct vmft_frame_info *frame)
{
	if (frame->length > VMFT_PRESENCE_BYTES_MAX ||
	    vmft_presence_decode(frame->payload, frame->length, s->presence) < 0)
		return -EBADMSG;
	vmft_exchange_write(s->told, frame->payload, frame->length);
	return 0;
}

void vmft_shown_forget(struct vmft_shown *s)
{
	s->sent = 0;
}

/* --- said ------------------------------------------------------------------ */

/* Names in lines of the journal's, so many in each. */
struct lines {
	struct vmft_journal *journal;
	const char *card;
	char text[160];
	size_t used;
};

static void lines_end(struct lines *lines)
{
	if (lines->used > 0)
		vmft_journal_say(lines->journal, "announced on %s: %s", lines->card, lines->text);
	lines->used = 0;
}

static void lines_add(struct lines *lines, const char *what, const char *name)
{
	if (lines->used + strlen(what) + strlen(name) + 3 > sizeof(lines->text))
		lines_end(lines);
	lines->used +=
	    (size_t)snprintf(lines->text + lines->used, sizeof(lines->text) - lines->used, "%s%s%s",
			     lines->used > 0 ? ", " : "", what, name);
}

static void say_card(struct vmft_shown *s, uint8_t nic, const char *card)
{
	const struct vmft_presence *p = s->presence;
	struct lines lines = {.journal = s->journal, .card = card};
	char text[VMFT_PRESENCE_TEXT_MAX];
	unsigned said = 0, left = 0;

	for (uint32_t i = 0; i < p->addresses; i++) {
		if (p->address[i].place.nic != nic || said++ >= NAMED_MAX)
			continue;
		vmft_address_text(&p->address[i], text);
		lines_add(&lines, "", text);
	}
	left = said > NAMED_MAX ? said - NAMED_MAX : 0;
	said = 0;
	for (uint32_t i = 0; i < p->groups; i++) {
		if (p->group[i].place.nic != nic || said++ >= NAMED_MAX)
			continue;
		vmft_group_text(&p->group[i], text);
		lines_add(&lines, "group ", text);
	}
	left += said > NAMED_MAX ? said - NAMED_MAX : 0;
	if (left > 0) {
		(void)snprintf(text, sizeof(text), "%u more", left);
		lines_add(&lines, "and ", text);
	}
	lines_end(&lines);
}

static uint32_t card_count(const struct vmft_shown *s)
{
	const uint32_t count =
	    atomic_load_explicit(&s->link->iface->nic_count, memory_order_acquire);

	return count < VMFT_NICS_SHARED_MAX ? count : VMFT_NICS_SHARED_MAX;
}

static void say_announced(struct vmft_shown *s)
{
	char card[VMFT_NIC_ID_MAX + 1];
	uint32_t version;
	size_t n;

	if (card_count(s) == 0 || !read_shown(s, &n, &version))
		return;
	for (uint32_t i = 0; i < card_count(s); i++) {
		/* Not trusted to be terminated. */
		(void)snprintf(card, sizeof(card), "%.*s", VMFT_NIC_ID_MAX,
			       s->link->iface->nic_id[i]);
		say_card(s, (uint8_t)i, card);
	}
	vmft_journal_say(s->journal,
			 "announced again for " VMFT_ANNOUNCEMENT_MINUTE
			 ", with growing pauses, and whenever a link comes up%s",
			 s->fd < 0 ? " (but links cannot be watched)" : "");
}

/* --- links ----------------------------------------------------------------- */

static bool carries_a_card(const struct vmft_shown *s, int link)
{
	for (uint32_t i = 0; i < card_count(s); i++)
		if (vmft_links_carries(&s->links, link,
				       (int)atomic_load(&s->link->iface->nic_link[i])))
			return true;
	return false;
}

static void on_came_up(void *user, const struct vmft_link *link)
{
	struct vmft_shown *s = user;

	if (carries_a_card(s, link->index))
		memcpy(s->came_up, link->name, sizeof(s->came_up));
}

static void announce_again(struct vmft_shown *s, uint64_t now)
{
	if (!s->came_up[0] || (s->again_ns != 0 && vmft_loop_since(s->again_ns, now) < AGAIN_NS))
		return;
	vmft_journal_say(s->journal, "link %s has come up: announced again", s->came_up);
	s->came_up[0] = '\0';
	s->again_ns = now;
	atomic_fetch_add(&s->link->iface->announce_again, 1);
	vmft_agent_link_ring(s->link);
}

static int ask_for_links(int fd)
{
	const struct {
		struct nlmsghdr head;
		struct ifinfomsg body;
	} ask = {
	    .head =
		{
		    .nlmsg_len = sizeof(ask),
		    .nlmsg_type = RTM_GETLINK,
		    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
	};

	return send(fd, &ask, sizeof(ask), 0) == (ssize_t)sizeof(ask) ? 0 : -errno;
}

static void take_links(struct vmft_shown *s)
{
	uint8_t bytes[RECV_BYTES];
	ssize_t n;

	while ((n = recv(s->fd, bytes, sizeof(bytes), 0)) > 0)
		vmft_links_take(&s->links, bytes, (size_t)n, on_came_up, s);
	/* The kernel has dropped messages: it is asked for all links. */
	if (n < 0 && errno == ENOBUFS)
		(void)ask_for_links(s->fd);
	announce_again(s, vmft_loop_now());
}

static void on_links(struct vmft_op *op, int result)
{
	struct vmft_shown *s = op->owner;

	(void)result;
	take_links(s);
	vmft_loop_poll(s->loop, op, s->fd, POLLIN);
}

/* In the network namespace that QEMU was started in, as this monitor was. */
static void watch_links(struct vmft_shown *s)
{
	const struct sockaddr_nl own = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0)
		return;
	if (bind(fd, (const struct sockaddr *)&own, sizeof(own)) < 0 || ask_for_links(fd) < 0 ||
	    vmft_links_init(&s->links) < 0) {
		close(fd);
		return;
	}
	s->fd = fd;
	s->op = (struct vmft_op){.done = on_links, .owner = s};
	vmft_loop_poll(s->loop, &s->op, fd, POLLIN);
}

void vmft_shown_live(struct vmft_shown *s)
{
	if (s->fd < 0)
		watch_links(s);
	say_announced(s);
}

void vmft_shown_tick(struct vmft_shown *s, uint64_t now)
{
	announce_again(s, now);
}

int vmft_shown_init(struct vmft_shown *s, struct vmft_loop *loop, struct vmft_agent_link *link,
		    struct vmft_channel *channel, struct vmft_journal *journal)
{
	static_assert(VMFT_PRESENCE_BYTES_MAX <= VMFT_FRAME_PAYLOAD_MAX, "one frame");
	*s = (struct vmft_shown){
	    .loop = loop,
	    .link = link,
	    .channel = channel,
	    .journal = journal,
	    .fd = -1,
	    .shown = vmft_exchange_shown(link->area),
	    .told = vmft_exchange_told(link->area),
	    .presence = calloc(1, sizeof(*s->presence)),
	    .bytes = malloc(VMFT_EXCHANGE_MAX),
	};
	return s->presence && s->bytes ? 0 : -ENOMEM;
}

void vmft_shown_fini(struct vmft_shown *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	vmft_links_fini(&s->links);
	free(s->presence);
	free(s->bytes);
	s->presence = NULL;
	s->bytes = NULL;
}
