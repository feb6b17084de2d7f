/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An attach as the primary sees it: compare the images, copy memory and disk blocks in rounds
 * while the guest runs, stop it for a moment, send what is left, follow it until it has
 * caught up, seal. The guest is alone all the while and its output leaves at once; there is
 * a pair when the core says so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "monitor/common/area-setup.h"
#include "monitor/daemon/hub/monitor.h"

#define MS UINT64_C(1000000)

#define SUMS_WINDOW    4u	    /* digests of so many times 64 blocks are on their way */
#define RAM_RUN	       15u	    /* pages in one frame */
#define SEND_BYTES     (60u * 1024) /* of device state in one frame */
#define SMALL_BYTES    (1u << 20)   /* not worth another round */
#define SHRINK_PERCENT 70u	    /* a round that leaves more of the last one is the last */
/* In a stop. scripts/bench attach saw 234000 to 1155000; half of the slowest is left for the
 * stop's other parts. */
#define COPY_BYTES_PER_MS 100000u
#define ROUNDS_MAX	  60u
#define THROTTLE_STEP	  150u /* permille */
#define RETRY_FIRST_NS	  (1000 * MS)
#define RETRY_LAST_NS	  (60000 * MS)
#define REPLAY_STALL_NS	  (10000 * MS)
#define STALL_NS	  (60000 * MS) /* of everything else: a QEMU that does not come up */
#define RATE_WINDOW_NS	  (500 * MS)

const char *vmft_attach_phase_name(enum vmft_attach_phase phase)
{
	static const char *const names[VMFT_ATTACH_PHASES] = {
	    [VMFT_ATTACH_IDLE] = "idle",
	    [VMFT_ATTACH_TRACKING] = "tracking",
	    [VMFT_ATTACH_OFFERED] = "offered",
	    [VMFT_ATTACH_COMPARING] = "comparing",
	    [VMFT_ATTACH_COPYING] = "copying",
	    [VMFT_ATTACH_SCANNING] = "scanning",
	    [VMFT_ATTACH_STOPPING] = "stopping",
	    [VMFT_ATTACH_SENDING] = "sending",
	    [VMFT_ATTACH_CATCHING_UP] = "catching-up",
	    [VMFT_ATTACH_SEALING] = "sealing",
	    [VMFT_ATTACH_DROPPING] = "dropping",
	};

	return names[phase];
}

static struct vmft_region *region_of(struct vmft_monitor *m, uint32_t index)
{
	return &m->agent.region[index];
}

static bool is_disk(const struct vmft_monitor *m, uint32_t region)
{
	return region < m->agent.area->disk_count;
}

static uint64_t words_of(struct vmft_monitor *m, uint32_t region)
{
	return vmft_region_bitmap_bytes(region_of(m, region)) / 8;
}

/* --- sending -------------------------------------------------------------- */

static void count_sent(struct vmft_monitor *m, uint32_t region, size_t n)
{
	struct vmft_attach_source *s = &m->source;

	if (is_disk(m, region))
		s->now.disk_bytes += n;
	else
		s->now.ram_bytes += n;
	s->round_bytes += n;
	s->window_bytes += n;
	s->tokens -= n < s->tokens ? n : s->tokens;
}

/* The cap is on what is copied while the guest runs; the attach point is not waited for. */
static bool may_send(const struct vmft_monitor *m)
{
	return m->config.attach_mib_per_s == 0 || m->source.tokens > 0 ||
	       m->source.phase == VMFT_ATTACH_SENDING;
}

