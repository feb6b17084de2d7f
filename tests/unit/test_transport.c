/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The end of a monitor: its addresses are free for the next before it is gone. */
#include <CUnit/CUnit.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "logging-channel/transport.h"
#include "monitor/daemon/peer/heartbeat.h"
#include "suites.h"

static void on_open(void *user, struct vmft_conn *conn)
{
	(void)conn;
	++*(unsigned *)user;
}

static const struct vmft_conn_events events = {.on_open = on_open};

static void on_time(struct vmft_op *op, int result)
{
	(void)result;
	vmft_loop_stop(op->owner);
}

/* What was started is the kernel's, and waits there. */
static void spin(struct vmft_loop *loop)
{
	struct vmft_op op = {.done = on_time, .owner = loop};

	vmft_loop_timer(loop, &op, 1000000);
	CU_ASSERT_EQUAL(vmft_loop_run(loop), 0);
}

/* Somebody who does not share addresses; 0 or a negative errno. */
static int try_bind(int type, const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	int rc;

	CU_ASSERT_FATAL(fd >= 0);
	rc = bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

/* A port of this host that nobody has. */
static struct sockaddr_in free_address(int type)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CU_ASSERT_FATAL(fd >= 0 && bind(fd, (struct sockaddr *)&at, n) == 0 &&
			getsockname(fd, (struct sockaddr *)&at, &n) == 0);
	close(fd);
	return at;
}

/* caller: somebody connects at the last moment, and is hung up on. */
static void listens_and_ends(bool caller)
{
	const struct sockaddr_in at = free_address(SOCK_STREAM);
	struct vmft_listener *listener = NULL;
	struct vmft_loop *loop;
	unsigned opened = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&loop), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_transport_tcp.listen(loop, (const struct sockaddr *)&at,
							sizeof(at), &events, &opened, &listener),
			      0);
	spin(loop);
	CU_ASSERT_EQUAL(try_bind(SOCK_STREAM, &at), -EADDRINUSE);
	if (caller)
		CU_ASSERT_EQUAL(connect(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	vmft_transport_tcp.unlisten(listener);
	if (caller)
		CU_ASSERT(recv(fd, &byte, 1, 0) <= 0);
	CU_ASSERT_EQUAL(opened, 0);
	close(fd);
	if (!caller) /* else what is left of that connection has the port */
		CU_ASSERT_EQUAL(try_bind(SOCK_STREAM, &at), 0);
	/* The next monitor, while the last one's loop is still there. */
	CU_ASSERT_EQUAL(vmft_transport_tcp.listen(loop, (const struct sockaddr *)&at, sizeof(at),
						  &events, &opened, &listener),
			0);
	vmft_transport_tcp.unlisten(listener);
	vmft_loop_destroy(loop);
}

static void test_unlisten(void)
{
	listens_and_ends(false);
	listens_and_ends(true);
	vmft_transport_tcp.unlisten(NULL);
}

/* --- no descriptor to spare ------------------------------------------------ */

struct door {
	unsigned opened, full;
	int error;
};

static void door_open(void *user, struct vmft_conn *conn)
{
	((struct door *)user)->opened++;
	vmft_transport_tcp.close(conn, false);
}

static void door_close(void *user, struct vmft_conn *conn, int error)
{
	(void)user;
	(void)conn;
	(void)error;
}

static void door_full(void *user, int error)
{
	struct door *door = user;

	door->full++;
	door->error = error;
}

static void run_for(struct vmft_loop *loop, uint64_t ns)
{
	struct vmft_op op = {.done = on_time, .owner = loop};

	vmft_loop_timer(loop, &op, ns);
	CU_ASSERT_EQUAL(vmft_loop_run(loop), 0);
}

static uint64_t processor_ns(void)
{
	struct timespec used;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* No number below the limit is free; returns the limit there was. */
static struct rlimit use_up_descriptors(void)
{
	struct rlimit was, none;
	int lowest = dup(STDERR_FILENO);

	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = (rlim_t)lowest;
	close(lowest);
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &none), 0);
	return was;
}

