/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pair's configuration: what is taken from a file, and that its manual page says the same. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/common/pair-config.h"
#include "monitor/common/pair-parser.h"
#include "pair_text.h"
#include "suites.h"

#ifndef VMFT_SOURCE_ROOT
#define VMFT_SOURCE_ROOT "."
#endif

static void test_etcd(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;

	CU_ASSERT_EQUAL_FATAL(pair_parse(ETCD PRIMARY BACKUP, &config, &err), 0);
	CU_ASSERT_STRING_EQUAL(config.arbiter, "etcd:https://[::1]:2379,https://e-2.lan:2379");
	CU_ASSERT_STRING_EQUAL(config.arbiter_ca, "");
	CU_ASSERT_EQUAL_FATAL(
	    pair_parse(ETCD
		       "arbiter-key = /k\narbiter-ca = /ca\narbiter-cert = /c\n" PRIMARY BACKUP,
		       &config, &err),
	    0);
	CU_ASSERT_STRING_EQUAL(config.arbiter_ca, "/ca");
	CU_ASSERT_STRING_EQUAL(config.arbiter_cert, "/c");
	CU_ASSERT_STRING_EQUAL(config.arbiter_key, "/k");
}

static void test_defaults(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;
	const struct sockaddr_in *in = (struct sockaddr_in *)&config.host[0].channel.addr;

	CU_ASSERT_EQUAL_FATAL(pair_parse(PAIR PRIMARY BACKUP, &config, &err), 0);
	CU_ASSERT_STRING_EQUAL(config.name, "web1");
	CU_ASSERT_STRING_EQUAL(config.arbiter, "file:/mnt/shared/vmft");
	CU_ASSERT_EQUAL(config.silence_ms, 1000);
	CU_ASSERT_EQUAL(config.lag_ms, 300);
	CU_ASSERT_EQUAL(config.disk_check, VMFT_DISK_CHECK_FULL);
	CU_ASSERT_EQUAL(config.gate_bytes, 8u << 20);
	CU_ASSERT_EQUAL(config.log_bytes, 64u << 20);
	CU_ASSERT_STRING_EQUAL(config.qemu, "/usr/bin/qemu-system-x86_64");
	CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_FIRST].control, "/run/vmft/web1.primary.sock");
	CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_SECOND].control, "/run/vmft/web1.backup.sock");
	CU_ASSERT_EQUAL(in->sin_family, AF_INET);
	CU_ASSERT_EQUAL(ntohs(in->sin_port), 7700);
	CU_ASSERT_EQUAL(ntohl(in->sin_addr.s_addr), 0x0a090001);
	CU_ASSERT_STRING_EQUAL(config.host[1].channel.text, "10.9.0.2:7700");
	CU_ASSERT_EQUAL(config.start, VMFT_START_PAIR);
	CU_ASSERT_EQUAL(config.on_stop, VMFT_ON_STOP_END);
	CU_ASSERT_EQUAL(config.reprotect, VMFT_REPROTECT_AUTO);
	CU_ASSERT_EQUAL(config.stun_ms, 300);
	CU_ASSERT_EQUAL(config.attach_mib_per_s, 0);
	CU_ASSERT_EQUAL(config.strategy, VMFT_STRATEGY_AUTO);
	CU_ASSERT_EQUAL(config.epoch_ms, 25);
	CU_ASSERT_EQUAL(config.epoch_min_ms, 5);
	CU_ASSERT_EQUAL(config.epoch_max_ms, 500);
	CU_ASSERT_EQUAL(config.delta_cache_mib, 64);
	CU_ASSERT(config.has_host[VMFT_HOST_FIRST]);
	CU_ASSERT(config.has_host[VMFT_HOST_SECOND]);
	CU_ASSERT(!config.has_host[VMFT_HOST_THIRD]);
}