static void refill(struct vmft_monitor *m, uint64_t now)
{
	struct vmft_attach_source *s = &m->source;
	const uint64_t rate = (uint64_t)m->config.attach_mib_per_s << 20;
	uint64_t passed = vmft_loop_since(s->tokens_ns, now);

	s->tokens_ns = now;
	/* No more than a tenth of a second's worth is saved up. */
	if (passed > 100 * MS)
		passed = 100 * MS;
	s->tokens += rate / 1000000 * (passed / 1000);
	if (s->tokens > rate / 10)
		s->tokens = rate / 10;
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* bytes stand behind the chunk's head in a payload that vmft_channel_room() gave. */
static void send_chunk(struct vmft_monitor *m, uint32_t region, uint64_t offset, uint8_t *payload,
		       size_t n)
{
	if (all_zero(payload + VMFT_CHUNK_HEAD, n)) {
		vmft_channel_commit(&m->peer.channel, VMFT_FRAME_ZERO, offset, payload,
				    vmft_zero_encode(region, n, payload));
		count_sent(m, region, 0);
		return;
	}
	vmft_chunk_encode(region, payload);
	vmft_channel_commit(&m->peer.channel, VMFT_FRAME_CHUNK, offset, payload,
			    VMFT_CHUNK_HEAD + n);
	count_sent(m, region, n);
}

static bool send_mark(struct vmft_monitor *m, enum vmft_frame_type type, uint64_t position)
{
	uint8_t *payload = vmft_channel_room(&m->peer.channel, 0);

	if (!payload)
		return false;
	vmft_channel_commit(&m->peer.channel, type, position, payload, 0);
	return true;
}

/* --- memory --------------------------------------------------------------- */

/* Whole, or a negative errno. */
static ssize_t read_ram(struct vmft_monitor *m, uint32_t region, uint8_t *bytes, size_t n,
			uint64_t offset)
{
	const struct vmft_region *r = region_of(m, region);
	ssize_t got;

	if (offset + n > r->bytes)
		n = (size_t)(r->bytes - offset);
	if (r->kind == VMFT_REGION_RAM)
		got = pread(m->agent.ram_fd, bytes, n, (off_t)offset);
	else
		got = pread(m->agent.area_fd, bytes, n, (off_t)(r->shadow_at + offset));
	return got == (ssize_t)n ? got : got < 0 ? -errno : -EIO;
}

/* The run of marks at the cursor's word: how many from which block on, 0: none. */
static unsigned find_run(struct vmft_monitor *m, uint64_t *ret_block)
{
	struct vmft_attach_source *s = &m->source;
	_Atomic uint64_t *word =
	    vmft_region_bitmap(m->agent.area, region_of(m, s->region)) + s->word;
	const uint64_t bits = atomic_load(word);
	unsigned first, count = 0;

	if (bits == 0)
		return 0;
	first = (unsigned)__builtin_ctzll(bits);
	while (first + count < 64 && count < RAM_RUN && bits >> (first + count) & 1)
		count++;
	*ret_block = s->word * 64 + first;
	return count;
}

static void clear_run(struct vmft_monitor *m, uint64_t block, unsigned count)
{
	_Atomic uint64_t *words = vmft_region_bitmap(m->agent.area, region_of(m, m->source.region));

	atomic_fetch_and(&words[block / 64], ~(((UINT64_C(1) << count) - 1) << (block % 64)));
}

/* One frame of the round; false when there is no room, or nothing here. */
static bool send_ram(struct vmft_monitor *m, uint64_t block, unsigned count)
{
	const uint64_t offset = block * VMFT_RAM_BLOCK_BYTES;
	uint8_t *payload =
	    vmft_channel_room(&m->peer.channel, VMFT_CHUNK_HEAD + count * VMFT_RAM_BLOCK_BYTES);
	ssize_t n;

	if (!payload)
		return false;
	/* Cleared first, read then: what is written from now on is marked again. */
	clear_run(m, block, count);
	n = read_ram(m, m->source.region, payload + VMFT_CHUNK_HEAD,
		     count * (size_t)VMFT_RAM_BLOCK_BYTES, offset);
	if (n < 0) {
		vmft_attach_source_abort(m, "guest memory cannot be read: %s", strerror((int)-n));
		return false;
	}
	send_chunk(m, m->source.region, offset, payload, (size_t)n);
	return true;
}

/*
 * The next range from *from on that may have been used; false: there is none. Memory that was
 * never touched is not in the memfd, and the backup's is empty. Where that cannot be found out,
 * all that is left is taken for used.
 */
static bool find_used(const struct vmft_monitor *m, const struct vmft_region *region, off_t *from,
		      off_t *ret_to)
{
	off_t data, hole;

	*ret_to = (off_t)region->bytes;
	if (*from >= *ret_to)
		return false;
	if (region->kind != VMFT_REGION_RAM)
		return true;
	data = lseek(m->agent.ram_fd, *from, SEEK_DATA);
	if (data < 0)
		return errno != ENXIO;
	*from = data;
	hole = lseek(m->agent.ram_fd, data, SEEK_HOLE);
	if (hole > data && hole < *ret_to)
		*ret_to = hole;
	return data < *ret_to;
}

static void mark_ram(struct vmft_monitor *m, uint32_t index)
{
	const struct vmft_region *region = region_of(m, index);
	_Atomic uint64_t *words = vmft_region_bitmap(m->agent.area, region);
	off_t from, to;

	for (from = 0; find_used(m, region, &from, &to); from = to)
		for (uint64_t block = (uint64_t)from / VMFT_RAM_BLOCK_BYTES;
		     block * VMFT_RAM_BLOCK_BYTES < (uint64_t)to; block++)
			atomic_fetch_or(&words[block / 64], UINT64_C(1) << (block % 64));
}

/* --- images --------------------------------------------------------------- */

/* What a read gave: 0, or why it is no good. Short only at the end of the file, which may have
 * moved since. */
static int check_read(const struct vmft_attach_source_slot *slot, const struct vmft_image *image,
		      int result)
{
	int64_t end;

	if (result < 0 || result == (int)VMFT_DISK_BLOCK_BYTES)
		return result < 0 ? result : 0;
	end = vmft_image_file_bytes(image);
	if (end < 0)
		return (int)end;
	return slot->offset + (uint64_t)result < (uint64_t)end ? -ERANGE : 0;
}

static void on_disk_read(struct vmft_op *op, int result)
{
	struct vmft_attach_source_slot *slot = op->owner;
	struct vmft_monitor *m = slot->m;
	const struct vmft_image *image = &m->options.disk[slot->region];
	int rc;

	slot->state = VMFT_SLOT_FREE;
	if (m->source.phase != VMFT_ATTACH_COPYING) {
		vmft_attach_source_pump(m);
		return;
	}
	rc = check_read(slot, image, result);
	if (rc < 0) {
		vmft_attach_source_abort(m, "%s: cannot be read: %s", image->path,
					 rc == -ERANGE ? "it changes its size" : strerror(-rc));
		return;
	}
	if (result > 0)
		slot->state = VMFT_SLOT_READY;
	slot->n = (uint32_t)result;
	vmft_attach_source_pump(m);
}

static struct vmft_attach_source_slot *free_slot(struct vmft_attach_source *s)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++)
		if (s->slot[i].state == VMFT_SLOT_FREE)
			return &s->slot[i];
	return NULL;
}

