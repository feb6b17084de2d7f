/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an etcd cluster answers, to each of the questions. */
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "monitor/daemon/arbiter/etcd-wire.h"

#define OWNER "me"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	static const struct vmft_arbiter_claim asked[] = {
	    {.generation = 3, .owner = OWNER, .after = "A"},
	    {.generation = 3, .owner = OWNER, .after = "A", .starts = true},
	    {.generation = 3, .owner = OWNER, .after = "", .starts = true},
	};
	struct vmft_arbiter_latest latest;
	char mark[VMFT_ARBITER_OWNER_MAX];
	uint64_t cluster;
	char said[64];

	/* An answer is one of the two, or none. */
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		enum vmft_claim claim = VMFT_CLAIM_UNREACHABLE;

		if ((vmft_etcd_claim_parse(text, size, "vm", &asked[i], &claim) == 0) !=
		    (claim == VMFT_CLAIM_WON || claim == VMFT_CLAIM_LOST))
			abort();
	}
	memset(mark, 0xff, sizeof(mark));
	if (vmft_etcd_look_parse(text, size, "vm", "backup", mark) == 0 &&
	    !memchr(mark, '\0', sizeof(mark)))
		abort();
	(void)vmft_etcd_mark_parse(text, size);
	(void)vmft_etcd_cluster_parse(text, size, &cluster);
	memset(&latest, 0xff, sizeof(latest));
	if (vmft_etcd_latest_parse(text, size, "vm", &latest) == 0 &&
	    (!memchr(latest.owner, '\0', sizeof(latest.owner)) ||
	     (latest.generation == 0 && (latest.ended || latest.owner[0]))))
		abort();
	(void)vmft_etcd_end_parse(text, size);
	vmft_etcd_error_text(text, size, said, sizeof(said));
	if (!memchr(said, '\0', sizeof(said)))
		abort();
	return 0;
}

#define HEADER                                                                                     \
	"{\"header\":{\"cluster_id\":\"32\",\"member_id\":\"33\",\"revision\":\"4\","              \
	"\"raft_term\":\"2\"}"
/* vmft/vm/gen/...3 */
#define GEN3  "dm1mdC92bS9nZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDM="
#define GEN4  "dm1mdC92bS9nZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDQ="
#define GEN2  "dm1mdC92bS9nZW4vMDAwMDAwMDAwMDAwMDAwMDAwMDI="
#define END2  "dm1mdC92bS9lbmQvMDAwMDAwMDAwMDAwMDAwMDAwMDI="
#define MARK  "dm1mdC92bS9tYXJrL2JhY2t1cA=="
#define END4  "dm1mdC92bS9lbmQvMDAwMDAwMDAwMDAwMDAwMDAwMDQ="
#define ME    "bWU="
#define RANGE "{\"response_range\":{\"header\":{\"revision\":\"4\"}"

static const char put[] = HEADER
    ",\"succeeded\":true,\"responses\":[{\"response_put\":{\"header\":{\"revision\":\"4\"}}}]}";
static const char mine[] =
    HEADER ",\"responses\":[" RANGE ",\"kvs\":[{\"key\":\"" GEN3
	   "\",\"create_revision\":\"2\",\"mod_revision\":\"2\",\"version\":\"1\",\"value\":\"" ME
	   "\"}],\"count\":\"1\"}}]}";
static const char later[] =
    HEADER ",\"responses\":[" RANGE ",\"kvs\":[{\"key\":\"" GEN3 "\",\"value\":\"" ME
	   "\"},{\"key\":\"" GEN4 "\",\"value\":\"QQ==\"}],\"count\":\"7\",\"more\":true}}]}";
static const char latest_ended[] =
    HEADER ",\"responses\":[" RANGE ",\"kvs\":[{\"key\":\"" GEN4
	   "\",\"value\":\"QQ==\"}],\"more\":true,\"count\":\"2\"}}," RANGE
	   ",\"kvs\":[{\"key\":\"" END4 "\",\"value\":\"ZW5kZWQ=\"}],\"count\":\"1\"}}]}\n";
static const char none[] = HEADER ",\"responses\":[" RANGE "}}," RANGE "}}]}";
static const char after[] =
    HEADER ",\"responses\":[" RANGE ",\"kvs\":[{\"key\":\"" GEN3 "\",\"value\":\"" ME
	   "\"}],\"count\":\"1\"}}," RANGE ",\"kvs\":[{\"key\":\"" GEN2
	   "\",\"value\":\"QQ==\"}],\"count\":\"1\"}}," RANGE ",\"kvs\":[{\"key\":\"" END2
	   "\",\"value\":\"ZW5kZWQ=\"}],\"count\":\"1\"}}]}";
static const char marked[] =
    HEADER ",\"succeeded\":true,\"responses\":[" RANGE ",\"kvs\":[{\"key\":\"" MARK
	   "\",\"value\":\"" ME "\"}],\"count\":\"1\"}}]}";
static const char failed[] =
    "{\"error\":\"etcdserver: request timed out\",\"message\":\"x\",\"code\":14}";

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {put, sizeof(put) - 1},
    {mine, sizeof(mine) - 1},
    {later, sizeof(later) - 1},
    {latest_ended, sizeof(latest_ended) - 1},
    {none, sizeof(none) - 1},
    {after, sizeof(after) - 1},
    {marked, sizeof(marked) - 1},
    {failed, sizeof(failed) - 1},
    {0},
};
