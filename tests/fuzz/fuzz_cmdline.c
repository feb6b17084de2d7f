/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
/* The input is a command line, one word per line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "monitor/wrapper/cmdline.h"

#define WORDS_MAX 64

static int count(const struct vmft_cmdline *cmdline, const char *word)
{
	int found = 0;

	for (int i = 0; i < cmdline->argc; i++)
		found += strcmp(cmdline->argv[i], word) == 0;
	return found;
}

/*
 * A rewritten line is on shared memory and says by itself which accelerator it is. For
 * lockstep it always records, without KVM; for checkpoint never, and the guest stands still.
 */
static void check_rewritten(const struct vmft_cmdline *cmdline)
{
	int lockstep = cmdline->strategy == VMFT_STRATEGY_LOCKSTEP;

	if (cmdline->strategy == VMFT_STRATEGY_AUTO || !cmdline->strategy_reason)
		abort();
	if (count(cmdline, "-icount") != lockstep || count(cmdline, "-S") < !lockstep)
		abort();
	if (count(cmdline, "-enable-kvm") != 0 || count(cmdline, "-accel") < 1 ||
	    cmdline->ram_bytes == 0 || !cmdline->machine_text)
		abort();
}

static void rewrite(int argc, char *const argv[], enum vmft_strategy_kind strategy)
{
	const struct vmft_rewrite_options opt = {
	    .strategy = strategy, .ram_path = "/r", .name = "n"};
	struct vmft_report report = {.arena = vmft_arena_new()};
	struct vmft_cmdline cmdline;

	if (vmft_cmdline_rewrite(argc, argv, &opt, &report, &cmdline) == 0) {
		check_rewritten(&cmdline);
		vmft_cmdline_free(&cmdline);
	} else if (!vmft_report_first(&report)) {
		abort();
	}
	vmft_arena_free(report.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[WORDS_MAX + 1] = {(char *)"qemu"};
	char *text = malloc(size + 1), *save = NULL;
	int argc = 1;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *word = strtok_r(text, "\n", &save); word && argc < WORDS_MAX;
	     word = strtok_r(NULL, "\n", &save))
		argv[argc++] = word;
	(void)vmft_cmdline_is_probe(argc, argv);
	for (enum vmft_strategy_kind kind = 0; kind < VMFT_STRATEGY_COUNT; kind++)
		rewrite(argc, argv, kind);
	free(text);
	return 0;
}

static const char seed0[] =
    "-nodefaults\n-m\n1G\n-drive\nif=virtio,file=/a,,b,format=raw,cache=directsync\n-netdev\n"
    "tap,id=a,ifname=t\n-device\nvirtio-net-pci,netdev=a,mac=52:54:00:12:34:57";
static const char seed1[] =
    "-nodefaults\n-M\nq35\n-blockdev\n{\"driver\":\"raw\",\"node-name\":\"a\",\"file\":"
    "{\"driver\":\"file\",\"filename\":\"/f\"}}\n-device\n"
    "{\"driver\":\"virtio-blk-pci\",\"drive\":\"a\",\"bootindex\":1}";
static const char seed2[] =
    "-nodefaults\n-chardev\nfile,id=c,path=/c\n-device\nisa-serial,chardev=c\n-object\n"
    "rng-random,id=r\n-device\nvirtio-rng-pci,rng=r\n-smp\n1\n-accel\ntcg";

static const char seed3[] =
    "-nodefaults\n-M\nmicrovm,accel=kvm,isa-serial=on\n-bios\n/b\n-cpu\nhost\n-smp\n4,cores=2\n"
    "-drive\nif=virtio,file=/a,format=raw\n-netdev\ntap,id=n\n-device\n"
    "virtio-net-device,netdev=n,tx=bh";
static const char seed4[] =
    "-nodefaults\n-enable-kvm\n-M\nq35,kernel_irqchip=split\n-smp\nsockets=1,dies=1,cores=2,"
    "threads=2\n-object\nrng-random,id=r,filename=/f\n-device\nvirtio-rng-pci,rng=r";

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {seed0, sizeof(seed0) - 1}, {seed1, sizeof(seed1) - 1}, {seed2, sizeof(seed2) - 1},
    {seed3, sizeof(seed3) - 1}, {seed4, sizeof(seed4) - 1}, {0},
};
