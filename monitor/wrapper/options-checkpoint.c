/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options that strategy checkpoint treats in another way than the table of all (options.c):
 * what reaches the guest through them is part of the state that is sent, and need not be in a log.
 */
#include <string.h>

#include "rewrite.h"

/* QEMU's monitors: the agent lets only such commands through as leave the two sides alike
 * (agent/qemu/monitors.c). */
#define GUARDED VMFT_REASON("the agent guards its commands")

#define DISPLAY VMFT_REASON("a display of the host; what it shows is not held")

/* -device usb-tablet and its like, and the board's USB controller. */
static int check_usb_device(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (!vmft_value_in(arg->text, "tablet|mouse|keyboard"))
		return vmft_refuse(rw, arg, "this USB device is " VMFT_NOT_KNOWN,
				   "use tablet, mouse or keyboard");
	vmft_fact_ordered(rw, vmft_arena_printf(rw->arena, "usbdevice %s", arg->text));
	return 0;
}

static int check_display(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (strcmp(arg->text, "none") == 0 || strncmp(arg->text, "vnc=", 4) == 0)
		return 0;
	return vmft_refuse(rw, arg, "a window on this host would not be there on the other",
			   "use -display none or -vnc");
}

static int check_vga(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (!vmft_value_in(arg->text, "none|std|virtio|qxl|cirrus"))
		return vmft_refuse(rw, arg, "this display adapter is not known to work with vmft",
				   "use -vga none, std, virtio, qxl or cirrus");
	return vmft_check_visible(rw, arg);
}

static int check_vnc(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	(void)rw;
	arg->drop = strcmp(arg->text, "none") == 0;
	return 0;
}

static int check_spice(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"gl", "off", VMFT_REASON("QEMU cannot save what a graphics card of the host holds"),
	     true},
	    {.key = VMFT_ANY_KEY},
	    {0},
	};

	return vmft_check_keys(rw, arg, rules);
}

/* What SPICE's client would hear, nobody hears: its end is on one host, as a channel's. */
static int check_audiodev(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *driver = vmft_get(arg, "driver");

	if (driver && strcmp(driver, "spice") == 0) {
		vmft_replaced(rw, arg,
			      "driver=none: the guest has its sound card, and nobody hears "
			      "it");
		vmft_optset_set(arg->set, "driver", "none");
	}
	return vmft_check_audiodev(rw, arg);
}

static int check_chardev(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_reason client =
	    VMFT_REASON("it is the client's end of SPICE, which is on one host only");
	const char *backend = vmft_get(arg, "backend");

	if (backend && vmft_value_in(backend, "spicevmc|spiceport"))
		return vmft_refuse_for(rw, arg, &client, "leave it out, with its device");
	if (!backend || !vmft_value_in(backend, "file|null|pty|stdio|socket|ringbuf|vc"))
		return vmft_refuse(rw, arg, "this character device is not known to work with vmft",
				   "use file, null, pty, stdio, socket, ringbuf or vc");
	return 0;
}

static bool begins_with_any(const char *text, const char *const *beginnings)
{
	for (; *beginnings; beginnings++)
		if (strncmp(text, *beginnings, strlen(*beginnings)) == 0)
			return true;
	return false;
}

/* "mon:" puts a monitor, which is guarded, beside the console. */
static int check_serial(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const char *const sockets[] = {"unix:", "tcp:", "telnet:", "vc", NULL};
	const char *text = arg->text;

	if (strncmp(text, "mon:", 4) == 0)
		text += 4;
	if (text == arg->text && !begins_with_any(text, sockets))
		return vmft_check_serial(rw, arg);
	rw->serial_count++;
	return 0;
}

/* A port of which nobody on the host has the other end. */
static int check_parallel(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (!vmft_value_in(arg->text, "none|null"))
		return vmft_refuse(rw, arg,
				   "a printer of this host would not be there on the other",
				   "use -parallel none or null");
	return vmft_check_visible(rw, arg);
}

/* -hda and its like are -drive with a place on the board's controller. */
static int check_image(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const char *const names[] = {"hda", "hdb", "hdc", "hdd", "cdrom"};
	size_t index = 0;
	bool cd = strcmp(arg->option->name, "cdrom") == 0;

	while (strcmp(names[index], arg->option->name) != 0)
		index++;
	arg->set = vmft_arena_alloc(rw->arena, 1, sizeof(*arg->set));
	arg->set->arena = rw->arena;
	vmft_optset_set(arg->set, "file", arg->text);
	vmft_optset_set(arg->set, "index", vmft_arena_printf(rw->arena, "%zu", cd ? 2 : index));
	vmft_optset_set(arg->set, "media", cd ? "cdrom" : "disk");
	arg->emit = "drive";
	return vmft_check_drive(rw, arg);
}

static int check_rtc(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {.key = "base"}, /* the clock's time is in the state of its device */
	    {"clock", "host", VMFT_REASON("both hosts must take the time from the same clock"),
	     false},
	    {"driftfix", "none|slew", {0}, false},
	    {0},
	};
	int r = vmft_check_keys(rw, arg, rules);

	if (r == 0)
		vmft_fact(rw, vmft_fact_keys(rw, "rtc", arg, rules), "");
	return r;
}

