/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent's constructor, which takes its settings, and its service thread. The rules are at
 * the head of agent.h.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "monitor/common/area-setup.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/iface-setup.h"

/* RunState of QEMU 7.2 (qapi/run-state.json) */
#define QEMU_RUN_STATE_PAUSED 4

#define SERVICE_TICK_MS 20

struct vmft_agent vmft_agent = {.bell_monitor = -1, .bell_agent = -1, .lifeline = -1};

void vmft_agent_say(const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	(void)dprintf(STDERR_FILENO, "vmft-agent: %s\n", text);
}

uint64_t vmft_agent_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void vmft_agent_ring_monitor(void)
{
	const uint64_t one = 1;

	(void)!vmft_libc_write(vmft_agent.bell_monitor, &one, sizeof(one));
}

void vmft_agent_state_set(enum vmft_agent_state state)
{
	atomic_store_explicit(&vmft_agent.iface->agent_state, state, memory_order_release);
	vmft_agent_ring_monitor();
}

void vmft_agent_sleep(uint32_t seen)
{
	struct vmft_iface *iface = vmft_agent.iface;

	/* The waker bumps the word first and looks at agent_waits second, we count ourselves
	 * first and let the kernel compare the word second: one of the two sees the other. */
	atomic_fetch_add(&iface->agent_waits, 1);
	(void)syscall(SYS_futex, &iface->monitor_futex, FUTEX_WAIT, seen, NULL, NULL, 0);
	atomic_fetch_sub(&iface->agent_waits, 1);
}

