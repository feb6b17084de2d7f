/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is asked of an etcd cluster, and what its answers are taken for. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/common/exit-codes.h"
#include "monitor/daemon/arbiter/etcd-wire.h"
#include "suites.h"

/* As etcd 3.4.23 answers. */
#define HEADER                                                                                     \
	"{\"header\":{\"cluster_id\":\"32\",\"member_id\":\"33\",\"revision\":\"4\","              \
	"\"raft_term\":\"2\"}"
#define RANGE "{\"response_range\":{\"header\":{\"revision\":\"4\"}"
#define PUT                                                                                        \
	",\"succeeded\":true,\"responses\":[{\"response_put\":{\"header\":{\"revision\":\"4\"}}}]" \
	"}"
#define KV(key, value)                                                                             \
	"{\"key\":\"" key "\",\"create_revision\":\"2\",\"mod_revision\":\"2\",\"version\":\"1\"," \
	"\"value\":\"" value "\"}"
#define KVS(kvs, count) ",\"kvs\":[" kvs "],\"count\":\"" count "\"}}"

#define GEN2   "dm1mdC92bS9nZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDI="
#define GEN3   "dm1mdC92bS9nZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDM="
#define GEN4   "dm1mdC92bS9nZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDQ="
#define GENBIG "dm1mdC92bS9nZW4vOTk5OTk5OTk5OTk5OTk5OTk5OTk="
#define GEN0   "dm1mdC92bS9nZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDA="
#define GENX   "dm1mdC92bS9nZW4vMDAwMDAwMDAwMDAwMDAwMDAwMHg="
#define OTHER3 "dm1mdC9hYS9nZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDM="
#define END4   "dm1mdC92bS9lbmQvMDAwMDAwMDAwMDAwMDAwMDAwMDQ="
#define END3   "dm1mdC92bS9lbmQvMDAwMDAwMDAwMDAwMDAwMDAwMDM="
#define ME     "bWU="
#define YOU    "eW91"
#define ENDED  "ZW5kZWQ="
#define DEAD   "ZGVjbGFyZWQgZGVhZA=="

#define END2	"dm1mdC92bS9lbmQvMDAwMDAwMDAwMDAwMDAwMDAwMDI="
#define MARK	"dm1mdC92bS9tYXJrL2JhY2t1cA=="
#define HER	"aGVy"
#define NOTHING "}}"

/* The answer to a claim of 3 that was not made: what there is of 3 and later, of 2, of 2's end. */
#define SHOWN(gens, before, end)                                                                   \
	HEADER ",\"responses\":[" RANGE gens "," RANGE before "," RANGE end "]}"
#define BEFORE		    KVS(KV(GEN2, HER), "1")
#define REFUSED(kvs, count) SHOWN(KVS(kvs, count), BEFORE, NOTHING)

/* After generation 2, which is hers. */
static const struct vmft_arbiter_claim takes = {.generation = 3, .owner = "me", .after = "her"};
static const struct vmft_arbiter_claim starts = {
    .generation = 3, .owner = "me", .after = "her", .starts = true};
static const struct vmft_arbiter_claim first = {
    .generation = 3, .owner = "me", .after = "", .starts = true};

static int answer_to(const struct vmft_arbiter_claim *what, const char *text, enum vmft_claim *ret)
{
	*ret = VMFT_CLAIM_UNREACHABLE;
	return vmft_etcd_claim_parse(text, strlen(text), "vm", what, ret);
}

static int claim(const char *text, enum vmft_claim *ret)
{
	return answer_to(&takes, text, ret);
}