/* What the guest's firmware and kernel can read under a name. */
static int check_fw_cfg(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {.key = "name"}, {.key = "string"}, {.key = "file", .hidden = true}, {0}};
	const char *file = vmft_get(arg, "file");
	int r = vmft_check_keys(rw, arg, rules);

	if (file && vmft_check_contents(rw, "fw_cfg", file) < 0)
		return -1;
	vmft_fact_ordered(rw, vmft_fact_keys(rw, "fw_cfg", arg, rules));
	return r;
}

/* The guest sees that there is room for more memory. Monitors plug none in: the agent refuses it.
 */
static int check_memory(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {.key = "size", .hidden = true}, /* told apart as "ram" */
	    {.key = "maxmem"},
	    {.key = "slots"},
	    {0},
	};
	int r = vmft_check_memory_size(rw, arg, rules);

	if (r == 0 && (vmft_get(arg, "maxmem") || vmft_get(arg, "slots")))
		vmft_fact(rw, vmft_fact_keys(rw, "memory-slots", arg, rules), "");
	return r;
}

const struct vmft_option vmft_checkpoint_options[] = {
    {"m", true, true, check_memory, "size", {0}},
    {"usb", false, true, vmft_check_visible, NULL, VMFT_REASON("the board's USB controller")},
    {"usbdevice", true, false, check_usb_device, NULL, {0}},
    {"display", true, true, check_display, NULL, DISPLAY},
    {"vga", true, true, check_vga, NULL, VMFT_REASON("guest-visible")},
    {"vnc", true, false, check_vnc, NULL, DISPLAY},
    {"spice", true, true, check_spice, "", DISPLAY},
    {"audiodev", true, false, check_audiodev, "driver", {0}},
    {"monitor", true, false, vmft_check_kept, NULL, GUARDED},
    {"mon", true, false, vmft_check_kept, "chardev", GUARDED},
    {"qmp", true, false, vmft_check_kept, NULL, GUARDED},
    {"qmp-pretty", true, false, vmft_check_kept, NULL, GUARDED},
    {"chardev", true, false, check_chardev, "backend", {0}},
    {"serial", true, false, check_serial, NULL, {0}},
    {"parallel", true, false, check_parallel, NULL, {0}},
    {"hda", true, true, check_image, NULL, VMFT_REASON("a disk of the board")},
    {"hdb", true, true, check_image, NULL, VMFT_REASON("a disk of the board")},
    {"hdc", true, true, check_image, NULL, VMFT_REASON("a disk of the board")},
    {"hdd", true, true, check_image, NULL, VMFT_REASON("a disk of the board")},
    {"cdrom", true, true, check_image, NULL, VMFT_REASON("a CD of the board")},
    {"rtc", true, true, check_rtc, "", {0}},
    {"fw_cfg", true, false, check_fw_cfg, "name", {0}},
    {"watchdog-action", true, true, vmft_check_visible, NULL, VMFT_REASON("guest-visible")},
    {0},
};

/* --- a line without -nodefaults ----------------------------------------------- */

static bool any_given(const struct vmft_rewrite *rw, const char *const *options)
{
	for (; *options; options++)
		if (vmft_given(rw, *options))
			return true;
	return false;
}

static bool has_serial(const struct vmft_rewrite *rw)
{
	for (size_t i = 0; i < rw->device_count; i++)
		if (strcmp(vmft_get(rw->devices[i], "driver"), "isa-serial") == 0)
			return true;
	return vmft_given(rw, "serial");
}

static void add_serial(struct vmft_rewrite *rw, const char *text)
{
	vmft_add(rw, "-serial", text);
	rw->serial_count++;
}

/*
 * What QEMU adds to a line without -nodefaults is of two kinds. What the guest sees (a display
 * adapter, an empty CD drive and floppy drive) is left to QEMU: the machine text has that it is so.
 * What belongs to the host is written out: it would be in a window that nobody sees.
 */
void vmft_checkpoint_defaults(struct vmft_rewrite *rw)
{
	static const char *const networks[] = {"net", "nic", "netdev", NULL};
	static const char *const monitors[] = {"monitor", "mon", "qmp", "qmp-pretty", NULL};
	const bool console = vmft_given(rw, "nographic");
	const bool monitor = any_given(rw, monitors);

	if (!any_given(rw, networks))
		vmft_refuse_defaults(rw, "the card that QEMU adds is on user networking, and only "
					 "the output of a tap can be held back until it is safe; "
					 "use -netdev tap,... and a -device, or -nic none");
	if (has_serial(rw)) {
		if (!monitor)
			vmft_add(rw, "-monitor", "none");
	} else if (console && !monitor) {
		add_serial(rw, "mon:stdio");
	} else {
		add_serial(rw, console ? "stdio" : "null");
		if (!monitor)
			vmft_add(rw, "-monitor", "none");
	}
	if (!vmft_given(rw, "parallel"))
		vmft_add(rw, "-parallel", "null");
	vmft_fact(rw, "defaults", "on");
}
