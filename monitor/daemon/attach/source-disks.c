/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source-disks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "marks.h"
#include "source-frames.h"

/* Why a read is no good, or 0. A read is short only at the end of the file, which may have moved
 * since. */
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

static void on_read(struct vmft_op *op, int result)
{
	struct vmft_attach_source_slot *slot = op->owner;
	struct vmft_attach_source *s = slot->source;
	const struct vmft_image *image = &s->world.disk[slot->region];
	int rc;

	slot->state = VMFT_SLOT_FREE;
	if (s->phase != VMFT_ATTACH_COPYING) {
		vmft_attach_source_pump(s);
		return;
	}
	rc = check_read(slot, image, result);
	if (rc < 0) {
		vmft_attach_source_abort(s, "%s: cannot be read: %s", image->path,
					 rc == -ERANGE ? "its size changes" : strerror(-rc));
		return;
	}
	if (result > 0)
		slot->state = VMFT_SLOT_READY;
	slot->n = (uint32_t)result;
	vmft_attach_source_pump(s);
}

int vmft_source_disks_init(struct vmft_attach_source *s)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++) {
		s->slot[i].source = s;
		s->slot[i].op = (struct vmft_op){.done = on_read, .owner = &s->slot[i]};
		s->slot[i].bytes = malloc(VMFT_DISK_BLOCK_BYTES);
		if (!s->slot[i].bytes)
			return -ENOMEM;
	}
	return 0;
}

void vmft_source_disks_fini(struct vmft_attach_source *s)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++) {
		free(s->slot[i].bytes);
		s->slot[i].bytes = NULL;
	}
}

int vmft_source_disks_open(struct vmft_attach_source *s)
{
	struct vmft_error err;

	for (uint32_t i = 0; i < s->world.disk_count; i++) {
		int rc = vmft_image_open(&s->world.disk[i], false, &err);

		if (rc < 0) {
			vmft_attach_source_abort(s, "%s", err.text);
			return rc;
		}
	}
	return 0;
}

void vmft_source_disks_close(struct vmft_attach_source *s)
{
	for (uint32_t i = 0; i < s->world.disk_count; i++)
		vmft_image_close(&s->world.disk[i]);
}

int64_t vmft_source_disks_bytes(struct vmft_attach_source *s, uint32_t disk)
{
	const struct vmft_image *image = &s->world.disk[disk];
	const int64_t bytes = vmft_image_file_bytes(image);

	if (bytes < 0)
		vmft_attach_source_abort(s, "%s: its length cannot be read: %s", image->path,
					 strerror((int)-bytes));
	return bytes;
}

static struct vmft_attach_source_slot *free_slot(struct vmft_attach_source *s)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++)
		if (s->slot[i].state == VMFT_SLOT_FREE)
			return &s->slot[i];
	return NULL;
}

bool vmft_source_disks_read(struct vmft_attach_source *s, uint64_t block)
{
	struct vmft_attach_source_slot *slot = free_slot(s);

	if (!slot)
		return false;
	/* Cleared before the block is read: what the guest writes from now on is marked again. */
	vmft_marks_clear(s->world.link, s->region, block, 1);
	slot->state = VMFT_SLOT_READING;
	slot->region = s->region;
	slot->offset = block * VMFT_DISK_BLOCK_BYTES;
	vmft_loop_read(s->world.loop, &slot->op, s->world.disk[slot->region].fd, slot->bytes,
		       VMFT_DISK_BLOCK_BYTES, slot->offset);
	return true;
}

void vmft_source_disks_send(struct vmft_attach_source *s)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++) {
		struct vmft_attach_source_slot *slot = &s->slot[i];
		uint8_t *payload;

		if (slot->state != VMFT_SLOT_READY || !vmft_source_frames_may_send(s))
			continue;
		payload = vmft_source_frames_room(s, VMFT_CHUNK_HEAD + slot->n);
		if (!payload)
			return;
		memcpy(payload + VMFT_CHUNK_HEAD, slot->bytes, slot->n);
		vmft_source_frames_block(s, slot->region, slot->offset, payload, slot->n);
		slot->state = VMFT_SLOT_FREE;
	}
}

bool vmft_source_disks_are_idle(const struct vmft_attach_source *s)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++)
		if (s->slot[i].state != VMFT_SLOT_FREE)
			return false;
	return true;
}

void vmft_source_disks_forget(struct vmft_attach_source *s)
{
	for (unsigned i = 0; i < VMFT_ATTACH_SOURCE_SLOTS; i++)
		if (s->slot[i].state == VMFT_SLOT_READY)
			s->slot[i].state = VMFT_SLOT_FREE;
}