static void test_requests(void)
{
	struct vmft_etcd_request r;

	vmft_etcd_claim_build("vm", &first, &r);
	CU_ASSERT_STRING_EQUAL(
	    r.body,
	    "{\"compare\":[{\"target\":\"VERSION\",\"result\":\"EQUAL\",\"key\":\"" GEN3
	    "\",\"range_end\":\"dm1mdC92bS9nZW4w\",\"version\":\"0\"}],"
	    "\"success\":[{\"request_put\":{\"key\":\"" GEN3 "\",\"value\":\"" ME "\"}}],"
	    "\"failure\":[{\"request_range\":{\"key\":\"" GEN3
	    "\",\"range_end\":\"dm1mdC92bS9nZW4w\",\"limit\":\"2\",\"sort_order\":\"ASCEND\","
	    "\"sort_target\":\"KEY\"}}]}");
	vmft_etcd_claim_build("vm", &takes, &r);
	CU_ASSERT_STRING_EQUAL(
	    r.body,
	    "{\"compare\":[{\"target\":\"VERSION\",\"result\":\"EQUAL\",\"key\":\"" GEN3
	    "\",\"range_end\":\"dm1mdC92bS9nZW4w\",\"version\":\"0\"},"
	    "{\"target\":\"VALUE\",\"result\":\"EQUAL\",\"key\":\"" GEN2 "\",\"value\":\"" HER
	    "\"},{\"target\":\"VERSION\",\"result\":\"EQUAL\",\"key\":\"" END2
	    "\",\"version\":\"0\"}],"
	    "\"success\":[{\"request_put\":{\"key\":\"" GEN3 "\",\"value\":\"" ME "\"}}],"
	    "\"failure\":[{\"request_range\":{\"key\":\"" GEN3
	    "\",\"range_end\":\"dm1mdC92bS9nZW4w\",\"limit\":\"2\",\"sort_order\":\"ASCEND\","
	    "\"sort_target\":\"KEY\"}},{\"request_range\":{\"key\":\"" GEN2
	    "\",\"limit\":\"1\"}},{\"request_range\":{\"key\":\"" END2 "\",\"limit\":\"1\"}}]}");
	vmft_etcd_claim_build("vm", &starts, &r);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.body, "\"GREATER\",\"key\":\"" END2 "\""));
	vmft_etcd_end_build("vm", 4, "me", VMFT_END_ORDERLY, &r);
	CU_ASSERT_STRING_EQUAL(
	    r.body, "{\"compare\":[{\"target\":\"VALUE\",\"result\":\"EQUAL\",\"key\":\"" GEN4
		    "\",\"value\":\"" ME "\"}],\"success\":[{\"request_put\":{\"key\":\"" END4
		    "\",\"value\":\"" ENDED "\"}}],\"failure\":[{\"request_range\":{\"key\":\"" GEN4
		    "\",\"limit\":\"1\"}}]}");
	vmft_etcd_mark_build("vm", "backup", "me", &r);
	CU_ASSERT_STRING_EQUAL(r.body, "{\"success\":[{\"request_put\":{\"key\":\"" MARK
				       "\",\"value\":\"" ME "\"}}]}");
	vmft_etcd_look_build("vm", "backup", &r);
	CU_ASSERT_STRING_EQUAL(r.body, "{\"success\":[{\"request_range\":{\"key\":\"" MARK
				       "\",\"limit\":\"1\"}}]}");
}

/* The longest of everything fits; quotes in an owner do not get out of their base64. */
static void test_longest_request(void)
{
	char name[VMFT_ETCD_KEY_MAX], owner[VMFT_ARBITER_OWNER_MAX], key[VMFT_ETCD_KEY_MAX];
	struct vmft_etcd_request r;

	memset(name, 'n', 64);
	name[64] = '\0';
	memset(owner, '"', sizeof(owner) - 1);
	owner[sizeof(owner) - 1] = '\0';
	vmft_etcd_key(name, "gen", UINT64_MAX, key);
	CU_ASSERT_STRING_EQUAL(key + 74, "18446744073709551615");
	const struct vmft_arbiter_claim longest = {
	    .generation = UINT64_MAX, .owner = owner, .after = owner, .starts = true};

	vmft_etcd_claim_build(name, &longest, &r);
	CU_ASSERT_STRING_EQUAL(r.body + strlen(r.body) - 4, "}}]}");
	CU_ASSERT_PTR_NULL(strstr(r.body, "\"\"\""));
	vmft_etcd_latest_build(name, &r);
	CU_ASSERT_STRING_EQUAL(r.body + strlen(r.body) - 4, "}}]}");
}

