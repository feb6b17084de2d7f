/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line in a saved log, on its way into "vmft replay": the input is its words, one per
 * line. What is to be run names the copies of the disks only, and is a line like any other.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "monitor/wrapper/offline.h"

#define WORDS_MAX 64
#define DISKS_MAX 16

static void must(int good)
{
	if (!good)
		abort();
}

static const struct vmft_rewrite_options options = {
    .role = VMFT_ROLE_BACKUP,
    .strategy = VMFT_STRATEGY_LOCKSTEP,
    .ram_path = "/dev/null",
    .name = "n",
};

/* As vmft-qemu will read it. */
static void check_line(char **argv, size_t disks)
{
	struct vmft_report report = {.arena = vmft_arena_new()};
	struct vmft_cmdline line;
	int argc = 0, r;

	while (argv[argc])
		argc++;
	r = vmft_cmdline_rewrite(argc, argv, &options, &report, &line);
	must((r < 0) == (vmft_report_first(&report) != NULL));
	vmft_arena_free(report.arena);
	if (r < 0)
		return;
	must(line.disk_count == disks);
	for (size_t i = 0; i < line.disk_count; i++)
		must(strncmp(line.disks[i].path, "/copy/disk", 10) == 0);
	vmft_cmdline_free(&line);
}

static void rewrite(int argc, char *argv[])
{
	static const char *const to[DISKS_MAX] = {
	    "/copy/disk0",  "/copy/disk1",  "/copy/disk2",  "/copy/disk3",
	    "/copy/disk4",  "/copy/disk5",  "/copy/disk6",  "/copy/disk7",
	    "/copy/disk8",  "/copy/disk9",  "/copy/disk10", "/copy/disk11",
	    "/copy/disk12", "/copy/disk13", "/copy/disk14", "/copy/disk15"};
	const char *from[DISKS_MAX];
	struct vmft_offline offline = {.disk_from = from, .disk_to = to, .console = "/copy/con"};
	struct vmft_arena *arena = vmft_arena_new();
	struct vmft_report report = {.arena = arena};
	struct vmft_error err = {0};
	struct vmft_cmdline line;
	char **words;

	if (vmft_cmdline_rewrite(argc, argv, &options, &report, &line) < 0) {
		must(vmft_report_first(&report) != NULL);
		vmft_arena_free(arena);
		return;
	}
	must(line.disk_count <= DISKS_MAX);
	for (size_t i = 0; i < line.disk_count; i++)
		from[i] = line.disks[i].path;
	offline.disk_count = line.disk_count;
	if (vmft_offline_rewrite(arena, argc, argv, &offline, &words, &err) == 0)
		check_line(words, line.disk_count);
	else
		must(err.text[0] != '\0');
	vmft_arena_free(arena);
	vmft_cmdline_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[WORDS_MAX + 1] = {(char *)"vmft-qemu"};
	char *text = malloc(size + 1), *save = NULL;
	int argc = 1;

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *word = strtok_r(text, "\n", &save); word && argc < WORDS_MAX;
	     word = strtok_r(NULL, "\n", &save))
		argv[argc++] = word;
	rewrite(argc, argv);
	free(text);
	return 0;
}

static const char seed0[] =
    "-nodefaults\n-m\n64M\n-drive\nif=virtio,file=/a,,b,format=raw,readonly=on\n-netdev\n"
    "tap,id=a,ifname=t,script=/s\n-device\nvirtio-net-pci,netdev=a\n-serial\nfile:/x";
static const char seed1[] =
    "-nodefaults\n-M\nq35\n-blockdev\n{\"driver\":\"raw\",\"node-name\":\"a\",\"file\":"
    "{\"driver\":\"file\",\"filename\":\"/f\"}}\n-device\n"
    "virtio-blk-pci,drive=a\n-chardev\nfile,id=c,path=/c\n-device\nisa-serial,chardev=c";
static const char seed2[] =
    "-nodefaults\n-blockdev\ndriver=qcow2,node-name=a,file.driver=file,file.filename=/f\n-device\n"
    "virtio-blk-pci,drive=a\n-name\nx\n-pidfile\n/p\n-monitor\nunix:/m,server=on";

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {seed0, sizeof(seed0) - 1},
    {seed1, sizeof(seed1) - 1},
    {seed2, sizeof(seed2) - 1},
    {0},
};
