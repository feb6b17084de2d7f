/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The arbiter in a directory, and the thread it is asked on. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/common/exit-codes.h"
#include "monitor/daemon/arbiter/arbiter.h"
#include "suites.h"

struct scratch {
	char dir[64];
	struct vmft_arbiter *arbiter;
	struct vmft_error err;
};

static const struct vmft_arbiter_ops *const ops = &vmft_arbiter_file;

static void scratch_make(struct scratch *s)
{
	struct vmft_arbiter_settings settings = {.vm = "vm"};

	memset(s, 0, sizeof(*s));
	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/vmft-unit-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(s->dir));
	settings.where = s->dir;
	CU_ASSERT_EQUAL_FATAL(ops->open(&settings, &s->arbiter, &s->err), 0);
}

static void shell(const char *format, const char *dir)
{
	char command[512];

	(void)snprintf(command, sizeof(command), "cd /tmp && D=%s && %s", dir, format);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void scratch_drop(struct scratch *s)
{
	ops->close(s->arbiter);
	shell("rm -rf $D $D.*", s->dir);
}

static bool is_there(const struct scratch *s, const char *name)
{
	char path[sizeof(s->dir) + 64];

	(void)snprintf(path, sizeof(path), "%s/%s", s->dir, name);
	return access(path, F_OK) == 0;
}

#define OWNER_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa primary on a"
#define OWNER_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb backup on b"

/* owner takes the VM on after the generation before, which is after's. */
static enum vmft_claim takes(struct scratch *s, uint64_t generation, const char *owner,
			     const char *after)
{
	const struct vmft_arbiter_claim claim = {
	    .generation = generation, .owner = owner, .after = after};

	return ops->claim(s->arbiter, &claim, &s->err);
}

static enum vmft_claim starts(struct scratch *s, uint64_t generation, const char *owner,
			      const char *after)
{
	const struct vmft_arbiter_claim claim = {
	    .generation = generation, .owner = owner, .after = after, .starts = true};

	return ops->claim(s->arbiter, &claim, &s->err);
}

static struct vmft_arbiter_latest latest(struct scratch *s)
{
	struct vmft_arbiter_latest found = {0};

	CU_ASSERT_EQUAL(ops->latest(s->arbiter, &found, &s->err), 0);
	return found;
}

static int end(struct scratch *s, uint64_t generation, const char *owner)
{
	return ops->end(s->arbiter, generation, owner, VMFT_END_ORDERLY, &s->err);
}

static void one_wins(void)
{
	struct scratch s;

	scratch_make(&s);
	CU_ASSERT_EQUAL(starts(&s, 1, OWNER_A, ""), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(starts(&s, 1, OWNER_B, ""), VMFT_CLAIM_LOST);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_A, OWNER_A), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_B, OWNER_A), VMFT_CLAIM_LOST);
	/* Asked again, as after a lost answer: still won. */
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_A, OWNER_A), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(takes(&s, 3, OWNER_B, OWNER_A), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(latest(&s).generation, 3);
	CU_ASSERT_STRING_EQUAL(latest(&s).owner, OWNER_B);
	CU_ASSERT(!latest(&s).ended);
	scratch_drop(&s);
}

/* A reply to link() that was lost leaves the record made and the client told EEXIST. */
static void reply_was_lost(void)
{
	struct scratch s;

	scratch_make(&s);
	shell("echo " OWNER_B " >$D/vm.gen-4; echo " OWNER_A " >$D/vm.gen-5", s.dir);
	CU_ASSERT_EQUAL(takes(&s, 5, OWNER_A, OWNER_B), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(takes(&s, 5, OWNER_B, OWNER_B), VMFT_CLAIM_LOST);
	scratch_drop(&s);
}

/* Whatever became of the generation that is claimed: a later one is on record. */
static void stale_loses(void)
{
	struct scratch s;

	scratch_make(&s);
	CU_ASSERT_EQUAL(starts(&s, 1, OWNER_A, ""), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_A, OWNER_A), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(takes(&s, 3, OWNER_B, OWNER_A), VMFT_CLAIM_WON);
	shell("rm $D/vm.gen-2", s.dir);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_A, OWNER_A), VMFT_CLAIM_LOST);
	/* A claim that was lost so has left no record. */
	CU_ASSERT(!is_there(&s, "vm.gen-2"));
	CU_ASSERT_EQUAL(takes(&s, 3, OWNER_B, OWNER_A), VMFT_CLAIM_UNREACHABLE);
	CU_ASSERT_EQUAL(takes(&s, 4, OWNER_A, OWNER_B), VMFT_CLAIM_WON);
	scratch_drop(&s);
}

