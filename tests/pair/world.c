/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This file has more than 600 lines because it is one world: both hosts, their agents and their
 * arbiter, which each test needs together.
 */
#define _GNU_SOURCE
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "logging-channel/event.h"
#include "monitor/common/area-setup.h"
#include "monitor/common/iface-setup.h"

#define MS	    UINT64_C(1000000)
#define PAGE	    VMFT_RAM_BLOCK_BYTES
#define RING_BYTES  (1u << 20)
#define EVENT_NS    (5 * MS)
#define STATE_BYTES 5000u

enum { RAM = WORLD_DISKS, ROM, REGIONS };

struct world_side world_side[WORLD_SIDES];
uint64_t world_generation;

static char directory[48], pair_file[64];
static bool ended;
char world_record[VMFT_ARBITER_OWNER_MAX], world_mark[VMFT_ARBITER_OWNER_MAX];

static void must(bool good)
{
	if (!good)
		abort();
}

static struct world_side *side_of(const struct vmft_monitor *m)
{
	return m == &world_side[WORLD_PRIMARY].m ? &world_side[WORLD_PRIMARY]
						 : &world_side[WORLD_BACKUP];
}

/* --- in the place of journal.c and requests.c ------------------------------------ */

void vmft_journal_say(struct vmft_journal *journal, const char *format, ...)
{
	struct vmft_monitor *m =
	    (void *)((uint8_t *)journal - offsetof(struct vmft_monitor, journal));
	struct world_side *side = side_of(m);
	const size_t used = strlen(side->journal);
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(side->journal + used, sizeof(side->journal) - used - 1, format, ap);
	va_end(ap);
	strcat(side->journal, "\n");
}

void vmft_journal_state(struct vmft_journal *journal, const struct vmft_core *before,
			const struct vmft_core *now, bool quiet)
{
	if (before && !quiet)
		vmft_journal_say(journal, "%s, generation %llu%s%s", vmft_state_name(now->state),
				 (unsigned long long)now->generation,
				 now->why == VMFT_WHY_NONE ? "" : ": ",
				 now->why == VMFT_WHY_NONE ? "" : vmft_why_text(now->why));
}

int vmft_requests_open(struct vmft_monitor *m, struct vmft_error *err)
{
	(void)m;
	(void)err;
	return 0;
}

void vmft_requests_close(struct vmft_monitor *m)
{
	(void)m;
}

static void guest_is_gone(struct world_side *side)
{
	side->killed = true;
	side->running = false;
	world_ring(side->m.pidfd);
}

/* In the place of libc's: nobody is killed here. */
int kill(pid_t pid, int signal)
{
	(void)signal;
	for (unsigned i = 0; i < WORLD_SIDES; i++)
		if (world_side[i].up && world_side[i].m.options.guest_pid == pid)
			guest_is_gone(&world_side[i]);
	return 0;
}

/* --- in the place of the arbiters: a variable ------------------------------------- */

struct vmft_arbiter_worker {
	int bell;
	const char *owner;
	struct vmft_arbiter_answer answer[VMFT_ASKS];
	bool answered[VMFT_ASKS];
};

static int fake_open(const struct vmft_arbiter_settings *settings, struct vmft_arbiter **ret,
		     struct vmft_error *err)
{
	(void)settings;
	(void)err;
	*ret = NULL;
	return 0;
}

static int fake_latest(struct vmft_arbiter *arbiter, struct vmft_arbiter_latest *ret,
		       struct vmft_error *err)
{
	(void)arbiter;
	(void)err;
	*ret = (struct vmft_arbiter_latest){.generation = world_generation, .ended = ended};
	(void)snprintf(ret->owner, sizeof(ret->owner), "%s", world_record);
	return 0;
}

static enum vmft_claim fake_claim(struct vmft_arbiter *arbiter,
				  const struct vmft_arbiter_claim *claim, struct vmft_error *err)
{
	(void)arbiter;
	(void)err;
	if (claim->generation == world_generation)
		return strcmp(world_record, claim->owner) == 0 ? VMFT_CLAIM_WON : VMFT_CLAIM_LOST;
	if (claim->generation < world_generation)
		return VMFT_CLAIM_LOST;
	if (claim->generation > world_generation + 1 || strcmp(world_record, claim->after) != 0)
		return VMFT_CLAIM_UNREACHABLE;
	if (world_generation > 0 && ended != claim->starts)
		return VMFT_CLAIM_LOST;
	world_generation = claim->generation;
	ended = false;
	(void)snprintf(world_record, sizeof(world_record), "%s", claim->owner);
	return VMFT_CLAIM_WON;
}

