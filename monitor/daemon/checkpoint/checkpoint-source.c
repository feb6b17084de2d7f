/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The primary's epochs. When one is due, the agent is asked to take it. What the agent has staged
 * is packed, frame by frame, as the channel has room. After that the next one may be asked for. So
 * a slow channel makes the epochs longer, and no more than one of them waits.
 */
#include "checkpoint-source.h"

#include <errno.h>
#include <string.h>

#include "monitor/common/area-setup.h"

/* The most epochs that the backup has not acknowledged. A backup that applies slowly must slow the
 * guest down; without the limit it would delay the guest's answers to its clients, which wait until
 * all that the buffers on the way hold has arrived. */
#define UNACKED_MAX 4u

static struct vmft_area *area_of(const struct vmft_epoch_source *s)
{
	return s->world->link->area;
}

/* --- when ----------------------------------------------------------------- */

/* The guest has sent something, or something was seen outside while the gate was closing, that
 * depends on the epoch under way. */
static bool output_waits(const struct vmft_epoch_source *s)
{
	const struct vmft_iface *iface = s->world->link->iface;
	const uint64_t next = atomic_load(&iface->log_position) + 1;

	return (atomic_load(&iface->gate_frames) > 0 && atomic_load(&iface->gate_newest) >= next) ||
	       atomic_load(&iface->gate_closed_at) > next;
}

static bool may_ask(const struct vmft_epoch_source *s)
{
	return s->active && !s->asked && !s->over && s->step == VMFT_EPOCH_SOURCE_NONE &&
	       (s->more || s->epoch - s->acked < UNACKED_MAX) &&
	       vmft_agent_link_is_done(s->world->link) &&
	       (s->more || s->finishing || atomic_load(&s->world->link->iface->frozen_at) == 0);
}

static void ask(struct vmft_epoch_source *s, uint64_t now)
{
	s->asked = true;
	s->last = s->finishing;
	if (!s->more)
		s->asked_ns = now;
	vmft_agent_link_request(s->world->link, VMFT_AREA_EPOCH);
}

static void wake_at(struct vmft_epoch_source *s, uint64_t at, uint64_t now)
{
	if (s->timer.pending && s->timer_at <= at)
		return;
	s->timer_at = at;
	/* A timer that is cancelled is done at once, and looks again. */
	if (s->timer.pending)
		vmft_loop_cancel(s->world->loop, &s->timer);
	else
		vmft_loop_timer(s->world->loop, &s->timer, at > now ? at - now : 0);
}

static void consider(struct vmft_epoch_source *s)
{
	const uint64_t now = vmft_loop_now();
	uint64_t due;

	/* Also noted while an epoch is sent or waited for: the status shows how long output waits.
	 */
	if (s->active && !s->pacer.output && output_waits(s)) {
		s->pacer.output = true;
		s->output_ns = now;
	}
	if (!may_ask(s))
		return;
	/* A guest that is to be frozen is frozen at the end of an epoch. */
	due = atomic_load(&s->world->link->iface->freeze) ? now : vmft_pacer_due(&s->pacer);
	if (s->more || s->finishing || now >= due)
		ask(s, now);
	else
		wake_at(s, due, now);
}

static void on_timer(struct vmft_op *op, int result)
{
	(void)result;
	consider(op->owner);
}

/* --- what was staged ------------------------------------------------------ */

