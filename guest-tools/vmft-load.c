/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-load: writes to a protected guest, keeps what was acknowledged, and later
 * checks that nothing of it is lost.
 *
 * A record line is written for an acknowledged write only, and at once: whatever
 * kills this program, the file never claims a write the guest did not confirm.
 *
 * This file has more than 600 lines because it is one program: the load and the check use the
 * same record lines, and it is built from this file alone.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS	1000000ULL
#define KEY_MAX		128
#define VALUE_MAX	1024
#define REQUEST_MAX	(KEY_MAX + VALUE_MAX + 128)
#define REPLY_BYTES	8192
#define CONNECTIONS_MAX 1024
#define RECONNECT_MS	100
#define STOP_GRACE_MS	2000 /* for a request in flight when the time is up */
#define VERIFY_BATCH	32
#define VERIFY_TRIES	5
#define VERIFY_SHOWN	10
#define EXIT_LOST	1
#define EXIT_CANNOT	2
#define LOAD_EREFUSED	(-EREMOTEIO) /* the server answered, with an error */
#define LOAD_ENOVALUE	(-ENOENT)    /* the server has no such key */

struct conn;

struct protocol {
	const char *name;
	uint16_t port;
	int (*format_set)(char *to, size_t size, const char *key, const char *value);
	int (*format_get)(char *to, size_t size, const char *key);
	int (*read_ack)(struct conn *conn);
	/* Returns 0 and the value, or LOAD_ENOVALUE, LOAD_EREFUSED, or a connection's error. */
	int (*read_value)(struct conn *conn, char ret_value[static VALUE_MAX + 1]);
};

struct options {
	const struct protocol *protocol;
	const char *host;
	const char *record;
	const char *verify;
	const char *until_file;
	const char *prefix;
	struct sockaddr_in addr;
	uint16_t port;
	unsigned seconds;
	unsigned interval_ms;
	unsigned connections;
	unsigned connect_timeout_ms;
	unsigned request_timeout_ms;
	bool json;
};

struct conn {
	const struct options *options;
	int fd;	     /* -1: not connected */
	int stop_fd; /* readable once the load shall end; -1 for none */
	uint64_t deadline;
	size_t len;
	char bytes[REPLY_BYTES];
};

struct ack {
	uint64_t sent;
	uint64_t acked;
};

