/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "cmdline_rewrite.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "monitor/common/exit-codes.h"

static int fake_digest(void *ctx, const char *path, char ret_hex[static VMFT_DIGEST_HEX],
		       struct vmft_error *err)
{
	(void)ctx;
	if (strcmp(path, "/missing") == 0)
		return vmft_error_set(err, -ENOENT, VMFT_EXIT_IMAGE, "%s: no such file", path);
	(void)snprintf(ret_hex, VMFT_DIGEST_HEX, "digest-of-a-%u-byte-name",
		       (unsigned)strlen(path) % 100);
	return 0;
}

static int fake_processor(char ret[static VMFT_PROCESSOR_MAX], struct vmft_error *err)
{
	(void)err;
	(void)snprintf(ret, VMFT_PROCESSOR_MAX, "Example CPU 2.0");
	return 0;
}

static const char *fake_tap_fault(int fd)
{
	return fd == 99 ? "this descriptor is no tap" : NULL;
}

static int fake_format(const char *path, const char **ret_format, struct vmft_error *err)
{
	const char *dot = strrchr(path, '.');

	if (strcmp(path, "/missing") == 0)
		return vmft_error_set(err, -ENOENT, VMFT_EXIT_IMAGE, "%s: no such file", path);
	*ret_format = dot && strcmp(dot, ".qcow2") == 0 ? "qcow2" : "raw";
	return 0;
}

static int fake_bridge(const char *bridge, const char *helper, struct vmft_error *err)
{
	(void)helper;
	if (strcmp(bridge, "br9") == 0)
		return vmft_error_set(err, -ENODEV, VMFT_EXIT_UNPROTECTED,
				      "there is no bridge br9");
	return 55;
}

int cmdline_rewrite(int argc, char *const argv[], enum vmft_strategy_kind strategy, bool backup,
		    struct vmft_report *report, struct vmft_cmdline *ret)
{
	const struct vmft_rewrite_options opt = {
	    .role = backup ? VMFT_ROLE_BACKUP : VMFT_ROLE_PRIMARY,
	    .strategy = strategy,
	    .host_processor = fake_processor,
	    .tap_fault = fake_tap_fault,
	    .image_format = fake_format,
	    .bridge_tap = fake_bridge,
	    .ram_path = "/proc/self/fd/9",
	    .name = "web1",
	    .file_digest = fake_digest,
	};

	return vmft_cmdline_rewrite(argc, argv, &opt, report, ret);
}