static bool slots_free(const struct vmft_attach_source *s)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++)
		if (s->slot[i].state != VMFT_SLOT_FREE)
			return false;
	return true;
}

static bool read_disk(struct vmft_monitor *m, uint64_t block)
{
	struct vmft_attach_source_slot *slot = free_slot(&m->source);

	if (!slot)
		return false;
	clear_run(m, block, 1);
	slot->state = VMFT_SLOT_READING;
	slot->region = m->source.region;
	slot->offset = block * VMFT_DISK_BLOCK_BYTES;
	vmft_loop_read(m->loop, &slot->op, m->options.disk[slot->region].fd, slot->bytes,
		       VMFT_DISK_BLOCK_BYTES, slot->offset);
	return true;
}

static void send_read(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;

	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++) {
		struct vmft_attach_source_slot *slot = &s->slot[i];
		uint8_t *payload;

		if (slot->state != VMFT_SLOT_READY || !may_send(m))
			continue;
		payload = vmft_channel_room(&m->peer.channel, VMFT_CHUNK_HEAD + slot->n);
		if (!payload)
			return;
		memcpy(payload + VMFT_CHUNK_HEAD, slot->bytes, slot->n);
		send_chunk(m, slot->region, slot->offset, payload, slot->n);
		slot->state = VMFT_SLOT_FREE;
	}
}

static int open_images(struct vmft_monitor *m)
{
	struct vmft_error err;

	for (uint32_t i = 0; i < m->options.disk_count; i++) {
		int rc = vmft_image_open(&m->options.disk[i], false, &err);

		if (rc < 0) {
			vmft_attach_source_abort(m, "%s", err.text);
			return rc;
		}
	}
	return 0;
}

static void close_images(struct vmft_monitor *m)
{
	for (uint32_t i = 0; i < m->options.disk_count; i++)
		vmft_image_close(&m->options.disk[i]);
}

/* --- comparing ------------------------------------------------------------ */

static void on_sums(struct vmft_summer *summer, int result)
{
	struct vmft_monitor *m = summer->owner;

	if (m->source.phase == VMFT_ATTACH_COMPARING && result < 0)
		vmft_attach_source_abort(m, "%s: cannot be read: %s", summer->image->path,
					 strerror(-result));
	else if (m->source.phase == VMFT_ATTACH_COMPARING)
		m->source.sums_ready = true;
	vmft_attach_source_pump(m);
}

static void cannot_size(struct vmft_monitor *m, const struct vmft_image *image, int rc)
{
	vmft_attach_source_abort(m, "%s: its length cannot be found out: %s", image->path,
				 strerror(-rc));
}

/* The next 64 blocks of the images; false when all are compared or on their way, or the attempt
 * has been given up. */
static bool compare_more(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	const struct vmft_image *image = &m->options.disk[s->region];
	const int64_t bytes = vmft_image_file_bytes(image);
	const uint64_t first = s->word * 64;
	uint64_t blocks;

	if (bytes < 0) {
		cannot_size(m, image, (int)bytes);
		return false;
	}
	blocks = ((uint64_t)bytes + VMFT_DISK_BLOCK_BYTES - 1) / VMFT_DISK_BLOCK_BYTES;
	if (first >= blocks) {
		s->region++;
		s->word = 0;
		return s->region < m->options.disk_count;
	}
	s->summer.image = image;
	s->summer.first = first;
	s->summer.sums.region = s->region;
	s->summer.sums.seed = s->seed;
	s->summer.sums.count =
	    (uint32_t)(blocks - first < VMFT_SUMS_MAX ? blocks - first : VMFT_SUMS_MAX);
	s->word++;
	vmft_summer_start(&s->summer);
	return true;
}

static void send_sums(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	uint8_t *payload = vmft_channel_room(&m->peer.channel, 2048);

	if (!payload)
		return;
	vmft_channel_commit(&m->peer.channel, VMFT_FRAME_SUMS, s->summer.first, payload,
			    vmft_sums_encode(&s->summer.sums, payload));
	s->sums_ready = false;
	s->sums_unanswered++;
}

static void begin_round(struct vmft_monitor *m);

static void pump_compare(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;

	if (s->sums_ready)
		send_sums(m);
	while (s->region < m->options.disk_count && !s->summer.busy && !s->sums_ready &&
	       s->sums_unanswered < SUMS_WINDOW && s->phase == VMFT_ATTACH_COMPARING)
		if (!compare_more(m))
			break;
	if (s->phase != VMFT_ATTACH_COMPARING || s->region < m->options.disk_count ||
	    s->summer.busy || s->sums_ready || s->sums_unanswered > 0)
		return;
	for (uint32_t i = m->options.disk_count; i < s->regions; i++)
		mark_ram(m, i);
	begin_round(m);
}

