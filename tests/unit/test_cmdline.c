/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Golden files: tests/unit/golden/ *.golden hold cases of these lines.
 *   == NAME            begins a case; "== NAME replay" and "== NAME backup" are for the backup
 *   @ STRATEGY         asked for, lockstep if not given
 *   << A B C           words of the command line, split at blanks
 *   < WORD             one word, blanks and all
 *   > WORD             a word of the rewritten line, in order
 *   = LINE             a line of the machine text, in order; none given: not compared
 *   ! TEXT             a refusal instead; all of them, in order
 *   ~ TEXT             what the report says is replaced; none given: not compared
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/common/exit-codes.h"
#include "monitor/wrapper/cmdline.h"
#include "monitor/wrapper/host-processor.h"
#include "monitor/wrapper/optset.h"
#include "monitor/wrapper/scan.h"

int vmft_suite_cmdline(void);

#ifndef VMFT_SOURCE_ROOT
#define VMFT_SOURCE_ROOT "."
#endif
#ifndef VMFT_GOLDEN_DIR
#define VMFT_GOLDEN_DIR VMFT_SOURCE_ROOT "/tests/unit/golden"
#endif

#define WORDS_MAX 320

struct golden {
	char name[128];
	char *in[WORDS_MAX];
	char *out[WORDS_MAX];
	char *machine[WORDS_MAX];
	char *refused[WORDS_MAX];
	char *replaced[WORDS_MAX];
	size_t in_count, out_count, machine_count, refused_count, replaced_count;
	enum vmft_strategy_kind strategy;
};

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

