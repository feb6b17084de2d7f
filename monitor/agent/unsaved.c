/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What devices keep that is in no saved state, and that a reset leaves as it is. At a lockstep
 * attach point it is made what it is in a QEMU that has just started, as the backup's has: else a
 * timer would go off on one side only, and the replay of the log would wait for it for ever.
 * docs/qemu.md has the list of all devices.
 */
#define _GNU_SOURCE
#include "unsaved.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "agent.h"
#include "qemu.h"
#include "track.h"

/* QEMUTimer.opaque (include/qemu/timer.h of QEMU 7.2): what its callback is given. */
#define QEMU_TIMER_OPAQUE 24

/* The end of VirtIORNG (include/hw/virtio/virtio-rng.h). */
struct rng_limit {
	uint64_t max_bytes;
	uint64_t period_ms; /* 32 bits and padding */
	void *backend;
	void *timer;
	int64_t quota_remaining;
	bool activate_timer;
};

/* The end of IOAPICCommonState (include/hw/i386/ioapic_internal.h). */
struct ioapic_storm {
	int32_t irq_eoi[24];
	void *timer;
};

static struct rng_limit *rng_limit(void *rng)
{
	return (void *)((uint8_t *)rng + vmft_agent.rng_offset);
}

static struct ioapic_storm *ioapic_storm(void *ioapic)
{
	return (void *)((uint8_t *)ioapic + vmft_agent.ioapic_offset);
}

/* That a pointer is where this build is expected to have it is known by what it points back to. */
static bool is_timer_of(const uint8_t *timer, const void *device)
{
	const void *opaque;

	if (!timer)
		return false;
	memcpy(&opaque, timer + QEMU_TIMER_OPAQUE, sizeof(opaque));
	return opaque == device;
}

static bool rng_is_known(void *rng)
{
	return is_timer_of(rng_limit(rng)->timer, rng);
}

/* The timer that gives the guest its quota anew; armed by the first request after it has fired
 * (virtio_rng_process(), check_rate_limit()). */
static void rng_forget(void *rng)
{
	struct rng_limit *limit = rng_limit(rng);

	vmft_agent.qemu.timer_del(limit->timer);
	limit->quota_remaining = (int64_t)limit->max_bytes;
	limit->activate_timer = true;
}

static bool ioapic_is_known(void *ioapic)
{
	return is_timer_of(ioapic_storm(ioapic)->timer, ioapic);
}

/* Interrupts that came again at once are counted; after 10000 in a row a timer delays them
 * (ioapic_eoi_broadcast()). */
static void ioapic_forget(void *ioapic)
{
	struct ioapic_storm *storm = ioapic_storm(ioapic);

	vmft_agent.qemu.timer_del(storm->timer);
	memset(storm->irq_eoi, 0, sizeof(storm->irq_eoi));
}

/* A device that is addressed is added to those that are as its state is loaded
 * (i2c_slave_post_load()); it is one of them already. */
static void i2c_forget(void *bus)
{
	vmft_agent.qemu.i2c_end_transfer(bus);
}

static const struct kind {
	const char *type;
	bool (*is_known)(void *device); /* what forget() relies on is there */
	void (*forget)(void *device);
} kinds[] = {
    {"virtio-rng-device", rng_is_known, rng_forget},
    {"ioapic", ioapic_is_known, ioapic_forget},
    {"i2c-bus", NULL, i2c_forget},
};

static int look_at(void *object, void *user)
{
	struct vmft_unsaved *found = user;

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!vmft_agent.qemu.object_cast(object, kinds[i].type))
			continue;
		if (found->count == VMFT_UNSAVED_MAX)
			return -E2BIG;
		if (kinds[i].is_known && !kinds[i].is_known(object))
			return -ENOTSUP;
		found->kind[found->count] = i;
		found->device[found->count++] = object;
		break;
	}
	return 0;
}

int vmft_unsaved_find(struct vmft_unsaved *ret)
{
	struct vmft_qemu *q = &vmft_agent.qemu;

	ret->count = 0;
	switch (q->object_each(q->machine(), look_at, ret)) {
	case 0:
		return 0;
	case -E2BIG:
		return vmft_track_fail(-E2BIG, "more devices than a backup can be made equal to");
	default:
		return vmft_track_fail(-ENOTSUP,
				       "a device of this QEMU is not laid out as is known of 7.2");
	}
}

void vmft_unsaved_forget(const struct vmft_unsaved *found)
{
	for (unsigned i = 0; i < found->count; i++)
		kinds[found->kind[i]].forget(found->device[i]);
}
