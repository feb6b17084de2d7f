/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hosts: a monitor and a QEMU on each, which are started, killed, and started again as a backup. */
#define _GNU_SOURCE
#include "shell.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "logging-channel/log-format.h"
#include "monitor/common/area-setup.h"
#include "monitor/daemon/hub/requests.h"

enum { SERVICE_LOOKS_MS = 50, INSPECTED_MS = 300, AREA_EXTRA = 512 };

struct world world;

bool is_up(int host)
{
	return world.host[host].up;
}

bool is_alive(int host)
{
	return world.host[host].up && world.host[host].q.up;
}

/* --- in the place of journal.c and requests.c ------------------------------------------ */

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

void vmft_journal_say(struct vmft_journal *journal, const char *format, ...)
{
	char text[512];
	va_list ap;

	if (!world.trace && !world.hears)
		return;
	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (world.hears)
		world.hears(text);
	note("[%s %s] %s", journal->host, journal->role ? journal->role : "-", text);
}

void vmft_journal_state(struct vmft_journal *journal, const struct vmft_core *before,
			const struct vmft_core *now, bool quiet)
{
	if (before && !quiet)
		vmft_journal_say(journal, "%s, generation %llu: %s", vmft_state_name(now->state),
				 (unsigned long long)now->generation, vmft_why_text(now->why));
}

/* --- memory, once -------------------------------------------------------------------- */

static void file_map(struct file *file, uint64_t size)
{
	file->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (file->bytes == MAP_FAILED)
		abort();
	file->size = file->room = size;
}

/* The area as vmft-qemu makes it, of which all up to the shadows is kept to begin anew with. */
static void area_make(struct host *h)
{
	const uint64_t most[1] = {DISK_BYTES};
	struct vmft_error err;
	struct vmft_area *area;
	int fd = vmft_area_create(RAM_BYTES, most, 1, &err);

	if (fd < 0 || vmft_area_map(fd, &area, &err) < 0)
		abort();
	file_map(&h->area, area->area_bytes);
	h->area.lazy = true;
	h->area_head_bytes = area->shadow_at;
	h->area_head = malloc(h->area_head_bytes);
	if (!h->area_head)
		abort();
	memcpy(h->area_head, area, h->area_head_bytes);
	(void)munmap(area, area->area_bytes);
	(void)close(fd);
}

void hosts_init(void)
{
	kernel_init();
	for (int i = 0; i < HOSTS; i++) {
		struct host *h = &world.host[i];

		file_map(&h->iface, VMFT_IFACE_HEADER + RING_BYTES);
		file_map(&h->ram, RAM_BYTES);
		h->ram.sparse = true;
		file_map(&h->disk, DISK_BYTES);
		file_map(&h->words, 4096);
		h->words.size = 5;
		memcpy(h->words.bytes, "qemu", 5);
		area_make(h);
	}
}

static int fd_kept(enum fd_kind kind, int host, struct file *file)
{
	const int fd = fd_new(kind, host);

	fd_of(fd)->kept = true;
	fd_of(fd)->file = file;
	return fd;
}

static void host_reset(int i)
{
	struct host *h = &world.host[i];

	h->up = h->ran_out = false;
	h->dies_in = h->fails_in = 0;
	h->life++;
	h->wlife++;
	h->qlife++;
	h->q = (struct qemu){0};
	memset(&h->m.core, 0, sizeof(h->m.core));
	memset(h->asked, 0, sizeof(h->asked));
	h->clock = (1 + chance(1000)) * 1000 * MS;
	h->stopped_until = h->qemu_stopped_until = h->down_until = h->dead_since = 0;
	h->generation = h->acked = 0;
	h->state = VMFT_STATE_FORMING;
	h->starts_as_primary = i == 0;
	h->disk.size = h->disk.room = DISK_BYTES;
	h->disk.locked = false;
	h->disk.broken = 0;
	memset(h->disk.bytes, 1, DISK_BYTES);
	file_wrote(&h->disk, 0, DISK_BYTES);
	h->iface_fd = fd_kept(FD_FILE, i, &h->iface);
	h->area_fd = fd_kept(FD_FILE, i, &h->area);
	h->ram_fd = fd_kept(FD_FILE, i, &h->ram);
	h->words_fd = fd_kept(FD_FILE, i, &h->words);
	h->bell_monitor = fd_kept(FD_EVENT, i, NULL);
	h->bell_agent = fd_kept(FD_DEAF, i, NULL);
	if (!world.manual)
		later(1 + (i > 0 ? chance(200 * MS) : 0), DO_BOOT, i, 0, 0);
}

void hosts_reset(void)
{
	for (int i = 0; i < HOSTS; i++) {
		loop_drop_all(i);
		for (int fd = FD_BASE; fd < FD_BASE + 192; fd++)
			if (fd_of(fd))
				fd_of(fd)->kept = false;
		fd_close_all(i);
		arena_reset(i);
	}
	for (int i = 0; i < world.hosts; i++)
		host_reset(i);
}

/* --- the monitor's process -------------------------------------------------------------- */

static void process_gone(int host, bool silent)
{
	struct host *h = &world.host[host];

	h->up = false;
	h->life++;
	h->dead_since = world.now;
	h->dies_in = h->fails_in = 0;
	/* What the worker's thread had sent to the arbiter is there. */
	for (unsigned i = 0; i < ASKS; i++)
		if (h->asked[i] && one_in(2))
			arbiter_ask_do(host, i, h->wlife);
	memset(h->asked, 0, sizeof(h->asked));
	h->wlife++;
	loop_drop_all(host);
	if (silent)
		sock_host_died(host);
	fd_close_all(host);
	agent_ring(host);
}

