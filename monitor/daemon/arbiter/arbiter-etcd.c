/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * etcd:URL,URL... - one key a generation in an etcd cluster, by its JSON gateway.
 *
 *   vmft/VM/gen/N   whoever made it won generation N; its value says who
 *   vmft/VM/end/N   the guest of generation N ended in an orderly way
 *
 *   vmft/VM/mark/HOST  left by the side on that host, for the other to find
 *
 * Why this is a test-and-set: a claim is one transaction, which makes the key if no key of N
 * or of a later generation is there and the one before is the claimant's pair's, else shows
 * what is there. etcd commits transactions one after
 * the other, with a majority of its members, so one claim of N at most finds nothing there.
 * No key has a lease: a winner that is only slow must never find its record expired.
 *
 * A transaction that was not answered may have been committed, or may yet be: nobody knows,
 * which is VMFT_CLAIM_UNREACHABLE, and the next member, or the same one later, is asked
 * again. The claim that was committed is then found by its owner's token. One that is
 * committed very late meets the later generations' records, and comes to nothing.
 *
 * The id of the cluster that answered first is remembered. A member that answers for another
 * cluster (one that was built anew from an empty directory) is not asked any further.
 *
 * Everything goes through raft, also the question for the latest generation; a member that is
 * cut off from its majority answers nothing, and nothing old.
 */
#define _GNU_SOURCE
#include "arbiter.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "etcd-wire.h"
#include "logging-channel/now.h"
#include "monitor/common/etcd-endpoints.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/pair-config.h"

/* A member whose host is off does not even refuse; the next one waits for this. With TLS. */
#define CONNECT_MS 1000L
/* A cluster that is choosing a leader answers when it has one, by default in 1 to 2 s. */
#define REQUEST_MS 2000L
/* All members together; what is left then is asked first the next time. */
#define TOTAL_MS 5000L

struct vmft_arbiter {
	struct vmft_etcd_endpoints endpoints;
	unsigned next;	  /* endpoint to ask first: the one that answered last */
	uint64_t cluster; /* that answered first; 0: none yet */
	char vm[VMFT_PAIR_NAME_MAX + 1];
	char ca[VMFT_PATH_MAX], cert[VMFT_PATH_MAX], key[VMFT_PATH_MAX];
	CURL *curl;
	struct curl_slist *headers;
};

/* One request, whatever it is for, and what takes its answer. */
struct question {
	struct vmft_etcd_request request;
	const char *vm;
	const struct vmft_arbiter_claim *asked; /* of a claim */
	const char *host;			/* whose mark */
	int (*take)(struct question *q, const char *text, size_t n);
	enum vmft_claim claim;
	struct vmft_arbiter_latest latest;
	char mark[VMFT_ARBITER_OWNER_MAX];
};

struct body {
	size_t n;
	char text[VMFT_ETCD_ANSWER_MAX];
};

/* Why nobody answered, endpoint after endpoint. */
struct reason {
	size_t n;
	char text[480];
};

static void add_reason(struct reason *r, const char *url, const char *why)
{
	int n = snprintf(r->text + r->n, sizeof(r->text) - r->n, "%s%s: %.160s", r->n ? "; " : "",
			 url, why);

	r->n += (size_t)n;
	if (r->n >= sizeof(r->text))
		r->n = sizeof(r->text) - 1;
}

/* Less than size * n makes curl give up. */
static size_t on_body(char *data, size_t size, size_t n, void *user)
{
	struct body *body = user;

	if (n * size > sizeof(body->text) - body->n)
		return 0;
	memcpy(body->text + body->n, data, n * size);
	body->n += n * size;
	return n * size;
}

