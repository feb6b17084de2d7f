/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's own variables and functions, found by name. */
#ifndef VMFT_AGENT_QEMU_H
#define VMFT_AGENT_QEMU_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* QEMU's Notifier (include/qemu/notify.h): a function and its place in a list. */
struct vmft_notifier {
	void (*notify)(struct vmft_notifier *notifier, void *data);
	void *node[2];
};

struct vmft_qemu {
	int *replay_mode;
	FILE **replay_file;
	uint8_t *timers_state;
	uint8_t *replay_state;
	void (*vmstop_request_prepare)(void);
	void (*vmstop_request)(int run_state);
	void (*notify_event)(void);
	bool (*has_events)(void);
	/* async_run_on_cpu(); the third is a run_on_cpu_data, a union the size of a pointer */
	void (*run_on_cpu)(void *cpu, void (*work)(void *cpu, uint64_t data), uint64_t data);
	bool (*is_locked)(void);
	void (*lock)(const char *file, int line);
	void (*unlock)(void);
	bool (*is_idle)(void);
	int64_t (*virtual_clock)(void);
	int64_t (*deadline)(int clock, int attributes);

	int *autostart;
	void (*runstate_set)(int run_state);
	bool (*runstate_is_running)(void);
	int (*vm_stop)(int run_state);
	void (*vm_start)(void);
	void (*save_instructions)(void);
	void (*disable_events)(void);
	void (*enable_events)(void);
	void (*drain_all)(void);
	int (*flush_all)(void);
	void (*activate_all)(void **err);
	const char *(*error_get_pretty)(const void *err);
	void (*dirty_log_start)(unsigned flags);
	void (*dirty_log_stop)(unsigned flags);
	void (*dirty_log_sync)(void);
	void (*dirty_log_after_sync)(void);
	void *(*region_from_host)(void *host, uint64_t *ret_offset);
	void *(*snapshot_and_clear)(void *region, uint64_t at, uint64_t n, unsigned client);
	int (*ram_foreach)(int (*visit)(void *block, void *user), void *user);
	const char *(*ram_idstr)(void *block);
	void *(*ram_host)(void *block);
	uint64_t (*ram_length)(void *block);
	int (*ram_fd)(void *block);
	void *(*iohandler_context)(void);
	void (*schedule_oneshot)(void *context, void (*call)(void *), void *user, const char *name);
	void *(*channel_new_fd)(int fd);
	void *(*file_new_output)(void *channel);
	void *(*file_new_input)(void *channel);
	int (*file_close)(void *file);
	unsigned (*file_get_be32)(void *file);
	void (*unref)(void *object);
	int (*save_device_state)(void *file);
	int (*load_device_state)(void *file);
	void (*pre_loadvm)(void);
	void (*system_reset)(int shutdown_cause);
	void *(*machine)(void);
	int (*object_each)(void *object, int (*visit)(void *child, void *user), void *user);
	void *(*object_cast)(void *object, const char *type); /* NULL: it is none */
	void (*timer_del)(void *timer);
	void (*i2c_end_transfer)(void *bus);
	void *(*aio_context)(void);
	bool (*aio_poll)(void *context, bool blocking);
	void (*store_running)(void);
	void (*free)(void *memory); /* g_free() */

	void *(*get_cpu)(int index);
	void (*cpu_exit)(void *cpu);
	void (*cpu_dump_state)(void *cpu, FILE *file, int flags);

	/* checkpoint */
	bool (*runstate_check)(int run_state);
	int (*store_state)(void); /* global_state_store() */
	bool (*state_received)(void);
	int (*state_loaded)(void); /* RunState; of the last state that was loaded */
	void (*clock_enable)(int clock, bool enabled);
	void (*wakeup_enable)(int reason, bool enabled);
	void *(*object_of_type)(const char *path, const char *type, bool *ret_ambiguous);
	uint64_t (*object_get_uint)(void *object, const char *name, void **err);
	uint16_t (*port_in16)(uint32_t port);
	void (*cpu_disable_ticks)(void);
	void (*cpu_enable_ticks)(void);
	void (*pause_all_vcpus)(void);
	void (*resume_all_vcpus)(void);
	void (*vm_state_notify)(bool running, int run_state);
	void (*cpu_throttle_set)(int percent);
	void (*cpu_throttle_stop)(void);
	void (*qmp_quit)(void **err);
	int (*reset_requested_get)(void);    /* ShutdownCause, 0: none */
	int (*shutdown_requested_get)(void); /* the same */
	int *shutdown_action;
	void (*register_shutdown_notifier)(struct vmft_notifier *notifier);

	void (*killed)(int signal, pid_t pid); /* what its signal handler does */

	void *(*find_netdev)(const char *id);
	int (*tap_get_fd)(void *netdev);
};

/* Fills all fields. Ends the process if QEMU has no symbol of a name. */
void vmft_qemu_find(struct vmft_qemu *qemu);
/* The address of one symbol, the same. */
void *vmft_qemu_symbol(const char *name);

/* Block requests that QEMU has made while it recorded or replayed: block_request_id in its
 * ReplayState (replay/replay-internal.h). Changed under the replay mutex only. */
#define VMFT_QEMU_BLOCK_REQUEST_ID 48

uint64_t vmft_qemu_block_requests(void);

#endif
