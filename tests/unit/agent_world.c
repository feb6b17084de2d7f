/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "agent_world.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "monitor/agent/announce.h"
#include "monitor/agent/buttons.h"
#include "monitor/agent/checkpoint.h"
#include "monitor/agent/clock.h"
#include "monitor/agent/console.h"
#include "monitor/agent/digest.h"
#include "monitor/agent/disk.h"
#include "monitor/agent/feed.h"
#include "monitor/agent/icount.h"
#include "monitor/agent/input.h"
#include "monitor/agent/nic.h"
#include "monitor/agent/operator.h"
#include "monitor/agent/output.h"
#include "monitor/agent/power.h"
#include "monitor/agent/requests.h"
#include "monitor/agent/service.h"
#include "monitor/agent/signals.h"
#include "monitor/agent/state.h"
#include "monitor/agent/strategy.h"
#include "monitor/agent/tap.h"
#include "monitor/agent/track.h"
#include "monitor/agent/turns.h"
#include "monitor/common/area-setup.h"
#include "monitor/common/iface-setup.h"

struct vmft_agent vmft_agent;
struct world world;

/* --- agent.c, ground.c, qemu.c, service.c
 * ----------------------------------------------------------------- */

void vmft_agent_say(const char *format, ...)
{
	(void)format;
}

int vmft_agent_thread(pthread_t *ret, void *(*run)(void *), void *user)
{
	return pthread_create(ret, NULL, run, user);
}

void vmft_agent_arm(void)
{
	atomic_store(&vmft_agent.armed, true);
}

void vmft_agent_must_thread(pthread_t *ret, void *(*run)(void *))
{
	(void)ret;
	(void)run;
}

void vmft_service_start(void)
{
}

void vmft_agent_state_set(enum vmft_agent_state state)
{
	atomic_store(&vmft_agent.iface->agent_state, state);
}

void vmft_agent_ring_monitor(void)
{
	atomic_fetch_add(&world.rung, 1);
}

