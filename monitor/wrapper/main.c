/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
/*
 * vmft-qemu QEMU-ARGUMENTS...
 * vmft-qemu --check [--strategy STRATEGY] [--print] QEMU-ARGUMENTS...
 *
 * Takes the place of qemu-system-x86_64. VMFT_PAIR names the pair file, VMFT_ROLE says what
 * this side is to be, VMFT_HOST which of the file's hosts this is; libvirt needs none of them
 * (own-side.h). Everything is checked before anything is started. VMFT_REPLAY is for "vmft replay":
 * the saved log that takes a peer's place.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "background.h"
#include "check.h"
#include "cmdline.h"
#include "guest-build.h"
#include "host-processor.h"
#include "images.h"
#include "launch.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/pair-config.h"
#include "own-side.h"
#include "probe.h"
#include "qemu-binary.h"
#include "self-test.h"
#include "tap-probe.h"

/* libvirt asks QEMU about itself without our environment: the usual QEMU answers then. */
static int exec_probe(char *argv[], struct vmft_error *err)
{
	struct vmft_pair_config config = {.qemu = VMFT_QEMU_DEFAULT};
	const char *path = getenv("VMFT_PAIR");
	int r = 0;

	if (path && path[0])
		r = vmft_pair_config_load(path, &config, err);
	if (r < 0)
		return r;
	argv[0] = config.qemu;
	(void)execv(config.qemu, argv);
	return vmft_error_set(err, -errno, VMFT_EXIT_QEMU,
			      "%.300s: cannot execute: %s; install qemu-system-x86", config.qemu,
			      strerror(errno));
}

static void tell(int argc, char *argv[], const struct vmft_rewrite_options *opt,
		 const struct vmft_report *report, bool refused)
{
	static const char before[] = "vmft-qemu: ";

	vmft_check_print(stderr, before, report, VMFT_FINDING_REFUSED);
	vmft_check_print(stderr, before, report, VMFT_FINDING_REPLACED);
	if (refused)
		vmft_check_print_others(stderr, before, argc, argv, opt, report);
}

/* Rewrites the line and looks at what it needs of this host; tells the user all that is wrong. */
static int check(int argc, char *argv[], const struct vmft_launch *launch, const char *kept,
		 const char *digits, struct vmft_checked *ret, struct vmft_error *err)
{
	const struct vmft_qemu_choice choice = {
	    .installed = launch->config->qemu, .kept = kept, .digits = digits};
	char ram_path[32];
	struct vmft_rewrite_options opt = {
	    .role = launch->role,
	    .strategy = launch->config->strategy,
	    .ram_path = ram_path,
	    .name = launch->config->name,
	    .file_digest = vmft_file_digest,
	    .host_processor = vmft_host_processor,
	    .tap_fault = vmft_tap_fault,
	    .image_format = vmft_image_format,
	    .bridge_tap = vmft_bridge_tap,
	    .drop_fd = vmft_fd_drop,
	    .has_kvm = vmft_has_kvm,
	};
	struct vmft_report report = {.arena = vmft_arena_new()};
	int r;

	(void)snprintf(ram_path, sizeof(ram_path), "/proc/self/fd/%d", launch->ram_fd);
	argv[0] = (char *)launch->config->qemu;
	r = vmft_check(argc, argv, &opt, &choice, launch->config->disk_check, &report, ret);
	tell(argc, argv, &opt, &report, r < 0);
	if (r < 0)
		/* All of it is told already. */
		(void)vmft_error_set(err, r, vmft_report_exit_code(&report), "%s", "");
	vmft_arena_free(report.arena);
	return r;
}

/* The QEMU that was chosen takes the place of the pair file's. */
static void use_qemu(struct vmft_pair_config *config, const struct vmft_checked *checked,
		     const char *digits)
{
	if (checked->qemu_path != config->qemu) {
		(void)fprintf(stderr,
			      "vmft-qemu: the guest runs QEMU %s, build %.12s, as this side does; "
			      "%s is another build, for the guest's next start\n",
			      checked->qemu.version, checked->qemu.build_id, config->qemu);
		(void)snprintf(config->qemu, sizeof(config->qemu), "%s", checked->qemu_path);
		checked->cmdline.argv[0] = config->qemu;
	} else if (digits[0] && !vmft_strategy_kind_moves_to_builds(checked->cmdline.strategy) &&
		   strncmp(digits, checked->qemu.build_id, strlen(digits)) != 0) {
		(void)fprintf(stderr,
			      "vmft-qemu: the guest runs build %s of QEMU, of which this host has "
			      "no copy; %s is build %.12s\n",
			      digits, config->qemu, checked->qemu.build_id);
	}
}

