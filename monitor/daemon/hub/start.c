/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A monitor's start and end: what is opened, in which order, and given back. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "arbitration.h"
#include "frames.h"
#include "guest.h"
#include "handing-over.h"
#include "monitor.h"
#include "monitor/common/exit-codes.h"
#include "pairing.h"

static int init_core(struct vmft_monitor *m, struct vmft_error *err)
{
	const bool primary = m->options.role == VMFT_ROLE_PRIMARY;
	uint64_t generation = 0; /* the backup learns it from the primary's hello */
	int rc;

	if (primary) {
		rc = vmft_arbitration_first(m, &generation, err);
		if (rc < 0)
			return rc;
	}
	vmft_core_init(&m->core, primary ? VMFT_SIDE_PRIMARY : VMFT_SIDE_BACKUP, generation);
	return 0;
}

static int init_attach(struct vmft_monitor *m, struct vmft_error *err)
{
	int rc;

	if (m->options.disk_count != m->agent.area->disk_count)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_INTERNAL,
				      "%u disks given, %u in the attach area",
				      m->options.disk_count, m->agent.area->disk_count);
	rc = vmft_attaching_init(m);
	if (rc == 0)
		rc = vmft_shown_init(&m->shown, m->loop, &m->agent, &m->peer.channel, &m->journal);
	return rc < 0 ? vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "%s", strerror(-rc)) : 0;
}

static void on_strategy_moved(void *user)
{
	struct vmft_monitor *m = user;

	vmft_guest_report_replay(m);
	if (vmft_monitor_is_primary(m))
		vmft_frames_pump(m);
	else
		vmft_channel_resume(&m->peer.channel);
}

static void on_strategy_broken(void *user, const char *why)
{
	vmft_monitor_broken(user, why);
}

static bool on_strategy_disk_failed(void *user, const char *why)
{
	return vmft_faults_disk_waits(user, why);
}

static void on_strategy_saved(void *user, uint64_t position, const uint8_t *bytes, size_t n)
{
	struct vmft_monitor *m = user;

	vmft_saver_held(&m->saver, position, bytes, n);
}

static int open_strategy(struct vmft_monitor *m, struct vmft_error *err)
{
	const struct vmft_strategy_world world = {
	    .loop = m->loop,
	    .link = &m->agent,
	    .config = &m->config,
	    .log_version = m->options.identity.log_version,
	    .disk = m->options.disk,
	    .disk_count = m->options.disk_count,
	    .moved = on_strategy_moved,
	    .broken = on_strategy_broken,
	    .disk_failed = on_strategy_disk_failed,
	    .saved = on_strategy_saved,
	    .user = m,
	};
	int rc;

	m->strategy_ops = m->options.strategy;
	rc = m->strategy_ops->open(&world, &m->strategy);
	return rc < 0 ? vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "%s", strerror(-rc)) : 0;
}

static void init_saver(struct vmft_monitor *m)
{
	const struct vmft_saver_settings settings = {
	    .loop = m->loop,
	    .journal = &m->journal,
	    .config = &m->config,
	    .identity = &m->options.identity,
	    .kind = m->strategy_ops->saves,
	    .words_fd = m->options.words_fd,
	    .wanted = m->options.role == VMFT_ROLE_BACKUP,
	};

	vmft_saver_init(&m->saver, &settings);
}

int vmft_monitor_init(struct vmft_monitor *m, const struct vmft_monitor_options *options,
		      struct vmft_error *err)
{
	int rc;

