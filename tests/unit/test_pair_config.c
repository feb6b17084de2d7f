/* SPDX-License-Identifier: GPL-2.0-or-later */
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

#include "monitor/common/exit-codes.h"
#include "monitor/common/pair-config.h"
#include "monitor/common/pair-parser.h"

int vmft_suite_pair_config(void);

#ifndef VMFT_SOURCE_ROOT
#define VMFT_SOURCE_ROOT "."
#endif

#define PAIR	"[pair]\nname = web1\narbiter = file:/mnt/shared/vmft\n"
#define ETCD	"[pair]\nname = web1\narbiter = etcd:https://[::1]:2379,https://e-2.lan:2379\n"
#define PRIMARY "[primary]\nchannel = 10.9.0.1:7700\n"
#define BACKUP	"[backup]\nchannel = 10.9.0.2:7700\n"
#define BEAT1	"heartbeat = 10.8.0.1:7701\n"
#define BEAT2	"heartbeat = 10.8.0.2:7701\n"
#define SPARE	"[spare]\nchannel = 10.9.0.3:7700\n"
#define ALPHA	"[host alpha]\nchannel = 10.9.0.1:7700\n"
#define BETA	"[host beta]\nchannel = 10.9.0.2:7700\n"
#define GAMMA	"[host gamma-3]\nchannel = 10.9.0.3:7700\n"

static int parse(const char *text, struct vmft_pair_config *config, struct vmft_error *err)
{
	return vmft_pair_config_parse("f", text, strlen(text), config, err);
}

