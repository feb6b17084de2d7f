/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may come to a side's addresses, and what it costs. */
#include <CUnit/CUnit.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/daemon/peer/strangers.h"
#include "suites.h"

#define PAIR "[pair]\nname = a\narbiter = file:/a\n"

static char connections[64];

static struct vmft_conn *conn_of(unsigned number)
{
	return (struct vmft_conn *)(void *)&connections[number];
}

static void config_of(const char *hosts, struct vmft_pair_config *ret)
{
	struct vmft_error err;
	char text[512];
	int n = snprintf(text, sizeof(text), PAIR "%s", hosts);

	CU_ASSERT_EQUAL_FATAL(vmft_pair_config_parse("f", text, (size_t)n, ret, &err), 0);
}

static bool known(const struct vmft_pair_config *config, int family, const char *text)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = 4711};
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = 4711};

	CU_ASSERT_EQUAL(
	    inet_pton(family, text, family == AF_INET ? (void *)&in4.sin_addr : &in6.sin6_addr), 1);
	return vmft_strangers_are_known(config, family == AF_INET ? (const struct sockaddr *)&in4
								  : (const struct sockaddr *)&in6);
}

/* Those of all hosts, from whatever port; the spare's only if there is one. */
static void test_known(void)
{
	static struct vmft_pair_config two, three;

	config_of("[primary]\nchannel = 10.0.0.1:7\n[backup]\nchannel = 10.0.0.2:7\n", &two);
	config_of("[primary]\nchannel = [fd00::1]:7\n[backup]\nchannel = [fd00::2]:7\n"
		  "[spare]\nchannel = [fd00::3]:7\n",
		  &three);
	CU_ASSERT(known(&two, AF_INET, "10.0.0.1") && known(&two, AF_INET, "10.0.0.2"));
	CU_ASSERT(!known(&two, AF_INET, "10.0.0.3") && !known(&two, AF_INET, "0.0.0.0"));
	CU_ASSERT(!known(&two, AF_INET6, "::") && !known(&two, AF_INET6, "fd00::1"));
	CU_ASSERT(known(&three, AF_INET6, "fd00::1") && known(&three, AF_INET6, "fd00::3"));
	CU_ASSERT(!known(&three, AF_INET6, "fd00::4") && !known(&three, AF_INET, "10.0.0.1"));
}

/* The last who comes always has a place; who waits for an answer keeps his. */
static void test_places(void)
{
	struct vmft_strangers s = {0};

	for (unsigned i = 0; i < VMFT_STRANGERS_MAX; i++)
		CU_ASSERT_PTR_NULL(vmft_strangers_enter(&s, conn_of(i), 10 + i));
	vmft_strangers_note(&s, conn_of(0), VMFT_STRANGER_CALLER);
	vmft_strangers_note(&s, conn_of(63), VMFT_STRANGER_CALLER);
	CU_ASSERT_PTR_EQUAL(vmft_strangers_enter(&s, conn_of(20), 30), conn_of(1));
	CU_ASSERT_PTR_EQUAL(vmft_strangers_enter(&s, conn_of(21), 31), conn_of(2));
	/* The two that gave way are closed later. */
	vmft_strangers_leave(&s, conn_of(1));
	vmft_strangers_leave(&s, conn_of(2));
	CU_ASSERT_PTR_EQUAL(vmft_strangers_enter(&s, conn_of(22), 32), conn_of(3));
	vmft_strangers_leave(&s, conn_of(4));
	CU_ASSERT_PTR_NULL(vmft_strangers_enter(&s, conn_of(23), 33));
	vmft_strangers_note(&s, conn_of(0), VMFT_STRANGER_REFUSED);
	CU_ASSERT_PTR_EQUAL(vmft_strangers_enter(&s, conn_of(24), 34), conn_of(0));
}

static void test_overdue(void)
{
	struct vmft_strangers s = {0};

	CU_ASSERT_PTR_NULL(vmft_strangers_overdue(&s, 1000, 10));
	(void)vmft_strangers_enter(&s, conn_of(0), 100);
	(void)vmft_strangers_enter(&s, conn_of(1), 101);
	(void)vmft_strangers_enter(&s, conn_of(2), 102);
	vmft_strangers_note(&s, conn_of(0), VMFT_STRANGER_CALLER);
	vmft_strangers_note(&s, conn_of(2), VMFT_STRANGER_REFUSED);
	CU_ASSERT_PTR_NULL(vmft_strangers_overdue(&s, 110, 10));
	vmft_strangers_slept(&s, 5);
	CU_ASSERT_PTR_NULL(vmft_strangers_overdue(&s, 115, 10));
	CU_ASSERT_PTR_NULL(vmft_strangers_overdue(&s, 0, 10));
	CU_ASSERT_PTR_EQUAL(vmft_strangers_overdue(&s, 116, 10), conn_of(1));
	CU_ASSERT_PTR_NULL(vmft_strangers_overdue(&s, 100000, 10));
}

static bool tells(struct vmft_strangers *s, enum vmft_stranger_news news, const char *name,
		  uint64_t now)
{
	int bytes = 0;
	const bool said = vmft_strangers_tell(s, news, name, now, &bytes);

	CU_ASSERT_EQUAL(bytes, strrchr(name, ':') - name);
	return said;
}