/* QEMU waits for its pair before it has a monitor, and libvirt waits for the monitor. */
static int check_start(const struct vmft_own_side *side, enum vmft_strategy_kind strategy,
		       struct vmft_error *err)
{
	if (!side->managed || strategy != VMFT_STRATEGY_LOCKSTEP ||
	    side->config.start == VMFT_START_ALONE)
		return 0;
	return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
			      "%.300s: with strategy lockstep libvirt would wait until both sides "
			      "are started; write start = alone",
			      side->pair_path);
}

/* Everything is looked at here, and nothing but this process changed before vmft_launch(). */
static int protect(int argc, char *argv[], struct vmft_own_side *side, struct vmft_error *err)
{
	struct vmft_programs programs;
	struct vmft_checked checked = {0};
	char machine[VMFT_DIGEST_HEX];
	struct vmft_tap_probe taps[VMFT_HELLO_TAPS_MAX];
	char kept[VMFT_PATH_MAX] = "", digits[16] = "";
	struct vmft_launch launch = {
	    .pair_path = side->pair_path,
	    .config = &side->config,
	    .qemu = &checked.qemu,
	    .cmdline = &checked.cmdline,
	    .programs = &programs,
	    .machine_digest = machine,
	    .disk_digest = checked.disk_digest,
	    .images = checked.images,
	    .taps = taps,
	    .words = argv + 1,
	    .replay = getenv("VMFT_REPLAY"),
	    .ready_fd = -1,
	};
	int r = vmft_own_side_find(argc, argv, side, err);

	if (r < 0)
		return r;
	launch.role = side->role;
	launch.host = side->host;
	launch.managed = side->managed;
	r = vmft_programs_find(&programs, err);
	if (r == 0)
		r = vmft_guest_build_find(&side->config, launch.pair_path, launch.role, kept,
					  digits, err);
	if (r < 0)
		return r;
	launch.ram_fd = vmft_ram_create(err);
	if (launch.ram_fd < 0)
		return launch.ram_fd;
	r = check(argc, argv, &launch, kept, digits, &checked, err);
	if (r < 0)
		goto free_cmdline;
	use_qemu(&side->config, &checked, digits);
	r = check_start(side, checked.cmdline.strategy, err);
	if (r < 0)
		goto free_cmdline;
	r = vmft_self_test_need(side->config.qemu, &checked.qemu, err);
	if (r == 0 && !launch.replay)
		vmft_guest_build_keep(&side->config, launch.pair_path, &checked.qemu);
	if (r == 0 && checked.cmdline.huge_pages)
		r = vmft_ram_use_pages(launch.ram_fd, checked.cmdline.huge_pages,
				       checked.cmdline.ram_bytes, err);
	if (r == 0 && checked.cmdline.daemonize)
		r = vmft_background(&launch.ready_fd, err);
	side->in_background = launch.ready_fd >= 0;
	if (r < 0)
		goto free_cmdline;
	vmft_cmdline_digest(&checked.cmdline, machine);
	vmft_taps_look(checked.cmdline.nics, checked.cmdline.nic_count, taps);
	r = vmft_launch(&launch, err);
free_cmdline:
	vmft_cmdline_free(&checked.cmdline);
	return r;
}

/*
 * Two hosts that start a new VM at the same moment both choose to be its primary, and only one of
 * them wins the generation. The other starts again: the generation is held now, so it is a backup.
 * Not after -daemonize: the caller waits for the process that has failed.
 */
static void start_as_backup(const struct vmft_own_side *side, char *argv[],
			    const struct vmft_error *err)
{
	static char name[] = "vmft-qemu";

	if (!side->chosen || side->role != VMFT_ROLE_PRIMARY || side->in_background ||
	    err->exit_code != VMFT_EXIT_ARBITER || err->text[0] ||
	    setenv("VMFT_ROLE", vmft_role_name(VMFT_ROLE_BACKUP), 1) < 0 ||
	    setenv("VMFT_HOST", vmft_pair_host_name(&side->config, side->host), 1) < 0)
		return;
	(void)fprintf(stderr, "vmft-qemu: this side is the backup, then\n");
	argv[0] = name;
	(void)execv("/proc/self/exe", argv);
}

int main(int argc, char *argv[])
{
	static struct vmft_own_side side;
	struct vmft_error err = {.exit_code = VMFT_EXIT_INTERNAL};

	if (argc > 1 && strcmp(argv[1], "--check") == 0)
		return vmft_check_main(argc, argv);
	if (argc > 1 && strcmp(argv[1], "--self-test") == 0)
		return vmft_self_test_main(argc, argv);
	if (vmft_cmdline_is_probe(argc, argv))
		(void)exec_probe(argv, &err);
	else
		(void)protect(argc, argv, &side, &err);
	start_as_backup(&side, argv, &err);
	if (err.text[0])
		(void)fprintf(stderr, "vmft-qemu: %s\n", err.text);
	return err.exit_code;
}