static void test_etcd(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;

	CU_ASSERT_EQUAL_FATAL(parse(ETCD PRIMARY BACKUP, &config, &err), 0);
	CU_ASSERT_STRING_EQUAL(config.arbiter, "etcd:https://[::1]:2379,https://e-2.lan:2379");
	CU_ASSERT_STRING_EQUAL(config.arbiter_ca, "");
	CU_ASSERT_EQUAL_FATAL(
	    parse(ETCD "arbiter-key = /k\narbiter-ca = /ca\narbiter-cert = /c\n" PRIMARY BACKUP,
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

	CU_ASSERT_EQUAL_FATAL(parse(PAIR PRIMARY BACKUP, &config, &err), 0);
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
	    parse("# pair\r\n" PAIR "  silence-ms = 60000 ; a minute\r\n"
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

	CU_ASSERT_EQUAL_FATAL(parse(PAIR "start = pair\nreprotect = auto\nstun-ms = 10\n"
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
		CU_ASSERT_EQUAL_FATAL(parse(text, &config, &err), 0);
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

		CU_ASSERT_EQUAL_FATAL(parse(files[i], &config, &err), 0);
		for (int host = 0; host < VMFT_HOST_COUNT; host++)
			CU_ASSERT(config.has_host[host]);
		CU_ASSERT_STRING_EQUAL(spare->channel.text, "10.9.0.3:7700");
		CU_ASSERT_STRING_EQUAL(spare->control, "/run/vmft/web1.spare.sock");
		CU_ASSERT_STRING_EQUAL(config.host[VMFT_HOST_SECOND].channel.text, "10.9.0.2:7700");
	}
}

#define LONG64	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONG512	 LONG64 LONG64 LONG64 LONG64 LONG64 LONG64 LONG64 LONG64
#define LONG4096 LONG512 LONG512 LONG512 LONG512 LONG512 LONG512 LONG512 LONG512
#define TAIL	 "\n" PRIMARY BACKUP

static const struct {
	const char *text;
	const char *want; /* how the message begins */
} refused[] = {
    {"", "f:1: no 'name' in [pair]"},
    {"name = x\n", "f:1: key before any section: 'name'"},
    {"[pair]\nnme = x\n", "f:2: unknown key 'nme'"},
    {"[pair]\nchannel = 10.0.0.1:1\n", "f:2: unknown key 'channel'"},
    {"[pairs]\n", "f:1: unknown section 'pairs'"},
    {"[x] \n", "f:1: unknown section 'x'; the sections are [pair] and a [host NAME] for each host"},
    {"[spares]\n", "f:1: unknown section"},
    {"[spare]\n[spare]\n", "f:2: second section 'spare'"},
    {"[pair ]\n", "f:1: unknown section"},
    {"[pair\n", "f:1: neither KEY = VALUE nor [SECTION]"},
    {"[pair]\n[pair]\n", "f:2: second section 'pair'"},
    {"[pair]\nrubbish\n", "f:2: neither KEY = VALUE nor [SECTION]"},
    {"[pair]\nname = a\nname = a\n", "f:3: second 'name'"},
    {"[pair]\nname =\n", "f:2: no value for 'name'"},
    {"[pair]\nname = a b\n", "f:2: bad name 'a b'"},
    {"[pair]\nname = a/b\n", "f:2: bad name 'a/b'"},
    {"[pair]\nname = ..\n", "f:2: bad name '..'"},
    {"[pair]\nname = " LONG64 "a\n", "f:2: bad name"},
    {"[pair]\narbiter = /mnt\n", "f:2: unusable arbiter '/mnt'"},
    {"[pair]\narbiter = file:mnt\n", "f:2: unusable arbiter 'file:mnt'"},
    {"[pair]\narbiter = etcd:\n", "f:2: unusable arbiter 'etcd:'; write etcd:https://HOST:PORT"},
    {"[pair]\narbiter = etcd:http://x\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:ftp://x:1\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://10.0.0.1:2379,\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://10.0.0.1:2379/\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://10.0.0.1:65536\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://10.0.0.1:0\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://10.0.0.1:\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://10.0.0.256:1\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://[::g]:1\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://::1:1\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://u@h:1\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://-h:1\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:https://a:1 https://b:1\n", "f:2: unusable arbiter"},
    {"[pair]\narbiter = etcd:http://a:1,https://b:1\n",
     "f:2: unusable arbiter 'etcd:http://a:1,https://b:1'; use https for all of them"},
    {"[pair]\narbiter = etcd:http://a:1,http://b:1,http://a:1\n",
     "f:2: unusable arbiter 'etcd:http://a:1,http://b:1,http://a:1'; name each member once"},
    {"[pair]\narbiter = etcd:http://a:1,http://a:2,http://a:3,http://a:4,http://a:5,http://a:6,"
     "http://a:7,http://a:8,http://a:9,http://a:10\n",
     "f:2: unusable arbiter"},
    {"[pair]\narbiter-ca = ca.pem\n", "f:2: not an absolute path: 'ca.pem'"},
    {PAIR "arbiter-ca = /ca.pem\n" PRIMARY BACKUP,
     "f:4: no TLS with arbiter 'file:/mnt/shared/vmft'; arbiter-ca, arbiter-cert and arbiter-key "
     "are for etcd:https://"},
    {ETCD "arbiter-ca = /ca\narbiter-cert = /c\n" PRIMARY BACKUP,
     "f:5: only one of 'arbiter-cert, arbiter-key'; give the certificate and its key"},
    {ETCD "arbiter-key = /k\n" PRIMARY BACKUP, "f:4: only one of 'arbiter-cert, arbiter-key'"},
    {"[pair]\nname = a\narbiter = etcd:http://h:1\narbiter-ca = /ca\n" TAIL,
     "f:4: no TLS with arbiter"},
    {"[pair]\nsilence-ms = 199\n", "f:2: bad number '199'; write a whole number from 200 to 60000"},
    {"[pair]\nlag-ms = 19\n", "f:2: bad number '19'; write a whole number from 20 to 60000"},
    {"[pair]\nlag-ms = 60001\n", "f:2: bad number"},
    {"[pair]\nsilence-ms = 60001\n", "f:2: bad number"},
    {"[pair]\nsilence-ms = -1000\n", "f:2: bad number"},
    {"[pair]\nsilence-ms = 1s\n", "f:2: bad number '1s'"},
    {"[pair]\nsilence-ms = 99999999999999999999999\n", "f:2: bad number"},
    {"[pair]\ndisk-check = no\n", "f:2: unknown disk-check 'no'"},
    {"[pair]\nstart = now\n", "f:2: unknown start 'now'; write pair or alone"},
    {"[pair]\nstart = Alone\n", "f:2: unknown start"},
    {"[pair]\nreprotect = always\n", "f:2: unknown reprotect 'always'; write auto or manual"},
    {"[pair]\non-stop = migrate\n", "f:2: unknown on-stop 'migrate'; write end or hand-over"},
    {"[pair]\nstun-ms = 9\n", "f:2: bad number '9'; write a whole number from 10 to 10000"},
    {"[pair]\nstun-ms = 10001\n", "f:2: bad number"},
    {"[pair]\nattach-mib-per-s = 100001\n",
     "f:2: bad number '100001'; write a whole number from 0 to 100000"},
    {"[pair]\nattach-mib-per-s = -1\n", "f:2: bad number"},
    {"[pair]\nstrategy = replay\n",
     "f:2: unknown strategy 'replay'; write auto, lockstep or checkpoint"},
    {"[pair]\nstrategy = Auto\n", "f:2: unknown strategy"},
    {"[pair]\nepoch-ms = 4\n", "f:2: bad number '4'; write a whole number from 5 to 500"},
    {"[pair]\nepoch-ms = 501\n", "f:2: bad number"},
    {"[pair]\nepoch-min-ms = 0\n", "f:2: bad number '0'; write a whole number from 1 to 500"},
    {"[pair]\nepoch-min-ms = 501\n", "f:2: bad number"},
    {"[pair]\nepoch-max-ms = 4\n", "f:2: bad number '4'; write a whole number from 5 to 5000"},
    {"[pair]\nepoch-max-ms = 5001\n", "f:2: bad number"},
    {"[pair]\ndelta-cache-mib = 4097\n",
     "f:2: bad number '4097'; write a whole number from 0 to 4096"},
    {"[pair]\ndelta-cache-mib = 64M\n", "f:2: bad number"},
    {"[spare]\nstart = alone\n", "f:2: unknown key 'start'"},
    {"[pair]\ngate-bytes = 65535\n", "f:2: bad number"},
    {"[pair]\ngate-bytes = 1073741825\n", "f:2: bad number"},
    {"[pair]\nlog-bytes = 3145728\n", "f:2: bad number '3145728'; write a power of two"},
    {"[pair]\nlog-bytes = 524288\n", "f:2: bad number"},
    {"[pair]\nlog-bytes = 8589934592\n", "f:2: bad number"},
    {"[pair]\nqemu = qemu\n", "f:2: not an absolute path: 'qemu'"},
    {"[pair]\nqemu = /" LONG4096 "\n", "f:2: path too long"},
    {"[pair]\nqemu = /" LONG4096 LONG4096 "\n", "f:2: line too long; keep lines under 8192"},
    {"\xef\xbb\xbf[pair]\nname = a\n[peer]\n", "f:3: unknown section 'peer'"},
    {"\xef\xbb\xbf\xef\xbb\xbf[pair]\nname = a\n", "f:1: neither KEY = VALUE nor [SECTION]"},
    {"[pair] name = a\n", "f:1: neither KEY = VALUE nor [SECTION]"},
    {"[pair]\nname = a\x01\n", "f:2: control byte"},
    {"[primary]\nchannel = 10.0.0.1\n", "f:2: bad address '10.0.0.1'"},
    {"[primary]\nchannel = 10.0.0.1:\n", "f:2: bad address"},
    {"[primary]\nchannel = :7700\n", "f:2: bad address"},
    {"[primary]\nchannel = 10.0.0.1:0\n", "f:2: bad address"},
    {"[primary]\nchannel = 10.0.0.1:65536\n", "f:2: bad address"},
    {"[primary]\nchannel = 10.0.0.1:+1\n", "f:2: bad address"},
    {"[primary]\nchannel = 10.0.0.256:1\n", "f:2: bad address"},
    {"[primary]\nchannel = localhost:1\n", "f:2: bad address"},
    {"[primary]\nchannel = ::1:1\n", "f:2: bad address"},
    {"[primary]\nchannel = []:1\n", "f:2: bad address"},
    {"[primary]\nchannel = [::1:1\n", "f:2: bad address"},
    {"[primary]\nchannel = [10.0.0.1]:1\n", "f:2: bad address"},
    {"[primary]\nchannel = 0.0.0.0:1\n", "f:2: unreachable address"},
    {"[primary]\nchannel = 239.1.1.1:1\n", "f:2: unreachable address"},
    {"[primary]\nchannel = [::]:1\n", "f:2: unreachable address"},
    {"[primary]\nchannel = [fe80::1]:1\n", "f:2: unreachable address"},
    {"[primary]\ncontrol = x.sock\n", "f:2: not an absolute path: 'x.sock'"},
    {"[primary]\ncontrol = /" LONG64 LONG64 "\n", "f:2: path too long"},
    {"[pair]\nname = a" TAIL, "f:1: no 'arbiter' in [pair]"},
    {PAIR "epoch-min-ms = 26\n\n" PRIMARY BACKUP,
     "f:4: epoch-min-ms, epoch-ms and epoch-max-ms out of order: '26, 25, 500'; let none be less "
     "than the one before it"},
    {PAIR "epoch-ms = 100\nepoch-max-ms = 99\n" PRIMARY BACKUP,
     "f:5: epoch-min-ms, epoch-ms and epoch-max-ms out of order: '5, 100, 99'"},
    {PAIR PRIMARY, "f:5: no 'channel' in [backup]"},
    {PAIR BACKUP "[primary]\n", "f:6: no 'channel' in [primary]"},
    {PAIR PRIMARY BACKUP "[spare]\n", "f:8: no 'channel' in [spare]"},
    {PAIR PRIMARY BACKUP "[spare]\ncontrol = /s\n",
     "f:8: no 'channel' in [spare]; add a line such as 'channel = 10.9.0.1:7700'"},
    {PAIR PRIMARY SPARE, "f:7: no 'channel' in [backup]"},
    {PAIR PRIMARY "[backup]\nchannel = 10.9.0.1:7700\n",
     "f:6: another host's channel '10.9.0.1:7700'; give each host an address of its own"},
    {PAIR PRIMARY BACKUP "[spare]\nchannel = 10.9.0.1:7700\n",
     "f:8: another host's channel '10.9.0.1:7700'"},
    {PAIR PRIMARY BACKUP "[spare]\nchannel = 10.9.0.2:7700\n",
     "f:8: another host's channel '10.9.0.2:7700'"},
    {PAIR PRIMARY "[backup]\nchannel = [::1]:7700\n",
     "f:6: not of the other hosts' address family: '[::1]:7700'; use IPv4 on all or IPv6 on all"},
    {PAIR PRIMARY BACKUP "[spare]\nchannel = [::1]:7700\n",
     "f:8: not of the other hosts' address family: '[::1]:7700'"},
    {PAIR "[primary]\nchannel = [::1]:1\n[backup]\nchannel = [::2]:1\n" SPARE,
     "f:8: not of the other hosts' address family: '10.9.0.3:7700'"},
    {PAIR "grace-ms = 999\n" PRIMARY BACKUP,
     "f:4: grace-ms less than silence-ms: '999, 1000'; make it as long at least"},
    {PAIR PRIMARY BEAT1 BACKUP, "f:7: no heartbeat in 'backup'; give one to every host or to none"},
    {PAIR PRIMARY BACKUP BEAT2, "f:4: no heartbeat in 'primary'"},
    {PAIR PRIMARY BEAT1 BACKUP BEAT2 SPARE, "f:10: no heartbeat in 'spare'"},
    {PAIR PRIMARY BACKUP SPARE "heartbeat = 10.8.0.3:7701\n", "f:4: no heartbeat in 'primary'"},
    {PAIR PRIMARY BEAT1 BACKUP "heartbeat = [fd00::1]:1\n",
     "f:7: not of the other hosts' address family: '[fd00::1]:1'"},
    {PAIR PRIMARY BEAT1 BACKUP BEAT1, "f:7: another host's heartbeat '10.8.0.1:7701'"},
    {PAIR PRIMARY BEAT1 BACKUP "heartbeat = 10.9.0.2:7701\n",
     "f:7: heartbeat on the channel's address '10.9.0.2:7701'; use another network's, or leave it "
     "out on all hosts"},
    {PAIR "[primary]\nchannel = [fd00::1]:1\nheartbeat = [fd00::1]:2\n[backup]\n"
	  "channel = [fd00::2]:1\nheartbeat = [fd01::2]:2\n",
     "f:4: heartbeat on the channel's address '[fd00::1]:2'"},
    {PAIR PRIMARY BEAT1 "heartbeat = 10.8.0.9:1\n" BACKUP BEAT2, "f:7: second 'heartbeat'"},
    {"[host]\n", "f:1: unknown section 'host'"},
    {"[host ]\n", "f:1: bad host name ''"},
    {"[host  alpha]\n", "f:1: bad host name ' alpha'; use 1 to 27 of A-Z a-z 0-9 _ -"},
    {"[host a.b]\n", "f:1: bad host name 'a.b'"},
    {"[host a/b]\n", "f:1: bad host name 'a/b'"},
    {"[host -a]\n", "f:1: bad host name '-a'"},
    {"[host aaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n", "f:1: bad host name"},
    {"[host primary]\n", "f:1: a role for a host's name: 'primary'; write what the host is called"},
    {"[host backup]\n", "f:1: a role for a host's name: 'backup'"},
    {PAIR ALPHA ALPHA, "f:6: second section for host 'alpha'; put its keys together"},
    {PAIR ALPHA, "f:5: only one host: 'alpha'; add a section for the other, [host NAME]"},
    {PAIR ALPHA "[host beta]\n", "f:6: no 'channel' in [host beta]; add a line such as"},
    {PAIR ALPHA BETA GAMMA "[host delta]\n", "f:10: a fourth host: 'delta'; keep three at most"},
    {PAIR ALPHA BACKUP,
     "f:6: both kinds of host sections: 'backup'; use [host NAME] for all hosts, or [primary], "
     "[backup], [spare]"},
    {PAIR PRIMARY BETA, "f:6: both kinds of host sections: 'host beta'"},
    {PAIR ALPHA BEAT1 BETA, "f:7: no heartbeat in 'beta'"},
};

static void test_refused(void)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct vmft_pair_config config, before;
		struct vmft_error err = {0};

		memset(&config, 0x5a, sizeof(config));
		memcpy(&before, &config, sizeof(before));
		CU_ASSERT_EQUAL(parse(refused[i].text, &config, &err), -EINVAL);
		CU_ASSERT_EQUAL(err.exit_code, VMFT_EXIT_CONFIG);
		/* A failed call leaves the caller's copy as it was. */
		CU_ASSERT_EQUAL(memcmp(&config, &before, sizeof(config)), 0);
		if (strncmp(err.text, refused[i].want, strlen(refused[i].want)) == 0)
			continue;
		(void)fprintf(stderr, "case %zu\n want %s\n got  %s\n", i, refused[i].want,
			      err.text);
		CU_FAIL("another message");
	}
}

/* Of another family than the channel's is fine: it is another path. */
static void test_heartbeat(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;

	CU_ASSERT_EQUAL_FATAL(parse(PAIR PRIMARY BACKUP, &config, &err), 0);
	CU_ASSERT_EQUAL(config.host[0].heartbeat.addr_len, 0);
	CU_ASSERT_EQUAL(config.grace_ms, 3000);
	CU_ASSERT_EQUAL_FATAL(
	    parse(PAIR "silence-ms = 60000\n" PRIMARY BEAT1 BACKUP BEAT2, &config, &err), 0);
	CU_ASSERT_EQUAL(config.grace_ms, 180000);
	CU_ASSERT_EQUAL(config.host[1].heartbeat.addr_len, sizeof(struct sockaddr_in));
	CU_ASSERT_STRING_EQUAL(config.host[1].heartbeat.text, "10.8.0.2:7701");
	CU_ASSERT_EQUAL(parse(PAIR "grace-ms = 1000\n" PRIMARY "heartbeat = [fd00::1]:1\n" BACKUP
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

	CU_ASSERT_EQUAL(parse(PAIR PRIMARY "[backup]\nchannel = 10.9.0.1:7701\n"
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
	CU_ASSERT_EQUAL_FATAL(parse(text, &config, &err), 0);
	CU_ASSERT_STRING_EQUAL(config.arbiter, arbiter);
}

/* Editors of other systems begin a file with one. */
static void test_byte_order_mark(void)
{
	struct vmft_pair_config config;
	struct vmft_error err;

	CU_ASSERT_EQUAL_FATAL(parse("\xef\xbb\xbf" PAIR PRIMARY BACKUP, &config, &err), 0);
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

	CU_ASSERT_EQUAL_FATAL(parse(PAIR PRIMARY BACKUP, &config, &err), 0);
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

	CU_ASSERT_EQUAL_FATAL(parse(ALPHA "control = /a.sock\n" PAIR BETA, &config, &err), 0);
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
	CU_ASSERT_EQUAL_FATAL(parse(PAIR GAMMA ALPHA BETA, &config, &err), 0);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "gamma-3", &host), 0);
	CU_ASSERT_EQUAL(host, VMFT_HOST_FIRST);
	CU_ASSERT_EQUAL(vmft_pair_host_find(&config, "beta", &host), 0);
	CU_ASSERT_EQUAL(host, VMFT_HOST_THIRD);
}

/* --- the manual page ----------------------------------------------------------- */

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
	CU_pSuite suite = CU_add_suite("pair-config", NULL, NULL);

	if (!suite || !CU_add_test(suite, "defaults", test_defaults) ||
	    !CU_add_test(suite, "everything set", test_everything_set) ||
	    !CU_add_test(suite, "lower ends", test_lower_ends) ||
	    !CU_add_test(suite, "strategies", test_strategies) ||
	    !CU_add_test(suite, "etcd", test_etcd) || !CU_add_test(suite, "spare", test_spare) ||
	    !CU_add_test(suite, "ports tell channels apart", test_ports_tell_channels_apart) ||
	    !CU_add_test(suite, "heartbeat", test_heartbeat) ||
	    !CU_add_test(suite, "refused", test_refused) ||
	    !CU_add_test(suite, "long line", test_long_line) ||
	    !CU_add_test(suite, "byte order mark", test_byte_order_mark) ||
	    !CU_add_test(suite, "torn at every byte", test_torn) ||
	    !CU_add_test(suite, "load", test_load) || !CU_add_test(suite, "roles", test_roles) ||
	    !CU_add_test(suite, "hosts", test_hosts) ||
	    !CU_add_test(suite, "named hosts", test_named_hosts) ||
	    !CU_add_test(suite, "manual page", test_manual))
		return -1;
	return 0;
}
