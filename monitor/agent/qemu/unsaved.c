/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * port.h: what devices keep that is in no saved state and that a reset does not change.
 * docs/qemu.md has the list of all devices.
 */
#include "inside.h"

#include <errno.h>

/* The end of VirtIORNG (include/hw/virtio/virtio-rng.h), from the field RNG_LIMIT on. */
struct rng_limit {
	uint64_t max_bytes;
	uint64_t period_ms; /* 32 bits and padding */
	void *backend;
	void *timer;
	int64_t quota_remaining;
	bool activate_timer;
};

/* The end of IOAPICCommonState (include/hw/i386/ioapic_internal.h), from the field IOAPIC_STORM on.
 */
struct ioapic_storm {
	int32_t irq_eoi[24];
	void *timer;
};

static void *at_field(void *device, enum vmft_qemu_field_id id)
{
	return (uint8_t *)device + vmft_qemu.place[id].offset;
}

static struct rng_limit *rng_limit(void *rng)
{
	return at_field(rng, VMFT_QEMU_RNG_LIMIT);
}

static struct ioapic_storm *ioapic_storm(void *ioapic)
{
	return at_field(ioapic, VMFT_QEMU_IOAPIC_STORM);
}

/* Whether a pointer is where the series has it: it points to a timer, and the timer's callback is
 * given the device. */
static bool is_timer_of(const void *timer, const void *device)
{
	return timer && vmft_qemu_field_get(timer, VMFT_QEMU_TIMER_OPAQUE) == (uintptr_t)device;
}

static bool rng_is_known(void *rng)
{
	return is_timer_of(rng_limit(rng)->timer, rng);
}

/* The timer gives the guest its quota again. The first request after the timer has fired arms it
 * (virtio_rng_process(), check_rate_limit()). */
static void rng_forget(void *rng)
{
	struct rng_limit *limit = rng_limit(rng);

	vmft_qemu.symbols.timer_del(limit->timer);
	limit->quota_remaining = (int64_t)limit->max_bytes;
	limit->activate_timer = true;
}

static bool ioapic_is_known(void *ioapic)
{
	return is_timer_of(ioapic_storm(ioapic)->timer, ioapic);
}

/* The device counts interrupts that come again at once. After 10000 in a row a timer delays them
 * (ioapic_eoi_broadcast()). */
static void ioapic_forget(void *ioapic)
{
	struct ioapic_storm *storm = ioapic_storm(ioapic);

	vmft_qemu.symbols.timer_del(storm->timer);
	memset(storm->irq_eoi, 0, sizeof(storm->irq_eoi));
}

/* The load adds a device that is addressed to the list of those devices (i2c_slave_post_load()),
 * where it is already. */
static void i2c_forget(void *bus)
{
	vmft_qemu.symbols.i2c_end_transfer(bus);
}

static const struct kind {
	const char *type;
	bool (*is_known)(void *device); /* whether forget() finds what it needs */
	void (*forget)(void *device);
} kinds[] = {
    {"virtio-rng-device", rng_is_known, rng_forget},
    {"ioapic", ioapic_is_known, ioapic_forget},
    {"i2c-bus", NULL, i2c_forget},
};

static int look_at(void *object, void *user)
{
	struct vmft_qemu_unsaved *found = user;

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!vmft_qemu.symbols.object_dynamic_cast(object, kinds[i].type))
			continue;
		if (found->count == VMFT_QEMU_UNSAVED_MAX)
			return -E2BIG;
		if (kinds[i].is_known && !kinds[i].is_known(object))
			return -ENOTSUP;
		found->kind[found->count] = i;
		found->device[found->count++] = object;
		break;
	}
	return 0;
}

int vmft_qemu_unsaved_find(struct vmft_qemu_unsaved *ret)
{
	const struct vmft_qemu_symbols *q = &vmft_qemu.symbols;

	ret->count = 0;
	return q->object_child_foreach_recursive(q->qdev_get_machine(), look_at, ret);
}

void vmft_qemu_unsaved_forget(const struct vmft_qemu_unsaved *found)
{
	for (unsigned i = 0; i < found->count; i++)
		kinds[found->kind[i]].forget(found->device[i]);
}
