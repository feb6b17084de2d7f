/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "settings.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "exit-codes.h"
#include "strategy-kind.h"

static int refuse(struct vmft_error *err, const char *field)
{
	return vmft_error_set(err, -EPROTO, VMFT_EXIT_INTERNAL,
			      "the shared settings are damaged (%s); start QEMU through vmft-qemu",
			      field);
}

/* 0, 1 and 2 are the standard streams: no descriptor of ours has such a number. */
static bool is_fd(int32_t fd)
{
	return fd > STDERR_FILENO;
}

static bool ends(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

static bool is_set(const char *text, size_t size)
{
	return text[0] != '\0' && ends(text, size);
}

static int check_numbers(const struct vmft_settings *s, struct vmft_error *err)
{
	const struct {
		bool good;
		const char *field;
	} checks[] = {
	    {is_fd(s->area_fd), "area_fd"},
	    {is_fd(s->ram_fd), "ram_fd"},
	    {is_fd(s->bell_monitor_fd), "bell_monitor_fd"},
	    {is_fd(s->bell_agent_fd), "bell_agent_fd"},
	    {is_fd(s->lifeline_agent_fd), "lifeline_agent_fd"},
	    {is_fd(s->lifeline_monitor_fd), "lifeline_monitor_fd"},
	    {is_fd(s->words_fd), "words_fd"},
	    {s->guest_pid > 0, "guest_pid"},
	    {s->strategy == VMFT_STRATEGY_LOCKSTEP || s->strategy == VMFT_STRATEGY_CHECKPOINT,
	     "strategy"},
	    {s->disk_count <= VMFT_AREA_DISKS_MAX, "disk_count"},
	    {s->nic_count <= VMFT_NICS_SHARED_MAX, "nic_count"},
	    {s->versioned_machine <= 1, "versioned_machine"},
	    {s->awaits_state <= 1, "awaits_state"},
	    {s->managed <= 1, "managed"},
	    {s->gate_bytes > 0, "gate_bytes"},
	    {s->log_version > 0, "log_version"},
	};

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		if (!checks[i].good)
			return refuse(err, checks[i].field);
	return 0;
}

static int check_texts(const struct vmft_settings *s, struct vmft_error *err)
{
	const struct {
		bool good;
		const char *field;
	} checks[] = {
	    {is_set(s->qemu_version, sizeof(s->qemu_version)), "qemu_version"},
	    {ends(s->build_id, sizeof(s->build_id)), "build_id"},
	    {ends(s->machine_digest, sizeof(s->machine_digest)), "machine_digest"},
	    {ends(s->disk_digest, sizeof(s->disk_digest)), "disk_digest"},
	    {ends(s->strategy_reason, sizeof(s->strategy_reason)), "strategy_reason"},
	    {ends(s->replay, sizeof(s->replay)), "replay"},
	};

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		if (!checks[i].good)
			return refuse(err, checks[i].field);
	return 0;
}

static int check_disk(const struct vmft_disk_settings *disk, struct vmft_error *err)
{
	if (disk->format != VMFT_IMAGE_RAW && disk->format != VMFT_IMAGE_QCOW2)
		return refuse(err, "disk.format");
	if (disk->read_only > 1)
		return refuse(err, "disk.read_only");
	return is_set(disk->path, sizeof(disk->path)) ? 0 : refuse(err, "disk.path");
}

static int check_nic(const struct vmft_nic_settings *nic, struct vmft_error *err)
{
	if (!is_set(nic->id, sizeof(nic->id)))
		return refuse(err, "nic.id");
	return ends(nic->ifname, sizeof(nic->ifname)) ? 0 : refuse(err, "nic.ifname");
}

int vmft_settings_check(const struct vmft_settings *settings, struct vmft_error *err)
{
	int rc = check_numbers(settings, err);

	if (rc == 0)
		rc = check_texts(settings, err);
	for (uint32_t i = 0; rc == 0 && i < settings->disk_count; i++)
		rc = check_disk(&settings->disk[i], err);
	for (uint32_t i = 0; rc == 0 && i < settings->nic_count; i++)
		rc = check_nic(&settings->nic[i], err);
	return rc;
}

int vmft_settings_write(int iface_fd, const struct vmft_settings *settings, struct vmft_error *err)
{
	int rc = vmft_settings_check(settings, err);
	ssize_t n;

	if (rc < 0)
		return rc;
	n = pwrite(iface_fd, settings, sizeof(*settings), VMFT_IFACE_SETTINGS);
	if (n == (ssize_t)sizeof(*settings))
		return 0;
	rc = n < 0 ? -errno : -EIO;
	return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "shared memory: %s", strerror(-rc));
}

int vmft_settings_read(const struct vmft_iface *iface, struct vmft_settings *ret,
		       struct vmft_error *err)
{
	memcpy(ret, (const uint8_t *)iface + VMFT_IFACE_SETTINGS, sizeof(*ret));
	return vmft_settings_check(ret, err);
}

int vmft_settings_put(char *field, size_t size, const char *text, const char *what,
		      struct vmft_error *err)
{
	const size_t n = strlen(text) + 1;

	if (n > size)
		return vmft_error_set(err, -E2BIG, VMFT_EXIT_UNPROTECTED,
				      "%s %.100s is longer than %zu bytes; shorten it", what, text,
				      size - 1);
	memcpy(field, text, n);
	return 0;
}
