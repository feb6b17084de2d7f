/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's memory. vmft's monitor shares it with QEMU, so an object of vmft's takes the place of
 * the one that the line has. What the line says of its pages is kept: their size, that they are
 * there from the beginning, and the nodes of the host that they are on.
 */
#include <inttypes.h>
#include <string.h>

#include "rewrite.h"

#define OWN_OBJECT "vmft supplies the guest's RAM, shared with its monitor"
#define ONE_OBJECT                                                                                 \
	"vmft shares one object with its monitor, and the guest's RAM would be in several"

/* Kept on vmft's object; the others of a backend say what that object is by nature. */
static const char *const kept[] = {"prealloc", "prealloc-threads", "policy", "merge", "dump"};

static const struct vmft_key_rule backend_rules[] = {
    {.key = "qom-type"},
    {.key = "id"},
    {.key = "size"},
    {.key = "share"},
    {.key = "prealloc"},
    {.key = "prealloc-threads"},
    {"policy", "default|preferred|bind|interleave", {0}, false},
    {.key = "merge"},
    {.key = "dump"},
    {.key = "mem-path"},
    {.key = "hugetlb"},
    {.key = "hugetlbsize"},
    {.key = "discard-data"},
    {.key = "reserve"},
    {.key = "seal"},
    {.key = "x-use-canonical-path-for-ramblock-id"},
    {"pmem", "off", VMFT_REASON("the guest's memory is not persistent memory of a host"), false},
    {"readonly", "off", VMFT_REASON("a guest writes to its memory"), false},
    {0},
};

static bool is_host_node(const char *key)
{
	return strcmp(key, "host-nodes") == 0 || strncmp(key, "host-nodes.", 11) == 0;
}

static int check_backend_keys(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	struct vmft_optset all = *arg->set;
	struct vmft_optset without = {.arena = rw->arena, .json = all.json};
	int r;

	for (size_t i = 0; i < all.count; i++)
		if (!is_host_node(all.items[i].key))
			vmft_optset_set(&without, all.items[i].key, all.items[i].value);
	*arg->set = without;
	r = vmft_check_keys(rw, arg, backend_rules);
	*arg->set = all;
	return r;
}

int vmft_check_backend(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const char *const types = "memory-backend-ram|memory-backend-memfd|"
					 "memory-backend-file";
	const char *type = vmft_get(arg, "qom-type");
	int r = 0;

	if (!vmft_value_in(type, types))
		return vmft_refuse(rw, arg, OWN_OBJECT, "leave it out and give the size with -m");
	r = check_backend_keys(rw, arg);
	if (!vmft_get(arg, "id"))
		r = vmft_refuse(rw, arg, "no id= is given", "add id=NAME");
	if (rw->memory)
		return vmft_refuse(rw, arg, ONE_OBJECT,
				   "use one memory-backend object of the size of -m");
	arg->drop = true;
	if (r < 0)
		return r;
	rw->memory = arg;
	vmft_replaced(
	    rw, arg,
	    "replaced by memory that vmft's monitor shares, of the same size and with the "
	    "same pages");
	return 0;
}

int vmft_check_mem_path(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	arg->drop = true;
	rw->mem_path = arg->text;
	vmft_replaced(rw, arg,
		      "replaced by memory that vmft's monitor shares, with pages as large as those "
		      "of the directory");
	return 0;
}

int vmft_check_mem_prealloc(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	arg->drop = true;
	rw->mem_prealloc = true;
	return 0;
}

/* What the guest sees of NUMA. memdev=, which names the host's memory, must be vmft's. */
int vmft_check_numa(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"type", "node|cpu|dist", {0}, false},
	    {"mem", "", VMFT_REASON("no board of the last years takes it"), false},
	    {.key = "memdev", .hidden = true},
	    {.key = "nodeid"},
	    {.key = "cpus"},
	    {.key = "initiator"},
	    {.key = "node-id"},
	    {.key = "socket-id"},
	    {.key = "die-id"},
	    {.key = "core-id"},
	    {.key = "thread-id"},
	    {.key = "src"},
	    {.key = "dst"},
	    {.key = "val"},
	    {0},
	};
	int r = vmft_check_keys(rw, arg, rules);

	if (vmft_get(arg, "memdev"))
		rw->numa_memory = true;
	vmft_fact_ordered(rw, vmft_fact_keys(rw, "numa", arg, rules));
	return r;
}

