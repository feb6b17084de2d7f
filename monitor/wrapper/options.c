/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of QEMU that vmft knows, and what it does with each. One that is not here is
 * refused: being unknown is the rule, being let through needs a reason.
 */
#include <errno.h>
#include <string.h>

#include "rewrite.h"

int vmft_check_refused(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return vmft_refuse_for(rw, arg, &arg->option->reason, "leave it out");
}

int vmft_check_unknown(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return vmft_refuse(rw, arg, vmft_unknown(rw), "leave it out");
}

int vmft_check_kept(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	(void)rw;
	(void)arg;
	return 0;
}

int vmft_check_dropped(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	arg->drop = true;
	vmft_replaced(rw, arg, rw->rules->words(&arg->option->reason));
	return 0;
}

/* Options that may only say "none"; reason tells what any other value would bring. */
static int check_none(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *todo = vmft_arena_printf(rw->arena, "use -%s none", arg->option->name);

	if (strcmp(arg->text, "none") == 0)
		return 0;
	return vmft_refuse_for(rw, arg, &arg->option->reason, todo);
}

static int check_ide(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_reason why =
	    VMFT_REASONS("no IDE disk is on the list of replay-safe devices",
			 "no IDE disk is on the list of known devices");

	return vmft_refuse_for(rw, arg, &why, "use -drive if=virtio,format=raw,file=PATH");
}

int vmft_check_visible(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	vmft_fact(rw, arg->option->name, arg->text ? arg->text : "on");
	return 0;
}

/* A file whose contents the guest sees. */
int vmft_check_contents(struct vmft_rewrite *rw, const char *what, const char *path)
{
	char hex[VMFT_DIGEST_HEX];
	struct vmft_error err;

	if (!rw->opt->file_digest)
		return 0;
	if (rw->opt->file_digest(rw->opt->file_digest_ctx, path, hex, &err) < 0)
		return vmft_report_refuse(rw->report, &err);
	vmft_fact(rw, what, hex);
	return 0;
}

int vmft_check_file(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return vmft_check_contents(rw, arg->option->name, arg->text);
}

static int check_accel(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return rw->rules->accel(rw, arg);
}

static int check_enable_kvm(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return rw->rules->enable_kvm(rw, arg);
}

static int check_smp(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return rw->rules->smp(rw, arg);
}

static int check_bios(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return rw->rules->bios(rw, arg);
}

static int check_action(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return rw->rules->action(rw, arg);
}

/* libvirt says it, to see a power-off before it ends QEMU. vmft ends QEMU itself, when the guest's
 * end is on both sides; the event comes all the same. */
static int check_no_shutdown(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	(void)rw;
	arg->drop = true;
	return 0;
}

static int check_daemonize(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	rw->out.daemonize = true;
	arg->drop = true;
	return 0;
}

/* Without -nodefaults it makes the console and a monitor share stdio: that is vmft_rules'
 * default_devices(). */
static int check_nographic(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	(void)arg;
	vmft_fact(rw, "nographic", "on");
	return 0;
}

static int check_vnc(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (strcmp(arg->text, "none") != 0)
		return vmft_check_refused(rw, arg);
	arg->drop = true;
	return 0;
}

int vmft_check_audiodev(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"driver", "none", VMFT_REASON("sound of the guest is played on one host only"), true},
	    {.key = VMFT_ANY_KEY},
	    {0},
	};

	return vmft_check_keys(rw, arg, rules);
}

static int check_boot(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const struct vmft_key_rule rules[] = {
	    {.key = "order"},
	    {"once", "",
	     VMFT_REASONS(
		 "it ends with the first reset, and attaching a backup resets the devices",
		 "it ends with the first reset, and no state tells the backup whether that was"),
	     false},
	    {.key = "strict"},
	    {"menu", "on|off", {0}, false},
	    {.key = "reboot-timeout"},
	    {.key = "splash-time"},
	    {.key = "splash", .hidden = true},
	    {0},
	};
	const char *splash = vmft_get(arg, "splash");
	int r = vmft_check_keys(rw, arg, rules);

	if (splash && vmft_check_contents(rw, "splash", splash) < 0)
		r = -EINVAL;
	if (r == 0)
		vmft_fact(rw, vmft_fact_keys(rw, "boot", arg, rules), "");
	return r;
}

