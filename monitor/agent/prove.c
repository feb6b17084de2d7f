/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backup of a checkpointed guest loads a state when it goes live. Then it is too late to find
 * out that this host cannot load it, because its processor or its tap differs from the primary's.
 * So the first state is loaded as soon as it has arrived, and then forgotten.
 *
 * To forget it the machine is reset; any state may be loaded after a reset. QEMU resets it too
 * before it loads a snapshot into a machine that has run (load_snapshot() in migration/savevm.c),
 * and did so when it came up. Load and reset happen in one bottom half, so no timer of the loaded
 * state runs between them. The reset does not change guest memory, because QEMU waits for a state
 * (RUN_STATE_INMIGRATE in rom_reset()).
 *
 * But devices write to guest memory while they are loaded, and the epochs that follow are
 * differences to what the primary has sent. So guest memory is moved aside while the state is
 * loaded. A private copy of it is mapped in its place, of which the kernel keeps only the pages
 * that are written. The other regions are overwritten from their copies when the guest goes live.
 */
#define _GNU_SOURCE
#include "prove.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include "agent.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "state.h"
#include "track.h"

struct memory {
	uint8_t *host; /* its address in QEMU; NULL: it was not moved */
	uint8_t *aside;
	size_t bytes;
};

/* The mapping has no access at first, and is unlocked before it gets access: with -overcommit
 * mem-lock=on the kernel would else copy all of it at once. */
static bool put_copy(const struct memory *memory)
{
	return mmap(memory->host, memory->bytes, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
		    vmft_agent.ram_fd, 0) == memory->host &&
	       munlock(memory->host, memory->bytes) == 0 &&
	       mprotect(memory->host, memory->bytes, PROT_READ | PROT_WRITE) == 0;
}

/* The mapping is moved, not made again, so that it keeps what QEMU has set (madvise(), mlock()). */
static int move_back(const struct memory *memory)
{
	if (!memory->host)
		return 0;
	if (mremap(memory->aside, memory->bytes, memory->bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
		   memory->host) == memory->host)
		return 0;
	vmft_agent_broken("guest memory cannot be put back in its place");
	return -EFAULT;
}

static int move_aside(struct memory *memory)
{
	void *aside = mmap(NULL, memory->bytes, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *host = memory->host;

	memory->host = NULL;
	if (aside == MAP_FAILED)
		return vmft_track_fail(-errno, "guest memory cannot be moved aside");
	if (mremap(host, memory->bytes, memory->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, aside) !=
	    aside) {
		const int rc = -errno;

		(void)munmap(aside, memory->bytes);
		return vmft_track_fail(rc, "guest memory cannot be moved aside");
	}
	memory->aside = aside;
	memory->host = host;
	return 0;
}

static int set_aside(struct vmft_area *area, struct memory *ret)
{
	const uint32_t count = atomic_load(&area->region_count);
	int rc;

	*ret = (struct memory){0};
	for (uint32_t i = area->disk_count; i < count && i < VMFT_AREA_REGIONS_MAX; i++) {
		uint8_t *host;

		if (area->region[i].kind != VMFT_REGION_RAM)
			continue;
		host = vmft_track_host(&area->region[i]);
		if (!host)
			break;
		ret->host = host;
		ret->bytes = area->region[i].bytes;
		rc = move_aside(ret);
		if (rc < 0 || put_copy(ret))
			return rc;
		return vmft_track_fail(-ENOMEM, "no room for a copy of guest memory");
	}
	return vmft_track_fail(-ENOENT, "the guest's memory has changed its layout");
}

int vmft_prove_load(struct vmft_area *area)
{
	struct memory memory;
	int rc = vmft_state_put(area), back;

	if (rc == 0)
		rc = set_aside(area, &memory);
	else
		memory = (struct memory){0};
	if (rc == 0) {
		rc = vmft_state_load();
		vmft_qemu_reset_for_load();
	}
	back = move_back(&memory);
	return rc < 0 ? rc : back;
}
