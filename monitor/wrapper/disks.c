/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images, from -drive and -blockdev down to the file, and the devices of if=virtio. */
#include <errno.h>
#include <string.h>

#include "rewrite.h"

#define LOCAL_FILES "only files and block devices of this host can be compared with the other's"

/* While an image is copied to a new backup the agent marks what is written. It sees a write when a
 * libc call returns; writes by io_uring and Linux AIO end without such a call. */
static void use_threads(struct vmft_arg *arg)
{
	vmft_optset_remove(arg->set, "aio");
	vmft_optset_remove(arg->set, "file.aio");
}

static const struct vmft_key_rule drive_rules[] = {
    {.key = "file"},
    {.key = "id"},
    {"if", "virtio|none", VMFT_REASON("the controller it asks for is not on the list"), false},
    {"format", "raw|qcow2", VMFT_REASON("only raw and qcow2 images are known to work"), false},
    {"media", "disk", VMFT_NO_CD, false},
    {"snapshot", "off", VMFT_REASON("it throws the disk writes away that both sides must hold"),
     false},
    {.key = "index"},
    {.key = "cache"},
    {.key = "aio"},
    {.key = "readonly"},
    {.key = "read-only"},
    {.key = "discard"},
    {.key = "detect-zeroes"},
    {.key = "werror"},
    {.key = "rerror"},
    {.key = "file.locking"},
    {0},
};

static const struct vmft_key_rule blockdev_rules[] = {
    {"driver", "raw|qcow2|file|host_device", VMFT_REASON(LOCAL_FILES), false},
    {"file.driver", "file|host_device", VMFT_REASON(LOCAL_FILES), false},
    {.key = "node-name"},
    {.key = "file"},
    {.key = "filename"},
    {.key = "aio"},
    {.key = "locking"},
    {.key = "discard"},
    {.key = "detect-zeroes"},
    {.key = "read-only"},
    {.key = "auto-read-only"},
    {.key = "cache.direct"},
    {.key = "cache.no-flush"},
    {.key = "file.node-name"},
    {.key = "file.filename"},
    {.key = "file.aio"},
    {.key = "file.locking"},
    {.key = "file.discard"},
    {.key = "file.read-only"},
    {.key = "file.auto-read-only"},
    {.key = "file.cache.direct"},
    {.key = "file.cache.no-flush"},
    {0},
};

static struct vmft_node *node_find(struct vmft_rewrite *rw, const char *name)
{
	for (size_t i = 0; i < rw->node_count; i++)
		if (strcmp(rw->nodes[i].name, name) == 0)
			return &rw->nodes[i];
	return NULL;
}

/* To QEMU the text before a colon is a protocol, unless a slash comes first. */
static bool path_is_local(const char *path)
{
	return path[0] && path[strcspn(path, ":/")] != ':';
}

static int node_add(struct vmft_rewrite *rw, struct vmft_arg *arg, const char *name, bool drive)
{
	if (strlen(name) > rw->rules->node_name_max)
		return vmft_refuse(rw, arg, "no room for vmft's own node name",
				   "use a name of at most 26 bytes");
	if (node_find(rw, name) || strncmp(name, VMFT_NODE_PREFIX, strlen(VMFT_NODE_PREFIX)) == 0)
		return vmft_refuse(rw, arg, "the name is taken", "use another id or node-name");
	rw->nodes[rw->node_count++] = (struct vmft_node){.arg = arg, .name = name, .drive = drive};
	return 0;
}

/* The names QEMU itself gives: virtio0, virtio1, ... */
static const char *drive_id(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *id = vmft_get(arg, "id");
	size_t number = 0;

	if (id)
		return id;
	for (size_t i = 0; i < rw->node_count; i++)
		number += rw->nodes[i].auto_device;
	id = vmft_arena_printf(rw->arena, "virtio%zu", number);
	vmft_optset_set(arg->set, "id", id);
	return id;
}

static int check_drive_file(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *file = vmft_get(arg, "file");

	if (!file || !path_is_local(file))
		return vmft_refuse(rw, arg, LOCAL_FILES, "use file=/PATH");
	if (!vmft_get(arg, "format"))
		return vmft_refuse(rw, arg, "QEMU would guess the format from what the guest wrote",
				   "add format=raw or format=qcow2");
	return 0;
}

int vmft_check_drive(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_reason no_interface =
	    VMFT_REASONS("without if= it is an IDE disk, not on the list",
			 "without if= the board chooses the controller");
	const char *interface = vmft_get(arg, "if");
	bool automatic = interface && strcmp(interface, "virtio") == 0;
	bool refused = vmft_check_keys(rw, arg, drive_rules) < 0;
	int r;

	if (!interface)
		refused = vmft_refuse_for(rw, arg, &no_interface, "add if=virtio") < 0;
	refused |= check_drive_file(rw, arg) < 0;
	if (!automatic && !vmft_get(arg, "id")) {
		rw->nodes_lost = true;
		return interface && strcmp(interface, "none") == 0
			   ? vmft_refuse(rw, arg, "if=none without id=", "add id=NAME")
			   : -EINVAL;
	}
	r = node_add(rw, arg, drive_id(rw, arg), true);
	if (r < 0)
		return r;
	rw->nodes[rw->node_count - 1].auto_device = automatic;
	rw->nodes[rw->node_count - 1].refused = refused;
	if (refused)
		return -EINVAL;
	use_threads(arg);
	if (rw->rules->open_image)
		rw->rules->open_image(arg, true);
	vmft_optset_set(arg->set, "if", "none");
	vmft_optset_remove(arg->set, "index");
	return 0;
}

