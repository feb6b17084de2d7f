/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "console.h"

#include <inttypes.h>
#include <string.h>

#include "logging-channel/loop.h"

#define QUIET_NS UINT64_C(60000000000)

bool vmft_console_begins(struct vmft_console_watch *watch, uint64_t dropped, uint64_t now)
{
	const bool rises = dropped != watch->seen;
	const bool rose = watch->dropped_ns != 0 && now - watch->dropped_ns < QUIET_NS;

	watch->seen = dropped;
	if (rises)
		watch->dropped_ns = now;
	return rises && !rose;
}

void vmft_console_look(struct vmft_console_watch *watch, const struct vmft_iface *iface,
		       struct vmft_journal *journal)
{
	const uint64_t dropped = atomic_load(&iface->console_dropped);
	const uint32_t error = atomic_load(&iface->console_error);

	if (!vmft_console_begins(watch, dropped, vmft_loop_now()))
		return;
	vmft_journal_say(journal,
			 "a serial console drops output (%s): %" PRIu64
			 " bytes until now; the guest does not wait for it",
			 error ? strerror((int)error) : "its reader does not read", dropped);
}