int vmft_attach_source_got_want(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_attach_source *s = &m->source;
	_Atomic uint64_t *words;
	uint32_t region;
	uint64_t bits;

	if (vmft_want_decode(frame->payload, frame->length, &region, &bits) < 0 ||
	    s->phase != VMFT_ATTACH_COMPARING || s->sums_unanswered == 0 || !is_disk(m, region) ||
	    frame->position % 64 != 0 || frame->position / 64 >= words_of(m, region))
		return -EBADMSG;
	words = vmft_region_bitmap(m->agent.area, region_of(m, region));
	atomic_fetch_or(&words[frame->position / 64], bits);
	s->left_bytes += (uint64_t)__builtin_popcountll(bits) * VMFT_DISK_BLOCK_BYTES;
	s->sums_unanswered--;
	vmft_attach_source_pump(m);
	return 0;
}

/* --- rounds --------------------------------------------------------------- */

static uint64_t count_marks(struct vmft_monitor *m, uint32_t first, uint32_t end)
{
	uint64_t bytes = 0;

	for (uint32_t i = first; i < end; i++) {
		_Atomic uint64_t *words = vmft_region_bitmap(m->agent.area, region_of(m, i));
		uint64_t count = 0;

		for (uint64_t w = 0; w < words_of(m, i); w++)
			count += (uint64_t)__builtin_popcountll(
			    atomic_load_explicit(&words[w], memory_order_relaxed));
		bytes += count * vmft_region_block(region_of(m, i));
	}
	return bytes;
}

static void begin_round(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;

	s->phase = VMFT_ATTACH_COPYING;
	s->region = 0;
	s->word = 0;
	s->round++;
	s->round_ns = vmft_loop_now();
	s->round_bytes = 0;
	s->left_bytes = count_marks(m, 0, s->regions);
	if (s->round == 1)
		s->marked_bytes = s->left_bytes;
}

/* Sends or reads one run; false: no room for more now. */
static bool copy_more(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;

	while (s->region < s->regions) {
		uint64_t block;
		unsigned count = find_run(m, &block);

		if (count > 0)
			return is_disk(m, s->region) ? read_disk(m, block)
						     : send_ram(m, block, count);
		if (++s->word < words_of(m, s->region))
			continue;
		s->word = 0;
		s->region++;
	}
	return false;
}

static void request(struct vmft_monitor *m, enum vmft_area_op op, enum vmft_attach_phase phase)
{
	m->source.phase = phase;
	vmft_agent_link_request(&m->agent, op);
}

static void pump_copy(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;

	send_read(m);
	while (s->phase == VMFT_ATTACH_COPYING && may_send(m) && copy_more(m))
		;
	if (s->phase != VMFT_ATTACH_COPYING || s->region < s->regions || !slots_free(s))
		return;
	if (!send_mark(m, VMFT_FRAME_ROUND, s->round))
		return;
	request(m, VMFT_AREA_SCAN, VMFT_ATTACH_SCANNING);
}

/* How much the guest may be stopped for. */
static uint64_t budget(const struct vmft_monitor *m)
{
	const uint64_t bytes = (uint64_t)m->config.stun_ms * COPY_BYTES_PER_MS;
	/* Each piece has a head; a page is the smallest. */
	const uint64_t most = VMFT_AREA_STAGING_BYTES / 4112 * 4096 - VMFT_DISK_BLOCK_BYTES;

	return bytes < most ? bytes : most;
}

static void slow_down(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;

	if (s->throttle == 0)
		vmft_journal_say(&m->journal,
				 "memory is written faster than it can be copied (%llu MB/s, "
				 "%llu MB/s): the guest is slowed",
				 (unsigned long long)s->dirty_per_s / 1000000,
				 (unsigned long long)s->bytes_per_s / 1000000);
	s->throttle += THROTTLE_STEP;
	if (s->throttle > VMFT_THROTTLE_MAX_PERMILLE)
		s->throttle = VMFT_THROTTLE_MAX_PERMILLE;
}

static void measure_round(struct vmft_monitor *m, uint64_t marked)
{
	struct vmft_attach_source *s = &m->source;
	const uint64_t passed = vmft_loop_now() - s->round_ns + 1;

	s->dirty_per_s = (uint64_t)((double)marked * 1e9 / (double)passed);
	if (s->round_bytes > SMALL_BYTES)
		s->bytes_per_s = (uint64_t)((double)s->round_bytes * 1e9 / (double)passed);
}

