/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An attach as the new backup sees it: QEMU comes up stopped with its images untouched, memory
 * goes into its memfds and blocks into the images; at the attach point the agent loads the
 * device state, and from there on it replays. Until the primary says that there is a pair
 * all of it can be thrown away.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "monitor/daemon/hub/monitor.h"

static struct vmft_region *region_of(struct vmft_monitor *m, uint32_t index)
{
	return &m->agent.region[index];
}

static bool is_disk(const struct vmft_monitor *m, uint32_t region)
{
	return region < m->options.disk_count;
}

static bool is_read_only(const struct vmft_monitor *m, uint32_t region)
{
	return is_disk(m, region) && m->options.disk[region].read_only;
}

/* The attempt is over, for a reason of this side's. */
static __attribute__((format(printf, 2, 3))) void give_up(struct vmft_monitor *m,
							  const char *format, ...)
{
	const struct vmft_event_in lost = {.kind = VMFT_IN_PEER_LOST,
					   .why = VMFT_WHY_ATTACH_FAILED};
	char text[200];
	va_list ap;

	if (m->core.state != VMFT_STATE_ATTACHING)
		return;
	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	vmft_journal_say(&m->journal, "attach refused: %s", text);
	vmft_channel_refuse(&m->peer.channel, text);
	vmft_monitor_event(m, &lost);
}

/* --- what will come ------------------------------------------------------- */

/* Why this image cannot become a copy of that one, or "". */
static void compare_disk(const struct vmft_image *image, const struct vmft_geometry_region *theirs,
			 char *why, size_t size)
{
	why[0] = '\0';
	if (theirs->kind != VMFT_REGION_DISK || theirs->format != image->format)
		(void)snprintf(why, size, "%s: of another format than the primary's image",
			       image->path);
	else if (theirs->guest_bytes != image->guest_bytes)
		(void)snprintf(why, size,
			       "%s: shows the guest %llu bytes, the primary's image %llu; make it "
			       "as large",
			       image->path, (unsigned long long)image->guest_bytes,
			       (unsigned long long)theirs->guest_bytes);
}

static int open_images(struct vmft_monitor *m, const struct vmft_geometry *geometry)
{
	char why[200] = "";
	struct vmft_error err;

	for (uint32_t i = 0; i < m->options.disk_count && !why[0]; i++) {
		struct vmft_image *image = &m->options.disk[i];

		compare_disk(image, &geometry->region[i], why, sizeof(why));
		if (!why[0] && vmft_image_open(image, true, &err) < 0)
			(void)snprintf(why, sizeof(why), "%.199s", err.text);
	}
	if (!why[0])
		return 0;
	give_up(m, "%s", why);
	return -EINVAL;
}

static void close_images(struct vmft_monitor *m)
{
	for (uint32_t i = 0; i < m->options.disk_count; i++)
		vmft_image_close(&m->options.disk[i]);
}

int vmft_attach_sink_got_attach(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_attach_sink *s = &m->sink;

	if (s->phase != VMFT_ATTACH_IDLE ||
	    vmft_geometry_decode(frame->payload, frame->length, s->geometry) < 0 ||
	    s->geometry->count < m->options.disk_count)
		return -EBADMSG;
	s->phase = VMFT_ATTACH_OFFERED;
	s->loaded = false;
	s->synced = false;
	s->proven = false;
	s->state_bytes = 0;
	s->bytes = 0;
	if (open_images(m, s->geometry) < 0)
		return 0;
	if (!s->prepared)
		vmft_agent_link_command(&m->agent, VMFT_COMMAND_PREPARE);
	s->prepared = true;
	vmft_agent_link_request(&m->agent, VMFT_AREA_DESCRIBE);
	return 0;
}

/* Same build and same command line: the same blocks in the same order. */
static bool same_memory(struct vmft_monitor *m)
{
	const struct vmft_geometry *theirs = m->sink.geometry;

	if (theirs->count != m->sink.regions)
		return false;
	for (uint32_t i = m->options.disk_count; i < theirs->count; i++) {
		const struct vmft_region *ours = region_of(m, i);

		if (ours->kind != theirs->region[i].kind ||
		    ours->bytes != theirs->region[i].bytes ||
		    strcmp(ours->name, theirs->region[i].name) != 0)
			return false;
	}
	return true;
}