/* Nobody can be let in: said once, tried now and then, and over when there is room. */
static void test_no_descriptors(void)
{
	static const struct vmft_conn_events door_events = {
	    .on_open = door_open, .on_close = door_close, .on_full = door_full};
	const struct sockaddr_in at = free_address(SOCK_STREAM);
	const int first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct vmft_listener *listener = NULL;
	struct door door = {0};
	struct vmft_loop *loop;
	struct rlimit was;
	uint64_t used;

	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&loop), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_transport_tcp.listen(loop, (const struct sockaddr *)&at,
							sizeof(at), &door_events, &door, &listener),
			      0);
	spin(loop);
	was = use_up_descriptors();
	/* The accept that waits was started under the old limit. */
	CU_ASSERT_EQUAL(connect(first, (const struct sockaddr *)&at, sizeof(at)), 0);
	CU_ASSERT_EQUAL(connect(second, (const struct sockaddr *)&at, sizeof(at)), 0);
	used = processor_ns();
	run_for(loop, 500000000);
	CU_ASSERT(processor_ns() - used < 50000000);
	CU_ASSERT_EQUAL(door.full, 1);
	CU_ASSERT_EQUAL(door.error, -EMFILE);
	CU_ASSERT(door.opened <= 1);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &was), 0);
	run_for(loop, 500000000);
	CU_ASSERT_EQUAL(door.opened, 2);
	CU_ASSERT_EQUAL(door.full, 1);
	vmft_transport_tcp.unlisten(listener);
	vmft_loop_destroy(loop);
	close(first);
	close(second);
}

/* The end of one that waits to try again. */
static void test_unlisten_full(void)
{
	static const struct vmft_conn_events door_events = {.on_full = door_full};
	const struct sockaddr_in at = free_address(SOCK_STREAM);
	struct vmft_listener *listener = NULL;
	struct door door = {0};
	struct vmft_loop *loop;
	struct rlimit was;

	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&loop), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_transport_tcp.listen(loop, (const struct sockaddr *)&at,
							sizeof(at), &door_events, &door, &listener),
			      0);
	was = use_up_descriptors();
	spin(loop);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &was), 0);
	CU_ASSERT_EQUAL(door.full, 1);
	vmft_transport_tcp.unlisten(listener);
	CU_ASSERT_EQUAL(fcntl(STDIN_FILENO, F_GETFD), 0);
	CU_ASSERT_EQUAL(try_bind(SOCK_STREAM, &at), 0);
	vmft_loop_destroy(loop);
}

static void test_is_own(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(1)};

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CU_ASSERT_EQUAL(vmft_transport_tcp.is_own((const struct sockaddr *)&at, sizeof(at)), 0);
	at.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1: of documents only */
	CU_ASSERT_EQUAL(vmft_transport_tcp.is_own((const struct sockaddr *)&at, sizeof(at)),
			-EADDRNOTAVAIL);
}

static void test_heartbeat_close(void)
{
	const struct sockaddr_in at = free_address(SOCK_DGRAM);
	struct vmft_pair_config config = {0};
	struct vmft_channel_address *own = &config.host[VMFT_HOST_SECOND].heartbeat;
	struct vmft_journal journal = {0};
	struct vmft_heartbeat h;
	struct vmft_loop *loop;

	memcpy(&own->addr, &at, sizeof(at));
	own->addr_len = sizeof(at);
	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&loop), 0);
	CU_ASSERT_EQUAL_FATAL(
	    vmft_heartbeat_open(&h, loop, &config, VMFT_HOST_SECOND, false, &journal), 0);
	spin(loop);
	CU_ASSERT_EQUAL(try_bind(SOCK_DGRAM, &at), -EADDRINUSE);
	vmft_heartbeat_close(&h);
	CU_ASSERT_EQUAL(h.fd, -1);
	CU_ASSERT_EQUAL(try_bind(SOCK_DGRAM, &at), 0);
	vmft_heartbeat_close(&h);
	vmft_loop_destroy(loop);
}

int vmft_suite_transport(void)
{
	CU_pSuite suite = CU_add_suite("transport", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_unlisten) ||
	    !CU_ADD_TEST(suite, test_no_descriptors) || !CU_ADD_TEST(suite, test_unlisten_full) ||
	    !CU_ADD_TEST(suite, test_is_own) || !CU_ADD_TEST(suite, test_heartbeat_close))
		return -1;
	return 0;
}
