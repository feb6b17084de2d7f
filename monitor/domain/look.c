/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "logging-channel/now.h"
#include "monitor/common/local-address.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/arbiter/pair-arbiter.h"
#include "monitor/wrapper/cmdline.h"
#include "monitor/wrapper/host-processor.h"
#include "monitor/wrapper/images.h"
#include "monitor/wrapper/probe.h"
#include "monitor/wrapper/qemu-binary.h"
#include "monitor/wrapper/self-test.h"
#include "native-line.h"

#define LIST_MAX     64u	  /* of a list that another host sent */
#define ARBITER_VM   "vmft-check" /* the name under which the token is left */
#define ARBITER_HOST "token"

/* --- JSON --------------------------------------------------------------------- */

static struct json_object *member(struct json_object *object, const char *name, json_type type)
{
	struct json_object *found;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, name, &found) || !json_object_is_type(found, type))
		return NULL;
	return found;
}

const char *vmft_look_text(struct json_object *object, const char *name)
{
	struct json_object *found = member(object, name, json_type_string);

	return found ? json_object_get_string(found) : "";
}

int64_t vmft_look_number(struct json_object *object, const char *name)
{
	struct json_object *found = member(object, name, json_type_int);

	return found ? json_object_get_int64(found) : 0;
}

bool vmft_look_truth(struct json_object *object, const char *name)
{
	struct json_object *found = member(object, name, json_type_boolean);

	return found && json_object_get_boolean(found);
}

struct json_object *vmft_look_list(struct json_object *object, const char *name)
{
	return member(object, name, json_type_array);
}

struct json_object *vmft_look_object(struct json_object *object, const char *name)
{
	return member(object, name, json_type_object);
}

struct json_object *vmft_look_find(struct json_object *list, const char *key, const char *text)
{
	for (size_t i = 0; list && i < json_object_array_length(list) && i < LIST_MAX; i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		if (strcmp(vmft_look_text(item, key), text) == 0)
			return item;
	}
	return NULL;
}

static void put_text(struct json_object *object, const char *name, const char *text)
{
	json_object_object_add(object, name, json_object_new_string(text));
}

static void put_number(struct json_object *object, const char *name, int64_t number)
{
	json_object_object_add(object, name, json_object_new_int64(number));
}

static void put_truth(struct json_object *object, const char *name, bool truth)
{
	json_object_object_add(object, name, json_object_new_boolean(truth));
}

/* --- the host ----------------------------------------------------------------- */

/* The emulator of a protected domain: vmft-qemu beside this program. */
static void put_wrapper(struct json_object *ret)
{
	char path[VMFT_PATH_MAX];
	const ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("/vmft-qemu"));

	if (n <= 0)
		return;
	path[n] = '\0';
	(void)strcpy(strrchr(path, '/'), "/vmft-qemu");
	if (access(path, X_OK) == 0)
		put_text(ret, "wrapper", path);
}

static void look_at_host(struct json_object *ret)
{
	char processor[VMFT_PROCESSOR_MAX];
	struct vmft_error err;
	struct utsname own;

	put_text(ret, "node", uname(&own) == 0 ? own.nodename : "");
	put_text(ret, "version", VMFT_VERSION);
	put_wrapper(ret);
	put_truth(ret, "root", geteuid() == 0);
	put_truth(ret, "kvm", vmft_has_kvm());
	put_text(ret, "processor", vmft_host_processor(processor, &err) == 0 ? processor : "");
}

static void look_at_qemu(struct json_object *ret)
{
	struct json_object *qemu = json_object_new_object();
	struct vmft_qemu_binary binary;
	struct vmft_error err;

	put_text(qemu, "path", VMFT_QEMU_DEFAULT);
	if (vmft_qemu_binary_check(VMFT_QEMU_DEFAULT, &binary, &err) < 0) {
		put_text(qemu, "error", err.text);
	} else {
		put_text(qemu, "version", binary.version);
		put_text(qemu, "build", binary.build_id);
		put_truth(qemu, "tried", vmft_self_test_passed(&binary));
	}
	json_object_object_add(ret, "qemu", qemu);
}

/* --- the command line --------------------------------------------------------- */

static void put_refusals(const struct vmft_report *report, struct json_object *line)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < report->count; i++)
		if (report->items[i].kind == VMFT_FINDING_REFUSED)
			json_object_array_add(list, json_object_new_string(report->items[i].text));
	json_object_object_add(line, "refused", list);
	put_text(line, "strategy", vmft_strategy_kind_name(report->strategy));
	put_text(line, "reason", report->strategy_reason ? report->strategy_reason : "");
}

/* libvirt would open descriptors and files for the line when it starts the domain: those are not
 * looked at. */