/* QEMU is up and will not touch its memory before the state is loaded. What an earlier attempt
 * or its own firmware left there goes: the primary sends nothing for memory never used. */
static void described(struct vmft_monitor *m)
{
	struct vmft_attach_sink *s = &m->sink;

	if (vmft_agent_link_regions(&m->agent, &s->regions) < 0 || !same_memory(m)) {
		give_up(m, "this QEMU's memory is laid out differently");
		return;
	}
	if (fallocate(m->agent.ram_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      (off_t)m->agent.area->ram_bytes) < 0) {
		give_up(m, "guest memory cannot be emptied: %s", strerror(errno));
		return;
	}
	s->phase = VMFT_ATTACH_COPYING;
	vmft_channel_send_empty(&m->peer.channel, VMFT_FRAME_READY);
}

/* --- blocks --------------------------------------------------------------- */

static void write_more(struct vmft_attach_sink_slot *slot);

static void on_written(struct vmft_op *op, int result)
{
	struct vmft_attach_sink_slot *slot = op->owner;
	struct vmft_monitor *m = slot->m;
	struct vmft_attach_sink *s = &m->sink;

	if (result > 0)
		slot->done += (uint32_t)result;
	if (result > 0 && slot->done < slot->n && !s->leaving) {
		write_more(slot);
		return;
	}
	slot->busy = false;
	s->writing--;
	if (result <= 0 && !s->leaving)
		give_up(m, "%s: cannot be written: %s", m->options.disk[slot->region].path,
			strerror(result < 0 ? -result : EIO));
	if (s->leaving)
		vmft_attach_sink_failed(m);
	else
		vmft_channel_resume(&m->peer.channel);
}

static void write_more(struct vmft_attach_sink_slot *slot)
{
	struct vmft_monitor *m = slot->m;

	vmft_loop_write(m->loop, &slot->op, m->options.disk[slot->region].fd,
			slot->bytes + slot->done, slot->n - slot->done, slot->offset + slot->done);
}

static int write_disk(struct vmft_monitor *m, uint32_t region, uint64_t offset,
		      const uint8_t *bytes, size_t n)
{
	struct vmft_attach_sink *s = &m->sink;

	for (unsigned i = 0; i < VMFT_ATTACH_SINK_SLOTS; i++) {
		struct vmft_attach_sink_slot *slot = &s->slot[i];

		if (slot->busy)
			continue;
		memcpy(slot->bytes, bytes, n);
		slot->busy = true;
		slot->region = region;
		slot->offset = offset;
		slot->n = (uint32_t)n;
		slot->done = 0;
		s->writing++;
		write_more(slot);
		return 0;
	}
	return -ENOSPC;
}

static int write_ram(struct vmft_monitor *m, uint32_t region, uint64_t offset, const uint8_t *bytes,
		     size_t n)
{
	const struct vmft_region *r = region_of(m, region);
	const bool main = r->kind == VMFT_REGION_RAM;
	ssize_t done = pwrite(main ? m->agent.ram_fd : m->agent.area_fd, bytes, n,
			      (off_t)(main ? offset : r->shadow_at + offset));

	if (done != (ssize_t)n)
		give_up(m, "guest memory cannot be written: %s",
			done < 0 ? strerror(errno) : "no memory");
	return 0;
}

/*
 * The guest has been told of most of what is copied that it is durable, so it must be before
 * the guest can go live here. Begun after each round, so that little is left at the attach point.
 */
static void sync_images(struct vmft_monitor *m)
{
	struct vmft_attach_sink *s = &m->sink;

	if (s->syncing > 0)
		return;
	for (uint32_t i = 0; i < m->options.disk_count; i++) {
		if (m->options.disk[i].read_only)
			continue;
		s->syncing++;
		vmft_loop_sync(m->loop, &s->sync[i].op, m->options.disk[i].fd);
	}
}

static void on_synced(struct vmft_op *op, int result)
{
	struct vmft_attach_sink_sync *sync = op->owner;
	struct vmft_monitor *m = sync->m;
	struct vmft_attach_sink *s = &m->sink;

	s->syncing--;
	if (result < 0 && !s->leaving)
		give_up(m, "%s: cannot be made durable: %s", m->options.disk[sync->disk].path,
			strerror(-result));
	if (s->leaving)
		vmft_attach_sink_failed(m);
	else
		vmft_channel_resume(&m->peer.channel);
}