static int fake_mark(struct vmft_arbiter *arbiter, const char *host, const char *text,
		     struct vmft_error *err)
{
	(void)arbiter;
	(void)host;
	(void)err;
	(void)snprintf(world_mark, sizeof(world_mark), "%s", text);
	return 0;
}

static const struct vmft_arbiter_ops fake_ops = {
    .scheme = "file:",
    .open = fake_open,
    .latest = fake_latest,
    .claim = fake_claim,
    .mark = fake_mark,
};

const struct vmft_arbiter_ops *vmft_arbiter_find(const char *spec, const char **ret_where)
{
	*ret_where = spec;
	return &fake_ops;
}

int vmft_arbiter_worker_start(const struct vmft_arbiter_ops *ops, struct vmft_arbiter *arbiter,
			      const char *who, struct vmft_arbiter_worker **ret)
{
	(void)ops;
	(void)arbiter;
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	(*ret)->owner = who;
	(*ret)->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return 0;
}

int vmft_arbiter_worker_fd(const struct vmft_arbiter_worker *worker)
{
	return worker->bell;
}

void vmft_arbiter_worker_ask(struct vmft_arbiter_worker *worker,
			     const struct vmft_arbiter_question *question)
{
	const struct vmft_arbiter_claim claim = {
	    .generation = question->generation,
	    .owner = worker->owner,
	    .after = question->record,
	};
	struct vmft_arbiter_answer *answer = &worker->answer[question->ask];

	*answer = (struct vmft_arbiter_answer){.ask = question->ask};
	if (question->ask == VMFT_ASK_CLAIM)
		answer->claim = fake_claim(NULL, &claim, NULL);
	else if (question->ask == VMFT_ASK_LATEST)
		(void)fake_latest(NULL, &answer->latest, NULL);
	else if (question->ask == VMFT_ASK_MARK)
		(void)snprintf(answer->mark, sizeof(answer->mark), "%s", world_mark);
	else if (question->generation == world_generation)
		ended = true;
	worker->answered[question->ask] = true;
	world_ring(worker->bell);
}

bool vmft_arbiter_worker_answer(struct vmft_arbiter_worker *worker, struct vmft_arbiter_answer *ret)
{
	eventfd_t count;

	(void)eventfd_read(worker->bell, &count);
	for (unsigned i = 0; i < VMFT_ASKS; i++) {
		if (!worker->answered[i])
			continue;
		worker->answered[i] = false;
		*ret = worker->answer[i];
		return true;
	}
	return false;
}

bool vmft_arbiter_worker_wait(struct vmft_arbiter_worker *worker, uint64_t milliseconds)
{
	(void)worker;
	(void)milliseconds;
	return true;
}

/* --- the agent -------------------------------------------------------------------- */

static void ring_monitor(struct world_side *side)
{
	world_ring(side->m.agent.bell_monitor);
}

static void describe(struct world_side *side)
{
	struct vmft_area *area = side->area;
	const struct vmft_region *last = &area->region[WORLD_DISKS - 1];

	area->region[RAM] = (struct vmft_region){
	    .kind = VMFT_REGION_RAM,
	    .bytes = WORLD_RAM_BYTES,
	    .bitmap_at = last->bitmap_at + vmft_region_bitmap_bytes(last),
	    .name = "vmft.ram",
	};
	area->region[ROM] = (struct vmft_region){
	    .kind = VMFT_REGION_SHADOW,
	    .bytes = WORLD_ROM_BYTES,
	    .bitmap_at = area->region[RAM].bitmap_at + 8,
	    .shadow_at = area->shadow_at,
	    .name = "pc.bios",
	};
	atomic_store(&area->region_count, REGIONS);
	if (side->running)
		memset((uint8_t *)area + area->shadow_at, 'b', WORLD_ROM_BYTES);
}

/* Of an image, past fault.c: it is QEMU's. */
static void disk_io(long call, const struct world_side *side, uint32_t disk, void *bytes, size_t n)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, side->disk[disk], O_RDWR | O_CLOEXEC);

	must(fd >= 0 && syscall(call, fd, bytes, n, 0) == (long)n);
	(void)close(fd);
}

