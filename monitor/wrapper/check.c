/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host-processor.h"
#include "monitor/common/exit-codes.h"
#include "probe.h"
#include "tap-probe.h"

static void refuse(struct vmft_report *report, const struct vmft_error *err)
{
	(void)vmft_report_refuse(report, err);
}

static void check_images(struct vmft_checked *checked, enum vmft_disk_check how,
			 struct vmft_report *report)
{
	const struct vmft_cmdline *line = &checked->cmdline;
	struct vmft_error err;

	if (line->disk_count > VMFT_AREA_DISKS_MAX) {
		(void)vmft_error_set(&err, -EINVAL, VMFT_EXIT_UNPROTECTED,
				     "%zu disks; at most %u can be protected", line->disk_count,
				     VMFT_AREA_DISKS_MAX);
		refuse(report, &err);
		return;
	}
	if (vmft_images_check(line->disks, line->disk_count, how, checked->disk_digest,
			      checked->images, &err) < 0)
		refuse(report, &err);
}

/* Whether the guest's state can go to another build of QEMU than it comes from. */
static bool takes_other_builds(const struct vmft_cmdline *line)
{
	return line->machine_version != 0 && vmft_strategy_kind_moves_to_builds(line->strategy);
}

static void choose_qemu(const struct vmft_qemu_choice *choice, struct vmft_checked *checked,
			struct vmft_report *report)
{
	const size_t digits = strlen(choice->digits);
	struct vmft_error err;
	int r;

	checked->qemu_path = choice->installed;
	r = vmft_qemu_binary_check(choice->installed, &checked->qemu, &err);
	if (choice->kept[0] &&
	    (r < 0 || (strncmp(choice->digits, checked->qemu.build_id, digits) != 0 &&
		       !takes_other_builds(&checked->cmdline)))) {
		checked->qemu_path = choice->kept;
		r = vmft_qemu_binary_check(choice->kept, &checked->qemu, &err);
	}
	if (r < 0)
		refuse(report, &err);
}

int vmft_check(int argc, char *argv[], const struct vmft_rewrite_options *opt,
	       const struct vmft_qemu_choice *choice, enum vmft_disk_check how,
	       struct vmft_report *report, struct vmft_checked *ret)
{
	memset(ret, 0, sizeof(*ret));
	(void)vmft_cmdline_rewrite(argc, argv, opt, report, &ret->cmdline);
	choose_qemu(choice, ret, report);
	/* The images are hashed, which can take minutes: not for a start that is refused already.
	 */
	if (!vmft_report_first(report))
		check_images(ret, how, report);
	return vmft_report_first(report) ? -EINVAL : 0;
}

void vmft_check_print(FILE *out, const char *before, const struct vmft_report *report,
		      enum vmft_finding_kind kind)
{
	for (size_t i = 0; i < report->count; i++)
		if (report->items[i].kind == kind)
			(void)fprintf(out, "%s%s\n", before, report->items[i].text);
}

static size_t refusals_by(int argc, char *argv[], struct vmft_rewrite_options opt,
			  enum vmft_strategy_kind strategy)
{
	struct vmft_report report = {.arena = vmft_arena_new()};
	struct vmft_cmdline line = {0};
	size_t count;

	opt.strategy = strategy;
	(void)vmft_cmdline_rewrite(argc, argv, &opt, &report, &line);
	count = vmft_report_count(&report, VMFT_FINDING_REFUSED);
	vmft_cmdline_free(&line);
	vmft_arena_free(report.arena);
	return count;
}

void vmft_check_print_others(FILE *out, const char *before, int argc, char *argv[],
			     const struct vmft_rewrite_options *opt,
			     const struct vmft_report *report)
{
	const enum vmft_strategy_kind chosen = report->strategy;
	const size_t refusals = refusals_by(argc, argv, *opt, chosen);

	for (enum vmft_strategy_kind kind = 0; kind < VMFT_STRATEGY_COUNT; kind++) {
		size_t count;

		if (kind == chosen || kind == VMFT_STRATEGY_AUTO)
			continue;
		count = refusals_by(argc, argv, *opt, kind);
		if (count == 0)
			(void)fprintf(out, "%sstrategy %s would accept this command line\n", before,
				      vmft_strategy_kind_name(kind));
		else if (count < refusals)
			(void)fprintf(out, "%sstrategy %s would refuse less: %zu condition%s\n",
				      before, vmft_strategy_kind_name(kind), count,
				      count == 1 ? "" : "s");
	}
}

/* --- vmft-qemu --check -------------------------------------------------------- */

struct asked {
	enum vmft_strategy_kind strategy; /* VMFT_STRATEGY_COUNT: the pair file's */
	bool print;			  /* the rewritten line as well */
	int first;			  /* index of QEMU's first argument */
};

