/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pair's configuration: what is refused, with its message. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "monitor/common/exit-codes.h"
#include "monitor/common/pair-config.h"
#include "pair_text.h"
#include "suites.h"

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
		CU_ASSERT_EQUAL(pair_parse(refused[i].text, &config, &err), -EINVAL);
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

int vmft_suite_pair_config_refused(void)
{
	static CU_TestInfo tests[] = {
	    {"refused", test_refused},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"pair-config: refused", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
