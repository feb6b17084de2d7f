/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmdline.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "monitor/common/exit-codes.h"
#include "rewrite.h"

/* Added for the machine itself, and at most per option of the line. */
#define ADDED_FIXED   32
#define ADDED_PER_ARG 8
#define FACTS_PER_ARG 4
#define ARGS_MAX      4096

const char *vmft_option_name(const char *arg)
{
	if (arg[0] != '-' || arg[1] == '\0')
		return NULL;
	return arg[1] == '-' ? arg + 2 : arg + 1;
}

static int refuse_option(struct vmft_report *report, const char *arg, const char *why)
{
	struct vmft_error err;

	(void)vmft_error_set(&err, -EINVAL, VMFT_EXIT_UNPROTECTED, "%.80s: %s", arg, why);
	return vmft_report_refuse(report, &err);
}

static bool once_already(const struct vmft_rewrite *rw, const struct vmft_option *option)
{
	for (size_t i = 0; i < rw->arg_count; i++)
		if (rw->args[i].option == option)
			return true;
	return false;
}

static int parse_set(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *implied = arg->option->implied_key;
	const char *problem;

	if (!implied || !arg->option->has_arg)
		return 0;
	arg->set = vmft_arena_alloc(rw->arena, 1, sizeof(*arg->set));
	if (vmft_optset_parse(rw->arena, arg->text, implied[0] ? implied : NULL, arg->set,
			      &problem) < 0)
		return vmft_refuse(rw, arg, problem, "correct it");
	return 0;
}

/* The names that a refused option would have given are not known: nothing that uses them is refused
 * for that as well. */
static void note_lost(struct vmft_rewrite *rw, const struct vmft_option *option)
{
	rw->nodes_lost |= vmft_value_in(option->name, "drive|blockdev");
	rw->netdevs_lost |= strcmp(option->name, "netdev") == 0;
}

/* It is not known whether an unknown option takes an argument: a word without a dash belongs to it.
 */
static void refuse_unknown(struct vmft_rewrite *rw, int argc, char *const argv[], int *index)
{
	const char *why = vmft_arena_printf(rw->arena, "%s; leave it out", vmft_unknown(rw));

	(void)refuse_option(rw->report, argv[*index - 1], why);
	if (*index < argc && !vmft_option_name(argv[*index]))
		(*index)++;
}

static const struct vmft_option *find_option(const struct vmft_rewrite *rw, const char *name)
{
	const struct vmft_option *option = rw->rules->options;

	for (; option && option->name; option++)
		if (strcmp(option->name, name) == 0)
			return option;
	return vmft_option_find(name);
}

/* A word that belongs to no option is to QEMU what -hda takes. */
static void take_image(struct vmft_rewrite *rw, const char *word)
{
	const struct vmft_option *option = find_option(rw, "hda");
	struct vmft_arg *arg = &rw->args[rw->arg_count++];

	*arg = (struct vmft_arg){.option = option, .text = word};
	(void)option->check(rw, arg);
}

/* Takes the option at argv[*index], and its argument; *index is then at the next one. */
static void take_option(struct vmft_rewrite *rw, int argc, char *const argv[], int *index)
{
	const char *word = argv[(*index)++];
	const char *name = vmft_option_name(word);
	const struct vmft_option *option = name ? find_option(rw, name) : NULL;
	struct vmft_arg *arg = &rw->args[rw->arg_count];

	if (!name) {
		take_image(rw, word);
		return;
	}
	if (!option) {
		refuse_unknown(rw, argc, argv, index);
		return;
	}
	if (option->has_arg && *index >= argc) {
		(void)refuse_option(rw->report, word, "its argument is missing; add it");
		return;
	}
	*arg = (struct vmft_arg){.option = option};
	if (option->has_arg)
		arg->text = argv[(*index)++];
	if (option->once && once_already(rw, option)) {
		(void)refuse_option(rw->report, word, "given twice; keep one of them");
		return;
	}
	if (parse_set(rw, arg) < 0) {
		note_lost(rw, option);
		return;
	}
	rw->arg_count++;
	if (option->check)
		(void)option->check(rw, arg);
}

void vmft_refuse_defaults(struct vmft_rewrite *rw, const char *why)
{
	(void)refuse_option(rw->report, "-nodefaults is missing", why);
}

static void check_all(struct vmft_rewrite *rw, int argc, char *const argv[])
{
	for (int index = 1; index < argc;)
		take_option(rw, argc, argv, &index);
	if (!vmft_given(rw, "nodefaults"))
		rw->rules->default_devices(rw);
	vmft_devices_finish(rw);
	vmft_consoles_finish(rw);
	vmft_drives_finish(rw);
	vmft_legacy_nics_finish(rw);
	vmft_nics_finish(rw);
	vmft_board_finish(rw);
	if (!vmft_report_first(rw->report))
		vmft_nics_make(rw);
}