static void test_claim_answers(void)
{
	enum vmft_claim c;

	CU_ASSERT(claim(HEADER PUT, &c) == 0 && c == VMFT_CLAIM_WON);
	CU_ASSERT(claim(HEADER PUT "\n", &c) == 0 && c == VMFT_CLAIM_WON);
	/* An earlier try of ours was committed. */
	CU_ASSERT(claim(REFUSED(KV(GEN3, ME), "1"), &c) == 0 && c == VMFT_CLAIM_WON);
	CU_ASSERT(claim(REFUSED(KV(GEN3, YOU), "1"), &c) == 0 && c == VMFT_CLAIM_LOST);
	CU_ASSERT(claim(REFUSED(KV(GEN4, YOU), "1"), &c) == 0 && c == VMFT_CLAIM_LOST);
	CU_ASSERT(claim(REFUSED(KV(GEN4, ME), "1"), &c) == 0 && c == VMFT_CLAIM_LOST);
	/* The claim was won, and others have won later generations since. */
	CU_ASSERT(claim(REFUSED(KV(GEN3, ME) "," KV(GEN4, YOU), "2"), &c) == 0 &&
		  c == VMFT_CLAIM_LOST);
	CU_ASSERT(claim(REFUSED(KV(GEN3, ME) "," KV(GEN4, YOU), "9"), &c) == 0 &&
		  c == VMFT_CLAIM_LOST);
}

/* What there is of the generation before decides, too. */
static void test_claim_after(void)
{
	enum vmft_claim c;

	/* It has ended: it is not taken on, but a start may follow it. */
	CU_ASSERT(claim(SHOWN(NOTHING, BEFORE, KVS(KV(END2, ENDED), "1")), &c) == 0 &&
		  c == VMFT_CLAIM_LOST);
	CU_ASSERT(answer_to(&starts, SHOWN(NOTHING, BEFORE, NOTHING), &c) == 0 &&
		  c == VMFT_CLAIM_LOST);
	CU_ASSERT(answer_to(&starts,
			    SHOWN(KVS(KV(GEN3, ME), "1"), BEFORE, KVS(KV(END2, ENDED), "1")),
			    &c) == 0 &&
		  c == VMFT_CLAIM_WON);
	CU_ASSERT(answer_to(&first, HEADER ",\"responses\":[" RANGE KVS(KV(GEN3, ME), "1") "]}",
			    &c) == 0 &&
		  c == VMFT_CLAIM_WON);
	/* It is not there, or another's: this is not the arbiter, whatever else it has. */
	CU_ASSERT_EQUAL(claim(SHOWN(NOTHING, NOTHING, NOTHING), &c), -ESTALE);
	CU_ASSERT_EQUAL(claim(SHOWN(NOTHING, KVS(KV(GEN2, YOU), "1"), NOTHING), &c), -ESTALE);
	CU_ASSERT_EQUAL(claim(SHOWN(KVS(KV(GEN3, ME), "1"), NOTHING, NOTHING), &c), -ESTALE);
	CU_ASSERT_EQUAL(claim(SHOWN(KVS(KV(GEN4, YOU), "1"), KVS(KV(GEN2, YOU), "1"), NOTHING), &c),
			-ESTALE);
	/* Nothing stands in its way: why was it not made? */
	CU_ASSERT_EQUAL(claim(SHOWN(NOTHING, BEFORE, NOTHING), &c), -EBADMSG);
	CU_ASSERT_EQUAL(answer_to(&starts, SHOWN(NOTHING, BEFORE, KVS(KV(END2, ENDED), "1")), &c),
			-EBADMSG);
	/* Of another generation, or too little. */
	CU_ASSERT_EQUAL(claim(SHOWN(NOTHING, KVS(KV(GEN3, HER), "1"), NOTHING), &c), -EBADMSG);
	CU_ASSERT_EQUAL(claim(SHOWN(NOTHING, BEFORE, KVS(KV(END3, ENDED), "1")), &c), -EBADMSG);
	CU_ASSERT_EQUAL(claim(HEADER ",\"responses\":[" RANGE KVS(KV(GEN3, ME), "1") "]}", &c),
			-EBADMSG);
	CU_ASSERT_EQUAL(c, VMFT_CLAIM_UNREACHABLE);
}

static void test_cluster(void)
{
	uint64_t cluster = 0;

	CU_ASSERT_EQUAL(vmft_etcd_cluster_parse(HEADER PUT, sizeof(HEADER PUT) - 1, &cluster), 0);
	CU_ASSERT_EQUAL(cluster, 32);
	CU_ASSERT_EQUAL(vmft_etcd_cluster_parse("{}", 2, &cluster), -EBADMSG);
	CU_ASSERT_EQUAL(
	    vmft_etcd_cluster_parse("{\"header\":{\"cluster_id\":\"0\"}}", 31, &cluster), -EBADMSG);
}

