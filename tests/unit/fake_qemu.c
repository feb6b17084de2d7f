/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This file has more than 600 lines because it is one QEMU: its played functions work on the same
 * memory blocks, images and list of calls.
 */
#define _GNU_SOURCE
#include "fake_qemu.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <x86intrin.h>

#include "monitor/agent/checkpoint.h"
#include "monitor/agent/requests.h"
#include "monitor/agent/strategy.h"
#include "monitor/agent/tap.h"
#include "monitor/agent/track.h"
#include "monitor/common/area-setup.h"

struct fake_qemu qemu;
struct vmft_area *area;
int disk[2];

static __attribute__((format(printf, 1, 2))) void called(const char *format, ...)
{
	const size_t at = strlen(qemu.calls);
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(qemu.calls + at, sizeof(qemu.calls) - at, format, ap);
	va_end(ap);
}

/* --- QEMU's functions -------------------------------------------------------- */

static int main_loop;

static void *iohandler_context(void)
{
	return &main_loop;
}

static void schedule_oneshot(void *context, void (*call)(void *), void *user, const char *name)
{
	CU_ASSERT_PTR_EQUAL(context, &main_loop);
	CU_ASSERT_PTR_NOT_NULL(name);
	qemu.scheduled++;
	if (!qemu.deferred) {
		call(user);
		return;
	}
	CU_ASSERT_FATAL(qemu.bottom_halves < BOTTOM_HALVES);
	qemu.bottom_half[qemu.bottom_halves].call = call;
	qemu.bottom_half[qemu.bottom_halves++].user = user;
}

void main_loop_runs(void)
{
	for (unsigned i = 0; i < qemu.bottom_halves; i++)
		qemu.bottom_half[i].call(qemu.bottom_half[i].user);
	qemu.bottom_halves = 0;
}

void main_loop_comes_round(void)
{
	const unsigned count = qemu.bottom_halves;

	for (unsigned i = 0; i < count; i++)
		qemu.bottom_half[i].call(qemu.bottom_half[i].user);
	qemu.bottom_halves -= count;
	memmove(qemu.bottom_half, qemu.bottom_half + count,
		qemu.bottom_halves * sizeof(qemu.bottom_half[0]));
}

static int ram_foreach(int (*visit)(void *block, void *user), void *user)
{
	int rc = 0;

	for (unsigned i = 0; i < qemu.blocks && rc == 0; i++)
		rc = visit(&qemu.block[i], user);
	return rc;
}

static const char *ram_idstr(void *block)
{
	return ((struct block *)block)->name;
}

static void *ram_host(void *block)
{
	return ((struct block *)block)->host;
}

static uint64_t ram_length(void *block)
{
	return ((struct block *)block)->bytes;
}

static int ram_fd(void *block)
{
	return ((struct block *)block)->fd;
}

static void *region_from_host(void *host, uint64_t *ret_offset)
{
	for (unsigned i = 0; i < qemu.blocks; i++) {
		if (qemu.block[i].host == host) {
			*ret_offset = 0;
			return &qemu.block[i];
		}
	}
	return NULL;
}

/* Whole words, as in QEMU: what follows the block's last page belongs to another block. */
static void dirty_log_sync(void)
{
	qemu.synced = true;
}

/* Once the guest is stopped there is nobody to wait for. */
static void dirty_log_after_sync(void)
{
	CU_ASSERT(qemu.running);
}

static void *snapshot_and_clear(void *region, uint64_t at, uint64_t n, unsigned client)
{
	enum { DIRTY_MEMORY_MIGRATION = 2 };
	struct block *block = region;
	const uint64_t pages = (n + PAGE - 1) / PAGE;
	const size_t words = (pages + 63) / 64;
	uint64_t *snapshot = malloc((2 + words) * 8);

	CU_ASSERT_FATAL(snapshot && at == 0 && n == block->bytes);
	CU_ASSERT(qemu.synced);
	CU_ASSERT_EQUAL(client, DIRTY_MEMORY_MIGRATION);
	snapshot[0] = 0;
	snapshot[1] = words * 64 * PAGE;
	memcpy(snapshot + 2, block->dirty, words * 8);
	if (pages % 64)
		snapshot[1 + words] |= ~UINT64_C(0) << (pages % 64);
	memset(block->dirty, 0, words * 8);
	qemu.snapshots++;
	return snapshot;
}