/* A raw image is as long as it was when its size was compared; a qcow2 file may have grown. */
static bool fits(struct vmft_monitor *m, uint32_t region, uint64_t offset, uint64_t n)
{
	const uint64_t end = region < m->sink.regions ? region_of(m, region)->bytes : 0;

	return n <= end && offset <= end - n;
}

static int got_chunk(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	const uint8_t *bytes;
	uint32_t region;
	size_t n;

	if (vmft_chunk_decode(frame->payload, frame->length, &region, &bytes, &n) < 0 ||
	    n > VMFT_DISK_BLOCK_BYTES || !fits(m, region, frame->position, n) ||
	    is_read_only(m, region))
		return -EBADMSG;
	if (is_disk(m, region)) {
		int rc = write_disk(m, region, frame->position, bytes, n);

		if (rc < 0)
			return rc;
	} else {
		(void)write_ram(m, region, frame->position, bytes, n);
	}
	m->sink.bytes += n;
	return 0;
}

static int got_zero(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	const struct vmft_region *r;
	uint32_t region;
	uint64_t n;
	int rc = 0;

	if (vmft_zero_decode(frame->payload, frame->length, &region, &n) < 0 || n == 0 ||
	    n > VMFT_DISK_BLOCK_BYTES || !fits(m, region, frame->position, n) ||
	    is_read_only(m, region))
		return -EBADMSG;
	r = region_of(m, region);
	if (is_disk(m, region)) {
		rc = vmft_image_zero(&m->options.disk[region], frame->position, n);
		if (rc < 0)
			give_up(m, "%s: cannot be written: %s", m->options.disk[region].path,
				strerror(-rc));
		return 0;
	}
	if (fallocate(r->kind == VMFT_REGION_RAM ? m->agent.ram_fd : m->agent.area_fd,
		      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(frame->position + (r->kind == VMFT_REGION_RAM ? 0 : r->shadow_at)),
		      (off_t)n) < 0)
		give_up(m, "guest memory cannot be emptied: %s", strerror(errno));
	return 0;
}

/* --- comparing ------------------------------------------------------------ */

static void on_sums(struct vmft_summer *summer, int result)
{
	struct vmft_monitor *m = summer->owner;
	struct vmft_attach_sink *s = &m->sink;
	const struct vmft_sums *theirs = s->theirs;
	uint64_t bits = 0;

	if (s->leaving) {
		vmft_attach_sink_failed(m);
		return;
	}
	if (result < 0) {
		give_up(m, "%s: cannot be read: %s", summer->image->path, strerror(-result));
		return;
	}
	for (uint32_t i = 0; i < theirs->count; i++)
		if (theirs->sum[i].low != summer->sums.sum[i].low ||
		    theirs->sum[i].high != summer->sums.sum[i].high)
			bits |= UINT64_C(1) << i;
	if (bits != 0 && summer->image->read_only) {
		give_up(m,
			"%s: read-only, and its contents are not the primary's: give both "
			"hosts the same image",
			summer->image->path);
		return;
	}
	vmft_channel_want(&m->peer.channel, summer->first, theirs->region, bits);
	vmft_channel_resume(&m->peer.channel);
}

static int got_sums(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_attach_sink *s = &m->sink;

	if (s->summer.busy)
		return -ENOSPC;
	if (vmft_sums_decode(frame->payload, frame->length, s->theirs) < 0 ||
	    !is_disk(m, s->theirs->region) || frame->position % VMFT_SUMS_MAX != 0 ||
	    frame->position > region_of(m, s->theirs->region)->bytes / VMFT_DISK_BLOCK_BYTES)
		return -EBADMSG;
	s->summer.image = &m->options.disk[s->theirs->region];
	s->summer.first = frame->position;
	s->summer.sums.region = s->theirs->region;
	s->summer.sums.count = s->theirs->count;
	s->summer.sums.seed = s->theirs->seed;
	vmft_summer_start(&s->summer);
	return 0;
}

