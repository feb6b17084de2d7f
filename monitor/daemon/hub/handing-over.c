/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "handing-over.h"

#include "monitor.h"

static bool on_is_guest_gone(void *user)
{
	const struct vmft_monitor *m = user;

	return m->guest_ended || m->guest_gone;
}

static uint64_t on_lag_ms(void *user, uint64_t now)
{
	return vmft_monitor_lag_ms(user, now);
}

static void on_event(void *user, const struct vmft_event_in *event)
{
	vmft_monitor_event(user, event);
}

static void on_agent_broken(void *user)
{
	vmft_monitor_agent_broken(user);
}

void vmft_handing_over_init(struct vmft_monitor *m)
{
	const struct vmft_handover_world world = {
	    .link = &m->agent,
	    .channel = &m->peer.channel,
	    .worker = m->worker,
	    .ops = m->strategy_ops,
	    .strategy = m->strategy,
	    .core = &m->core,
	    .config = &m->config,
	    .journal = &m->journal,
	    .is_guest_gone = on_is_guest_gone,
	    .lag_ms = on_lag_ms,
	    .event = on_event,
	    .agent_broken = on_agent_broken,
	    .user = m,
	};

	vmft_handover_init(&m->handover, &world);
}