static void free_snapshot(void *memory)
{
	qemu.snapshots--;
	free(memory);
}

enum { GLOBAL_DIRTY_MIGRATION = 1 };

static void dirty_log_start(unsigned flags)
{
	CU_ASSERT_EQUAL(flags, GLOBAL_DIRTY_MIGRATION);
	qemu.log_starts++;
}

static void dirty_log_stop(unsigned flags)
{
	CU_ASSERT_EQUAL(flags, GLOBAL_DIRTY_MIGRATION);
	qemu.log_stops++;
}

static bool runstate_is_running(void)
{
	return qemu.running;
}

static void add_to_timer(size_t offset, uint64_t what)
{
	uint64_t value;

	memcpy(&value, world.timers_state + offset, sizeof(value));
	value += what;
	memcpy(world.timers_state + offset, &value, sizeof(value));
}

/* As softmmu/cpu-timers.c: a clock that runs is the host's and its offset, one that stands still
 * its offset. */
static void stop_clocks(void)
{
	if (qemu.ticks) {
		add_to_timer(8, __rdtsc());
		add_to_timer(56, world.now);
	}
	qemu.ticks = false;
}

static void start_clocks(void)
{
	if (!qemu.ticks) {
		add_to_timer(8, -__rdtsc());
		add_to_timer(56, -world.now);
	}
	qemu.ticks = true;
}

static int vm_stop(int run_state)
{
	called("vm-stop:%d ", run_state);
	stop_clocks();
	qemu.running = false;
	world.run_state = run_state;
	return 0;
}

static void vm_start(void)
{
	called("vm-start ");
	start_clocks();
	qemu.running = true;
	world.run_state = QEMU_RUNNING;
}

static void disable_events(void)
{
	called("events-off ");
}

static void enable_events(void)
{
	called("events-on ");
}

static void drain_all(void)
{
	called("drain ");
}

int qemu_flush_all(void)
{
	called("flush ");
	return 0;
}

static void store_running(void)
{
	called("store-running ");
}

static void *channel_new_fd(int fd)
{
	qemu.file = (struct file){.fd = fd, .references = 1};
	return &qemu.file;
}

static void *file_new(void *channel)
{
	((struct file *)channel)->references++;
	return channel;
}

static void unref(void *object)
{
	((struct file *)object)->references--;
}

static int file_close(void *file)
{
	struct file *f = file;

	called("close ");
	CU_ASSERT_EQUAL(f->references, 1); /* the channel's own is gone */
	f->references = 0;
	return close(f->fd);
}

const uint8_t clock_event[9] = {29, 0, 0, 0, 0, 0, 0, 0x12, 0x34};
static const uint8_t instruction[INSTRUCTION_BYTES] = {0, 0, 0, 0, 9};

/* The guest has run some since its last event. */
static void save_instructions(void)
{
	called("instructions ");
	vmft_tap_write(instruction, sizeof(instruction));
}

static void put_bytes(int fd, const uint8_t *bytes, size_t n)
{
	CU_ASSERT_EQUAL(write(fd, bytes, n), (ssize_t)n);
}

/* As QEMU's: on the way the log is asked for its position, and a device reads a clock. */
int qemu_save_device_state(void *file)
{
	called("save ");
	world.now += qemu.save_takes_ns;
	put_bytes(((struct file *)file)->fd, qemu.state, qemu.state_bytes);
	if (!vmft_tap.stream)
		return qemu.save_result;
	qemu.saved_at = (uint64_t)ftell(vmft_tap.stream) - VMFT_LOG_HEADER_BYTES;
	vmft_tap_write(clock_event, sizeof(clock_event));
	return qemu.save_result;
}

static void activate_all(void **err)
{
	const struct block *bios = &qemu.block[BIOS - RAM];

	called("activate ");
	qemu.shadow_was_there =
	    qemu.shadow_expected && memcmp(bios->host, qemu.shadow_expected, bios->bytes) == 0;
	*err = qemu.activate_error;
}

