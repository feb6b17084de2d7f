/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest, and what it really did. Each event changes its memory, now and then its disk, and some
 * send a frame; all of it follows from the event's value alone, so that who replays comes to the
 * same. The truth keeps what the guest in charge was after each event, and what its memory and disk
 * were when a state was taken of it.
 */
#include "shell.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { TRUTHS = 8192, TAKEN = 64, WRITES_EACH = 3, FRAMES_EACH = 3 };

static struct truth {
	uint64_t count, digest, position, frames;
} truths[TRUTHS];

static struct taken {
	uint64_t position, hash;
	struct guest guest;
} taken[TAKEN];

struct guest *guest_of(int host)
{
	return (void *)world.host[host].ram.bytes;
}

static void mark_ram(struct qemu *q, unsigned page)
{
	if (!q->tracks || (world.spoil == SPOIL_LOST_MARK && page > 0 && one_in(16)))
		return;
	q->dirty_ram |= UINT64_C(1) << page;
}

static void write_disk(int host, const struct guest *g)
{
	struct host *h = &world.host[host];
	const uint64_t at = g->count / WRITES_EACH * 1000 % (DISK_BYTES - 8) / 8 * 8;

	memcpy(h->disk.bytes + at, &g->digest, sizeof(g->digest));
	file_wrote(&h->disk, at, sizeof(g->digest));
	if (h->q.tracks)
		h->q.dirty_disk |= UINT64_C(1) << (at / VMFT_DISK_PART_BYTES);
}

bool guest_step(int host, uint64_t value)
{
	struct host *h = &world.host[host];
	struct guest *g = guest_of(host);
	unsigned page;

	g->count++;
	g->digest = mix(g->digest ^ value ^ g->count);
	page = 1 + (unsigned)(g->count % (RAM_PAGES - 3)); /* some are never used */
	memcpy(h->ram.bytes + page * VMFT_RAM_BLOCK_BYTES + g->count / RAM_PAGES % 512 * 8,
	       &g->digest, sizeof(g->digest));
	mark_ram(&h->q, 0);
	mark_ram(&h->q, page);
	if (g->count % WRITES_EACH == 0)
		write_disk(host, g);
	if (g->digest % FRAMES_EACH != 0)
		return false;
	g->frames++;
	return true;
}

void file_wrote(struct file *file, uint64_t at, uint64_t n)
{
	for (uint64_t part = at / VMFT_DISK_PART_BYTES;
	     part < DISK_PARTS && part * VMFT_DISK_PART_BYTES < at + n; part++)
		file->stale |= UINT64_C(1) << part;
}

/* Whoever writes to an image says so, and most of it is not hashed again each time. */
uint64_t disk_hash(int host)
{
	static uint64_t hash[HOSTS][DISK_PARTS];
	struct file *disk = &world.host[host].disk;

	for (unsigned i = 0; i < DISK_PARTS; i++) {
		const uint64_t at = i * VMFT_DISK_PART_BYTES;
		const uint64_t left = DISK_BYTES - at;

		if (disk->stale >> i & 1)
			hash[host][i] =
			    XXH3_64bits(disk->bytes + at,
					left < VMFT_DISK_PART_BYTES ? left : VMFT_DISK_PART_BYTES);
	}
	disk->stale = 0;
	return XXH3_64bits_withSeed(hash[host], sizeof(hash[host]), disk->size);
}

uint64_t guest_hash(int host)
{
	return XXH3_64bits(world.host[host].ram.bytes, RAM_BYTES) ^ disk_hash(host);
}

/* --- what it really did ------------------------------------------------------------ */

void truth_reset(void)
{
	memset(taken, 0, sizeof(taken));
	truths[0] = (struct truth){0};
}

void truth_started(int host)
{
	/* One that was told to before the other side went live is a bit late. */
	if (world.ran)
		return;
	world.ran = true;
	world.recorder = host;
}

void truth_ran(int host, uint64_t position)
{
	const struct guest *g = guest_of(host);

	if (host != world.recorder)
		return;
	truths[g->count % TRUTHS] = (struct truth){
	    .count = g->count,
	    .digest = g->digest,
	    .position = position,
	    .frames = g->frames,
	};
}

static const struct truth *truth_of(uint64_t count)
{
	const struct truth *t = &truths[count % TRUTHS];

	return t->count == count ? t : NULL;
}

static void compare(int host, const char *what)
{
	const struct guest *g = guest_of(host);
	const struct truth *t = truth_of(g->count);

	if (world.host[host].q.diverged)
		return;
	if (!t || t->digest != g->digest)
		broken("the backup's guest is the primary's", "host %d at event %llu, %s", host,
		       (unsigned long long)g->count, what);
}

void truth_replayed(int host, uint64_t position)
{
	const struct truth *t = truth_of(guest_of(host)->count);

	compare(host, "replayed");
	if (t && t->position != position && !world.host[host].q.diverged)
		broken("the backup's log is the primary's", "host %d: event %llu ends at %llu",
		       host, (unsigned long long)t->count, (unsigned long long)position);
}

void truth_took(int host, uint64_t position)
{
	if (host != world.recorder)
		return;
	taken[position % TAKEN] = (struct taken){
	    .position = position,
	    .hash = guest_hash(host),
	    .guest = *guest_of(host),
	};
}

void truth_loaded(int host, uint64_t position)
{
	const struct taken *t = &taken[position % TAKEN];

	if (t->position != position || t->hash != guest_hash(host))
		broken("memory and disk are those of the state",
		       "host %d at %llu: event %llu, not %llu", host, (unsigned long long)position,
		       (unsigned long long)guest_of(host)->count,
		       (unsigned long long)t->guest.count);
	compare(host, "loaded");
}

void truth_live(int host, uint64_t position)
{
	const struct guest *g = guest_of(host);
	const struct host *old = &world.host[world.recorder];

	compare(host, "live");
	world.tally->go_lives++;
	if (world.host[host].q.diverged)
		broken("a guest that diverged never goes live", "host %d", host);
	if (world.single && world.last == FAULT_SHUTDOWN)
		broken("an orderly end is the end", "host %d brings the guest back to life", host);
	if (g->frames < world.seen)
		broken("nothing that was seen outside is lost",
		       "host %d is live after frame %llu, %llu was seen", host,
		       (unsigned long long)g->frames, (unsigned long long)world.seen);
	if (position < world.formed_held && world.formed_generation + 1 == arbiter_latest() &&
	    position < old->acked)
		broken("who goes live has all that was acknowledged", "host %d: %llu of %llu", host,
		       (unsigned long long)position, (unsigned long long)old->acked);
	note("host %d is live at %llu, event %llu, frame %llu", host, (unsigned long long)position,
	     (unsigned long long)g->count, (unsigned long long)g->frames);
	world.ran = true;
	world.recorder = host;
	world.live_from = g->frames;
}