/* --- the attach point ----------------------------------------------------- */

static int got_state(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_attach_sink *s = &m->sink;
	ssize_t done;

	if (frame->length == 0 || frame->position != s->state_bytes ||
	    frame->length > VMFT_AREA_STATE_BYTES - s->state_bytes)
		return -EBADMSG;
	done = pwrite(m->agent.area_fd, frame->payload, frame->length,
		      (off_t)(m->agent.area->state_at + s->state_bytes));
	if (done != (ssize_t)frame->length)
		give_up(m, "no memory for the device state: %s",
			strerror(done < 0 ? errno : ENOSPC));
	s->state_bytes += frame->length;
	return 0;
}

static int cut_images(struct vmft_monitor *m, const struct vmft_point *point)
{
	for (uint32_t i = 0; i < m->options.disk_count; i++) {
		const struct vmft_image *image = &m->options.disk[i];

		if (image->is_device || image->read_only || point->disk_bytes[i] == 0)
			continue;
		if (ftruncate(image->fd, (off_t)point->disk_bytes[i]) < 0) {
			give_up(m, "%s: cannot be made as long as the primary's: %s", image->path,
				strerror(errno));
			return -EINVAL;
		}
	}
	return 0;
}

/* A state that is loaded only when this side goes live is loaded once now: whether QEMU can is
 * known before there is a pair (agent/prove.c). */
static void prove(struct vmft_monitor *m)
{
	struct vmft_attach_sink *s = &m->sink;

	s->proving = true;
	atomic_store(&m->agent.area->load_bytes, s->state_bytes);
	vmft_agent_link_request(&m->agent, VMFT_AREA_PROVE);
}

static void proved(struct vmft_monitor *m)
{
	struct vmft_attach_sink *s = &m->sink;
	char why[200];

	s->proving = false;
	if (vmft_agent_link_result(&m->agent, why, sizeof(why)) < 0)
		give_up(m, "%s", why);
	else
		s->proven = true;
	vmft_channel_resume(&m->peer.channel);
}

/* All that was copied is in the images, which are closed behind the point, and durable; and the
 * state is one that can be loaded. False: not yet. */
static bool is_settled(struct vmft_monitor *m)
{
	struct vmft_attach_sink *s = &m->sink;

	if (s->writing > 0 || s->syncing > 0 || s->summer.busy || s->proving)
		return false;
	if (!s->synced) {
		s->synced = true;
		if (cut_images(m, &s->point) < 0)
			return false;
		sync_images(m);
		if (s->syncing > 0)
			return false;
	}
	if (!m->strategy_ops->moves_state || s->proven)
		return true;
	prove(m);
	return false;
}

/* An image may become no longer than was foreseen for it: its marks have no place for more. */
static bool point_is_sane(struct vmft_monitor *m, const struct vmft_point *point)
{
	const struct vmft_attach_sink *s = &m->sink;

	if (point->disk_count != m->options.disk_count || point->state_bytes != s->state_bytes ||
	    s->state_bytes == 0)
		return false;
	for (uint32_t i = 0; i < point->disk_count; i++)
		if (point->disk_bytes[i] > region_of(m, i)->bytes)
			return false;
	return true;
}

static int got_point(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_attach_sink *s = &m->sink;
	const struct vmft_event_in event = {
	    .kind = VMFT_IN_ATTACH_POINT,
	    .position = frame->position,
	};
	struct vmft_area *area = m->agent.area;
	char why[128];
	int rc;

	if (vmft_point_decode(frame->payload, frame->length, &s->point) < 0 ||
	    !point_is_sane(m, &s->point))
		return -EBADMSG;
	if (!is_settled(m))
		return -ENOSPC;
	rc = vmft_monitor_restart_log(m, frame->position);
	if (rc < 0) {
		(void)snprintf(why, sizeof(why), "guest memory cannot be mapped: %s",
			       strerror(-rc));
		vmft_monitor_broken(m, why);
		return 0;
	}
	s->phase = VMFT_ATTACH_CATCHING_UP;
	vmft_monitor_event(m, &event);
	atomic_store(&area->load_bytes, s->state_bytes);
	atomic_store(&area->load_position, frame->position);
	atomic_store(&area->load_guest_ns, s->point.guest_ns);
	if (m->strategy_ops->moves_state) {
		/* It is there to be gone live with; what follows replaces it, and the images are
		 * written to until then. */
		s->loaded = true;
		return 0;
	}
	close_images(m);
	vmft_agent_link_request(&m->agent, VMFT_AREA_LOAD);
	return 0;
}

