/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sink-disks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sink-parts.h"

/* Why this image cannot become a copy of that one, or "". */
static void compare(const struct vmft_image *image, const struct vmft_geometry_region *theirs,
		    char *why, size_t size)
{
	why[0] = '\0';
	if (theirs->kind != VMFT_REGION_DISK || theirs->format != image->format)
		(void)snprintf(why, size, "%s: of another format than the primary's image",
			       image->path);
	else if (theirs->guest_bytes != image->guest_bytes)
		(void)snprintf(why, size,
			       "%s: the guest sees %llu bytes of it, and %llu bytes of the "
			       "primary's image; make it as large as that",
			       image->path, (unsigned long long)image->guest_bytes,
			       (unsigned long long)theirs->guest_bytes);
}

int vmft_sink_disks_open(struct vmft_attach_sink *s)
{
	char why[200] = "";
	struct vmft_error err;

	for (uint32_t i = 0; i < s->world.disk_count && !why[0]; i++) {
		struct vmft_image *image = &s->world.disk[i];

		compare(image, &s->geometry->region[i], why, sizeof(why));
		if (!why[0] && vmft_image_open(image, true, &err) < 0)
			(void)snprintf(why, sizeof(why), "%.199s", err.text);
	}
	if (!why[0])
		return 0;
	vmft_sink_give_up(s, "%s", why);
	return -EINVAL;
}

void vmft_sink_disks_close(struct vmft_attach_sink *s)
{
	for (uint32_t i = 0; i < s->world.disk_count; i++)
		vmft_image_close(&s->world.disk[i]);
}

/* --- writing -------------------------------------------------------------- */

static void write_more(struct vmft_attach_sink_slot *slot)
{
	struct vmft_attach_sink *s = slot->sink;

	vmft_loop_write(s->world.loop, &slot->op, s->world.disk[slot->region].fd,
			slot->bytes + slot->done, slot->n - slot->done, slot->offset + slot->done);
}

static void on_written(struct vmft_op *op, int result)
{
	struct vmft_attach_sink_slot *slot = op->owner;
	struct vmft_attach_sink *s = slot->sink;

	if (result > 0)
		slot->done += (uint32_t)result;
	if (result > 0 && slot->done < slot->n && !s->leaving) {
		write_more(slot);
		return;
	}
	slot->busy = false;
	s->writing--;
	if (result <= 0 && !s->leaving)
		vmft_sink_give_up(s, "%s: cannot be written: %s", s->world.disk[slot->region].path,
				  strerror(result < 0 ? -result : EIO));
	vmft_sink_settled(s);
}

int vmft_sink_disks_write(struct vmft_attach_sink *s, uint32_t disk, uint64_t offset,
			  const uint8_t *bytes, size_t n)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SINK_SLOTS; i++) {
		struct vmft_attach_sink_slot *slot = &s->slot[i];

		if (slot->busy)
			continue;
		memcpy(slot->bytes, bytes, n);
		slot->busy = true;
		slot->region = disk;
		slot->offset = offset;
		slot->n = (uint32_t)n;
		slot->done = 0;
		s->writing++;
		write_more(slot);
		return 0;
	}
	return -ENOSPC;
}

void vmft_sink_disks_zero(struct vmft_attach_sink *s, uint32_t disk, uint64_t offset, uint64_t n)
{
	const struct vmft_image *image = &s->world.disk[disk];
	const int rc = vmft_image_zero(image, offset, n);

	if (rc < 0)
		vmft_sink_give_up(s, "%s: cannot be written: %s", image->path, strerror(-rc));
}

bool vmft_sink_disks_cut(struct vmft_attach_sink *s)
{
	for (uint32_t i = 0; i < s->world.disk_count; i++) {
		const struct vmft_image *image = &s->world.disk[i];

		if (image->is_device || image->read_only || s->point.disk_bytes[i] == 0)
			continue;
		if (ftruncate(image->fd, (off_t)s->point.disk_bytes[i]) < 0) {
			vmft_sink_give_up(s, "%s: cannot be made as long as the primary's: %s",
					  image->path, strerror(errno));
			return false;
		}
	}
	return true;
}

/* --- durability ----------------------------------------------------------- */

static void on_synced(struct vmft_op *op, int result)
{
	struct vmft_attach_sink_sync *sync = op->owner;
	struct vmft_attach_sink *s = sync->sink;

	s->syncing--;
	if (result < 0 && !s->leaving)
		vmft_sink_give_up(s, "%s: cannot be made durable: %s",
				  s->world.disk[sync->disk].path, strerror(-result));
	vmft_sink_settled(s);
}

/*
 * The guest has been told of most of what is copied that it is durable, so it must be durable here
 * before the guest can go live here. It is begun after each round, so that little is left at the
 * attach point.
 */
void vmft_sink_disks_sync(struct vmft_attach_sink *s)
{
	if (s->syncing > 0)
		return;
	for (uint32_t i = 0; i < s->world.disk_count; i++) {
		if (s->world.disk[i].read_only)
			continue;
		s->syncing++;
		vmft_loop_sync(s->world.loop, &s->sync[i].op, s->world.disk[i].fd);
	}
}

int vmft_sink_disks_init(struct vmft_attach_sink *s)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SINK_SLOTS; i++) {
		s->slot[i].sink = s;
		s->slot[i].op = (struct vmft_op){.done = on_written, .owner = &s->slot[i]};
		s->slot[i].bytes = malloc(VMFT_DISK_BLOCK_BYTES);
		if (!s->slot[i].bytes)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < VMFT_AREA_DISKS_MAX; i++) {
		s->sync[i].sink = s;
		s->sync[i].disk = i;
		s->sync[i].op = (struct vmft_op){.done = on_synced, .owner = &s->sync[i]};
	}
	return 0;
}

void vmft_sink_disks_fini(struct vmft_attach_sink *s)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SINK_SLOTS; i++) {
		free(s->slot[i].bytes);
		s->slot[i].bytes = NULL;
	}
}
