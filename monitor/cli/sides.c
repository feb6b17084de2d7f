/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "sides.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "monitor/common/exit-codes.h"

static bool is_socket(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int compare(const void *a, const void *b)
{
	const struct vmft_side_socket *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* "NAME.HOST.sock", and a socket. */
static bool take_name(const char *directory, const char *file, struct vmft_side_socket *ret)
{
	static const char suffix[] = ".sock";
	const size_t n = strlen(file);
	const int bytes = (int)(n - (sizeof(suffix) - 1));
	int length;

	if (n < sizeof(suffix) || strcmp(file + bytes, suffix) != 0)
		return false;
	length = snprintf(ret->path, sizeof(ret->path), "%s/%s", directory, file);
	if (length < 0 || (size_t)length >= sizeof(ret->path) || !is_socket(ret->path))
		return false;
	(void)snprintf(ret->name, sizeof(ret->name), "%.*s", bytes, file);
	return true;
}

size_t vmft_sides_list(const char *directory, struct vmft_side_socket *ret, size_t max)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;
	size_t n = 0;

	if (!dir)
		return 0;
	while (n < max && (entry = readdir(dir)))
		if (take_name(directory, entry->d_name, &ret[n]))
			n++;
	(void)closedir(dir);
	qsort(ret, n, sizeof(*ret), compare);
	return n;
}

/* "web1.primary" is a side of "web1": what follows is a host's name, which has no dot. */
static bool is_side_of(const char *side, const char *name)
{
	const size_t n = strlen(name);

	return strncmp(side, name, n) == 0 && side[n] == '.' && !strchr(side + n + 1, '.');
}

/* Of the sockets in the directory the one of that VM. */
static int find_side(const char *directory, const char *name, char *ret, size_t size,
		     struct vmft_error *err)
{
	struct vmft_side_socket side[VMFT_SIDES_MAX];
	const size_t n = vmft_sides_list(directory, side, VMFT_SIDES_MAX);
	const struct vmft_side_socket *found = NULL;

	for (size_t i = 0; i < n; i++) {
		if (!is_side_of(side[i].name, name))
			continue;
		if (found)
			return vmft_error_set(err, -ENOENT, VMFT_EXIT_ADDRESS,
					      "%.100s: more than one side has its socket in %s; "
					      "write one of them: %.100s, %.100s",
					      name, directory, found->name, side[i].name);
		found = &side[i];
	}
	if (!found)
		return vmft_error_set(err, -ENOENT, VMFT_EXIT_ADDRESS,
				      "%.100s: no side of a VM of that name has its socket in %s; "
				      "give the name in its pair file, or the path of the socket "
				      "(control = in it)",
				      name, directory);
	(void)snprintf(ret, size, "%s", found->path);
	return 0;
}

int vmft_socket_find(const char *directory, const char *word, char *ret, size_t size,
		     struct vmft_error *err)
{
	int n;

	if (strchr(word, '/') || is_socket(word)) {
		n = snprintf(ret, size, "%s", word);
		if (n >= 0 && (size_t)n < size)
			return 0;
		return vmft_error_set(err, -ENOENT, VMFT_EXIT_ADDRESS, "%.100s: path too long",
				      word);
	}
	n = snprintf(ret, size, "%s/%s.sock", directory, word);
	if (n > 0 && (size_t)n < size && is_socket(ret))
		return 0;
	return find_side(directory, word, ret, size, err);
}
