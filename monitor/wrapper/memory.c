/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's memory. vmft's monitor shares it with QEMU, so an object of vmft's takes the place of
 * each one that the line has. What the line says of its pages is kept: their size, that they are
 * there from the beginning, and the nodes of the host that they are on. All objects are parts of
 * one memfd (agent/ram.h).
 */
#include <inttypes.h>
#include <string.h>

#include "monitor/interface.h"
#include "rewrite.h"

#define OWN_OBJECT "vmft supplies the guest's RAM, shared with its monitor"

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
	const char *id = vmft_get(arg, "id");
	const char *size = vmft_get(arg, "size");
	int r;

	if (!vmft_value_in(type, types))
		return vmft_refuse(rw, arg, OWN_OBJECT, "leave it out and give the size with -m");
	r = check_backend_keys(rw, arg);
	if (!id)
		return vmft_refuse(rw, arg, "no id= is given", "add id=NAME");
	if (rw->memory_count == VMFT_MEMORIES_MAX)
		return vmft_refuse(rw, arg, "more than 16 memory-backend objects", "use fewer");
	rw->memories[rw->memory_count++] = (struct vmft_memory){
	    .arg = arg, .id = id, .bytes = size ? vmft_size_parse(size, 0) : 0};
	arg->drop = true;
	if (r < 0)
		return r;
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

static struct vmft_memory *memory_find(struct vmft_rewrite *rw, const char *id)
{
	for (size_t i = 0; i < rw->memory_count; i++)
		if (strcmp(rw->memories[i].id, id) == 0)
			return &rw->memories[i];
	return NULL;
}

static const char *named_by_machine(const struct vmft_rewrite *rw)
{
	return rw->machine ? vmft_get(rw->machine, "memory-backend") : NULL;
}

static void use_by_numa(struct vmft_rewrite *rw, const struct vmft_arg *arg)
{
	const char *memdev = vmft_get(arg, "memdev");
	struct vmft_memory *memory = memdev ? memory_find(rw, memdev) : NULL;

	if (!memdev)
		return;
	if (!memory || memory->name)
		(void)vmft_refuse(rw, arg,
				  memory ? "another node has this memory"
					 : "no memory-backend object of that name",
				  "give each node a memory-backend object of its own");
	else
		memory->name = "";
}

/* Notes which objects are memory of the guest; an object that nothing names is none. */
static void find_used(struct vmft_rewrite *rw)
{
	const char *named = named_by_machine(rw);
	struct vmft_memory *memory = named ? memory_find(rw, named) : NULL;

	if (memory)
		memory->name = "";
	else if (named && strcmp(named, VMFT_RAM_ID) != 0)
		(void)vmft_refuse(rw, rw->machine, "memory-backend= names no memory-backend object",
				  "leave out memory-backend");
	for (size_t i = 0; i < rw->arg_count; i++)
		if (rw->args[i].set && rw->args[i].option->check == vmft_check_numa)
			use_by_numa(rw, &rw->args[i]);
}

/* Returns how many objects are used, and gives them names. The one object of a guest without NUMA
 * has another name than the first of several. */
static size_t name_used(struct vmft_rewrite *rw)
{
	size_t used = 0, number = 0;

	for (size_t i = 0; i < rw->memory_count; i++)
		used += rw->memories[i].name != NULL;
	for (size_t i = 0; i < rw->memory_count; i++)
		if (rw->memories[i].name)
			rw->memories[i].name =
			    used == 1 ? VMFT_RAM_ID
				      : vmft_arena_printf(rw->arena, VMFT_RAM_ID "%zu", number++);
	return used;
}

/* Each -numa that names memory of the line names vmft's instead. */
static void rename_memory(struct vmft_rewrite *rw, size_t used)
{
	for (size_t i = 0; i < rw->arg_count; i++) {
		const struct vmft_arg *arg = &rw->args[i];
		const struct vmft_memory *memory;

		if (!arg->set || arg->option->check != vmft_check_numa || !vmft_get(arg, "memdev"))
			continue;
		memory = memory_find(rw, vmft_get(arg, "memdev"));
		if (!memory || !memory->name)
			continue;
		vmft_optset_set(arg->set, "memdev", memory->name);
		if (used > 1)
			vmft_fact_ordered(rw, vmft_arena_printf(rw->arena,
								"numa memdev=%s bytes=%" PRIu64,
								memory->name, memory->bytes));
	}
}

