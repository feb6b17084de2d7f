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
#include <unistd.h>

static const struct vmft_arbiter_ops *const backends[] = {&vmft_arbiter_file};

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
	pthread_cond_t asked;
	uint64_t generation; /* 0: nothing asked */
	bool answered;
	enum vmft_claim answer;
	struct vmft_error err;
};

static void *work(void *arg)
{
	struct vmft_arbiter_worker *w = arg;
	const uint64_t one = 1;

	for (;;) {
		struct vmft_error err = {0};
		enum vmft_claim answer;
		uint64_t generation;

		pthread_mutex_lock(&w->lock);
		while (w->generation == 0)
			pthread_cond_wait(&w->asked, &w->lock);
		generation = w->generation;
		w->generation = 0;
		pthread_mutex_unlock(&w->lock);

		answer = w->ops->claim(w->arbiter, generation, w->owner, &err);

		pthread_mutex_lock(&w->lock);
		w->answer = answer;
		w->err = err;
		w->answered = true;
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
	(void)pthread_cond_init(&w->asked, NULL);
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

void vmft_arbiter_worker_claim(struct vmft_arbiter_worker *w, uint64_t generation)
{
	pthread_mutex_lock(&w->lock);
	w->generation = generation;
	pthread_cond_signal(&w->asked);
	pthread_mutex_unlock(&w->lock);
}

bool vmft_arbiter_worker_answer(struct vmft_arbiter_worker *w, enum vmft_claim *ret,
				struct vmft_error *ret_err)
{
	uint64_t count;
	bool answered;

	(void)!read(w->done_fd, &count, sizeof(count));
	pthread_mutex_lock(&w->lock);
	answered = w->answered;
	if (answered) {
		*ret = w->answer;
		*ret_err = w->err;
		w->answered = false;
	}
	pthread_mutex_unlock(&w->lock);
	return answered;
}
