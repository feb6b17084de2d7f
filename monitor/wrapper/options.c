/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of QEMU that vmft knows, and what it does with each. One that is not here is
 * refused: being unknown is the rule, being let through needs a reason.
 */
#include <string.h>

#include "rewrite.h"

int vmft_check_refused(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return vmft_refuse(rw, arg, arg->option->reason, "leave it out");
}

int vmft_check_unknown(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return vmft_refuse(rw, arg, VMFT_UNKNOWN, "leave it out");
}

/* Options that may only say "none"; reason tells what any other value would bring. */
static int check_none(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *todo = vmft_arena_printf(rw->arena, "use -%s none", arg->option->name);

	if (strcmp(arg->text, "none") == 0)
		return 0;
	return vmft_refuse(rw, arg, arg->option->reason, todo);
}

static int check_nographic(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return vmft_refuse(rw, arg, "it puts a monitor on the console, and " VMFT_UNLOGGED,
			   "use -display none -serial stdio");
}

static int check_ide(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	return vmft_refuse(rw, arg, "no IDE disk is on the list of replay-safe devices",
			   "use -drive if=virtio,format=raw,file=PATH");
}

/* Visible to the guest as it is written. */
static int check_visible(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	vmft_fact(rw, arg->option->name, arg->text ? arg->text : "on");
	return 0;
}

static int check_file(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	char hex[VMFT_DIGEST_HEX];
	int r;

	if (!rw->opt->file_digest)
		return 0;
	r = rw->opt->file_digest(rw->opt->file_digest_ctx, arg->text, hex, rw->err);
	if (r < 0)
		return r;
	vmft_fact(rw, arg->option->name, hex);
	return 0;
}

static int check_bios(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (vmft_is_checkpoint(rw))
		return check_file(rw, arg);
	return vmft_refuse(rw, arg, "firmware other than QEMU's own is " VMFT_UNKNOWN,
			   "leave it out, or write strategy = checkpoint in the pair file");
}

/* libvirt says it, to see a power-off before it ends QEMU. vmft ends QEMU itself, when the guest's
 * end is on both sides; the event comes all the same. */
static int check_no_shutdown(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	(void)rw;
	arg->drop = true;
	return 0;
}

static int check_action(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (vmft_is_checkpoint(rw))
		return vmft_check_refused(rw, arg);
	return vmft_check_unknown(rw, arg);
}

static int check_boot(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const struct vmft_key_rule rules[] = {
	    {.key = "order"},
	    {"once", "", "it ends with the first reset, and attaching a backup resets the devices",
	     false},
	    {.key = "strict"},
	    {.key = "menu", .values = "off", .reason = "a boot menu waits for keys"},
	    {0},
	};
	int r = vmft_check_keys(rw, arg, rules);

	if (r == 0)
		vmft_fact(rw, vmft_fact_keys(rw, "boot", arg, rules), "");
	return r;
}

static int check_rtc(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"base", "utc", "QEMU cannot record local time or a fixed date", false},
	    {"clock", "host", "guest time must go on from the log when the backup goes live",
	     false},
	    {"driftfix", "none|slew", NULL, false},
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

#define POWER_OFF "vmft has to see the guest's power-off itself"

#define REFUSED(name, arg, why)                                                                    \
	{                                                                                          \
		name, arg, false, vmft_check_refused, NULL, why                                    \
	}

