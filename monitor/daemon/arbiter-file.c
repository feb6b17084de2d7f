/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * file:DIR - one small file a generation in a directory both hosts share.
 *
 *   VM.gen-N   whoever made it won generation N; its first line says who
 *   VM.end-N   the guest of generation N ended in an orderly way
 *
 * Why this is a test-and-set over NFS too: the record is written under a name of our own,
 * made durable, and then linked to its place. link(2) is one operation on the server and
 * fails if the name exists. What link() answers is not believed, though: a request whose
 * reply was lost is sent again and then finds the name taken, by itself (open(2), O_EXCL).
 * So the answer is read from the record: the side whose token stands in it has won. The
 * record never changes after that, so close-to-open caching cannot show it half.
 *
 * A claim is lost if a later generation has a record, looked for before the link and behind
 * it: then whoever made that one was there first, or at the same time and will win. Both
 * looks follow a change of our own to the directory, whose reply tells an NFS client of
 * everybody else's (RFC 1813, weak cache consistency data), so that it lists it anew.
 */
#define _GNU_SOURCE
#include "arbiter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/exit-codes.h"

struct vmft_arbiter {
	char dir[4096];
	char vm[128];
};

/* Big enough for every path below; a directory too long for it is refused by open(). */
struct path {
	char text[4096 + 256];
};

static struct path path_of(const struct vmft_arbiter *a, const char *what, uint64_t generation)
{
	struct path p;

	(void)snprintf(p.text, sizeof(p.text), "%s/%s.%s-%llu", a->dir, a->vm, what,
		       (unsigned long long)generation);
	return p;
}

/* A name nobody else uses: the owner's token is in it. */
static struct path path_own(const struct vmft_arbiter *a, uint64_t generation, const char *owner)
{
	struct path p;

	(void)snprintf(p.text, sizeof(p.text), "%s/.%s.claim-%llu.%.32s", a->dir, a->vm,
		       (unsigned long long)generation, owner);
	return p;
}

static int directory_sync(const struct vmft_arbiter *a)
{
	int fd = open(a->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0 && errno != EINVAL)
		rc = -errno;
	close(fd);
	return rc;
}

static int write_durably(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	size_t n = strlen(text);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, n) != (ssize_t)n)
		rc = errno ? -errno : -EIO;
	else if (fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

/* The first line of a record, without its newline. */
static int read_owner(const char *path, char *owner, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, owner, size - 1);
	close(fd);
	if (n <= 0)
		return n < 0 ? -EIO : -EBADMSG;
	owner[n] = '\0';
	owner[strcspn(owner, "\n")] = '\0';
	return 0;
}

static int file_open(const struct vmft_arbiter_settings *settings, struct vmft_arbiter **ret,
		     struct vmft_error *err)
{
	const char *where = settings->where, *vm = settings->vm;
	struct vmft_arbiter *a = calloc(1, sizeof(*a));
	struct path probe;
	int rc;

	if (!a)
		return -ENOMEM;
	(void)snprintf(a->dir, sizeof(a->dir), "%s", where);
	(void)snprintf(a->vm, sizeof(a->vm), "%s", vm);
	(void)snprintf(probe.text, sizeof(probe.text), "%s/.%s.probe-%ld", a->dir, vm,
		       (long)getpid());
	rc = write_durably(probe.text, "probe\n");
	if (rc == 0 && unlink(probe.text) < 0)
		rc = -errno;
	if (rc < 0) {
		free(a);
		return vmft_error_set(err, rc, VMFT_EXIT_ARBITER,
				      "arbiter file:%s: cannot write there: %s; it must be a "
				      "directory both hosts share and may write to",
				      where, strerror(-rc));
	}
	*ret = a;
	return 0;
}

static void file_close(struct vmft_arbiter *a)
{
	free(a);
}

static uint64_t generation_in(const struct vmft_arbiter *a, const char *name)
{
	const size_t n = strlen(a->vm);
	unsigned long long generation;
	char *end;

	if (strncmp(name, a->vm, n) != 0 || strncmp(name + n, ".gen-", 5) != 0)
		return 0;
	errno = 0;
	generation = strtoull(name + n + 5, &end, 10);
	return errno == 0 && *end == '\0' ? generation : 0;
}