void vmft_agent_wake(void)
{
	struct vmft_iface *iface = vmft_agent.iface;

	atomic_fetch_add(&iface->monitor_futex, 1);
	(void)syscall(SYS_futex, &iface->monitor_futex, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void vmft_agent_broken(const char *what)
{
	if (atomic_load(&vmft_agent.iface->agent_state) == VMFT_AGENT_BROKEN)
		return;
	vmft_agent_say("%s: this guest is not protected any more", what);
	vmft_agent_state_set(VMFT_AGENT_BROKEN);
}

/* --- the service thread ------------------------------------------------ */

static void fence(const char *why)
{
	if (atomic_exchange(&vmft_agent.fenced, true))
		return;
	vmft_agent_say("%s: the guest is stopped for good and emits nothing", why);
	vmft_gate_mode_changed();
	vmft_agent_wake();
	/* Thread-safe by design: the main loop does the stop (softmmu/runstate.c). */
	vmft_agent.qemu.vmstop_request_prepare();
	vmft_agent.qemu.vmstop_request(QEMU_RUN_STATE_PAUSED);
	vmft_agent_state_set(VMFT_AGENT_FENCED);
}

static void open_gate(void)
{
	vmft_gate_open();
	vmft_tap_stop_keeping();
}

/*
 * Without its monitor a protected primary can neither be acknowledged nor ask the arbiter,
 * and the backup, seeing the connection go, takes over: so it stops. One that is alone has
 * won its generation, nobody else can: it goes on. A backup's QEMU is of no more use.
 */
static void orphaned(void)
{
	uint32_t state = atomic_load(&vmft_agent.iface->agent_state);
	uint32_t code = atomic_load(&vmft_agent.iface->exit_code);

	if (atomic_exchange(&vmft_agent.orphaned, true))
		return;
	vmft_signals_orphaned();
	if (state == VMFT_AGENT_ENDED) {
		/* The last of it stays here. */
		if (vmft_agent.checkpoint.on)
			vmft_checkpoint_end();
		return;
	}
	if (atomic_load(&vmft_agent.open)) {
		/* Nobody takes the log of an attach under way out of the ring any more. */
		vmft_tap_stop_keeping();
		if (vmft_agent.checkpoint.on)
			vmft_checkpoint_orphaned();
		vmft_agent_say("the monitor is gone: the guest goes on, unprotected");
		return;
	}
	if (state == VMFT_AGENT_ABSENT || state == VMFT_AGENT_WAITING ||
	    state == VMFT_AGENT_REPLAYING || state == VMFT_AGENT_STANDBY) {
		vmft_agent_say("the monitor is gone before this side was live: QEMU ends");
		_exit(code ? (int)code : VMFT_EXIT_INTERNAL);
	}
	fence("the monitor is gone");
}

/*
 * A replaying QEMU sleeps in here, a frozen one holds locks: neither hears of an orderly end, and
 * nothing they have in memory is of use to anybody.
 */
static void end(void)
{
	const uint32_t code = atomic_load(&vmft_agent.iface->exit_code);

	/* What the guest said last, and the backup has acknowledged, leaves before. */
	(void)vmft_gate_service();
	if (!vmft_agent.checkpoint.on || code != VMFT_EXIT_OK)
		_exit((int)code);
	vmft_checkpoint_end();
}

/* By the step from one command to the next: behind an attach point the log is kept though
 * the command is still OPEN. */
static void obey(void)
{
	uint32_t command = vmft_agent_command();
	uint32_t state = atomic_load(&vmft_agent.iface->agent_state);

	if (command == vmft_agent.obeyed)
		return;
	/* A backup's guest emits nothing; its monitor ends it. */
	if (command == VMFT_COMMAND_FENCE && state != VMFT_AGENT_REPLAYING &&
	    state != VMFT_AGENT_STANDBY)
		fence("the other side is live");
	else if (command == VMFT_COMMAND_END)
		end();
	else if (vmft_agent.checkpoint.on && state == VMFT_AGENT_WAITING &&
		 (command == VMFT_COMMAND_OPEN || command == VMFT_COMMAND_RUN))
		vmft_checkpoint_start(command == VMFT_COMMAND_OPEN);
	else if (command == VMFT_COMMAND_OPEN && state != VMFT_AGENT_WAITING &&
		 state != VMFT_AGENT_STANDBY)
		open_gate();
	else if (command == VMFT_COMMAND_RUN && atomic_load(&vmft_agent.logging) &&
		 atomic_load(&vmft_agent.open))
		vmft_gate_close();
	vmft_agent.obeyed = command;
}

static void *service(void *unused)
{
	int tap = -1;

	(void)unused;
	for (;;) {
		struct pollfd fds[3] = {
		    {.fd = vmft_agent.bell_agent, .events = POLLIN},
		    {.fd = tap, .events = POLLOUT},
		    {.fd = atomic_load(&vmft_agent.orphaned) ? -1 : vmft_agent.lifeline,
		     .events = POLLIN},
		};
		uint64_t rung;

		(void)poll(fds, 3, SERVICE_TICK_MS);
		if (fds[0].revents & POLLIN)
			(void)!vmft_libc_read(vmft_agent.bell_agent, &rung, sizeof(rung));
		/* Before anything leaves: a monitor that is gone may mean a backup that is
		 * about to go live. */
		if (fds[2].revents & (POLLHUP | POLLERR))
			orphaned();
		obey();
		vmft_announce_service();
		vmft_checkpoint_service();
		vmft_requests_service();
		vmft_disk_service();
		vmft_signals_service();
		vmft_gate_keep_service();
		vmft_power_service();
		tap = vmft_gate_service();
		atomic_fetch_add_explicit(&vmft_agent.iface->agent_beat, 1, memory_order_relaxed);
	}
	return NULL;
}

/* QEMU's threads rely on receiving its signals; ours must take none of them. */
int vmft_agent_thread(pthread_t *ret, void *(*run)(void *), void *user)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(ret, NULL, run, user);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

void vmft_agent_must_thread(pthread_t *ret, void *(*run)(void *))
{
	int rc = vmft_agent_thread(ret, run, NULL);

	if (rc != 0) {
		vmft_agent_say("cannot start a thread: %s", strerror(rc));
		_exit(VMFT_EXIT_INTERNAL);
	}
}

void vmft_agent_serve(void)
{
	vmft_agent_must_thread(&vmft_agent.service, service);
}

/* --- start ------------------------------------------------------------- */

static void *qemu_symbol(const char *name)
{
	void *found = dlsym(RTLD_DEFAULT, name);

	if (!found) {
		vmft_agent_say("QEMU has no symbol %s: this build cannot be protected", name);
		_exit(VMFT_EXIT_QEMU);
	}
	return found;
}

static void attach_symbols(struct vmft_qemu *q)
{
	q->autostart = qemu_symbol("autostart");
	*(void **)&q->runstate_set = qemu_symbol("runstate_set");
	*(void **)&q->runstate_is_running = qemu_symbol("runstate_is_running");
	*(void **)&q->vm_stop = qemu_symbol("vm_stop");
	*(void **)&q->vm_start = qemu_symbol("vm_start");
	*(void **)&q->save_instructions = qemu_symbol("replay_save_instructions");
	*(void **)&q->disable_events = qemu_symbol("replay_disable_events");
	*(void **)&q->enable_events = qemu_symbol("replay_enable_events");
	*(void **)&q->drain_all = qemu_symbol("bdrv_drain_all");
	*(void **)&q->flush_all = qemu_symbol("bdrv_flush_all");
	*(void **)&q->activate_all = qemu_symbol("bdrv_activate_all");
	*(void **)&q->error_get_pretty = qemu_symbol("error_get_pretty");
	*(void **)&q->dirty_log_start = qemu_symbol("memory_global_dirty_log_start");
	*(void **)&q->dirty_log_stop = qemu_symbol("memory_global_dirty_log_stop");
	*(void **)&q->region_from_host = qemu_symbol("memory_region_from_host");
	*(void **)&q->snapshot_and_clear =
	    qemu_symbol("cpu_physical_memory_snapshot_and_clear_dirty");
	*(void **)&q->dirty_log_sync = qemu_symbol("memory_global_dirty_log_sync");
	*(void **)&q->dirty_log_after_sync = qemu_symbol("memory_global_after_dirty_log_sync");
	*(void **)&q->ram_foreach = qemu_symbol("qemu_ram_foreach_block");
	*(void **)&q->ram_idstr = qemu_symbol("qemu_ram_get_idstr");
	*(void **)&q->ram_host = qemu_symbol("qemu_ram_get_host_addr");
	*(void **)&q->ram_length = qemu_symbol("qemu_ram_get_used_length");
	*(void **)&q->ram_fd = qemu_symbol("qemu_ram_get_fd");
	*(void **)&q->iohandler_context = qemu_symbol("iohandler_get_aio_context");
	*(void **)&q->schedule_oneshot = qemu_symbol("aio_bh_schedule_oneshot_full");
	*(void **)&q->channel_new_fd = qemu_symbol("qio_channel_file_new_fd");
	*(void **)&q->file_new_output = qemu_symbol("qemu_file_new_output");
	*(void **)&q->file_new_input = qemu_symbol("qemu_file_new_input");
	*(void **)&q->file_close = qemu_symbol("qemu_fclose");
	*(void **)&q->file_get_be32 = qemu_symbol("qemu_get_be32");
	*(void **)&q->unref = qemu_symbol("object_unref");
	*(void **)&q->save_device_state = qemu_symbol("qemu_save_device_state");
	*(void **)&q->load_device_state = qemu_symbol("qemu_load_device_state");
	*(void **)&q->system_reset = qemu_symbol("qemu_system_reset");
	*(void **)&q->pre_loadvm = qemu_symbol("cpu_synchronize_all_pre_loadvm");
	*(void **)&q->machine = qemu_symbol("qdev_get_machine");
	*(void **)&q->object_each = qemu_symbol("object_child_foreach_recursive");
	*(void **)&q->object_cast = qemu_symbol("object_dynamic_cast");
	*(void **)&q->timer_del = qemu_symbol("timer_del");
	*(void **)&q->i2c_end_transfer = qemu_symbol("i2c_end_transfer");
	*(void **)&q->aio_context = qemu_symbol("qemu_get_aio_context");
	*(void **)&q->aio_poll = qemu_symbol("aio_poll");
	*(void **)&q->store_running = qemu_symbol("global_state_store_running");
	*(void **)&q->free = qemu_symbol("g_free");
}

static void power_symbols(struct vmft_qemu *q)
{
	*(void **)&q->runstate_check = qemu_symbol("runstate_check");
	*(void **)&q->store_state = qemu_symbol("global_state_store");
	*(void **)&q->state_received = qemu_symbol("global_state_received");
	*(void **)&q->state_loaded = qemu_symbol("global_state_get_runstate");
	*(void **)&q->clock_enable = qemu_symbol("qemu_clock_enable");
	*(void **)&q->wakeup_enable = qemu_symbol("qemu_system_wakeup_enable");
	*(void **)&q->object_of_type = qemu_symbol("object_resolve_path_type");
	*(void **)&q->object_get_uint = qemu_symbol("object_property_get_uint");
	*(void **)&q->port_in16 = qemu_symbol("cpu_inw");
	*(void **)&q->reset_requested_get = qemu_symbol("qemu_reset_requested_get");
	*(void **)&q->shutdown_requested_get = qemu_symbol("qemu_shutdown_requested_get");
}

static void checkpoint_symbols(struct vmft_qemu *q)
{
	*(void **)&q->cpu_disable_ticks = qemu_symbol("cpu_disable_ticks");
	*(void **)&q->cpu_enable_ticks = qemu_symbol("cpu_enable_ticks");
	*(void **)&q->pause_all_vcpus = qemu_symbol("pause_all_vcpus");
	*(void **)&q->resume_all_vcpus = qemu_symbol("resume_all_vcpus");
	*(void **)&q->vm_state_notify = qemu_symbol("vm_state_notify");
	*(void **)&q->cpu_throttle_set = qemu_symbol("cpu_throttle_set");
	*(void **)&q->cpu_throttle_stop = qemu_symbol("cpu_throttle_stop");
	*(void **)&q->qmp_quit = qemu_symbol("qmp_quit");
	*(void **)&q->register_shutdown_notifier = qemu_symbol("qemu_register_shutdown_notifier");
	q->shutdown_action = qemu_symbol("shutdown_action");
}

static void nic_symbols(struct vmft_qemu *q)
{
	*(void **)&q->find_netdev = qemu_symbol("qemu_find_netdev");
	*(void **)&q->tap_get_fd = qemu_symbol("tap_get_fd");
}

void vmft_agent_arm(void)
{
	struct vmft_qemu *q = &vmft_agent.qemu;

	if (atomic_exchange(&vmft_agent.armed, true)) {
		vmft_agent_say("QEMU opened its log twice: this build cannot be protected");
		_exit(VMFT_EXIT_QEMU);
	}
	/* This is QEMU's main thread: its waits while replaying are shorter than the kernel's
	 * default slack of 50 us. */
	(void)prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
	q->replay_mode = qemu_symbol("replay_mode");
	q->replay_file = qemu_symbol("replay_file");
	q->timers_state = qemu_symbol("timers_state");
	q->replay_state = qemu_symbol("replay_state");
	*(void **)&q->vmstop_request_prepare = qemu_symbol("qemu_system_vmstop_request_prepare");
	*(void **)&q->vmstop_request = qemu_symbol("qemu_system_vmstop_request");
	*(void **)&q->notify_event = qemu_symbol("qemu_notify_event");
	*(void **)&q->has_events = qemu_symbol("replay_has_events");
	*(void **)&q->run_on_cpu = qemu_symbol("async_run_on_cpu");
	*(void **)&q->is_locked = qemu_symbol("qemu_mutex_iothread_locked");
	*(void **)&q->lock = qemu_symbol("qemu_mutex_lock_iothread_impl");
	*(void **)&q->unlock = qemu_symbol("qemu_mutex_unlock_iothread");
	*(void **)&q->is_idle = qemu_symbol("all_cpu_threads_idle");
	*(void **)&q->virtual_clock = qemu_symbol("cpus_get_virtual_clock");
	*(void **)&q->deadline = qemu_symbol("qemu_clock_deadline_ns_all");
	*(void **)&q->get_cpu = qemu_symbol("qemu_get_cpu");
	*(void **)&q->cpu_exit = qemu_symbol("cpu_exit");
	*(void **)&q->cpu_dump_state = qemu_symbol("cpu_dump_state");
	*(void **)&q->killed = qemu_symbol("qemu_system_killed");
	attach_symbols(q);
	power_symbols(q);
	checkpoint_symbols(q);
	nic_symbols(q);
	vmft_signals_arm();
}

static bool parse_number(const char *text, uint64_t *ret, int base)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, base);
	return errno == 0 && end != text && *end == '\0';
}

