/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of the machine's devices and processors. QEMU's own functions write and read it,
 * through a memfd. */
#define _GNU_SOURCE
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent.h"
#include "libc.h"
#include "monitor/agent/qemu/port.h"
#include "power.h"
#include "track.h"

struct vmft_device_state vmft_device_state = {.fd = -1};

bool vmft_state_wish_pending(void)
{
	return vmft_qemu_wish_pending() || (!vmft_power_is_held() && vmft_power_falls_asleep());
}

/* QEMU writes and reads the state through a descriptor. Returns an empty memfd with its offset at
 * the beginning, or a negative errno. */
static int state_memfd(void)
{
	struct vmft_device_state *state = &vmft_device_state;

	if (state->fd < 0)
		state->fd = memfd_create("vmft-state", MFD_CLOEXEC);
	if (state->fd < 0 || ftruncate(state->fd, 0) < 0 || lseek(state->fd, 0, SEEK_SET) < 0)
		return -errno;
	return state->fd;
}

int vmft_state_save(struct vmft_area *area)
{
	int fd = state_memfd();
	int rc = fd < 0 ? -ENOMEM : vmft_qemu_device_state_save(fd, vmft_power_is_held());
	ssize_t n;

	if (rc == -ENOMEM)
		return vmft_track_fail(-ENOMEM, "no memory for the device state");
	if (rc < 0)
		return vmft_track_fail(-EIO, "QEMU could not save its device state");
	n = vmft_libc_pread64(fd, (uint8_t *)area + area->state_at, VMFT_AREA_STATE_BYTES, 0);
	if (n <= 0 || (uint64_t)n == VMFT_AREA_STATE_BYTES)
		return vmft_track_fail(-EFBIG, "the device state is larger than can be carried");
	atomic_store(&area->state_bytes, (uint64_t)n);
	return 0;
}

/* Copies the state that the monitor has put into the area to the memfd. */
static int put_state(struct vmft_area *area)
{
	const uint64_t n = atomic_load(&area->load_bytes);
	int fd;

	if (n <= 8 || n > VMFT_AREA_STATE_BYTES)
		return vmft_track_fail(-EINVAL, "no device state");
	fd = state_memfd();
	if (fd < 0 || vmft_libc_pwrite64(fd, (uint8_t *)area + area->state_at, n, 0) != (ssize_t)n)
		return vmft_track_fail(-ENOMEM, "no memory for the device state");
	return 0;
}

/* --- what QEMU says as it loads ------------------------------------------- */

/*
 * QEMU writes the reason why it cannot load a state to standard error only (error_report()). So
 * standard error is a file while QEMU loads. Afterwards all of the file is passed on. The first
 * line that QEMU has written is the reason; the lines after it report consequences.
 */
static int listen_to_qemu(int *ret_stderr)
{
	const int heard = memfd_create("vmft-said", MFD_CLOEXEC);

	*ret_stderr = heard < 0 ? -1 : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	if (*ret_stderr >= 0 && dup2(heard, STDERR_FILENO) >= 0)
		return heard;
	if (*ret_stderr >= 0)
		close(*ret_stderr);
	if (heard >= 0)
		close(heard);
	return -1;
}

/* Finds QEMU's first line and copies it without the time and the program's name. */
static void reason_in(char *said, char *ret, size_t size)
{
	const size_t length = strlen(program_invocation_short_name);
	char *save = NULL;

	for (char *line = strtok_r(said, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *name = strstr(line, program_invocation_short_name);

		if (!name || strncmp(name + length, ": ", 2) != 0)
			continue;
		(void)snprintf(ret, size, "%s", name + length + 2);
		return;
	}
}

/* heard is -1 if listen_to_qemu() failed. */
static void heard_qemu(int heard, int before, char *ret, size_t size)
{
	char said[4096];
	ssize_t n;

	ret[0] = '\0';
	if (heard < 0)
		return;
	(void)dup2(before, STDERR_FILENO);
	close(before);
	n = vmft_libc_pread64(heard, said, sizeof(said) - 1, 0);
	close(heard);
	if (n <= 0)
		return;
	said[n] = '\0';
	(void)!vmft_libc_write(STDERR_FILENO, said, (size_t)n);
	reason_in(said, ret, size);
}

static int load_failed(const char *reason)
{
	char why[sizeof(vmft_agent.area->error)];

	(void)snprintf(why, sizeof(why), "QEMU could not load the device state%s%.100s",
		       reason[0] ? ": " : "", reason);
	return vmft_track_fail(-EIO, why);
}

int vmft_state_load(void)
{
	const int fd = vmft_device_state.fd;
	char reason[120];
	int rc, heard, before;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return vmft_track_fail(-ENOMEM, "no memory for the device state");
	heard = listen_to_qemu(&before);
	rc = vmft_qemu_device_state_load(fd);
	heard_qemu(heard, before, reason, sizeof(reason));
	if (rc == -ENOMEM)
		return vmft_track_fail(-ENOMEM, "no memory for the device state");
	return rc < 0 ? load_failed(reason) : vmft_power_loaded();
}

int vmft_state_put(struct vmft_area *area)
{
	int rc = put_state(area);

	return rc < 0 ? rc : vmft_track_each_ram(area, vmft_track_apply_shadow);
}

static uint8_t *memory_named(struct vmft_area *area, const char *name)
{
	const uint32_t count = atomic_load(&area->region_count);

	for (uint32_t i = area->disk_count; i < count && i < VMFT_AREA_REGIONS_MAX; i++)
		if (strcmp(area->region[i].name, name) == 0)
			return vmft_track_host(&area->region[i]);
	return NULL;
}

static int set_flashes(struct vmft_area *area)
{
	struct vmft_qemu_flashes flashes;

	if (vmft_qemu_flashes_find(&flashes) < 0)
		return vmft_track_fail(-ENOTSUP, "the guest has flash memory that is not known");
	for (unsigned i = 0; i < flashes.count; i++) {
		uint8_t *host = memory_named(area, flashes.flash[i].name);

		if (host)
			vmft_qemu_flash_loaded(&flashes.flash[i], host);
	}
	return 0;
}

int vmft_state_take_over(struct vmft_area *area)
{
	int rc = vmft_state_put(area);
	const char *why;

	if (rc < 0)
		return rc;
	/* Takes the images' locks and reads the tables that QEMU keeps in memory. */
	why = vmft_qemu_disks_activate();
	if (why)
		return vmft_track_fail(-EBUSY, why);
	rc = vmft_state_load();
	return rc < 0 ? rc : set_flashes(area);
}
