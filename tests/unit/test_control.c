/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket and its clients, on a loop of its own. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "monitor/daemon/status/control.h"
#include "suites.h"

#define MS UINT64_C(1000000)

static struct vmft_loop *loop;
static struct vmft_journal journal;
static struct vmft_control control;
static char directory[32], path[64];
/* A request that is not answered at once: "digest". */
static struct vmft_control_client *waiting[VMFT_CONTROL_CLIENTS];
static unsigned waits, forgotten;

static void obey(void *user, struct vmft_control_client *client, enum vmft_control_verb verb)
{
	CU_ASSERT_PTR_EQUAL(user, &control);
	CU_ASSERT_PTR_EQUAL(vmft_control_user(client), user);
	if (verb == VMFT_CONTROL_STATUS)
		vmft_control_accept(client);
	else if (verb == VMFT_CONTROL_DIGEST && waits < VMFT_CONTROL_CLIENTS)
		waiting[waits++] = client;
	else
		vmft_control_refuse(client, "not here");
}

static void forget(void *user, struct vmft_control_client *client)
{
	(void)user;
	(void)client;
	forgotten++;
}

static void up(void)
{
	const struct vmft_control_world world = {
	    .loop = NULL, .journal = &journal, .obey = obey, .forget = forget, .user = &control};
	struct vmft_control_world full = world;

	waits = forgotten = 0;
	(void)snprintf(directory, sizeof(directory), "/tmp/vmft-unit-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/run/x.sock", directory);
	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&loop), 0);
	full.loop = loop;
	CU_ASSERT_EQUAL_FATAL(vmft_control_open(&control, path, &full), 0);
}

static void down(void)
{
	vmft_control_close(&control);
	CU_ASSERT(access(path, F_OK) < 0);
	vmft_loop_destroy(loop);
	(void)snprintf(path, sizeof(path), "%s/run", directory);
	CU_ASSERT_EQUAL(rmdir(path), 0);
	CU_ASSERT_EQUAL(rmdir(directory), 0);
}

static void on_time(struct vmft_op *op, int result)
{
	(void)op;
	(void)result;
	vmft_loop_stop(loop);
}

static void run(unsigned ms)
{
	struct vmft_op op = {.done = on_time};

	vmft_loop_timer(loop, &op, ms * MS);
	CU_ASSERT_EQUAL(vmft_loop_run(loop), 0);
}

static int connect_one(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	run(5);
	return fd;
}

static void say(int fd, const char *text)
{
	CU_ASSERT_EQUAL(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	run(5);
}

/* What came, "" if the connection was closed, NULL if nothing came. */
static const char *heard(int fd)
{
	static char answer[4096];
	ssize_t n = recv(fd, answer, sizeof(answer) - 1, 0);

	if (n < 0)
		return errno == EAGAIN ? NULL : "";
	answer[n] = '\0';
	return answer;
}

static bool answers(int fd)
{
	const char *answer;

	say(fd, "{\"cmd\":\"status\"}\n");
	answer = heard(fd);
	return answer && strcmp(answer, "{\"ok\":true}\n") == 0;
}

static void test_answers(void)
{
	char longest[VMFT_CONTROL_REQUEST_MAX + 1];
	int fd;

	up();
	fd = connect_one();
	CU_ASSERT(answers(fd));
	/* Two in one go, and one in two. */
	say(fd, "{\"cmd\":\"status\"}\n{\"cmd\":\"thaw\"}\n{\"cmd\":");
	CU_ASSERT_STRING_EQUAL(heard(fd), "{\"ok\":true}\n{\"ok\":false,\"error\":\"not here\"}\n");
	say(fd, "\"xyz\"}\n");
	CU_ASSERT_STRING_EQUAL(heard(fd), "{\"ok\":false,\"error\":\"unknown cmd \\\"xyz\\\"\"}\n");
	/* One that sends without an end is hung up on. */
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	say(fd, longest);
	CU_ASSERT_STRING_EQUAL(heard(fd), "");
	close(fd);
	down();
}

/* Clients that ask nothing do not keep others out; one that waits for its answer stays. */
static void test_idle_clients(void)
{
	int idle[VMFT_CONTROL_CLIENTS], fd, other;

	up();
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++)
		idle[i] = connect_one();
	say(idle[0], "{\"cmd\":\"digest\"}\n");
	CU_ASSERT_EQUAL(waits, 1);
	CU_ASSERT(answers(idle[1])); /* idle[2] is now the one that has been for longest */
	fd = connect_one();
	CU_ASSERT(answers(fd));
	CU_ASSERT_STRING_EQUAL(heard(idle[2]), "");
	CU_ASSERT_PTR_NULL(heard(idle[0]));
	CU_ASSERT_PTR_NULL(heard(idle[1]));
	CU_ASSERT_PTR_NULL(heard(idle[3]));
	other = connect_one();
	CU_ASSERT(answers(other));
	CU_ASSERT_STRING_EQUAL(heard(idle[3]), "");
	vmft_control_accept(waiting[0]);
	run(5);
	CU_ASSERT_STRING_EQUAL(heard(idle[0]), "{\"ok\":true}\n");
	/* Half a request is idle too. */
	for (size_t i = 0; i < 3 * VMFT_CONTROL_CLIENTS; i++) {
		int more = connect_one();

		say(more, "{\"cmd\"");
		close(more);
	}
	CU_ASSERT(answers(fd));
	close(fd);
	close(other);
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++)
		close(idle[i]);
	CU_ASSERT_EQUAL(forgotten, 0);
	down();
}