/* After a round: another one, or the attach point. */
static void decide(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	const uint64_t marked = count_marks(m, 0, s->regions);
	const bool shrinks = marked < s->marked_bytes / 100 * SHRINK_PERCENT;
	const bool fits = marked <= budget(m);

	measure_round(m, marked);
	s->marked_bytes = marked;
	if (fits && (marked <= SMALL_BYTES || !shrinks)) {
		atomic_store(&m->agent.area->budget_bytes, budget(m));
		/* A throttled guest holds the lock the stop needs for up to a pause. */
		atomic_store(&m->agent.iface->throttle, 0);
		request(m, VMFT_AREA_POINT, VMFT_ATTACH_STOPPING);
		return;
	}
	if (!fits && !shrinks)
		slow_down(m);
	if (s->round >= ROUNDS_MAX) {
		vmft_attach_source_abort(
		    m,
		    "memory does not come to rest: %llu MB written in the last "
		    "round, %llu MB fit into stun-ms = %u",
		    (unsigned long long)marked / 1000000, (unsigned long long)budget(m) / 1000000,
		    m->config.stun_ms);
		return;
	}
	begin_round(m);
}

/* --- the attach point ----------------------------------------------------- */

static void taken(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	const struct vmft_area *area = m->agent.area;

	s->now.stop_ns = atomic_load(&area->stop_ns);
	s->now.drain_ns = atomic_load(&area->drain_ns);
	s->now.copy_ns = atomic_load(&area->copy_ns);
	s->now.save_ns = atomic_load(&area->save_ns);
	s->now.start_ns = atomic_load(&area->start_ns);
	s->now.stun_ns =
	    s->now.stop_ns + s->now.drain_ns + s->now.copy_ns + s->now.save_ns + s->now.start_ns;
	s->now.staged_bytes = atomic_load(&area->staged_bytes);
	s->now.rounds = s->round;
	s->throttle = 0;
	s->piece_at = 0;
	s->state_at = 0;
	s->point = (struct vmft_point){
	    .state_bytes = atomic_load(&area->state_bytes),
	    .guest_ns = atomic_load(&area->point_guest_ns),
	    .disk_count = area->disk_count,
	};
	if (s->now.staged_bytes > VMFT_AREA_STAGING_BYTES ||
	    s->point.state_bytes > VMFT_AREA_STATE_BYTES) {
		vmft_attach_source_abort(m, "the agent's answer makes no sense");
		return;
	}
	s->phase = VMFT_ATTACH_SENDING;
	vmft_journal_say(&m->journal, "attach point: the guest was stopped for %.1f ms",
			 (double)s->now.stun_ns / 1e6);
}

/* False: the attempt has been given up. */
static bool area_read(struct vmft_monitor *m, void *bytes, size_t n, uint64_t at)
{
	const ssize_t got = pread(m->agent.area_fd, bytes, n, (off_t)at);

	if (got == (ssize_t)n)
		return true;
	vmft_attach_source_abort(m, "the attach area cannot be read: %s",
				 strerror(got < 0 ? errno : EIO));
	return false;
}

/* False: no room, or the attempt has been given up. */
static bool send_piece(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	const uint64_t at = m->agent.area->staging_at + s->piece_at;
	struct vmft_area_piece piece;
	uint8_t *payload;

	if (!area_read(m, &piece, sizeof(piece), at))
		return false;
	if (piece.region >= s->regions || piece.bytes > VMFT_DISK_BLOCK_BYTES ||
	    piece.bytes > VMFT_AREA_STAGING_BYTES - s->piece_at) {
		vmft_attach_source_abort(m, "the agent's answer makes no sense");
		return false;
	}
	if (piece.bytes == 0 && is_disk(m, piece.region)) {
		s->point.disk_bytes[piece.region] = piece.offset;
	} else {
		payload = vmft_channel_room(&m->peer.channel, VMFT_CHUNK_HEAD + piece.bytes);
		if (!payload)
			return false;
		if (!area_read(m, payload + VMFT_CHUNK_HEAD, piece.bytes, at + sizeof(piece)))
			return false;
		send_chunk(m, piece.region, piece.offset, payload, piece.bytes);
	}
	s->piece_at += sizeof(piece) + (piece.bytes + UINT64_C(15)) / 16 * 16;
	return true;
}

static bool send_state(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	uint64_t n = s->point.state_bytes - s->state_at;
	uint8_t *payload;

	if (n > SEND_BYTES)
		n = SEND_BYTES;
	payload = vmft_channel_room(&m->peer.channel, n);
	if (!payload)
		return false;
	if (!area_read(m, payload, n, m->agent.area->state_at + s->state_at))
		return false;
	vmft_channel_commit(&m->peer.channel, VMFT_FRAME_STATE, s->state_at, payload, n);
	s->state_at += n;
	return true;
}

/* All is on its way: the log follows. */
static bool send_point(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	const struct vmft_area *area = m->agent.area;
	const struct vmft_event_in event = {
	    .kind = VMFT_IN_ATTACH_POINT,
	    .position = atomic_load(&area->point_position),
	};
	uint8_t *payload = vmft_channel_room(&m->peer.channel, 512);
	int rc;

	if (!payload)
		return false;
	vmft_channel_commit(&m->peer.channel, VMFT_FRAME_POINT, event.position, payload,
			    vmft_point_encode(&s->point, payload));
	/* Gives the memory back; it has been read. */
	(void)fallocate(m->agent.area_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			(off_t)area->staging_at,
			(off_t)(VMFT_AREA_STAGING_BYTES + VMFT_AREA_STATE_BYTES));
	close_images(m);
	rc = vmft_monitor_restart_log(m, event.position);
	if (rc < 0) {
		vmft_attach_source_abort(m, "the log cannot begin anew: %s", strerror(-rc));
		return true;
	}
	s->phase = VMFT_ATTACH_CATCHING_UP;
	s->log_flows = true;
	vmft_monitor_event(m, &event);
	return true;
}

