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
#include "ram.h"
#include "state.h"
#include "track.h"

struct memory {
	uint8_t *host; /* its address in QEMU; NULL: it was not moved */
	uint8_t *aside;
	size_t bytes;
	uint64_t at; /* in the memfd */
};

struct memories {
	unsigned count;
	struct memory memory[VMFT_RAM_PARTS_MAX];
};

/* The mapping has no access at first, and is unlocked before it gets access: with -overcommit
 * mem-lock=on the kernel would else copy all of it at once. */
static bool put_copy(const struct memory *memory)
{
	return vmft_libc_mmap64(memory->host, memory->bytes, PROT_NONE,
				MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, vmft_agent.ram_fd,
				(off64_t)memory->at) == memory->host &&
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
	void *aside = vmft_libc_mmap64(NULL, memory->bytes, PROT_NONE,
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

static int set_aside(const struct vmft_region *region, struct memories *memories)
{
	struct memory *memory = &memories->memory[memories->count];
	int rc;

	if (memories->count == VMFT_RAM_PARTS_MAX)
		return vmft_track_fail(-E2BIG, "the guest has too many memories");
	*memory = (struct memory){
	    .host = vmft_track_host(region),
	    .bytes = region->bytes,
	    .at = region->shadow_at,
	};
	if (!memory->host)
		return vmft_track_fail(-ENOENT, "the guest's memory has changed its layout");
	memories->count++;
	rc = move_aside(memory);
	if (rc < 0 || put_copy(memory))
		return rc;
	return vmft_track_fail(-ENOMEM, "no room for a copy of guest memory");
}

static int set_all_aside(struct vmft_area *area, struct memories *memories)
{
	const uint32_t count = atomic_load(&area->region_count);
	int rc = 0;

	for (uint32_t i = area->disk_count; rc == 0 && i < count && i < VMFT_AREA_REGIONS_MAX; i++)
		if (area->region[i].kind == VMFT_REGION_RAM)
			rc = set_aside(&area->region[i], memories);
	if (rc == 0 && memories->count == 0)
		rc = vmft_track_fail(-ENOENT, "the guest's memory has changed its layout");
	return rc;
}

static int move_all_back(const struct memories *memories)
{
	int rc = 0;

	for (unsigned i = 0; i < memories->count; i++) {
		const int one = move_back(&memories->memory[i]);

		rc = rc < 0 ? rc : one;
	}
	return rc;
}

/* While the flash is read-only, the load leaves nothing in QEMU that a reset does not undo
 * (qemu/flash.c). */
static int load_and_forget(void)
{
	struct vmft_qemu_flashes flashes;
	int rc;

	if (vmft_qemu_flashes_find(&flashes) < 0)
		return vmft_track_fail(-ENOTSUP, "the guest has flash memory that is not known");
	vmft_qemu_flashes_lock(&flashes, true);
	rc = vmft_state_load();
	vmft_qemu_flashes_lock(&flashes, false);
	vmft_qemu_reset_for_load();
	return rc;
}

int vmft_prove_load(struct vmft_area *area)
{
	struct memories memories = {0};
	int rc = vmft_state_put(area), back;

	if (rc == 0)
		rc = set_all_aside(area, &memories);
	if (rc == 0)
		rc = load_and_forget();
	back = move_all_back(&memories);
	return rc < 0 ? rc : back;
}
