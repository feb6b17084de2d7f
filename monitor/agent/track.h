/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is written to the guest's memory and images, as marks in the shared area. Where nothing else
 * is said: main loop; 0 or a negative errno, the reason in area->error.
 */
#ifndef VMFT_AGENT_TRACK_H
#define VMFT_AGENT_TRACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "monitor/interface.h"

struct vmft_agent_disk {
	uint64_t device, inode; /* of a block device: its own number and 0 */
	int fd;			/* main loop: where QEMU had it open last; 0: not known */
};

struct vmft_track {
	/* device and inode are set by the constructor. */
	struct vmft_agent_disk disk[VMFT_AREA_DISKS_MAX];
	unsigned disk_count;
	bool dirty_log;	   /* main loop: QEMU's is on */
	atomic_bool disks; /* what is written to images is marked */
	/* Main loop. Regions of which QEMU does not mark what is written: a bit each. It writes the
	 * same to an image. */
	uint64_t unmarked;
	atomic_bool image_written; /* since such regions were compared last */
};

extern struct vmft_track vmft_track;

/* QEMU's call that wrote to fd has returned, whatever it returned. Any thread; errno is kept. */
void vmft_track_written(int fd, uint64_t offset, uint64_t n);
/* Stores why a request fails. Returns rc. */
int vmft_track_fail(int rc, const char *what);
/* Lists the regions of the guest's memory in the area. */
int vmft_track_describe(struct vmft_area *area);
/* Begins to mark. */
int vmft_track_begin(struct vmft_area *area);
/* Marks what was written to memory since the last call, and counts all marks. */
int vmft_track_scan(struct vmft_area *area);
/* Ends marking. Always 0. */
int vmft_track_end(void);
int vmft_track_disk_of(int fd); /* the image that fd is open on, or -1; any thread */
void vmft_track_mark(struct vmft_region *region, uint64_t first, uint64_t last); /* blocks */
/* Where the memory of that region is; NULL: QEMU has none of that name and size. */
uint8_t *vmft_track_host(const struct vmft_region *region);
/* Calls visit for each RAM region with the address of its memory; an error ends it. */
int vmft_track_each_ram(struct vmft_area *area,
			int (*visit)(struct vmft_area *area, struct vmft_region *region,
				     uint8_t *host));
/* For vmft_track_each_ram(): copies a shadow from the area into the guest's memory. */
int vmft_track_apply_shadow(struct vmft_area *area, struct vmft_region *region, uint8_t *host);

#endif
