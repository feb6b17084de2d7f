/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-sweep: each call of libc, and each operation on a file, fails once, first the first, then
 * the second, until none is left to fail. A guest that runs alone is given a backup and is
 * protected for a while. Whatever fails: no promise is broken (checker.c), one guest runs, a
 * monitor says why it is not protected, and it is protected again. Then the same of a backup whose
 * primary's host dies: it is live, or says why not. Last, of a start: it says why it is none.
 */
#include "shell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/daemon/hub/snapshot.h"

/* The calls of a loop are one call to this test: of each place in the code the first few count. */
enum { PLACES_MAX = 1024, EACH_MAX = 8, SAID_MAX = 1 << 16 };

static struct {
	const void *place;
	unsigned calls;
} places[PLACES_MAX];
static unsigned left; /* calls until the one that fails; 0: none does */
static enum call failed = CALL_COUNT;
static int failed_with;

static char said[SAID_MAX];
static size_t said_bytes;
static bool verbose;
static unsigned which, faults, bad;

static const char *const names[CALL_COUNT] = {
    "malloc", "calloc", "realloc",   "strdup",	  "mmap",	"open",
    "pread",  "pwrite", "fallocate", "ftruncate", "fdatasync",	"fstat",
    "lseek",  "socket", "loop open", "loop read", "loop write", "loop sync",
};

static void arm(unsigned nth)
{
	left = nth;
	failed = CALL_COUNT;
	memset(places, 0, sizeof(places));
}

/* False: there were not so many calls. */
static bool disarm(void)
{
	left = 0;
	return failed < CALL_COUNT;
}

static bool counts(const void *place)
{
	unsigned i = 0;

	while (i < PLACES_MAX - 1 && places[i].place && places[i].place != place)
		i++;
	places[i].place = place;
	return places[i].calls++ < EACH_MAX;
}

static bool fails(enum call call, const void *place, int error)
{
	if (left == 0 || !counts(place) || --left > 0)
		return false;
	failed = call;
	failed_with = error;
	return true;
}

static void hears(const char *text)
{
	const int n = snprintf(said + said_bytes, sizeof(said) - said_bytes, "%s\n", text);

	if (n > 0 && (size_t)n < sizeof(said) - said_bytes)
		said_bytes += (size_t)n;
}

/* Either side has said what it was that failed. */
static bool is_said(void)
{
	return strstr(said, strerror(failed_with)) != NULL;
}

static void complain(const char *what, unsigned nth)
{
	bad++;
	printf("FAIL %s: call %u (%s) failed with %s: %s\n%s", strategies[which]->name, nth,
	       failed < CALL_COUNT ? names[failed] : "none", strerror(failed_with), what, said);
	for (int i = 0; i < world.hosts; i++)
		printf("-- host %d: %s %s%s\n", i, vmft_side_name(world.host[i].m.core.side),
		       vmft_state_name(world.host[i].m.core.state),
		       world.host[i].up ? "" : ", its monitor has ended");
}

static void begin(void)
{
	world_begin(1, which, VARIANT_ALONE | VARIANT_SAVES);
	world.load_time = 10 * MS;
	world.guest_every = 4 * MS;
	world.restarts = 0;
	said_bytes = 0;
	said[0] = '\0';
}

static unsigned live(void)
{
	unsigned n = 0;

	for (int i = 0; i < world.hosts; i++)
		n += world.host[i].q.up && world.host[i].q.runs && world.host[i].q.open;
	return n;
}

/* Protected, or alone: the gate is open then, and closed in a pair. */
static bool is_run(void)
{
	return is_protected() || live() == 1;
}

static bool is_undisturbed(void)
{
	const struct vmft_monitor *m = &world.host[0].m;

	return is_protected() && m->source.failures == 0 && m->source.attached == 1;
}

/* A side that has ended is started again by its host. */
static bool recovers(void)
{
	for (unsigned tries = 0; tries < 40 && !is_protected(); tries++)
		world_run(1000 * MS);
	return is_protected();
}