static void pump_point(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;

	while (s->phase == VMFT_ATTACH_SENDING) {
		if (s->piece_at < s->now.staged_bytes) {
			if (!send_piece(m))
				return;
		} else if (s->state_at < s->point.state_bytes) {
			if (!send_state(m))
				return;
		} else if (!send_point(m)) {
			return;
		}
	}
}

/* --- what the agent answers ----------------------------------------------- */

/* False: the attempt has been given up. */
static bool fill_geometry(struct vmft_monitor *m, struct vmft_geometry *geometry)
{
	geometry->count = m->source.regions;
	for (uint32_t i = 0; i < geometry->count; i++) {
		const struct vmft_region *region = region_of(m, i);
		struct vmft_geometry_region *to = &geometry->region[i];
		int64_t bytes;

		to->kind = (uint8_t)region->kind;
		to->bytes = region->bytes;
		(void)snprintf(to->name, sizeof(to->name), "%s", region->name);
		if (!is_disk(m, i))
			continue;
		to->format = (uint8_t)m->options.disk[i].format;
		to->guest_bytes = m->options.disk[i].guest_bytes;
		bytes = vmft_image_file_bytes(&m->options.disk[i]);
		if (bytes < 0) {
			cannot_size(m, &m->options.disk[i], (int)bytes);
			return false;
		}
		to->bytes = (uint64_t)bytes;
	}
	return true;
}

static void offer(struct vmft_monitor *m)
{
	struct vmft_geometry *geometry = calloc(1, sizeof(*geometry));
	uint8_t *payload = geometry ? vmft_channel_room(&m->peer.channel, 32u * 1024) : NULL;

	if (!geometry) {
		vmft_attach_source_abort(m, "what is to be copied cannot be listed: %s",
					 strerror(ENOMEM));
	} else if (!payload || vmft_agent_link_regions(&m->agent, &m->source.regions) < 0) {
		vmft_attach_source_abort(m, "the agent's answer makes no sense");
	} else if (open_images(m) == 0 && fill_geometry(m, geometry)) {
		m->source.phase = VMFT_ATTACH_OFFERED;
		vmft_channel_commit(&m->peer.channel, VMFT_FRAME_ATTACH, 0, payload,
				    vmft_geometry_encode(geometry, payload));
	}
	free(geometry);
}

int vmft_attach_source_got_ready(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;

	if (s->phase != VMFT_ATTACH_OFFERED)
		return -EBADMSG;
	s->phase = VMFT_ATTACH_COMPARING;
	s->stepping = false;
	s->region = 0;
	s->word = 0;
	vmft_attach_source_pump(m);
	return 0;
}

static void cleaned_up(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;

	if (!slots_free(s) || s->summer.busy)
		return;
	close_images(m);
	s->phase = VMFT_ATTACH_IDLE;
}

static void answered(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	char why[200];
	int result;

	if (!vmft_agent_link_is_done(&m->agent))
		return;
	result = vmft_agent_link_result(&m->agent, why, sizeof(why));
	if (s->phase == VMFT_ATTACH_DROPPING) {
		if (atomic_load(&m->agent.area->op) != VMFT_AREA_DROP)
			vmft_agent_link_request(&m->agent, VMFT_AREA_DROP);
		else
			cleaned_up(m);
		return;
	}
	if (s->phase == VMFT_ATTACH_STOPPING && result == -E2BIG) {
		begin_round(m);
		return;
	}
	if (result < 0)
		vmft_attach_source_abort(m, "%s", why);
	else if (s->phase == VMFT_ATTACH_TRACKING)
		offer(m);
	else if (s->phase == VMFT_ATTACH_SCANNING)
		decide(m);
	else if (s->phase == VMFT_ATTACH_STOPPING)
		taken(m);
}

static void gate_closed(struct vmft_monitor *m)
{
	const uint64_t closed_at = atomic_load(&m->agent.iface->gate_closed_at);
	const struct vmft_event_in event = {
	    .kind = VMFT_IN_GATE_CLOSED,
	    .position = closed_at - 1,
	};

	/* A disk that failed while the gate was open did so before it was closed. */
	vmft_disk_fault_look(m);
	if (closed_at != 0 && m->core.state == VMFT_STATE_SEALING && !m->core.sealed)
		vmft_monitor_event(m, &event);
}

/* Whether a drill wants the attach to stay where it is; cleaning up is never held. */
static bool is_held(const struct vmft_attach_source *s)
{
	return s->held && s->phase != VMFT_ATTACH_IDLE && s->phase != VMFT_ATTACH_DROPPING;
}