static void test_everything_set(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;
	const struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&config.host[1].channel.addr;

	/* Indented, commented, with CR at the line ends: all of it common. */
	CU_ASSERT_EQUAL_FATAL(
	    pair_parse("# pair\r\n" PAIR "  silence-ms = 60000 ; a minute\r\n"
		       "lag-ms = 20\n"
		       "\tdisk-check = size\n  gate-bytes = 65536\n"
		       "log-bytes = 4294967296\nqemu = /opt/qemu\n"
		       "start = alone\nreprotect = manual\non-stop = hand-over\nstun-ms = 10000\n"
		       "attach-mib-per-s = 100000\nstrategy = checkpoint\n"
		       "epoch-ms = 500\nepoch-min-ms = 500\n"
		       "epoch-max-ms = 5000\ndelta-cache-mib = 4096\n"
		       "[primary]\nchannel = [::1]:1\ncontrol = /p.sock\n"
		       "[backup]\nchannel=[2001:db8::2]:65535\ncontrol = /b.sock\n"
		       "[spare]\nchannel=[2001:db8::3]:2\ncontrol = /s.sock\n",
		       &config, &err),
	    0);
	CU_ASSERT_EQUAL(config.silence_ms, 60000);
	CU_ASSERT_EQUAL(config.lag_ms, 20);
	CU_ASSERT_EQUAL(config.disk_check, VMFT_DISK_CHECK_SIZE);
	CU_ASSERT_EQUAL(config.gate_bytes, 65536);
	CU_ASSERT_EQUAL(config.log_bytes, UINT64_C(1) << 32);
	CU_ASSERT_STRING_EQUAL(config.qemu, "/opt/qemu");
	CU_ASSERT_STRING_EQUAL(config.host[0].control, "/p.sock");
	CU_ASSERT_EQUAL(in6->sin6_family, AF_INET6);
	CU_ASSERT_EQUAL(ntohs(in6->sin6_port), 65535);
	CU_ASSERT_EQUAL(config.host[1].channel.addr_len, sizeof(*in6));
	CU_ASSERT_EQUAL(config.start, VMFT_START_ALONE);
	CU_ASSERT_EQUAL(config.reprotect, VMFT_REPROTECT_MANUAL);
	CU_ASSERT_EQUAL(config.on_stop, VMFT_ON_STOP_HAND_OVER);
	CU_ASSERT_EQUAL(config.stun_ms, 10000);
	CU_ASSERT_EQUAL(config.attach_mib_per_s, 100000);
	CU_ASSERT_EQUAL(config.strategy, VMFT_STRATEGY_CHECKPOINT);
	CU_ASSERT_EQUAL(config.epoch_ms, 500);
	CU_ASSERT_EQUAL(config.epoch_min_ms, 500);
	CU_ASSERT_EQUAL(config.epoch_max_ms, 5000);
	CU_ASSERT_EQUAL(config.delta_cache_mib, 4096);
	CU_ASSERT(config.has_host[VMFT_HOST_THIRD]);
	CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_THIRD].channel.text, "[2001:db8::3]:2");
	CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_THIRD].control, "/s.sock");
}

/* The other end of each range, and the other word of each choice. */
static void test_lower_ends(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;

	CU_ASSERT_EQUAL_FATAL(pair_parse(PAIR
					 "start = pair\nreprotect = auto\nstun-ms = 10\n"
					 "attach-mib-per-s = 0\nstrategy = auto\n"
					 "epoch-max-ms = 5\nepoch-ms = 5\n"
					 "epoch-min-ms = 1\ndelta-cache-mib = 0\n" PRIMARY BACKUP,
					 &config, &err),
			      0);
	CU_ASSERT_EQUAL(config.start, VMFT_START_PAIR);
	CU_ASSERT_EQUAL(config.reprotect, VMFT_REPROTECT_AUTO);
	CU_ASSERT_EQUAL(config.stun_ms, 10);
	CU_ASSERT_EQUAL(config.attach_mib_per_s, 0);
	CU_ASSERT_EQUAL(config.strategy, VMFT_STRATEGY_AUTO);
	CU_ASSERT_EQUAL(config.epoch_ms, 5);
	CU_ASSERT_EQUAL(config.epoch_min_ms, 1);
	CU_ASSERT_EQUAL(config.epoch_max_ms, 5);
	CU_ASSERT_EQUAL(config.delta_cache_mib, 0);
}

