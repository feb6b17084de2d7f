/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "etcd-wire.h"

#include <errno.h>
#include <json-c/json.h>
#include <nettle/base64.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 10
/* Keys and values are shorter than this: see VMFT_ETCD_KEY_MAX and VMFT_ARBITER_OWNER_MAX. */
#define PLAIN_MAX 128u
#define CODED_MAX (BASE64_ENCODE_RAW_LENGTH(PLAIN_MAX) + 1)

/* --- requests ------------------------------------------------------------- */

struct coded {
	char text[CODED_MAX];
};

static struct coded encode(const char *plain)
{
	const size_t n = strnlen(plain, PLAIN_MAX);
	struct coded coded;

	base64_encode_raw(coded.text, n, (const uint8_t *)plain);
	coded.text[BASE64_ENCODE_RAW_LENGTH(n)] = '\0';
	return coded;
}

/* In 20 digits, as many as 64 bits need, so that the order of keys is that of generations. */
void vmft_etcd_key(const char *vm, const char *what, uint64_t generation,
		   char ret[static VMFT_ETCD_KEY_MAX])
{
	(void)snprintf(ret, VMFT_ETCD_KEY_MAX, "vmft/%.64s/%s/%020llu", vm, what,
		       (unsigned long long)generation);
}

static struct coded encode_key(const char *vm, const char *what, uint64_t generation)
{
	char key[VMFT_ETCD_KEY_MAX];

	vmft_etcd_key(vm, what, generation, key);
	return encode(key);
}

/* The end of a range that holds every record of a kind: '0' is the byte after '/'. */
static struct coded encode_range_end(const char *vm, const char *what)
{
	char key[VMFT_ETCD_KEY_MAX];

	(void)snprintf(key, sizeof(key), "vmft/%.64s/%s0", vm, what);
	return encode(key);
}

static struct coded encode_mark(const char *vm, const char *host)
{
	char key[VMFT_ETCD_KEY_MAX];

	(void)snprintf(key, sizeof(key), "vmft/%.64s/mark/%.27s", vm, host);
	return encode(key);
}

#define SHOW_KEY "{\"request_range\":{\"key\":\"%s\",\"limit\":\"1\"}}"
#define PUT_KEY	 "{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}}"

/* The record of the generation before is the one the claimant knows, and has ended or not. */
static void compare_before(const char *vm, const struct vmft_arbiter_claim *claim, char *ret,
			   size_t size)
{
	ret[0] = '\0';
	if (claim->after[0] == '\0')
		return;
	(void)snprintf(ret, size,
		       ",{\"target\":\"VALUE\",\"result\":\"EQUAL\",\"key\":\"%s\","
		       "\"value\":\"%s\"},"
		       "{\"target\":\"VERSION\",\"result\":\"%s\",\"key\":\"%s\","
		       "\"version\":\"0\"}",
		       encode_key(vm, "gen", claim->generation - 1).text, encode(claim->after).text,
		       claim->starts ? "GREATER" : "EQUAL",
		       encode_key(vm, "end", claim->generation - 1).text);
}

static void show_before(const char *vm, const struct vmft_arbiter_claim *claim, char *ret,
			size_t size)
{
	ret[0] = '\0';
	if (claim->after[0] != '\0')
		(void)snprintf(ret, size, "," SHOW_KEY "," SHOW_KEY,
			       encode_key(vm, "gen", claim->generation - 1).text,
			       encode_key(vm, "end", claim->generation - 1).text);
}

/*
 * A comparison over a range holds if it holds for each key in it; an empty range is compared
 * as one key that never was, whose version is 0 (etcd, server/etcdserver, applyCompare()).
 * A key that is not there has no value: a comparison of its value does not hold.
 */
void vmft_etcd_claim_build(const char *vm, const struct vmft_arbiter_claim *claim,
			   struct vmft_etcd_request *ret)
{
	const struct coded key = encode_key(vm, "gen", claim->generation);
	const struct coded end = encode_range_end(vm, "gen");
	char compare[1024], show[512];

