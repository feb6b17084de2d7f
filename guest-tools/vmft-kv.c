/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-kv: the key-value service of the tiny guest.
 *
 * A write is answered OK only after it is on disk, so whatever a client was told
 * is done can be asked for again after a crash or a failover.
 *
 * Each round of the loop reads and executes requests of all clients, then commits
 * the log once, and only then sends replies. Replies wait in the output buffers
 * meanwhile: that order alone makes every OK (and every value shown to another
 * client) follow its fsync, and lets many SETs share one.
 *
 * This file has more than 600 lines because it is one program: the store and its loop depend on
 * the order above, and it is built from this file alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define KV_PORT	     7777
#define KV_KEY_MAX   128
#define KV_VALUE_MAX 1024
/* "CAS " key " " old " " new */
#define KV_LINE_MAX  (4 + KV_KEY_MAX + 1 + KV_VALUE_MAX + 1 + KV_VALUE_MAX)
#define KV_REPLY_MAX (4 + KV_KEY_MAX + 1 + KV_VALUE_MAX + 1)
#define KV_IN_BYTES  4096
#define KV_OUT_BYTES 16384
#define KV_LOG_BYTES 65536
#define KV_CLIENTS   128
#define KV_DISCARD   (1 << 20) /* of a refused client, before it is cut off */

_Static_assert(KV_IN_BYTES > KV_LINE_MAX + 2, "a whole line and its end must fit");

struct kv_entry {
	char *value;
	char key[];
};

/* Entries stay in order of first SET, so a LIST in progress is just an index. */
struct kv_store {
	int fd;
	struct kv_entry **entries;
	size_t count;
	size_t room;
	size_t *slots; /* index into entries + 1, 0 is free */
	size_t slot_count;
	bool unsynced;	/* something was executed since the last fsync */
	size_t log_len; /* of log: lines executed but not yet written */
	char log[KV_LOG_BYTES];
};

enum kv_client_state {
	KV_CLIENT_FREE,	   /* slot not in use */
	KV_CLIENT_OPEN,	   /* requests are read and executed */
	KV_CLIENT_EOF,	   /* peer sends no more; what it sent is still answered */
	KV_CLIENT_REFUSED, /* ERR is being sent, then our side is shut */
	KV_CLIENT_DRAIN,   /* our side is shut; input thrown away until the peer closes */
};

struct kv_client {
	enum kv_client_state state;
	int fd;
	bool listing;
	bool stalled;	   /* stopped for want of room in out */
	bool set_in_round; /* holds an OK that is not committed yet */
	size_t list_next;
	size_t discarded;
	size_t in_len;
	size_t out_len;
	size_t out_committed; /* out_len when the round began */
	char in[KV_IN_BYTES];
	char out[KV_OUT_BYTES];
};

struct kv_server {
	int listen_fd;
	struct kv_store store;
	struct kv_client clients[KV_CLIENTS];
	struct pollfd polls[KV_CLIENTS + 1]; /* the listener is last */
};

/* ---- store ---- */

static size_t key_hash(const char *key)
{
	uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-1a */

	for (; *key; key++)
		hash = (hash ^ (unsigned char)*key) * 0x100000001b3ULL;
	return (size_t)(hash ^ (hash >> 32));
}

/* The slot that holds key, or the free one where it belongs. */
static size_t *store_slot(const struct kv_store *store, const char *key)
{
	size_t mask = store->slot_count - 1;
	size_t at = key_hash(key) & mask;

	while (store->slots[at] && strcmp(store->entries[store->slots[at] - 1]->key, key) != 0)
		at = (at + 1) & mask;
	return &store->slots[at];
}

static const struct kv_entry *store_get(const struct kv_store *store, const char *key)
{
	size_t slot = store->slot_count ? *store_slot(store, key) : 0;

	return slot ? store->entries[slot - 1] : NULL;
}