static void check_line(int argc, char **argv, const char *vm, const char *strategy,
		       struct json_object *ret)
{
	struct vmft_rewrite_options opt = {
	    .role = VMFT_ROLE_PRIMARY,
	    .strategy = VMFT_STRATEGY_AUTO,
	    .ram_path = "/proc/self/fd/3",
	    .name = vm,
	    .file_digest = vmft_file_digest,
	    .host_processor = vmft_host_processor,
	    .image_format = vmft_image_format,
	    .bridge_look = vmft_bridge_look,
	    .has_kvm = vmft_has_kvm,
	};
	struct vmft_report report = {.arena = vmft_arena_new()};
	struct vmft_cmdline line = {0};
	char digest[VMFT_DIGEST_HEX];

	(void)vmft_strategy_kind_parse(strategy, &opt.strategy);
	if (vmft_cmdline_rewrite(argc, argv, &opt, &report, &line) == 0) {
		vmft_cmdline_digest(&line, digest);
		put_text(ret, "machine", digest);
		put_truth(ret, "versioned", line.machine_version != 0);
	}
	put_refusals(&report, ret);
	vmft_cmdline_free(&line);
	vmft_arena_free(report.arena);
}

static void look_at_line(struct json_object *request, struct json_object *ret)
{
	const char *text = vmft_look_text(request, "line");
	struct vmft_arena *arena = vmft_arena_new();
	struct json_object *line;
	char **argv;
	int argc;

	if (!text[0])
		goto free_arena;
	line = json_object_new_object();
	argc = vmft_native_line_split(text, arena, &argv);
	if (argc < 0)
		put_text(line, "error", "libvirt's command line cannot be taken apart");
	else
		check_line(argc, argv, vmft_look_text(request, "vm"),
			   vmft_look_text(request, "strategy"), line);
	json_object_object_add(ret, "line", line);
free_arena:
	vmft_arena_free(arena);
}

/* --- files and networks ------------------------------------------------------- */

/* The size of a file or block device. A negative errno: it is none, or cannot be read. */
static int64_t size_of(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int64_t bytes;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		bytes = -errno;
	else if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
		bytes = lseek(fd, 0, SEEK_END);
	else
		bytes = -EINVAL;
	(void)close(fd);
	return bytes;
}

/* Of the file system that path is, or would be, in. */
static int64_t free_bytes(const char *path)
{
	char directory[VMFT_PATH_MAX];
	struct statvfs fs;
	char *slash;

	(void)snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	if (!slash)
		return -EINVAL;
	slash[slash == directory] = '\0';
	if (statvfs(directory, &fs) < 0)
		return -errno;
	return (int64_t)(fs.f_bavail * fs.f_frsize);
}

/* The size that the guest sees. 0: it is not known. */
static int64_t guest_size(const char *path, const char *format)
{
	const bool qcow2 = strcmp(format, "qcow2") == 0;
	const struct vmft_disk disk = {
	    .path = path,
	    .format = qcow2 ? VMFT_IMAGE_QCOW2 : VMFT_IMAGE_RAW,
	};
	char digest[VMFT_DIGEST_HEX];
	struct vmft_image_facts facts;
	struct vmft_error err;

	if (!qcow2 && strcmp(format, "raw") != 0)
		return 0;
	return vmft_images_check(&disk, 1, VMFT_DISK_CHECK_SIZE, digest, &facts, &err) < 0
		   ? 0
		   : (int64_t)facts.guest_bytes;
}

static struct json_object *look_at_disk(struct json_object *asked)
{
	const char *path = vmft_look_text(asked, "path"), *format = vmft_look_text(asked, "format");
	struct json_object *disk = json_object_new_object();
	const int64_t bytes = size_of(path), space = free_bytes(path);

	put_text(disk, "path", path);
	put_truth(disk, "is_there", bytes >= 0);
	put_number(disk, "bytes", bytes >= 0 ? bytes : 0);
	put_number(disk, "guest_bytes", bytes >= 0 ? guest_size(path, format) : 0);
	put_number(disk, "free", space >= 0 ? space : 0);
	if (bytes < 0 && bytes != -ENOENT)
		put_text(disk, "error", strerror((int)-bytes));
	else if (space < 0)
		put_text(disk, "error", strerror((int)-space));
	return disk;
}

/* A name of the request; "" if it is no text. */
static const char *name_of(struct json_object *asked)
{
	const char *name = json_object_get_string(asked);

	return name ? name : "";
}

static struct json_object *look_at_bridge(struct json_object *asked)
{
	struct json_object *bridge = json_object_new_object();
	const char *name = name_of(asked);
	char path[64];
	const int n = snprintf(path, sizeof(path), "/sys/class/net/%s/bridge", name);

	put_text(bridge, "name", name);
	put_truth(bridge, "is_there",
		  !strchr(name, '/') && n > 0 && (size_t)n < sizeof(path) &&
		      access(path, F_OK) == 0);
	return bridge;
}

static struct json_object *look_at_tap(struct json_object *asked)
{
	struct json_object *tap = json_object_new_object();
	const char *name = name_of(asked);

