/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor/common/exit-codes.h"
#include "monitor/common/iface-setup.h"
#include "monitor/interface.h"
#include "receive-fd.h"

#define LOOK_MS 20

struct parent {
	pid_t child;
	int ready;		  /* from the child: the descriptor of the interface's memory */
	int said;		  /* what the child says on stderr */
	struct vmft_iface *iface; /* NULL until the child has sent it */
};

static int failed(struct vmft_error *err)
{
	return vmft_error_set(err, -errno, VMFT_EXIT_INTERNAL, "-daemonize: %s", strerror(errno));
}

void vmft_background_ready(int ready, int iface)
{
	char byte = 0;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {
	    .msg_iov = &part,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &iface, sizeof(iface));
	/* If the parent is gone nobody waits. */
	(void)sendmsg(ready, &message, MSG_NOSIGNAL);
}

static void take_iface(struct parent *p)
{
	const int fd = vmft_fd_receive(p->ready, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct vmft_ring ring;
	struct vmft_error err;

	if (fd < 0)
		return;
	if (vmft_iface_map(fd, &p->iface, &ring, &err) < 0)
		p->iface = NULL;
	(void)close(fd);
}

static void pass_on(struct parent *p)
{
	char text[512];
	ssize_t n;

	while ((n = read(p->said, text, sizeof(text))) > 0)
		(void)!write(STDERR_FILENO, text, (size_t)n);
}

static bool is_up(const struct parent *p)
{
	return p->iface && atomic_load(&p->iface->agent_state) != VMFT_AGENT_ABSENT;
}

/* Waits until QEMU is up or the child has ended; what to exit with. */
static int follow(struct parent *p)
{
	int status;

	for (;;) {
		const pid_t ended = waitpid(p->child, &status, WNOHANG);

		pass_on(p);
		if (ended == p->child)
			return WIFEXITED(status) ? WEXITSTATUS(status) : VMFT_EXIT_INTERNAL;
		if (!p->iface)
			take_iface(p);
		if (is_up(p))
			return VMFT_EXIT_OK;
		(void)poll(NULL, 0, LOOK_MS);
	}
}

static int become_daemon(int said)
{
	const int none = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid();
	if (none < 0 || dup2(none, STDIN_FILENO) < 0 || dup2(none, STDOUT_FILENO) < 0 ||
	    dup2(said, STDERR_FILENO) < 0)
		return -errno;
	(void)close(said);
	return 0;
}

int vmft_background(int *ret_ready, struct vmft_error *err)
{
	struct parent parent = {0};
	int ready[2], said[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ready) < 0 ||
	    pipe2(said, O_CLOEXEC) < 0)
		return failed(err);
	parent.child = fork();
	if (parent.child < 0)
		return failed(err);
	if (parent.child == 0) {
		(void)close(ready[0]);
		(void)close(said[0]);
		*ret_ready = ready[1];
		return become_daemon(said[1]) < 0 ? failed(err) : 0;
	}
	(void)close(ready[1]);
	(void)close(said[1]);
	(void)fcntl(said[0], F_SETFL, O_NONBLOCK);
	parent.ready = ready[0];
	parent.said = said[0];
	(void)fflush(NULL);
	_exit(follow(&parent));
}
