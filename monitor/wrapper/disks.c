/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images, from -drive and -blockdev down to the file, and the devices of if=virtio. */
#include <errno.h>
#include <string.h>

#include "rewrite.h"

#define LOCAL_FILES "only files and block devices of this host can be compared with the other's"

/* While an image is copied to a new backup the agent marks what is written. It sees a write when a
 * libc call returns; writes by io_uring and Linux AIO end without such a call. */
static void use_threads(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *aio = vmft_get(arg, "aio");

	if (!aio)
		aio = vmft_get(arg, "file.aio");
	if (aio && strcmp(aio, "threads") != 0)
		vmft_replaced(rw, arg, "aio=threads: vmft sees a write when its call returns");
	vmft_optset_remove(arg->set, "aio");
	vmft_optset_remove(arg->set, "file.aio");
}

static const struct vmft_key_rule drive_rules[] = {
    {.key = "file"},
    {.key = "id"},
    {.key = "if"}, /* check_interface() */
    {"format", "raw|qcow2", VMFT_REASON("only raw and qcow2 images are known to work"), false},
    {.key = "media"}, /* check_media() */
    {.key = "unit"},
    {.key = "bus"},
    {.key = "size"}, /* of a raw image in a larger device */
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
    {"backing", "null",
     VMFT_REASON("a backing file is not compared with the other host's; flatten the image"), false},
    {.key = "offset"},
    {.key = "size"},
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

/* The format is found out once, here, and written down: QEMU would look at what the guest wrote. */
static int find_format(struct vmft_rewrite *rw, struct vmft_arg *arg, const char *file)
{
	const char *format;
	struct vmft_error err;

	if (!rw->opt->image_format)
		return vmft_refuse(rw, arg, "QEMU would guess the format from what the guest wrote",
				   "add format=raw or format=qcow2");
	if (rw->opt->image_format(file, &format, &err) < 0)
		return vmft_report_refuse(rw->report, &err);
	vmft_replaced(
	    rw, arg,
	    vmft_arena_printf(rw->arena, "format=%s, which its contents and its name say", format));
	vmft_optset_set(arg->set, "format", format);
	return 0;
}

static bool is_cd(const struct vmft_arg *arg)
{
	const char *media = vmft_get(arg, "media");

	return media && strcmp(media, "cdrom") == 0;
}

static int check_drive_file(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *file = vmft_get(arg, "file");

	if (!file && is_cd(arg))
		return 0;
	if (!file || !path_is_local(file))
		return vmft_refuse(rw, arg, LOCAL_FILES, "use file=/PATH");
	if (!vmft_get(arg, "format"))
		return find_format(rw, arg, file);
	return 0;
}

static int check_interface(struct vmft_rewrite *rw, struct vmft_arg *arg, const char *interface)
{
	static const struct vmft_reason none =
	    VMFT_REASONS("without if= it is an IDE disk, not on the list",
			 "without if= the board chooses the controller");
	static const struct vmft_reason other =
	    VMFT_REASON("the controller it asks for is not on the list");

	if (!interface)
		return vmft_refuse_for(rw, arg, &none, "add if=virtio");
	if (!vmft_value_in(interface, rw->rules->interfaces))
		return vmft_refuse_for(rw, arg, &other, "use if=virtio or none");
	return 0;
}

/* Lockstep has no CD drive; with if=virtio a CD would be a disk that cannot be written. */
static int check_media(struct vmft_rewrite *rw, struct vmft_arg *arg, const char *interface)
{
	static const struct vmft_reason no_cd = VMFT_NO_CD;

	if (!is_cd(arg) || (rw->rules->interface && strcmp(interface, "virtio") != 0))
		return 0;
	return vmft_refuse_for(rw, arg, &no_cd, "use media=disk");
}

/* QEMU's own names, of drives that the line gives none. */
static const char *board_drive_id(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *id = vmft_get(arg, "id");

	if (id)
		return id;
	id = vmft_arena_printf(rw->arena, "board%zu", rw->node_count);
	vmft_optset_set(arg->set, "id", id);
	return id;
}

static const char *name_drive(struct vmft_rewrite *rw, struct vmft_arg *arg, const char *interface)
{
	if (strcmp(interface, "virtio") == 0)
		return drive_id(rw, arg);
	if (strcmp(interface, "none") == 0)
		return vmft_get(arg, "id");
	return board_drive_id(rw, arg);
}

int vmft_check_drive(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *given = vmft_get(arg, "if");
	const char *interface = given ? given : rw->rules->interface;
	bool refused = vmft_check_keys(rw, arg, drive_rules) < 0;
	bool automatic, none;
	const char *name;
	int r;

	refused |= check_interface(rw, arg, interface) < 0;
	if (!interface)
		interface = "ide";
	refused |= check_media(rw, arg, interface) < 0;
	refused |= check_drive_file(rw, arg) < 0;
	automatic = strcmp(interface, "virtio") == 0;
	none = strcmp(interface, "none") == 0;
	name = name_drive(rw, arg, interface);
	if (!name) {
		rw->nodes_lost = true;
		return vmft_refuse(rw, arg, "if=none without id=", "add id=NAME");
	}
	r = node_add(rw, arg, name, true);
	if (r < 0)
		return r;
	rw->nodes[rw->node_count - 1].auto_device = automatic;
	rw->nodes[rw->node_count - 1].board = !automatic && !none;
	rw->nodes[rw->node_count - 1].refused = refused;
	if (refused)
		return -EINVAL;
	use_threads(rw, arg);
	if (rw->rules->open_image && vmft_get(arg, "file"))
		rw->rules->open_image(arg, true);
	if (automatic) {
		vmft_optset_set(arg->set, "if", "none");
		vmft_optset_remove(arg->set, "index");
	}
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
	use_threads(rw, arg);
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
	disk->read_only = vmft_is_on(node->arg, "readonly") || vmft_is_on(node->arg, "read-only") ||
			  (node->drive && is_cd(node->arg));
	disk->write_through = cache && vmft_value_in(cache, "writethrough|directsync");
	disk->node = node->name;
	if (rw->rules->add_node)
		rw->rules->add_node(rw, node, disk);
	*ret_disk = rw->out.disk_count++;
	return 0;
}

/* An empty CD drive. */
bool vmft_disk_is_empty(struct vmft_rewrite *rw, const struct vmft_arg *device)
{
	const char *drive = vmft_get(device, "drive");
	const struct vmft_node *node = drive ? node_find(rw, drive) : NULL;

	return node && node->drive && !node->refused && is_cd(node->arg) &&
	       !vmft_get(node->arg, "file");
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
	if (node->used || node->auto_device || node->board)
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

static const struct vmft_key_rule place_rules[] = {{.key = "if"},
						   {.key = "index"},
						   {.key = "unit"},
						   {.key = "bus"},
						   {.key = "media"},
						   {.key = "size"},
						   {0}};

/* What the board makes of a drive. */
static void add_board_drive(struct vmft_rewrite *rw, struct vmft_node *node)
{
	const char *what = vmft_fact_keys(rw, "drive", node->arg, place_rules);
	size_t index;

	if (!node->refused && !vmft_get(node->arg, "file"))
		vmft_fact_ordered(rw, what);
	else if (disk_add(rw, node, &index) == 0)
		vmft_disk_fact(rw, what, index);
}

/* The firmware's flash, of -machine pflash0= and pflash1=. */
static void add_flash(struct vmft_rewrite *rw, const char *key)
{
	const char *name = rw->machine ? vmft_get(rw->machine, key) : NULL;
	struct vmft_node *node = name ? node_find(rw, name) : NULL;
	size_t index;

	if (!name || (!node && rw->nodes_lost))
		return;
	if (!node || node->drive || node->used)
		(void)vmft_refuse(
		    rw, rw->machine,
		    vmft_arena_printf(rw->arena, "%s= names no -blockdev of its own", key),
		    "give it the node-name of one");
	else if (disk_add(rw, node, &index) == 0)
		vmft_disk_fact(rw, key, index);
}

/* QEMU makes the devices of if=virtio after those of -device; so does this. */
void vmft_drives_finish(struct vmft_rewrite *rw)
{
	for (size_t i = 0; i < rw->node_count; i++) {
		size_t index;

		if (rw->nodes[i].auto_device && disk_add(rw, &rw->nodes[i], &index) == 0)
			add_device(rw, index);
		else if (rw->nodes[i].board)
			add_board_drive(rw, &rw->nodes[i]);
	}
	add_flash(rw, "pflash0");
	add_flash(rw, "pflash1");
}