/* What the phase can do now. */
static void pump(struct vmft_monitor *m)
{
	switch (m->source.phase) {
	case VMFT_ATTACH_TRACKING:
	case VMFT_ATTACH_SCANNING:
	case VMFT_ATTACH_STOPPING:
	case VMFT_ATTACH_DROPPING:
		answered(m);
		break;
	case VMFT_ATTACH_COMPARING:
		pump_compare(m);
		break;
	case VMFT_ATTACH_COPYING:
		pump_copy(m);
		break;
	case VMFT_ATTACH_SENDING:
		pump_point(m);
		break;
	case VMFT_ATTACH_SEALING:
		gate_closed(m);
		break;
	default:
		break;
	}
}

void vmft_attach_source_pump(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	const enum vmft_attach_phase before = s->phase;

	if (is_held(s) && !s->stepping)
		return;
	pump(m);
	if (s->phase == before)
		return;
	s->stepping = false;
	/* What the new phase can do at once it does at once. */
	if (!is_held(s))
		pump(m);
}

void vmft_attach_source_hold(struct vmft_monitor *m)
{
	m->source.held = true;
	m->source.stepping = false;
}

void vmft_attach_source_step(struct vmft_monitor *m)
{
	m->source.stepping = true;
	vmft_attach_source_pump(m);
}

void vmft_attach_source_release(struct vmft_monitor *m)
{
	m->source.held = false;
	vmft_attach_source_pump(m);
}

/* --- time ----------------------------------------------------------------- */

static void measure_rate(struct vmft_attach_source *s, uint64_t now)
{
	if (vmft_loop_since(s->window_ns, now) < RATE_WINDOW_NS)
		return;
	if (s->window_bytes > 0)
		s->bytes_per_s =
		    (uint64_t)((double)s->window_bytes * 1e9 / (double)(now - s->window_ns));
	s->window_ns = now;
	s->window_bytes = 0;
}

static void catch_up(struct vmft_monitor *m, uint64_t now)
{
	struct vmft_attach_source *s = &m->source;
	const struct vmft_event_in event = {.kind = VMFT_IN_CAUGHT_UP};
	const uint64_t sent = m->strategy_ops->taken(m->strategy);

	if (vmft_monitor_stalled_ns(m, now) > REPLAY_STALL_NS) {
		vmft_attach_source_abort(m, "the backup's replay stands still at log position %llu",
					 (unsigned long long)m->peer.replayed);
		return;
	}
	if (m->peer.replayed == m->core.held ||
	    vmft_lag_ms(&m->lag, m->peer.replayed, sent, now) > m->config.lag_ms)
		return;
	s->phase = VMFT_ATTACH_SEALING;
	s->stepping = false;
	s->seal_ns = now;
	vmft_monitor_event(m, &event);
}

/* An attach under way changes one of these all the time. */
static void watch_progress(struct vmft_monitor *m, uint64_t now)
{
	struct vmft_attach_source *s = &m->source;
	const uint64_t moved = s->phase + s->round + s->now.ram_bytes + s->now.disk_bytes +
			       s->region + s->word + s->piece_at + s->state_at + m->peer.replayed;

	if (moved != s->moved || s->held || s->phase == VMFT_ATTACH_DROPPING)
		s->moved_ns = now;
	s->moved = moved;
	if (vmft_loop_since(s->moved_ns, now) > STALL_NS)
		vmft_attach_source_abort(m, "no progress for %llu s while %s",
					 (unsigned long long)(STALL_NS / MS / 1000),
					 vmft_attach_phase_name(s->phase));
}

void vmft_attach_source_tick(struct vmft_monitor *m, uint64_t now)
{
	struct vmft_attach_source *s = &m->source;

	if (s->phase == VMFT_ATTACH_IDLE)
		return;
	measure_rate(s, now);
	watch_progress(m, now);
	if (m->config.attach_mib_per_s > 0)
		refill(m, now);
	if (s->phase == VMFT_ATTACH_CATCHING_UP && (!s->held || s->stepping))
		catch_up(m, now);
	vmft_attach_source_pump(m);
}

uint64_t vmft_attach_source_left(const struct vmft_monitor *m)
{
	const struct vmft_attach_source *s = &m->source;

	switch (s->phase) {
	case VMFT_ATTACH_COMPARING:
	case VMFT_ATTACH_COPYING:
		return s->left_bytes > s->round_bytes ? s->left_bytes - s->round_bytes : 0;
	case VMFT_ATTACH_SENDING:
		return s->now.staged_bytes - s->piece_at + s->point.state_bytes - s->state_at;
	default:
		return 0;
	}
}

/* To the attach point, if each further round brings as little as the dirty rate allows. */
uint64_t vmft_attach_source_expected_ms(const struct vmft_monitor *m)
{
	const struct vmft_attach_source *s = &m->source;
	const uint64_t left = vmft_attach_source_left(m);
	double more = 1;

	if (s->bytes_per_s == 0)
		return 0;
	if (s->dirty_per_s < s->bytes_per_s)
		more = 1 / (1 - (double)s->dirty_per_s / (double)s->bytes_per_s);
	if (more > 10)
		more = 10;
	return (uint64_t)((double)left * more * 1000 / (double)s->bytes_per_s);
}

/* --- attempts ------------------------------------------------------------- */