static void set_tls(const struct vmft_arbiter *a)
{
	(void)curl_easy_setopt(a->curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	(void)curl_easy_setopt(a->curl, CURLOPT_SSL_VERIFYPEER, 1L);
	(void)curl_easy_setopt(a->curl, CURLOPT_SSL_VERIFYHOST, 2L);
	if (a->ca[0])
		(void)curl_easy_setopt(a->curl, CURLOPT_CAINFO, a->ca);
	if (a->cert[0]) {
		(void)curl_easy_setopt(a->curl, CURLOPT_SSLCERT, a->cert);
		(void)curl_easy_setopt(a->curl, CURLOPT_SSLKEY, a->key);
	}
}

/* A connection for each request: one that was kept may lead to a host that is long gone. */
static CURLcode transfer(const struct vmft_arbiter *a, const char *url, const char *request,
			 long limit_ms, struct body *body, char *error)
{
	char full[VMFT_ETCD_ENDPOINT_MAX + sizeof("/v3/kv/txn")];
	CURL *curl = a->curl;

	(void)snprintf(full, sizeof(full), "%s/v3/kv/txn", url);
	curl_easy_reset(curl);
	set_tls(a);
	(void)curl_easy_setopt(curl, CURLOPT_URL, full);
	(void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, a->endpoints.tls ? "https" : "http");
	/* What the environment says of proxies is not meant for this. */
	(void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
			       limit_ms < CONNECT_MS ? limit_ms : CONNECT_MS);
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, limit_ms);
	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
	(void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, a->headers);
	(void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
	return curl_easy_perform(curl);
}

/* Whether this is an answer of the cluster that answered first. */
static bool is_of_cluster(struct vmft_arbiter *a, const struct body *body, char *why, size_t size)
{
	uint64_t cluster;

	if (vmft_etcd_cluster_parse(body->text, body->n, &cluster) < 0) {
		(void)snprintf(why, size, "the answer does not look like one of etcd's");
		return false;
	}
	if (a->cluster == 0)
		a->cluster = cluster;
	if (a->cluster == cluster)
		return true;
	(void)snprintf(why, size,
		       "a member of another cluster (%llx, not %llx): the cluster was built anew, "
		       "or this VM was started with another one",
		       (unsigned long long)cluster, (unsigned long long)a->cluster);
	return false;
}

static int ask_one(struct vmft_arbiter *a, const char *url, long limit_ms, struct question *q,
		   struct reason *reason)
{
	char error[CURL_ERROR_SIZE] = "", said[256];
	struct body body = {0};
	long status = 0;
	int rc;
	CURLcode code = transfer(a, url, q->request.body, limit_ms, &body, error);

	if (code != CURLE_OK) {
		add_reason(reason, url, error[0] ? error : curl_easy_strerror(code));
		return -EIO;
	}
	(void)curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200) {
		vmft_etcd_error_text(body.text, body.n, error, sizeof(error));
		(void)snprintf(said, sizeof(said), "HTTP %ld %.160s", status, error);
		add_reason(reason, url, said);
		return -EIO;
	}
	if (!is_of_cluster(a, &body, said, sizeof(said))) {
		add_reason(reason, url, said);
		return -EBADMSG;
	}
	rc = q->take(q, body.text, body.n);
	if (rc == -ESTALE)
		add_reason(reason, url,
			   "this cluster has no record of the generation of this side: it is not "
			   "the cluster that this VM was started with, or its data was removed; "
			   "see vmft declare-dead");
	else if (rc < 0)
		add_reason(reason, url, "the answer does not look like one of etcd's");
	return rc;
}

/* 0 when a member has answered and the answer was taken. */
static int ask(struct vmft_arbiter *a, struct question *q, struct vmft_error *err)
{
	const unsigned first = a->next;
	struct reason reason = {0};
	const uint64_t begin_ns = vmft_monotonic_ns();

	for (unsigned i = 0; i < a->endpoints.count; i++) {
		const long left = TOTAL_MS - (long)((vmft_monotonic_ns() - begin_ns) / 1000000u);

		if (left <= 0)
			break;
		a->next = (first + i) % a->endpoints.count;
		if (ask_one(a, a->endpoints.url[a->next], left < REQUEST_MS ? left : REQUEST_MS, q,
			    &reason) == 0)
			return 0;
	}
	/* Not the same ones again first, if there was no time for all. */
	a->next = (a->next + 1) % a->endpoints.count;
	return vmft_error_set(err, -EIO, VMFT_EXIT_ARBITER, "arbiter etcd: %s", reason.text);
}

/* --- operations ----------------------------------------------------------- */

static int take_latest(struct question *q, const char *text, size_t n)
{
	return vmft_etcd_latest_parse(text, n, q->vm, &q->latest);
}

static int etcd_latest(struct vmft_arbiter *a, struct vmft_arbiter_latest *ret,
		       struct vmft_error *err)
{
	struct question q = {.vm = a->vm, .take = take_latest};
	char key[VMFT_ETCD_KEY_MAX];
	int rc;

	vmft_etcd_latest_build(a->vm, &q.request);
	rc = ask(a, &q, err);
	if (rc < 0)
		return rc;
	vmft_etcd_key(a->vm, "gen", q.latest.generation, key);
	(void)snprintf(q.latest.record, sizeof(q.latest.record), "the key %s", key);
	*ret = q.latest;
	return 0;
}

static int take_claim(struct question *q, const char *text, size_t n)
{
	return vmft_etcd_claim_parse(text, n, q->vm, q->asked, &q->claim);
}

static enum vmft_claim etcd_claim(struct vmft_arbiter *a, const struct vmft_arbiter_claim *claim,
				  struct vmft_error *err)
{
	struct question q = {.vm = a->vm, .asked = claim, .take = take_claim};

	vmft_etcd_claim_build(a->vm, claim, &q.request);
	return ask(a, &q, err) < 0 ? VMFT_CLAIM_UNREACHABLE : q.claim;
}

static int take_end(struct question *q, const char *text, size_t n)
{
	(void)q;
	return vmft_etcd_end_parse(text, n);
}