int vmft_check_blockdev(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *name = vmft_get(arg, "node-name");
	bool refused = vmft_check_keys(rw, arg, blockdev_rules) < 0;
	int r;

	if (!vmft_get(arg, "driver") || !name)
		refused = vmft_refuse(rw, arg, "no driver= or no node-name=", "give both") < 0;
	if (!name) {
		rw->nodes_lost = true;
		return -EINVAL;
	}
	r = node_add(rw, arg, name, false);
	if (r < 0)
		return r;
	rw->nodes[rw->node_count - 1].refused = refused;
	if (refused)
		return -EINVAL;
	use_threads(arg);
	if (rw->rules->open_image)
		rw->rules->open_image(arg, false);
	return 0;
}

static int no_file(struct vmft_rewrite *rw, const struct vmft_arg *arg)
{
	return vmft_refuse(rw, arg, LOCAL_FILES, "give it a file node with filename=/PATH");
}

/* From the node a device uses down to its file; a format node may refer to a node below. */
static int blockdev_path(struct vmft_rewrite *rw, const struct vmft_node *top, const char **ret)
{
	const struct vmft_arg *arg = top->arg;
	const char *path = vmft_get(arg, "file.filename");
	const char *below = vmft_get(arg, "file");
	const struct vmft_node *file;

	if (vmft_value_in(vmft_get(arg, "driver"), "file|host_device")) {
		path = vmft_get(arg, "filename");
	} else if (below) {
		file = node_find(rw, below);
		if (file && file->refused)
			return -EINVAL;
		if (!file || file->drive ||
		    !vmft_value_in(vmft_get(file->arg, "driver"), "file|host_device"))
			return no_file(rw, arg);
		path = vmft_get(file->arg, "filename");
	}
	if (!path || !path[0])
		return no_file(rw, arg);
	*ret = path;
	return 0;
}

static int disk_add(struct vmft_rewrite *rw, struct vmft_node *node, size_t *ret_disk)
{
	struct vmft_disk *disk = &rw->out.disks[rw->out.disk_count];
	const char *format = vmft_get(node->arg, node->drive ? "format" : "driver");
	const char *cache = vmft_get(node->arg, "cache");
	int r = 0;

	node->used = true;
	if (node->refused)
		return -EINVAL;
	if (node->drive)
		disk->path = vmft_get(node->arg, "file");
	else
		r = blockdev_path(rw, node, &disk->path);
	if (r < 0)
		return r;
	disk->format = strcmp(format, "qcow2") == 0 ? VMFT_IMAGE_QCOW2 : VMFT_IMAGE_RAW;
	disk->read_only = vmft_is_on(node->arg, "readonly") || vmft_is_on(node->arg, "read-only");
	disk->write_through = cache && vmft_value_in(cache, "writethrough|directsync");
	disk->node = node->name;
	if (rw->rules->add_node)
		rw->rules->add_node(rw, node, disk);
	*ret_disk = rw->out.disk_count++;
	return 0;
}

int vmft_disk_attach(struct vmft_rewrite *rw, struct vmft_arg *device, size_t *ret_disk)
{
	const char *drive = vmft_get(device, "drive");
	struct vmft_node *node = drive ? node_find(rw, drive) : NULL;
	int r;

	if (!node && drive && rw->nodes_lost)
		return -EINVAL;
	if (!node)
		return vmft_refuse(rw, device, "no -drive or -blockdev of that name",
				   "give drive= the id or node-name of one");
	if (node->used || node->auto_device)
		return vmft_refuse(rw, device, "its drive belongs to another device",
				   "give each device a drive of its own");
	r = disk_add(rw, node, ret_disk);
	if (r < 0)
		return r;
	vmft_optset_set(device->set, "drive", rw->out.disks[*ret_disk].node);
	return 0;
}

void vmft_disk_fact(struct vmft_rewrite *rw, const char *device, size_t index)
{
	const struct vmft_disk *disk = &rw->out.disks[index];

	vmft_fact_ordered(rw, vmft_arena_printf(rw->arena, "%s disk=%zu ro=%d wt=%d", device, index,
						disk->read_only, disk->write_through));
}

/* What if=virtio brings on this board. */
static void add_device(struct vmft_rewrite *rw, size_t index)
{
	const char *model = rw->rules->disk_model;

	vmft_add(rw, "-device",
		 vmft_arena_printf(rw->arena, "%s,drive=%s%s", model, rw->out.disks[index].node,
				   rw->rules->disk_options));
	vmft_disk_fact(rw, model, index);
}

/* QEMU makes the devices of if=virtio after those of -device; so does this. */
void vmft_drives_finish(struct vmft_rewrite *rw)
{
	for (size_t i = 0; i < rw->node_count; i++) {
		size_t index;

		if (rw->nodes[i].auto_device && disk_add(rw, &rw->nodes[i], &index) == 0)
			add_device(rw, index);
	}
}