static const char *error_get_pretty(const void *err)
{
	return err;
}

static void pre_loadvm(void)
{
	called("pre-load ");
}

static void system_reset(int shutdown_cause)
{
	called("reset ");
	CU_ASSERT_EQUAL(shutdown_cause, 10); /* snapshot-load */
	/* In any other state rom_reset() would write to guest memory. */
	CU_ASSERT_EQUAL(world.run_state, QEMU_INMIGRATE);
	/* A device reads a clock. */
	if (vmft_tap.stream)
		vmft_tap_write(clock_event, sizeof(clock_event));
}

static void *machine(void)
{
	return &qemu;
}

static int object_each(void *object, int (*visit)(void *child, void *user), void *user)
{
	struct fake_object *const devices[] = {&qemu.other, &qemu.rng.object, &qemu.ioapic.object,
					       &qemu.i2c_bus, &qemu.flash.object};
	int rc = 0;

	CU_ASSERT_PTR_EQUAL(object, &qemu);
	for (size_t i = 0; rc == 0 && i < sizeof(devices) / sizeof(devices[0]); i++)
		rc = visit(devices[i], user);
	return rc;
}

static void *object_cast(void *object, const char *type)
{
	return strcmp(((struct fake_object *)object)->type, type) == 0 ? object : NULL;
}

static const char *object_name(const void *object)
{
	CU_ASSERT_PTR_EQUAL(object, &qemu.flash);
	return "system.flash0";
}

static void set_romd(void *region, bool romd)
{
	CU_ASSERT_STRING_EQUAL(((struct block *)region)->name, "system.flash0");
	called(romd ? "flash-array " : "flash-device ");
}

static void timer_del(void *timer)
{
	((struct fake_timer *)timer)->expire_time = -1;
}

static void i2c_end_transfer(void *bus)
{
	CU_ASSERT_PTR_EQUAL(bus, &qemu.i2c_bus);
	called("i2c-end ");
}

static void *aio_context(void)
{
	return &qemu.file;
}

/* One bottom half is waiting. */
static bool aio_poll(void *context, bool blocking)
{
	CU_ASSERT_PTR_EQUAL(context, &qemu.file);
	CU_ASSERT(!blocking);
	called("poll ");
	qemu.polls++;
	return qemu.polls % 2 == 1;
}

/* Devices in the middle of something; qemu.timer[0] is the random generator's. */
static void devices_busy(void)
{
	for (size_t i = 0; i < 2; i++)
		qemu.timer[i].expire_time = 4711;
	qemu.timer[0].opaque = &qemu.rng;
	qemu.timer[1].opaque = &qemu.ioapic;
	qemu.rng = (struct fake_rng){.object.type = "virtio-rng-device",
				     .max_bytes = 1024,
				     .period_ms = 1000,
				     .timer = &qemu.timer[0],
				     .quota_remaining = 3};
	qemu.ioapic = (struct fake_ioapic){.object.type = "ioapic", .timer = &qemu.timer[1]};
	qemu.ioapic.irq_level[23] = 1;
	qemu.ioapic.irq_eoi[0] = 9999;
	qemu.ioapic.irq_eoi[23] = 1;
	qemu.other.type = "isa-pit";
	qemu.i2c_bus.type = "i2c-bus";
	qemu.flash.object.type = "none";
}

static unsigned file_get_be32(void *file)
{
	uint8_t b[4] = {0};

	called("be32 ");
	CU_ASSERT_EQUAL(read(((struct file *)file)->fd, b, 4), 4);
	return (unsigned)b[0] << 24 | (unsigned)b[1] << 16 | (unsigned)b[2] << 8 | b[3];
}

const uint8_t load_event[9] = {28, 0, 0, 0, 0, 0, 0, 0, 1};

static int load_device_state(void *file)
{
	ssize_t n = read(((struct file *)file)->fd, qemu.loaded, sizeof(qemu.loaded));

	called("load ");
	qemu.load_finds_flash_locked = qemu.flash.ro;
	qemu.loaded_bytes = n < 0 ? 0 : (size_t)n;
	if (qemu.load_writes) {
		qemu.load_found = *qemu.load_writes;
		*qemu.load_writes = 0xff;
	}
	if (qemu.load_says)
		(void)fprintf(stderr, "%s", qemu.load_says);
	if (vmft_tap.stream) {
		/* A QEMU that records reads a clock and begins to count requests anew. */
		vmft_tap_write(load_event, sizeof(load_event));
		memset(world.replay_state + BLOCK_REQUEST_ID, 0, 8);
	}
	return qemu.load_result;
}