/* A client that does not read its answers. */
static void test_deaf_clients(void)
{
	int deaf[VMFT_CONTROL_CLIENTS], fd;

	up();
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++) {
		const int least = 1;
		unsigned asked = 0;

		deaf[i] = connect_one();
		(void)setsockopt(deaf[i], SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
		while (asked < 100000 &&
		       send(deaf[i], "{\"cmd\":\"xyz\"}\n", 14, MSG_NOSIGNAL) == 14) {
			asked++;
			if (asked % 64 == 0)
				run(1);
		}
		CU_ASSERT(asked < 100000);
	}
	fd = connect_one();
	CU_ASSERT(answers(fd));
	close(fd);
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++)
		close(deaf[i]);
	down();
}

/* All of them wait for an answer: one more is turned away. The monitor ends before they have it. */
static void test_all_working(void)
{
	int fd[VMFT_CONTROL_CLIENTS], more;

	up();
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++) {
		fd[i] = connect_one();
		say(fd[i], "{\"cmd\":\"digest\"}\n");
	}
	CU_ASSERT_EQUAL(waits, VMFT_CONTROL_CLIENTS);
	more = connect_one();
	CU_ASSERT_STRING_EQUAL(heard(more), "");
	close(more);
	vmft_control_accept(waiting[0]);
	run(5);
	CU_ASSERT_STRING_EQUAL(heard(fd[0]), "{\"ok\":true}\n");
	more = connect_one();
	CU_ASSERT(answers(more));
	close(more);
	down();
	CU_ASSERT_EQUAL(forgotten, VMFT_CONTROL_CLIENTS - 1);
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++)
		close(fd[i]);
}

/* A socket file that a killed monitor left; one that somebody listens on. */
static void test_left_over(void)
{
	struct vmft_control_world world;
	struct vmft_control second;

	up();
	CU_ASSERT(!control.left_over);
	world = control.world;
	CU_ASSERT_EQUAL(vmft_control_open(&second, path, &world), -EADDRINUSE);
	CU_ASSERT_EQUAL(second.path[0], '\0');
	(void)vmft_loop_withdraw(loop, &control.accept_op);
	close(control.fd);
	CU_ASSERT_EQUAL(vmft_control_open(&second, path, &world), 0);
	CU_ASSERT(second.left_over);
	(void)vmft_loop_withdraw(loop, &second.accept_op);
	close(second.fd);
	down();
}

int vmft_suite_control_socket(void)
{
	CU_pSuite suite = CU_add_suite("control socket", NULL, NULL);

	if (!suite || !CU_add_test(suite, "answers", test_answers) ||
	    !CU_add_test(suite, "idle clients", test_idle_clients) ||
	    !CU_add_test(suite, "deaf clients", test_deaf_clients) ||
	    !CU_add_test(suite, "all working", test_all_working) ||
	    !CU_add_test(suite, "left over", test_left_over))
		return -1;
	return 0;
}