static void note(struct vmft_epoch_source *s, const struct vmft_area *area, uint64_t now)
{
	uint64_t *value = s->sample.value;

	value[VMFT_FIGURE_STOP] += atomic_load(&area->stop_ns);
	value[VMFT_FIGURE_DRAIN] += atomic_load(&area->drain_ns);
	value[VMFT_FIGURE_SAVE] += atomic_load(&area->save_ns);
	value[VMFT_FIGURE_SCAN] += atomic_load(&area->scan_ns);
	value[VMFT_FIGURE_COPY] += atomic_load(&area->copy_ns);
	value[VMFT_FIGURE_START] += atomic_load(&area->start_ns);
	value[VMFT_FIGURE_STAGED] += s->staged_bytes;
	if (s->more) {
		s->figures.split += value[VMFT_FIGURE_PAUSE] == 0;
		/* Between the parts of an epoch the guest stays stopped. */
		value[VMFT_FIGURE_PAUSE] = now - s->asked_ns;
		return;
	}
	value[VMFT_FIGURE_PAUSE] = value[VMFT_FIGURE_PAUSE] > 0
				       ? now - s->asked_ns
				       : value[VMFT_FIGURE_STOP] + value[VMFT_FIGURE_DRAIN] +
					     value[VMFT_FIGURE_SAVE] + value[VMFT_FIGURE_SCAN] +
					     value[VMFT_FIGURE_COPY] + value[VMFT_FIGURE_START];
	value[VMFT_FIGURE_LENGTH] = vmft_loop_since(s->pacer.began_ns, s->asked_ns);
	s->sample.asked_ns = s->asked_ns;
	s->sample.output_ns = s->pacer.output ? s->output_ns : 0;
	s->figures.early += s->pacer.output;
	s->sample.epoch = s->epoch + 1;
	vmft_pacer_began(&s->pacer, now, value[VMFT_FIGURE_PAUSE], value[VMFT_FIGURE_STAGED]);
}

/* As halt(): the agent still marks what is written, and may hold the guest stopped. */
static void broken(struct vmft_epoch_source *s, const char *why)
{
	s->active = false;
	s->over = true;
	s->more = false;
	s->drop_due = true;
	s->world->broken(s->world->user, why);
}

static void answered(struct vmft_epoch_source *s)
{
	const struct vmft_area *area = area_of(s);
	const uint64_t now = vmft_loop_now();
	char why[200];

	if (vmft_agent_link_result(s->world->link, why, sizeof(why)) < 0) {
		broken(s, why);
		return;
	}
	s->more = atomic_load(&area->more) != 0;
	s->staged_bytes = atomic_load(&area->staged_bytes);
	s->state_bytes = atomic_load(&area->state_bytes);
	if (s->staged_bytes > VMFT_AREA_STAGING_BYTES || s->state_bytes > VMFT_AREA_STATE_BYTES ||
	    (!s->more && atomic_load(&area->point_position) != s->epoch + 1)) {
		broken(s, "the agent's answer is not valid");
		return;
	}
	/* An epoch that was asked for before the guest's end was known may lack that end. */
	if (!s->more && s->last)
		s->over = true;
	note(s, area, now);
	s->staged_ns = now;
	s->piece_at = s->piece_done = s->state_at = 0;
	s->step = VMFT_EPOCH_SOURCE_PIECES;
	s->world->moved(s->world->user);
}

/* --- giving it out -------------------------------------------------------- */

static bool is_page(const struct vmft_epoch_source *s, uint32_t region)
{
	return region >= s->world->disk_count;
}

/* Packs the piece at the cursor, that of a disk in ranges. 1: it is packed, 0: the batch is full.
 */
static int pack_piece(struct vmft_epoch_source *s, const struct vmft_area_piece *piece,
		      const uint8_t *bytes)
{
	if (piece->bytes == 0 && !is_page(s, piece->region)) {
		s->commit.disk_bytes[piece->region] = piece->offset;
		return 1;
	}
	while (s->piece_done < piece->bytes) {
		const uint64_t left = piece->bytes - s->piece_done;
		const uint32_t n =
		    (uint32_t)(left < VMFT_EPOCH_RANGE_MAX ? left : VMFT_EPOCH_RANGE_MAX);

		if (!vmft_epoch_pack(s->packer, piece->region, piece->offset + s->piece_done,
				     bytes + s->piece_done, n, is_page(s, piece->region)))
			return 0;
		s->piece_done += n;
	}
	return 1;
}

/* The agent wrote it: it is not trusted. */
static int read_piece(const struct vmft_epoch_source *s, struct vmft_area_piece *ret,
		      const uint8_t **ret_bytes)
{
	const uint8_t *at = s->staging + s->piece_at;
	const uint64_t left = s->staged_bytes - s->piece_at;

	if (left < sizeof(*ret))
		return -EBADMSG;
	memcpy(ret, at, sizeof(*ret));
	if (ret->bytes > VMFT_DISK_BLOCK_BYTES || ret->bytes > left - sizeof(*ret) ||
	    ret->region >= VMFT_AREA_REGIONS_MAX)
		return -EBADMSG;
	if (is_page(s, ret->region) && (ret->bytes == 0 || ret->bytes > VMFT_RAM_BLOCK_BYTES ||
					ret->offset % VMFT_RAM_BLOCK_BYTES != 0))
		return -EBADMSG;
	*ret_bytes = at + sizeof(*ret);
	return 0;
}