static char *copy(struct vmft_arena *arena, const char *text)
{
	return vmft_arena_copy(arena, text, strlen(text));
}

static void emit_arg(struct vmft_rewrite *rw, const struct vmft_arg *arg)
{
	const char *name = arg->emit ? arg->emit : arg->option->name;
	char **argv = rw->out.argv;

	if (arg->drop)
		return;
	argv[rw->out.argc++] = vmft_arena_printf(rw->arena, "-%s", name);
	if (arg->set)
		argv[rw->out.argc++] = copy(rw->arena, vmft_optset_format(arg->set));
	else if (arg->text)
		argv[rw->out.argc++] = copy(rw->arena, arg->text);
}

/* The user's options in their order, then ours. */
static void emit(struct vmft_rewrite *rw, const char *argv0)
{
	rw->out.argv = vmft_arena_alloc(rw->arena, 2 * rw->arg_count + rw->added_count + 2,
					sizeof(*rw->out.argv));
	rw->out.argv[rw->out.argc++] = copy(rw->arena, argv0);
	for (size_t i = 0; i < rw->arg_count; i++)
		emit_arg(rw, &rw->args[i]);
	for (size_t i = 0; i < rw->added_count; i++)
		rw->out.argv[rw->out.argc++] = rw->added[i];
	rw->out.machine_text = vmft_machine_text(rw);
}

static void *room(struct vmft_rewrite *rw, int argc, size_t per_arg, size_t size)
{
	return vmft_arena_alloc(rw->arena, (size_t)argc * per_arg + ADDED_FIXED, size);
}

static void prepare(struct vmft_rewrite *rw, int argc)
{
	rw->args = room(rw, argc, 1, sizeof(*rw->args));
	rw->devices = room(rw, argc, 1, sizeof(struct vmft_arg *));
	rw->nodes = room(rw, argc, 1, sizeof(*rw->nodes));
	rw->netdevs = room(rw, argc, 1, sizeof(*rw->netdevs));
	rw->added = room(rw, argc, ADDED_PER_ARG, sizeof(*rw->added));
	rw->facts = room(rw, argc, FACTS_PER_ARG, sizeof(*rw->facts));
	rw->ordered = room(rw, argc, FACTS_PER_ARG, sizeof(*rw->ordered));
	rw->out.disks = room(rw, argc, 1, sizeof(*rw->out.disks));
	rw->out.nics = room(rw, argc, 1, sizeof(*rw->out.nics));
}

const struct vmft_rules *vmft_rules_choose(enum vmft_strategy_kind strategy, bool microvm)
{
	static const struct vmft_rules *const rules[VMFT_STRATEGY_COUNT][2] = {
	    [VMFT_STRATEGY_LOCKSTEP] = {&vmft_lockstep_rules, &vmft_lockstep_rules},
	    [VMFT_STRATEGY_CHECKPOINT] = {&vmft_checkpoint_rules[0], &vmft_checkpoint_rules[1]},
	};

	return rules[strategy][microvm];
}

static int rewrite_for(enum vmft_strategy_kind strategy, const char *reason, int argc,
		       char *const argv[], const struct vmft_rewrite_options *opt,
		       struct vmft_report *report, struct vmft_cmdline *ret)
{
	struct vmft_rewrite rw = {.opt = opt, .report = report};

	rw.arena = vmft_arena_new();
	prepare(&rw, argc);
	vmft_scan(rw.arena, argc, argv, opt->has_kvm && opt->has_kvm(), &rw.scan);
	rw.out.strategy = strategy;
	rw.out.strategy_reason = vmft_arena_copy(rw.arena, reason, strlen(reason));
	rw.rules = vmft_rules_choose(strategy, rw.scan.microvm);
	report->strategy = strategy;
	report->strategy_reason = reason;
	check_all(&rw, argc, argv);
	if (vmft_report_first(report)) {
		vmft_arena_free(rw.arena);
		return -EINVAL;
	}
	emit(&rw, argv[0]);
	rw.out.arena = rw.arena;
	*ret = rw.out;
	return 0;
}

/*
 * What lockstep refuses may be fit for checkpoint. If checkpoint refuses something as well, the
 * user is told what the strategy says that refuses less.
 */
static int rewrite_for_other(int argc, char *const argv[], const struct vmft_rewrite_options *opt,
			     struct vmft_report *report, struct vmft_cmdline *ret)
{
	const size_t count = vmft_report_count(report, VMFT_FINDING_REFUSED);
	const char *reason = vmft_arena_printf(report->arena, "auto: lockstep refuses %zu part%s",
					       count, count == 1 ? "" : "s");
	struct vmft_report other = {.arena = report->arena};
	const int r = rewrite_for(VMFT_STRATEGY_CHECKPOINT, reason, argc, argv, opt, &other, ret);