	put_text(tap, "name", name);
	put_truth(tap, "is_there", if_nametoindex(name) > 0);
	return tap;
}

static void look_at_each(struct json_object *request, const char *name, struct json_object *ret,
			 struct json_object *(*look)(struct json_object *))
{
	struct json_object *asked = vmft_look_list(request, name);
	struct json_object *list;

	if (!asked)
		return;
	list = json_object_new_array();
	for (size_t i = 0; i < json_object_array_length(asked); i++)
		json_object_array_add(list, look(json_object_array_get_idx(asked, i)));
	json_object_object_add(ret, name, list);
}

/* --- the channel -------------------------------------------------------------- */

static bool same_address(const struct sockaddr *a, const struct sockaddr_storage *b)
{
	if (!a || a->sa_family != b->ss_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
		      &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr,
		      sizeof(struct in6_addr)) == 0;
}

static int mtu_of(const char *device)
{
	struct ifreq request = {0};
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int mtu = 0;

	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	if (fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0)
		mtu = request.ifr_mtu;
	if (fd >= 0)
		(void)close(fd);
	return mtu;
}

static void put_device(const struct vmft_channel_address *address, struct json_object *channel)
{
	struct ifaddrs *all;

	if (getifaddrs(&all) < 0)
		return;
	for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
		if (!same_address(one->ifa_addr, &address->addr))
			continue;
		put_text(channel, "device", one->ifa_name);
		put_number(channel, "mtu", mtu_of(one->ifa_name));
		break;
	}
	freeifaddrs(all);
}

static void look_at_channel(struct json_object *request, struct json_object *ret)
{
	const char *text = vmft_look_text(request, "channel");
	struct vmft_channel_address address;
	struct json_object *channel;

	if (!text[0])
		return;
	channel = json_object_new_object();
	put_text(channel, "address", text);
	if (vmft_channel_address_parse(text, &address) < 0) {
		put_text(channel, "error", "not an address with a port, in numbers");
	} else {
		put_truth(channel, "is_local", vmft_address_is_local(&address));
		put_device(&address, channel);
	}
	json_object_object_add(ret, "channel", channel);
}

/* --- the arbiter -------------------------------------------------------------- */

/* Leaves the token, or finds the one that the other host left. */
static int meet(struct json_object *request, const struct vmft_pair_config *config,
		struct json_object *arbiter, struct vmft_error *err)
{
	const char *token = vmft_look_text(request, "token");
	char found[VMFT_ARBITER_OWNER_MAX] = "";
	const struct vmft_arbiter_ops *ops;
	struct vmft_arbiter *handle;
	int r = vmft_pair_arbiter_open(config, "--arbiter", &ops, &handle, err);

	if (r < 0)
		return r;
	if (token[0])
		r = ops->mark(handle, ARBITER_HOST, token, err);
	else if (vmft_look_truth(request, "seek"))
		r = ops->look(handle, ARBITER_HOST, found, err);
	if (r >= 0)
		put_text(arbiter, "token", found);
	ops->close(handle);
	return r;
}

static void look_at_arbiter(struct json_object *request, struct json_object *ret)
{
	const char *where = vmft_look_text(request, "arbiter");
	struct vmft_pair_config *config = calloc(1, sizeof(*config));
	struct vmft_arbiter_latest latest;
	struct json_object *arbiter;
	struct vmft_error err;
	int r;

	if (!where[0] || !config)
		goto free_config;
	arbiter = json_object_new_object();
	(void)snprintf(config->arbiter, sizeof(config->arbiter), "%s", where);
	(void)snprintf(config->name, sizeof(config->name), "%s", ARBITER_VM);
	r = meet(request, config, arbiter, &err);
	(void)snprintf(config->name, sizeof(config->name), "%s", vmft_look_text(request, "vm"));
	if (r >= 0)
		r = vmft_pair_arbiter_latest(config, "--arbiter", &latest, &err);
	if (r < 0) {
		put_text(arbiter, "error", err.text);
	} else {
		put_number(arbiter, "generation", (int64_t)latest.generation);
		put_truth(arbiter, "ended", latest.ended);
		put_text(arbiter, "owner", latest.owner);
	}
	json_object_object_add(ret, "arbiter", arbiter);
free_config:
	free(config);
}

struct json_object *vmft_look(struct json_object *request)
{
	struct json_object *ret = json_object_new_object();

	look_at_host(ret);
	look_at_qemu(ret);
	look_at_line(request, ret);
	look_at_each(request, "disks", ret, look_at_disk);
	look_at_each(request, "bridges", ret, look_at_bridge);
	look_at_each(request, "taps", ret, look_at_tap);
	look_at_channel(request, ret);
	look_at_arbiter(request, ret);
	/* Last, so that the other side knows well when it was. */
	put_number(ret, "clock_ns", (int64_t)vmft_realtime_ns());
	return ret;
}
