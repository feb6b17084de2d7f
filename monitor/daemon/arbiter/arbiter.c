/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "arbiter.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static const struct vmft_arbiter_ops *const backends[] = {&vmft_arbiter_file, &vmft_arbiter_etcd};

const struct vmft_arbiter_ops *vmft_arbiter_find(const char *spec, const char **ret_where)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		size_t n = strlen(backends[i]->scheme);

		if (strncmp(spec, backends[i]->scheme, n) == 0) {
			*ret_where = spec + n;
			return backends[i];
		}
	}
	return NULL;
}

struct vmft_arbiter_worker {
	const struct vmft_arbiter_ops *ops;
	struct vmft_arbiter *arbiter;
	char owner[VMFT_ARBITER_OWNER_MAX];
	int done_fd;
	pthread_mutex_t lock; /* over what follows */
	pthread_cond_t moved; /* something was asked, or answered */
	bool asked[VMFT_ASKS], answered[VMFT_ASKS];
	unsigned open; /* questions without an answer yet */
	struct vmft_arbiter_question question[VMFT_ASKS];
	struct vmft_arbiter_answer answer[VMFT_ASKS];
};

/* With the lock held. A claim goes before all else, somebody's guest waits for it. */
static struct vmft_arbiter_question next_question(struct vmft_arbiter_worker *w)
{
	for (;;) {
		for (enum vmft_arbiter_ask ask = 0; ask < VMFT_ASKS; ask++) {
			if (!w->asked[ask])
				continue;
			w->asked[ask] = false;
			return w->question[ask];
		}
		pthread_cond_wait(&w->moved, &w->lock);
	}
}

static void put_question(struct vmft_arbiter_worker *w, const struct vmft_arbiter_question *q,
			 struct vmft_arbiter_answer *a)
{
	const struct vmft_arbiter_claim claim = {
	    .generation = q->generation, .owner = w->owner, .after = q->record};

	a->ask = q->ask;
	switch (q->ask) {
	case VMFT_ASK_CLAIM:
		a->claim = w->ops->claim(w->arbiter, &claim, &a->err);
		break;
	case VMFT_ASK_LATEST:
		a->rc = w->ops->latest(w->arbiter, &a->latest, &a->err);
		break;
	case VMFT_ASK_MARK:
		a->rc = w->ops->look(w->arbiter, q->host, a->mark, &a->err);
		break;
	default:
		a->rc =
		    w->ops->end(w->arbiter, q->generation, q->record, VMFT_END_ORDERLY, &a->err);
		break;
	}
}

static void *work(void *arg)
{
	struct vmft_arbiter_worker *w = arg;
	const uint64_t one = 1;

	for (;;) {
		struct vmft_arbiter_answer answer = {0};
		struct vmft_arbiter_question question;

		pthread_mutex_lock(&w->lock);
		question = next_question(w);
		pthread_mutex_unlock(&w->lock);

		put_question(w, &question, &answer);

		pthread_mutex_lock(&w->lock);
		w->answer[answer.ask] = answer;
		w->answered[answer.ask] = true;
		w->open--;
		pthread_cond_broadcast(&w->moved);
		pthread_mutex_unlock(&w->lock);
		(void)!write(w->done_fd, &one, sizeof(one));
	}
	return NULL;
}

int vmft_arbiter_worker_start(const struct vmft_arbiter_ops *ops, struct vmft_arbiter *arbiter,
			      const char *owner, struct vmft_arbiter_worker **ret)
{
	struct vmft_arbiter_worker *w = calloc(1, sizeof(*w));
	pthread_t thread;
	int rc;

	if (!w)
		return -ENOMEM;
	w->ops = ops;
	w->arbiter = arbiter;
	(void)snprintf(w->owner, sizeof(w->owner), "%s", owner);
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->moved, NULL);
	w->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->done_fd < 0) {
		rc = -errno;
		goto err_free;
	}
	rc = -pthread_create(&thread, NULL, work, w);
	if (rc < 0)
		goto err_close;
	(void)pthread_detach(thread);
	*ret = w;
	return 0;

err_close:
	close(w->done_fd);
err_free:
	free(w);
	return rc;
}

int vmft_arbiter_worker_fd(const struct vmft_arbiter_worker *worker)
{
	return worker->done_fd;
}

void vmft_arbiter_worker_ask(struct vmft_arbiter_worker *w,
			     const struct vmft_arbiter_question *question)
{
	pthread_mutex_lock(&w->lock);
	w->asked[question->ask] = true;
	w->question[question->ask] = *question;
	w->open++;
	pthread_cond_broadcast(&w->moved);
	pthread_mutex_unlock(&w->lock);
}

bool vmft_arbiter_worker_answer(struct vmft_arbiter_worker *w, struct vmft_arbiter_answer *ret)
{
	bool found = false;
	uint64_t count;

	(void)!read(w->done_fd, &count, sizeof(count));
	pthread_mutex_lock(&w->lock);
	for (enum vmft_arbiter_ask ask = 0; ask < VMFT_ASKS && !found; ask++) {
		found = w->answered[ask];
		if (found)
			*ret = w->answer[ask];
		w->answered[ask] = false;
	}
	pthread_mutex_unlock(&w->lock);
	return found;
}

bool vmft_arbiter_worker_wait(struct vmft_arbiter_worker *w, uint64_t milliseconds)
{
	struct timespec until;
	bool done;
	int rc = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(milliseconds / 1000);
	until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&w->lock);
	while (w->open > 0 && rc == 0)
		rc = pthread_cond_clockwait(&w->moved, &w->lock, CLOCK_MONOTONIC, &until);
	done = w->open == 0;
	pthread_mutex_unlock(&w->lock);
	return done;
}