bool vmft_attach_source_wants_backup(const struct vmft_monitor *m, uint64_t now)
{
	const struct vmft_attach_source *s = &m->source;

	return m->core.side == VMFT_SIDE_PRIMARY && m->core.state == VMFT_STATE_ALONE &&
	       s->phase == VMFT_ATTACH_IDLE && m->strategy_ops->is_idle(m->strategy) &&
	       !m->guest_gone && !m->stopping && !m->agent_broken && now >= s->retry_ns &&
	       (m->config.reprotect == VMFT_REPROTECT_AUTO || s->asked);
}

void vmft_attach_source_begin(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	const struct vmft_event_in event = {.kind = VMFT_IN_ATTACH};

	s->begin_ns = s->window_ns = s->tokens_ns = s->moved_ns = vmft_loop_now();
	s->window_bytes = s->round_bytes = s->left_bytes = 0;
	s->bytes_per_s = s->dirty_per_s = 0;
	s->round = 0;
	s->log_flows = false;
	s->sums_ready = false;
	s->sums_unanswered = 0;
	s->now = (struct vmft_attach_figures){0};
	if (getrandom(&s->seed, sizeof(s->seed), 0) != (ssize_t)sizeof(s->seed))
		s->seed = s->begin_ns;
	/* What an earlier pair's acks allowed is void. */
	m->strategy_ops->release(m->strategy, 0, 0);
	vmft_monitor_event(m, &event);
	request(m, VMFT_AREA_TRACK, VMFT_ATTACH_TRACKING);
}

void vmft_attach_source_abort(struct vmft_monitor *m, const char *format, ...)
{
	const struct vmft_event_in lost = {.kind = VMFT_IN_PEER_LOST,
					   .why = VMFT_WHY_ATTACH_FAILED};
	va_list ap;

	if (m->core.state != VMFT_STATE_ATTACHING && m->core.state != VMFT_STATE_SEALING)
		return;
	va_start(ap, format);
	(void)vsnprintf(m->source.error, sizeof(m->source.error), format, ap);
	va_end(ap);
	vmft_channel_refuse(&m->peer.channel, m->source.error);
	vmft_monitor_event(m, &lost);
}

void vmft_attach_source_failed(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	uint64_t wait = RETRY_FIRST_NS;

	if (s->phase == VMFT_ATTACH_IDLE || s->phase == VMFT_ATTACH_DROPPING)
		return;
	/* abort() has said why; a peer that was lost says no more than the core does. */
	if (m->core.why != VMFT_WHY_ATTACH_FAILED)
		(void)snprintf(s->error, sizeof(s->error), "%s", vmft_why_text(m->core.why));
	for (uint32_t i = 0; i < s->in_a_row && wait < RETRY_LAST_NS; i++)
		wait *= 2;
	s->failures++;
	s->in_a_row++;
	s->retry_ns = vmft_loop_now() + wait;
	s->asked = false;
	s->throttle = 0;
	s->log_flows = false; /* or its lag would grow for ever, and slow the guest */
	vmft_journal_say(&m->journal, "attach failed while %s: %s; %s",
			 vmft_attach_phase_name(s->phase), s->error,
			 m->config.reprotect == VMFT_REPROTECT_AUTO ? "it will be tried again"
								    : "say \"vmft attach\" again");
	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++)
		if (s->slot[i].state == VMFT_SLOT_READY)
			s->slot[i].state = VMFT_SLOT_FREE;
	s->phase = VMFT_ATTACH_DROPPING;
	if (vmft_agent_link_is_done(&m->agent))
		vmft_agent_link_request(&m->agent, VMFT_AREA_DROP);
}

void vmft_attach_source_dropped(struct vmft_monitor *m, uint64_t now)
{
	struct vmft_attach_source *s = &m->source;

	s->dropped++;
	s->asked = false;
	s->retry_ns = now + vmft_lag_watch_retry_ns(m->config.lag_drop_ms, s->dropped);
}

void vmft_attach_source_formed(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;
	const uint64_t now = vmft_loop_now();

	s->now.total_ns = now - s->begin_ns;
	s->now.hold_ns = now - s->seal_ns;
	s->last = s->now;
	s->phase = VMFT_ATTACH_IDLE;
	s->attached++;
	s->in_a_row = 0;
	s->asked = false;
	s->error[0] = '\0';
	vmft_journal_say(&m->journal,
			 "attached in %.1f s: %.1f MB of memory, %.1f MB of disk in %u rounds; "
			 "stun %.1f ms",
			 (double)s->last.total_ns / 1e9, (double)s->last.ram_bytes / 1e6,
			 (double)s->last.disk_bytes / 1e6, s->last.rounds,
			 (double)s->last.stun_ns / 1e6);
}

int vmft_attach_source_init(struct vmft_monitor *m)
{
	struct vmft_attach_source *s = &m->source;

	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++) {
		s->slot[i].m = m;
		s->slot[i].op = (struct vmft_op){.done = on_disk_read, .owner = &s->slot[i]};
		s->slot[i].bytes = malloc(VMFT_DISK_BLOCK_BYTES);
		if (!s->slot[i].bytes)
			return -ENOMEM;
	}
	return vmft_summer_init(&s->summer, m->loop, m, on_sums);
}