static int rewrite(int argc, char *const argv[], enum vmft_strategy_kind strategy, bool backup,
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

static void golden_free(struct golden *g)
{
	for (size_t i = 0; i < WORDS_MAX; i++) {
		free(g->in[i]);
		free(g->out[i]);
		free(g->machine[i]);
		free(g->refused[i]);
		free(g->replaced[i]);
	}
	memset(g, 0, sizeof(*g));
	g->strategy = VMFT_STRATEGY_LOCKSTEP;
}

static void take_strategy(struct golden *g, const char *name)
{
	enum vmft_strategy_kind kind = 0;

	while (kind < VMFT_STRATEGY_COUNT && strcmp(name, vmft_strategy_kind_name(kind)) != 0)
		kind++;
	CU_ASSERT_FATAL(kind < VMFT_STRATEGY_COUNT);
	g->strategy = kind;
}

static void add_word(char **list, size_t *count, const char *word)
{
	CU_ASSERT_FATAL(*count + 1 < WORDS_MAX);
	list[(*count)++] = strdup(word);
}

static void add_split(struct golden *g, char *line)
{
	char *save = NULL;

	for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		add_word(g->in, &g->in_count, word);
}

static bool compare(const struct golden *g, const char *what, char *const *want, size_t want_count,
		    char *const *got, size_t got_count)
{
	for (size_t i = 0; i < want_count || i < got_count; i++) {
		const char *w = i < want_count ? want[i] : "(nothing)";
		const char *h = i < got_count ? got[i] : "(nothing)";

		if (strcmp(w, h) == 0)
			continue;
		(void)fprintf(stderr, "%s: %s %zu\n want %s\n got  %s\n", g->name, what, i, w, h);
		return false;
	}
	return true;
}

static bool compare_machine(const struct golden *g, const char *text)
{
	char *copy = strdup(text), *lines[WORDS_MAX], *save = NULL;
	size_t count = 0;
	bool same;

	for (char *line = strtok_r(copy, "\n", &save); line && count < WORDS_MAX;
	     line = strtok_r(NULL, "\n", &save))
		lines[count++] = line;
	same = compare(g, "machine text", g->machine, g->machine_count, lines, count);
	free(copy);
	return same;
}

static bool ends_in(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len > end_len && strcmp(text + len - end_len, end) == 0;
}

/* What is true of replay is no reason for a guest that is not replayed. */
static bool reason_fits(const struct golden *g, const char *text)
{
	return g->strategy == VMFT_STRATEGY_LOCKSTEP ||
	       (!strstr(text, "replay") && !strstr(text, "record") && !strstr(text, " log"));
}

static bool compare_findings(const struct golden *g, const struct vmft_report *report,
			     enum vmft_finding_kind kind, char *const *want, size_t want_count)
{
	char *got[WORDS_MAX];
	size_t count = 0;

	for (size_t i = 0; i < report->count && count < WORDS_MAX; i++)
		if (report->items[i].kind == kind)
			got[count++] = (char *)report->items[i].text;
	return compare(g, kind == VMFT_FINDING_REFUSED ? "refusal" : "replaced part", want,
		       want_count, got, count);
}

static bool run_refused(const struct golden *g, const struct vmft_report *report)
{
	const int code = vmft_report_exit_code(report);

	for (size_t i = 0; i < report->count; i++)
		CU_ASSERT_TRUE(reason_fits(g, report->items[i].text));
	CU_ASSERT_TRUE(!vmft_report_first(report) || code == VMFT_EXIT_UNPROTECTED ||
		       code == VMFT_EXIT_IMAGE);
	return compare_findings(g, report, VMFT_FINDING_REFUSED, g->refused, g->refused_count);
}

static bool run_golden(struct golden *g)
{
	struct vmft_cmdline cmdline = {0};
	const struct vmft_cmdline untouched = {0};
	struct vmft_report report = {.arena = vmft_arena_new()};
	bool backup = ends_in(g->name, " replay") || ends_in(g->name, " backup"), same;
	int r = rewrite((int)g->in_count, g->in, g->strategy, backup, &report, &cmdline);

	if (r < 0)
		CU_ASSERT_EQUAL(memcmp(&cmdline, &untouched, sizeof(untouched)), 0);
	CU_ASSERT_EQUAL(r < 0, vmft_report_first(&report) != NULL);
	if (r < 0 || g->refused_count) {
		same = run_refused(g, &report);
	} else {
		same = compare(g, "word", g->out, g->out_count, cmdline.argv + 1,
			       (size_t)cmdline.argc - 1);
		if (g->machine_count)
			same = compare_machine(g, cmdline.machine_text) && same;
		CU_ASSERT_PTR_NULL(cmdline.argv[cmdline.argc]);
	}
	if (g->replaced_count)
		same = compare_findings(g, &report, VMFT_FINDING_REPLACED, g->replaced,
					g->replaced_count) &&
		       same;
	vmft_cmdline_free(&cmdline);
	vmft_arena_free(report.arena);
	return same;
}

static size_t finish_case(struct golden *g)
{
	size_t ran = g->name[0] != '\0';

	if (ran)
		CU_ASSERT_TRUE(run_golden(g));
	golden_free(g);
	return ran;
}

static void take_line(struct golden *g, char *line, size_t *cases)
{
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "== ", 3) == 0) {
		*cases += finish_case(g);
		(void)snprintf(g->name, sizeof(g->name), "%s", line + 3);
		add_word(g->in, &g->in_count, "qemu");
	} else if (strncmp(line, "@ ", 2) == 0) {
		take_strategy(g, line + 2);
	} else if (strncmp(line, "<< ", 3) == 0) {
		add_split(g, line + 3);
	} else if (strncmp(line, "< ", 2) == 0) {
		add_word(g->in, &g->in_count, line + 2);
	} else if (strncmp(line, "> ", 2) == 0) {
		add_word(g->out, &g->out_count, line + 2);
	} else if (strncmp(line, "= ", 2) == 0) {
		add_word(g->machine, &g->machine_count, line + 2);
	} else if (strncmp(line, "! ", 2) == 0) {
		add_word(g->refused, &g->refused_count, line + 2);
	} else if (strncmp(line, "~ ", 2) == 0) {
		add_word(g->replaced, &g->replaced_count, line + 2);
	} else {
		CU_ASSERT_TRUE(line[0] == '\0' || line[0] == '#');
	}
}

static size_t run_file(const char *path)
{
	static struct golden golden = {.strategy = VMFT_STRATEGY_LOCKSTEP};
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t size = 0, cases = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	while (getline(&line, &size, file) >= 0)
		take_line(&golden, line, &cases);
	cases += finish_case(&golden);
	free(line);
	(void)fclose(file);
	return cases;
}

