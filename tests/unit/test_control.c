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
	else if (verb == VMFT_CONTROL_EVENTS)
		vmft_control_follow(client);
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
	const struct vmft_control_world world = {.loop = NULL,
						 .journal = &journal,
						 .side = "vm.primary",
						 .obey = obey,
						 .forget = forget,
						 .user = &control};
	struct vmft_control_world full = world;

	waits = forgotten = 0;
	memset(&journal, 0, sizeof(journal));
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

/* --- events ---------------------------------------------------------------------- */

static const struct vmft_core formed = {.state = VMFT_STATE_PROTECTED, .generation = 2};
static const struct vmft_core lost = {
    .state = VMFT_STATE_ALONE, .generation = 3, .why = VMFT_WHY_SILENCE};

static int follow(void)
{
	int fd = connect_one();
	const char *answer;

	say(fd, "{\"cmd\":\"events\"}\n");
	answer = heard(fd);
	CU_ASSERT_FATAL(answer != NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\"side\":\"vm.primary\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\"ok\":true}\n"));
	return fd;
}

/* Lines and changes come as they happen, each with the state of then. */
static void test_events(void)
{
	const char *answer;
	int fd;

	up();
	vmft_journal_state(&journal, NULL, &formed, true);
	vmft_journal_say(&journal, "before");
	fd = follow();
	run(100);
	CU_ASSERT_PTR_NULL(heard(fd));
	vmft_journal_say(&journal, "a line\n");
	vmft_journal_state(&journal, &formed, &lost, false);
	vmft_journal_state(&journal, &lost, &formed, true);
	run(100);
	answer = heard(fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(answer);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\"state\":\"protected\",\"generation\":2,\"reason\":"
					      "\"\",\"text\":\"a line?\"}\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(answer,
				      "\"state\":\"alone\",\"was\":\"protected\","
				      "\"generation\":3,\"reason\":\"the peer fell silent\","
				      "\"text\":\"alone, generation 3: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\"was\":\"alone\",\"generation\":2,\"reason\":\"\","
					      "\"text\":\"\"}\n"));
	CU_ASSERT_PTR_NULL(strstr(answer, "before"));
	/* The quiet one is no line of the journal. */
	CU_ASSERT_EQUAL(journal.written, 3);
	/* A client that follows events sends nothing more. */
	say(fd, "{\"cmd\":\"status\"}\n");
	CU_ASSERT_STRING_EQUAL(heard(fd), "");
	close(fd);
	down();
}

/* Events come faster than they are read: the oldest are lost, and the reader is told how many. */
static void test_lost_events(void)
{
	const char *answer;
	int fd;

	up();
	fd = follow();
	for (unsigned i = 0; i < VMFT_JOURNAL_EVENTS + 7; i++)
		vmft_journal_say(&journal, "line %u", i);
	run(100);
	answer = heard(fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(answer);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\"text\":\"line 7\",\"lost\":7}\n"));
	CU_ASSERT_PTR_NULL(strstr(answer, "line 6\""));
	close(fd);
	down();
}

/* They leave places for others, and give theirs up when they go. */
static void test_followers(void)
{
	int fd[VMFT_CONTROL_FOLLOWERS], more[VMFT_CONTROL_CLIENTS];

	up();
	for (size_t i = 0; i < VMFT_CONTROL_FOLLOWERS; i++)
		fd[i] = follow();
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++)
		more[i] = connect_one();
	CU_ASSERT(answers(more[VMFT_CONTROL_CLIENTS - 1]));
	say(more[VMFT_CONTROL_CLIENTS - 1], "{\"cmd\":\"events\"}\n");
	CU_ASSERT_PTR_NOT_NULL(strstr(heard(more[VMFT_CONTROL_CLIENTS - 1]), "too many"));
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++)
		close(more[i]);
	close(fd[0]);
	run(5);
	fd[0] = follow();
	vmft_journal_say(&journal, "the last word");
	down();
	/* The loop ran no more: it is sent as the monitor ends. */
	for (size_t i = 0; i < VMFT_CONTROL_FOLLOWERS; i++) {
		CU_ASSERT_PTR_NOT_NULL(strstr(heard(fd[i]), "the last word\"}\n"));
		CU_ASSERT_STRING_EQUAL(heard(fd[i]), "");
		close(fd[i]);
	}
}

/* One that does not read holds up nobody, and gives its place up to the next. */
static void test_deaf_follower(void)
{
	int fd, more[VMFT_CONTROL_CLIENTS];
	const int least = 1;

	up();
	fd = follow();
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	/* Changes that are no lines: they are not printed. */
	for (unsigned i = 0; i < 40; i++) {
		for (unsigned j = 0; j < VMFT_JOURNAL_EVENTS; j++)
			vmft_journal_state(&journal, &formed, &lost, true);
		run(55);
	}
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++)
		more[i] = connect_one();
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++) {
		CU_ASSERT(answers(more[i]));
		close(more[i]);
	}
	close(fd);
	down();
}

int vmft_suite_control_socket(void)
{
	CU_pSuite suite = CU_add_suite("control socket", NULL, NULL);

	if (!suite || !CU_add_test(suite, "answers", test_answers) ||
	    !CU_add_test(suite, "idle clients", test_idle_clients) ||
	    !CU_add_test(suite, "deaf clients", test_deaf_clients) ||
	    !CU_add_test(suite, "all working", test_all_working) ||
	    !CU_add_test(suite, "left over", test_left_over) ||
	    !CU_add_test(suite, "events", test_events) ||
	    !CU_add_test(suite, "lost events", test_lost_events) ||
	    !CU_add_test(suite, "followers", test_followers) ||
	    !CU_add_test(suite, "deaf follower", test_deaf_follower))
		return -1;
	return 0;
}