	compare_before(vm, claim, compare, sizeof(compare));
	show_before(vm, claim, show, sizeof(show));
	(void)snprintf(ret->body, sizeof(ret->body),
		       "{\"compare\":[{\"target\":\"VERSION\",\"result\":\"EQUAL\",\"key\":\"%s\","
		       "\"range_end\":\"%s\",\"version\":\"0\"}%s],"
		       "\"success\":[" PUT_KEY "],"
		       "\"failure\":[{\"request_range\":{\"key\":\"%s\",\"range_end\":\"%s\","
		       "\"limit\":\"2\",\"sort_order\":\"ASCEND\",\"sort_target\":\"KEY\"}}%s]}",
		       key.text, end.text, compare, key.text, encode(claim->owner).text, key.text,
		       end.text, show);
}

#define LAST_OF_RANGE                                                                              \
	"{\"request_range\":{\"key\":\"%s\",\"range_end\":\"%s\",\"limit\":\"1\","                 \
	"\"sort_order\":\"DESCEND\",\"sort_target\":\"KEY\"}}"

/* Generation 0 is nobody's: its version is never greater than 0. */
void vmft_etcd_latest_build(const char *vm, struct vmft_etcd_request *ret)
{
	const struct coded gen = encode_key(vm, "gen", 0);
	const struct coded gen_end = encode_range_end(vm, "gen");
	const struct coded end = encode_key(vm, "end", 0);
	const struct coded end_end = encode_range_end(vm, "end");

	(void)snprintf(ret->body, sizeof(ret->body),
		       "{\"compare\":[{\"target\":\"VERSION\",\"result\":\"GREATER\",\"key\":"
		       "\"%s\",\"version\":\"0\"}],"
		       "\"success\":[{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}}],"
		       "\"failure\":[" LAST_OF_RANGE "," LAST_OF_RANGE "]}",
		       gen.text, gen.text, encode("probe").text, gen.text, gen_end.text, end.text,
		       end_end.text);
}

void vmft_etcd_end_build(const char *vm, uint64_t generation, const char *owner,
			 enum vmft_arbiter_end how, struct vmft_etcd_request *ret)
{
	const struct coded gen = encode_key(vm, "gen", generation);

	(void)snprintf(
	    ret->body, sizeof(ret->body),
	    "{\"compare\":[{\"target\":\"VALUE\",\"result\":\"EQUAL\",\"key\":\"%s\","
	    "\"value\":\"%s\"}],"
	    "\"success\":[" PUT_KEY "],\"failure\":[" SHOW_KEY "]}",
	    gen.text, encode(owner).text, encode_key(vm, "end", generation).text,
	    encode(how == VMFT_END_DECLARED ? VMFT_END_TEXT_DECLARED : VMFT_END_TEXT_ORDERLY).text,
	    gen.text);
}

void vmft_etcd_mark_build(const char *vm, const char *host, const char *text,
			  struct vmft_etcd_request *ret)
{
	(void)snprintf(ret->body, sizeof(ret->body), "{\"success\":[" PUT_KEY "]}",
		       encode_mark(vm, host).text, encode(text).text);
}

void vmft_etcd_look_build(const char *vm, const char *host, struct vmft_etcd_request *ret)
{
	(void)snprintf(ret->body, sizeof(ret->body), "{\"success\":[" SHOW_KEY "]}",
		       encode_mark(vm, host).text);
}

/* --- answers -------------------------------------------------------------- */

struct answer {
	struct json_object *root; /* owned */
	struct json_object *responses;
	bool succeeded;
};

static struct json_object *member(const struct json_object *object, const char *key,
				  enum json_type type)
{
	struct json_object *found;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, key, &found) || !json_object_is_type(found, type))
		return NULL;
	return found;
}

static bool has(const struct json_object *object, const char *key)
{
	return json_object_object_get_ex(object, key, NULL);
}

/* Without a zero byte that would hide the rest. */
static const char *text_of(struct json_object *string)
{
	const char *text = string ? json_object_get_string(string) : NULL;

	if (!text || strlen(text) != (size_t)json_object_get_string_len(string))
		return NULL;
	return text;
}

