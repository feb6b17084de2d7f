/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "status-text.h"

#include <string.h>
#include <time.h>

#include "monitor/core/core.h"

#define WIDTH	  80
#define INDENT	  14 /* where the text of a line begins */
#define BAR_WIDTH 24

/* --- exit codes ------------------------------------------------------------------ */

static const enum vmft_exit exit_codes[] = {
    [VMFT_STATE_FORMING] = VMFT_EXIT_WAITING,	  [VMFT_STATE_ATTACHING] = VMFT_EXIT_ATTACHING,
    [VMFT_STATE_SEALING] = VMFT_EXIT_ATTACHING,	  [VMFT_STATE_PROTECTED] = VMFT_EXIT_OK,
    [VMFT_STATE_LAGGING] = VMFT_EXIT_OK,	  [VMFT_STATE_SHIPPING] = VMFT_EXIT_WAITING,
    [VMFT_STATE_HANDING_OVER] = VMFT_EXIT_OK,	  [VMFT_STATE_HANDED_OVER] = VMFT_EXIT_HANDED_OVER,
    [VMFT_STATE_DRAINING] = VMFT_EXIT_WAITING,	  [VMFT_STATE_ENDING] = VMFT_EXIT_WAITING,
    [VMFT_STATE_ARBITRATING] = VMFT_EXIT_WAITING, [VMFT_STATE_WAITING_ARBITER] = VMFT_EXIT_WAITING,
    [VMFT_STATE_GOING_LIVE] = VMFT_EXIT_WAITING,  [VMFT_STATE_ALONE] = VMFT_EXIT_ALONE,
    [VMFT_STATE_FENCED] = VMFT_EXIT_FENCED,	  [VMFT_STATE_DIVERGED] = VMFT_EXIT_DIVERGED,
    [VMFT_STATE_ENDED] = VMFT_EXIT_ENDED,
};

_Static_assert(sizeof(exit_codes) / sizeof(exit_codes[0]) == VMFT_STATE_COUNT,
	       "each state has an exit code");

enum vmft_exit vmft_status_exit_code(const char *state)
{
	for (int i = 0; i < VMFT_STATE_COUNT; i++)
		if (strcmp(vmft_state_name((enum vmft_state)i), state) == 0)
			return exit_codes[i];
	return VMFT_EXIT_INTERNAL;
}

enum vmft_exit vmft_status_worse(enum vmft_exit a, enum vmft_exit b)
{
	/* The worst last. */
	static const enum vmft_exit order[] = {
	    VMFT_EXIT_OK,      VMFT_EXIT_ENDED,	   VMFT_EXIT_HANDED_OVER, VMFT_EXIT_ATTACHING,
	    VMFT_EXIT_WAITING, VMFT_EXIT_FENCED,   VMFT_EXIT_DIVERGED,	  VMFT_EXIT_ALONE,
	    VMFT_EXIT_ADDRESS, VMFT_EXIT_INTERNAL,
	};

	for (size_t i = sizeof(order) / sizeof(order[0]); i > 0; i--)
		if (a == order[i - 1] || b == order[i - 1])
			return order[i - 1];
	return VMFT_EXIT_INTERNAL;
}

/* --- times ----------------------------------------------------------------------- */

void vmft_duration_print(uint64_t ms, char *text, size_t size)
{
	const unsigned long long s = ms / 1000, min = s / 60, h = min / 60, d = h / 24;

	if (s < 60)
		(void)snprintf(text, size, "%llu s", s);
	else if (min < 60)
		(void)snprintf(text, size, "%llu min %llu s", min, s % 60);
	else if (h < 24)
		(void)snprintf(text, size, "%llu h %llu min", h, min % 60);
	else
		(void)snprintf(text, size, "%llu d %llu h", d, h % 24);
}

void vmft_time_print(int64_t wall_ms, char *text, size_t size)
{
	const time_t seconds = (time_t)(wall_ms / 1000);
	struct tm local;

	if (!localtime_r(&seconds, &local) || strftime(text, size, "%F %T", &local) == 0)
		(void)snprintf(text, size, "?");
}

