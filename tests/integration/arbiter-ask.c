/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-arbiter-ask SPEC VM CA CERT KEY: an arbiter's backend without a monitor around it.
 *
 * CA, CERT and KEY may be "". Says "open", or "refused: WHY" and ends with the exit code a
 * monitor would. Then a line in, a line out:
 *
 *   claim|GENERATION|AFTER|OWNER   won, lost, unreachable: WHY. AFTER is the record of the
 *                                  generation before; "": the VM is started for the first time
 *   start|GENERATION|AFTER|OWNER   the same, by one who starts the VM anew
 *   latest                         latest GENERATION running|ended OWNER, unreachable: WHY
 *   end|GENERATION|OWNER           ended, unreachable: WHY
 *   mark|HOST|TEXT                 marked, unreachable: WHY
 *   look|HOST                      found TEXT, unreachable: WHY
 */
#define _DEFAULT_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/daemon/arbiter/arbiter.h"

static void claim(const struct vmft_arbiter_ops *ops, struct vmft_arbiter *arbiter, char **words,
		  bool starts)
{
	const struct vmft_arbiter_claim claim = {
	    .generation = strtoull(words[1], NULL, 10),
	    .after = words[2],
	    .owner = words[3],
	    .starts = starts || words[2][0] == '\0',
	};
	struct vmft_error err = {0};

	switch (ops->claim(arbiter, &claim, &err)) {
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

static void say(int rc, const char *what, const char *text, const struct vmft_error *err)
{
	if (rc < 0)
		printf("unreachable: %s\n", err->text);
	else
		printf("%s%s\n", what, text);
}

static void answer(const struct vmft_arbiter_ops *ops, struct vmft_arbiter *arbiter, char *line)
{
	char *words[4] = {line, line + strlen(line), line + strlen(line), line + strlen(line)};
	char mark[VMFT_ARBITER_OWNER_MAX] = "";
	struct vmft_error err = {0};

	for (size_t i = 0; i < 4 && line; i++)
		words[i] = strsep(&line, "|");
	if (strcmp(words[0], "claim") == 0 || strcmp(words[0], "start") == 0)
		claim(ops, arbiter, words, words[0][0] == 's');
	else if (strcmp(words[0], "end") == 0)
		say(ops->end(arbiter, strtoull(words[1], NULL, 10), words[2], VMFT_END_ORDERLY,
			     &err),
		    "ended", "", &err);
	else if (strcmp(words[0], "mark") == 0)
		say(ops->mark(arbiter, words[1], words[2], &err), "marked", "", &err);
	else if (strcmp(words[0], "look") == 0)
		say(ops->look(arbiter, words[1], mark, &err), "found ", mark, &err);
	else
		latest(ops, arbiter);
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
		answer(ops, arbiter, line);
	}
	ops->close(arbiter);
	return 0;
}