/* "ID/MAC" of each, with plus signs between, in the order of -netdev. */
static bool parse_nics(char *text)
{
	struct vmft_nics *nics = &vmft_agent.nics;
	char *save = NULL;

	for (char *word = strtok_r(text, "+", &save); word; word = strtok_r(NULL, "+", &save)) {
		char *mac = strchr(word, '/');
		struct vmft_nic *nic;
		uint8_t *m;

		if (nics->count == VMFT_AGENT_NICS || !mac || mac - word > VMFT_NIC_ID_MAX)
			return false;
		nic = &nics->nic[nics->count++];
		m = nic->mac;
		*mac++ = '\0';
		(void)snprintf(nic->id, sizeof(nic->id), "%s", word);
		if (sscanf(mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &m[0], &m[1], &m[2], &m[3],
			   &m[4], &m[5]) != 6)
			return false;
	}
	return true;
}

struct settings {
	uint64_t iface, area, ram, flush, bell_monitor, bell_agent, lifeline, gate, log_version,
	    clock_offset, warp_offset, warp_timer_offset, shift_offset, bias_offset, icount_offset,
	    kind_offset, rng_offset, ioapic_offset;
};

static bool parse_setting(struct settings *s, char *key, char *value)
{
	if (strcmp(key, "nics") == 0)
		return parse_nics(value);
	if (strcmp(key, "strategy") == 0) {
		vmft_agent.checkpoint.on = strcmp(value, "checkpoint") == 0;
		return vmft_agent.checkpoint.on;
	}
	if (strcmp(key, "disks") == 0)
		return vmft_track_parse_disks(value);
	if (strcmp(key, "area") == 0)
		return parse_number(value, &s->area, 10);
	if (strcmp(key, "ram") == 0)
		return parse_number(value, &s->ram, 10);
	if (strcmp(key, "flush") == 0)
		return parse_number(value, &s->flush, 10);
	if (strcmp(key, "iface") == 0)
		return parse_number(value, &s->iface, 10);
	if (strcmp(key, "bell-monitor") == 0)
		return parse_number(value, &s->bell_monitor, 10);
	if (strcmp(key, "bell-agent") == 0)
		return parse_number(value, &s->bell_agent, 10);
	if (strcmp(key, "lifeline") == 0)
		return parse_number(value, &s->lifeline, 10);
	if (strcmp(key, "gate") == 0)
		return parse_number(value, &s->gate, 10);
	if (strcmp(key, "log-version") == 0)
		return parse_number(value, &s->log_version, 16);
	if (strcmp(key, "clock-offset") == 0)
		return parse_number(value, &s->clock_offset, 10);
	if (strcmp(key, "warp-offset") == 0)
		return parse_number(value, &s->warp_offset, 10);
	if (strcmp(key, "warp-timer-offset") == 0)
		return parse_number(value, &s->warp_timer_offset, 10);
	if (strcmp(key, "shift-offset") == 0)
		return parse_number(value, &s->shift_offset, 10);
	if (strcmp(key, "bias-offset") == 0)
		return parse_number(value, &s->bias_offset, 10);
	if (strcmp(key, "icount-offset") == 0)
		return parse_number(value, &s->icount_offset, 10);
	if (strcmp(key, "kind-offset") == 0)
		return parse_number(value, &s->kind_offset, 10);
	if (strcmp(key, "rng-offset") == 0)
		return parse_number(value, &s->rng_offset, 10);
	if (strcmp(key, "ioapic-offset") == 0)
		return parse_number(value, &s->ioapic_offset, 10);
	return false;
}