/* --- a checkpointed guest's ----------------------------------------------------- */

static void runstate_set(int run_state)
{
	called("runstate:%d ", run_state);
	world.run_state = run_state;
	qemu.running = run_state == QEMU_RUNNING;
}

static bool runstate_check(int run_state)
{
	return world.run_state == run_state;
}

/* A board without power management, unless a test gives it some. */
static void *object_of_type(const char *path, const char *type, bool *ret_ambiguous)
{
	CU_ASSERT_STRING_EQUAL(path, "");
	CU_ASSERT_STRING_EQUAL(type, "acpi-device-interface");
	CU_ASSERT_PTR_NULL(ret_ambiguous);
	return &qemu;
}

static uint64_t object_get_uint(void *object, const char *name, void **err)
{
	CU_ASSERT_PTR_EQUAL(object, &qemu);
	CU_ASSERT_STRING_EQUAL(name, "pm_io_base");
	CU_ASSERT_PTR_NULL(err);
	return qemu.pm_base;
}

static uint16_t port_in16(uint32_t port)
{
	if (port == qemu.pm_base + 2)
		return qemu.pm_enable;
	CU_ASSERT_EQUAL(port, qemu.pm_base + 4);
	return qemu.pm_control;
}

static int store_state(void)
{
	CU_ASSERT_EQUAL(world.run_state, QEMU_SUSPENDED);
	called("store-state ");
	return 0;
}

static bool state_received(void)
{
	return qemu.state_loaded != 0;
}

static int state_loaded(void)
{
	return qemu.state_loaded;
}

static void clock_enable(int clock, bool enabled)
{
	called("clock:%d:%d ", clock, enabled);
}

static void wakeup_enable(int reason, bool enabled)
{
	called("wakes:%d:%d ", reason, enabled);
}

static void cpu_disable_ticks(void)
{
	called("ticks-off ");
	CU_ASSERT(qemu.ticks);
	stop_clocks();
}

static void cpu_enable_ticks(void)
{
	called("ticks-on ");
	CU_ASSERT(!qemu.ticks);
	world.now += qemu.ticks_wait_ns;
	start_clocks();
}

static void pause_all_vcpus(void)
{
	called("pause ");
	world.now += qemu.pause_takes_ns;
}

static void resume_all_vcpus(void)
{
	called("resume ");
}

/* As kvmclock_vm_state_change() (hw/i386/kvm/clock.c): what is read at the stop is set later. */
static void vm_state_notify(bool running, int run_state)
{
	struct kvm_clock_data data = {.clock = qemu.kvm_read};

	called("notify:%d:%d ", running, run_state);
	CU_ASSERT_EQUAL(ioctl(-1, running ? KVM_SET_CLOCK : KVM_GET_CLOCK, &data), 0);
	if (!running)
		qemu.kvm_read = data.clock;
}

static void cpu_throttle_set(int percent)
{
	called("throttle:%d ", percent);
}

static void cpu_throttle_stop(void)
{
	called("throttle-off ");
}

static int reset_requested_get(void)
{
	return qemu.reset_requested;
}

static int shutdown_requested_get(void)
{
	return qemu.shutdown_requested;
}

/* Of QEMU's tables of commands: what the agent knows them by. */
static void marshal_cont(void *arguments, void **ret, void **err)
{
	(void)arguments;
	(void)ret;
	(void)err;
}

static void human_cont(void *monitor, const void *arguments)
{
	(void)monitor;
	(void)arguments;
}

static struct {
	struct {
		const char *name;
		void (*run)(void *arguments, void **ret, void **err);
	} qmp;
	struct {
		const char *name, *words[4];
		void (*run)(void *monitor, const void *arguments);
		void *rest[4];
	} hmp[2];
} commands;