/* The guest writes a page, and a part of an image. */
static void guest_writes(struct world_side *side)
{
	const uint64_t page = side->writes % (WORLD_RAM_BYTES / PAGE);
	uint8_t part[PAGE];

	if (side->quiet)
		return;
	side->writes++;
	memset(part, (int)side->writes, sizeof(part));
	memcpy(side->ram + page * PAGE, part, sizeof(part));
	disk_io(SYS_pwrite64, side, 0, part, sizeof(part));
	atomic_fetch_or(vmft_region_bitmap(side->area, &side->area->region[RAM]), UINT64_C(1)
										      << page);
	atomic_fetch_or(vmft_region_bitmap(side->area, &side->area->region[0]), 1);
}

static uint8_t *stage_piece(struct world_side *side, uint32_t region, uint64_t offset, uint32_t n)
{
	struct vmft_area *area = side->area;
	const uint64_t used = atomic_load(&area->staged_bytes);
	struct vmft_area_piece *piece = (void *)((uint8_t *)area + area->staging_at + used);

	*piece = (struct vmft_area_piece){.offset = offset, .region = region, .bytes = n};
	atomic_store(&area->staged_bytes, used + sizeof(*piece) + (n + UINT64_C(15)) / 16 * 16);
	return (uint8_t *)(piece + 1);
}

/* All that is marked, how long the images are, and the state of the devices. */
static void stage(struct world_side *side)
{
	struct vmft_area *area = side->area;
	const uint64_t pages = atomic_exchange(vmft_region_bitmap(area, &area->region[RAM]), 0);

	atomic_store(&area->staged_bytes, 0);
	for (unsigned i = 0; i < WORLD_RAM_BYTES / PAGE; i++)
		if (pages >> i & 1)
			memcpy(stage_piece(side, RAM, i * PAGE, PAGE), side->ram + i * PAGE, PAGE);
	if (atomic_exchange(vmft_region_bitmap(area, &area->region[0]), 0) & 1)
		disk_io(SYS_pread64, side, 0, stage_piece(side, 0, 0, PAGE), PAGE);
	for (uint32_t i = 0; i < WORLD_DISKS; i++)
		(void)stage_piece(side, i, WORLD_DISK_BYTES, 0);
	memset((uint8_t *)area + area->state_at, (int)side->writes, STATE_BYTES);
	atomic_store(&area->state_bytes, STATE_BYTES);
}

static bool is_lockstep(const struct world_side *side)
{
	return side->m.options.strategy == &vmft_strategy_lockstep;
}

static void point(struct world_side *side)
{
	struct vmft_iface *iface = side->iface;
	uint64_t at = atomic_load(&iface->log_position);

	stage(side);
	if (!is_lockstep(side)) {
		at++;
		atomic_store(&iface->log_position, at);
	} else {
		atomic_store(&iface->log_tail, at);
		atomic_store(&iface->log_head, at);
	}
	atomic_store(&side->area->point_position, at);
}

static void go_live(struct world_side *side)
{
	atomic_store(&side->iface->live_at_ns, vmft_loop_now());
	atomic_store(&side->iface->agent_state, VMFT_AGENT_LIVE);
	side->running = true;
}

static void load(struct world_side *side)
{
	const uint64_t position = atomic_load(&side->area->load_position);

	atomic_store(&side->iface->log_position, position);
	if (is_lockstep(side))
		atomic_store(&side->iface->agent_state, VMFT_AGENT_REPLAYING);
	else
		go_live(side);
}

static void answer(struct world_side *side)
{
	struct vmft_area *area = side->area;

	switch (atomic_load(&area->op)) {
	case VMFT_AREA_DESCRIBE:
	case VMFT_AREA_TRACK:
		describe(side);
		break;
	case VMFT_AREA_SCAN:
		guest_writes(side);
		break;
	case VMFT_AREA_POINT:
	case VMFT_AREA_EPOCH:
		guest_writes(side);
		point(side);
		break;
	case VMFT_AREA_LOAD:
		load(side);
		break;
	default:
		break;
	}
	side->answered = atomic_load(&area->request);
	atomic_store(&area->result, 0);
	atomic_store(&area->done, side->answered);
	ring_monitor(side);
}