int vmft_attach_sink_got_frame(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_attach_sink *s = &m->sink;

	if (s->phase != VMFT_ATTACH_COPYING)
		return -EBADMSG;
	switch (frame->type) {
	case VMFT_FRAME_CHUNK:
		return got_chunk(m, frame);
	case VMFT_FRAME_ZERO:
		return got_zero(m, frame);
	case VMFT_FRAME_ROUND:
		/* A block of the next round must not be overtaken by one of this. */
		if (s->writing > 0)
			return -ENOSPC;
		sync_images(m);
		return 0;
	case VMFT_FRAME_STATE:
		return got_state(m, frame);
	case VMFT_FRAME_POINT:
		return got_point(m, frame);
	case VMFT_FRAME_SUMS:
		return got_sums(m, frame);
	default:
		return -EBADMSG;
	}
}

bool vmft_attach_sink_has_room(const struct vmft_monitor *m)
{
	/* Whatever was waited for: a slot, all slots, durability, the digests, or the proof. */
	return m->sink.writing == 0 && m->sink.syncing == 0 && !m->sink.summer.busy &&
	       !m->sink.proving;
}

void vmft_attach_sink_look(struct vmft_monitor *m)
{
	struct vmft_attach_sink *s = &m->sink;
	char why[200];

	if (s->leaving) {
		vmft_attach_sink_failed(m);
		return;
	}
	if (s->proving) {
		if (vmft_agent_link_is_done(&m->agent))
			proved(m);
		return;
	}
	if ((s->phase != VMFT_ATTACH_OFFERED && s->phase != VMFT_ATTACH_CATCHING_UP) || s->loaded ||
	    m->core.state != VMFT_STATE_ATTACHING || !vmft_agent_link_is_done(&m->agent))
		return;
	if (vmft_agent_link_result(&m->agent, why, sizeof(why)) < 0) {
		give_up(m, "%s", why);
	} else if (s->phase == VMFT_ATTACH_OFFERED) {
		described(m);
	} else {
		s->loaded = true;
		vmft_journal_say(&m->journal, "state loaded: replaying from log position %llu",
				 (unsigned long long)m->core.held);
	}
}

/* Also called again while what is under way comes to its end. */
void vmft_attach_sink_failed(struct vmft_monitor *m)
{
	struct vmft_attach_sink *s = &m->sink;

	if (s->phase == VMFT_ATTACH_IDLE)
		return;
	s->leaving = true;
	/* An epoch that is applied behind the attach point is written to the same descriptors. */
	if (!m->strategy_ops->abandon(m->strategy))
		return;
	if (s->writing > 0 || s->syncing > 0 || s->summer.busy ||
	    !vmft_agent_link_is_done(&m->agent))
		return;
	close_images(m);
	s->leaving = false;
	s->proving = false;
	s->phase = VMFT_ATTACH_IDLE;
}

int vmft_attach_sink_init(struct vmft_monitor *m)
{
	struct vmft_attach_sink *s = &m->sink;

	s->geometry = calloc(1, sizeof(*s->geometry));
	s->theirs = calloc(1, sizeof(*s->theirs));
	if (!s->geometry || !s->theirs)
		return -ENOMEM;
	for (unsigned i = 0; i < VMFT_ATTACH_SINK_SLOTS; i++) {
		s->slot[i].m = m;
		s->slot[i].op = (struct vmft_op){.done = on_written, .owner = &s->slot[i]};
		s->slot[i].bytes = malloc(VMFT_DISK_BLOCK_BYTES);
		if (!s->slot[i].bytes)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < VMFT_AREA_DISKS_MAX; i++) {
		s->sync[i].m = m;
		s->sync[i].disk = i;
		s->sync[i].op = (struct vmft_op){.done = on_synced, .owner = &s->sync[i]};
	}
	return vmft_summer_init(&s->summer, m->loop, m, on_sums);
}