/* Keeps the table at most half full after one more entry. */
static int store_reserve(struct kv_store *store)
{
	size_t room = store->room ? store->room * 2 : 1024;
	struct kv_entry **entries;
	size_t *slots;

	if (store->count < store->room)
		return 0;
	slots = calloc(room * 2, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	entries = reallocarray(store->entries, room, sizeof(*entries));
	if (!entries) {
		free(slots);
		return -ENOMEM;
	}
	free(store->slots);
	store->entries = entries;
	store->room = room;
	store->slots = slots;
	store->slot_count = room * 2;
	for (size_t i = 0; i < store->count; i++)
		*store_slot(store, entries[i]->key) = i + 1;
	return 0;
}

static int store_insert(struct kv_store *store, const char *key, char *value)
{
	size_t size = strlen(key) + 1;
	struct kv_entry *entry = malloc(sizeof(*entry) + size);

	if (!entry)
		return -ENOMEM;
	memcpy(entry->key, key, size);
	entry->value = value;
	store->entries[store->count++] = entry;
	*store_slot(store, key) = store->count;
	return 0;
}

/* In memory only; a failure leaves the store as it was. */
static int store_put(struct kv_store *store, const char *key, const char *value)
{
	char *copy = strdup(value);
	size_t slot;
	int ret;

	if (!copy)
		return -ENOMEM;
	ret = store_reserve(store);
	if (ret < 0)
		goto free_copy;
	slot = *store_slot(store, key);
	if (slot) {
		free(store->entries[slot - 1]->value);
		store->entries[slot - 1]->value = copy;
		return 0;
	}
	ret = store_insert(store, key, copy);
	if (ret < 0)
		goto free_copy;
	return 0;

free_copy:
	free(copy);
	return ret;
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static int store_write(struct kv_store *store)
{
	int ret = write_all(store->fd, store->log, store->log_len);

	store->log_len = 0;
	return ret;
}

/* After a failed fsync the kernel may have dropped the pages: no retry, the caller gives up. */
static int store_sync(struct kv_store *store)
{
	int ret = store_write(store);

	if (ret < 0)
		return ret;
	if (fsync(store->fd) < 0)
		return -errno;
	store->unsynced = false;
	return 0;
}

/* Returns -ENOMEM with nothing changed, any other error is of the disk. */
static int store_set(struct kv_store *store, const char *key, const char *value)
{
	size_t need = strlen(key) + 1 + strlen(value) + 1;
	int ret = 0;

	if (sizeof(store->log) - store->log_len <= need)
		ret = store_write(store);
	if (ret < 0)
		return ret;
	ret = store_put(store, key, value);
	if (ret < 0)
		return ret;
	store->log_len +=
	    (size_t)snprintf(store->log + store->log_len, sizeof(store->log) - store->log_len,
			     "%s %s\n", key, value);
	store->unsynced = true;
	return 0;
}

/* ---- text ---- */

static bool key_valid(const char *key)
{
	size_t len = strlen(key);

	for (size_t i = 0; i < len; i++)
		if (key[i] < '!' || key[i] > '~')
			return false;
	return len >= 1 && len <= KV_KEY_MAX;
}

static bool value_valid(const char *value)
{
	size_t len = strlen(value);

	for (size_t i = 0; i < len; i++)
		if (value[i] < ' ' || value[i] > '~')
			return false;
	return len >= 1 && len <= KV_VALUE_MAX;
}

/* Cuts line at its first space; the rest, or NULL when there is none. */
static char *text_split(char *line)
{
	char *space = strchr(line, ' ');

	if (space)
		*space++ = '\0';
	return space;
}

/* ---- loading ---- */

static int load_line(struct kv_store *store, char *line, size_t len)
{
	char *value;

	if (memchr(line, '\0', len))
		return -EBADMSG;
	value = text_split(line);
	if (!value || !key_valid(line) || !value_valid(value))
		return -EBADMSG;
	return store_put(store, line, value);
}

/*
 * A crash can only cut the file short inside its last line (ext4 data=ordered), and
 * that line was never answered OK: it is cut off. Damage before that is not from a
 * crash and is refused, as going on would lose acknowledged writes silently.
 */
static int store_load(struct kv_store *store, FILE *file, const char *path)
{
	char *line = NULL;
	size_t size = 0;
	size_t number = 0;
	off_t good = 0;
	ssize_t len;
	int ret = 0;

	while ((len = getline(&line, &size, file)) > 0 && line[len - 1] == '\n') {
		number++;
		line[len - 1] = '\0';
		ret = load_line(store, line, (size_t)len - 1);
		if (ret < 0) {
			fprintf(stderr, "vmft-kv: %s:%zu: %s\n", path, number,
				ret == -EBADMSG ? "damaged line" : strerror(-ret));
			goto free_line;
		}
		good += len;
	}
	if (ferror(file))
		ret = -EIO;
	else if (len > 0 && (ftruncate(store->fd, good) < 0 || fsync(store->fd) < 0))
		ret = -errno;
	if (ret < 0)
		fprintf(stderr, "vmft-kv: %s: %s\n", path, strerror(-ret));
free_line:
	free(line);
	return ret;
}

/* A new file is only found again after a crash once its directory is on disk. */
static int directory_sync(const char *path)
{
	char *copy = strdup(path);
	int ret = 0;
	int fd;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int store_open(struct kv_store *store, const char *path)
{
	FILE *file;
	int ret;

	store->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	ret = store->fd < 0 ? -errno : directory_sync(path);
	file = ret < 0 ? NULL : fopen(path, "re");
	if (!file) {
		ret = ret < 0 ? ret : -errno;
		fprintf(stderr, "vmft-kv: %s: %s\n", path, strerror(-ret));
		return ret;
	}
	ret = store_load(store, file, path);
	fclose(file);
	return ret;
}

/* ---- replies and requests ---- */

__attribute__((format(printf, 2, 3))) static void client_reply(struct kv_client *client,
							       const char *format, ...)
{
	size_t room = sizeof(client->out) - client->out_len;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(client->out + client->out_len, room, format, args);
	va_end(args);
	/* Callers have made sure of KV_REPLY_MAX bytes. */
	if (len > 0 && (size_t)len < room)
		client->out_len += (size_t)len;
}

static bool client_has_room(const struct kv_client *client)
{
	return sizeof(client->out) - client->out_len > KV_REPLY_MAX;
}

static void client_refuse(struct kv_client *client, const char *reason)
{
	client_reply(client, "ERR %s\n", reason);
	client->state = KV_CLIENT_REFUSED;
	client->in_len = 0;
}

static int client_set(struct kv_client *client, struct kv_store *store, const char *key,
		      const char *value)
{
	int ret;

	if (!key_valid(key)) {
		client_reply(client, "ERR key must be 1 to %d bytes of ! to ~\n", KV_KEY_MAX);
		return 0;
	}
	if (!value || !value_valid(value)) {
		client_reply(client, "ERR value must be 1 to %d printable bytes\n", KV_VALUE_MAX);
		return 0;
	}
	ret = store_set(store, key, value);
	if (ret == -ENOMEM) {
		client_reply(client, "ERR out of memory\n");
		return 0;
	}
	/* Also when the disk failed: the round is then answered ERR as a whole. */
	client->set_in_round = true;
	client_reply(client, "OK\n");
	return ret;
}

static void client_get(struct kv_client *client, const struct kv_store *store, const char *key)
{
	const struct kv_entry *entry;

	if (!key_valid(key)) {
		client_reply(client, "ERR key must be 1 to %d bytes of ! to ~\n", KV_KEY_MAX);
		return;
	}
	entry = store_get(store, key);
	if (entry)
		client_reply(client, "VALUE %s\n", entry->value);
	else
		client_reply(client, "NONE\n");
}

/*
 * An empty old stands for a key that is not there: no value is empty. Old ends at the first
 * space, so a value that has one cannot be compared with.
 */
static int client_cas(struct kv_client *client, struct kv_store *store, const char *key, char *rest)
{
	const char *new = rest ? text_split(rest) : NULL;
	const struct kv_entry *entry;

	if (!key_valid(key) || !new || !value_valid(new) || (*rest && !value_valid(rest))) {
		client_reply(client,
			     "ERR use CAS key old new, with two spaces if there is no old\n");
		return 0;
	}
	entry = store_get(store, key);
	if (strcmp(entry ? entry->value : "", rest) == 0)
		return client_set(client, store, key, new);
	/* Like a GET's, this answer waits for the fsync of what it shows. */
	if (entry)
		client_reply(client, "CONFLICT %s\n", entry->value);
	else
		client_reply(client, "NONE\n");
	return 0;
}

static int client_execute(struct kv_client *client, struct kv_store *store, char *line)
{
	char *rest = text_split(line);

	if (strcmp(line, "SET") == 0 && rest) {
		char *value = text_split(rest);

		return client_set(client, store, rest, value);
	}
	if (strcmp(line, "CAS") == 0 && rest) {
		char *old = text_split(rest);

		return client_cas(client, store, rest, old);
	}
	if (strcmp(line, "GET") == 0 && rest) {
		client_get(client, store, rest);
	} else if (strcmp(line, "LIST") == 0 && !rest) {
		client->listing = true;
		client->list_next = 0;
	} else {
		client_reply(client, "ERR use SET key value, GET key, CAS key old new or LIST\n");
	}
	return 0;
}

static void client_list(struct kv_client *client, const struct kv_store *store)
{
	while (client->list_next < store->count && client_has_room(client)) {
		const struct kv_entry *entry = store->entries[client->list_next++];

		client_reply(client, "KEY %s %s\n", entry->key, entry->value);
	}
	if (client->list_next < store->count || !client_has_room(client))
		return;
	client_reply(client, "END\n");
	client->listing = false;
}

/* Takes one line out of in. Returns 0 when there is none, 1 when there was, or an error. */
static int client_next_line(struct kv_client *client, struct kv_store *store)
{
	char *end = memchr(client->in, '\n', client->in_len);
	size_t len = end ? (size_t)(end - client->in) : client->in_len;
	int ret = 0;

	if (len > KV_LINE_MAX + 1) {
		client_refuse(client, "line too long");
		return 0;
	}
	if (!end)
		return 0;
	*end = '\0';
	if (memchr(client->in, '\0', len)) {
		client_reply(client, "ERR zero byte in line\n");
	} else {
		if (len > 0 && end[-1] == '\r')
			end[-1] = '\0';
		ret = client_execute(client, store, client->in);
	}
	client->in_len -= len + 1;
	memmove(client->in, end + 1, client->in_len);
	return ret < 0 ? ret : 1;
}

static int client_serve(struct kv_client *client, struct kv_store *store)
{
	int ret = 1;

	client->stalled = false;
	while (ret > 0) {
		if (client->listing)
			client_list(client, store);
		client->stalled = client->listing || !client_has_room(client);
		if (client->stalled)
			return 0;
		ret = client_next_line(client, store);
	}
	return ret;
}

/* ---- sockets ---- */

static void client_close(struct kv_client *client)
{
	close(client->fd);
	client->state = KV_CLIENT_FREE;
}

static bool errno_is_retry(void)
{
	return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK;
}

static void client_read(struct kv_client *client)
{
	size_t room = sizeof(client->in) - client->in_len;
	ssize_t n = recv(client->fd, client->in + client->in_len, room, 0);

	if (n < 0 && errno_is_retry())
		return;
	if (n < 0)
		client_close(client);
	else if (n == 0)
		client->state = KV_CLIENT_EOF;
	else
		client->in_len += (size_t)n;
}

/* Closing with unread input would send a reset that can overtake the ERR. */
static void client_drain(struct kv_client *client)
{
	ssize_t n = recv(client->fd, client->in, sizeof(client->in), 0);

	if (n < 0 && errno_is_retry())
		return;
	if (n > 0)
		client->discarded += (size_t)n;
	if (n <= 0 || client->discarded > KV_DISCARD)
		client_close(client);
}

static void client_flush(struct kv_client *client)
{
	ssize_t n = 0;

	if (client->out_len > 0)
		n = send(client->fd, client->out, client->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno_is_retry())
		return;
	if (n < 0) {
		client_close(client);
		return;
	}
	client->out_len -= (size_t)n;
	memmove(client->out, client->out + n, client->out_len);
	if (client->out_len > 0)
		return;
	if (client->state == KV_CLIENT_EOF && !client->stalled) {
		client_close(client);
	} else if (client->state == KV_CLIENT_REFUSED) {
		shutdown(client->fd, SHUT_WR);
		client->state = KV_CLIENT_DRAIN;
	}
}

static short client_events(const struct kv_client *client)
{
	short events = client->out_len > 0 ? POLLOUT : 0;

	if (client->state == KV_CLIENT_DRAIN ||
	    (client->state == KV_CLIENT_OPEN && client->in_len < sizeof(client->in)))
		events |= POLLIN;
	return events;
}

static void client_handle(struct kv_client *client, short revents)
{
	if (client->state == KV_CLIENT_OPEN && (revents & POLLIN))
		client_read(client);
	else if (client->state == KV_CLIENT_DRAIN && (revents & POLLIN))
		client_drain(client);
	else if (revents & (POLLERR | POLLHUP | POLLNVAL))
		client_close(client);
}

/* ---- server ---- */

static struct kv_client *server_free_client(struct kv_server *server)
{
	for (size_t i = 0; i < KV_CLIENTS; i++)
		if (server->clients[i].state == KV_CLIENT_FREE)
			return &server->clients[i];
	return NULL;
}

static void server_accept(struct kv_server *server)
{
	static const char full[] = "ERR too many clients\n";
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct kv_client *client;
	int on = 1;

	if (fd < 0)
		return; /* the peer has gone again, or no descriptor is free: it is asked again */
	client = server_free_client(server);
	if (!client) {
		(void)send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL);
		close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* A client whose host died must not hold its slot for ever. */
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	memset(client, 0, sizeof(*client));
	client->fd = fd;
	client->state = KV_CLIENT_OPEN;
}

static int server_poll(struct kv_server *server)
{
	int timeout = -1;

	for (size_t i = 0; i < KV_CLIENTS; i++) {
		struct kv_client *client = &server->clients[i];
		bool used = client->state != KV_CLIENT_FREE;

		server->polls[i].fd = used ? client->fd : -1;
		server->polls[i].events = used ? client_events(client) : 0;
		/* Whole lines may wait in the buffer: the socket would not wake us for them. */
		if (used && client->stalled && client_has_room(client))
			timeout = 0;
	}
	server->polls[KV_CLIENTS].fd = server->listen_fd;
	server->polls[KV_CLIENTS].events = POLLIN;
	if (poll(server->polls, KV_CLIENTS + 1, timeout) < 0)
		return errno == EINTR ? 0 : -errno;
	return 1;
}

static int server_execute(struct kv_server *server)
{
	int ret = 0;

	for (size_t i = 0; i < KV_CLIENTS && ret == 0; i++) {
		struct kv_client *client = &server->clients[i];

		client->out_committed = client->out_len;
		client->set_in_round = false;
		if (server->polls[i].fd >= 0)
			client_handle(client, server->polls[i].revents);
		if (client->state == KV_CLIENT_OPEN || client->state == KV_CLIENT_EOF)
			ret = client_serve(client, &server->store);
	}
	return ret;
}

/* No reply of this round has been sent yet, so an OK can still be taken back. */
static void server_fail(struct kv_server *server, int error)
{
	for (size_t i = 0; i < KV_CLIENTS; i++) {
		struct kv_client *client = &server->clients[i];

		if (client->state == KV_CLIENT_FREE || !client->set_in_round)
			continue;
		client->out_len = client->out_committed;
		client_reply(client, "ERR not written to disk: %s\n", strerror(-error));
		client_flush(client);
	}
	fprintf(stderr, "vmft-kv: writing the log: %s\n", strerror(-error));
}

static int server_round(struct kv_server *server)
{
	int ret = server_execute(server);

	if (ret == 0 && server->store.unsynced)
		ret = store_sync(&server->store);
	if (ret < 0) {
		server_fail(server, ret);
		return ret;
	}
	for (size_t i = 0; i < KV_CLIENTS; i++)
		if (server->clients[i].state != KV_CLIENT_FREE)
			client_flush(&server->clients[i]);
	if (server->polls[KV_CLIENTS].revents)
		server_accept(server);
	return 0;
}

static int server_listen(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;
	int ret;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

static int parse_port(const char *text, uint16_t *ret_port)
{
	char *end;
	long port = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || port < 1 || port > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

int main(int argc, char **argv)
{
	uint16_t port = KV_PORT;
	struct kv_server *server;
	int ret;

	if (argc < 2 || argc > 3 || (argc == 3 && parse_port(argv[2], &port) < 0)) {
		fprintf(stderr, "usage: vmft-kv FILE [PORT]\n");
		return 2;
	}
	server = calloc(1, sizeof(*server));
	if (!server) {
		fprintf(stderr, "vmft-kv: out of memory\n");
		return 1;
	}
	/* The port comes first: it keeps a second instance from touching the file. */
	server->listen_fd = server_listen(port);
	if (server->listen_fd < 0) {
		fprintf(stderr, "vmft-kv: port %u: %s\n", port, strerror(-server->listen_fd));
		return 1;
	}
	if (store_open(&server->store, argv[1]) < 0)
		return 1;
	do {
		ret = server_poll(server);
		if (ret > 0)
			ret = server_round(server);
	} while (ret >= 0);
	return 1;
}
