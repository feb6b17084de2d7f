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
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmdline_rewrite.h"
#include "monitor/common/exit-codes.h"
#include "suites.h"

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
	int r = cmdline_rewrite((int)g->in_count, g->in, g->strategy, backup, &report, &cmdline);

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

int vmft_suite_golden(void)
{
	CU_pSuite suite = CU_add_suite("golden files", NULL, NULL);

	if (!suite || !CU_add_test(suite, "rewritten and refused", test_golden))
		return -1;
	return 0;
}