/* 1: all packed, 0: a batch is full. */
static int pack_pieces(struct vmft_epoch_source *s)
{
	while (s->piece_at < s->staged_bytes) {
		struct vmft_area_piece piece;
		const uint8_t *bytes;
		int rc = read_piece(s, &piece, &bytes);

		if (rc < 0)
			return rc;
		if (!pack_piece(s, &piece, bytes))
			return 0;
		s->piece_at += sizeof(piece) + (piece.bytes + UINT64_C(15)) / 16 * 16;
		s->piece_done = 0;
	}
	return 1;
}

/* In whole pages, the last one filled up with zeroes: so the state is sent as a delta to the last
 * one even when its length has changed. */
static int pack_state(struct vmft_epoch_source *s)
{
	while (s->state_at < s->state_bytes) {
		const uint64_t left = s->state_bytes - s->state_at;
		const size_t n = left < VMFT_EPOCH_PAGE ? (size_t)left : VMFT_EPOCH_PAGE;
		uint8_t page[VMFT_EPOCH_PAGE] = {0};

		memcpy(page, s->state + s->state_at, n);
		if (!vmft_epoch_pack(s->packer, VMFT_EPOCH_STATE_REGION, s->state_at, page,
				     VMFT_EPOCH_PAGE, true))
			return 0;
		s->state_at += n;
	}
	return 1;
}

static void count(struct vmft_epoch_source *s)
{
	const struct vmft_epoch_counts *counts = vmft_epoch_counts(s->packer);

	s->figures.epochs++;
	s->figures.pages = counts->pages;
	s->figures.zero = counts->zero;
	s->figures.unchanged = counts->unchanged;
	s->figures.delta = counts->delta;
	s->figures.whole = counts->whole;
	s->sample.value[VMFT_FIGURE_SENT] = counts->sent_bytes - s->sent_before;
	*vmft_epoch_sample(&s->figures, s->epoch) = s->sample;
	s->sample = (struct vmft_epoch_sample){0};
	s->sent_before = counts->sent_bytes;
}

static size_t commit(struct vmft_epoch_source *s, uint8_t *payload)
{
	size_t n;

	s->commit.state_bytes = s->state_bytes;
	s->commit.disk_count = s->world->disk_count;
	n = vmft_epoch_put_commit(s->packer, &s->commit, payload);
	s->epoch++;
	count(s);
	s->step = VMFT_EPOCH_SOURCE_NONE;
	consider(s);
	return n;
}

/* A frame that came in for the guest. The backup needs it only before the epoch that has seen it.
 */
static ssize_t take_input(struct vmft_epoch_source *s, uint8_t *payload)
{
	const struct vmft_ring *ring = &s->world->link->ring;
	const int64_t ready = vmft_ring_ready(ring, s->input_at);
	uint8_t bytes[VMFT_INPUT_MAX];
	struct vmft_epoch_input input = {.bytes = bytes};
	struct vmft_input head;
	uint64_t all;

	if (ready <= 0)
		return ready;
	if (ready < (int64_t)sizeof(head))
		return -EBADMSG;
	vmft_ring_read(ring, s->input_at, (uint8_t *)&head, sizeof(head));
	all = sizeof(head) + (head.bytes + UINT64_C(7)) / 8 * 8;
	if (head.bytes == 0 || head.bytes > VMFT_INPUT_MAX || all > (uint64_t)ready)
		return -EBADMSG;
	vmft_ring_read(ring, s->input_at + sizeof(head), bytes, head.bytes);
	s->input_at += all;
	vmft_ring_release(ring, s->input_at);
	input.epoch = head.epoch;
	input.nic = head.nic;
	input.n = head.bytes;
	return (ssize_t)vmft_epoch_put_input(s->packer, &input, payload);
}