#define LOOKED(kvs) HEADER ",\"succeeded\":true,\"responses\":[" RANGE kvs "]}"

static int look(const char *text, char *ret)
{
	return vmft_etcd_look_parse(text, strlen(text), "vm", "backup", ret);
}

static void test_marks(void)
{
	char found[VMFT_ARBITER_OWNER_MAX] = "?";

	CU_ASSERT_EQUAL(vmft_etcd_mark_parse(HEADER PUT, sizeof(HEADER PUT) - 1), 0);
	CU_ASSERT_EQUAL(look(HEADER PUT, found), -EBADMSG);
	CU_ASSERT_EQUAL(look(LOOKED(KVS(KV(GEN3, ME), "1")), found), -EBADMSG);
	CU_ASSERT_EQUAL(look(LOOKED(KVS(KV(MARK, ME) "," KV(MARK, YOU), "2")), found), -EBADMSG);
	CU_ASSERT_EQUAL(look(HEADER ",\"responses\":[" RANGE KVS(KV(MARK, ME), "1") "]}", found),
			-EBADMSG);
	CU_ASSERT_STRING_EQUAL(found, "?");
	CU_ASSERT_EQUAL(look(LOOKED(KVS(KV(MARK, ME), "1")), found), 0);
	CU_ASSERT_STRING_EQUAL(found, "me");
	CU_ASSERT_EQUAL(look(LOOKED(NOTHING), found), 0);
	CU_ASSERT_STRING_EQUAL(found, "");
}

/* What is no answer to a claim: neither won nor lost. */
static const char *const doubtful[] = {
    "",
    "{",
    "[]",
    "null",
    "7",
    "\"won\"",
    "{}",
    HEADER "}",
    HEADER ",\"succeeded\":true}",
    HEADER ",\"succeeded\":true,\"responses\":[]}",
    HEADER ",\"succeeded\":true,\"responses\":{}}",
    HEADER ",\"succeeded\":true,\"responses\":[7]}",
    HEADER ",\"succeeded\":true,\"responses\":[{\"response_put\":7}]}",
    HEADER ",\"succeeded\":true,\"responses\":[{\"response_put\":{}},{\"response_put\":{}}]}",
    HEADER ",\"succeeded\":\"true\",\"responses\":[{\"response_put\":{}}]}",
    HEADER ",\"succeeded\":1,\"responses\":[{\"response_put\":{}}]}",
    HEADER ",\"responses\":[{\"response_put\":{}}]}",
    HEADER ",\"succeeded\":true,\"responses\":[" RANGE "}}]}",
    HEADER PUT "x",
    HEADER PUT "{}",
    "{\"header\":{\"revision\":\"0\"}" PUT,
    "{\"header\":{\"revision\":4}" PUT,
    "{\"header\":{\"revision\":\"-4\"}" PUT,
    "{\"header\":{\"revision\":\"99999999999999999999\"}" PUT,
    "{\"header\":{\"revision\":\"4 \"}" PUT,
    "{\"header\":7" PUT,
    "{\"error\":\"etcdserver: request timed out\",\"code\":14}",
    /* It was refused, but nothing is there. */
    HEADER ",\"responses\":[" RANGE "}}]}",
    REFUSED("", "0"),
    REFUSED(KV(GEN3, ME), "0"),
    REFUSED(KV(GEN3, ME), "2"),
    REFUSED(KV(GEN3, ME), "99999999999999999999999"),
    REFUSED(KV(GEN3, ME), "x"),
    HEADER ",\"responses\":[" RANGE ",\"kvs\":[" KV(GEN3, ME) "]}}]}",
    HEADER ",\"responses\":[" RANGE ",\"kvs\":[" KV(GEN3, ME) "],\"count\":1}}]}",
    HEADER ",\"responses\":[" RANGE ",\"kvs\":{},\"count\":\"1\"}}]}",
    REFUSED("7", "1"),
    REFUSED("{\"key\":\"" GEN3 "\"}", "1"),
    REFUSED("{\"key\":\"" GEN3 "\",\"value\":7}", "1"),
    /* Records nobody asked for, in no order, of other names. */
    REFUSED(KV(GEN2, ME), "1"),
    REFUSED(KV(OTHER3, ME), "1"),
    REFUSED(KV(END3, ME), "1"),
    REFUSED(KV(GEN0, ME), "1"),
    REFUSED(KV(GENX, ME), "1"),
    REFUSED(KV(GENBIG, ME), "1"),
    REFUSED(KV(GEN4, YOU) "," KV(GEN3, ME), "2"),
    REFUSED(KV(GEN3, ME) "," KV(GEN3, ME), "2"),
    REFUSED(KV(GEN3, ME) "," KV(GEN4, YOU) "," KV(GEN4, YOU), "3"),
    /* Base64: padding, alphabet, blanks, spare bits, a zero byte, too long. */
    REFUSED(KV(GEN3, "bWU"), "1"),
    REFUSED(KV(GEN3, "bWU=="), "1"),
    REFUSED(KV(GEN3, "b*U="), "1"),
    REFUSED(KV(GEN3, "bW U="), "1"),
    REFUSED(KV(GEN3, "bWV="), "1"),
    REFUSED(KV(GEN3, "bQBl"), "1"),
    REFUSED(KV(GEN3, "bWU=\\u0000"), "1"),
    REFUSED(KV("", ME), "1"),
    REFUSED(KV("dm1mdC92bS9nZW4vMw==", ME), "1"),
};

