/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "savedlog.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "read-whole.h"
#include "wire.h"

#define MAGIC	     UINT64_C(0x564d46544c4f470a) /* "VMFTLOG\n": no text file begins so */
#define HEADER_FIXED 24u

/* --- the header ------------------------------------------------------------ */

static uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t n)
{
	if (n > 0)
		memcpy(p, bytes, n);
	return p + n;
}

static uint8_t *put_digest(uint8_t *p, const uint8_t *digest, uint8_t n)
{
	return put_bytes(vmft_wire_put_u8(p, n), digest, n);
}

static uint8_t *put_text(uint8_t *p, const char *text, size_t max)
{
	size_t n = strnlen(text, max);

	return put_bytes(vmft_wire_put_u16(p, (uint16_t)n), text, n);
}

static size_t count_words(const char *cmdline, size_t n)
{
	size_t words = 0;

	for (size_t i = 0; i < n; i++)
		words += cmdline[i] == '\0';
	return words;
}

static bool cmdline_fits(const char *cmdline, size_t n)
{
	return n <= VMFT_SAVEDLOG_CMDLINE_MAX && (n == 0 || cmdline[n - 1] == '\0') &&
	       count_words(cmdline, n) <= VMFT_SAVEDLOG_WORDS_MAX;
}

ssize_t vmft_savedlog_header_encode(const struct vmft_savedlog_header *h, uint8_t *bytes)
{
	uint8_t *p = bytes + HEADER_FIXED;
	size_t length;

	if (!cmdline_fits(h->cmdline, h->cmdline_bytes))
		return -E2BIG;
	p = vmft_wire_put_u8(p, h->kind);
	p = vmft_wire_put_u8(p, (uint8_t)(h->attached | h->disks_by_size << 1));
	p = vmft_wire_put_u64(vmft_wire_put_u64(p, h->generation), h->start);
	p = vmft_wire_put_u32(p, h->id.log_version);
	p = put_digest(p, h->id.build_id, h->id.build_id_bytes);
	p = put_digest(p, h->id.machine, h->id.machine_bytes);
	p = put_digest(p, h->id.disk, h->id.disk_bytes);
	p = put_text(p, h->id.name, VMFT_HELLO_NAME_MAX);
	p = put_text(p, h->directory, VMFT_SAVEDLOG_PATH_MAX);
	p = put_text(p, h->qemu, VMFT_SAVEDLOG_PATH_MAX);
	p = put_bytes(vmft_wire_put_u32(p, h->cmdline_bytes), h->cmdline, h->cmdline_bytes);
	length = (size_t)(p - bytes);
	p = vmft_wire_put_u32(
	    vmft_wire_put_u32(vmft_wire_put_u64(bytes, MAGIC), VMFT_SAVEDLOG_VERSION),
	    (uint32_t)length);
	(void)vmft_wire_put_u64(p, XXH3_64bits(bytes + HEADER_FIXED, length - HEADER_FIXED));
	return (ssize_t)length;
}

static void get_bytes(struct vmft_wire_reader *r, void *bytes, size_t n, size_t max)
{
	if (n > max || n > r->left) {
		r->failed = -EBADMSG;
		r->left = 0;
		return;
	}
	memcpy(bytes, r->at, n);
	r->at += n;
	r->left -= n;
}

static uint8_t get_digest(struct vmft_wire_reader *r, uint8_t *digest)
{
	uint8_t n = (uint8_t)vmft_wire_get(r, 1);

	get_bytes(r, digest, n, VMFT_HELLO_DIGEST_MAX);
	return n;
}

/* text has room for max and the terminating zero, and is zeroed. */
static void get_text(struct vmft_wire_reader *r, char *text, size_t max)
{
	size_t n = (size_t)vmft_wire_get(r, 2);

	get_bytes(r, text, n, max);
	if (!r->failed && strlen(text) != n)
		r->failed = -EBADMSG;
}

