/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-arbiter-ask SPEC VM CA CERT KEY: an arbiter's backend without a monitor around it.
 *
 * CA, CERT and KEY may be "". Says "open", or "refused: WHY" and ends with the exit code a
 * monitor would. Then a line in, a line out:
 *
 *   claim GENERATION OWNER   won, lost, unreachable: WHY
 *   latest                   latest GENERATION running|ended OWNER, unreachable: WHY
 *   end GENERATION           ended, unreachable
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../monitor/daemon/arbiter.h"

static void claim(const struct vmft_arbiter_ops *ops, struct vmft_arbiter *arbiter, char *words)
{
	struct vmft_error err = {0};
	uint64_t generation = strtoull(words, &words, 10);

	switch (ops->claim(arbiter, generation, words + (*words == ' '), &err)) {
	case VMFT_CLAIM_WON:
		puts("won");
		break;
	case VMFT_CLAIM_LOST:
		puts("lost");
		break;
	default:
		printf("unreachable: %s\n", err.text);
	}
}

static void latest(const struct vmft_arbiter_ops *ops, struct vmft_arbiter *arbiter)
{
	struct vmft_arbiter_latest found;
	struct vmft_error err = {0};

	if (ops->latest(arbiter, &found, &err) < 0)
		printf("unreachable: %s\n", err.text);
	else
		printf("latest %llu %s %s\n", (unsigned long long)found.generation,
		       found.ended ? "ended" : "running", found.owner);
}

int main(int argc, char *argv[])
{
	struct vmft_arbiter_settings settings;
	const struct vmft_arbiter_ops *ops;
	struct vmft_arbiter *arbiter;
	struct vmft_error err = {0};
	char line[512];

	if (argc != 6 || !(ops = vmft_arbiter_find(argv[1], &settings.where)))
		return 2;
	settings.vm = argv[2];
	settings.ca = argv[3];
	settings.cert = argv[4];
	settings.key = argv[5];
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (ops->open(&settings, &arbiter, &err) < 0) {
		printf("refused: %s\n", err.text);
		return err.exit_code;
	}
	puts("open");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "claim ", 6) == 0)
			claim(ops, arbiter, line + 6);
		else if (strncmp(line, "end ", 4) == 0)
			puts(ops->end(arbiter, strtoull(line + 4, NULL, 10)) < 0 ? "unreachable"
										 : "ended");
		else
			latest(ops, arbiter);
	}
	ops->close(arbiter);
	return 0;
}
