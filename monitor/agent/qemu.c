/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "qemu.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "ground.h"
#include "monitor/common/exit-codes.h"

void *vmft_qemu_symbol(const char *name)
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
	q->autostart = vmft_qemu_symbol("autostart");
	*(void **)&q->runstate_set = vmft_qemu_symbol("runstate_set");
	*(void **)&q->runstate_is_running = vmft_qemu_symbol("runstate_is_running");
	*(void **)&q->vm_stop = vmft_qemu_symbol("vm_stop");
	*(void **)&q->vm_start = vmft_qemu_symbol("vm_start");
	*(void **)&q->save_instructions = vmft_qemu_symbol("replay_save_instructions");
	*(void **)&q->disable_events = vmft_qemu_symbol("replay_disable_events");
	*(void **)&q->enable_events = vmft_qemu_symbol("replay_enable_events");
	*(void **)&q->drain_all = vmft_qemu_symbol("bdrv_drain_all");
	*(void **)&q->flush_all = vmft_qemu_symbol("bdrv_flush_all");
	*(void **)&q->activate_all = vmft_qemu_symbol("bdrv_activate_all");
	*(void **)&q->error_get_pretty = vmft_qemu_symbol("error_get_pretty");
	*(void **)&q->dirty_log_start = vmft_qemu_symbol("memory_global_dirty_log_start");
	*(void **)&q->dirty_log_stop = vmft_qemu_symbol("memory_global_dirty_log_stop");
	*(void **)&q->region_from_host = vmft_qemu_symbol("memory_region_from_host");
	*(void **)&q->snapshot_and_clear =
	    vmft_qemu_symbol("cpu_physical_memory_snapshot_and_clear_dirty");
	*(void **)&q->dirty_log_sync = vmft_qemu_symbol("memory_global_dirty_log_sync");
	*(void **)&q->dirty_log_after_sync = vmft_qemu_symbol("memory_global_after_dirty_log_sync");
	*(void **)&q->ram_foreach = vmft_qemu_symbol("qemu_ram_foreach_block");
	*(void **)&q->ram_idstr = vmft_qemu_symbol("qemu_ram_get_idstr");
	*(void **)&q->ram_host = vmft_qemu_symbol("qemu_ram_get_host_addr");
	*(void **)&q->ram_length = vmft_qemu_symbol("qemu_ram_get_used_length");
	*(void **)&q->ram_fd = vmft_qemu_symbol("qemu_ram_get_fd");
	*(void **)&q->iohandler_context = vmft_qemu_symbol("iohandler_get_aio_context");
	*(void **)&q->schedule_oneshot = vmft_qemu_symbol("aio_bh_schedule_oneshot_full");
	*(void **)&q->channel_new_fd = vmft_qemu_symbol("qio_channel_file_new_fd");
	*(void **)&q->file_new_output = vmft_qemu_symbol("qemu_file_new_output");
	*(void **)&q->file_new_input = vmft_qemu_symbol("qemu_file_new_input");
	*(void **)&q->file_close = vmft_qemu_symbol("qemu_fclose");
	*(void **)&q->file_get_be32 = vmft_qemu_symbol("qemu_get_be32");
	*(void **)&q->unref = vmft_qemu_symbol("object_unref");
	*(void **)&q->save_device_state = vmft_qemu_symbol("qemu_save_device_state");
	*(void **)&q->load_device_state = vmft_qemu_symbol("qemu_load_device_state");
	*(void **)&q->system_reset = vmft_qemu_symbol("qemu_system_reset");
	*(void **)&q->pre_loadvm = vmft_qemu_symbol("cpu_synchronize_all_pre_loadvm");
	*(void **)&q->machine = vmft_qemu_symbol("qdev_get_machine");
	*(void **)&q->object_each = vmft_qemu_symbol("object_child_foreach_recursive");
	*(void **)&q->object_cast = vmft_qemu_symbol("object_dynamic_cast");
	*(void **)&q->timer_del = vmft_qemu_symbol("timer_del");
	*(void **)&q->i2c_end_transfer = vmft_qemu_symbol("i2c_end_transfer");
	*(void **)&q->aio_context = vmft_qemu_symbol("qemu_get_aio_context");
	*(void **)&q->aio_poll = vmft_qemu_symbol("aio_poll");
	*(void **)&q->store_running = vmft_qemu_symbol("global_state_store_running");
	*(void **)&q->free = vmft_qemu_symbol("g_free");
}