static void obey(struct world_side *side, uint32_t command)
{
	struct vmft_iface *iface = side->iface;
	const bool primary = side == &world_side[WORLD_PRIMARY];

	if ((command == VMFT_COMMAND_RUN || command == VMFT_COMMAND_OPEN) &&
	    side->command == VMFT_COMMAND_HOLD) {
		atomic_store(&iface->agent_state,
			     primary ? VMFT_AGENT_RECORDING : VMFT_AGENT_REPLAYING);
		side->running = primary;
	} else if (command == VMFT_COMMAND_RUN) {
		atomic_store(&iface->gate_closed_at, atomic_load(&iface->log_position) + 1);
	} else if (command == VMFT_COMMAND_FENCE) {
		atomic_store(&iface->agent_state, VMFT_AGENT_FENCED);
		side->running = false;
	} else if (command == VMFT_COMMAND_END) {
		atomic_store(&iface->agent_state, VMFT_AGENT_ENDED);
		guest_is_gone(side);
	}
	if (command == VMFT_COMMAND_OPEN)
		atomic_store(&iface->gate_closed_at, 0);
	side->command = command;
	ring_monitor(side);
}

/* A reading of the host's clock, while the log is kept. */
static void log_event(struct world_side *side)
{
	static const uint8_t event[] = {28 /* CLOCK_HOST */, 0, 0, 0, 0, 0, 0, 0, 1};
	struct vmft_iface *iface = side->iface;
	const uint64_t at = atomic_load(&iface->log_position);

	if (vmft_ring_room(&side->m.agent.ring, at) < (int64_t)sizeof(event))
		return;
	vmft_ring_write(&side->m.agent.ring, at, event, sizeof(event));
	atomic_store(&iface->log_position, at + sizeof(event));
	vmft_ring_publish(&side->m.agent.ring, at + sizeof(event));
	ring_monitor(side);
}

static void replay(struct world_side *side)
{
	struct vmft_iface *iface = side->iface;
	const uint64_t head = atomic_load(&iface->log_head);

	if (head != atomic_load(&iface->log_position)) {
		atomic_store(&iface->log_position, head);
		vmft_ring_release(&side->m.agent.ring, head);
		ring_monitor(side);
	}
	if (side->command == VMFT_COMMAND_GO_LIVE && head == atomic_load(&iface->log_end)) {
		go_live(side);
		ring_monitor(side);
	}
}

static bool agent_step(struct world_side *side)
{
	const uint32_t command = atomic_load(&side->iface->command);

	if (side->killed)
		return false;
	if (command != side->command) {
		obey(side, command);
		return true;
	}
	if (atomic_load(&side->area->request) != side->answered) {
		answer(side);
		return true;
	}
	return false;
}

/* Time passes for the guest. */
static void agent_lives(struct world_side *side)
{
	if (side->killed)
		return;
	atomic_fetch_add(&side->iface->agent_beat, 1);
	if (!is_lockstep(side))
		return;
	if (atomic_load(&side->iface->agent_state) == VMFT_AGENT_REPLAYING)
		replay(side);
	else if (side->running)
		log_event(side);
}

/* --- up and down ------------------------------------------------------------------ */

static void write_pair_file(void)
{
	FILE *file;

	(void)snprintf(pair_file, sizeof(pair_file), "%s/pair.conf", directory);
	file = fopen(pair_file, "w");
	must(file != NULL);
	(void)fprintf(file,
		      "[pair]\nname = vm\narbiter = file:%s\nsave-log = %s\nlog-bytes = 1048576\n"
		      "delta-cache-mib = 1\n"
		      "[primary]\nchannel = 10.9.0.1:7700\n[backup]\nchannel = 10.9.0.2:7700\n",
		      directory, directory);
	must(fclose(file) == 0);
}

static void write_disks(struct world_side *side, unsigned index)
{
	uint8_t block[VMFT_DISK_BLOCK_BYTES];

	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		int fd;

		(void)snprintf(side->disk[i], sizeof(side->disk[i]), "%s/disk-%u-%u", directory,
			       index, i);
		fd = open(side->disk[i], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		memset(block, (int)(index * 2 + i + 1), sizeof(block));
		must(fd >= 0 && write(fd, block, sizeof(block)) == (ssize_t)sizeof(block));
		must(ftruncate(fd, WORLD_DISK_BYTES) == 0 && close(fd) == 0);
	}
}

static void remove_directory(void)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s", directory);
	must(system(command) == 0);
}

void world_init(void)
{
	/* In memory: what is made durable there costs nothing. */
	(void)snprintf(directory, sizeof(directory), "/dev/shm/vmft-world-XXXXXX");
	must(mkdtemp(directory) != NULL);
	must(atexit(remove_directory) == 0);
	write_pair_file();
}