static void each_command(const void *list, void (*call)(const void *command, void *user),
			 void *user)
{
	(void)list;
	call(&commands.qmp, user);
}

static const char *command_name(const void *command)
{
	(void)command;
	return commands.qmp.name;
}

static void use_commands(struct world_qemu *q)
{
	commands.qmp.name = "cont";
	commands.qmp.run = marshal_cont;
	commands.hmp[0].name = "cont|c";
	commands.hmp[0].run = human_cont;
	q->qmp_commands = &commands.qmp;
	q->hmp_cmds = commands.hmp;
	q->qmp_for_each_command = each_command;
	q->qmp_command_name = command_name;
	q->qmp_marshal_cont = marshal_cont;
	q->hmp_cont = human_cont;
}

static void qmp_quit(void **err)
{
	called("quit ");
	CU_ASSERT_PTR_NULL(err);
}

static void register_shutdown_notifier(struct vmft_qemu_notifier *notifier)
{
	qemu.shutdown_notifier = notifier;
}

static void killed(int signal, pid_t pid)
{
	called("killed:%d ", signal);
	CU_ASSERT(pid >= 0);
}

static bool phase_check(int phase)
{
	return qemu.phase >= phase;
}

/* --- libc's, after interpose.c's ------------------------------------------------ */

static ssize_t libc_pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
	qemu.written++;
	return syscall(SYS_pwrite64, fd, bytes, n, offset);
}

static ssize_t libc_pwritev64(int fd, const struct iovec *iov, int count, off64_t offset)
{
	qemu.written++;
	return syscall(SYS_pwritev, fd, iov, count, offset, 0);
}

static int libc_fallocate64(int fd, int mode, off64_t offset, off64_t n)
{
	qemu.written++;
	return (int)syscall(SYS_fallocate, fd, mode, offset, n);
}

/* There is no block device here: it is believed to have done it. */
static int libc_ioctl(int fd, unsigned long request, ...)
{
	struct kvm_clock_data *clock;
	va_list ap;

	(void)fd;
	qemu.written++;
	if (request != KVM_GET_CLOCK && request != KVM_SET_CLOCK)
		return 0;
	va_start(ap, request);
	clock = va_arg(ap, struct kvm_clock_data *);
	va_end(ap);
	if (request == KVM_GET_CLOCK) {
		clock->clock = world.now + qemu.kvm_ahead;
	} else {
		world.now += qemu.kvm_wait_ns;
		qemu.kvm_wait_ns = 0;
		qemu.kvm_ahead = clock->clock - world.now;
	}
	return 0;
}

/* --- up and down ------------------------------------------------------------- */

struct block *qemu_add_block(const char *name, uint64_t bytes, int fd)
{
	struct block *block = &qemu.block[qemu.blocks++];

	*block = (struct block){.name = name, .bytes = bytes, .fd = fd};
	block->host = malloc(bytes ? bytes : 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(block->host);
	for (uint64_t i = 0; i < bytes; i++)
		block->host[i] = (uint8_t)(qemu.blocks + i / PAGE);
	return block;
}

/* Known to the agent by device and inode, as the wrapper tells it. */
static void name_disks(void)
{
	struct stat st;

	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL_FATAL(fstat(disk[i], &st), 0);
		vmft_track.disk[i].device = st.st_dev;
		vmft_track.disk[i].inode = st.st_ino;
	}
	vmft_track.disk_count = 2;
}