bool vmft_savedlog_path_fits(const char *path)
{
	for (const char *p = path; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	return path[0] == '/';
}

/* What a pair file allows as a name: monitor/common/pair-config.c. */
static bool name_fits(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";

	return name[0] && name[0] != '.' && name[strspn(name, allowed)] == '\0';
}

/* A file that says so was not written by vmft. */
static bool texts_fit(const struct vmft_savedlog_header *h)
{
	return name_fits(h->id.name) && vmft_savedlog_path_fits(h->qemu) &&
	       (h->directory[0] == '\0' || vmft_savedlog_path_fits(h->directory));
}

static void get_fields(struct vmft_wire_reader *r, struct vmft_savedlog_header *h)
{
	uint8_t flags;

	memset(h, 0, sizeof(*h));
	h->kind = (uint8_t)vmft_wire_get(r, 1);
	flags = (uint8_t)vmft_wire_get(r, 1);
	h->attached = flags & 1;
	h->disks_by_size = flags >> 1 & 1;
	h->generation = vmft_wire_get(r, 8);
	h->start = vmft_wire_get(r, 8);
	h->id.log_version = (uint32_t)vmft_wire_get(r, 4);
	h->id.build_id_bytes = get_digest(r, h->id.build_id);
	h->id.machine_bytes = get_digest(r, h->id.machine);
	h->id.disk_bytes = get_digest(r, h->id.disk);
	get_text(r, h->id.name, VMFT_HELLO_NAME_MAX);
	get_text(r, h->directory, VMFT_SAVEDLOG_PATH_MAX);
	get_text(r, h->qemu, VMFT_SAVEDLOG_PATH_MAX);
	h->cmdline_bytes = (uint32_t)vmft_wire_get(r, 4);
	if (flags > 3 || h->kind < VMFT_SAVEDLOG_LOCKSTEP || h->kind > VMFT_SAVEDLOG_CHECKPOINT ||
	    !texts_fit(h))
		r->failed = -EBADMSG;
}

static int get_cmdline(struct vmft_wire_reader *r, struct vmft_savedlog_header *h)
{
	if (r->failed || r->left != h->cmdline_bytes ||
	    !cmdline_fits((const char *)r->at, h->cmdline_bytes))
		return -EBADMSG;
	h->cmdline = malloc(h->cmdline_bytes + 1u);
	if (!h->cmdline)
		return -ENOMEM;
	memcpy(h->cmdline, r->at, h->cmdline_bytes);
	h->cmdline[h->cmdline_bytes] = '\0';
	return 0;
}

ssize_t vmft_savedlog_header_decode(const uint8_t *bytes, size_t n,
				    struct vmft_savedlog_header *ret)
{
	struct vmft_wire_reader r = {.at = bytes, .left = n};
	uint32_t version, length;
	uint64_t sum;
	int rc;

	if (n < 8)
		return 0;
	if (vmft_wire_get(&r, 8) != MAGIC)
		return -EPROTO;
	if (n < HEADER_FIXED)
		return 0;
	version = (uint32_t)vmft_wire_get(&r, 4);
	if (version != VMFT_SAVEDLOG_VERSION)
		return -EPROTONOSUPPORT;
	length = (uint32_t)vmft_wire_get(&r, 4);
	sum = vmft_wire_get(&r, 8);
	if (length < HEADER_FIXED || length > VMFT_SAVEDLOG_HEADER_MAX)
		return -EBADMSG;
	if (n < length)
		return 0;
	r.left = length - HEADER_FIXED;
	if (XXH3_64bits(r.at, r.left) != sum)
		return -EBADMSG;
	get_fields(&r, ret);
	rc = get_cmdline(&r, ret);
	return rc < 0 ? rc : (ssize_t)length;
}

void vmft_savedlog_header_free(struct vmft_savedlog_header *header)
{
	if (!header)
		return;
	free(header->cmdline);
	header->cmdline = NULL;
	header->cmdline_bytes = 0;
}

/* --- records --------------------------------------------------------------- */

/* Over everything but itself. */
static uint64_t record_sum(const uint8_t *record, size_t length)
{
	return XXH3_64bits(record + 8, VMFT_SAVEDLOG_RECORD_HEAD - 8 + length);
}

size_t vmft_savedlog_record_seal(uint8_t *record, const struct vmft_savedlog_record *info)
{
	uint8_t *p = vmft_wire_put_u64(record + 8, info->position);

	p = vmft_wire_put_u64(p, (uint64_t)info->held_ns);
	(void)vmft_wire_put_u32(vmft_wire_put_u32(p, info->length), 0);
	(void)vmft_wire_put_u64(record, record_sum(record, info->length));
	return VMFT_SAVEDLOG_RECORD_HEAD + info->length;
}

ssize_t vmft_savedlog_record_decode(const uint8_t *bytes, size_t n,
				    struct vmft_savedlog_record *ret)
{
	struct vmft_wire_reader r = {.at = bytes, .left = n};
	uint64_t sum;

	if (n < VMFT_SAVEDLOG_RECORD_HEAD)
		return 0;
	sum = vmft_wire_get(&r, 8);
	ret->position = vmft_wire_get(&r, 8);
	ret->held_ns = (int64_t)vmft_wire_get(&r, 8);
	ret->length = (uint32_t)vmft_wire_get(&r, 4);
	if (ret->length > VMFT_SAVEDLOG_BYTES_MAX || vmft_wire_get(&r, 4) != 0)
		return -EBADMSG;
	if (r.left < ret->length)
		return 0;
	if (record_sum(bytes, ret->length) != sum)
		return -EBADMSG;
	ret->bytes = r.at;
	return (ssize_t)(VMFT_SAVEDLOG_RECORD_HEAD + ret->length);
}

/* --- reading a file -------------------------------------------------------- */

#define BUFFER_BYTES (256u * 1024)

static_assert(BUFFER_BYTES >= VMFT_SAVEDLOG_RECORD_MAX && BUFFER_BYTES >= VMFT_SAVEDLOG_HEADER_MAX,
	      "whatever is decoded fits into the buffer whole");

/* Reads more, after what is there, until the buffer is full or the file ends. */
static int fill(struct vmft_savedlog_reader *r)
{
	ssize_t n;

	memmove(r->buffer, r->buffer + r->used, r->have - r->used);
	r->have -= r->used;
	r->used = 0;
	n = vmft_pread_whole(r->fd, r->buffer + r->have, BUFFER_BYTES - r->have,
			     r->offset + r->have);
	if (n < 0)
		return (int)n;
	r->have += (size_t)n;
	return 0;
}

static void consume(struct vmft_savedlog_reader *r, size_t n)
{
	r->used += n;
	r->offset += n;
}

/* Consumes the header. */
static int read_header(struct vmft_savedlog_reader *r)
{
	const int rc = fill(r);
	const ssize_t length =
	    rc < 0 ? rc : vmft_savedlog_header_decode(r->buffer, r->have, &r->header);

	if (length <= 0) {
		r->header.cmdline = NULL;
		return length == 0 ? -EBADMSG : (int)length;
	}
	consume(r, (size_t)length);
	r->next = r->header.start;
	r->format = vmft_log_format_find(r->header.id.log_version);
	return r->header.kind == VMFT_SAVEDLOG_LOCKSTEP && !r->format ? -EPROTONOSUPPORT : 0;
}

int vmft_savedlog_open(struct vmft_savedlog_reader *r, int fd)
{
	int rc;

	*r = (struct vmft_savedlog_reader){.fd = fd, .buffer = malloc(BUFFER_BYTES)};
	if (!r->buffer)
		return -ENOMEM;
	rc = read_header(r);
	if (rc < 0)
		vmft_savedlog_close(r);
	return rc;
}

void vmft_savedlog_close(struct vmft_savedlog_reader *r)
{
	if (!r)
		return;
	vmft_savedlog_header_free(&r->header);
	free(r->buffer);
	r->buffer = NULL;
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

/*
 * Whether only zeroes come from `at` on, or nothing. File systems leave that of writes whose data
 * never reached the disk. Uses the buffer.
 */
static int rest_is_zero(struct vmft_savedlog_reader *r, uint64_t at)
{
	r->have = r->used = 0;
	for (;;) {
		ssize_t n = pread(r->fd, r->buffer, BUFFER_BYTES, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 1;
		if (!all_zero(r->buffer, (size_t)n))
			return 0;
		at += (uint64_t)n;
	}
}

/*
 * A damaged record with nothing after it was torn. With something after it, it was damaged
 * otherwise. A length that is impossible counts as the longest possible one.
 */
static int judge_damage(struct vmft_savedlog_reader *r)
{
	struct vmft_wire_reader head = {.at = r->buffer + r->used + 24, .left = 4};
	uint64_t length = vmft_wire_get(&head, 4);
	struct stat st;
	int rc;

	if (fstat(r->fd, &st) < 0)
		return -errno;
	if (length > VMFT_SAVEDLOG_BYTES_MAX)
		length = VMFT_SAVEDLOG_BYTES_MAX;
	rc = rest_is_zero(r, r->offset + VMFT_SAVEDLOG_RECORD_HEAD + length);
	if (rc < 0)
		return rc;
	r->torn = rc > 0 ? (uint64_t)st.st_size - r->offset : 0;
	return rc > 0 ? 0 : -EBADMSG;
}

/* Log positions follow one upon the other; epochs go up. */
static bool is_next(const struct vmft_savedlog_reader *r, const struct vmft_savedlog_record *record)
{
	if (r->header.kind == VMFT_SAVEDLOG_LOCKSTEP)
		return record->length > 0 && record->position == r->next &&
		       record->position <= UINT64_MAX - record->length;
	return record->length == 0 && record->position >= r->next && record->position < UINT64_MAX;
}

int vmft_savedlog_next(struct vmft_savedlog_reader *r, struct vmft_savedlog_record *ret)
{
	ssize_t length = vmft_savedlog_record_decode(r->buffer + r->used, r->have - r->used, ret);
	int rc;

	if (length <= 0) {
		rc = fill(r);
		if (rc < 0)
			return rc;
		length = vmft_savedlog_record_decode(r->buffer, r->have, ret);
	}
	if (length == 0) {
		/* A whole record fits into the buffer: what is short is the file. */
		r->torn = r->have;
		return 0;
	}
	if (length < 0)
		return judge_damage(r);
	if (!is_next(r, ret))
		return -EBADMSG;
	r->next = ret->position + (ret->length > 0 ? ret->length : 1);
	r->records++;
	consume(r, (size_t)length);
	return 1;
}

/* --- log entries ----------------------------------------------------------- */

#define ENTRIES_BYTES (VMFT_EVENT_MAX + VMFT_SAVEDLOG_BYTES_MAX)

int vmft_savedlog_entries_init(struct vmft_savedlog_entries *e, struct vmft_savedlog_reader *reader)
{
	*e = (struct vmft_savedlog_entries){.reader = reader, .position = reader->next};
	e->buffer = malloc(ENTRIES_BYTES);
	return e->buffer ? 0 : -ENOMEM;
}

void vmft_savedlog_entries_fini(struct vmft_savedlog_entries *e)
{
	if (!e)
		return;
	free(e->buffer);
	e->buffer = NULL;
}

/* 1: more bytes are there than before, else as vmft_savedlog_next(). */
static int read_on(struct vmft_savedlog_entries *e)
{
	struct vmft_savedlog_record record;
	int rc = vmft_savedlog_next(e->reader, &record);

	if (rc <= 0)
		return rc;
	memmove(e->buffer, e->buffer + e->used, e->have - e->used);
	e->have -= e->used;
	e->used = 0;
	memcpy(e->buffer + e->have, record.bytes, record.length);
	e->have += record.length;
	e->held_ns = record.held_ns;
	return 1;
}

int vmft_savedlog_entries_next(struct vmft_savedlog_entries *e, struct vmft_savedlog_entry *ret)
{
	for (;;) {
		const size_t left = e->have - e->used;
		ssize_t length = vmft_event_length(e->reader->format, e->buffer + e->used, left);
		int rc;

		if (length < 0)
			return (int)length;
		if (length > 0 && (size_t)length <= left) {
			*ret = (struct vmft_savedlog_entry){
			    .position = e->position,
			    .held_ns = e->held_ns,
			    .bytes = e->buffer + e->used,
			    .length = (size_t)length,
			};
			e->used += (size_t)length;
			e->position += (uint64_t)length;
			return 1;
		}
		rc = read_on(e);
		if (rc <= 0)
			return rc;
	}
}