/* A directory of hugetlbfs for the pages that a memory-backend-memfd asks for. */
static const char *huge_pages_of(const struct vmft_rewrite *rw, const struct vmft_arg *arg)
{
	const char *path = vmft_get(arg, "mem-path");
	const char *size = vmft_get(arg, "hugetlbsize");

	if (path)
		return path;
	if (!vmft_is_on(arg, "hugetlb"))
		return NULL;
	return vmft_arena_printf(rw->arena, "hugetlbsize=%s", size ? size : "0");
}

static bool same_pages(const char *a, const char *b)
{
	return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static bool is_kept(const char *key)
{
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (strcmp(kept[i], key) == 0)
			return true;
	return is_host_node(key);
}

/* given is the object that vmft's takes the place of, or NULL. vmft's is written as it is: only
 * JSON has lists of nodes that QEMU takes. */
static void add_object(struct vmft_rewrite *rw, const char *name, uint64_t bytes, const char *path,
		       const struct vmft_optset *given)
{
	struct vmft_optset set = {.arena = rw->arena};

	vmft_optset_set(&set, "qom-type", "memory-backend-file");
	vmft_optset_set(&set, "id", name);
	vmft_optset_set_int(&set, "size", (int64_t)bytes);
	vmft_optset_set(&set, "mem-path", path);
	vmft_optset_set_bool(&set, "share", true);
	if (rw->mem_prealloc)
		vmft_optset_set_bool(&set, "prealloc", true);
	for (size_t i = 0; given && i < given->count; i++)
		if (is_kept(given->items[i].key))
			vmft_optset_set_opt(&set, &given->items[i]);
	set.json = given && given->json;
	set.arrays = given ? given->arrays : NULL;
	set.bare_first = true;
	vmft_add(rw, "-object", vmft_optset_format(&set));
}

/* The objects that are used, as parts of one memfd. */
static void add_parts(struct vmft_rewrite *rw, size_t used)
{
	const struct vmft_memory *first = NULL;
	uint64_t at = 0;

	for (size_t i = 0; i < rw->memory_count; i++) {
		const struct vmft_memory *memory = &rw->memories[i];
		const char *path = rw->opt->ram_path;

		if (!memory->name)
			continue;
		if (!first)
			rw->out.huge_pages = huge_pages_of(rw, memory->arg);
		else if (!same_pages(rw->out.huge_pages, huge_pages_of(rw, memory->arg)))
			(void)vmft_refuse(rw, memory->arg,
					  "vmft's memory has pages of one size, and these are "
					  "others than those of the first object",
					  "use the same pages for all nodes");
		first = first ? first : memory;
		if (used > 1)
			path = vmft_arena_printf(rw->arena, VMFT_RAM_NAME "%" PRIu64, at);
		add_object(rw, memory->name, memory->bytes, path, memory->arg->set);
		at += memory->bytes;
	}
	if (at != rw->out.ram_bytes)
		(void)vmft_refuse(rw, first->arg,
				  used == 1 ? "its size is not that of -m"
					    : "the sizes of all nodes do not make that of -m",
				  "make both equal");
}

void vmft_memory_finish(struct vmft_rewrite *rw)
{
	static const struct vmft_reason several = {
	    .text = "memory in several objects is " VMFT_NOT_REPLAY_SAFE,
	    .checkpoint_can = true,
	};
	size_t used;

	find_used(rw);
	used = name_used(rw);
	rename_memory(rw, used);
	if (used > 1 && rw->rules->one_memory)
		(void)vmft_refuse_for(rw, rw->memories[1].arg, &several,
				      "use one memory-backend object of the size of -m");
	if (used > 0) {
		add_parts(rw, used);
		return;
	}
	rw->out.huge_pages = rw->mem_path;
	add_object(rw, VMFT_RAM_ID, rw->out.ram_bytes, rw->opt->ram_path, NULL);
}
