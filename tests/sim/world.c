/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chance, virtual time and the agenda. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

uint64_t chance(struct world *w, uint64_t below)
{
	w->rng += 0x9e3779b97f4a7c15ULL;
	return mix(w->rng) % below;
}

bool one_in(struct world *w, uint64_t n)
{
	return chance(w, n) == 0;
}

uint64_t about(struct world *w, uint64_t us)
{
	return us / 2 + chance(w, us + 1);
}

void note(const struct world *w, const char *format, ...)
{
	va_list ap;

	if (!w->trace)
		return;
	printf("[%9.3f ms] ", (double)w->now / (double)MS);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

void broken(struct world *w, const char *promise, const char *format, ...)
{
	va_list ap;

	if (w->broken)
		return;
	w->broken = promise;
	va_start(ap, format);
	vsnprintf(w->detail, sizeof(w->detail), format, ap);
	va_end(ap);
	note(w, "BROKEN: %s: %s", promise, w->detail);
}

/* The simulation's own bounds were too small: no promise was broken. */
_Noreturn void give_up(const struct world *w, const char *text)
{
	fprintf(stderr, "vmft-sim: %s, seed %llu: %s\n", w->ops->name, (unsigned long long)w->seed,
		text);
	exit(2);
}

const char *host_name(int host)
{
	return host ? "B" : "A";
}

static bool earlier(const struct todo *a, const struct todo *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void later_in_life(struct world *w, uint64_t in, enum job job, int side, unsigned life,
		   uint64_t arg)
{
	struct todo todo = {w->now + in, w->order++, job, side, life, arg};
	unsigned i = w->agenda_count++;

	if (i >= AGENDA_MAX)
		give_up(w, "agenda full");
	for (; i && earlier(&todo, &w->agenda[(i - 1) / 2]); i = (i - 1) / 2)
		w->agenda[i] = w->agenda[(i - 1) / 2];
	w->agenda[i] = todo;
}

void later(struct world *w, uint64_t in, enum job job, int side, uint64_t arg)
{
	later_in_life(w, in, job, side, w->sides[side].life, arg);
}

struct todo next_todo(struct world *w)
{
	struct todo first = w->agenda[0];
	struct todo last = w->agenda[--w->agenda_count];
	unsigned i = 0;

	for (;;) {
		unsigned child = 2 * i + 1;

		if (child >= w->agenda_count)
			break;
		if (child + 1 < w->agenda_count &&
		    earlier(&w->agenda[child + 1], &w->agenda[child]))
			child++;
		if (!earlier(&w->agenda[child], &last))
			break;
		w->agenda[i] = w->agenda[child];
		i = child;
	}
	w->agenda[i] = last;
	return first;
}
