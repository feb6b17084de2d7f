/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * port.h: the flash that firmware is in, and in which it keeps its variables
 * (hw/block/pflash_cfi01.c). Three things of it are not as for other memory:
 *
 * - The device writes its memory through a pointer and does not mark it as written. After each
 *   change it writes the same bytes to its image, in the same access of the guest.
 * - When a state is loaded, the device registers a handler that writes all of the flash to the
 * image as soon as the guest runs, and deletes the handler. A second load registers a second
 * handler, and the first handler deletes the second one: QEMU would call a handler that was freed.
 * - Whether reads go to the memory or to the device (ROMD mode) is not in the state. QEMU 10.0.13
 *   derives it from the device's command when it loads; older releases keep what it was before.
 */
#include "inside.h"

#include <errno.h>

/* wcycle, ro, cmd: a byte each (struct PFlashCFI01). */
static bool places_are_known(void)
{
	return vmft_qemu.place[VMFT_QEMU_FLASH_COMMAND].offset ==
	       vmft_qemu.place[VMFT_QEMU_FLASH_CYCLE].offset + 2;
}

static uint8_t *read_only_of(void *device)
{
	return (uint8_t *)device + vmft_qemu.place[VMFT_QEMU_FLASH_CYCLE].offset + 1;
}

static uint8_t *command_of(void *device)
{
	return (uint8_t *)device + vmft_qemu.place[VMFT_QEMU_FLASH_COMMAND].offset;
}

static int look_at(void *object, void *user)
{
	struct vmft_qemu_flashes *found = user;
	struct vmft_qemu_flash *flash = &found->flash[found->count];

	if (!vmft_qemu.symbols.object_dynamic_cast(object, "cfi.pflash01"))
		return 0;
	if (found->count == VMFT_QEMU_FLASHES_MAX)
		return -E2BIG;
	if (!places_are_known() || *read_only_of(object) > 1)
		return -ENOTSUP;
	flash->device = object;
	/* The board gives the device and its memory one name (pc_system_flash_create()). */
	flash->name = vmft_qemu.symbols.object_get_canonical_path_component(object);
	flash->writable = *read_only_of(object) == 0;
	found->count++;
	return 0;
}

int vmft_qemu_flashes_find(struct vmft_qemu_flashes *ret)
{
	const struct vmft_qemu_symbols *q = &vmft_qemu.symbols;

	ret->count = 0;
	return q->object_child_foreach_recursive(q->qdev_get_machine(), look_at, ret);
}

void vmft_qemu_flashes_lock(const struct vmft_qemu_flashes *flashes, bool lock)
{
	for (unsigned i = 0; i < flashes->count; i++)
		if (flashes->flash[i].writable)
			*read_only_of(flashes->flash[i].device) = lock;
}

void vmft_qemu_flash_loaded(const struct vmft_qemu_flash *flash, uint8_t *host)
{
	const struct vmft_qemu_symbols *q = &vmft_qemu.symbols;
	const bool reads_array = vmft_qemu_field_get(flash->device, VMFT_QEMU_FLASH_CYCLE) == 0 &&
				 *command_of(flash->device) == 0;
	uint64_t offset;
	void *region = q->memory_region_from_host(host, &offset);

	if (region)
		q->memory_region_rom_device_set_romd(region, reads_array);
}