/* A side takes the VM on only where the record of its generation is. */
static void another_arbiter_is_unreachable(void)
{
	struct scratch s;

	scratch_make(&s);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_B, OWNER_A), VMFT_CLAIM_UNREACHABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.err.text, "declare-dead"));
	CU_ASSERT_EQUAL(latest(&s).generation, 0);
	/* It has a generation of that number, and it is another's. */
	CU_ASSERT_EQUAL(starts(&s, 1, OWNER_B, ""), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_A, OWNER_A), VMFT_CLAIM_UNREACHABLE);
	CU_ASSERT_EQUAL(latest(&s).generation, 1);
	/* It is nobody's to say that another's has ended. */
	CU_ASSERT_EQUAL(end(&s, 1, OWNER_A), -ESTALE);
	CU_ASSERT_EQUAL(end(&s, 2, OWNER_A), -ESTALE);
	CU_ASSERT(!latest(&s).ended);
	/* Emptied while the pair lives, it is none. */
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_A, OWNER_B), VMFT_CLAIM_WON);
	shell("rm $D/vm.*", s.dir);
	CU_ASSERT_EQUAL(takes(&s, 3, OWNER_A, OWNER_A), VMFT_CLAIM_UNREACHABLE);
	CU_ASSERT_EQUAL(takes(&s, 3, OWNER_B, OWNER_A), VMFT_CLAIM_UNREACHABLE);
	CU_ASSERT(!is_there(&s, "vm.gen-3"));
	scratch_drop(&s);
}

/* The path leads somewhere else: nothing is written there, nor where it led to before. */
static void place_that_changes_is_unreachable(void)
{
	struct scratch s;
	struct vmft_arbiter_latest found;
	char mark[VMFT_ARBITER_OWNER_MAX];

	scratch_make(&s);
	CU_ASSERT_EQUAL(starts(&s, 1, OWNER_A, ""), VMFT_CLAIM_WON);
	shell("mv $D $D.away", s.dir);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_A, OWNER_A), VMFT_CLAIM_UNREACHABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.err.text, s.dir));
	/* A copy with the same records is another directory, too. */
	shell("cp -a $D.away $D", s.dir);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_A, OWNER_A), VMFT_CLAIM_UNREACHABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.err.text, "another directory"));
	CU_ASSERT_EQUAL(ops->latest(s.arbiter, &found, &s.err), -ESTALE);
	CU_ASSERT_EQUAL(end(&s, 1, OWNER_A), -ESTALE);
	CU_ASSERT_EQUAL(ops->mark(s.arbiter, "backup", OWNER_B, &s.err), -ESTALE);
	CU_ASSERT_EQUAL(ops->look(s.arbiter, "backup", mark, &s.err), -ESTALE);
	shell("test \"$(ls -A $D $D.away | grep -c gen-)\" = 2 && ! ls -A $D | grep -v gen-1 && "
	      "rm -r $D && mv $D.away $D",
	      s.dir);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_A, OWNER_A), VMFT_CLAIM_WON);
	scratch_drop(&s);
}

static void ended_generation_is_not_taken_on(void)
{
	struct scratch s;

	scratch_make(&s);
	CU_ASSERT_EQUAL(starts(&s, 1, OWNER_A, ""), VMFT_CLAIM_WON);
	/* It may be running. */
	CU_ASSERT_EQUAL(starts(&s, 2, OWNER_B, OWNER_A), VMFT_CLAIM_LOST);
	CU_ASSERT_EQUAL(end(&s, 1, OWNER_A), 0);
	CU_ASSERT_EQUAL(end(&s, 1, OWNER_A), 0);
	CU_ASSERT(latest(&s).ended && !latest(&s).declared);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_B, OWNER_A), VMFT_CLAIM_LOST);
	CU_ASSERT(!is_there(&s, "vm.gen-2"));
	CU_ASSERT_EQUAL(starts(&s, 2, OWNER_B, OWNER_A), VMFT_CLAIM_WON);
	CU_ASSERT(!latest(&s).ended);
	scratch_drop(&s);
}