static const struct vmft_option options[] = {
    /* The board and its processor. */
    {"machine", true, true, vmft_check_machine, "type", NULL},
    {"M", true, true, vmft_check_machine, "type", NULL},
    {"accel", true, true, vmft_check_accel, "accel", NULL},
    {"enable-kvm", false, true, vmft_check_enable_kvm, NULL, VMFT_NO_KVM},
    {"cpu", true, true, vmft_check_cpu, NULL, NULL},
    {"smp", true, true, vmft_check_smp, "cpus", NULL},
    {"m", true, true, vmft_check_memory, "size", NULL},
    {"global", true, false, vmft_check_global, NULL, NULL},
    {"no-acpi", false, true, check_visible, NULL, "guest-visible"},
    {"no-hpet", false, true, check_visible, NULL, "guest-visible"},
    {"uuid", true, true, check_visible, NULL, "in the guest's SMBIOS tables"},
    {"smbios", true, false, check_smbios, "", "guest-visible"},
    {"boot", true, true, check_boot, "order", "read by the guest's firmware"},
    {"rtc", true, true, check_rtc, "", NULL},
    {"kernel", true, true, check_file, NULL, "guest-visible by its contents"},
    {"initrd", true, true, check_file, NULL, "guest-visible by its contents"},
    {"bios", true, true, check_bios, NULL, "guest-visible by its contents"},
    {"append", true, true, check_visible, NULL, "the kernel's command line"},
    {"nodefaults", false, true, NULL, NULL, "required"},
    {"no-reboot", false, true, check_visible, NULL, "what a guest reset does"},
    {"no-shutdown", false, true, check_no_shutdown, NULL, "left out"},
    {"action", true, false, check_action, NULL, POWER_OFF},

    /* Devices and what is behind them. */
    {"device", true, false, vmft_check_device, "driver", NULL},
    {"drive", true, false, vmft_check_drive, "", NULL},
    {"blockdev", true, false, vmft_check_blockdev, "driver", NULL},
    {"netdev", true, false, vmft_check_netdev, "type", NULL},
    {"nic", true, false, vmft_check_nic_option, NULL, NULL},
    {"net", true, false, vmft_check_nic_option, NULL, NULL},
    {"object", true, false, vmft_check_object, "qom-type", NULL},
    {"chardev", true, false, vmft_check_chardev, "backend", NULL},
    {"serial", true, false, vmft_check_serial, NULL, NULL},
    {"parallel", true, false, check_none, NULL, "the parallel port is not recorded"},
    {"display", true, true, check_none, NULL, "displays and their input are not on the list"},
    {"vga", true, true, check_none, NULL, "no display adapter is on the list"},
    {"monitor", true, true, check_none, NULL, VMFT_UNLOGGED},

    /* Of the host only: the guest cannot see them. */
    {"name", true, true, NULL, NULL, "process and window titles"},
    {"pidfile", true, true, NULL, NULL, "a file on the host"},
    {"msg", true, true, NULL, NULL, "the form of QEMU's messages"},
    {"sandbox", true, true, NULL, NULL, "system calls QEMU may make"},
    {"overcommit", true, true, check_overcommit, "", NULL},
    {"add-fd", true, false, NULL, "", "descriptors handed to QEMU"},
    {"no-user-config", false, true, NULL, NULL, "no hidden options; added when missing"},

    /* Known, and known not to work: say why. */
    REFUSED("icount", true, "vmft sets it, to record or to replay"),
    REFUSED("snapshot", false, "it throws the disk writes away that both sides must hold"),
    REFUSED("loadvm", true, "the log starts with the guest's first instruction"),
    REFUSED("incoming", true, "the log starts with the guest's first instruction"),
    REFUSED("S", false, "nothing but the log may start or stop the guest"),
    REFUSED("daemonize", false, "QEMU would leave the process that its monitor watches"),
    REFUSED("mon", true, VMFT_UNLOGGED),
    REFUSED("qmp", true, VMFT_UNLOGGED),
    REFUSED("qmp-pretty", true, VMFT_UNLOGGED),
    REFUSED("gdb", true, VMFT_UNLOGGED),
    REFUSED("s", false, VMFT_UNLOGGED),
    REFUSED("set", true, "it changes options after they were checked"),
    REFUSED("readconfig", true, "it brings options that were not checked"),
    {"nographic", false, false, check_nographic, NULL, NULL},
    {"hda", true, false, check_ide, NULL, NULL},
    {"hdb", true, false, check_ide, NULL, NULL},
    {"hdc", true, false, check_ide, NULL, NULL},
    {"hdd", true, false, check_ide, NULL, NULL},
    REFUSED("cdrom", true, "no CD drive is on the list of replay-safe devices"),
    REFUSED("fda", true, "the floppy drive is not on the list of replay-safe devices"),
    REFUSED("fdb", true, "the floppy drive is not on the list of replay-safe devices"),
    REFUSED("usb", false, "no USB controller is on the list of replay-safe devices"),
    REFUSED("usbdevice", true, "no USB device is on the list of replay-safe devices"),
    REFUSED("vnc", true, "displays and their input are not on the list"),
    REFUSED("spice", true, "displays and their input are not on the list"),
    REFUSED("mem-path", true, "vmft supplies the guest's RAM, shared with its monitor"),
    REFUSED("mem-prealloc", false, "vmft supplies the guest's RAM, shared with its monitor"),

    /* Only to find probes among them. */
    {"help", false, true, vmft_check_unknown, NULL, NULL},
    {"h", false, true, vmft_check_unknown, NULL, NULL},
    {"version", false, true, vmft_check_unknown, NULL, NULL},
    {"L", true, false, vmft_check_unknown, NULL, NULL},
    {"d", true, false, vmft_check_unknown, NULL, NULL},
    {"audiodev", true, false, vmft_check_unknown, NULL, NULL},
};

const struct vmft_option *vmft_option_find(const char *name)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (strcmp(options[i].name, name) == 0)
			return &options[i];
	return NULL;
}