static void test_strategies(void)
{
	for (enum vmft_strategy_kind kind = 0; kind < VMFT_STRATEGY_COUNT; kind++) {
		struct vmft_pair_config config;
		struct vmft_error err;
		char text[256];

		(void)snprintf(text, sizeof(text), PAIR "strategy = %s\n" PRIMARY BACKUP,
			       vmft_strategy_kind_name(kind));
		CU_ASSERT_EQUAL_FATAL(pair_parse(text, &config, &err), 0);
		CU_ASSERT_EQUAL(config.strategy, kind);
	}
	CU_ASSERT_STRING_EQUAL(vmft_strategy_kind_name(VMFT_STRATEGY_CHECKPOINT), "checkpoint");
}

/* A spare host is one like the others, wherever its section stands; its control path has a
 * default of its own. */
static void test_spare(void)
{
	static const char *const files[] = {PAIR PRIMARY BACKUP SPARE, SPARE BACKUP PAIR PRIMARY};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct vmft_pair_config config;
		struct vmft_error err;
		const struct vmft_pair_side *spare = &config.host[VMFT_HOST_THIRD];

		CU_ASSERT_EQUAL_FATAL(pair_parse(files[i], &config, &err), 0);
		for (int host = 0; host < VMFT_HOST_COUNT; host++)
			CU_ASSERT(config.has_host[host]);
		CU_ASSERT_STRING_EQUAL(spare->channel.text, "10.9.0.3:7700");
		CU_ASSERT_STRING_EQUAL(spare->control, "/run/vmft/web1.spare.sock");
		CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_SECOND].channel.text, "10.9.0.2:7700");
	}
}

/* Of another family than the channel's is fine: it is another path. */
static void test_heartbeat(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;

	CU_ASSERT_EQUAL_FATAL(pair_parse(PAIR PRIMARY BACKUP, &config, &err), 0);
	CU_ASSERT_EQUAL(config.host[0].heartbeat.addr_len, 0);
	CU_ASSERT_EQUAL(config.grace_ms, 3000);
	CU_ASSERT_EQUAL_FATAL(
	    pair_parse(PAIR "silence-ms = 60000\n" PRIMARY BEAT1 BACKUP BEAT2, &config, &err), 0);
	CU_ASSERT_EQUAL(config.grace_ms, 180000);
	CU_ASSERT_EQUAL(config.host[1].heartbeat.addr_len, sizeof(struct sockaddr_in));
	CU_ASSERT_STRING_EQUAL(config.host[1].heartbeat.text, "10.8.0.2:7701");
	CU_ASSERT_EQUAL(pair_parse(PAIR "grace-ms = 1000\n" PRIMARY
					"heartbeat = [fd00::1]:1\n" BACKUP
					"heartbeat = [fd00::2]:1\n",
				   &config, &err),
			0);
	CU_ASSERT_EQUAL(config.grace_ms, 1000);
}

/* The same address with another port is another channel: pairs on one host are for trying. */
static void test_ports_tell_channels_apart(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;

	CU_ASSERT_EQUAL(pair_parse(PAIR PRIMARY "[backup]\nchannel = 10.9.0.1:7701\n"
						"[spare]\nchannel = 10.9.0.1:7702\n",
				   &config, &err),
			0);
}

#define MEMBER "https://etcd-member-of-the-cluster-"

/* As many members as there may be, with names as long as they are where people give them out. */
static void test_long_line(void)
{
	static const char arbiter[] =
	    "etcd:" MEMBER "1.example.org:2379," MEMBER "2.example.org:2379," MEMBER
	    "3.example.org:2379," MEMBER "4.example.org:2379," MEMBER "5.example.org:2379," MEMBER
	    "6.example.org:2379," MEMBER "7.example.org:2379," MEMBER "8.example.org:2379," MEMBER
	    "9.example.org:2379";
	struct vmft_pair_config config;
	struct vmft_error err;
	char text[1024];

	(void)snprintf(text, sizeof(text), "[pair]\nname = web1\narbiter = %s ; all\n%s%s", arbiter,
		       PRIMARY, BACKUP);
	CU_ASSERT_EQUAL_FATAL(pair_parse(text, &config, &err), 0);
	CU_ASSERT_STRING_EQUAL(config.arbiter, arbiter);
}