static void test_said_once(void)
{
	const uint64_t hour = UINT64_C(3600000000000);
	struct vmft_strangers s = {0};
	unsigned said = 0;

	CU_ASSERT(tells(&s, VMFT_STRANGER_FOREIGN, "10.0.0.1:1", 1));
	CU_ASSERT(!tells(&s, VMFT_STRANGER_FOREIGN, "10.0.0.1:2", 2));
	CU_ASSERT(tells(&s, VMFT_STRANGER_LATE, "10.0.0.1:2", 2));
	CU_ASSERT(tells(&s, VMFT_STRANGER_FOREIGN, "10.0.0.11:2", 2));
	CU_ASSERT(tells(&s, VMFT_STRANGER_FOREIGN, "[fd00::1]:2", 2));
	CU_ASSERT(!tells(&s, VMFT_STRANGER_FOREIGN, "[fd00::1]:3", 2));
	CU_ASSERT(!tells(&s, VMFT_STRANGER_FOREIGN, "10.0.0.1:1", hour));
	CU_ASSERT(tells(&s, VMFT_STRANGER_FOREIGN, "10.0.0.1:1", hour + 1));
	/* However many there are. */
	for (unsigned i = 0; i < 1000; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "10.1.%u.%u:1", i / 250, i % 250);
		said += tells(&s, VMFT_STRANGER_FOREIGN, name, hour + 1);
	}
	CU_ASSERT(said > 0 && said < 2 * VMFT_STRANGERS_MAX);
}

static void send_from(const char *from, int family, int to)
{
	struct sockaddr_storage at, own = {.ss_family = (sa_family_t)family};
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&own;
	struct sockaddr_in *in4 = (struct sockaddr_in *)&own;
	socklen_t n = sizeof(at);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	CU_ASSERT_EQUAL(
	    inet_pton(family, from, family == AF_INET ? (void *)&in4->sin_addr : &in6->sin6_addr),
	    1);
	CU_ASSERT_EQUAL(getsockname(to, (struct sockaddr *)&at, &n), 0);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&own, n), 0);
	CU_ASSERT_EQUAL(sendto(fd, "x", 1, 0, (struct sockaddr *)&at, n), 1);
	close(fd);
}

/* The sender's address on loopback, where it is delivered before sendto() returns. */
static void test_filter(void)
{
	static struct vmft_pair_config config;
	struct sockaddr_in own = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char byte;

	config_of("[primary]\nchannel = 10.0.0.1:7\nheartbeat = 127.0.0.2:7\n[backup]\n"
		  "channel = 10.0.0.2:7\nheartbeat = 127.0.0.4:7\n",
		  &config);
	own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	CU_ASSERT_EQUAL(vmft_strangers_filter(fd, &config), 0);
	send_from("127.0.0.3", AF_INET, fd);
	send_from("127.0.0.1", AF_INET, fd);
	CU_ASSERT_EQUAL(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	send_from("127.0.0.2", AF_INET, fd);
	CU_ASSERT_EQUAL(recv(fd, &byte, 1, MSG_DONTWAIT), 1);
	send_from("127.0.0.4", AF_INET, fd);
	CU_ASSERT_EQUAL(recv(fd, &byte, 1, MSG_DONTWAIT), 1);
	close(fd);
}

/* Loopback has one address; the filter's others differ from it in one word each. */
static void test_filter_v6(void)
{
	static const char *const hosts[] = {
	    "[primary]\nchannel = [fd00::1]:7\nheartbeat = [::1:0:0:1]:7\n[backup]\n"
	    "channel = [fd00::2]:7\nheartbeat = [1::1]:7\n",
	    "[primary]\nchannel = [fd00::1]:7\nheartbeat = [::1:0:1]:7\n[backup]\n"
	    "channel = [fd00::2]:7\nheartbeat = [::1]:7\n",
	};

	for (unsigned i = 0; i < 2; i++) {
		static struct vmft_pair_config config;
		struct sockaddr_in6 own = {.sin6_family = AF_INET6,
					   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
		int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		char byte;

		config_of(hosts[i], &config);
		/* Not every build machine has IPv6. */
		if (fd >= 0 && bind(fd, (struct sockaddr *)&own, sizeof(own)) == 0) {
			CU_ASSERT_EQUAL(vmft_strangers_filter(fd, &config), 0);
			send_from("::1", AF_INET6, fd);
			CU_ASSERT_EQUAL(recv(fd, &byte, 1, MSG_DONTWAIT), i == 0 ? -1 : 1);
		}
		close(fd);
	}
}

int vmft_suite_strangers(void)
{
	CU_pSuite suite = CU_add_suite("strangers", NULL, NULL);

	if (!suite || !CU_add_test(suite, "known addresses", test_known) ||
	    !CU_add_test(suite, "places", test_places) ||
	    !CU_add_test(suite, "overdue", test_overdue) ||
	    !CU_add_test(suite, "said once", test_said_once) ||
	    !CU_add_test(suite, "datagrams", test_filter) ||
	    !CU_add_test(suite, "datagrams, IPv6", test_filter_v6))
		return -1;
	return 0;
}
