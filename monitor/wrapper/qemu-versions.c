/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu-versions.h"

#include <string.h>

#include "logging-channel/event.h"

static const struct vmft_qemu_symbol symbols_7_2[] = {
    {"replay_mode", 4},
    {"replay_file", 8},
    /* replay/replay-internal.h and softmmu/timers-state.h: the layouts that the offsets
     * below rely on. */
    {"replay_state", 72},
    {"timers_state", 96},
    {"qemu_system_vmstop_request_prepare", 0},
    {"qemu_system_vmstop_request", 0},
    {"qemu_notify_event", 0},
    {"replay_has_events", 0},
    {"async_run_on_cpu", 0},
    {"qemu_mutex_iothread_locked", 0},
    {"qemu_mutex_lock_iothread_impl", 0},
    {"qemu_mutex_unlock_iothread", 0},
    /* for an idle guest that is ahead of real time: monitor/agent/icount.c */
    {"all_cpu_threads_idle", 0},
    {"cpus_get_virtual_clock", 0},
    {"qemu_clock_deadline_ns_all", 0},
    /* for a run whose limit is of the past: monitor/agent/icount.c */
    {"qemu_get_cpu", 0},
    {"cpu_exit", 0},
    /* for the processor's digest: monitor/agent/digest.c */
    {"cpu_dump_state", 0},
    /* for attaching a backup: monitor/agent/attach.c */
    {"autostart", 4},
    {"runstate_set", 0},
    {"runstate_is_running", 0},
    {"vm_stop", 0},
    {"vm_start", 0},
    {"replay_save_instructions", 0},
    {"replay_disable_events", 0},
    {"replay_enable_events", 0},
    {"bdrv_drain_all", 0},
    {"bdrv_flush_all", 0},
    {"bdrv_activate_all", 0},
    {"error_get_pretty", 0},
    {"memory_global_dirty_log_start", 0},
    {"memory_global_dirty_log_stop", 0},
    {"memory_region_from_host", 0},
    {"memory_global_dirty_log_sync", 0},
    {"memory_global_after_dirty_log_sync", 0},
    {"cpu_physical_memory_snapshot_and_clear_dirty", 0},
    {"qemu_ram_foreach_block", 0},
    {"qemu_ram_get_idstr", 0},
    {"qemu_ram_get_host_addr", 0},
    {"qemu_ram_get_used_length", 0},
    {"qemu_ram_get_fd", 0},
    {"iohandler_get_aio_context", 0},
    {"aio_bh_schedule_oneshot_full", 0},
    {"qio_channel_file_new_fd", 0},
    {"qemu_file_new_output", 0},
    {"qemu_file_new_input", 0},
    {"qemu_fclose", 0},
    {"qemu_get_be32", 0},
    {"object_unref", 0},
    {"qemu_save_device_state", 0},
    {"qemu_load_device_state", 0},
    {"cpu_synchronize_all_pre_loadvm", 0},
    {"qemu_system_reset", 0},
    {"qdev_get_machine", 0},
    {"object_child_foreach_recursive", 0},
    {"object_dynamic_cast", 0},
    {"timer_del", 0},
    {"i2c_end_transfer", 0},
    {"qemu_get_aio_context", 0},
    {"aio_poll", 0},
    {"global_state_store_running", 0},
    /* for checkpoints: monitor/agent/checkpoint.c */
    {"phase_check", 0},
    {"cpu_disable_ticks", 0},
    {"cpu_enable_ticks", 0},
    {"pause_all_vcpus", 0},
    {"resume_all_vcpus", 0},
    {"vm_state_notify", 0},
    {"cpu_throttle_set", 0},
    {"cpu_throttle_stop", 0},
    {"qmp_quit", 0},
    /* for a guest that sleeps, or is about to: monitor/agent/power.c */
    {"runstate_check", 0},
    {"global_state_store", 0},
    {"global_state_received", 0},
    {"global_state_get_runstate", 0},
    {"qemu_clock_enable", 0},
    {"qemu_system_wakeup_enable", 0},
    {"object_resolve_path_type", 0},
    {"object_property_get_uint", 0},
    {"cpu_inw", 0},
    {"qemu_reset_requested_get", 0},
    {"qemu_shutdown_requested_get", 0},
    {"qemu_register_shutdown_notifier", 0},
    {"shutdown_action", 4},
    /* for an end that is asked for: monitor/agent/signals.c */
    {"qemu_system_killed", 0},
    /* which descriptor a card's frames are written to: monitor/agent/nic.c */
    {"qemu_find_netdev", 0},
    {"tap_get_fd", 0},
    {NULL, 0},
};

static const struct vmft_qemu_version versions[] = {
    {
	.prefix = "7.2.",
	.log_version = VMFT_LOG_VERSION_QEMU_7_2,
	.timers_clock_offset = 56,
	.timers_warp_offset = 48,
	.timers_warp_timer_offset = 88,
	.timers_shift_offset = 26,
	.timers_bias_offset = 40,
	.timers_icount_offset = 64,
	.replay_kind_offset = 28,
	.rng_offset = 528,
	.ioapic_offset = 1608,
	.symbols = symbols_7_2,
    },
};

const struct vmft_qemu_version *vmft_qemu_version_find(const char *version)
{
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		if (strncmp(version, versions[i].prefix, strlen(versions[i].prefix)) == 0)
			return &versions[i];
	return NULL;
}

const char *vmft_qemu_versions_known(void)
{
	return "7.2";
}