static void test_claim_doubts(void)
{
	enum vmft_claim c;

	for (size_t i = 0; i < sizeof(doubtful) / sizeof(doubtful[0]); i++) {
		if (claim(doubtful[i], &c) == -EBADMSG && c == VMFT_CLAIM_UNREACHABLE)
			continue;
		(void)fprintf(stderr, "taken for an answer: %s\n", doubtful[i]);
		CU_FAIL("taken for an answer");
	}
}

/* An owner as long as can be is read whole, one byte more is not; an answer has a cap too. */
static void test_lengths(void)
{
	static char text[VMFT_ETCD_ANSWER_MAX + 64];
	char value[256];
	enum vmft_claim c;

	memset(value, 'A', sizeof(value)); /* zero bytes */
	for (size_t i = 0; i < 168; i += 4)
		memcpy(value + i, "YWFh", 4);
	memcpy(value + 168, "YQ==", 5);
	(void)snprintf(text, sizeof(text), REFUSED(KV(GEN3, "%s"), "1"), value);
	CU_ASSERT(claim(text, &c) == 0 && c == VMFT_CLAIM_LOST); /* 127 bytes */
	memcpy(value + 168, "YWE=", 5);
	(void)snprintf(text, sizeof(text), REFUSED(KV(GEN3, "%s"), "1"), value);
	CU_ASSERT_EQUAL(claim(text, &c), -EBADMSG);
	for (size_t i = 168; i < 252; i += 4)
		memcpy(value + i, "YWFh", 4);
	value[252] = '\0';
	(void)snprintf(text, sizeof(text), REFUSED(KV(GEN3, "%s"), "1"), value);
	CU_ASSERT_EQUAL(claim(text, &c), -EBADMSG);

	memset(text, '\n', sizeof(text));
	memcpy(text, HEADER PUT, sizeof(HEADER PUT) - 1);
	CU_ASSERT_EQUAL(vmft_etcd_claim_parse(text, VMFT_ETCD_ANSWER_MAX, "vm", &takes, &c), 0);
	CU_ASSERT_EQUAL(vmft_etcd_claim_parse(text, VMFT_ETCD_ANSWER_MAX + 1, "vm", &takes, &c),
			-EBADMSG);
}

static void test_deep(void)
{
	char text[256] = HEADER ",\"responses\":";
	enum vmft_claim c;

	for (int i = 0; i < 40; i++)
		strcat(text, "[");
	CU_ASSERT_EQUAL(claim(text, &c), -EBADMSG);
}

static int latest(const char *text, struct vmft_arbiter_latest *ret)
{
	return vmft_etcd_latest_parse(text, strlen(text), "vm", ret);
}

#define LATEST(gens, ends) HEADER ",\"responses\":[" RANGE gens "," RANGE ends "]}"