static uint64_t ago_ms(const struct vmft_status *s, uint64_t then_ms)
{
	return s->now_ms > then_ms ? s->now_ms - then_ms : 0;
}

/* "2026-11-30 14:02:11 (3 min 20 s ago)" */
static void print_moment(const struct vmft_status *s, int64_t wall_ms, uint64_t then_ms, char *text,
			 size_t size)
{
	const uint64_t ago = ago_ms(s, then_ms);
	char when[32], since[32];

	vmft_time_print(wall_ms - (int64_t)ago, when, sizeof(when));
	vmft_duration_print(ago, since, sizeof(since));
	(void)snprintf(text, size, "%s (%s ago)", when, since);
}

/* --- lines ----------------------------------------------------------------------- */

/* "  label       text", broken between words; what follows is indented. */
static void print_field(FILE *to, const char *label, const char *text)
{
	size_t column = INDENT;

	(void)fprintf(to, "  %-*s", INDENT - 2, label);
	while (*text) {
		const size_t n = strcspn(text, " ");

		if (column > INDENT && column + 1 + n > WIDTH) {
			(void)fprintf(to, "\n%*s", INDENT, "");
			column = INDENT;
		} else if (column > INDENT) {
			(void)fputc(' ', to);
			column++;
		}
		(void)fwrite(text, 1, n, to);
		column += n;
		text += n + strspn(text + n, " ");
	}
	(void)fputc('\n', to);
}

static bool is_primary(const struct vmft_status *s)
{
	return (s->parts & VMFT_STATUS_PRIMARY) != 0;
}

/* "12 kB"; a person reads three digits. */
static void print_bytes(uint64_t bytes, char *text, size_t size)
{
	static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
	double value = (double)bytes;
	size_t i = 0;

	while (value >= 1000 && i + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1000;
		i++;
	}
	(void)snprintf(text, size, i == 0 || value >= 10 ? "%.0f %s" : "%.1f %s", value, units[i]);
}

static void print_state(const struct vmft_status *s, int64_t wall_ms, FILE *to)
{
	char when[32], since[32], text[128];

	vmft_time_print(wall_ms - (int64_t)ago_ms(s, s->since_ms), when, sizeof(when));
	vmft_duration_print(ago_ms(s, s->since_ms), since, sizeof(since));
	(void)snprintf(text, sizeof(text), "%s for %s, since %s", s->state, since, when);
	print_field(to, "state", text);
	/* The text of no reason. */
	if (s->reason[0] && strcmp(s->reason, "none") != 0)
		print_field(to, "because", s->reason);
}

static void print_side(const struct vmft_status *s, FILE *to)
{
	char text[192];

	(void)snprintf(text, sizeof(text), "%s, generation %llu; QEMU is pid %llu%s", s->role,
		       (unsigned long long)s->generation, (unsigned long long)s->guest_pid,
		       s->guest_asleep ? "; the guest sleeps" : "");
	print_field(to, "this side", text);
}

static void print_peer(const struct vmft_status *s, FILE *to)
{
	char text[512];

	if (!s->peer[0]) {
		print_field(to, "peer", s->connect_error[0] ? s->connect_error : "none");
		return;
	}
	(void)snprintf(text, sizeof(text), "host %s at %s; %s; heartbeat path: %s", s->peer,
		       s->peer_address, s->detection, s->heartbeat_path);
	print_field(to, "peer", text);
	if (s->connect_error[0])
		print_field(to, "", s->connect_error);
}

static void print_strategy(const struct vmft_status *s, FILE *to)
{
	char text[320];

	(void)snprintf(text, sizeof(text), "%s: %s", s->strategy, s->strategy_reason);
	print_field(to, "strategy", text);
	if (!(s->parts & VMFT_STATUS_EPOCHS) || !s->peer[0])
		return;
	(void)snprintf(text, sizeof(text),
		       "of %.0f ms, the guest is stopped for %.1f ms after each (medians)",
		       (double)s->length.p50 / 1e6, (double)s->pause.p50 / 1e6);
	print_field(to, "epochs", text);
}

