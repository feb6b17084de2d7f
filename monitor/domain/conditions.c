/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "conditions.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "look.h"
#include "monitor/common/pair-config.h"
#include "monitor/common/strategy-kind.h"

/* What follows is said when the clocks differ by more. No part of vmft needs them to be equal. */
#define CLOCK_NOTED_NS INT64_C(1000000000)
/* A channel below this slows an ordinary guest down. */
#define SLOW_BYTES_PER_S UINT64_C(12500000)
#define LIST_MAX	 64u /* of a list that another host sent */
#define BUILD_SHOWN	 12

const char *vmft_condition_result_name(enum vmft_condition_result result)
{
	static const char *const names[] = {
	    [VMFT_CONDITION_PASSED] = "ok",
	    [VMFT_CONDITION_NOTED] = "note",
	    [VMFT_CONDITION_FAILED] = "FAIL",
	};

	return names[result];
}

void vmft_conditions_add(struct vmft_conditions *c, enum vmft_condition_result result,
			 const char *what, const char *format, ...)
{
	struct vmft_condition *item = &c->item[c->count];
	va_list args;

	c->failed += result == VMFT_CONDITION_FAILED;
	if (c->count == VMFT_CONDITIONS_MAX)
		return;
	c->count++;
	item->result = result;
	(void)snprintf(item->what, sizeof(item->what), "%s", what);
	va_start(args, format);
	(void)vsnprintf(item->text, sizeof(item->text), format, args);
	va_end(args);
}

#define PASSED(what, ...) vmft_conditions_add(c, VMFT_CONDITION_PASSED, what, __VA_ARGS__)
#define NOTED(what, ...)  vmft_conditions_add(c, VMFT_CONDITION_NOTED, what, __VA_ARGS__)
#define FAILED(what, ...) vmft_conditions_add(c, VMFT_CONDITION_FAILED, what, __VA_ARGS__)

struct what {
	char text[96];
};

static struct what on(const char *part, const char *host)
{
	struct what ret;

	(void)snprintf(ret.text, sizeof(ret.text), "%s on %s", part, host);
	return ret;
}

static struct json_object *part_of(const struct vmft_evidence *e, int host, const char *name)
{
	return vmft_look_object(e->facts[host], name);
}

static bool is_known(const struct vmft_evidence *e)
{
	return e->facts[VMFT_HERE] && e->facts[VMFT_THERE];
}

static const char *text_of(const struct vmft_evidence *e, int host, const char *part,
			   const char *name)
{
	return vmft_look_text(part_of(e, host, part), name);
}

/* --- programs ----------------------------------------------------------------- */

/* Both hosts have the same XML, which names it. */
static void judge_wrapper(const struct vmft_evidence *e, struct vmft_conditions *c)
{
	const char *here = vmft_look_text(e->facts[VMFT_HERE], "wrapper");
	const char *there = vmft_look_text(e->facts[VMFT_THERE], "wrapper");

	if (!here[0] || !there[0])
		FAILED("vmft-qemu", "it is not beside vmft on %s; install all of vmft",
		       e->host[here[0] ? VMFT_THERE : VMFT_HERE]);
	else if (strcmp(here, there) != 0)
		FAILED("vmft-qemu", "%s on %s, %s on %s; install it in the same place on both",
		       here, e->host[VMFT_HERE], there, e->host[VMFT_THERE]);
	else
		PASSED("vmft-qemu", "%s on both hosts", here);
}