static void test_latest(void)
{
	struct vmft_arbiter_latest l;

	CU_ASSERT_EQUAL(latest(LATEST("}}", "}}"), &l), 0);
	CU_ASSERT(l.generation == 0 && !l.ended);
	CU_ASSERT_EQUAL(latest(LATEST(KVS(KV(GEN4, YOU), "2"), "}}"), &l), 0);
	CU_ASSERT(l.generation == 4 && !l.ended);
	CU_ASSERT_STRING_EQUAL(l.owner, "you");
	CU_ASSERT_EQUAL(latest(LATEST(KVS(KV(GEN4, YOU), "2"), KVS(KV(END3, ENDED), "1")), &l), 0);
	CU_ASSERT(l.generation == 4 && !l.ended);
	CU_ASSERT_EQUAL(latest(LATEST(KVS(KV(GEN4, YOU), "2"), KVS(KV(END4, ENDED), "1")), &l), 0);
	CU_ASSERT(l.generation == 4 && l.ended && !l.declared);
	CU_ASSERT_EQUAL(latest(LATEST(KVS(KV(GEN4, YOU), "2"), KVS(KV(END4, DEAD), "1")), &l), 0);
	CU_ASSERT(l.generation == 4 && l.ended && l.declared);
	/* The write that never comes to pass did. */
	CU_ASSERT_EQUAL(latest(HEADER PUT, &l), -EBADMSG);
	CU_ASSERT_EQUAL(latest(LATEST(KVS(KV(END4, YOU), "2"), "}}"), &l), -EBADMSG);
	CU_ASSERT_EQUAL(latest(LATEST(KVS(KV(GEN4, YOU), "2"), KVS(KV(GEN4, YOU), "1")), &l),
			-EBADMSG);
	CU_ASSERT_EQUAL(latest(HEADER ",\"responses\":[" RANGE "}}]}", &l), -EBADMSG);
}

static void test_end_and_errors(void)
{
	static const char elsewhere[] = HEADER ",\"responses\":[" RANGE NOTHING "]}";
	static const char said[] = "{\"error\":\"etcdserver: no leader\",\"code\":14}";
	char text[32];

	CU_ASSERT_EQUAL(vmft_etcd_end_parse(HEADER PUT, sizeof(HEADER PUT) - 1), 0);
	CU_ASSERT_EQUAL(vmft_etcd_end_parse(said, sizeof(said) - 1), -EBADMSG);
	/* The generation is another's, or not there. */
	CU_ASSERT_EQUAL(vmft_etcd_end_parse(elsewhere, sizeof(elsewhere) - 1), -ESTALE);
	vmft_etcd_error_text(said, sizeof(said) - 1, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "etcdserver: no leader");
	vmft_etcd_error_text("Not Found\n", 10, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "");
}

/* Nothing is asked before the files are looked at. */
static void test_open_refuses(void)
{
	struct vmft_arbiter_settings settings = {.where = "https://127.0.0.1:1",
						 .vm = "vm",
						 .ca = "/nonexistent/ca.pem",
						 .cert = "",
						 .key = ""};
	struct vmft_arbiter *arbiter = NULL;
	struct vmft_error err = {0};

	CU_ASSERT(vmft_arbiter_etcd.open(&settings, &arbiter, &err) < 0);
	CU_ASSERT_EQUAL(err.exit_code, VMFT_EXIT_ARBITER);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "arbiter-ca = /nonexistent/ca.pem"));
	settings.ca = "/tmp";
	CU_ASSERT(vmft_arbiter_etcd.open(&settings, &arbiter, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "arbiter-ca = /tmp"));
	settings.ca = "";
	settings.where = "http://127.0.0.1:1"; /* nobody listens there */
	CU_ASSERT(vmft_arbiter_etcd.open(&settings, &arbiter, &err) < 0);
	CU_ASSERT_EQUAL(err.exit_code, VMFT_EXIT_ARBITER);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "arbiter etcd: http://127.0.0.1:1: "));
	CU_ASSERT_PTR_NULL(arbiter);
}

int vmft_suite_etcd(void)
{
	CU_pSuite suite = CU_add_suite("etcd arbiter", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_requests) ||
	    !CU_ADD_TEST(suite, test_longest_request) || !CU_ADD_TEST(suite, test_claim_answers) ||
	    !CU_ADD_TEST(suite, test_claim_after) || !CU_ADD_TEST(suite, test_cluster) ||
	    !CU_ADD_TEST(suite, test_marks) || !CU_ADD_TEST(suite, test_claim_doubts) ||
	    !CU_ADD_TEST(suite, test_lengths) || !CU_ADD_TEST(suite, test_deep) ||
	    !CU_ADD_TEST(suite, test_latest) || !CU_ADD_TEST(suite, test_end_and_errors) ||
	    !CU_ADD_TEST(suite, test_open_refuses))
		return -1;
	return 0;
}