static void print_lag(const struct vmft_status *s, FILE *to)
{
	char rate[32], text[256];
	int n;

	if (!is_primary(s)) {
		(void)snprintf(text, sizeof(text), "held up to %llu, replayed up to %llu",
			       (unsigned long long)s->log_held,
			       (unsigned long long)s->log_replayed);
		print_field(to, "log", text);
		return;
	}
	if (!s->peer[0])
		return;
	print_bytes(s->log_bytes_per_s, rate, sizeof(rate));
	n = snprintf(text, sizeof(text), "the backup is %llu ms behind; %s/s of log",
		     (unsigned long long)s->lag_ms, rate);
	if (s->throttle_permille > 0)
		n +=
		    snprintf(text + n, sizeof(text) - (size_t)n, "; the guest is slowed by %.0f %%",
			     (double)s->throttle_permille / 10);
	if (s->replay_stands_ms > 0)
		(void)snprintf(text + n, sizeof(text) - (size_t)n,
			       "; its replay has stood still for %.1f s",
			       (double)s->replay_stands_ms / 1e3);
	print_field(to, "lag", text);
}

static void print_output(const struct vmft_status *s, FILE *to)
{
	char held[32], text[256];

	if (!is_primary(s))
		return;
	print_bytes(s->gate_bytes, held, sizeof(held));
	(void)snprintf(text, sizeof(text), "%llu frames (%s) held back, %llu have left",
		       (unsigned long long)s->gate_frames, held,
		       (unsigned long long)s->frames_released);
	print_field(to, "output", text);
}

static void print_failover(const struct vmft_status *s, int64_t wall_ms, FILE *to)
{
	char moment[80], text[VMFT_STATUS_REASON + 128];

	if (s->parts & VMFT_STATUS_TOOK_OVER) {
		print_moment(s, wall_ms, s->took_over_ms, moment, sizeof(moment));
		(void)snprintf(text, sizeof(text), "the guest went live here %s: %s", moment,
			       s->took_over_reason);
		print_field(to, "failover", text);
	} else {
		print_field(to, "failover", "none to this side since it was started");
	}
	if (!(s->parts & VMFT_STATUS_LOST_BACKUP))
		return;
	print_moment(s, wall_ms, s->backup_lost_ms, moment, sizeof(moment));
	(void)snprintf(text, sizeof(text), "%s: %s", moment, s->backup_lost_reason);
	print_field(to, "backup lost", text);
}

static void print_attach(const struct vmft_status *s, FILE *to)
{
	char text[256];

	if (vmft_status_is_attaching(s) && is_primary(s)) {
		(void)snprintf(
		    text, sizeof(text), "%s, round %llu: %.0f of %.0f MB, %.0f MB/s, %.1f s to go",
		    s->attach_phase, (unsigned long long)s->attach_round,
		    (double)s->attach_done_bytes / 1e6,
		    ((double)s->attach_done_bytes + (double)s->attach_left_bytes) / 1e6,
		    (double)s->attach_bytes_per_s / 1e6, (double)s->attach_expected_ms / 1000);
		print_field(to, "attach", text);
	} else if (s->parts & VMFT_STATUS_ATTACHED) {
		(void)snprintf(text, sizeof(text),
			       "the last one took %.1f s and stopped the guest for %.1f ms",
			       (double)s->attach_last.total_ns / 1e9,
			       (double)s->attach_last.stun_ns / 1e6);
		print_field(to, "attach", text);
	}
	if (!s->attach_error[0])
		return;
	(void)snprintf(text, sizeof(text), "the last one failed: %s", s->attach_error);
	print_field(to, "", text);
}

static void print_arbiter(const struct vmft_status *s, FILE *to)
{
	char text[sizeof(s->arbiter) + sizeof(s->arbiter_error) + 32];

	(void)snprintf(text, sizeof(text), "%s%s%s", s->arbiter,
		       s->arbiter_error[0] ? " gives no answer: " : "", s->arbiter_error);
	print_field(to, "arbiter", text);
}

