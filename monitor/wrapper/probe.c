/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor/common/exit-codes.h"
#include "receive-fd.h"

#define PROBE_BYTES    512
#define DEFAULT_HELPER "/usr/lib/qemu/qemu-bridge-helper"

/* --- the format of an image ---------------------------------------------------- */

/* The marks at the beginning of a file of the formats that QEMU knows (block/ *.c, *_probe()). */
static const struct {
	const char *mark;
	size_t length;
	const char *format;
} marks[] = {
    {"QFI\xfb", 4, "qcow2"},
    {"QED\0", 4, "qed"},
    {"KDMV", 4, "vmdk"},
    {"COWD", 4, "vmdk"},
    {"# Disk DescriptorFile", 21, "vmdk"},
    {"conectix", 8, "vpc"},
    {"vhdxfile", 8, "vhdx"},
    {"LUKS\xba\xbe", 6, "luks"},
    {"WithoutFreeSpace", 16, "parallels"},
    {"WithouFreSpacExt", 16, "parallels"},
    {"Bochs Virtual HD Image", 22, "bochs"},
    {"<<< ", 4, "vdi"},
};

static const char *format_of(const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (n >= marks[i].length && memcmp(bytes, marks[i].mark, marks[i].length) == 0)
			return marks[i].format;
	return "raw";
}

static bool name_says(const char *path, const char *format)
{
	const char *dot = strrchr(path, '.');

	return dot && !strchr(dot, '/') && strcasecmp(dot + 1, format) == 0;
}

int vmft_image_format_of(const char *path, const unsigned char *bytes, size_t n,
			 const char **ret_format, struct vmft_error *err)
{
	const char *format = format_of(bytes, n);

	*ret_format = format;
	if (strcmp(format, "raw") == 0 && !name_says(path, "qcow2"))
		return 0;
	if (strcmp(format, "qcow2") == 0 && name_says(path, "qcow2"))
		return 0;
	if (strcmp(format, "raw") == 0)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_IMAGE,
				      "%.200s: it is no qcow2 image, though its name says so; add "
				      "format=raw, or correct the file",
				      path);
	if (strcmp(format, "qcow2") == 0)
		return vmft_error_set(
		    err, -EINVAL, VMFT_EXIT_UNPROTECTED,
		    "%.200s: it begins as a qcow2 image, its name does not say so, "
		    "and the guest of a raw image could have written that; add "
		    "format=qcow2 or format=raw",
		    path);
	return vmft_error_set(
	    err, -EINVAL, VMFT_EXIT_UNPROTECTED,
	    "%.200s: it looks like a %s image, and only raw and qcow2 images are "
	    "known to work; convert it with qemu-img, or add format=raw if it is raw",
	    path, format);
}

int vmft_image_format(const char *path, const char **ret_format, struct vmft_error *err)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	unsigned char bytes[PROBE_BYTES];
	ssize_t n = -1;

	if (fd >= 0)
		n = pread(fd, bytes, sizeof(bytes), 0);
	if (n < 0) {
		const int err_no = errno;

		if (fd >= 0)
			(void)close(fd);
		return vmft_error_set(
		    err, -err_no, VMFT_EXIT_IMAGE,
		    "%.300s: cannot read its format: %s; correct the path, or add "
		    "format=",
		    path, strerror(err_no));
	}
	(void)close(fd);
	return vmft_image_format_of(path, bytes, (size_t)n, ret_format, err);
}

/* --- KVM ------------------------------------------------------------------------ */

bool vmft_has_kvm(void)
{
	const int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return false;
	(void)close(fd);
	return true;
}

/* --- a tap on a bridge ----------------------------------------------------------- */

int vmft_bridge_look(const char *bridge, const char *helper, struct vmft_error *err)
{
	helper = helper ? helper : DEFAULT_HELPER;
	if (access(helper, X_OK) < 0)
		return vmft_error_set(
		    err, -errno, VMFT_EXIT_UNPROTECTED,
		    "%.200s: cannot be run: %s; install qemu-system-common, or use "
		    "-netdev tap",
		    helper, strerror(errno));
	if (if_nametoindex(bridge) == 0)
		return vmft_error_set(err, -ENODEV, VMFT_EXIT_UNPROTECTED,
				      "-netdev bridge: there is no bridge %.40s; make it, or give "
				      "br= another name",
				      bridge);
	return 0;
}

/* In the child. */
static void exec_helper(const char *helper, const char *bridge, int socket)
{
	char fd_word[32], br_word[64];

	(void)snprintf(fd_word, sizeof(fd_word), "--fd=%d", socket);
	(void)snprintf(br_word, sizeof(br_word), "--br=%s", bridge);
	if (fcntl(socket, F_SETFD, 0) < 0)
		return;
	(void)execl(helper, helper, "--use-vnet", fd_word, br_word, (char *)NULL);
}

static int run_helper(const char *helper, const char *bridge)
{
	int pair[2], fd, status = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		exec_helper(helper, bridge, pair[1]);
		_exit(127);
	}
	(void)close(pair[1]);
	fd = pid < 0 ? -EAGAIN : vmft_fd_receive(pair[0], 0);
	(void)close(pair[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return fd;
}

int vmft_bridge_tap(const char *bridge, const char *helper, struct vmft_error *err)
{
	const int r = vmft_bridge_look(bridge, helper, err);
	int fd;

	if (r < 0)
		return r;
	fd = run_helper(helper ? helper : DEFAULT_HELPER, bridge);
	if (fd < 0)
		return vmft_error_set(
		    err, fd, VMFT_EXIT_UNPROTECTED,
		    "-netdev bridge: %.200s made no tap on %.40s; see what it said, "
		    "and /etc/qemu/bridge.conf",
		    helper ? helper : DEFAULT_HELPER, bridge);
	return fd;
}

void vmft_fd_drop(int fd)
{
	(void)close(fd);
}