/* What a person declares adds a record, which a side that slept meanwhile finds. */
static void declared_dead_is_over(void)
{
	struct scratch s;

	scratch_make(&s);
	CU_ASSERT_EQUAL(starts(&s, 1, OWNER_A, ""), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_B, OWNER_A), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(ops->end(s.arbiter, 2, OWNER_B, VMFT_END_DECLARED, &s.err), 0);
	CU_ASSERT_EQUAL(ops->end(s.arbiter, 2, OWNER_B, VMFT_END_DECLARED, &s.err), 0);
	CU_ASSERT(latest(&s).ended && latest(&s).declared);
	shell("test \"$(cat $D/vm.end-2)\" = 'declared dead'", s.dir);
	CU_ASSERT_EQUAL(takes(&s, 3, OWNER_B, OWNER_B), VMFT_CLAIM_LOST);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_A, OWNER_A), VMFT_CLAIM_LOST);
	CU_ASSERT_EQUAL(starts(&s, 3, OWNER_A, OWNER_B), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(takes(&s, 3, OWNER_B, OWNER_B), VMFT_CLAIM_LOST);
	scratch_drop(&s);
}

static void marks_are_found(void)
{
	char mark[VMFT_ARBITER_OWNER_MAX] = "?";
	struct scratch s;

	scratch_make(&s);
	CU_ASSERT_EQUAL(ops->look(s.arbiter, "backup", mark, &s.err), 0);
	CU_ASSERT_STRING_EQUAL(mark, "");
	CU_ASSERT_EQUAL(ops->mark(s.arbiter, "backup", OWNER_A, &s.err), 0);
	CU_ASSERT_EQUAL(ops->mark(s.arbiter, "backup", OWNER_B, &s.err), 0);
	CU_ASSERT_EQUAL(ops->mark(s.arbiter, "spare", OWNER_A, &s.err), 0);
	CU_ASSERT_EQUAL(ops->look(s.arbiter, "backup", mark, &s.err), 0);
	CU_ASSERT_STRING_EQUAL(mark, OWNER_B);
	CU_ASSERT_EQUAL(latest(&s).generation, 0);
	/* Nothing of it is left under a name of its own. */
	shell("test \"$(ls -A $D | grep -v mark- | wc -l)\" = 0", s.dir);
	scratch_drop(&s);
}

/* Links and other things that somebody has put there are neither followed nor truncated. */
static void links_are_not_followed(void)
{
	struct scratch s;
	char mark[VMFT_ARBITER_OWNER_MAX] = "?";

	scratch_make(&s);
	shell("echo precious >$D.file && ln -s $D.file $D/vm.end-1 && ln -s $D.file "
	      "$D/vm.mark-backup "
	      "&& echo " OWNER_A " >$D.gen && ln -s $D.gen $D/vm.gen-1",
	      s.dir);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_B, OWNER_A), VMFT_CLAIM_UNREACHABLE);
	CU_ASSERT(end(&s, 1, OWNER_A) < 0);
	CU_ASSERT(ops->look(s.arbiter, "backup", mark, &s.err) < 0);
	CU_ASSERT_EQUAL(ops->mark(s.arbiter, "backup", OWNER_B, &s.err), 0);
	CU_ASSERT_EQUAL(ops->look(s.arbiter, "backup", mark, &s.err), 0);
	CU_ASSERT_STRING_EQUAL(mark, OWNER_B);
	shell("test \"$(cat $D.file)\" = precious && rm $D/vm.gen-1 && mkdir $D/vm.gen-1", s.dir);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_B, OWNER_A), VMFT_CLAIM_UNREACHABLE);
	shell("rmdir $D/vm.gen-1 && mkfifo $D/vm.gen-1", s.dir);
	CU_ASSERT_EQUAL(takes(&s, 2, OWNER_B, OWNER_A), VMFT_CLAIM_UNREACHABLE);
	scratch_drop(&s);
}

static void open_refuses(void)
{
	const struct vmft_arbiter_settings settings = {.where = "/nonexistent/dir", .vm = "vm"};
	struct vmft_arbiter *arbiter = NULL;
	struct vmft_error err;

	CU_ASSERT(ops->open(&settings, &arbiter, &err) < 0);
	CU_ASSERT_EQUAL(err.exit_code, VMFT_EXIT_ARBITER);
	CU_ASSERT_PTR_NULL(arbiter);
}

#define RACES  50u
#define RACERS 4u

static char record[RACES + 1][VMFT_ARBITER_OWNER_MAX];

struct racer {
	struct scratch *s;
	pthread_barrier_t *start;
	char owner[64];
	unsigned won;
};