/* What is there only when something is wrong. */
static void print_trouble(const struct vmft_status *s, FILE *to)
{
	char text[256];

	if (s->disk_errors > 0) {
		(void)snprintf(text, sizeof(text), "%llu, the last: %s%s",
			       (unsigned long long)s->disk_errors, s->disk_error,
			       s->disk_paused ? "; QEMU has paused the guest for it" : "");
		print_field(to, "disk errors", text);
	}
	if (s->divergences > 0) {
		(void)snprintf(text, sizeof(text), "%llu, the last: %s",
			       (unsigned long long)s->divergences, s->divergence);
		print_field(to, "divergences", text);
	}
	if (s->console_dropped > 0) {
		print_bytes(s->console_dropped, text, sizeof(text));
		print_field(to, "console", text);
		print_field(to, "", "that nobody read were dropped");
	}
	if (s->parts & VMFT_STATUS_FROZEN)
		print_field(to, "frozen", "the guest is stopped; vmft thaw starts it");
	if (s->save_log_error[0])
		print_field(to, "save-log", s->save_log_error);
}

void vmft_status_print(const struct vmft_status *status, int64_t wall_ms, FILE *to)
{
	(void)fprintf(to, "%s on host %s (%s)\n", status->name, status->host, status->address);
	print_state(status, wall_ms, to);
	print_side(status, to);
	print_peer(status, to);
	print_strategy(status, to);
	print_lag(status, to);
	print_output(status, to);
	print_failover(status, wall_ms, to);
	print_attach(status, to);
	print_arbiter(status, to);
	print_trouble(status, to);
	print_field(to, "next", status->next[0] ? status->next : "nothing needs to be done");
}

/* --- one line for each side ------------------------------------------------------- */

#define LINE "%-22s %-8s %-15s %-13s %-4s %-7s %s\n"

void vmft_status_print_headline(FILE *to)
{
	(void)fprintf(to, LINE, "SIDE", "ROLE", "STATE", "FOR", "GEN", "LAG", "PEER");
}

void vmft_status_print_line(const char *side, const struct vmft_status *status, FILE *to)
{
	char since[32], generation[24], lag[32] = "-";

	vmft_duration_print(ago_ms(status, status->since_ms), since, sizeof(since));
	(void)snprintf(generation, sizeof(generation), "%llu",
		       (unsigned long long)status->generation);
	if (is_primary(status) && status->peer[0])
		(void)snprintf(lag, sizeof(lag), "%llu ms", (unsigned long long)status->lag_ms);
	(void)fprintf(to, LINE, side, status->role, status->state, since, generation, lag,
		      status->peer[0] ? status->peer : "-");
}

/* --- an attach under way ---------------------------------------------------------- */

bool vmft_status_is_attaching(const struct vmft_status *status)
{
	return strcmp(status->state, "attaching") == 0 || strcmp(status->state, "sealing") == 0;
}

void vmft_status_print_attach(const struct vmft_status *status, char *text, size_t size)
{
	const double done = (double)status->attach_done_bytes / 1e6;
	const double left = (double)status->attach_left_bytes / 1e6;
	const double share = done + left > 0 ? done / (done + left) : 0;
	char bar[BAR_WIDTH + 1];
	int n;

	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < (int)(share * BAR_WIDTH + 0.5) ? '#' : '-';
	bar[BAR_WIDTH] = '\0';
	n = snprintf(text, size,
		     "%s, round %llu [%s] %3.0f %% %.0f of %.0f MB, %.0f MB/s, %.0f MB/s written, "
		     "%.1f s to go",
		     status->attach_phase, (unsigned long long)status->attach_round, bar,
		     100 * share, done, done + left, (double)status->attach_bytes_per_s / 1e6,
		     (double)status->attach_dirty_bytes_per_s / 1e6,
		     (double)status->attach_expected_ms / 1000);
	if (status->throttle_permille > 0 && n > 0 && (size_t)n < size)
		(void)snprintf(text + n, size - (size_t)n, ", guest slowed by %.0f %%",
			       (double)status->throttle_permille / 10);
}