	memset(m, 0, sizeof(*m));
	m->options = *options;
	rc = vmft_pair_config_load(options->pair_file, &m->config, err);
	if (rc < 0)
		return rc;
	m->options.identity.silence_ms = m->config.silence_ms;
	m->options.identity.grace_ms = m->config.grace_ms;
	(void)snprintf(m->options.identity.name, sizeof(m->options.identity.name), "%s",
		       m->config.name);
	if (!m->config.has_host[options->host])
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%s: it has changed since vmft-qemu read it; start again",
				      options->pair_file);
	m->journal.vm = m->config.name;
	m->journal.host = vmft_pair_host_name(&m->config, options->host);
	m->journal.role = vmft_role_name(options->role);
	rc = vmft_stop_open(m);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "signalfd: %s", strerror(-rc));
	rc = vmft_alarm_open(options->pair_file, m->config.alarm, m->config.name,
			     vmft_pair_host_name(&m->config, options->host), &m->alarm, err);
	if (rc < 0)
		return rc;
	rc = vmft_loop_create(&m->loop);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL,
				      "io_uring: %s; see sysctl kernel.io_uring_disabled",
				      strerror(-rc));
	vmft_monitor_init_ops(m);
	rc = vmft_guest_watch(m, err);
	if (rc < 0)
		return rc;
	rc = vmft_agent_link_init(&m->agent, options->iface_fd, options->area_fd,
				  options->bell_monitor_fd, options->bell_agent_fd, options->ram_fd,
				  err);
	if (rc < 0)
		return rc;
	vmft_divergence_ask(m->agent.iface, &m->config);
	rc = init_attach(m, err);
	if (rc < 0)
		return rc;
	rc = open_strategy(m, err);
	if (rc < 0)
		return rc;
	init_saver(m);
	m->transport = options->transport;
	rc = vmft_requests_open(m, err);
	if (rc < 0)
		return rc;
	rc = vmft_arbitration_open(m, err);
	if (rc < 0)
		goto err_control;
	vmft_handing_over_init(m);
	rc = vmft_pairing_open(m, err);
	if (rc < 0)
		goto err_peer;
	/* Last: a claim that was made is not taken back. */
	rc = init_core(m, err);
	if (rc < 0)
		goto err_peer;
	m->state_ns = m->tick_ns = vmft_loop_now();
	vmft_stall_begin(&m->stall, 0, m->tick_ns);
	vmft_divergence_begin(&m->divergence, m->tick_ns);
	vmft_journal_state(&m->journal, NULL, &m->core, true);
	return 0;

err_peer:
	vmft_peer_fini(&m->peer);
err_control:
	vmft_requests_close(m);
	return rc;
}

void vmft_monitor_begin(struct vmft_monitor *m)
{
	/* Not before: a start that is refused touches nothing. */
	vmft_saver_start(&m->saver);
	vmft_monitor_begin_ticks(m);
	vmft_guest_begin(m);
	vmft_arbitration_begin(m);
	vmft_stop_watch(m);
	if (vmft_monitor_is_primary(m) && m->config.start == VMFT_START_ALONE)
		vmft_monitor_simple_event(m, VMFT_IN_START_ALONE);
}

int vmft_monitor_end(struct vmft_monitor *m)
{
	/* The socket file last: a successor that finds it waits until this process is gone, one
	 * that does not finds the addresses free. */
	vmft_peer_fini(&m->peer);
	vmft_requests_close(m);
	vmft_alarm_close(m->alarm);
	m->strategy_ops->close(m->strategy);
	vmft_arbitration_end(m);
	vmft_saver_fini(&m->saver);
	vmft_shown_fini(&m->shown);
	return m->exit_code;
}

int vmft_monitor_run(struct vmft_monitor *m)
{
	int rc;

	/* Heartbeats and acks are small and late ones cost the guest: best effort. Locked as it
	 * is touched, so that a page of ours never has to be read back from a busy disk. */
	(void)setpriority(PRIO_PROCESS, 0, -10);
	(void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	vmft_monitor_begin(m);
	rc = vmft_loop_run(m->loop);
	if (rc < 0) {
		vmft_journal_say(&m->journal, "io_uring: %s", strerror(-rc));
		m->exit_code = VMFT_EXIT_INTERNAL;
	}
	return vmft_monitor_end(m);
}