static bool parse_settings(struct settings *s, char *text)
{
	char *save = NULL;

	for (char *part = strtok_r(text, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
		char *value = strchr(part, '=');

		if (!value)
			return false;
		*value++ = '\0';
		if (!parse_setting(s, part, value))
			return false;
	}
	return s->iface > 2 && s->area > 2 && s->ram > 2 && s->bell_monitor > 2 &&
	       s->bell_agent > 2 && s->lifeline > 2 && s->gate > 0 && s->log_version > 0 &&
	       s->clock_offset > 0 && s->warp_offset > 0 && s->warp_timer_offset > 0 &&
	       s->shift_offset > 0 && s->bias_offset > 0 && s->icount_offset > 0 &&
	       s->kind_offset > 0 && s->rng_offset > 0 && s->ioapic_offset > 0;
}

__attribute__((constructor)) static void agent_start(void)
{
	struct settings settings = {0};
	struct vmft_error err;
	const char *given = getenv("VMFT_AGENT");
	char text[4096];

	vmft_libc_look_up();
	if (!given)
		return;
	(void)snprintf(text, sizeof(text), "%s", given);
	unsetenv("VMFT_AGENT");
	unsetenv("LD_PRELOAD");
	if (!parse_settings(&settings, text)) {
		vmft_agent_say("VMFT_AGENT=%s: not understood; start QEMU through vmft-qemu",
			       given);
		_exit(VMFT_EXIT_CONFIG);
	}
	if (vmft_area_map((int)settings.area, &vmft_agent.attach.area, &err) < 0 ||
	    vmft_iface_map((int)settings.iface, &vmft_agent.iface, &vmft_agent.ring, &err) < 0) {
		vmft_agent_say("%s", err.text);
		_exit(err.exit_code);
	}
	vmft_agent.attach.flush = settings.flush != 0;
	vmft_agent.attach.state_fd = -1;
	vmft_agent.bell_monitor = (int)settings.bell_monitor;
	vmft_agent.bell_agent = (int)settings.bell_agent;
	vmft_agent.lifeline = (int)settings.lifeline;
	vmft_agent.ram_fd = (int)settings.ram;
	vmft_agent.log_version = (uint32_t)settings.log_version;
	vmft_agent.clock_offset = (size_t)settings.clock_offset;
	vmft_agent.warp_offset = (size_t)settings.warp_offset;
	vmft_agent.warp_timer_offset = (size_t)settings.warp_timer_offset;
	vmft_agent.shift_offset = (size_t)settings.shift_offset;
	vmft_agent.bias_offset = (size_t)settings.bias_offset;
	vmft_agent.icount_offset = (size_t)settings.icount_offset;
	vmft_agent.kind_offset = (size_t)settings.kind_offset;
	vmft_agent.rng_offset = (size_t)settings.rng_offset;
	vmft_agent.ioapic_offset = (size_t)settings.ioapic_offset;
	vmft_gate_init(&vmft_agent.gate, settings.gate);
	if (vmft_agent.checkpoint.on)
		*(void **)&vmft_agent.checkpoint.phase_check = qemu_symbol("phase_check");
}

/*
 * A replaying QEMU leaves at the SHUTDOWN in the log; what the primary's logged after it, END at
 * last, may not even have arrived. Left like this it has ended in order, and did not die. (An
 * error leaves by exit(), below.)
 */
__attribute__((destructor)) static void agent_end(void)
{
	if (!vmft_agent.iface)
		return;
	if (!atomic_load(&vmft_agent.crashed) && vmft_feed_is_replaying() &&
	    vmft_agent.feed.cursor.leaves)
		vmft_agent_state_set(VMFT_AGENT_ENDED);
	vmft_console_flush();
}