/* Editors of other systems begin a file with one. */
static void test_byte_order_mark(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;

	CU_ASSERT_EQUAL_FATAL(pair_parse("\xef\xbb\xbf" PAIR PRIMARY BACKUP, &config, &err), 0);
	CU_ASSERT_STRING_EQUAL(config.name, "web1");
}

/* Wherever the file is cut off it is refused or whole, never half taken. */
static void test_torn(void)
{
	static const char text[] = PAIR PRIMARY BACKUP;

	for (size_t size = 0; size < sizeof(text) - 1; size++) {
		struct vmft_pair_config config;
		struct vmft_error err;
		int r = vmft_pair_config_parse("f", text, size, &config, &err);

		/* From "10.9.0.2:7" on the port is short, but a port. */
		CU_ASSERT_EQUAL(r, size < sizeof(text) - 5 ? -EINVAL : 0);
	}
}

static void write_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	(void)fputs(PAIR PRIMARY BACKUP, file);
	for (size_t i = 0; i < size; i++)
		(void)fputc('\n', file);
	(void)fclose(file);
}

static void test_load(void)
{
	char dir[] = "/tmp/vmft-test-XXXXXX", path[64], fifo[64];
	struct vmft_pair_config config;
	struct vmft_error err;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/pair.conf", dir);
	(void)snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	CU_ASSERT_EQUAL(vmft_pair_config_load(path, &config, &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "cannot read: No such file"));
	CU_ASSERT_EQUAL(vmft_pair_config_load(dir, &config, &err), -EISDIR);
	CU_ASSERT_EQUAL(mkfifo(fifo, 0600), 0);
	CU_ASSERT_EQUAL(vmft_pair_config_load(fifo, &config, &err), -EINVAL);
	write_file(path, 0);
	CU_ASSERT_EQUAL(vmft_pair_config_load(path, &config, &err), 0);
	write_file(path, VMFT_PAIR_FILE_MAX);
	CU_ASSERT_EQUAL(vmft_pair_config_load(path, &config, &err), -E2BIG);
	(void)unlink(path);
	(void)unlink(fifo);
	(void)rmdir(dir);
}

static void test_roles(void)
{
	enum vmft_role role = VMFT_ROLE_BACKUP;

	CU_ASSERT_EQUAL(vmft_role_parse("primary", &role), 0);
	CU_ASSERT_EQUAL(role, VMFT_ROLE_PRIMARY);
	CU_ASSERT_EQUAL(vmft_role_parse("Backup", &role), -EINVAL);
	CU_ASSERT_EQUAL(vmft_role_parse("", &role), -EINVAL);
	CU_ASSERT_EQUAL(role, VMFT_ROLE_PRIMARY);
	CU_ASSERT_EQUAL(vmft_role_parse("backup", &role), 0);
	CU_ASSERT_EQUAL(role, VMFT_ROLE_BACKUP);
	CU_ASSERT_STRING_EQUAL(vmft_role_name(VMFT_ROLE_BACKUP), "backup");
}

/* Hosts are found by what their sections are called, and only those that are there. */
static void test_hosts(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;
	enum vmft_host host = VMFT_HOST_COUNT;

	CU_ASSERT_EQUAL_FATAL(pair_parse(PAIR PRIMARY BACKUP, &config, &err), 0);
	CU_ASSERT(!config.named);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "Backup", &host), -ENOENT);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "", &host), -ENOENT);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "backup ", &host), -ENOENT);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "pair", &host), -ENOENT);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "spare", &host), -ENOENT);
	CU_ASSERT_EQUAL(host, VMFT_HOST_COUNT);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "backup", &host), 0);
	CU_ASSERT_EQUAL(host, VMFT_HOST_SECOND);
	CU_ASSERT_STRING_EQUAL(vmft_pair_host_name(&config, VMFT_HOST_FIRST), "primary");
	CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_FIRST].section, "primary");
}