static int usage(void)
{
	(void)fprintf(stderr, "vmft-qemu: usage: vmft-qemu --check [--strategy auto|lockstep|"
			      "checkpoint] [--print] QEMU-ARGUMENT...\n");
	return VMFT_EXIT_CONFIG;
}

/* vmft's own options come before QEMU's. */
static bool read_own_options(int argc, char *argv[], struct asked *ret)
{
	*ret = (struct asked){.strategy = VMFT_STRATEGY_COUNT, .first = 2};
	for (; ret->first < argc; ret->first++) {
		if (strcmp(argv[ret->first], "--print") == 0) {
			ret->print = true;
		} else if (strcmp(argv[ret->first], "--strategy") == 0) {
			if (++ret->first == argc ||
			    vmft_strategy_kind_parse(argv[ret->first], &ret->strategy) < 0)
				return false;
		} else {
			break;
		}
	}
	return true;
}

/* A pair file is not needed to check a line; if there is one, its strategy and its QEMU count. */
static int load_pair(struct vmft_pair_config *ret, struct vmft_error *err)
{
	const char *path = getenv("VMFT_PAIR");

	*ret = (struct vmft_pair_config){.qemu = VMFT_QEMU_DEFAULT, .name = "vm"};
	return path && path[0] ? vmft_pair_config_load(path, ret, err) : 0;
}

/* As a shell would read it again. */
static void print_word(const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "-_=,./:+@%";

	if (word[0] && word[strspn(word, plain)] == '\0') {
		(void)fputs(word, stdout);
		return;
	}
	(void)putchar('\'');
	for (; *word; word++) {
		if (*word == '\'')
			(void)fputs("'\\''", stdout);
		else
			(void)putchar(*word);
	}
	(void)putchar('\'');
}

static void print_line(const struct vmft_cmdline *line)
{
	for (int i = 0; i < line->argc; i++) {
		if (i > 0)
			(void)putchar(' ');
		print_word(line->argv[i]);
	}
	(void)putchar('\n');
}

static int report_line(int argc, char *argv[], const struct asked *asked,
		       const struct vmft_rewrite_options *opt, const char *qemu_path)
{
	const struct vmft_qemu_choice choice = {.installed = qemu_path, .kept = "", .digits = ""};
	struct vmft_report report = {.arena = vmft_arena_new()};
	struct vmft_checked checked;
	size_t refusals;
	int exit_code;

	/* What is in the images cannot refuse the line; only what kind of files they are. */
	(void)vmft_check(argc, argv, opt, &choice, VMFT_DISK_CHECK_SIZE, &report, &checked);
	refusals = vmft_report_count(&report, VMFT_FINDING_REFUSED);
	exit_code = vmft_report_exit_code(&report);
	(void)printf("strategy: %s (%s)\n", vmft_strategy_kind_name(report.strategy),
		     asked->strategy == report.strategy ? "asked for" : report.strategy_reason);
	vmft_check_print(stdout, "refused: ", &report, VMFT_FINDING_REFUSED);
	vmft_check_print(stdout, "replaced: ", &report, VMFT_FINDING_REPLACED);
	if (refusals == 0)
		(void)printf("result: accepted\n");
	else
		(void)printf("result: refused, %zu condition%s\n", refusals,
			     refusals == 1 ? "" : "s");
	if (refusals > 0)
		vmft_check_print_others(stdout, "other: ", argc, argv, opt, &report);
	if (refusals == 0 && asked->print)
		print_line(&checked.cmdline);
	vmft_cmdline_free(&checked.cmdline);
	vmft_arena_free(report.arena);
	return exit_code;
}

int vmft_check_main(int argc, char *argv[])
{
	struct vmft_pair_config config;
	struct vmft_error err;
	struct asked asked;
	const char *role = getenv("VMFT_ROLE");
	struct vmft_rewrite_options opt = {
	    .role = VMFT_ROLE_PRIMARY,
	    .ram_path = "/proc/self/fd/3",
	    .file_digest = vmft_file_digest,
	    .host_processor = vmft_host_processor,
	    .tap_fault = vmft_tap_fault,
	    .image_format = vmft_image_format,
	    .bridge_look = vmft_bridge_look,
	    .has_kvm = vmft_has_kvm,
	};

	if (!read_own_options(argc, argv, &asked))
		return usage();
	if (load_pair(&config, &err) < 0) {
		(void)fprintf(stderr, "vmft-qemu: %s\n", err.text);
		return err.exit_code;
	}
	if (role)
		(void)vmft_role_parse(role, &opt.role);
	opt.strategy = asked.strategy == VMFT_STRATEGY_COUNT ? config.strategy : asked.strategy;
	opt.name = config.name;
	/* QEMU's name takes the place of the last word before its arguments. */
	argv[asked.first - 1] = config.qemu;
	return report_line(argc - asked.first + 1, argv + asked.first - 1, &asked, &opt,
			   config.qemu);
}
