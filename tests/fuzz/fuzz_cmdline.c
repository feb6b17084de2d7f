/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
/* The input is a command line, one word per line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../monitor/wrapper/cmdline.h"

#define WORDS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A rewritten line always records, on shared memory, without KVM. */
static void check_rewritten(const struct vmft_cmdline *cmdline)
{
	int icount = 0, kvm = 0;

	for (int i = 0; i < cmdline->argc; i++) {
		icount += strcmp(cmdline->argv[i], "-icount") == 0;
		kvm += strcmp(cmdline->argv[i], "-enable-kvm") == 0;
	}
	if (icount != 1 || kvm != 0 || cmdline->ram_bytes == 0 || !cmdline->machine_text)
		abort();
}

static void rewrite(int argc, char *const argv[])
{
	const struct vmft_rewrite_options opt = {.ram_path = "/r", .name = "n"};
	struct vmft_cmdline cmdline;
	struct vmft_error err = {0};

	(void)vmft_cmdline_is_probe(argc, argv);
	if (vmft_cmdline_rewrite(argc, argv, &opt, &cmdline, &err) == 0) {
		check_rewritten(&cmdline);
		vmft_cmdline_free(&cmdline);
	} else if (err.text[0] == '\0') {
		abort();
	}
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
	rewrite(argc, argv);
	free(text);
	return 0;
}

#ifdef VMFT_FUZZ_STANDALONE
/* Without libFuzzer: every seed cut off, and with one byte changed, at every byte. */
static const char *const seeds[] = {
    "-nodefaults\n-m\n1G\n-drive\nif=virtio,file=/a,,b,format=raw,cache=directsync\n-netdev\n"
    "tap,id=a,ifname=t\n-device\nvirtio-net-pci,netdev=a,mac=52:54:00:12:34:57",
    "-nodefaults\n-M\nq35\n-blockdev\n{\"driver\":\"raw\",\"node-name\":\"a\",\"file\":"
    "{\"driver\":\"file\",\"filename\":\"/f\"}}\n-device\n"
    "{\"driver\":\"virtio-blk-pci\",\"drive\":\"a\",\"bootindex\":1}",
    "-nodefaults\n-chardev\nfile,id=c,path=/c\n-device\nisa-serial,chardev=c\n-object\n"
    "rng-random,id=r\n-device\nvirtio-rng-pci,rng=r\n-smp\n1\n-accel\ntcg",
};

static void try_changed(const char *seed, size_t size)
{
	static const uint8_t bytes[] = {0, '\n', ' ', ',', '=', '"', '{', ';', ':', 0x80};
	uint8_t copy[1024];

	for (size_t at = 0; at < size; at++) {
		for (size_t b = 0; b < sizeof(bytes); b++) {
			memcpy(copy, seed, size);
			copy[at] = bytes[b];
			(void)LLVMFuzzerTestOneInput(copy, size);
		}
	}
}

int main(void)
{
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		for (size_t size = 0; size <= strlen(seeds[i]); size++)
			(void)LLVMFuzzerTestOneInput((const uint8_t *)seeds[i], size);
		try_changed(seeds[i], strlen(seeds[i]));
	}
	return 0;
}
#endif