/* The -numa that names the line's memory names vmft's instead. */
static void rename_memory(struct vmft_rewrite *rw, const char *id)
{
	for (size_t i = 0; i < rw->arg_count; i++) {
		const struct vmft_arg *arg = &rw->args[i];
		const char *memdev;

		if (!arg->set || arg->option->check != vmft_check_numa)
			continue;
		memdev = vmft_get(arg, "memdev");
		if (memdev && id && strcmp(memdev, id) == 0)
			vmft_optset_set(arg->set, "memdev", VMFT_RAM_ID);
		else if (memdev)
			(void)vmft_refuse(rw, arg,
					  "no memory-backend object of that name, or a "
					  "second one",
					  "give all of the guest's RAM to one node");
	}
}

static void check_names(struct vmft_rewrite *rw, const char *id)
{
	const char *named = rw->machine ? vmft_get(rw->machine, "memory-backend") : NULL;

	rename_memory(rw, id);
	if (named && strcmp(named, VMFT_RAM_ID) != 0 && (!id || strcmp(named, id) != 0))
		(void)vmft_refuse(rw, rw->machine, "memory-backend= names no memory-backend object",
				  "leave out memory-backend");
}

/* An object that nothing names is no memory of the guest. */
static bool is_used(const struct vmft_rewrite *rw)
{
	const char *id = vmft_get(rw->memory, "id");
	const char *named = rw->machine ? vmft_get(rw->machine, "memory-backend") : NULL;

	return rw->numa_memory || (named && strcmp(named, id) == 0);
}

static void check_size(struct vmft_rewrite *rw)
{
	const char *size = vmft_get(rw->memory, "size");

	if (!size || vmft_size_parse(size, 0) != rw->out.ram_bytes)
		(void)vmft_refuse(rw, rw->memory, "its size is not that of -m", "make both equal");
}

/* A directory of hugetlbfs for the pages that a memory-backend-memfd asks for. */
static const char *huge_pages_of(const struct vmft_rewrite *rw)
{
	const char *path = vmft_get(rw->memory, "mem-path");
	const char *size = vmft_get(rw->memory, "hugetlbsize");

	if (path)
		return path;
	if (!vmft_is_on(rw->memory, "hugetlb"))
		return NULL;
	return vmft_arena_printf(rw->arena, "hugetlbsize=%s", size ? size : "0");
}

/* ",KEY=VALUE" of what is kept. */
static const char *kept_keys(struct vmft_rewrite *rw)
{
	const char *text = rw->mem_prealloc ? ",prealloc=on" : "";
	const struct vmft_optset *set = rw->memory ? rw->memory->set : NULL;

	for (size_t i = 0; set && i < set->count; i++) {
		const struct vmft_opt *opt = &set->items[i];
		bool keep = is_host_node(opt->key);

		for (size_t k = 0; k < sizeof(kept) / sizeof(kept[0]); k++)
			keep |= strcmp(opt->key, kept[k]) == 0;
		if (keep)
			text = vmft_arena_printf(rw->arena, "%s,%s=%s", text, opt->key, opt->value);
	}
	return text;
}

void vmft_memory_finish(struct vmft_rewrite *rw)
{
	check_names(rw, rw->memory ? vmft_get(rw->memory, "id") : NULL);
	if (rw->memory && !is_used(rw))
		rw->memory = NULL;
	if (rw->memory)
		check_size(rw);
	rw->out.huge_pages = rw->memory ? huge_pages_of(rw) : rw->mem_path;
	vmft_add(rw, "-object",
		 vmft_arena_printf(rw->arena,
				   "memory-backend-file,id=" VMFT_RAM_ID ",size=%" PRIu64
				   ",mem-path=%s,share=on%s",
				   rw->out.ram_bytes, rw->opt->ram_path, kept_keys(rw)));
}