/* All claim a generation at the same time. The one that wins it leaves its record for the next. */
static void *race(void *arg)
{
	struct racer *r = arg;
	struct vmft_error err;

	for (uint64_t g = 1; g <= RACES; g++) {
		const struct vmft_arbiter_claim claim = {
		    .generation = g, .owner = r->owner, .after = record[g - 1], .starts = g == 1};

		(void)pthread_barrier_wait(r->start);
		if (ops->claim(r->s->arbiter, &claim, &err) == VMFT_CLAIM_WON) {
			r->won++;
			(void)snprintf(record[g], sizeof(record[g]), "%s", r->owner);
		}
		(void)pthread_barrier_wait(r->start);
	}
	return NULL;
}

static void one_wins_a_race(void)
{
	struct racer racers[RACERS];
	pthread_t threads[RACERS];
	pthread_barrier_t start;
	struct scratch s;
	unsigned won = 0;

	scratch_make(&s);
	(void)pthread_barrier_init(&start, NULL, RACERS);
	for (unsigned i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){.s = &s, .start = &start};
		(void)snprintf(racers[i].owner, sizeof(racers[i].owner), "%032u racer", i);
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < RACERS; i++) {
		(void)pthread_join(threads[i], NULL);
		won += racers[i].won;
	}
	CU_ASSERT_EQUAL(won, RACES);
	(void)pthread_barrier_destroy(&start);
	scratch_drop(&s);
}

/* One question of each kind at the same time. An answer wakes the thread that polls, and is there
 * once. */
static void worker_answers(void)
{
	const struct vmft_arbiter_question claim = {
	    .ask = VMFT_ASK_CLAIM, .generation = 2, .record = OWNER_B};
	const struct vmft_arbiter_question end_of_it = {
	    .ask = VMFT_ASK_END, .generation = 2, .record = OWNER_A};
	struct vmft_arbiter_worker *worker;
	struct vmft_arbiter_answer answer;
	bool seen[VMFT_ASKS] = {false};
	struct scratch s;

	scratch_make(&s);
	CU_ASSERT_EQUAL(starts(&s, 1, OWNER_B, ""), VMFT_CLAIM_WON);
	CU_ASSERT_EQUAL(ops->mark(s.arbiter, "spare", OWNER_B, &s.err), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_arbiter_worker_start(ops, s.arbiter, OWNER_A, &worker), 0);
	CU_ASSERT(!vmft_arbiter_worker_answer(worker, &answer));
	vmft_arbiter_worker_ask(worker, &claim);
	CU_ASSERT(vmft_arbiter_worker_wait(worker, 60000));
	vmft_arbiter_worker_ask(worker, &(struct vmft_arbiter_question){.ask = VMFT_ASK_LATEST});
	vmft_arbiter_worker_ask(
	    worker, &(struct vmft_arbiter_question){.ask = VMFT_ASK_MARK, .host = "spare"});
	vmft_arbiter_worker_ask(worker, &end_of_it);
	CU_ASSERT(vmft_arbiter_worker_wait(worker, 60000));
	while (vmft_arbiter_worker_answer(worker, &answer)) {
		CU_ASSERT(!seen[answer.ask]);
		seen[answer.ask] = true;
		if (answer.ask == VMFT_ASK_CLAIM)
			CU_ASSERT_EQUAL(answer.claim, VMFT_CLAIM_WON);
		CU_ASSERT_EQUAL(answer.rc, 0);
		if (answer.ask == VMFT_ASK_LATEST)
			CU_ASSERT_EQUAL(answer.latest.generation, 2);
		if (answer.ask == VMFT_ASK_MARK)
			CU_ASSERT_STRING_EQUAL(answer.mark, OWNER_B);
	}
	for (unsigned ask = 0; ask < VMFT_ASKS; ask++)
		CU_ASSERT(seen[ask]);
	CU_ASSERT(latest(&s).ended);
	/* The thread sleeps for good and never looks at the backend again. */
	scratch_drop(&s);
}

int vmft_suite_arbiter(void)
{
	CU_pSuite suite = CU_add_suite("file arbiter", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, one_wins) || !CU_ADD_TEST(suite, reply_was_lost) ||
	    !CU_ADD_TEST(suite, stale_loses) ||
	    !CU_ADD_TEST(suite, another_arbiter_is_unreachable) ||
	    !CU_ADD_TEST(suite, place_that_changes_is_unreachable) ||
	    !CU_ADD_TEST(suite, ended_generation_is_not_taken_on) ||
	    !CU_ADD_TEST(suite, declared_dead_is_over) || !CU_ADD_TEST(suite, marks_are_found) ||
	    !CU_ADD_TEST(suite, links_are_not_followed) || !CU_ADD_TEST(suite, open_refuses) ||
	    !CU_ADD_TEST(suite, one_wins_a_race) || !CU_ADD_TEST(suite, worker_answers))
		return -1;
	return 0;
}