static void test_named_hosts(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;
	enum vmft_host host = VMFT_HOST_COUNT;

	CU_ASSERT_EQUAL_FATAL(pair_parse(ALPHA "control = /a.sock\n" PAIR BETA, &config, &err), 0);
	CU_ASSERT(config.named);
	CU_ASSERT(!config.has_host[VMFT_HOST_THIRD]);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "beta", &host), 0);
	CU_ASSERT_EQUAL(host, VMFT_HOST_SECOND);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "primary", &host), -ENOENT);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "", &host), -ENOENT);
	CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_FIRST].name, "alpha");
	CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_FIRST].section, "host alpha");
	CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_FIRST].channel.text, "10.9.0.1:7700");
	CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_FIRST].control, "/a.sock");
	CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_SECOND].control, "/run/vmft/web1.beta.sock");
	CU_ASSERT_EQUAL_FATAL(pair_parse(PAIR GAMMA ALPHA BETA, &config, &err), 0);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "gamma-3", &host), 0);
	CU_ASSERT_EQUAL(host, VMFT_HOST_FIRST);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "beta", &host), 0);
	CU_ASSERT_EQUAL(host, VMFT_HOST_THIRD);
}

static char manual[64 * 1024];

/* Without its font changes, each blank and newline a blank, "\\-" a minus. */
static void read_manual(void)
{
	FILE *file = fopen(VMFT_SOURCE_ROOT "/docs/man/vmft-pair.conf.5", "r");
	size_t n, to = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	n = fread(manual, 1, sizeof(manual) - 1, file);
	(void)fclose(file);
	for (size_t i = 0; i < n; i++)
		if (manual[i] != '\\')
			manual[to++] = manual[i];
	manual[to] = '\0';
}

/* The paragraph of a key: from its ".B KEY" to the next ".TP" or section. */
static bool find_entry(const char *name, char *ret, size_t size)
{
	char head[64];
	const char *at, *end;

	(void)snprintf(head, sizeof(head), "\n.B %s\n", name);
	at = strstr(manual, head);
	if (!at)
		return false;
	end = strstr(at, "\n.TP");
	(void)snprintf(ret, size, "%.*s", end ? (int)(end - at) : (int)strlen(at), at);
	for (char *p = ret; *p; p++)
		if (*p == '\n')
			*p = ' ';
	return true;
}

static void entry_says(const char *name, const char *entry, const char *what)
{
	if (strstr(entry, what))
		return;
	(void)fprintf(stderr, "vmft-pair.conf(5), %s: does not say \"%s\"\n", name, what);
	CU_FAIL("the manual page and the table of keys differ");
}

/* Each key has an entry, with the range and the default that the table has. */
static void test_manual(void)
{
	char entry[4096], range[96];

	read_manual();
	for (const struct vmft_pair_key *key = vmft_pair_keys; key->name; key++) {
		if (strncmp(key->name, "arbiter-", 8) == 0)
			continue; /* three in one entry */
		if (!find_entry(key->name, entry, sizeof(entry))) {
			(void)fprintf(stderr, "vmft-pair.conf(5): no entry for %s\n", key->name);
			CU_FAIL("a key without an entry");
			continue;
		}
		if (key->number.max == 0)
			continue;
		(void)snprintf(range, sizeof(range), "%llu to %llu",
			       (unsigned long long)key->number.min,
			       (unsigned long long)key->number.max);
		entry_says(key->name, entry, range);
		(void)snprintf(range, sizeof(range), "default %llu",
			       (unsigned long long)key->number.otherwise);
		if (key->number.otherwise != UINT64_MAX)
			entry_says(key->name, entry, range);
	}
	for (const struct vmft_pair_key *key = vmft_pair_host_keys; key->name; key++)
		CU_ASSERT(find_entry(key->name, entry, sizeof(entry)));
}

int vmft_suite_pair_config(void)
{
	static CU_TestInfo tests[] = {
	    {"defaults", test_defaults},
	    {"everything set", test_everything_set},
	    {"lower ends", test_lower_ends},
	    {"strategies", test_strategies},
	    {"etcd", test_etcd},
	    {"spare", test_spare},
	    {"ports tell channels apart", test_ports_tell_channels_apart},
	    {"heartbeat", test_heartbeat},
	    {"long line", test_long_line},
	    {"byte order mark", test_byte_order_mark},
	    {"torn at every byte", test_torn},
	    {"load", test_load},
	    {"roles", test_roles},
	    {"hosts", test_hosts},
	    {"named hosts", test_named_hosts},
	    {"manual page", test_manual},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"pair-config", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