static void test_golden(void)
{
	glob_t found;
	size_t cases = 0;

	CU_ASSERT_EQUAL_FATAL(glob(VMFT_GOLDEN_DIR "/*.golden", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		cases += run_file(found.gl_pathv[i]);
	globfree(&found);
	/* A renamed directory or prefix must not pass for success. */
	CU_ASSERT(cases > 100);
}

#define ARGV(...) ((char *[]){"qemu", __VA_ARGS__, NULL})

static size_t length(char *const argv[])
{
	size_t n = 0;

	while (argv[n])
		n++;
	return n;
}

static void digest_of(char *const argv[], enum vmft_strategy_kind strategy, bool backup,
		      char ret[static VMFT_DIGEST_HEX])
{
	struct vmft_report report = {.arena = vmft_arena_new()};
	struct vmft_cmdline cmdline = {0};

	ret[0] = '\0';
	CU_ASSERT_EQUAL_FATAL(rewrite((int)length(argv), argv, strategy, backup, &report, &cmdline),
			      0);
	vmft_arena_free(report.arena);
	vmft_cmdline_digest(&cmdline, ret);
	CU_ASSERT_EQUAL(strlen(ret), VMFT_DIGEST_HEX - 1);
	vmft_cmdline_free(&cmdline);
}

static bool same_with(enum vmft_strategy_kind strategy, char *const a[], char *const b[])
{
	char digest_a[VMFT_DIGEST_HEX], digest_b[VMFT_DIGEST_HEX];

	digest_of(a, strategy, false, digest_a);
	digest_of(b, strategy, true, digest_b);
	return strcmp(digest_a, digest_b) == 0;
}

static bool same_machine(char *const a[], char *const b[])
{
	return same_with(VMFT_STRATEGY_LOCKSTEP, a, b);
}

/* What differs between hosts does not count; what the guest sees does, even in another spelling. */
static void test_digest(void)
{
	char **a = ARGV("-nodefaults", "-m", "1G", "-drive", "if=virtio,format=raw,file=/a",
			"-netdev", "tap,id=a,ifname=tap0", "-device",
			"virtio-net-pci,netdev=a,bus=pci.0,addr=0x5", "-serial", "file:/a.log");

	CU_ASSERT_TRUE(same_machine(
	    a, ARGV("-pidfile", "/b", "-serial", "null", "-netdev",
		    "{\"type\":\"tap\",\"id\":\"b\",\"fd\":\"30\"}", "-device",
		    "{\"driver\":\"virtio-net-pci\",\"addr\":\"0x5\",\"bus\":\"pci.0\","
		    "\"netdev\":\"b\",\"id\":\"nic\"}",
		    "-drive", "file=/b,format=qcow2,if=virtio,id=disk,cache=none", "-m", "1024",
		    "-nodefaults", "-accel", "tcg", "-display", "none", "-M", "pc")));
	CU_ASSERT_FALSE(same_machine(
	    a, ARGV("-nodefaults", "-m", "1G", "-drive", "if=virtio,format=raw,file=/a", "-netdev",
		    "tap,id=a,ifname=tap0", "-device", "virtio-net-pci,netdev=a,bus=pci.0,addr=0x6",
		    "-serial", "file:/a.log")));
	CU_ASSERT_FALSE(same_machine(ARGV("-nodefaults"), ARGV("-nodefaults", "-m", "256")));
	CU_ASSERT_FALSE(same_machine(ARGV("-nodefaults"), ARGV("-nodefaults", "-serial", "null")));
	CU_ASSERT_FALSE(same_machine(ARGV("-nodefaults"), ARGV("-nodefaults", "-M", "q35")));
	CU_ASSERT_FALSE(
	    same_machine(ARGV("-nodefaults", "-uuid", "1"), ARGV("-nodefaults", "-uuid", "2")));
	/* No value can be made to look like the next line. */
	CU_ASSERT_FALSE(same_machine(ARGV("-nodefaults", "-append", "a\nuuid 1"),
				     ARGV("-nodefaults", "-append", "a", "-uuid", "1")));
}

/* The same for checkpoint: accelerator, processors and the strategy itself count too. */
static void test_checkpoint_digest(void)
{
	char **kvm = ARGV("-nodefaults", "-enable-kvm", "-smp", "2");
	char lockstep[VMFT_DIGEST_HEX], checkpoint[VMFT_DIGEST_HEX];

	CU_ASSERT_TRUE(same_with(VMFT_STRATEGY_AUTO, kvm,
				 ARGV("-nodefaults", "-accel", "kvm", "-smp", "cpus=2,maxcpus=2")));
	CU_ASSERT_TRUE(same_with(VMFT_STRATEGY_CHECKPOINT, kvm,
				 ARGV("-nodefaults", "-M", "pc,accel=kvm", "-smp", "2")));
	CU_ASSERT_TRUE(same_with(VMFT_STRATEGY_CHECKPOINT, ARGV("-nodefaults"),
				 ARGV("-nodefaults", "-smp", "1", "-accel", "tcg,thread=multi")));
	CU_ASSERT_FALSE(same_with(VMFT_STRATEGY_AUTO, kvm, ARGV("-nodefaults", "-smp", "2")));
	CU_ASSERT_FALSE(
	    same_with(VMFT_STRATEGY_AUTO, kvm, ARGV("-nodefaults", "-enable-kvm", "-smp", "3")));
	CU_ASSERT_FALSE(same_with(VMFT_STRATEGY_AUTO, kvm,
				  ARGV("-nodefaults", "-enable-kvm", "-smp", "2,sockets=2")));
	digest_of(ARGV("-nodefaults"), VMFT_STRATEGY_AUTO, false, lockstep);
	digest_of(ARGV("-nodefaults"), VMFT_STRATEGY_CHECKPOINT, false, checkpoint);
	CU_ASSERT_STRING_NOT_EQUAL(lockstep, checkpoint);
}

static void choose(char *const argv[], enum vmft_strategy_kind asked, enum vmft_strategy_kind want,
		   const char *want_reason)
{
	struct vmft_arena *arena = vmft_arena_new();
	enum vmft_strategy_kind chosen;
	struct vmft_scan scan;
	const char *reason;

	vmft_scan(arena, (int)length(argv), argv, true, &scan);
	chosen = vmft_strategy_choose(arena, &scan, asked, &reason);
	if (chosen != want || strcmp(reason, want_reason) != 0) {
		(void)fprintf(stderr, "%s: %s\n", argv[length(argv) - 1], reason);
		CU_FAIL("another strategy");
	}
	vmft_arena_free(arena);
}

static void chooses_lockstep(char *const argv[])
{
	choose(argv, VMFT_STRATEGY_AUTO, VMFT_STRATEGY_LOCKSTEP, "auto: one processor on TCG");
}

static void chooses_for_kvm(char *const argv[])
{
	choose(argv, VMFT_STRATEGY_AUTO, VMFT_STRATEGY_CHECKPOINT,
	       "auto: a KVM guest cannot be replayed");
}

static void chooses_for_processors(char *const argv[], const char *reason)
{
	choose(argv, VMFT_STRATEGY_AUTO, VMFT_STRATEGY_CHECKPOINT, reason);
}

static void test_strategy(void)
{
	static const char set[] = "set in the pair file";
	static const char two[] = "auto: 2 processors cannot be replayed";
	static const char eight[] = "auto: 8 processors cannot be replayed";

	chooses_lockstep(ARGV("-nodefaults"));
	chooses_lockstep(ARGV("-accel", "tcg", "-smp", "1"));
	chooses_lockstep(ARGV("-M", "pc,accel=tcg", "-smp", "cpus=1,sockets=1,cores=1"));
	chooses_lockstep(ARGV("-append", "-enable-kvm"));
	chooses_lockstep(ARGV("-name", "-smp", "2"));
	/* Nothing is made of what cannot be read. */
	chooses_lockstep(ARGV("-smp"));
	chooses_lockstep(ARGV("-smp", "two"));
	chooses_lockstep(ARGV("-smp", "0"));
	chooses_lockstep(ARGV("-smp", "2,cpus=3"));
	chooses_lockstep(ARGV("-accel", "{"));
	chooses_lockstep(ARGV("-frobnicate", "2"));
	chooses_for_kvm(ARGV("-enable-kvm"));
	chooses_for_kvm(ARGV("--enable-kvm", "-smp", "4"));
	chooses_for_kvm(ARGV("-accel", "kvm"));
	chooses_for_kvm(ARGV("-accel", "accel=kvm,dirty-ring-size=4096"));
	chooses_for_kvm(ARGV("-machine", "pc,accel=kvm"));
	chooses_for_kvm(ARGV("-M", "accel=kvm:tcg"));
	chooses_for_processors(ARGV("-smp", "2"), two);
	chooses_for_processors(ARGV("-smp", "cpus=2"), two);
	chooses_for_processors(ARGV("-smp", "1,maxcpus=2"), two);
	chooses_for_processors(ARGV("-smp", "sockets=2,cores=2,threads=2"), eight);
	chooses_for_processors(ARGV("-smp", "8,cores=4"), eight);
	choose(ARGV("-nodefaults"), VMFT_STRATEGY_CHECKPOINT, VMFT_STRATEGY_CHECKPOINT, set);
	choose(ARGV("-enable-kvm"), VMFT_STRATEGY_LOCKSTEP, VMFT_STRATEGY_LOCKSTEP, set);
}

/* What was chosen is with the line; the disks are under their own names. */
static void test_checkpoint_lists(void)
{
	struct vmft_report report = {.arena = vmft_arena_new()};
	struct vmft_cmdline cmdline;
	char **argv =
	    ARGV("-nodefaults", "-enable-kvm", "-drive",
		 "if=virtio,format=qcow2,file=/v,cache=directsync", "-blockdev",
		 "driver=raw,node-name=d,file.driver=file,file.filename=/d,read-only=on", "-device",
		 "virtio-blk,drive=d", "-netdev", "tap,id=x", "-device", "virtio-net,netdev=x");

	CU_ASSERT_EQUAL_FATAL(
	    rewrite((int)length(argv), argv, VMFT_STRATEGY_AUTO, false, &report, &cmdline), 0);
	vmft_arena_free(report.arena);
	CU_ASSERT_EQUAL(cmdline.strategy, VMFT_STRATEGY_CHECKPOINT);
	CU_ASSERT_STRING_EQUAL(cmdline.strategy_reason, "auto: a KVM guest cannot be replayed");
	CU_ASSERT_EQUAL_FATAL(cmdline.disk_count, 2);
	CU_ASSERT_STRING_EQUAL(cmdline.disks[0].path, "/d");
	CU_ASSERT_STRING_EQUAL(cmdline.disks[0].node, "d");
	CU_ASSERT_EQUAL(cmdline.disks[0].format, VMFT_IMAGE_RAW);
	CU_ASSERT_TRUE(cmdline.disks[0].read_only);
	CU_ASSERT_STRING_EQUAL(cmdline.disks[1].path, "/v");
	CU_ASSERT_STRING_EQUAL(cmdline.disks[1].node, "virtio0");
	CU_ASSERT_EQUAL(cmdline.disks[1].format, VMFT_IMAGE_QCOW2);
	CU_ASSERT_TRUE(cmdline.disks[1].write_through);
	CU_ASSERT_EQUAL_FATAL(cmdline.nic_count, 1);
	CU_ASSERT_STRING_EQUAL(cmdline.nics[0].mac, "52:54:00:12:34:56");
	vmft_cmdline_free(&cmdline);
}

/* The name is there on every host that tests run on; a guest is never shown an empty one. */
static void test_host_processor(void)
{
	char model[VMFT_PROCESSOR_MAX] = "";
	struct vmft_error err = {0};

	if (vmft_host_processor(model, &err) < 0)
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no model name"))
	else
		CU_ASSERT(model[0] != '\0' && !strchr(model, '\n'));
}

static void test_lists(void)
{
	struct vmft_cmdline cmdline;
	struct vmft_report report = {.arena = vmft_arena_new()};
	char **argv =
	    ARGV("-nodefaults", "-m", "512", "-drive", "if=virtio,format=qcow2,file=/v", "-drive",
		 "if=none,id=d,format=raw,file=/d,readonly=on", "-device", "virtio-blk,drive=d",
		 "-netdev", "tap,id=x", "-netdev", "tap,id=y,ifname=tap5,vnet_hdr=off", "-device",
		 "virtio-net,netdev=y", "-device", "virtio-net,netdev=x,mac=52:54:00:12:34:56");

	CU_ASSERT_EQUAL_FATAL(
	    rewrite((int)length(argv), argv, VMFT_STRATEGY_AUTO, false, &report, &cmdline), 0);
	vmft_arena_free(report.arena);
	CU_ASSERT_EQUAL(cmdline.strategy, VMFT_STRATEGY_LOCKSTEP);
	CU_ASSERT_STRING_EQUAL(cmdline.strategy_reason, "auto: one processor on TCG");
	CU_ASSERT_EQUAL(cmdline.ram_bytes, UINT64_C(512) << 20);
	CU_ASSERT_EQUAL_FATAL(cmdline.disk_count, 2);
	CU_ASSERT_STRING_EQUAL(cmdline.disks[0].path, "/d");
	CU_ASSERT_TRUE(cmdline.disks[0].read_only);
	CU_ASSERT_EQUAL(cmdline.disks[0].format, VMFT_IMAGE_RAW);
	CU_ASSERT_STRING_EQUAL(cmdline.disks[0].node, "vmft-d");
	CU_ASSERT_STRING_EQUAL(cmdline.disks[1].path, "/v");
	CU_ASSERT_EQUAL(cmdline.disks[1].format, VMFT_IMAGE_QCOW2);
	CU_ASSERT_EQUAL_FATAL(cmdline.nic_count, 2);
	CU_ASSERT_STRING_EQUAL(cmdline.nics[0].netdev, "x");
	CU_ASSERT_PTR_NULL(cmdline.nics[0].fd);
	CU_ASSERT_PTR_NULL(cmdline.nics[0].ifname);
	CU_ASSERT_FALSE(cmdline.nics[0].no_vnet_hdr);
	CU_ASSERT_STRING_EQUAL(cmdline.nics[1].ifname, "tap5");
	CU_ASSERT_TRUE(cmdline.nics[1].no_vnet_hdr);
	CU_ASSERT_STRING_EQUAL(cmdline.nics[0].mac, "52:54:00:12:34:56");
	CU_ASSERT_STRING_EQUAL(cmdline.nics[1].mac, "52:54:00:12:34:57");
	vmft_cmdline_free(&cmdline);
	vmft_cmdline_free(&cmdline);
	vmft_cmdline_free(NULL);
}

/* Formatting what was parsed gives the same again, commas and nesting included. */
static void test_optset(void)
{
	static const char *const texts[] = {
	    "virtio-blk-pci,drive=a,,b,serial=x",
	    "a=,b=c",
	    "{\"driver\":\"raw\",\"file\":{\"filename\":\"/a,b\",\"n\":-5},\"ro\":true}",
	};
	struct vmft_arena *arena = vmft_arena_new();
	struct vmft_optset set;
	const char *problem;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		CU_ASSERT_EQUAL_FATAL(vmft_optset_parse(arena, texts[i], "driver", &set, &problem),
				      0);
		CU_ASSERT_STRING_EQUAL(vmft_optset_format(&set), texts[i]);
	}
	CU_ASSERT_EQUAL(vmft_optset_parse(arena, "x,server,nowait", "driver", &set, &problem), 0);
	CU_ASSERT_STRING_EQUAL(vmft_optset_get(&set, "server"), "on");
	CU_ASSERT_STRING_EQUAL(vmft_optset_get(&set, "wait"), "off");
	vmft_optset_remove(&set, "driver");
	CU_ASSERT_STRING_EQUAL(vmft_optset_format(&set), "server=on,wait=off");
	vmft_arena_free(arena);
}

int vmft_suite_cmdline(void)
{
	CU_pSuite suite = CU_add_suite("cmdline", NULL, NULL);

	if (!suite || !CU_add_test(suite, "golden files", test_golden) ||
	    !CU_add_test(suite, "machine digest", test_digest) ||
	    !CU_add_test(suite, "machine digest, checkpoint", test_checkpoint_digest) ||
	    !CU_add_test(suite, "strategy", test_strategy) ||
	    !CU_add_test(suite, "lists", test_lists) ||
	    !CU_add_test(suite, "lists, checkpoint", test_checkpoint_lists) ||
	    !CU_add_test(suite, "host processor", test_host_processor) ||
	    !CU_add_test(suite, "optset", test_optset))
		return -1;
	return 0;
}