static void fill_options(struct world_side *side, unsigned index,
			 const struct vmft_strategy_ops *strategy)
{
	static const uint64_t most[WORLD_DISKS] = {WORLD_DISK_BYTES, WORLD_DISK_BYTES};
	struct vmft_monitor_options *o = &side->m.options;

	*o = (struct vmft_monitor_options){
	    .pair_file = pair_file,
	    .role = index == WORLD_PRIMARY ? VMFT_ROLE_PRIMARY : VMFT_ROLE_BACKUP,
	    .host = index == WORLD_PRIMARY ? VMFT_HOST_FIRST : VMFT_HOST_SECOND,
	    .identity = {.log_version = VMFT_LOG_VERSION_QEMU_7_2, .host = (uint8_t)index},
	    .disk_count = WORLD_DISKS,
	    .strategy = strategy,
	    .strategy_reason = "test",
	    .transport = &world_transport,
	    .guest_pid = index == WORLD_PRIMARY ? getpid() : getppid(), /* any two */
	    .lifeline_fd = -1,
	};
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		o->disk[i] = (struct vmft_image){.path = side->disk[i],
						 .format = VMFT_IMAGE_RAW,
						 .guest_bytes = WORLD_DISK_BYTES,
						 .fd = -1};
	o->iface_fd = vmft_iface_create(RING_BYTES, &side->err);
	o->area_fd = vmft_area_create(WORLD_RAM_BYTES, most, WORLD_DISKS, &side->err);
	o->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	o->bell_monitor_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	o->bell_agent_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(o->iface_fd >= 0 && o->area_fd >= 0 && o->ram_fd >= 0 && o->bell_monitor_fd >= 0 &&
	     o->bell_agent_fd >= 0);
	o->words_fd = memfd_create("words", MFD_CLOEXEC);
	must(o->words_fd >= 0 && write(o->words_fd, "qemu", 5) == 5);
	must(ftruncate(o->ram_fd, WORLD_RAM_BYTES) == 0);
	side->ram = mmap(NULL, WORLD_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, o->ram_fd, 0);
	must(side->ram != MAP_FAILED);
	/* Not all of it, so that there are holes. */
	memset(side->ram + 3 * PAGE, 'p' + (int)index, 2 * PAGE + 5);
	memset(side->ram + 20 * PAGE, 'p', 1);
}

/* As vmft_monitor_run() begins. */
static void start(struct vmft_monitor *m)
{
	vmft_loop_timer(m->loop, &m->tick_op, 20 * MS);
	vmft_loop_poll(m->loop, &m->bell_op, m->agent.bell_monitor, 1);
	vmft_loop_poll(m->loop, &m->pidfd_op, m->pidfd, 1);
	vmft_loop_poll(m->loop, &m->worker_op, vmft_arbiter_worker_fd(m->worker), 1);
	atomic_store(&m->agent.iface->monitor_sleeps, 1);
}

int world_up(unsigned index, const struct vmft_strategy_ops *strategy, void (*armed)(void))
{
	struct world_side *side = &world_side[index];
	struct vmft_monitor_options options;
	int rc;

	world_down(index);
	memset(side, 0, sizeof(*side));
	write_disks(side, index);
	fill_options(side, index, strategy);
	options = side->m.options;
	if (armed)
		armed();
	rc = vmft_monitor_init(&side->m, &options, &side->err);
	side->up = true;
	if (rc < 0)
		return rc;
	side->iface = side->m.agent.iface;
	side->area = side->m.agent.area;
	if (!strategy->loads_at_point || index == WORLD_PRIMARY)
		atomic_store(&side->iface->agent_state,
			     index == WORLD_PRIMARY ? VMFT_AGENT_WAITING : VMFT_AGENT_STANDBY);
	/* The guest's end is said by guest_is_gone(). */
	(void)close(side->m.pidfd);
	side->m.pidfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	start(&side->m);
	return 0;
}

static void close_fds(const struct vmft_monitor *m)
{
	const struct vmft_monitor_options *o = &m->options;
	const int fds[] = {o->iface_fd,	     o->area_fd,  o->ram_fd, o->bell_monitor_fd,
			   o->bell_agent_fd, o->words_fd, m->pidfd};

	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		world_hush(fds[i]);
		if (fds[i] > 0)
			(void)close(fds[i]);
	}
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		if (o->disk[i].fd >= 0)
			(void)close(o->disk[i].fd);
}