	if (r == 0 || vmft_report_count(&other, VMFT_FINDING_REFUSED) < count)
		*report = other;
	return r;
}

int vmft_cmdline_rewrite(int argc, char *const argv[], const struct vmft_rewrite_options *opt,
			 struct vmft_report *report, struct vmft_cmdline *ret)
{
	enum vmft_strategy_kind chosen;
	struct vmft_scan scan;
	const char *reason;
	int r;

	if (argc < 1 || argc > ARGS_MAX)
		return refuse_option(report, "command line", "over 4096 words; shorten it");
	vmft_scan(report->arena, argc, argv, opt->has_kvm && opt->has_kvm(), &scan);
	chosen = vmft_strategy_choose(report->arena, &scan, opt->strategy, &reason);
	r = rewrite_for(chosen, reason, argc, argv, opt, report, ret);
	if (r < 0 && opt->strategy == VMFT_STRATEGY_AUTO && chosen == VMFT_STRATEGY_LOCKSTEP)
		r = rewrite_for_other(argc, argv, opt, report, ret);
	return r;
}

void vmft_cmdline_digest(const struct vmft_cmdline *cmdline, char ret_hex[static VMFT_DIGEST_HEX])
{
	XXH128_hash_t hash = XXH3_128bits(cmdline->machine_text, strlen(cmdline->machine_text));

	(void)snprintf(ret_hex, VMFT_DIGEST_HEX, "%016llx%016llx", (unsigned long long)hash.high64,
		       (unsigned long long)hash.low64);
}

void vmft_cmdline_free(struct vmft_cmdline *cmdline)
{
	if (!cmdline)
		return;
	vmft_arena_free(cmdline->arena);
	*cmdline = (struct vmft_cmdline){0};
}

static bool is_help(const char *text, size_t n)
{
	return (n == 4 && memcmp(text, "help", 4) == 0) || (n == 1 && *text == '?');
}

/*
 * "virtio-blk-pci,help". One item is a help request, as QEMU reads the list (util/keyval.c,
 * util/qemu-option.c): ",," is a comma of a value, so "mem-path=/a,,help" is none.
 */
static bool has_help_item(const char *text)
{
	for (;;) {
		size_t n = strcspn(text, ",");

		while (text[n] == ',' && text[n + 1] == ',')
			n += 2 + strcspn(text + n + 2, ",");
		if (is_help(text, n))
			return true;
		if (text[n] == '\0')
			return false;
		text += n + 1;
	}
}

/* What the words of the line that were read so far ask for. */
struct probe {
	bool certain; /* QEMU answers and ends, whatever the rest of the line is */
	bool cpu;     /* the last -cpu asks for help: QEMU looks at no other */
	bool none;    /* the last -machine is "none", which runs no guest */
};

static bool is_machine_none(const char *text)
{
	const size_t key = strncmp(text, "type=", 5) == 0 ? 5 : 0;
	const size_t n = strcspn(text + key, ",");

	/* A later type= would count instead. */
	return n == 4 && memcmp(text + key, "none", 4) == 0 && !strstr(text + key, ",type=");
}

/*
 * Counts only what makes QEMU 7.2 (softmmu/vl.c) end in any case. The two errors are not alike: a
 * question that is missed here is refused with a message, or protected. A guest that is taken for a
 * question starts without protection, and nobody is told.
 */
static void look_at_argument(struct probe *probe, const char *name, const char *text)
{
	if (vmft_value_in(name, "machine|M")) {
		probe->none = is_machine_none(text);
		probe->certain |= has_help_item(text);
	} else if (vmft_value_in(name, "device|object")) {
		probe->certain |= has_help_item(text);
	} else if (strcmp(name, "cpu") == 0) {
		probe->cpu = is_help(text, strlen(text));
	} else if (vmft_value_in(name, "accel|netdev|nic|chardev|display|audiodev|L|drive")) {
		probe->certain |= is_help(text, strlen(text));
	}
}

bool vmft_cmdline_is_probe(int argc, char *const argv[])
{
	struct probe probe = {0};

	for (int i = 1; i < argc; i++) {
		const char *name = vmft_option_name(argv[i]);
		const struct vmft_option *option = name ? vmft_option_find(name) : NULL;

		if (name && vmft_value_in(name, "version|help|h"))
			return true;
		/* It is not known whether the next word is this option's argument; -set and
		 * -readconfig may change the machine. */
		if (name && (!option || vmft_value_in(name, "set|readconfig")))
			return probe.certain;
		if (!option || !option->has_arg || i + 1 == argc)
			continue;
		/* An argument is no option, though it may look like one: -append -version. */
		look_at_argument(&probe, name, argv[++i]);
	}
	return probe.certain || probe.cpu || probe.none;
}