/* Plain decimal that fits; strtoull() alone would take signs, blanks and more. */
static int number_of(const char *text, uint64_t *ret)
{
	const size_t n = text ? strlen(text) : 0;
	char *end;

	if (n == 0 || n > 20 || strspn(text, "0123456789") != n)
		return -EBADMSG;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno == 0 ? 0 : -EBADMSG;
}

static int decode(struct json_object *string, char *ret, size_t size)
{
	const char *text = text_of(string);
	uint8_t plain[BASE64_DECODE_LENGTH(CODED_MAX)];
	struct base64_decode_ctx ctx;
	size_t n = sizeof(plain);
	char again[CODED_MAX + 4];

	if (!text || strlen(text) >= CODED_MAX)
		return -EBADMSG;
	base64_decode_init(&ctx);
	if (!base64_decode_update(&ctx, &n, plain, strlen(text), text) ||
	    !base64_decode_final(&ctx) || n >= size || n > PLAIN_MAX || memchr(plain, '\0', n))
		return -EBADMSG;
	/* nettle skips blanks; what is compared later has one spelling only. */
	base64_encode_raw(again, n, plain);
	again[BASE64_ENCODE_RAW_LENGTH(n)] = '\0';
	if (strcmp(again, text) != 0)
		return -EBADMSG;
	memcpy(ret, plain, n);
	ret[n] = '\0';
	return 0;
}

static struct json_object *parse(const char *text, size_t n)
{
	struct json_tokener *tokener;
	struct json_object *root;

	if (n == 0 || n > VMFT_ETCD_ANSWER_MAX)
		return NULL;
	tokener = json_tokener_new_ex(DEPTH_MAX);
	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	root = json_tokener_parse_ex(tokener, text, (int)n);
	/* The gateway ends with nothing or a newline. */
	for (size_t end = json_tokener_get_parse_end(tokener); root && end < n; end++)
		if (text[end] != '\n') {
			json_object_put(root);
			root = NULL;
		}
	json_tokener_free(tokener);
	return root;
}

static bool has_number(const struct json_object *object, const char *key, uint64_t *ret)
{
	return number_of(text_of(member(object, key, json_type_string)), ret) == 0 && *ret > 0;
}

/* Every transaction's answer has a header, and a revision since which the cluster is. */
static bool has_header(const struct json_object *root)
{
	struct json_object *header = member(root, "header", json_type_object);
	uint64_t revision;

	return has_number(header, "revision", &revision);
}

int vmft_etcd_cluster_parse(const char *text, size_t n, uint64_t *ret)
{
	struct json_object *root = parse(text, n);
	struct json_object *header = member(root, "header", json_type_object);
	bool found = has_number(header, "cluster_id", ret);

	json_object_put(root);
	return found ? 0 : -EBADMSG;
}

/* With any number of responses. */
static int answer_open_any(const char *text, size_t n, struct answer *ret)
{
	struct json_object *succeeded;

	ret->root = parse(text, n);
	if (!ret->root)
		return -EBADMSG;
	ret->responses = member(ret->root, "responses", json_type_array);
	succeeded = member(ret->root, "succeeded", json_type_boolean);
	if (!has_header(ret->root) || !ret->responses ||
	    (!succeeded && has(ret->root, "succeeded"))) {
		json_object_put(ret->root);
		return -EBADMSG;
	}
	ret->succeeded = succeeded && json_object_get_boolean(succeeded);
	return 0;
}

static int answer_open(const char *text, size_t n, size_t responses, struct answer *ret)
{
	int rc = answer_open_any(text, n, ret);

	if (rc < 0 || json_object_array_length(ret->responses) == responses)
		return rc;
	json_object_put(ret->root);
	return -EBADMSG;
}

static bool is_put(const struct answer *answer, size_t responses)
{
	return json_object_array_length(answer->responses) == responses &&
	       member(json_object_array_get_idx(answer->responses, 0), "response_put",
		      json_type_object) != NULL;
}

struct record {
	uint64_t generation;
	char value[VMFT_ARBITER_OWNER_MAX];
};

static int record_get(const struct json_object *kv, const char *vm, const char *what,
		      struct record *ret)
{
	char prefix[VMFT_ETCD_KEY_MAX], key[VMFT_ETCD_KEY_MAX];
	int n = snprintf(prefix, sizeof(prefix), "vmft/%.64s/%s/", vm, what);

