/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * file:DIR - one small file a generation in a directory both hosts share.
 *
 *   VM.gen-N      whoever made it won generation N; its first line says who
 *   VM.end-N      generation N is over: its guest ended, or a person declared it dead
 *   VM.mark-HOST  left by the side on that host, for the other to find
 *
 * Why this is a test-and-set over NFS too: the record is written under a name of our own,
 * made durable, and then linked to its place. link(2) is one operation on the server and
 * fails if the name exists. What link() answers is not believed, though: a request whose
 * reply was lost is sent again and then finds the name taken, by itself (open(2), O_EXCL).
 * So the answer is read from the record: the side whose token stands in it has won. The
 * record never changes after that, so close-to-open caching cannot show it half.
 *
 * A claim is lost if a later generation has a record, looked for before the link and after
 * it: then whoever made that one was there first, or at the same time and will win. Both
 * looks follow a change of our own to the directory, whose reply tells an NFS client of
 * everybody else's (RFC 1813, weak cache consistency data), so that it lists it anew.
 *
 * The record of the generation before is read before the link and after it. Records are never
 * removed, so one that is found after the link was there when the link was made.
 *
 * The directory is held open from the start, and everything is done relative to that
 * descriptor. Before each call the path must still lead to the same directory: when the share
 * is unmounted the path leads to the empty directory below it, and a share that is detached
 * (umount -l) must not be written to as if nothing had happened. No symbolic link is followed
 * inside the directory, and nothing that is there is ever truncated.
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

#include "monitor/common/exit-codes.h"

struct vmft_arbiter {
	char dir[4096];
	char vm[128];
	int fd; /* of the directory, from the start on */
};

/* A file's name in the directory: the VM's name is 64 bytes at most, a host's 27, a token 32. */
struct name {
	char text[256];
};

static struct name name_of(const struct vmft_arbiter *a, const char *what, uint64_t generation)
{
	struct name n;

	(void)snprintf(n.text, sizeof(n.text), "%s.%s-%llu", a->vm, what,
		       (unsigned long long)generation);
	return n;
}

static struct name name_of_mark(const struct vmft_arbiter *a, const char *host)
{
	struct name n;

	(void)snprintf(n.text, sizeof(n.text), "%s.mark-%.27s", a->vm, host);
	return n;
}

/* A name nobody else uses: what is unique to this process is in it. */
static struct name name_own(const struct vmft_arbiter *a, const char *what, const char *owner)
{
	struct name n;

	(void)snprintf(n.text, sizeof(n.text), ".%s.%s-%.32s.%ld", a->vm, what, owner,
		       (long)getpid());
	for (char *p = n.text; *p; p++)
		if (*p == '/')
			*p = '_';
	return n;
}

static int sync_directory(const struct vmft_arbiter *a)
{
	if (fsync(a->fd) < 0 && errno != EINVAL)
		return -errno;
	return 0;
}