/* 0 if there is none. */
static int latest_generation(const struct vmft_arbiter *a, uint64_t *ret)
{
	DIR *dir = opendir(a->dir);
	struct dirent *entry;
	uint64_t latest = 0;
	int rc;

	if (!dir)
		return -errno;
	/* An end of the listing and an error look the same but for errno. */
	while (errno = 0, (entry = readdir(dir))) {
		uint64_t generation = generation_in(a, entry->d_name);

		if (generation > latest)
			latest = generation;
	}
	rc = -errno;
	closedir(dir);
	if (rc == 0)
		*ret = latest;
	return rc;
}

static int file_latest(struct vmft_arbiter *a, struct vmft_arbiter_latest *ret,
		       struct vmft_error *err)
{
	struct vmft_arbiter_latest latest = {0};
	struct path path;
	int rc = latest_generation(a, &latest.generation);

	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_ARBITER, "arbiter file:%s: %s", a->dir,
				      strerror(-rc));
	if (latest.generation > 0) {
		path = path_of(a, "gen", latest.generation);
		if (read_owner(path.text, latest.owner, sizeof(latest.owner)) < 0)
			(void)snprintf(latest.owner, sizeof(latest.owner), "an unreadable record");
		(void)snprintf(latest.record, sizeof(latest.record), "%.500s", path.text);
		path = path_of(a, "end", latest.generation);
		latest.ended = access(path.text, F_OK) == 0;
	}
	*ret = latest;
	return 0;
}

static enum vmft_claim unreachable(const struct vmft_arbiter *a, int rc, struct vmft_error *err)
{
	(void)vmft_error_set(err, rc, VMFT_EXIT_ARBITER, "arbiter file:%s: %s", a->dir,
			     strerror(-rc));
	return VMFT_CLAIM_UNREACHABLE;
}

/* Puts the record there, unless somebody else's or a later one is. */
static int make_record(const struct vmft_arbiter *a, uint64_t generation, const char *owner)
{
	const struct path record = path_of(a, "gen", generation);
	const struct path own = path_own(a, generation, owner);
	char text[VMFT_ARBITER_OWNER_MAX + 2];
	uint64_t latest;
	int rc;

	(void)snprintf(text, sizeof(text), "%s\n", owner);
	rc = write_durably(own.text, text);
	if (rc < 0)
		return rc;
	rc = latest_generation(a, &latest);
	if (rc == 0 && latest <= generation && link(own.text, record.text) < 0 && errno != EEXIST)
		rc = -errno;
	(void)unlink(own.text);
	return rc;
}

static enum vmft_claim file_claim(struct vmft_arbiter *a, uint64_t generation, const char *owner,
				  struct vmft_error *err)
{
	const struct path record = path_of(a, "gen", generation);
	char winner[VMFT_ARBITER_OWNER_MAX];
	uint64_t latest = 0;
	int rc = make_record(a, generation, owner);

	/* Before anyone acts on it: a record lost with the server's power would let the
	 * other side win the same generation. */
	if (rc == 0)
		rc = directory_sync(a);
	if (rc == 0)
		rc = latest_generation(a, &latest);
	if (rc == 0 && latest > generation)
		return VMFT_CLAIM_LOST;
	if (rc == 0)
		rc = read_owner(record.text, winner, sizeof(winner));
	if (rc < 0)
		return unreachable(a, rc, err);
	return strcmp(winner, owner) == 0 ? VMFT_CLAIM_WON : VMFT_CLAIM_LOST;
}

static int file_end(struct vmft_arbiter *a, uint64_t generation)
{
	const struct path path = path_of(a, "end", generation);

	return write_durably(path.text, "ended\n");
}

const struct vmft_arbiter_ops vmft_arbiter_file = {
    .scheme = "file:",
    .open = file_open,
    .close = file_close,
    .latest = file_latest,
    .claim = file_claim,
    .end = file_end,
};