	if (decode(member(kv, "key", json_type_string), key, sizeof(key)) < 0 ||
	    decode(member(kv, "value", json_type_string), ret->value, sizeof(ret->value)) < 0)
		return -EBADMSG;
	if (strncmp(key, prefix, (size_t)n) != 0 || strlen(key) != (size_t)n + 20)
		return -EBADMSG;
	return number_of(key + n, &ret->generation) < 0 || ret->generation == 0 ? -EBADMSG : 0;
}

/* Up to max records, in *ret_total how many there are. Returns how many were shown. */
static int range_get(const struct answer *answer, size_t index, const char *vm, const char *what,
		     struct record *ret, size_t max, uint64_t *ret_total)
{
	struct json_object *range = member(json_object_array_get_idx(answer->responses, index),
					   "response_range", json_type_object);
	struct json_object *kvs = member(range, "kvs", json_type_array);
	size_t n = kvs ? json_object_array_length(kvs) : 0;

	*ret_total = 0;
	if (!range || n > max || (!kvs && has(range, "kvs")) || has(range, "count") != (n > 0))
		return -EBADMSG;
	if (n > 0 && number_of(text_of(member(range, "count", json_type_string)), ret_total) < 0)
		return -EBADMSG;
	if (*ret_total < n || (n < max && *ret_total != n))
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		if (record_get(json_object_array_get_idx(kvs, i), vm, what, &ret[i]) < 0)
			return -EBADMSG;
	return (int)n;
}

/* Records of the generation or of later ones are there: our own record of an earlier try and
 * nothing later is won, anything else is lost. */
static int claim_taken(const struct record *record, int n, uint64_t total,
		       const struct vmft_arbiter_claim *claim, enum vmft_claim *ret)
{
	if (record[0].generation < claim->generation ||
	    (n == 2 && record[1].generation <= record[0].generation))
		return -EBADMSG;
	*ret = total == 1 && record[0].generation == claim->generation &&
		       strcmp(record[0].value, claim->owner) == 0
		   ? VMFT_CLAIM_WON
		   : VMFT_CLAIM_LOST;
	return 0;
}

/* 0 if the record of the generation before is the one the claimant knows; *ret_ended: it has
 * ended. */
static int before_get(const struct answer *answer, const char *vm,
		      const struct vmft_arbiter_claim *claim, bool *ret_ended)
{
	struct record gen, end;
	uint64_t total;
	int gens = range_get(answer, 1, vm, "gen", &gen, 1, &total);
	int ends = range_get(answer, 2, vm, "end", &end, 1, &total);

	if (gens < 0 || ends < 0 || (gens > 0 && gen.generation != claim->generation - 1) ||
	    (ends > 0 && end.generation != claim->generation - 1))
		return -EBADMSG;
	if (gens == 0 || strcmp(gen.value, claim->after) != 0)
		return -ESTALE;
	*ret_ended = ends > 0;
	return 0;
}

static int claim_refused(const struct answer *answer, const char *vm,
			 const struct vmft_arbiter_claim *claim, enum vmft_claim *ret)
{
	struct record record[2];
	bool ended = claim->starts;
	uint64_t total;
	int n = range_get(answer, 0, vm, "gen", record, 2, &total), rc = 0;

	if (n < 0)
		return -EBADMSG;
	if (claim->after[0] != '\0')
		rc = before_get(answer, vm, claim, &ended);
	if (rc < 0)
		return rc;
	if (n > 0)
		return claim_taken(record, n, total, claim, ret);
	/* Nothing is in the way but the end of the generation before. */
	if (ended == claim->starts)
		return -EBADMSG;
	*ret = VMFT_CLAIM_LOST;
	return 0;
}

int vmft_etcd_claim_parse(const char *text, size_t n, const char *vm,
			  const struct vmft_arbiter_claim *claim, enum vmft_claim *ret)
{
	struct answer answer;
	int rc = answer_open_any(text, n, &answer);

	if (rc < 0)
		return rc;
	if (answer.succeeded)
		rc = is_put(&answer, 1) ? 0 : -EBADMSG;
	else if (json_object_array_length(answer.responses) == (claim->after[0] == '\0' ? 1U : 3U))
		rc = claim_refused(&answer, vm, claim, ret);
	else
		rc = -EBADMSG;
	if (rc == 0 && answer.succeeded)
		*ret = VMFT_CLAIM_WON;
	json_object_put(answer.root);
	return rc;
}