/* What world_up() plays of it stays. */
static void play(void)
{
	static struct world_qemu played;
	struct world_qemu *q = &played;

	played = world_qemu;
	q->runstate_is_running = runstate_is_running;
	q->vm_stop = vm_stop;
	q->vm_start = vm_start;
	q->replay_disable_events = disable_events;
	q->replay_enable_events = enable_events;
	q->bdrv_drain_all = drain_all;
	q->bdrv_flush_all = qemu_flush_all;
	q->bdrv_activate_all = activate_all;
	q->error_get_pretty = error_get_pretty;
	q->memory_global_dirty_log_start = dirty_log_start;
	q->memory_global_dirty_log_stop = dirty_log_stop;
	q->memory_region_from_host = region_from_host;
	q->cpu_physical_memory_snapshot_and_clear_dirty = snapshot_and_clear;
	q->memory_global_dirty_log_sync = dirty_log_sync;
	q->memory_global_after_dirty_log_sync = dirty_log_after_sync;
	q->qemu_ram_foreach_block = ram_foreach;
	q->qemu_ram_get_idstr = ram_idstr;
	q->qemu_ram_get_host_addr = ram_host;
	q->qemu_ram_get_used_length = ram_length;
	q->qemu_ram_get_fd = ram_fd;
	q->iohandler_get_aio_context = iohandler_context;
	q->aio_bh_schedule_oneshot_full = schedule_oneshot;
	q->qio_channel_file_new_fd = channel_new_fd;
	q->qemu_file_new_output = file_new;
	q->qemu_file_new_input = file_new;
	q->qemu_fclose = file_close;
	q->qemu_get_be32 = file_get_be32;
	q->object_unref = unref;
	q->qemu_save_device_state = qemu_save_device_state;
	q->qemu_load_device_state = load_device_state;
	q->qemu_system_reset = system_reset;
	q->cpu_synchronize_all_pre_loadvm = pre_loadvm;
	q->qdev_get_machine = machine;
	q->object_child_foreach_recursive = object_each;
	q->object_dynamic_cast = object_cast;
	q->object_get_canonical_path_component = object_name;
	q->memory_region_rom_device_set_romd = set_romd;
	q->timer_del = timer_del;
	q->i2c_end_transfer = i2c_end_transfer;
	q->qemu_get_aio_context = aio_context;
	q->aio_poll = aio_poll;
	q->global_state_store_running = store_running;
	q->replay_save_instructions = save_instructions;
	q->g_free = free_snapshot;
	q->runstate_check = runstate_check;
	q->runstate_set = runstate_set;
	q->cpu_disable_ticks = cpu_disable_ticks;
	q->cpu_enable_ticks = cpu_enable_ticks;
	q->pause_all_vcpus = pause_all_vcpus;
	q->resume_all_vcpus = resume_all_vcpus;
	q->vm_state_notify = vm_state_notify;
	q->cpu_throttle_set = cpu_throttle_set;
	q->cpu_throttle_stop = cpu_throttle_stop;
	q->qmp_quit = qmp_quit;
	use_commands(q);
	q->global_state_store = store_state;
	q->global_state_received = state_received;
	q->global_state_get_runstate = state_loaded;
	q->qemu_clock_enable = clock_enable;
	q->qemu_system_wakeup_enable = wakeup_enable;
	q->object_resolve_path_type = object_of_type;
	q->object_property_get_uint = object_get_uint;
	q->cpu_inw = port_in16;
	q->qemu_reset_requested_get = reset_requested_get;
	q->qemu_shutdown_requested_get = shutdown_requested_get;
	q->qemu_register_shutdown_notifier = register_shutdown_notifier;
	q->shutdown_action = &qemu.shutdown_action;
	q->qemu_system_killed = killed;
	q->phase_check = phase_check;
	world_use_qemu(q);
}

static void up(uint64_t ram_bytes)
{
	static const uint64_t disk_bytes[] = {100 * BLOCK, 3 * BLOCK + 100};
	static const uint8_t state[] = "QEVM\0\0\0\3devices";

	memset(&qemu, 0, sizeof(qemu));
	world_up(ram_bytes, disk_bytes, 2);
	area = vmft_agent.area;
	play();
	for (unsigned i = 0; i < 2; i++) {
		disk[i] = memfd_create("disk", 0);
		CU_ASSERT_FATAL(disk[i] >= 0);
		CU_ASSERT_EQUAL(ftruncate(disk[i], (off_t)disk_bytes[i]), 0);
	}
	name_disks();
	vmft_libc_table.pwrite64 = libc_pwrite64;
	vmft_libc_table.pwritev64 = libc_pwritev64;
	vmft_libc_table.fallocate64 = libc_fallocate64;
	vmft_libc_table.ioctl = libc_ioctl;
	devices_busy();
	qemu.running = true;
	qemu.state = state;
	qemu.state_bytes = sizeof(state);
}