/* What a monitor leaves to the kernel when its process ends. */
static void free_monitor(struct vmft_monitor *m)
{
	vmft_attach_source_fini(&m->source);
	vmft_attach_sink_fini(&m->sink);
	if (m->shown.shown) /* set by its init() */
		vmft_shown_fini(&m->shown);
	if (m->strategy)
		m->strategy_ops->close(m->strategy);
	if (m->loop)
		vmft_saver_fini(&m->saver);
	if (m->worker) {
		world_hush(m->worker->bell);
		(void)close(m->worker->bell);
	}
	free(m->worker);
	if (m->agent.area)
		(void)munmap(m->agent.area, m->agent.area->area_bytes);
	(void)munmap(side_of(m)->ram, WORLD_RAM_BYTES);
	if (m->agent.iface)
		(void)munmap(m->agent.iface, VMFT_IFACE_HEADER + RING_BYTES);
	vmft_loop_destroy(m->loop);
}

void world_down(unsigned index)
{
	struct world_side *side = &world_side[index];

	if (!side->up)
		return;
	/* One that did not start has done it. */
	if (side->iface)
		vmft_peer_fini(&side->m.peer);
	close_fds(&side->m);
	free_monitor(&side->m);
	side->up = false;
}

void world_reset(void)
{
	world_transport_forget();
	for (unsigned i = 0; i < WORLD_SIDES; i++)
		world_down(i);
	world_generation = 0;
	world_record[0] = world_mark[0] = '\0';
	ended = false;
}

/* --- steps ------------------------------------------------------------------------ */

/* The monitor's process has ended: its agent finds out, and its connections are closed. */
static void leave(struct world_side *side)
{
	side->left = true;
	world_transport_leave(&side->m);
	if (side->command != VMFT_COMMAND_OPEN)
		side->running = false;
}

/* One thing that can be done now. */
static bool do_one(void)
{
	for (unsigned i = 0; i < WORLD_SIDES; i++)
		if (world_side[i].up && !world_side[i].left &&
		    world_loop_is_stopped(world_side[i].m.loop)) {
			leave(&world_side[i]);
			return true;
		}
	for (unsigned i = 0; i < WORLD_SIDES; i++) {
		struct world_side *side = &world_side[i];

		if (side->up && !side->left && side->iface && agent_step(side))
			return true;
	}
	if (world_transport_step())
		return true;
	for (unsigned i = 0; i < WORLD_SIDES; i++)
		if (world_side[i].up && !world_side[i].left &&
		    world_loop_step(world_side[i].m.loop))
			return true;
	return false;
}

static uint64_t next_timer(void)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < WORLD_SIDES; i++) {
		const uint64_t at = world_side[i].up && !world_side[i].left
					? world_loop_next(world_side[i].m.loop)
					: UINT64_MAX;

		if (at < next)
			next = at;
	}
	return next;
}

bool world_step(uint64_t until)
{
	uint64_t next;

	if (do_one())
		return true;
	next = next_timer();
	if (next > until) {
		world_clock_put(until);
		return false;
	}
	world_clock_put(next);
	for (unsigned i = 0; i < WORLD_SIDES; i++)
		if (world_side[i].up && !world_side[i].left)
			agent_lives(&world_side[i]);
	return true;
}

void world_run(uint64_t ns)
{
	const uint64_t until = vmft_loop_now() + ns;

	while (world_step(until))
		;
}

void world_end_guest(unsigned index)
{
	guest_is_gone(&world_side[index]);
}

void world_kill(unsigned index)
{
	guest_is_gone(&world_side[index]);
	leave(&world_side[index]);
}

bool world_is_equal(void)
{
	const struct world_side *a = &world_side[WORLD_PRIMARY], *b = &world_side[WORLD_BACKUP];
	static uint8_t bytes[2][WORLD_DISK_BYTES];

	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		disk_io(SYS_pread64, a, i, bytes[0], WORLD_DISK_BYTES);
		disk_io(SYS_pread64, b, i, bytes[1], WORLD_DISK_BYTES);
		if (memcmp(bytes[0], bytes[1], WORLD_DISK_BYTES) != 0)
			return false;
	}
	return memcmp(a->ram, b->ram, WORLD_RAM_BYTES) == 0 &&
	       memcmp((uint8_t *)a->area + a->area->shadow_at,
		      (uint8_t *)b->area + b->area->shadow_at, WORLD_ROM_BYTES) == 0;
}

bool world_is_live(unsigned index)
{
	const struct world_side *side = &world_side[index];

	return side->up && side->running && !side->killed;
}