void vmft_agent_wake(void)
{
	struct vmft_iface *iface = vmft_agent.iface;

	atomic_fetch_add(&world.woken, 1);
	atomic_fetch_add(&iface->monitor_futex, 1);
	(void)syscall(SYS_futex, &iface->monitor_futex, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void vmft_agent_sleep(uint32_t seen)
{
	if (!world.sleep)
		abort();
	world.sleep(seen);
}

void vmft_agent_stop_keeping(void)
{
	if (atomic_exchange(&vmft_agent.logging, false))
		vmft_agent_wake();
}

void vmft_agent_broken(const char *what)
{
	(void)what;
	world.broken++;
	vmft_agent_state_set(VMFT_AGENT_BROKEN);
}

uint64_t vmft_agent_now(void)
{
	return world.now;
}

/* --- libc -------------------------------------------------------------------- */

static ssize_t (*real_read)(int fd, void *bytes, size_t n);
static ssize_t (*real_writev)(int fd, const struct iovec *iov, int count);

/* The only one who reads a tap here is who empties it. */
static ssize_t count_reads(int fd, void *bytes, size_t n)
{
	if (fd == world.tap[0])
		world.drained++;
	return real_read(fd, bytes, n);
}

/* What the guest sends goes to the pipe's other end. */
static ssize_t count_writes(int fd, const struct iovec *iov, int count)
{
	if (fd == world.tap[0])
		world.announced++;
	return real_writev(fd, iov, count);
}

static void stand_in_for_libc(void)
{
	struct vmft_libc *libc = vmft_libc();

	real_read = libc->read;
	real_writev = libc->writev;
	libc->read = count_reads;
	libc->writev = count_writes;
}

/* --- QEMU -------------------------------------------------------------------- */

static void *iohandler_context(void)
{
	return &world;
}

/* The main loop is the test, which calls it when it wants to. */
static void schedule(void *context, void (*call)(void *), void *user, const char *name)
{
	CU_ASSERT_PTR_EQUAL(context, &world);
	CU_ASSERT_PTR_NULL(user);
	(void)name;
	world.scheduled = call;
}

static void send_resume(void)
{
	world.resumes++;
}

static void notify_event(void)
{
	world.notified++;
}

static bool has_events(void)
{
	return world.events;
}

static bool is_locked(void)
{
	return world.locked;
}

static void lock(const char *file, int line)
{
	CU_ASSERT_FALSE(world.locked);
	CU_ASSERT_PTR_NOT_NULL(file);
	CU_ASSERT(line > 0);
	world.locked = true;
}

static void unlock(void)
{
	CU_ASSERT_TRUE(world.locked);
	world.locked = false;
}

static void run_on_cpu(void *cpu, void (*work)(void *cpu, uint64_t data), uint64_t data)
{
	CU_ASSERT_PTR_EQUAL(cpu, &world);
	CU_ASSERT_TRUE(world.locked);
	work(cpu, data);
	world.works++;
}

static bool runstate_is_running(void)
{
	return !world.stopped;
}

static bool is_idle(void)
{
	return world.idle;
}

static int64_t virtual_clock(void)
{
	return world.virtual_ns;
}

static int64_t deadline(int clock, int attributes)
{
	CU_ASSERT_EQUAL(clock, 1);
	CU_ASSERT_EQUAL(attributes, ~1);
	return world.deadline_ns;
}

static void *get_cpu(int index)
{
	return index == 0 ? &world : NULL;
}

static void cpu_exit(void *cpu)
{
	CU_ASSERT_PTR_EQUAL(cpu, &world);
	world.kicked++;
}

static void cpu_dump_state(void *cpu, FILE *file, int flags)
{
	CU_ASSERT_PTR_EQUAL(cpu, &world);
	CU_ASSERT_EQUAL(flags, 0);
	(void)fputs(world.registers, file);
}

static void runstate_set(int run_state)
{
	world.run_state = run_state;
}

/* Both series have these places but for four. */
#define PLACES                                                                                     \
	[VMFT_QEMU_TICKS_OFFSET] = {8, 8}, [VMFT_QEMU_CLOCK_SHIFT] = {26, 2},                      \
	[VMFT_QEMU_CLOCK_BIAS] = {40, 8}, [VMFT_QEMU_IDLE_SINCE] = {48, 8},                        \
	[VMFT_QEMU_CLOCK_OFFSET] = {56, 8}, [VMFT_QEMU_INSTRUCTIONS] = {64, 8},                    \
	[VMFT_QEMU_IDLE_TIMER] = {88, 8}, [VMFT_QEMU_BLOCK_REQUESTS] = {48, 8},                    \
	[VMFT_QEMU_TIMER_EXPIRES] = {0, 8}, [VMFT_QEMU_TIMER_OPAQUE] = {24, 8},                    \
	[VMFT_QEMU_RNG_LIMIT] = {528, 0}, [VMFT_QEMU_IOAPIC_STORM] = {1608, 0}

const struct vmft_qemu_place world_places_7_2[VMFT_QEMU_FIELDS] = {
    PLACES,
    [VMFT_QEMU_EVENT_KIND] = {28, 4},
    [VMFT_QEMU_EVENT_IS_READ] = {32, 4},
    [VMFT_QEMU_FLASH_CYCLE] = {848, 1},
    [VMFT_QEMU_FLASH_COMMAND] = {850, 0},
};
const struct vmft_qemu_place world_places_10_0[VMFT_QEMU_FIELDS] = {
    PLACES,
    [VMFT_QEMU_EVENT_KIND] = {32, 4},
    [VMFT_QEMU_EVENT_IS_READ] = {36, 1},
    [VMFT_QEMU_FLASH_CYCLE] = {840, 1},
    [VMFT_QEMU_FLASH_COMMAND] = {842, 0},
};

static const char *const run_states[] = {
    "debug",	 "inmigrate",	   "internal-error", "io-error", "paused",  "postmigrate",
    "prelaunch", "finish-migrate", "restore-vm",     "running",	 "save-vm", "shutdown",
    "suspended", "watchdog",	   "guest-panicked", "colo",
};
static const char *const shutdown_causes[] = {
    "none",	   "host-error",      "host-qmp-quit",	"host-qmp-system-reset",
    "host-signal", "host-ui",	      "guest-shutdown", "guest-reset",
    "guest-panic", "subsystem-reset", "snapshot-load",
};
static const char *const replay_modes[] = {"none", "record", "play"};
static const char *const shutdown_actions[] = {"poweroff", "pause"};

#define NAMES(names)                                                                               \
	{                                                                                          \
		names, NULL, sizeof(names) / sizeof((names)[0])                                    \
	}

const struct vmft_qemu_enum world_run_states = NAMES(run_states);
const struct vmft_qemu_enum world_shutdown_causes = NAMES(shutdown_causes);
const struct vmft_qemu_enum world_replay_modes = NAMES(replay_modes);
const struct vmft_qemu_enum world_shutdown_actions = NAMES(shutdown_actions);

const struct world_qemu world_qemu = {
    .replay_mode = &world.replay_mode,
    .replay_file = &world.replay_file,
    .timers_state = world.timers_state,
    .replay_state = world.replay_state,
    .qemu_notify_event = notify_event,
    .iohandler_get_aio_context = iohandler_context,
    .aio_bh_schedule_oneshot_full = schedule,
    .qapi_event_send_resume = send_resume,
    .replay_has_events = has_events,
    .qemu_mutex_iothread_locked = is_locked,
    .qemu_mutex_lock_iothread_impl = lock,
    .qemu_mutex_unlock_iothread = unlock,
    .async_run_on_cpu = run_on_cpu,
    .runstate_is_running = runstate_is_running,
    .all_cpu_threads_idle = is_idle,
    .cpus_get_virtual_clock = virtual_clock,
    .qemu_clock_deadline_ns_all = deadline,
    .qemu_get_cpu = get_cpu,
    .cpu_exit = cpu_exit,
    .cpu_dump_state = cpu_dump_state,
    .autostart = &world.autostart,
    .runstate_set = runstate_set,
    .RunState_lookup = &world_run_states,
    .ShutdownCause_lookup = &world_shutdown_causes,
    .ReplayMode_lookup = &world_replay_modes,
    .ShutdownAction_lookup = &world_shutdown_actions,
};

static const struct world_qemu *in_use;

static void not_played(void)
{
	abort();
}

/* As dlsym() does it. */
void *world_look_up(const char *name)
{
	void *found = NULL;

#define VMFT_QEMU_OBJECT(type, symbol, size)                                                       \
	if (strcmp(name, #symbol) == 0)                                                            \
		memcpy(&found, &in_use->symbol, sizeof(found));
#define VMFT_QEMU_FUNCTION(result, symbol, arguments) VMFT_QEMU_OBJECT(, symbol, )
#define VMFT_GLIB_FUNCTION			      VMFT_QEMU_FUNCTION
#include "monitor/agent/qemu/symbols.def"

#include "monitor/agent/qemu/qemu-7.2.def"
#undef VMFT_QEMU_OBJECT
	return found ? found : (void *)not_played;
}

void world_use_qemu(const struct world_qemu *played)
{
	in_use = played;
	CU_ASSERT_EQUAL_FATAL(vmft_qemu_choose("7.2.22", world_places_7_2), 0);
	CU_ASSERT_PTR_NULL_FATAL(vmft_qemu_bind(world_look_up));
}

/* --- up and down ------------------------------------------------------------- */

static void map_memory(uint64_t ram_bytes, const uint64_t *disk_bytes, size_t disk_count)
{
	struct vmft_error err;
	int fd = vmft_iface_create(WORLD_RING, &err);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(vmft_iface_map(fd, &vmft_agent.iface, &vmft_agent.ring, &err), 0);
	close(fd);
	fd = vmft_area_create(ram_bytes, disk_bytes, disk_count, &err);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(vmft_area_map(fd, &vmft_agent.area, &err), 0);
	close(fd);
	world.iface = vmft_agent.iface;
	world.area = vmft_agent.area;
}

void world_reset_agent(void)
{
	memset(&vmft_agent, 0, sizeof(vmft_agent));
	memset(&vmft_announcer, 0, sizeof(vmft_announcer));
	memset(&vmft_buttons, 0, sizeof(vmft_buttons));
	memset(&vmft_checkpoint, 0, sizeof(vmft_checkpoint));
	memset(&vmft_clock, 0, sizeof(vmft_clock));
	memset(&vmft_consoles, 0, sizeof(vmft_consoles));
	memset(&vmft_digest, 0, sizeof(vmft_digest));
	memset(&vmft_disk_faults, 0, sizeof(vmft_disk_faults));
	memset(&vmft_feed, 0, sizeof(vmft_feed));
	memset(&vmft_gate, 0, sizeof(vmft_gate));
	memset(&vmft_icount, 0, sizeof(vmft_icount));
	memset(&vmft_input_state, 0, sizeof(vmft_input_state));
	memset(&vmft_nics, 0, sizeof(vmft_nics));
	memset(&vmft_operator, 0, sizeof(vmft_operator));
	memset(&vmft_output, 0, sizeof(vmft_output));
	memset(&vmft_qemu, 0, sizeof(vmft_qemu));
	memset(&vmft_power, 0, sizeof(vmft_power));
	memset(&vmft_requests, 0, sizeof(vmft_requests));
	memset(&vmft_signals, 0, sizeof(vmft_signals));
	memset(&vmft_tap, 0, sizeof(vmft_tap));
	memset(&vmft_track, 0, sizeof(vmft_track));
	memset(&vmft_turns, 0, sizeof(vmft_turns));
	vmft_device_state.fd = -1;
}

void world_up(uint64_t ram_bytes, const uint64_t *disk_bytes, size_t disk_count)
{
	memset(&world, 0, sizeof(world));
	world_reset_agent();
	map_memory(ram_bytes, disk_bytes, disk_count);
	vmft_agent.strategy = &vmft_agent_lockstep;
	CU_ASSERT_EQUAL_FATAL(pipe2(world.tap, O_NONBLOCK), 0);
	stand_in_for_libc();
	vmft_nics.count = 1;
	vmft_nics.nic[0].fd = world.tap[0];
	vmft_nics.found = true;
	vmft_agent.ram_fd = memfd_create("ram", 0);
	vmft_agent.area_fd = -1; /* where the area has holes cannot be told */
	CU_ASSERT_EQUAL_FATAL(ftruncate(vmft_agent.ram_fd, (off_t)ram_bytes), 0);
	world_use_qemu(&world_qemu);
	vmft_gate_init(&vmft_gate, 1000);
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_RUN);
	world.now = 1000;
	world.registers = "RIP=1 HLT=0\nCR0=2\n";
	world.autostart = 1;
	world.run_state = -1;
	memset(world.timers_state + 48, 0xff, 8); /* vm_clock_warp_start: none */
	world.warp_expires = -1;
	memcpy(world.timers_state + 88, &(int64_t *){&world.warp_expires}, sizeof(int64_t *));
}

static void close_stream(FILE *stream)
{
	if (stream)
		(void)fclose(stream);
}

void world_down(void)
{
	/* drops what a test left in the gate */
	atomic_store(&vmft_agent.fenced, true);
	(void)vmft_gate_service();
	close(world.tap[0]);
	close(world.tap[1]);
	close(vmft_agent.ram_fd);
	close_stream(vmft_tap.stream);
	close_stream(vmft_feed.stream);
	if (vmft_device_state.fd >= 0)
		close(vmft_device_state.fd);
	munmap(world.area, world.area->area_bytes);
	munmap(world.iface, VMFT_IFACE_HEADER + WORLD_RING);
	/* Nothing is marked in an area that is gone. */
	world_reset_agent();
	vmft_libc_look_up(); /* in the place of a test's fakes */
}

void world_futex_wait(uint32_t seen)
{
	atomic_fetch_add(&world.slept, 1);
	(void)syscall(SYS_futex, &vmft_agent.iface->monitor_futex, FUTEX_WAIT, seen, NULL, NULL, 0);
}

void world_wait_asleep(unsigned count)
{
	while (atomic_load(&world.slept) < count)
		usleep(1000);
}