/* Makes a new file. One of that name is left over from an earlier try of this process. */
static int write_durably(const struct vmft_arbiter *a, const char *name, const char *text)
{
	const size_t n = strlen(text);
	int rc = 0, fd;

	if (unlinkat(a->fd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(a->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	errno = 0;
	if (write(fd, text, n) != (ssize_t)n)
		rc = errno ? -errno : -EIO;
	else if (fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

/* The first line of a record, without its newline. -ENOENT: there is none. */
static int read_line(const struct vmft_arbiter *a, const char *name,
		     char ret[static VMFT_ARBITER_OWNER_MAX])
{
	int fd = openat(a->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char line[VMFT_ARBITER_OWNER_MAX];
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read(fd, line, sizeof(line) - 1) : 0;
	close(fd);
	if (n <= 0)
		return n < 0 ? -EIO : -EBADMSG;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	memcpy(ret, line, sizeof(line));
	return 0;
}

/* 1: there is such a file, 0: there is none, or a negative errno. */
static int is_there(const struct vmft_arbiter *a, const char *name)
{
	struct stat st;

	if (fstatat(a->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

static int say(const struct vmft_arbiter *a, int rc, struct vmft_error *err)
{
	return vmft_error_set(err, rc, VMFT_EXIT_ARBITER, "arbiter file:%s: %s", a->dir,
			      strerror(-rc));
}

/* The path still leads to the directory that was opened at the start. */
static int check_place(const struct vmft_arbiter *a, struct vmft_error *err)
{
	struct stat path, held;

	if (stat(a->dir, &path) < 0 || fstat(a->fd, &held) < 0)
		return say(a, -errno, err);
	if (path.st_dev == held.st_dev && path.st_ino == held.st_ino)
		return 0;
	return vmft_error_set(err, -ESTALE, VMFT_EXIT_ARBITER,
			      "arbiter file:%s: this is another directory than the one that was "
			      "there at the start: something was mounted or unmounted there; mount "
			      "the share again",
			      a->dir);
}

/* --- opening -------------------------------------------------------------- */

static int probe(const struct vmft_arbiter *a)
{
	const struct name name = name_own(a, "probe", "");
	int rc = write_durably(a, name.text, "probe\n");

	if (rc == 0 && unlinkat(a->fd, name.text, 0) < 0)
		rc = -errno;
	return rc;
}

static void file_close(struct vmft_arbiter *a)
{
	if (!a)
		return;
	if (a->fd >= 0)
		close(a->fd);
	free(a);
}

static int file_open(const struct vmft_arbiter_settings *settings, struct vmft_arbiter **ret,
		     struct vmft_error *err)
{
	struct vmft_arbiter *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return -ENOMEM;
	(void)snprintf(a->dir, sizeof(a->dir), "%s", settings->where);
	(void)snprintf(a->vm, sizeof(a->vm), "%s", settings->vm);
	a->fd = open(a->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = a->fd < 0 ? -errno : probe(a);
	if (rc < 0) {
		file_close(a);
		return vmft_error_set(err, rc, VMFT_EXIT_ARBITER,
				      "arbiter file:%s: cannot write there: %s; it must be a "
				      "directory both hosts share and may write to",
				      settings->where, strerror(-rc));
	}
	*ret = a;
	return 0;
}

/* --- the latest generation ------------------------------------------------ */

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

static DIR *open_listing(const struct vmft_arbiter *a)
{
	/* Not dup(): the two would share one read position. */
	int fd = openat(a->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

/* 0 if there is none. */
static int latest_generation(const struct vmft_arbiter *a, uint64_t *ret)
{
	DIR *dir = open_listing(a);
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
	char how[VMFT_ARBITER_OWNER_MAX];
	struct name name;
	int rc = check_place(a, err);

	if (rc < 0)
		return rc;
	rc = latest_generation(a, &latest.generation);
	if (rc < 0)
		return say(a, rc, err);
	if (latest.generation > 0) {
		name = name_of(a, "gen", latest.generation);
		if (read_line(a, name.text, latest.owner) < 0)
			(void)snprintf(latest.owner, sizeof(latest.owner), "an unreadable record");
		(void)snprintf(latest.record, sizeof(latest.record), "%.250s/%.240s", a->dir,
			       name.text);
		name = name_of(a, "end", latest.generation);
		rc = is_there(a, name.text);
		if (rc < 0)
			return say(a, rc, err);
		latest.ended = rc > 0;
		latest.declared = latest.ended && read_line(a, name.text, how) == 0 &&
				  strcmp(how, VMFT_END_TEXT_DECLARED) == 0;
	}
	*ret = latest;
	return 0;
}

/* --- claiming ------------------------------------------------------------- */

/* 0 if the generation's record names owner. */
static int check_record(const struct vmft_arbiter *a, uint64_t generation, const char *owner,
			struct vmft_error *err)
{
	const struct name name = name_of(a, "gen", generation);
	char found[VMFT_ARBITER_OWNER_MAX] = "nobody";
	int rc = read_line(a, name.text, found);

	if (rc < 0 && rc != -ENOENT)
		return say(a, rc, err);
	if (rc == 0 && strcmp(found, owner) == 0)
		return 0;
	return vmft_error_set(err, -ESTALE, VMFT_EXIT_ARBITER,
			      "arbiter file:%s: generation %llu belongs to \"%.60s\" there, to "
			      "\"%.60s\" for this side: this is not the directory this VM was "
			      "started with; mount the share again, or see vmft declare-dead",
			      a->dir, (unsigned long long)generation, found, owner);
}

/* A VM that was never started has no record before its first. */
static int check_before(const struct vmft_arbiter *a, const struct vmft_arbiter_claim *claim,
			struct vmft_error *err)
{
	return claim->after[0] == '\0' ? 0
				       : check_record(a, claim->generation - 1, claim->after, err);
}

/* Whether the generation before has come to the end that the claim needs. 1, 0 or -errno. */
static int end_fits(const struct vmft_arbiter *a, const struct vmft_arbiter_claim *claim)
{
	const struct name name = name_of(a, "end", claim->generation - 1);
	int rc;

	if (claim->after[0] == '\0')
		return claim->generation == 1;
	rc = is_there(a, name.text);
	return rc < 0 ? rc : (rc > 0) == claim->starts;
}

/* Puts a file of this text in its place, unless something is there. */
static int put_once(const struct vmft_arbiter *a, const char *name, const char *own,
		    const char *line)
{
	char text[VMFT_ARBITER_OWNER_MAX + 2];
	int rc;

	(void)snprintf(text, sizeof(text), "%s\n", line);
	rc = write_durably(a, own, text);
	if (rc < 0)
		return rc;
	if (linkat(a->fd, own, a->fd, name, 0) < 0 && errno != EEXIST)
		rc = -errno;
	(void)unlinkat(a->fd, own, 0);
	return rc;
}

/* Puts the record there, unless somebody else's or a later one is, or the end does not fit. */
static int make_record(const struct vmft_arbiter *a, const struct vmft_arbiter_claim *claim)
{
	const struct name record = name_of(a, "gen", claim->generation);
	const struct name own = name_own(a, "claim", claim->owner);
	uint64_t latest;
	int rc = latest_generation(a, &latest);

	if (rc < 0 || latest >= claim->generation)
		return rc;
	rc = end_fits(a, claim);
	return rc <= 0 ? rc : put_once(a, record.text, own.text, claim->owner);
}

/* The record that stands there says who has won. */
static enum vmft_claim read_answer(const struct vmft_arbiter *a,
				   const struct vmft_arbiter_claim *claim, struct vmft_error *err)
{
	const struct name record = name_of(a, "gen", claim->generation);
	char winner[VMFT_ARBITER_OWNER_MAX];
	uint64_t latest;
	int rc = latest_generation(a, &latest);

	if (rc == 0 && latest > claim->generation)
		return VMFT_CLAIM_LOST;
	if (rc == 0)
		rc = read_line(a, record.text, winner);
	/* No record was made, since the end of the one before does not fit. */
	if (rc == -ENOENT)
		return VMFT_CLAIM_LOST;
	if (rc < 0) {
		(void)say(a, rc, err);
		return VMFT_CLAIM_UNREACHABLE;
	}
	return strcmp(winner, claim->owner) == 0 ? VMFT_CLAIM_WON : VMFT_CLAIM_LOST;
}

static enum vmft_claim file_claim(struct vmft_arbiter *a, const struct vmft_arbiter_claim *claim,
				  struct vmft_error *err)
{
	enum vmft_claim answer;
	int rc = check_place(a, err);

	if (rc == 0)
		rc = check_before(a, claim, err);
	if (rc < 0)
		return VMFT_CLAIM_UNREACHABLE;
	rc = make_record(a, claim);
	/* Before anyone acts on it: a record lost with the server's power would let the
	 * other side win the same generation. */
	if (rc == 0)
		rc = sync_directory(a);
	if (rc < 0) {
		(void)say(a, rc, err);
		return VMFT_CLAIM_UNREACHABLE;
	}
	answer = read_answer(a, claim, err);
	/* Emptied meanwhile, the directory has ceased to be the arbiter of this VM. */
	return check_before(a, claim, err) < 0 ? VMFT_CLAIM_UNREACHABLE : answer;
}

static int file_end(struct vmft_arbiter *a, uint64_t generation, const char *owner,
		    enum vmft_arbiter_end how, struct vmft_error *err)
{
	const struct name name = name_of(a, "end", generation);
	const struct name own = name_own(a, "end", owner);
	int rc = check_place(a, err);

	if (rc == 0)
		rc = check_record(a, generation, owner, err);
	if (rc < 0)
		return rc;
	rc = put_once(a, name.text, own.text,
		      how == VMFT_END_DECLARED ? VMFT_END_TEXT_DECLARED : VMFT_END_TEXT_ORDERLY);
	if (rc == 0)
		rc = sync_directory(a);
	return rc < 0 ? say(a, rc, err) : 0;
}

/* --- marks ---------------------------------------------------------------- */

static int file_mark(struct vmft_arbiter *a, const char *host, const char *text,
		     struct vmft_error *err)
{
	const struct name name = name_of_mark(a, host);
	const struct name own = name_own(a, "mark", text);
	char line[VMFT_ARBITER_OWNER_MAX + 2];
	int rc = check_place(a, err);

	if (rc < 0)
		return rc;
	(void)snprintf(line, sizeof(line), "%s\n", text);
	rc = write_durably(a, own.text, line);
	if (rc == 0 && renameat(a->fd, own.text, a->fd, name.text) < 0)
		rc = -errno;
	return rc < 0 ? say(a, rc, err) : 0;
}

static int file_look(struct vmft_arbiter *a, const char *host,
		     char ret[static VMFT_ARBITER_OWNER_MAX], struct vmft_error *err)
{
	const struct name name = name_of_mark(a, host);
	int rc = check_place(a, err);
	uint64_t latest;

	/* The listing makes an NFS client look at the directory anew. */
	if (rc == 0)
		rc = latest_generation(a, &latest);
	if (rc < 0)
		return rc == -ESTALE ? rc : say(a, rc, err);
	rc = read_line(a, name.text, ret);
	if (rc == -ENOENT)
		ret[0] = '\0';
	return rc == -ENOENT ? 0 : rc < 0 ? say(a, rc, err) : 0;
}

const struct vmft_arbiter_ops vmft_arbiter_file = {
    .scheme = "file:",
    .open = file_open,
    .close = file_close,
    .latest = file_latest,
    .claim = file_claim,
    .end = file_end,
    .mark = file_mark,
    .look = file_look,
};
