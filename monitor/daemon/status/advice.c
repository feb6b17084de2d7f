/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A table: the first row that fits the situation has the text. Words in braces in it stand for
 * figures of the situation, see words[].
 */
#include "advice.h"

#include <stdio.h>
#include <string.h>

#define S UINT64_C(1000000000)

#define AS_BACKUP "start this host anew with VMFT_ROLE=backup"
#define ANY	  VMFT_STATE_COUNT

/* --- conditions ------------------------------------------------------------------ */

static bool is_primary(const struct vmft_situation *s)
{
	return s->side == VMFT_SIDE_PRIMARY;
}

static bool backup_stands(const struct vmft_situation *s)
{
	return s->stands;
}

static bool is_stuck(const struct vmft_situation *s)
{
	return s->stuck;
}

static bool was_refused(const struct vmft_situation *s)
{
	return s->refusal[0] != '\0';
}

static bool attaches_by_hand(const struct vmft_situation *s)
{
	return s->manual;
}

static bool retries_later(const struct vmft_situation *s)
{
	return s->retry_later;
}

static bool drops_backup(const struct vmft_situation *s)
{
	return s->drops;
}

/* --- the table ------------------------------------------------------------------- */

#define STUCK                                                                                      \
	"replay stands still at log position {replayed} of {held} and the primary is gone: if a "  \
	"disk of this host does not answer, repair it and replay goes on; if the primary runs on " \
	"by itself, kill {pid} and " AS_BACKUP                                                     \
	"; otherwise the newest state is in the primary's images: start the guest from those. "    \
	"This side keeps what was replayed (its images, gcore {pid}) and the report"
#define LAGGING                                                                                    \
	"the backup does not keep up and this guest is slowed for it: give the backup's host "     \
	"more processor time or bandwidth, or this guest less to do"
#define WAITS_FOR_PRIMARY                                                                          \
	"this side waits on {address} for the live side, which connects by itself; if none is "    \
	"live, start the primary on its host (VMFT_ROLE=primary) with the same pair file and "     \
	"QEMU command line"
#define HANDED_OVER                                                                                \
	"nothing: the guest is handed over to the backup; once QEMU (pid {pid}) has ended, "       \
	"" AS_BACKUP

static const struct row {
	enum vmft_state state;
	bool (*when)(const struct vmft_situation *s); /* NULL: always */
	const char *text;
	bool reach; /* what keeps a backup from being reached is added */
} rows[] = {
    {.state = ANY,
     .when = backup_stands,
     .text = "the backup's replay stands still at log position {stands at}: it could not take over "
	     "now; if its host is stopped or its disk does not answer, repair that; in {stands "
	     "drop} s it is given up, and one that is started anew is attached again"},
    {.state = VMFT_STATE_FORMING,
     .when = is_primary,
     .text = "the guest starts when its backup is there: start that on another host "
	     "(VMFT_ROLE=backup), or run \"vmft start\" here to start the guest unprotected",
     .reach = true},
    {.state = VMFT_STATE_FORMING,
     .when = was_refused,
     .text = WAITS_FOR_PRIMARY "; it has refused {refusal}"},
    {.state = VMFT_STATE_FORMING, .text = WAITS_FOR_PRIMARY},
    {.state = VMFT_STATE_ATTACHING,
     .text = "nothing: the guest's state is being sent to the backup (\"vmft watch\" follows it); "
	     "until all of it is there, nothing protects the guest"},
    {.state = VMFT_STATE_SEALING, .text = "nothing: in a moment the guest is protected"},
    {.state = VMFT_STATE_LAGGING,
     .when = drops_backup,
     .text = LAGGING "; in {drop} s the backup is given up"},
    {.state = VMFT_STATE_LAGGING, .text = LAGGING},
    {.state = VMFT_STATE_SHIPPING,
     .text = "nothing: the guest has ended here, the backup is sent the rest of its log"},
    {.state = VMFT_STATE_HANDING_OVER, .text = HANDED_OVER},
    {.state = VMFT_STATE_HANDED_OVER, .text = HANDED_OVER},
    {.state = VMFT_STATE_DRAINING, .when = is_stuck, .text = STUCK},
    {.state = VMFT_STATE_DRAINING,
     .text = "nothing: the primary is lost; what it sent is replayed to its end, then this guest "
	     "goes live if the arbiter allows it"},
    {.state = VMFT_STATE_ENDING, .when = is_stuck, .text = STUCK},
    {.state = VMFT_STATE_ENDING,
     .text = "nothing: the guest has ended on the primary, this side replays up to its end"},
    {.state = VMFT_STATE_ARBITRATING,
     .text = "nothing: the arbiter was asked which side goes on, and has not answered yet"},
    {.state = VMFT_STATE_WAITING_ARBITER,
     .text = "make the arbiter {arbiter} reachable from this host: it is asked again and again, "
	     "and neither side goes on until it answers"},
    {.state = VMFT_STATE_GOING_LIVE, .text = "nothing: in a moment the guest runs here"},
    {.state = VMFT_STATE_ALONE,
     .when = attaches_by_hand,
     .text = "nothing protects this guest: start a backup on another host (VMFT_ROLE=backup), then "
	     "run \"vmft attach\" here",
     .reach = true},
    {.state = VMFT_STATE_ALONE,
     .when = retries_later,
     .text = "nothing protects this guest, its backup did not keep up: give the backup's host more "
	     "processor time or bandwidth; a backup is attached in {retry} s, or at once by \"vmft "
	     "attach\" here",
     .reach = true},
    {.state = VMFT_STATE_ALONE,
     .text = "nothing protects this guest: start a backup on another host (VMFT_ROLE=backup), it "
	     "is attached automatically",
     .reach = true},
    {.state = VMFT_STATE_FENCED,
     .when = is_primary,
     .text =
	 "the other side is live as generation {next generation}, this guest is stopped for good: "
	 "look at it as long as you need to (its console, its images read-only, its memory with "
	 "gcore {pid}), then kill {pid} and " AS_BACKUP ": it is attached to the live side"},
    {.state = VMFT_STATE_FENCED,
     .text = "the primary goes on as generation {next generation} without this backup: once QEMU "
	     "(pid {pid}) has ended, " AS_BACKUP},
    {.state = VMFT_STATE_DIVERGED,
     .text = "this backup's guest differs from the primary's and may never go live: once QEMU (pid "
	     "{pid}) has ended, " AS_BACKUP "; it is attached again"},
    {.state = VMFT_STATE_ENDED,
     .text = "this side's guest is gone (the reason says how): start it anew if it should run"},
};