static int etcd_end(struct vmft_arbiter *a, uint64_t generation, const char *owner,
		    enum vmft_arbiter_end how, struct vmft_error *err)
{
	struct question q = {.vm = a->vm, .take = take_end};

	vmft_etcd_end_build(a->vm, generation, owner, how, &q.request);
	return ask(a, &q, err);
}

static int take_mark(struct question *q, const char *text, size_t n)
{
	(void)q;
	return vmft_etcd_mark_parse(text, n);
}

static int etcd_mark(struct vmft_arbiter *a, const char *host, const char *text,
		     struct vmft_error *err)
{
	struct question q = {.vm = a->vm, .take = take_mark};

	vmft_etcd_mark_build(a->vm, host, text, &q.request);
	return ask(a, &q, err);
}

static int take_look(struct question *q, const char *text, size_t n)
{
	return vmft_etcd_look_parse(text, n, q->vm, q->host, q->mark);
}

static int etcd_look(struct vmft_arbiter *a, const char *host,
		     char ret[static VMFT_ARBITER_OWNER_MAX], struct vmft_error *err)
{
	struct question q = {.vm = a->vm, .host = host, .take = take_look};
	int rc;

	vmft_etcd_look_build(a->vm, host, &q.request);
	rc = ask(a, &q, err);
	if (rc == 0)
		memcpy(ret, q.mark, sizeof(q.mark));
	return rc;
}

/* libcurl would say only that something about a certificate is wrong. */
static int check_readable(const char *name, const char *path, struct vmft_error *err)
{
	struct stat st;
	int fd, rc = 0;

	if (path[0] == '\0')
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		rc = -errno;
	else if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		rc = -EINVAL;
	if (fd >= 0)
		close(fd);
	if (rc == 0)
		return 0;
	return vmft_error_set(err, rc, VMFT_EXIT_ARBITER,
			      "%s = %.200s: cannot read: %s; it must be a PEM file on this host",
			      name, path, strerror(-rc));
}

static int check_files(const struct vmft_arbiter_settings *s, struct vmft_error *err)
{
	int rc = check_readable("arbiter-ca", s->ca, err);

	if (rc == 0)
		rc = check_readable("arbiter-cert", s->cert, err);
	if (rc == 0)
		rc = check_readable("arbiter-key", s->key, err);
	return rc;
}

static void etcd_close(struct vmft_arbiter *a)
{
	if (!a)
		return;
	if (a->curl)
		curl_easy_cleanup(a->curl);
	curl_slist_free_all(a->headers);
	curl_global_cleanup();
	free(a);
}

/* A reader that cannot write would be found out too late, see vmft_etcd_latest_build(). */
static int probe(struct vmft_arbiter *a, struct vmft_error *err)
{
	struct vmft_arbiter_latest latest;
	struct vmft_error why = {0};
	int rc = etcd_latest(a, &latest, &why);

	if (rc == 0)
		return 0;
	/* Whom a member does not let in it hangs up on without a word. */
	return vmft_error_set(err, rc, VMFT_EXIT_ARBITER, "%.400s; a majority must be up%s",
			      why.text,
			      !a->endpoints.tls ? ""
			      : a->cert[0]	? " and accept arbiter-cert"
						: ", and may want arbiter-cert");
}

static int etcd_open(const struct vmft_arbiter_settings *settings, struct vmft_arbiter **ret,
		     struct vmft_error *err)
{
	struct vmft_etcd_endpoints endpoints;
	struct vmft_arbiter *a;
	const char *todo;
	int rc;

	if (vmft_etcd_endpoints_parse(settings->where, &endpoints, &todo) < 0)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG, "arbiter etcd:%.200s: %s",
				      settings->where, todo);
	rc = check_files(settings, err);
	if (rc < 0)
		return rc;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		return vmft_error_set(err, -EIO, VMFT_EXIT_INTERNAL,
				      "libcurl cannot be initialised");
	a = calloc(1, sizeof(*a));
	if (!a) {
		curl_global_cleanup();
		return -ENOMEM;
	}
	a->endpoints = endpoints;
	(void)snprintf(a->vm, sizeof(a->vm), "%s", settings->vm);
	(void)snprintf(a->ca, sizeof(a->ca), "%s", settings->ca);
	(void)snprintf(a->cert, sizeof(a->cert), "%s", settings->cert);
	(void)snprintf(a->key, sizeof(a->key), "%s", settings->key);
	a->curl = curl_easy_init();
	a->headers = curl_slist_append(NULL, "Content-Type: application/json");
	rc = a->curl && a->headers ? probe(a, err) : -ENOMEM;
	if (rc < 0) {
		etcd_close(a);
		return rc;
	}
	*ret = a;
	return 0;
}

const struct vmft_arbiter_ops vmft_arbiter_etcd = {
    .scheme = "etcd:",
    .open = etcd_open,
    .close = etcd_close,
    .latest = etcd_latest,
    .claim = etcd_claim,
    .end = etcd_end,
    .mark = etcd_mark,
    .look = etcd_look,
};