/* A log that is to be saved is, or somebody has said that it is not. */
static bool is_saved(void)
{
	for (int i = 0; i < world.hosts; i++)
		if (world.host[i].up && vmft_savedlog_writer_is_open(&world.host[i].m.saver.writer))
			return true;
	return is_said();
}

/* What vmft status would show of the side in charge is what it is. */
static bool shows(void)
{
	struct vmft_monitor *m = &world.host[world.recorder].m;
	static struct vmft_status status;

	vmft_status_fill(m, world.now + world.host[world.recorder].clock, &status);
	return strcmp(status.state, vmft_state_name(m->core.state)) == 0 &&
	       strcmp(status.role, vmft_side_name(m->core.side)) == 0 &&
	       (status.peer[0] != '\0') == vmft_core_is_paired(&m->core) &&
	       (status.next[0] == '\0') == (m->core.state == VMFT_STATE_PROTECTED) &&
	       status.generation == m->core.generation;
}

static void check(unsigned nth, bool undisturbed)
{
	if (world.broken)
		complain(world.broken, nth);
	else if (!is_run())
		complain("no guest runs", nth);
	else if (!undisturbed && !is_said())
		complain("nobody says why", nth);
	else if (!recovers())
		complain("there is no backup again", nth);
	else if (!is_saved())
		complain("the log is not saved, and nobody says so", nth);
	else if (!shows())
		complain("its status is not what it is", nth);
	else if (verbose)
		printf("%s %u %s: %s\n%s", strategies[which]->name, nth, names[failed],
		       undisturbed ? "undisturbed" : "protected again", undisturbed ? "" : said);
}

static bool sweep_attach(unsigned nth)
{
	bool undisturbed;

	begin();
	while (!world.host[0].q.runs || !world.host[1].up)
		world_run(MS);
	arm(nth);
	world_run(2500 * MS);
	undisturbed = is_undisturbed();
	if (!disarm()) {
		if (!undisturbed || world.broken)
			complain("not protected, though nothing failed", nth);
		return false;
	}
	faults++;
	check(nth, undisturbed);
	return true;
}

static bool sweep_takeover(unsigned nth)
{
	begin();
	for (unsigned i = 0; i < 50 && !is_protected(); i++)
		world_run(100 * MS);
	if (!is_protected())
		abort();
	host_kill(0, UINT64_C(60000) * MS);
	arm(nth);
	world_run(5000 * MS);
	(void)disarm();
	if (world.broken)
		complain(world.broken, nth);
	else if (live() != 1 && (failed == CALL_COUNT || !is_said()))
		complain("the backup is not live", nth);
	else if (verbose && failed < CALL_COUNT)
		printf("%s takeover %u %s:\n%s", strategies[which]->name, nth, names[failed], said);
	faults += failed < CALL_COUNT;
	return failed < CALL_COUNT;
}

static bool sweep_start(int host, unsigned nth)
{
	struct host *h = &world.host[host];

	begin();
	h->err.text[0] = '\0';
	arm(nth);
	host_start(host, host == 0);
	if (!disarm())
		return false;
	faults++;
	if (world.broken)
		complain(world.broken, nth);
	else if (!h->up && h->err.text[0] == '\0')
		complain("a start says nothing", nth);
	else if (verbose)
		printf("%s start %u %s: %s\n", strategies[which]->name, nth, names[failed],
		       h->up ? "is one" : h->err.text);
	return true;
}

static void sweep(void)
{
	unsigned nth = 1;

	while (sweep_attach(nth))
		nth++;
	for (nth = 1; sweep_takeover(nth);)
		nth++;
	for (int host = 0; host < 2; host++)
		for (nth = 1; sweep_start(host, nth);)
			nth++;
}

int main(int argc, char **argv)
{
	static struct tally tally;

	verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
	world.tally = &tally;
	world.fails = fails;
	world.hears = hears;
	world_prepare();
	for (which = 0; which < STRATEGIES; which++)
		sweep();
	printf("%u calls made to fail, one at a time; %u ended badly\n", faults, bad);
	return bad || faults == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