static int latest_take(const struct answer *answer, const char *vm, struct vmft_arbiter_latest *ret)
{
	struct vmft_arbiter_latest latest = {0};
	struct record gen, end;
	uint64_t total;
	int gens, ends;

	if (answer->succeeded)
		return -EBADMSG;
	gens = range_get(answer, 0, vm, "gen", &gen, 1, &total);
	ends = range_get(answer, 1, vm, "end", &end, 1, &total);
	if (gens < 0 || ends < 0)
		return -EBADMSG;
	if (gens > 0) {
		latest.generation = gen.generation;
		latest.ended = ends > 0 && end.generation == gen.generation;
		latest.declared = latest.ended && strcmp(end.value, VMFT_END_TEXT_DECLARED) == 0;
		memcpy(latest.owner, gen.value, sizeof(latest.owner));
	}
	*ret = latest;
	return 0;
}

int vmft_etcd_latest_parse(const char *text, size_t n, const char *vm,
			   struct vmft_arbiter_latest *ret)
{
	struct answer answer;
	int rc = answer_open(text, n, 2, &answer);

	if (rc < 0)
		return rc;
	rc = latest_take(&answer, vm, ret);
	json_object_put(answer.root);
	return rc;
}

int vmft_etcd_end_parse(const char *text, size_t n)
{
	struct answer answer;
	int rc = answer_open(text, n, 1, &answer);

	if (rc < 0)
		return rc;
	if (answer.succeeded)
		rc = is_put(&answer, 1) ? 0 : -EBADMSG;
	else
		rc = is_put(&answer, 1) ? -EBADMSG : -ESTALE;
	json_object_put(answer.root);
	return rc;
}

int vmft_etcd_mark_parse(const char *text, size_t n)
{
	struct answer answer;
	int rc = answer_open(text, n, 1, &answer);

	if (rc < 0)
		return rc;
	rc = answer.succeeded && is_put(&answer, 1) ? 0 : -EBADMSG;
	json_object_put(answer.root);
	return rc;
}

static int mark_get(const struct answer *answer, const char *vm, const char *host,
		    char ret[static VMFT_ARBITER_OWNER_MAX])
{
	struct json_object *range = member(json_object_array_get_idx(answer->responses, 0),
					   "response_range", json_type_object);
	struct json_object *kvs = member(range, "kvs", json_type_array);
	struct json_object *kv = kvs ? json_object_array_get_idx(kvs, 0) : NULL;
	struct json_object *key = member(kv, "key", json_type_string);

	if (!answer->succeeded || !range || (!kvs && has(range, "kvs")) ||
	    has(range, "count") != (kv != NULL))
		return -EBADMSG;
	ret[0] = '\0';
	if (!kv)
		return 0;
	if (json_object_array_length(kvs) != 1 || !text_of(key) ||
	    strcmp(text_of(key), encode_mark(vm, host).text) != 0)
		return -EBADMSG;
	return decode(member(kv, "value", json_type_string), ret, VMFT_ARBITER_OWNER_MAX);
}

int vmft_etcd_look_parse(const char *text, size_t n, const char *vm, const char *host,
			 char ret[static VMFT_ARBITER_OWNER_MAX])
{
	char found[VMFT_ARBITER_OWNER_MAX];
	struct answer answer;
	int rc = answer_open(text, n, 1, &answer);

	if (rc < 0)
		return rc;
	rc = mark_get(&answer, vm, host, found);
	if (rc == 0)
		memcpy(ret, found, sizeof(found));
	json_object_put(answer.root);
	return rc;
}

void vmft_etcd_error_text(const char *text, size_t n, char *ret, size_t size)
{
	struct json_object *root = parse(text, n);
	const char *said = text_of(member(root, "error", json_type_string));

	(void)snprintf(ret, size, "%.160s", said ? said : "");
	json_object_put(root);
}