static void power_symbols(struct vmft_qemu *q)
{
	*(void **)&q->runstate_check = vmft_qemu_symbol("runstate_check");
	*(void **)&q->store_state = vmft_qemu_symbol("global_state_store");
	*(void **)&q->state_received = vmft_qemu_symbol("global_state_received");
	*(void **)&q->state_loaded = vmft_qemu_symbol("global_state_get_runstate");
	*(void **)&q->clock_enable = vmft_qemu_symbol("qemu_clock_enable");
	*(void **)&q->wakeup_enable = vmft_qemu_symbol("qemu_system_wakeup_enable");
	*(void **)&q->object_of_type = vmft_qemu_symbol("object_resolve_path_type");
	*(void **)&q->object_get_uint = vmft_qemu_symbol("object_property_get_uint");
	*(void **)&q->port_in16 = vmft_qemu_symbol("cpu_inw");
	*(void **)&q->reset_requested_get = vmft_qemu_symbol("qemu_reset_requested_get");
	*(void **)&q->shutdown_requested_get = vmft_qemu_symbol("qemu_shutdown_requested_get");
}

static void checkpoint_symbols(struct vmft_qemu *q)
{
	*(void **)&q->cpu_disable_ticks = vmft_qemu_symbol("cpu_disable_ticks");
	*(void **)&q->cpu_enable_ticks = vmft_qemu_symbol("cpu_enable_ticks");
	*(void **)&q->pause_all_vcpus = vmft_qemu_symbol("pause_all_vcpus");
	*(void **)&q->resume_all_vcpus = vmft_qemu_symbol("resume_all_vcpus");
	*(void **)&q->vm_state_notify = vmft_qemu_symbol("vm_state_notify");
	*(void **)&q->cpu_throttle_set = vmft_qemu_symbol("cpu_throttle_set");
	*(void **)&q->cpu_throttle_stop = vmft_qemu_symbol("cpu_throttle_stop");
	*(void **)&q->qmp_quit = vmft_qemu_symbol("qmp_quit");
	*(void **)&q->register_shutdown_notifier =
	    vmft_qemu_symbol("qemu_register_shutdown_notifier");
	q->shutdown_action = vmft_qemu_symbol("shutdown_action");
}

static void nic_symbols(struct vmft_qemu *q)
{
	*(void **)&q->find_netdev = vmft_qemu_symbol("qemu_find_netdev");
	*(void **)&q->tap_get_fd = vmft_qemu_symbol("tap_get_fd");
}

static void log_symbols(struct vmft_qemu *q)
{
	q->replay_mode = vmft_qemu_symbol("replay_mode");
	q->replay_file = vmft_qemu_symbol("replay_file");
	q->timers_state = vmft_qemu_symbol("timers_state");
	q->replay_state = vmft_qemu_symbol("replay_state");
	*(void **)&q->vmstop_request_prepare =
	    vmft_qemu_symbol("qemu_system_vmstop_request_prepare");
	*(void **)&q->vmstop_request = vmft_qemu_symbol("qemu_system_vmstop_request");
	*(void **)&q->notify_event = vmft_qemu_symbol("qemu_notify_event");
	*(void **)&q->has_events = vmft_qemu_symbol("replay_has_events");
	*(void **)&q->run_on_cpu = vmft_qemu_symbol("async_run_on_cpu");
	*(void **)&q->is_locked = vmft_qemu_symbol("qemu_mutex_iothread_locked");
	*(void **)&q->lock = vmft_qemu_symbol("qemu_mutex_lock_iothread_impl");
	*(void **)&q->unlock = vmft_qemu_symbol("qemu_mutex_unlock_iothread");
	*(void **)&q->is_idle = vmft_qemu_symbol("all_cpu_threads_idle");
	*(void **)&q->virtual_clock = vmft_qemu_symbol("cpus_get_virtual_clock");
	*(void **)&q->deadline = vmft_qemu_symbol("qemu_clock_deadline_ns_all");
	*(void **)&q->get_cpu = vmft_qemu_symbol("qemu_get_cpu");
	*(void **)&q->cpu_exit = vmft_qemu_symbol("cpu_exit");
	*(void **)&q->cpu_dump_state = vmft_qemu_symbol("cpu_dump_state");
	*(void **)&q->killed = vmft_qemu_symbol("qemu_system_killed");
}

void vmft_qemu_find(struct vmft_qemu *q)
{
	log_symbols(q);
	attach_symbols(q);
	power_symbols(q);
	checkpoint_symbols(q);
	nic_symbols(q);
}

uint64_t vmft_qemu_block_requests(void)
{
	uint64_t count;

	memcpy(&count, vmft_agent.qemu.replay_state + VMFT_QEMU_BLOCK_REQUEST_ID, sizeof(count));
	return count;
}