/* Does what comes next of the epoch. The length of a payload, 0: there is nothing now. */
ssize_t vmft_epoch_source_take(struct vmft_epoch_source *s, uint8_t *payload,
			       uint64_t *ret_position)
{
	int rc = (int)take_input(s, payload);

	*ret_position = s->epoch + 1;
	if (rc != 0)
		return rc;
	if (s->step == VMFT_EPOCH_SOURCE_PIECES) {
		rc = pack_pieces(s);
		if (rc > 0)
			s->step = s->more ? VMFT_EPOCH_SOURCE_NONE : VMFT_EPOCH_SOURCE_STATE;
	}
	if (s->step == VMFT_EPOCH_SOURCE_STATE) {
		rc = pack_state(s);
		if (rc > 0)
			s->step = VMFT_EPOCH_SOURCE_COMMIT;
	}
	if (rc < 0)
		return rc;
	/* The batch is full, or all that there is to pack now is packed. */
	rc = (int)vmft_epoch_finish_pieces(s->packer, payload);
	if (rc == 0 && s->step == VMFT_EPOCH_SOURCE_COMMIT)
		rc = (int)commit(s, payload);
	if (s->more && s->step == VMFT_EPOCH_SOURCE_NONE)
		consider(s);
	return rc;
}

/* --- from outside --------------------------------------------------------- */

void vmft_epoch_source_restart(struct vmft_epoch_source *s, uint64_t position)
{
	const struct vmft_pair_config *config = s->world->config;

	vmft_epoch_packer_reset(s->packer);
	vmft_pacer_init(&s->pacer, config->epoch_min_ms, config->epoch_ms, config->epoch_max_ms,
			vmft_loop_now());
	s->active = true;
	s->asked = s->last = s->more = s->drop_due = s->finishing = s->over = false;
	s->step = VMFT_EPOCH_SOURCE_NONE;
	s->epoch = s->acked = position;
	s->input_at = atomic_load(&s->world->link->iface->log_head);
	vmft_ring_release(&s->world->link->ring, s->input_at);
	s->sent_before = 0;
	s->commit = (struct vmft_epoch_commit){0};
	s->sample = (struct vmft_epoch_sample){0};
	s->figures = (struct vmft_epoch_figures){.released = position};
	consider(s);
}

void vmft_epoch_source_acked(struct vmft_epoch_source *s, uint64_t position)
{
	if (!s->active || position <= s->acked)
		return;
	s->acked = position;
	consider(s);
}

/* The agent still marks what is written, and may hold the guest stopped for more of an epoch. */
void vmft_epoch_source_halt(struct vmft_epoch_source *s)
{
	if (!s->active)
		return;
	s->active = false;
	s->step = VMFT_EPOCH_SOURCE_NONE;
	s->more = false;
	s->drop_due = true;
	vmft_epoch_source_look(s);
}

void vmft_epoch_source_look(struct vmft_epoch_source *s)
{
	if (s->asked && vmft_agent_link_is_done(s->world->link)) {
		s->asked = false;
		/* It may ask for the next epoch at once. */
		if (s->active)
			answered(s);
	}
	if (s->drop_due && !s->asked && vmft_agent_link_is_done(s->world->link)) {
		s->drop_due = false;
		vmft_agent_link_request(s->world->link, VMFT_AREA_DROP);
	}
	consider(s);
}

/* While QEMU is there one more epoch is taken, whatever the pacer says. When it is gone, an epoch
 * that it had not staged completely is void. */
void vmft_epoch_source_finish(struct vmft_epoch_source *s, bool alive)
{
	s->finishing = true;
	if (!alive) {
		vmft_epoch_source_look(s);
		s->asked = false;
		s->over = true;
		if (s->more)
			s->step = VMFT_EPOCH_SOURCE_NONE;
		s->more = false;
	}
	consider(s);
}

bool vmft_epoch_source_is_empty(const struct vmft_epoch_source *s)
{
	return !s->active || (s->over && s->step == VMFT_EPOCH_SOURCE_NONE && !s->asked);
}

int vmft_epoch_source_init(struct vmft_epoch_source *s, const struct vmft_strategy_world *world)
{
	const struct vmft_area *area = world->link->area;

	s->world = world;
	s->staging = (const uint8_t *)area + area->staging_at;
	s->state = (const uint8_t *)area + area->state_at;
	s->timer = (struct vmft_op){.done = on_timer, .owner = s};
	return vmft_epoch_packer_create(world->config->delta_cache_mib, &s->packer);
}

void vmft_epoch_source_fini(struct vmft_epoch_source *s)
{
	vmft_epoch_packer_destroy(s->packer);
}
