/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * With libFuzzer: a harness's seeds become files of a corpus directory beside the program, which
 * libFuzzer starts from and adds its own finds to. A directory named on the command line is used
 * instead.
 */
#define _GNU_SOURCE
#include "driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ARGUMENTS_MAX 64

static void give_up(const char *path)
{
	perror(path);
	exit(EXIT_FAILURE);
}

static void write_seed(const char *directory, size_t number, const struct vmft_fuzz_seed *seed)
{
	char path[512];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/seed-%zu", directory, number);
	file = fopen(path, "wb");
	if (!file || fwrite(seed->bytes, 1, seed->size, file) != seed->size || fclose(file) != 0)
		give_up(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char *arguments[ARGUMENTS_MAX], directory[256];
	size_t seeds = 0;

	/* What begins with '-' is an option; libFuzzer's subprocesses are given the rest. */
	for (int i = 1; i < *argc; i++)
		if ((*argv)[i][0] != '-')
			return 0;
	if (*argc + 1 >= ARGUMENTS_MAX)
		return 0;
	(void)snprintf(directory, sizeof(directory), "%s.corpus", (*argv)[0]);
	if (mkdir(directory, 0777) < 0 && errno != EEXIST)
		give_up(directory);
	for (const struct vmft_fuzz_seed *seed = vmft_fuzz_seeds; seed->bytes; seed++)
		write_seed(directory, seeds++, seed);
	memcpy(arguments, *argv, (size_t)*argc * sizeof(arguments[0]));
	arguments[(*argc)++] = directory;
	*argv = arguments;
	return 0;
}