/* One connection's load. The worker writes it; the main thread reads it after joining. */
struct worker {
	const struct options *options;
	char prefix[64];
	unsigned number;
	int stop_fd;
	int record_fd;
	int error; /* why it gave up, 0 if it did not */
	pthread_t thread;
	struct conn conn;
	struct ack *acks;
	size_t ack_count;
	size_t ack_room;
	uint64_t unacknowledged;
	uint64_t refused;
	uint64_t connections_lost;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* ---- connection ---- */

static void conn_close(struct conn *conn)
{
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	conn->len = 0;
}

/* Until the deadline; once stopped, no more than the grace time. 0 when ready. */
static int conn_wait(struct conn *conn, short events)
{
	struct pollfd polls[2] = {{.fd = conn->fd, .events = events},
				  {.fd = conn->stop_fd, .events = POLLIN}};
	uint64_t now = now_ns();
	int ret;

	while (now < conn->deadline) {
		uint64_t left_ms = (conn->deadline - now) / NS_PER_MS + 1;

		ret = poll(polls, 2, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
		if (ret < 0 && errno != EINTR)
			return -errno;
		if (ret > 0 && polls[0].revents)
			return 0;
		now = now_ns();
		if (ret > 0 && polls[1].revents) {
			polls[1].fd = -1;
			if (conn->deadline > now + STOP_GRACE_MS * NS_PER_MS)
				conn->deadline = now + STOP_GRACE_MS * NS_PER_MS;
		}
	}
	return -ETIMEDOUT;
}

static void conn_deadline(struct conn *conn, unsigned timeout_ms)
{
	conn->deadline = now_ns() + timeout_ms * NS_PER_MS;
}

static int conn_finish_connect(struct conn *conn)
{
	socklen_t len = sizeof(int);
	int error = 0;
	int ret = conn_wait(conn, POLLOUT);

	if (ret < 0)
		return ret;
	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

static int conn_open(struct conn *conn)
{
	const struct options *options = conn->options;
	int on = 1;
	int ret = 0;

	conn->len = 0;
	conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		return -errno;
	(void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	conn_deadline(conn, options->connect_timeout_ms);
	if (connect(conn->fd, (const struct sockaddr *)&options->addr, sizeof(options->addr)) < 0)
		ret = errno == EINPROGRESS ? conn_finish_connect(conn) : -errno;
	if (ret < 0)
		conn_close(conn);
	return ret;
}

static int conn_send(struct conn *conn, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(conn->fd, bytes, len, MSG_NOSIGNAL);
		int ret = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ret = errno == EAGAIN ? conn_wait(conn, POLLOUT) : -errno;
		if (ret < 0)
			return ret;
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int conn_receive(struct conn *conn)
{
	ssize_t n;
	int ret;

	if (conn->len == sizeof(conn->bytes))
		return -EMSGSIZE;
	ret = conn_wait(conn, POLLIN);
	if (ret < 0)
		return ret;
	n = recv(conn->fd, conn->bytes + conn->len, sizeof(conn->bytes) - conn->len, 0);
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	conn->len += (size_t)n;
	return 0;
}

/* Takes exactly len bytes. */
static int conn_take(struct conn *conn, char *to, size_t len)
{
	int ret = 0;

	while (ret == 0 && conn->len < len)
		ret = conn_receive(conn);
	if (ret < 0)
		return ret;
	memcpy(to, conn->bytes, len);
	conn->len -= len;
	memmove(conn->bytes, conn->bytes + len, conn->len);
	return 0;
}

/* Takes a line, without its end, which may be \n or \r\n. */
static int conn_take_line(struct conn *conn, char *to, size_t size)
{
	char *end;
	size_t len;
	int ret = 0;

	while (ret == 0 && !(end = memchr(conn->bytes, '\n', conn->len)))
		ret = conn_receive(conn);
	if (ret < 0)
		return ret;
	len = (size_t)(end - conn->bytes) + 1;
	if (len > size)
		return -EMSGSIZE;
	ret = conn_take(conn, to, len);
	if (ret < 0)
		return ret;
	to[len - 1] = '\0';
	if (len > 1 && to[len - 2] == '\r')
		to[len - 2] = '\0';
	return 0;
}

/* ---- protocols ---- */

static int kv_format_set(char *to, size_t size, const char *key, const char *value)
{
	return snprintf(to, size, "SET %s %s\n", key, value);
}

static int kv_format_get(char *to, size_t size, const char *key)
{
	return snprintf(to, size, "GET %s\n", key);
}

static int ack_of(const char *line, const char *ok, const char *error)
{
	if (strcmp(line, ok) == 0)
		return 0;
	return strncmp(line, error, strlen(error)) == 0 ? LOAD_EREFUSED : -EPROTO;
}

static int kv_read_ack(struct conn *conn)
{
	char line[REQUEST_MAX];
	int ret = conn_take_line(conn, line, sizeof(line));

	return ret < 0 ? ret : ack_of(line, "OK", "ERR ");
}

static int kv_read_value(struct conn *conn, char ret_value[static VALUE_MAX + 1])
{
	char line[REQUEST_MAX];
	int ret = conn_take_line(conn, line, sizeof(line));

	if (ret < 0)
		return ret;
	if (strncmp(line, "VALUE ", 6) == 0 && strlen(line + 6) <= VALUE_MAX) {
		strcpy(ret_value, line + 6);
		return 0;
	}
	return ack_of(line, "NONE", "ERR ") ?: LOAD_ENOVALUE;
}

static int redis_format_set(char *to, size_t size, const char *key, const char *value)
{
	return snprintf(to, size, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(key),
			key, strlen(value), value);
}

static int redis_format_get(char *to, size_t size, const char *key)
{
	return snprintf(to, size, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(key), key);
}

static int redis_read_ack(struct conn *conn)
{
	char line[REQUEST_MAX];
	int ret = conn_take_line(conn, line, sizeof(line));

	return ret < 0 ? ret : ack_of(line, "+OK", "-");
}

static int redis_read_value(struct conn *conn, char ret_value[static VALUE_MAX + 1])
{
	char line[REQUEST_MAX];
	char end[2];
	unsigned len;
	int ret = conn_take_line(conn, line, sizeof(line));

	if (ret < 0)
		return ret;
	if (sscanf(line, "$%u", &len) != 1 || len > VALUE_MAX)
		return ack_of(line, "$-1", "-") ?: LOAD_ENOVALUE;
	ret = conn_take(conn, ret_value, len);
	ret_value[len] = '\0';
	return ret < 0 ? ret : conn_take(conn, end, sizeof(end));
}

static const struct protocol protocols[] = {
    {"kv", 7777, kv_format_set, kv_format_get, kv_read_ack, kv_read_value},
    {"redis", 6379, redis_format_set, redis_format_get, redis_read_ack, redis_read_value},
};

/* ---- load ---- */

static bool worker_stopped(const struct worker *worker, unsigned wait_ms)
{
	struct pollfd stop = {.fd = worker->stop_fd, .events = POLLIN};

	return poll(&stop, 1, (int)wait_ms) > 0;
}

static int worker_keep(struct worker *worker, const struct ack *ack)
{
	if (worker->ack_count == worker->ack_room) {
		size_t room = worker->ack_room ? worker->ack_room * 2 : 4096;
		struct ack *acks = reallocarray(worker->acks, room, sizeof(*acks));

		if (!acks)
			return -ENOMEM;
		worker->acks = acks;
		worker->ack_room = room;
	}
	worker->acks[worker->ack_count++] = *ack;
	return 0;
}

/* One write(2) per line on an O_APPEND file: lines of several workers do not mix. */
static int worker_record(struct worker *worker, const struct ack *ack, const char *key,
			 const char *value)
{
	char line[REQUEST_MAX];
	int len;
	ssize_t n;

	if (worker->record_fd < 0)
		return 0;
	len = snprintf(line, sizeof(line), "%" PRIu64 " %" PRIu64 " %s %s\n", ack->sent, ack->acked,
		       key, value);
	n = write(worker->record_fd, line, (size_t)len);
	if (n < 0)
		return -errno;
	return n == len ? 0 : -ENOSPC;
}

static int worker_set(struct worker *worker, const char *key, const char *value, struct ack *ack)
{
	const struct protocol *protocol = worker->options->protocol;
	char request[REQUEST_MAX];
	int len = protocol->format_set(request, sizeof(request), key, value);
	int ret;

	conn_deadline(&worker->conn, worker->options->request_timeout_ms);
	ack->sent = now_ns();
	ret = conn_send(&worker->conn, request, (size_t)len);
	if (ret == 0)
		ret = protocol->read_ack(&worker->conn);
	ack->acked = now_ns();
	return ret;
}

/*
 * The outcome of a write without an answer is unknown: it may be done or not, and may
 * yet be done. So its key is never used again.
 */
static int worker_write(struct worker *worker, uint64_t n)
{
	struct ack ack;
	char key[KEY_MAX + 1];
	char value[64];
	uint64_t mixed = (n + 1) * 0x9e3779b97f4a7c15ULL ^ clock_ns(CLOCK_REALTIME);
	int ret;

	snprintf(key, sizeof(key), "%s.%u.%" PRIu64, worker->prefix, worker->number, n);
	snprintf(value, sizeof(value), "v%016" PRIx64 ".%u.%" PRIu64, mixed, worker->number, n);
	ret = worker_set(worker, key, value, &ack);
	if (ret == 0) {
		ret = worker_record(worker, &ack, key, value);
		return ret < 0 ? ret : worker_keep(worker, &ack);
	}
	worker->unacknowledged++;
	if (ret == LOAD_EREFUSED) {
		worker->refused++;
	} else {
		worker->connections_lost++;
		conn_close(&worker->conn);
	}
	/* A server that refuses at once must not be flooded. */
	(void)worker_stopped(worker, RECONNECT_MS);
	return 0;
}

static void *worker_run(void *context)
{
	struct worker *worker = context;
	uint64_t n = 0;

	while (worker->error == 0 &&
	       !worker_stopped(worker, n ? worker->options->interval_ms : 0)) {
		if (worker->conn.fd < 0 && conn_open(&worker->conn) < 0) {
			(void)worker_stopped(worker, RECONNECT_MS);
			continue;
		}
		worker->error = worker_write(worker, n++);
	}
	conn_close(&worker->conn);
	return NULL;
}

/* Signals are taken here, synchronously, so that an interrupted load still reports. */
static void load_wait(const struct options *options, uint64_t start)
{
	const struct timespec slice = {.tv_nsec = 50000000};
	uint64_t end = start + options->seconds * 1000 * NS_PER_MS;
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	while (sigtimedwait(&signals, NULL, &slice) < 0) {
		if (options->seconds > 0 && now_ns() >= end)
			return;
		if (options->until_file && access(options->until_file, F_OK) == 0)
			return;
	}
}

/* ---- report ---- */

struct report {
	uint64_t acknowledged;
	uint64_t unacknowledged;
	uint64_t refused;
	uint64_t connections_lost;
	uint64_t p50;
	uint64_t p99;
	uint64_t max;
	uint64_t gap;	  /* longest time between two acks, of any connection */
	uint64_t gap_at;  /* CLOCK_MONOTONIC of the ack before it */
	uint64_t silence; /* from the last ack to the end: an outage that did not end shows here */
};

static int compare_u64(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

static void report_latency(struct report *report, uint64_t *latency, size_t count)
{
	qsort(latency, count, sizeof(*latency), compare_u64);
	report->p50 = latency[count / 2];
	report->p99 = latency[count * 99 / 100];
	report->max = latency[count - 1];
}

static void report_gap(struct report *report, uint64_t *acked, size_t count, uint64_t end)
{
	qsort(acked, count, sizeof(*acked), compare_u64);
	for (size_t i = 1; i < count; i++) {
		if (acked[i] - acked[i - 1] > report->gap) {
			report->gap = acked[i] - acked[i - 1];
			report->gap_at = acked[i - 1];
		}
	}
	report->silence = end > acked[count - 1] ? end - acked[count - 1] : 0;
}

static int report_make(struct report *report, const struct worker *workers, size_t count,
		       uint64_t end)
{
	uint64_t *latency;
	uint64_t *acked;
	size_t at = 0;

	for (size_t i = 0; i < count; i++) {
		report->acknowledged += workers[i].ack_count;
		report->unacknowledged += workers[i].unacknowledged;
		report->refused += workers[i].refused;
		report->connections_lost += workers[i].connections_lost;
	}
	if (report->acknowledged == 0)
		return 0;
	latency = calloc(report->acknowledged * 2, sizeof(*latency));
	if (!latency)
		return -ENOMEM;
	acked = latency + report->acknowledged;
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < workers[i].ack_count; j++, at++) {
			latency[at] = workers[i].acks[j].acked - workers[i].acks[j].sent;
			acked[at] = workers[i].acks[j].acked;
		}
	}
	report_latency(report, latency, at);
	report_gap(report, acked, at, end);
	free(latency);
	return 0;
}

static double ms(uint64_t ns)
{
	return (double)ns / (double)NS_PER_MS;
}

static void report_print_json(const struct report *report, uint64_t start, uint64_t end)
{
	printf("{\"acknowledged\":%" PRIu64 ",\"unacknowledged\":%" PRIu64 ",\"refused\":%" PRIu64
	       ",\"connections_lost\":%" PRIu64 ",\"seconds\":%.3f"
	       ",\"latency_ms\":{\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}"
	       ",\"longest_gap_ms\":%.3f,\"longest_gap_at_ms\":%.3f,\"longest_gap_at_ns\":%" PRIu64
	       ",\"silence_at_end_ms\":%.3f}\n",
	       report->acknowledged, report->unacknowledged, report->refused,
	       report->connections_lost, ms(end - start) / 1000, ms(report->p50), ms(report->p99),
	       ms(report->max), ms(report->gap), report->gap_at ? ms(report->gap_at - start) : 0,
	       report->gap_at, ms(report->silence));
}

static void report_print(const struct report *report, uint64_t start, uint64_t end)
{
	printf("acknowledged %" PRIu64 " writes in %.1f s, %" PRIu64 " unacknowledged (%" PRIu64
	       " refused), %" PRIu64 " connections lost\n",
	       report->acknowledged, ms(end - start) / 1000, report->unacknowledged,
	       report->refused, report->connections_lost);
	if (report->acknowledged == 0)
		return;
	printf("latency p50 %.3f ms, p99 %.3f ms, max %.3f ms\n", ms(report->p50), ms(report->p99),
	       ms(report->max));
	if (report->gap_at)
		printf("longest gap between two acks %.3f ms, %.3f s after the start; "
		       "last ack %.3f ms before the end\n",
		       ms(report->gap), ms(report->gap_at - start) / 1000, ms(report->silence));
}

/* ---- the load as a whole ---- */

static int workers_start(struct worker *workers, const struct options *options, int stop_fd,
			 int record_fd)
{
	uint64_t run = clock_ns(CLOCK_REALTIME);

	for (unsigned i = 0; i < options->connections; i++) {
		struct worker *worker = &workers[i];
		int ret;

		worker->options = options;
		worker->number = i;
		worker->stop_fd = stop_fd;
		worker->record_fd = record_fd;
		worker->conn = (struct conn){.options = options, .fd = -1, .stop_fd = stop_fd};
		if (options->prefix)
			snprintf(worker->prefix, sizeof(worker->prefix), "%s", options->prefix);
		else
			snprintf(worker->prefix, sizeof(worker->prefix), "k%" PRIx64, run);
		ret = pthread_create(&worker->thread, NULL, worker_run, worker);
		if (ret != 0)
			return -ret;
	}
	return 0;
}

static int workers_finish(struct worker *workers, const struct options *options, int stop_fd)
{
	uint64_t one = 1;
	int ret = 0;

	if (write(stop_fd, &one, sizeof(one)) < 0)
		return -errno;
	for (unsigned i = 0; i < options->connections; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].error < 0)
			ret = workers[i].error;
	}
	return ret;
}

static int record_create(const char *path)
{
	int fd;

	if (!path)
		return -1;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	return fd < 0 ? -errno : fd;
}

static int fail(const char *what, int error)
{
	fprintf(stderr, "vmft-load: %s: %s\n", what, strerror(-error));
	return EXIT_CANNOT;
}

static void signals_block(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

static int load_report(const struct options *options, const struct worker *workers, uint64_t start,
		       uint64_t end)
{
	struct report report = {0};

	if (report_make(&report, workers, options->connections, end) < 0)
		return fail("report", -ENOMEM);
	if (options->json)
		report_print_json(&report, start, end);
	else
		report_print(&report, start, end);
	if (report.acknowledged > 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "vmft-load: nothing was acknowledged by %s:%u\n", options->host,
		options->port);
	return EXIT_CANNOT;
}

static int load_main(const struct options *options)
{
	int record_fd = record_create(options->record);
	int stop_fd = eventfd(0, EFD_CLOEXEC);
	struct worker *workers = calloc(options->connections, sizeof(*workers));
	uint64_t start = now_ns();
	uint64_t end;
	int ret;

	if (record_fd < 0 && options->record)
		return fail(options->record, record_fd);
	if (stop_fd < 0 || !workers)
		return fail("starting", -ENOMEM);
	signals_block();
	ret = workers_start(workers, options, stop_fd, record_fd);
	if (ret < 0)
		return fail("starting a thread", ret);
	load_wait(options, start);
	end = now_ns();
	ret = workers_finish(workers, options, stop_fd);
	if (ret < 0)
		return fail(options->record ? options->record : "load", ret);
	ret = load_report(options, workers, start, end);
	for (unsigned i = 0; i < options->connections; i++)
		free(workers[i].acks);
	free(workers);
	return ret;
}

/* ---- verify ---- */

struct pair {
	char key[KEY_MAX + 1];
	char value[VALUE_MAX + 1];
};

struct verify {
	struct conn conn;
	uint64_t verified;
	uint64_t lost;
	size_t count;
	struct pair pairs[VERIFY_BATCH];
	bool intact[VERIFY_BATCH];
};

/* Asks for a whole batch, then reads its answers: a round trip for many keys. */
static int verify_ask(struct verify *verify, const struct options *options)
{
	const struct protocol *protocol = options->protocol;
	char value[VALUE_MAX + 1];
	char request[REQUEST_MAX];
	int ret = 0;

	conn_deadline(&verify->conn, options->request_timeout_ms);
	for (size_t i = 0; i < verify->count && ret == 0; i++) {
		int len = protocol->format_get(request, sizeof(request), verify->pairs[i].key);

		ret = conn_send(&verify->conn, request, (size_t)len);
	}
	for (size_t i = 0; i < verify->count && ret == 0; i++) {
		ret = protocol->read_value(&verify->conn, value);
		verify->intact[i] = ret == 0 && strcmp(value, verify->pairs[i].value) == 0;
		if (ret == LOAD_ENOVALUE)
			ret = 0;
	}
	return ret;
}

/* A GET may be repeated, unlike a SET: a lost connection costs another try. */
static int verify_batch(struct verify *verify, const struct options *options)
{
	int ret = -ENOTCONN;

	for (int tries = 0; ret < 0 && tries < VERIFY_TRIES; tries++) {
		if (tries > 0)
			usleep(200000);
		ret = verify->conn.fd < 0 ? conn_open(&verify->conn) : 0;
		if (ret == 0)
			ret = verify_ask(verify, options);
		if (ret < 0)
			conn_close(&verify->conn);
	}
	for (size_t i = 0; i < verify->count && ret == 0; i++) {
		verify->verified += verify->intact[i];
		verify->lost += !verify->intact[i];
		if (!verify->intact[i] && verify->lost <= VERIFY_SHOWN)
			fprintf(stderr, "vmft-load: lost: %s\n", verify->pairs[i].key);
	}
	verify->count = 0;
	return ret;
}

static int verify_line(struct verify *verify, const char *line)
{
	struct pair *pair = &verify->pairs[verify->count];
	int end = 0;

	_Static_assert(KEY_MAX == 128 && VALUE_MAX == 1024, "the widths below");
	if (sscanf(line, "%*u %*u %128s %1024[^\n]%n", pair->key, pair->value, &end) != 2 ||
	    line[end] != '\n')
		return -EBADMSG;
	verify->count++;
	return 0;
}

static int verify_file(struct verify *verify, const struct options *options, FILE *file)
{
	char line[REQUEST_MAX];
	size_t number = 0;
	int ret = 0;

	while (ret == 0 && fgets(line, sizeof(line), file)) {
		number++;
		if (verify_line(verify, line) < 0) {
			fprintf(stderr, "vmft-load: %s:%zu: not a record line\n", options->verify,
				number);
			return EXIT_CANNOT;
		}
		if (verify->count == VERIFY_BATCH)
			ret = verify_batch(verify, options);
	}
	if (ret == 0 && verify->count > 0)
		ret = verify_batch(verify, options);
	if (ret == LOAD_EREFUSED)
		return fail("the server answered a GET with an error", ret);
	if (ret < 0)
		return fail(options->host, ret);
	return ferror(file) ? fail(options->verify, -EIO) : 0;
}

static int verify_main(const struct options *options)
{
	struct verify *verify = calloc(1, sizeof(*verify));
	FILE *file = fopen(options->verify, "re");
	int ret;

	if (!file)
		return fail(options->verify, -errno);
	if (!verify)
		return fail("starting", -ENOMEM);
	verify->conn = (struct conn){.options = options, .fd = -1, .stop_fd = -1};
	ret = verify_file(verify, options, file);
	conn_close(&verify->conn);
	fclose(file);
	if (ret == 0) {
		printf(options->json ? "{\"verified\":%" PRIu64 ",\"lost\":%" PRIu64 "}\n"
				     : "verified %" PRIu64 " lost %" PRIu64 "\n",
		       verify->verified, verify->lost);
		ret = verify->lost > 0 ? EXIT_LOST : EXIT_SUCCESS;
	}
	free(verify);
	return ret;
}

/* ---- command line ---- */

enum {
	OPTION_UNTIL_FILE = 256,
	OPTION_INTERVAL,
	OPTION_CONNECT_TIMEOUT,
	OPTION_REQUEST_TIMEOUT,
	OPTION_PREFIX,
	OPTION_JSON,
};

static const struct argp_option argp_table[] = {
    {"host", 'H', "IP", 0, "IPv4 address of the guest", 0},
    {"port", 'p', "PORT", 0, "default: the protocol's own", 0},
    {"protocol", 'P', "kv|redis", 0, "default kv", 0},
    {"verify", 'v', "FILE", 0, "read back what FILE records instead of writing", 1},
    {"seconds", 's', "S", 0, "stop after S seconds", 2},
    {"until-file", OPTION_UNTIL_FILE, "PATH", 0, "stop once PATH exists", 2},
    {"interval-ms", OPTION_INTERVAL, "N", 0, "pause after each write, default 0", 2},
    {"record", 'r', "FILE", 0, "a line for each acknowledged write: sent acked key value", 2},
    {"connections", 'c', "N", 0, "default 1", 2},
    {"prefix", OPTION_PREFIX, "TEXT", 0, "of the keys, default from the clock", 2},
    {"connect-timeout", OPTION_CONNECT_TIMEOUT, "S", 0, "default 5", 3},
    {"request-timeout", OPTION_REQUEST_TIMEOUT, "S", 0,
     "reconnect when a request takes longer; default 60, as connections survive a failover", 3},
    {"json", OPTION_JSON, NULL, 0, "report as one JSON object", 4},
    {0},
};

static unsigned parse_number(struct argp_state *state, const char *name, const char *text,
			     unsigned min, unsigned max)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno || value < min || value > max)
		argp_error(state, "--%s %s: a number from %u to %u is needed", name, text, min,
			   max);
	return (unsigned)value;
}

static const struct protocol *parse_protocol(struct argp_state *state, const char *name)
{
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (strcmp(protocols[i].name, name) == 0)
			return &protocols[i];
	argp_error(state, "--protocol %s: must be kv or redis", name);
	return NULL;
}

static const char *parse_prefix(struct argp_state *state, const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (text[i] < '!' || text[i] > '~')
			argp_error(state, "--prefix %s: no spaces or control characters", text);
	if (len < 1 || len > 60)
		argp_error(state, "--prefix %s: 1 to 60 characters", text);
	return text;
}

static void options_check(struct argp_state *state, struct options *options)
{
	if (!options->host)
		argp_error(state, "--host is needed");
	if (inet_pton(AF_INET, options->host, &options->addr.sin_addr) != 1)
		argp_error(state, "--host %s: not an IPv4 address", options->host);
	if (!options->verify && !options->seconds && !options->until_file)
		argp_error(state, "--seconds, --until-file or --verify is needed");
	if (!options->port)
		options->port = options->protocol->port;
	options->addr.sin_family = AF_INET;
	options->addr.sin_port = htons(options->port);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'H':
		options->host = arg;
		return 0;
	case 'p':
		options->port = (uint16_t)parse_number(state, "port", arg, 1, UINT16_MAX);
		return 0;
	case 'P':
		options->protocol = parse_protocol(state, arg);
		return 0;
	case 'v':
		options->verify = arg;
		return 0;
	case 's':
		options->seconds = parse_number(state, "seconds", arg, 1, 1000000);
		return 0;
	case 'r':
		options->record = arg;
		return 0;
	case 'c':
		options->connections = parse_number(state, "connections", arg, 1, CONNECTIONS_MAX);
		return 0;
	case OPTION_UNTIL_FILE:
		options->until_file = arg;
		return 0;
	case OPTION_INTERVAL:
		options->interval_ms = parse_number(state, "interval-ms", arg, 0, 3600000);
		return 0;
	case OPTION_PREFIX:
		options->prefix = parse_prefix(state, arg);
		return 0;
	case OPTION_CONNECT_TIMEOUT:
		options->connect_timeout_ms =
		    1000 * parse_number(state, "connect-timeout", arg, 1, 3600);
		return 0;
	case OPTION_REQUEST_TIMEOUT:
		options->request_timeout_ms =
		    1000 * parse_number(state, "request-timeout", arg, 1, 3600);
		return 0;
	case OPTION_JSON:
		options->json = true;
		return 0;
	case ARGP_KEY_END:
		options_check(state, options);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	const struct argp argp = {
	    .options = argp_table,
	    .parser = parse_option,
	    .doc = "Write to a guest's kv or redis service and record what it acknowledged, or "
		   "verify such a record.\vExit status: 0 all well, 1 writes are lost, 2 the load "
		   "or the check could not be done, 64 wrong usage.",
	};
	struct options options = {
	    .protocol = &protocols[0],
	    .connections = 1,
	    .connect_timeout_ms = 5000,
	    .request_timeout_ms = 60000,
	};

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return options.verify ? verify_main(&options) : load_main(&options);
}