static int check_rtc(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"base",
	     "utc",
	     {.text = "QEMU cannot record local time or a fixed date", .checkpoint_can = true},
	     false},
	    {"clock", "host",
	     VMFT_REASONS("guest time must go on from the log when the backup goes live",
			  "both hosts must take the time from the same clock"),
	     false},
	    {"driftfix", "none|slew", {0}, false},
	    {0},
	};
	int r = vmft_check_keys(rw, arg, rules);

	if (r == 0)
		vmft_fact(rw, vmft_fact_keys(rw, "rtc", arg, rules), "");
	return r;
}

static int check_smbios(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *why = "the contents of a file would have to be equal on both hosts";

	if (vmft_get(arg, "file") || vmft_get(arg, "path"))
		return vmft_refuse(rw, arg, why, "write the fields: type=1,serial=...");
	vmft_fact_ordered(rw, vmft_arena_printf(rw->arena, "smbios %s", arg->text));
	return 0;
}

static int check_overcommit(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {{.key = "mem-lock"}, {0}};

	return vmft_check_keys(rw, arg, rules);
}

#define REFUSED(name, arg, ...)                                                                    \
	{                                                                                          \
		name, arg, false, vmft_check_refused, NULL, __VA_ARGS__                            \
	}

static const struct vmft_option options[] = {
    /* The board and its processor. */
    {"machine", true, true, vmft_check_machine, "type", {0}},
    {"M", true, true, vmft_check_machine, "type", {0}},
    {"accel", true, true, check_accel, "accel", {0}},
    {"enable-kvm", false, true, check_enable_kvm, NULL, {0}},
    {"cpu", true, true, vmft_check_cpu, NULL, {0}},
    {"smp", true, true, check_smp, "cpus", {0}},
    {"m", true, true, vmft_check_memory, "size", {0}},
    {"global", true, false, vmft_check_global, NULL, {0}},
    {"no-acpi", false, true, vmft_check_visible, NULL, VMFT_REASON("guest-visible")},
    {"no-hpet", false, true, vmft_check_visible, NULL, VMFT_REASON("guest-visible")},
    {"uuid", true, true, vmft_check_visible, NULL, VMFT_REASON("in the guest's SMBIOS tables")},
    {"smbios", true, false, check_smbios, "", VMFT_REASON("guest-visible")},
    {"boot", true, true, check_boot, "order", VMFT_REASON("read by the guest's firmware")},
    {"rtc", true, true, check_rtc, "", {0}},
    {"kernel", true, true, vmft_check_file, NULL, VMFT_REASON("guest-visible by its contents")},
    {"initrd", true, true, vmft_check_file, NULL, VMFT_REASON("guest-visible by its contents")},
    {"bios", true, true, check_bios, NULL, VMFT_REASON("guest-visible by its contents")},
    {"append", true, true, vmft_check_visible, NULL, VMFT_REASON("the kernel's command line")},
    {"nodefaults", false, true, NULL, NULL, VMFT_REASON("required")},
    {"no-reboot", false, true, vmft_check_visible, NULL, VMFT_REASON("what a guest reset does")},
    {"no-shutdown", false, true, check_no_shutdown, NULL, VMFT_REASON("left out")},
    {"action", true, false, check_action, NULL,
     VMFT_REASON("vmft has to see the guest's power-off itself")},

    /* Devices and what is behind them. */
    {"device", true, false, vmft_check_device, "driver", {0}},
    {"drive", true, false, vmft_check_drive, "", {0}},
    {"blockdev", true, false, vmft_check_blockdev, "driver", {0}},
    {"netdev", true, false, vmft_check_netdev, "type", {0}},
    {"nic", true, false, vmft_check_nic, "type", {0}},
    {"net", true, false, vmft_check_net, "type", {0}},
    {"object", true, false, vmft_check_object, "qom-type", {0}},
    {"chardev", true, false, vmft_check_chardev, "backend", {0}},
    {"serial", true, false, vmft_check_serial, NULL, {0}},
    {"parallel", true, false, check_none, NULL,
     VMFT_REASONS("the parallel port is not recorded", "the parallel port is not on the list")},
    {"display", true, true, check_none, NULL,
     VMFT_REASON("displays and their input are not on the list")},
    {"vga", true, true, check_none, NULL, VMFT_REASON("no display adapter is on the list")},
    {"monitor", true, true, check_none, NULL, VMFT_OUTSIDE},

    /* Of the host only: the guest cannot see them. */
    {"name", true, true, NULL, NULL, VMFT_REASON("process and window titles")},
    {"pidfile", true, true, NULL, NULL, VMFT_REASON("a file on the host")},
    {"msg", true, true, NULL, NULL, VMFT_REASON("the form of QEMU's messages")},
    {"sandbox", true, true, NULL, NULL, VMFT_REASON("system calls QEMU may make")},
    {"overcommit", true, true, check_overcommit, "", {0}},
    {"add-fd", true, false, NULL, "", VMFT_REASON("descriptors handed to QEMU")},
    {"D", true, true, vmft_check_kept, NULL, VMFT_REASON("a file for QEMU's own log")},
    {"run-with", true, true, vmft_check_kept, NULL, VMFT_REASON("the user that QEMU runs as")},
    {"iscsi", true, false, vmft_check_dropped, "",
     VMFT_REASON("left out: no drive of a protected guest uses it")},
    {"no-user-config", false, true, NULL, NULL,
     VMFT_REASON("no hidden options; added when missing")},

    {"audiodev", true, false, vmft_check_audiodev, "driver", {0}},

    /* Known, and known not to work: say why. */
    REFUSED("icount", true,
	    VMFT_REASONS("vmft sets it, to record or to replay",
			 "guest time from counted instructions is not known to work with vmft")),
    REFUSED("snapshot", false,
	    VMFT_REASON("it throws the disk writes away that both sides must hold")),
    REFUSED("loadvm", true,
	    VMFT_REASONS("the log starts with the guest's first instruction",
			 "vmft itself loads the guest's state")),
    REFUSED("incoming", true,
	    VMFT_REASONS("the log starts with the guest's first instruction",
			 "vmft itself loads the guest's state")),
    {"S", false, true, vmft_check_dropped, NULL,
     VMFT_REASON("left out: vmft starts the guest, when it may run")},
    {"daemonize", false, true, check_daemonize, NULL, VMFT_REASON("vmft-qemu does it itself")},
    REFUSED("mon", true, VMFT_OUTSIDE),
    REFUSED("qmp", true, VMFT_OUTSIDE),
    REFUSED("qmp-pretty", true, VMFT_OUTSIDE),
    REFUSED("gdb", true, VMFT_OUTSIDE),
    REFUSED("s", false, VMFT_OUTSIDE),
    REFUSED("set", true, VMFT_REASON("it changes options after they were checked")),
    REFUSED("readconfig", true, VMFT_REASON("it brings options that were not checked")),
    {"nographic", false, true, check_nographic, NULL, VMFT_REASON("guest-visible")},
    {"k", true, true, vmft_check_kept, NULL, VMFT_REASON("the keyboard of who looks at a display")},
    {"runas", true, true, vmft_check_kept, NULL, VMFT_REASON("the user that QEMU runs as")},
    {"id", true, true, vmft_check_dropped, NULL,
     VMFT_REASON("left out: only Proxmox's QEMU has it, to find the process of a VM; the control "
		 "socket of vmft is found by the name of the pair")},
    {"hda", true, false, check_ide, NULL, {0}},
    {"hdb", true, false, check_ide, NULL, {0}},
    {"hdc", true, false, check_ide, NULL, {0}},
    {"hdd", true, false, check_ide, NULL, {0}},
    REFUSED("cdrom", true, VMFT_NO_CD),
    REFUSED("fda", true,
	    VMFT_REASONS("the floppy drive is not on the list of replay-safe devices",
			 "the floppy drive is not on the list of known devices")),
    REFUSED("fdb", true,
	    VMFT_REASONS("the floppy drive is not on the list of replay-safe devices",
			 "the floppy drive is not on the list of known devices")),
    REFUSED("usb", false, VMFT_NO_USB),
    REFUSED("usbdevice", true,
	    VMFT_REASONS("no USB device is on the list of replay-safe devices",
			 "no USB device is on the list of known devices")),
    {"vnc", true, true, check_vnc, NULL,
     VMFT_REASON("displays and their input are not on the list")},
    REFUSED("spice", true, VMFT_REASON("displays and their input are not on the list")),
    {"mem-path", true, true, vmft_check_mem_path, NULL, {0}},
    {"mem-prealloc", false, true, vmft_check_mem_prealloc, NULL, {0}},
    {"numa", true, false, vmft_check_numa, "type", VMFT_REASON("guest-visible")},

    /* Only to find probes among them. */
    {"help", false, true, vmft_check_unknown, NULL, {0}},
    {"h", false, true, vmft_check_unknown, NULL, {0}},
    {"version", false, true, vmft_check_unknown, NULL, {0}},
    {"L", true, false, vmft_check_unknown, NULL, {0}},
    {"d", true, false, vmft_check_unknown, NULL, {0}},
};

const struct vmft_option *vmft_option_find(const char *name)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (strcmp(options[i].name, name) == 0)
			return &options[i];
	return NULL;
}