static void add_blocks(uint64_t ram_bytes)
{
	qemu_add_block("vmft.ram", ram_bytes, 7);
	qemu_add_block("pc.bios", 3 * PAGE + 100, -1);
	qemu_add_block("vga.vram", 70 * PAGE, -1);
}

void qemu_up_with(uint64_t ram_bytes)
{
	up(ram_bytes);
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_OPEN);
	CU_ASSERT_PTR_NOT_NULL(vmft_tap_open(0));
	vmft_tap_write(clock_event, sizeof(clock_event));
}

void qemu_up_checkpoint(uint64_t ram_bytes)
{
	up(ram_bytes);
	vmft_agent.strategy = &vmft_agent_checkpoint;
	atomic_store(&vmft_agent.iface->agent_state, VMFT_AGENT_RECORDING);
	world.run_state = QEMU_RUNNING;
	qemu.ticks = true;
	add_blocks(ram_bytes);
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_TRACK), 0);
}

void qemu_up(void)
{
	qemu_up_with(RAM_PAGES * PAGE);
	add_blocks(RAM_PAGES * PAGE);
}

void qemu_down(void)
{
	CU_ASSERT_EQUAL(qemu.snapshots, 0);
	CU_ASSERT_EQUAL(qemu.file.references, 0);
	for (unsigned i = 0; i < qemu.blocks; i++)
		free(qemu.block[i].host);
	close(disk[0]);
	close(disk[1]);
	world_down();
}

int agent_ask(enum vmft_area_op op)
{
	const uint32_t request = atomic_load(&area->request) + 1;

	atomic_store(&area->op, op);
	atomic_store(&area->request, request);
	vmft_requests_service();
	CU_ASSERT_EQUAL(atomic_load(&area->done), request);
	if (atomic_load(&area->result) < 0)
		CU_ASSERT_NOT_EQUAL(area->error[0], '\0');
	return atomic_load(&area->result);
}

void qemu_up_tracking(void)
{
	qemu_up();
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_TRACK), 0);
}

uint64_t area_marks(unsigned region, unsigned word)
{
	return atomic_load(&vmft_region_bitmap(area, &area->region[region])[word]);
}

bool area_nothing_marked(unsigned region)
{
	for (unsigned w = 0; w < vmft_region_bitmap_bytes(&area->region[region]) / 8; w++)
		if (area_marks(region, w))
			return false;
	return true;
}

uint64_t area_all_marks(unsigned region)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < vmft_region_bitmap_bytes(&area->region[region]) / 8; w++)
		n += (uint64_t)__builtin_popcountll(area_marks(region, w));
	return n;
}

void guest_writes(unsigned region, unsigned page, uint8_t value)
{
	struct block *block = &qemu.block[region - RAM];

	block->host[page * PAGE] = value;
	block->dirty[page / 64] |= UINT64_C(1) << (page % 64);
}

const uint8_t *area_shadow(unsigned region)
{
	return (const uint8_t *)area + area->region[region].shadow_at;
}

void piece_is(struct pieces *p, uint32_t region, uint64_t offset, uint32_t n)
{
	static uint8_t image[BLOCK];
	const uint8_t *at = (const uint8_t *)area + area->staging_at + p->at, *want = image;
	struct vmft_area_piece piece;

	CU_ASSERT_FATAL(p->at < atomic_load(&area->staged_bytes));
	memcpy(&piece, at, sizeof(piece));
	CU_ASSERT_EQUAL(piece.region, region);
	CU_ASSERT_EQUAL(piece.offset, offset);
	CU_ASSERT_EQUAL_FATAL(piece.bytes, n);
	if (region >= RAM)
		want = qemu.block[region - RAM].host + offset;
	else
		CU_ASSERT_EQUAL(pread(disk[region], image, n, (off_t)offset), (ssize_t)n);
	CU_ASSERT_EQUAL(memcmp(at + sizeof(piece), want, n), 0);
	p->at += sizeof(piece) + (n + 15) / 16 * 16;
}

void no_more_pieces(struct pieces *p)
{
	CU_ASSERT_EQUAL(p->at, atomic_load(&area->staged_bytes));
}

void area_budget(uint64_t bytes)
{
	atomic_store(&area->budget_bytes, bytes);
}