static const char *const reach_text[VMFT_REACH_FAULTS] = {
    [VMFT_REACH_OK] = "",
    [VMFT_REACH_MTU] = ": give all interfaces and switches of the channel one MTU",
    [VMFT_REACH_ADDRESS] = ": give this host the address that its section of the pair file has",
    [VMFT_REACH_FILES] = ": raise the limit of open files",
    [VMFT_REACH_NETWORK] = (": repair the network between the two hosts, or the address in "
			    "the pair file"),
};

/* --- words in braces ------------------------------------------------------------- */

static uint64_t get_pid(const struct vmft_situation *s)
{
	return (uint64_t)s->guest_pid;
}

static uint64_t get_next_generation(const struct vmft_situation *s)
{
	return s->generation + 1;
}

static uint64_t get_replayed(const struct vmft_situation *s)
{
	return s->replayed;
}

static uint64_t get_held(const struct vmft_situation *s)
{
	return s->held;
}

static uint64_t get_stands_at(const struct vmft_situation *s)
{
	return s->stands_at;
}

/* Seconds are rounded up while there is any time left. */
static uint64_t seconds(uint64_t ns)
{
	return ns == 0 ? 0 : ns / S + 1;
}

static uint64_t get_stands_drop(const struct vmft_situation *s)
{
	return seconds(s->stands_drop_ns);
}

static uint64_t get_drop(const struct vmft_situation *s)
{
	return seconds(s->drop_ns);
}

static uint64_t get_retry(const struct vmft_situation *s)
{
	return seconds(s->retry_ns);
}

static const char *get_arbiter(const struct vmft_situation *s)
{
	return s->arbiter;
}

static const char *get_address(const struct vmft_situation *s)
{
	return s->address;
}

static const char *get_refusal(const struct vmft_situation *s)
{
	return s->refusal;
}

static const struct {
	const char *word;
	uint64_t (*number)(const struct vmft_situation *s);
	const char *(*text)(const struct vmft_situation *s); /* where there is no number */
} words[] = {
    {"pid", get_pid, NULL},
    {"next generation", get_next_generation, NULL},
    {"replayed", get_replayed, NULL},
    {"held", get_held, NULL},
    {"stands at", get_stands_at, NULL},
    {"stands drop", get_stands_drop, NULL},
    {"drop", get_drop, NULL},
    {"retry", get_retry, NULL},
    {"arbiter", NULL, get_arbiter},
    {"address", NULL, get_address},
    {"refusal", NULL, get_refusal},
};

/* --- one sentence ---------------------------------------------------------------- */

struct out {
	char *text;
	size_t size, used;
};

static void add(struct out *out, const char *text, size_t n)
{
	const size_t room = out->size - 1 - out->used;

	if (n > room)
		n = room;
	memcpy(out->text + out->used, text, n);
	out->used += n;
	out->text[out->used] = '\0';
}

/* word: n bytes of a row's text, between braces. What it stands for is cut: a path may be long. */
static void add_word(struct out *out, const struct vmft_situation *s, const char *word, size_t n)
{
	char value[201] = "?";

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strlen(words[i].word) != n || memcmp(words[i].word, word, n) != 0)
			continue;
		if (words[i].number)
			(void)snprintf(value, sizeof(value), "%llu",
				       (unsigned long long)words[i].number(s));
		else
			(void)snprintf(value, sizeof(value), "%s", words[i].text(s));
	}
	add(out, value, strlen(value));
}

static void expand(struct out *out, const struct vmft_situation *s, const char *template)
{
	const char *open, *close;

	while ((open = strchr(template, '{')) && (close = strchr(open, '}'))) {
		add(out, template, (size_t)(open - template));
		add_word(out, s, open + 1, (size_t)(close - open - 1));
		template = close + 1;
	}
	add(out, template, strlen(template));
}

static void add_reach(struct out *out, const struct vmft_situation *s)
{
	if (!s->connect_error[0])
		return;
	add(out, "; so far ", 9);
	add(out, s->connect_error, strlen(s->connect_error));
	add(out, reach_text[s->reach], strlen(reach_text[s->reach]));
}

bool vmft_advice(const struct vmft_situation *s, char *text, size_t size)
{
	struct out out = {.text = text, .size = size};

	text[0] = '\0';
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];

		if ((row->state != ANY && row->state != s->state) || (row->when && !row->when(s)))
			continue;
		expand(&out, s, row->text);
		if (row->reach)
			add_reach(&out, s);
		return true;
	}
	return false;
}