/* The pair file, records and sockets have the domain's name. */
static void judge_name(const struct vmft_evidence *e, struct vmft_conditions *c)
{
	static const char good[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	const char *name = e->domain->name;

	if (name[strspn(name, good)] || name[0] == '.' || strlen(name) > VMFT_PAIR_NAME_MAX)
		FAILED("name",
		       "a name of up to 64 of A-Z a-z 0-9 . _ - is needed; rename it: virsh "
		       "domrename");
}

static void judge_vmft(const struct vmft_evidence *e, struct vmft_conditions *c)
{
	const char *here = vmft_look_text(e->facts[VMFT_HERE], "version");
	const char *there = vmft_look_text(e->facts[VMFT_THERE], "version");

	for (int host = 0; host < VMFT_BOTH; host++)
		if (!e->facts[host])
			FAILED(on("vmft", e->host[host]).text, "%s", e->unanswered[host]);
	if (!is_known(e))
		return;
	if (strcmp(here, there) == 0)
		PASSED("vmft", "version %s on both hosts", here);
	else
		FAILED("vmft", "version %s on %s, %s on %s; install the same on both", here,
		       e->host[VMFT_HERE], there, e->host[VMFT_THERE]);
	judge_wrapper(e, c);
	for (int host = 0; host < VMFT_BOTH; host++)
		if (!vmft_look_truth(e->facts[host], "root"))
			NOTED(on("user", e->host[host]).text,
			      "not asked as root: some of what follows may look worse than it is");
}

static void judge_qemu(const struct vmft_evidence *e, int host, struct vmft_conditions *c)
{
	const struct what what = on("QEMU", e->host[host]);
	struct json_object *qemu = part_of(e, host, "qemu");
	const char *error = vmft_look_text(qemu, "error");

	if (!e->facts[host])
		return;
	if (error[0])
		FAILED(what.text, "%s", error);
	else if (!vmft_look_truth(qemu, "tried"))
		NOTED(what.text,
		      "%s, build %.*s, was not tried with this vmft yet; run vmft-qemu --self-test "
		      "there (20 s), or the first start does",
		      vmft_look_text(qemu, "version"), BUILD_SHOWN, vmft_look_text(qemu, "build"));
	else
		PASSED(what.text, "%s, build %.*s", vmft_look_text(qemu, "version"), BUILD_SHOWN,
		       vmft_look_text(qemu, "build"));
}

static void judge_builds(const struct vmft_evidence *e, struct vmft_conditions *c)
{
	struct json_object *line = part_of(e, VMFT_HERE, "line");
	const char *here = text_of(e, VMFT_HERE, "qemu", "build");
	const char *there = text_of(e, VMFT_THERE, "qemu", "build");
	enum vmft_strategy_kind strategy = VMFT_STRATEGY_AUTO;
	bool moves;

	if (!here[0] || !there[0])
		return;
	(void)vmft_strategy_kind_parse(vmft_look_text(line, "strategy"), &strategy);
	moves = vmft_strategy_kind_moves_to_builds(strategy);
	if (strcmp(here, there) == 0)
		PASSED("QEMU's builds", "the same on both hosts");
	else if (moves && vmft_look_truth(line, "versioned"))
		PASSED("QEMU's builds", "they differ, and the machine is the same in both");
	else if (moves)
		FAILED(
		    "QEMU's builds",
		    "they differ, and the machine's type has no version; name one that both have "
		    "(machine='pc-q35-7.2'), or install the same package version on both hosts");
	else
		FAILED("QEMU's builds",
		       "they differ, and in lockstep they must not; install the same package "
		       "version on both hosts, or use --strategy checkpoint");
}

/* --- the guest ---------------------------------------------------------------- */

static void judge_line(const struct vmft_evidence *e, int host, struct vmft_conditions *c)
{
	const struct what what = on("command line", e->host[host]);
	struct json_object *line = part_of(e, host, "line");
	struct json_object *refused = vmft_look_list(line, "refused");
	const size_t n = refused ? json_object_array_length(refused) : 0;

	if (!line)
		return;
	if (vmft_look_text(line, "error")[0]) {
		FAILED(what.text, "%s", vmft_look_text(line, "error"));
		return;
	}
	for (size_t i = 0; i < n && i < LIST_MAX; i++)
		FAILED(what.text, "%s",
		       json_object_get_string(json_object_array_get_idx(refused, i)));
	if (n == 0)
		PASSED(what.text, "%s (%s)", vmft_look_text(line, "strategy"),
		       vmft_look_text(line, "reason"));
}

static void judge_machine(const struct vmft_evidence *e, struct vmft_conditions *c)
{
	const char *here = text_of(e, VMFT_HERE, "line", "machine");
	const char *there = text_of(e, VMFT_THERE, "line", "machine");
	const char *cpu = vmft_look_text(e->facts[VMFT_HERE], "processor");
	const char *other = vmft_look_text(e->facts[VMFT_THERE], "processor");

	if (!here[0] || !there[0])
		return;
	if (strcmp(here, there) == 0)
		PASSED("machine", "the same on both hosts");
	else if (e->domain->is_kvm && strcmp(cpu, other) != 0)
		FAILED("machine",
		       "the guest would see another processor: %s has %s, %s has %s; name a model "
		       "that both have",
		       e->host[VMFT_HERE], cpu, e->host[VMFT_THERE], other);
	else
		FAILED("machine",
		       "the two libvirts make another guest of the domain, or its kernel, "
		       "initrd or firmware differ; make those equal on both hosts");
}

static void judge_kvm(const struct vmft_evidence *e, struct vmft_conditions *c)
{
	if (!e->domain->is_kvm)
		return;
	for (int host = 0; host < VMFT_BOTH; host++) {
		const struct what what = on("KVM", e->host[host]);

		if (!e->facts[host])
			continue;
		if (vmft_look_truth(e->facts[host], "kvm"))
			PASSED(what.text, "/dev/kvm can be used");
		else
			FAILED(what.text, "/dev/kvm cannot be opened; load kvm_amd or kvm_intel");
	}
}

/* --- disks and networks --------------------------------------------------------- */

static struct json_object *disk_of(const struct vmft_evidence *e, int host,
				   const struct vmft_domain_disk *disk)
{
	return vmft_look_find(vmft_look_list(e->facts[host], "disks"), "path", disk->path);
}

static void judge_copy(const struct vmft_evidence *e, const struct vmft_domain_disk *disk,
		       const char *what, struct vmft_conditions *c)
{
	struct json_object *here = disk_of(e, VMFT_HERE, disk);
	struct json_object *there = disk_of(e, VMFT_THERE, disk);
	const int64_t bytes = vmft_look_number(here, "bytes");
	const int64_t seen = vmft_look_number(here, "guest_bytes");
	const int64_t space = vmft_look_number(there, "free");
	const char *host = e->host[VMFT_THERE];

	if (vmft_look_text(there, "error")[0])
		FAILED(what, "%s on %s: %s; make its directory there", disk->path, host,
		       vmft_look_text(there, "error"));
	else if (vmft_look_truth(there, "is_there") &&
		 vmft_look_number(there, "guest_bytes") == seen)
		PASSED(what, "%s, %lld MB on both hosts", disk->path, (long long)(seen / 1000000));
	else if (vmft_look_truth(there, "is_there"))
		FAILED(what,
		       "%s: the guest would see %lld bytes on %s and sees %lld here; make it as "
		       "long there",
		       disk->path, (long long)vmft_look_number(there, "guest_bytes"), host,
		       (long long)seen);
	else if (disk->read_only)
		FAILED(what, "%s is not on %s; copy it there", disk->path, host);
	else if (space < bytes)
		FAILED(what, "%s needs %lld MB on %s, where %lld MB are free", disk->path,
		       (long long)(bytes / 1000000), host, (long long)(space / 1000000));
	else
		PASSED(what, "%s, %lld MB; made on %s, where %lld MB are free", disk->path,
		       (long long)(bytes / 1000000), host, (long long)(space / 1000000));
}

static void judge_disk(const struct vmft_evidence *e, const struct vmft_domain_disk *disk,
		       struct vmft_conditions *c)
{
	struct json_object *here = disk_of(e, VMFT_HERE, disk);
	char what[96];

	(void)snprintf(what, sizeof(what), "disk %s", disk->target);
	if (disk->is_remote)
		FAILED(what, "it is no file or block device of the host; use one");
	else if (!disk->path[0])
		PASSED(what, "an empty drive");
	else if (!e->facts[VMFT_HERE])
		return;
	else if (vmft_look_truth(here, "is_there") && vmft_look_number(here, "guest_bytes") <= 0)
		FAILED(what, "%s: its size cannot be read as %s; name the format raw or qcow2",
		       disk->path, disk->format[0] ? disk->format : "no format");
	else if (!vmft_look_truth(here, "is_there"))
		FAILED(what, "%s cannot be read: %s", disk->path,
		       vmft_look_text(here, "error")[0] ? vmft_look_text(here, "error")
							: "it is not there");
	else if (e->facts[VMFT_THERE])
		judge_copy(e, disk, what, c);
}

static void judge_nic(const struct vmft_evidence *e, const struct vmft_domain_nic *nic,
		      struct vmft_conditions *c)
{
	/* The names of networks are resolved, and judged, where libvirt is asked. */
	const bool bridge = strcmp(nic->type, "bridge") == 0;
	const char *list = bridge ? "bridges" : "taps";
	const char *name = strcmp(nic->type, "ethernet") == 0 ? nic->target : nic->source;
	char what[96];

	if (!name[0] || strcmp(nic->type, "network") == 0 || strcmp(nic->type, "user") == 0)
		return;
	for (int host = 0; host < VMFT_BOTH; host++) {
		struct json_object *found =
		    vmft_look_find(vmft_look_list(e->facts[host], list), "name", name);

		if (!e->facts[host])
			continue;
		(void)snprintf(what, sizeof(what), "%s %s on %s", bridge ? "bridge" : "device",
			       name, e->host[host]);
		if (vmft_look_truth(found, "is_there"))
			PASSED(what, "it is there");
		else
			FAILED(what, "there is none; make it, connected to the same network");
	}
}

/* --- the channel ---------------------------------------------------------------- */

static void judge_address(const struct vmft_evidence *e, int host, struct vmft_conditions *c)
{
	const struct what what = on("channel", e->host[host]);
	struct json_object *channel = part_of(e, host, "channel");

	if (!channel)
		return;
	if (vmft_look_text(channel, "error")[0])
		FAILED(what.text, "%s: %s", vmft_look_text(channel, "address"),
		       vmft_look_text(channel, "error"));
	else if (!vmft_look_truth(channel, "is_local"))
		FAILED(what.text, "%s is no address of this host; give its own with --channel",
		       vmft_look_text(channel, "address"));
	else
		PASSED(what.text, "%s, device %s, MTU %lld", vmft_look_text(channel, "address"),
		       vmft_look_text(channel, "device"),
		       (long long)vmft_look_number(channel, "mtu"));
}

static void judge_link(const struct vmft_evidence *e, struct vmft_conditions *c)
{
	const int64_t here = vmft_look_number(part_of(e, VMFT_HERE, "channel"), "mtu");
	const int64_t there = vmft_look_number(part_of(e, VMFT_THERE, "channel"), "mtu");

	if (here > 0 && there > 0 && here != there)
		FAILED("channel's MTU",
		       "%lld on %s, %lld on %s: large frames would be lost; make "
		       "them equal",
		       (long long)here, e->host[VMFT_HERE], (long long)there, e->host[VMFT_THERE]);
	if (e->link)
		vmft_conditions_add(c,
				    e->link->bytes_per_s < SLOW_BYTES_PER_S ? VMFT_CONDITION_NOTED
									    : VMFT_CONDITION_PASSED,
				    "channel", "round trip %.3f ms, %.0f Mbit/s",
				    (double)e->link->round_trip_ns / 1e6,
				    (double)e->link->bytes_per_s * 8 / 1e6);
	else if (is_known(e))
		FAILED("channel", "%s; let TCP through between the two addresses", e->link_error);
}

/* --- the arbiter ---------------------------------------------------------------- */

static void judge_arbiter(const struct vmft_evidence *e, int host, struct vmft_conditions *c)
{
	const struct what what = on("arbiter", e->host[host]);
	struct json_object *arbiter = part_of(e, host, "arbiter");
	const int64_t generation = vmft_look_number(arbiter, "generation");

	if (!arbiter)
		return;
	if (vmft_look_text(arbiter, "error")[0])
		FAILED(what.text, "%s", vmft_look_text(arbiter, "error"));
	else if (generation > 0 && !vmft_look_truth(arbiter, "ended"))
		NOTED(what.text, "reached; generation %lld is held by \"%s\"",
		      (long long)generation, vmft_look_text(arbiter, "owner"));
	else
		PASSED(what.text, "reached");
}

static void judge_one_arbiter(const struct vmft_evidence *e, struct vmft_conditions *c)
{
	struct json_object *there = part_of(e, VMFT_THERE, "arbiter");

	if (!part_of(e, VMFT_HERE, "arbiter")) {
		FAILED("arbiter",
		       "none is given; name one with --arbiter: a directory that both hosts "
		       "share, or an etcd cluster");
		return;
	}
	if (!there || vmft_look_text(there, "error")[0] ||
	    text_of(e, VMFT_HERE, "arbiter", "error")[0])
		return;
	if (strcmp(vmft_look_text(there, "token"), e->token) == 0)
		PASSED("one arbiter", "what %s left there was found by %s", e->host[VMFT_HERE],
		       e->host[VMFT_THERE]);
	else
		FAILED("one arbiter",
		       "what %s left there was not found by %s: it is another "
		       "directory or cluster; both must reach the same one",
		       e->host[VMFT_HERE], e->host[VMFT_THERE]);
}

/* --- clocks --------------------------------------------------------------------- */

static void judge_clocks(const struct vmft_evidence *e, struct vmft_conditions *c)
{
	const int64_t there = vmft_look_number(e->facts[VMFT_THERE], "clock_ns");
	int64_t apart;

	if (!is_known(e))
		return;
	/* Read between the two; by how much it is outside is the least that they differ. */
	apart = there < e->asked_ns	 ? e->asked_ns - there
		: there > e->answered_ns ? there - e->answered_ns
					 : 0;
	if (apart > CLOCK_NOTED_NS)
		NOTED("clocks",
		      "they differ by %.1f s at least; run an NTP client on both hosts, or "
		      "logs are hard to compare",
		      (double)apart / 1e9);
	else
		PASSED("clocks", "they differ by %.1f s at most",
		       (double)(apart + e->answered_ns - e->asked_ns) / 1e9);
}

void vmft_conditions_judge(const struct vmft_evidence *e, struct vmft_conditions *c)
{
	*c = (struct vmft_conditions){0};
	judge_name(e, c);
	judge_vmft(e, c);
	for (int host = 0; host < VMFT_BOTH; host++)
		judge_qemu(e, host, c);
	judge_builds(e, c);
	for (int host = 0; host < VMFT_BOTH; host++)
		judge_line(e, host, c);
	judge_machine(e, c);
	judge_kvm(e, c);
	for (size_t i = 0; i < e->domain->disk_count; i++)
		judge_disk(e, &e->domain->disk[i], c);
	for (size_t i = 0; i < e->domain->nic_count; i++)
		judge_nic(e, &e->domain->nic[i], c);
	for (int host = 0; host < VMFT_BOTH; host++)
		judge_address(e, host, c);
	judge_link(e, c);
	for (int host = 0; host < VMFT_BOTH; host++)
		judge_arbiter(e, host, c);
	judge_one_arbiter(e, c);
	judge_clocks(e, c);
}