static void end_monitor(void *m)
{
	const int code = vmft_monitor_end(m);

	note("the monitor of host %d ends with %d", (int)(world.current - world.host), code);
}

/* Whether the process is still there. */
static bool run_inside(int host, void (*call)(void *), void *arg)
{
	struct host *h = &world.host[host];
	int died;

	world.current = h;
	died = _setjmp(world.dead);
	if (!died) {
		call(arg);
		loop_resolve(host);
	}
	world.current = NULL;
	if (died)
		note("the monitor of host %d is killed in the middle", host);
	return !died;
}

void enter(int host, void (*call)(void *), void *arg)
{
	struct host *h = &world.host[host];

	if (!h->up)
		return;
	world.tally->calls++;
	if (!run_inside(host, call, arg)) {
		process_gone(host, false);
		return;
	}
	check_daemon(host);
	if (!loop_is_stopped(h->m.loop))
		return;
	host_leaves(host);
}

void host_leaves(int host)
{
	(void)run_inside(host, end_monitor, &world.host[host].m);
	process_gone(host, false);
}

void host_kill_monitor(int host, bool silent)
{
	if (!world.host[host].up)
		return;
	note("the monitor of host %d is killed", host);
	process_gone(host, silent);
}

void host_kill(int host, uint64_t down)
{
	struct host *h = &world.host[host];

	h->down_until = world.now + down;
	host_kill_monitor(host, true);
	qemu_end(host);
}

/* --- starts -------------------------------------------------------------------------------- */

static void fill_options(int host, bool primary, struct vmft_monitor_options *o)
{
	static const char *const paths[HOSTS] = {"/sim/0/disk", "/sim/1/disk", "/sim/2/disk"};
	const struct host *h = &world.host[host];
	const uint64_t sum = disk_hash(host);

	*o = (struct vmft_monitor_options){
	    .pair_file = "/sim/pair.conf",
	    .role = primary ? VMFT_ROLE_PRIMARY : VMFT_ROLE_BACKUP,
	    .host = (enum vmft_host)host,
	    .identity = {.log_version = VMFT_LOG_VERSION_QEMU_7_2,
			 .host = (uint8_t)host,
			 .disk_bytes = sizeof(sum)},
	    .disk_count = 1,
	    .strategy = world.strategy,
	    .strategy_reason = "simulated",
	    .transport = &vmft_transport_tcp,
	    .iface_fd = h->iface_fd,
	    .area_fd = h->area_fd,
	    .ram_fd = h->ram_fd,
	    .bell_monitor_fd = h->bell_monitor,
	    .bell_agent_fd = h->bell_agent,
	    .lifeline_fd = -1,
	    .guest_pid = host + 1,
	    .words_fd = h->words_fd,
	};
	memcpy(o->identity.disk, &sum, sizeof(sum));
	o->disk[0] = (struct vmft_image){
	    .path = paths[host],
	    .format = VMFT_IMAGE_RAW,
	    .guest_bytes = DISK_BYTES,
	    .fd = -1,
	};
}

static void init_monitor(void *arg)
{
	struct host *h = world.current;
	struct vmft_monitor_options options;

	fill_options((int)(h - world.host), arg != NULL, &options);
	if (vmft_monitor_init(&h->m, &options, &h->err) < 0)
		return;
	vmft_monitor_begin(&h->m);
	h->up = true;
}

void host_start(int host, bool primary)
{
	struct host *h = &world.host[host];

	note("host %d starts as %s", host, primary ? "primary" : "backup");
	arena_reset(host);
	fd_of(h->bell_monitor)->count = 0;
	h->generation = h->acked = 0;
	h->state = VMFT_STATE_FORMING;
	qemu_boot(host, primary);
	if (run_inside(host, init_monitor, primary ? h : NULL) && h->up) {
		check_daemon(host);
		if (loop_is_stopped(h->m.loop))
			host_leaves(host);
		return;
	}
	note("host %d does not start: %s", host, h->err.text);
	h->up = true;
	process_gone(host, false);
	qemu_end(host);
}

/* A person has seen enough of a guest that was stopped for good. */
static void end_fenced(struct host *h, int host)
{
	if (!h->q.fenced || !h->q.up)
		return;
	if (h->q.ends_at == 0)
		h->q.ends_at = world.now + INSPECTED_MS * MS / world.pace;
	else if (h->q.ends_at <= world.now)
		qemu_end(host);
}

/* A start that was refused or failed is tried again; a VM that was shut down stays so. */
static bool may_boot(const struct host *h)
{
	return !h->up && !h->q.up && h->down_until <= world.now &&
	       world.now >= h->dead_since + 100 * MS / world.pace &&
	       !(world.ran && arbiter_is_over());
}

/* A backup that knows of the pair may be about to take the VM on: nobody says then that it is dead.
 */
static bool somebody_may_take_on(void)
{
	for (int i = 0; i < world.hosts; i++)
		if (world.host[i].up && world.host[i].m.core.generation > 0 &&
		    world.host[i].m.core.state != VMFT_STATE_FORMING)
			return true;
	return false;
}

void host_boot_do(int host)
{
	struct host *h = &world.host[host];
	const bool primary = !world.ran && h->starts_as_primary;

	later((SERVICE_LOOKS_MS + chance(SERVICE_LOOKS_MS)) * MS / world.pace, DO_BOOT, host, 0, 0);
	end_fenced(h, host);
	if (!may_boot(h))
		return;
	/* It died before its guest ran, and somebody has to say that it did. */
	if (primary && arbiter_latest() > 0 && !arbiter_is_over() && !somebody_may_take_on())
		arbiter_declare();
	host_start(host, primary);
}
