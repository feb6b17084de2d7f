/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "qemu-binary.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "logging-channel/now.h"
#include "logging-channel/read-whole.h"
#include "monitor/common/exit-codes.h"
#include "qemu-layout.h"

#define ANSWER_TIMEOUT_MS  5000
#define ARGUMENTS_MAX	   4u
#define VERSION_OUTPUT_MAX 512

extern char **environ;

static int refuse(struct vmft_error *err, const char *path, const char *why, const char *what)
{
	char known[64];

	return vmft_error_set(err, -EINVAL, VMFT_EXIT_QEMU,
			      "%s: %s%s; set qemu= to a QEMU %s of the distribution", path, why,
			      what, vmft_qemu_series_names(known, sizeof(known)));
}

static Elf_Scn *section_find(Elf *elf, GElf_Word type, GElf_Shdr *ret)
{
	for (Elf_Scn *scn = elf_nextscn(elf, NULL); scn; scn = elf_nextscn(elf, scn))
		if (gelf_getshdr(scn, ret) && ret->sh_type == type)
			return scn;
	return NULL;
}

static void hex_encode(const unsigned char *bytes, size_t count, char *ret)
{
	for (size_t i = 0; i < count; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

/* Looks for NT_GNU_BUILD_ID in one section of notes. */
static bool note_build_id(Elf_Data *data, char *ret, size_t ret_size)
{
	size_t offset = 0, name, desc;
	GElf_Nhdr note;

	while ((offset = gelf_getnote(data, offset, &note, &name, &desc)) > 0) {
		const char *bytes = data->d_buf;

		if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 ||
		    memcmp(bytes + name, "GNU", 4) != 0)
			continue;
		if (note.n_descsz == 0 || 2 * (size_t)note.n_descsz >= ret_size)
			return false;
		hex_encode((const unsigned char *)bytes + desc, note.n_descsz, ret);
		return true;
	}
	return false;
}

static bool elf_build_id(Elf *elf, char *ret, size_t ret_size)
{
	GElf_Shdr header;

	for (Elf_Scn *scn = elf_nextscn(elf, NULL); scn; scn = elf_nextscn(elf, scn)) {
		Elf_Data *data;

		if (!gelf_getshdr(scn, &header) || header.sh_type != SHT_NOTE)
			continue;
		data = elf_getdata(scn, NULL);
		if (data && note_build_id(data, ret, ret_size))
			return true;
	}
	return false;
}

static bool symbol_find(Elf *elf, const char *name, GElf_Sym *ret)
{
	GElf_Shdr header;
	Elf_Scn *scn = section_find(elf, SHT_DYNSYM, &header);
	Elf_Data *data = scn ? elf_getdata(scn, NULL) : NULL;

	for (int i = 0; data && gelf_getsym(data, i, ret); i++) {
		const char *found = elf_strptr(elf, header.sh_link, ret->st_name);

		if (found && ret->st_shndx != SHN_UNDEF && strcmp(found, name) == 0)
			return true;
	}
	return false;
}

static int check_symbols(const char *path, Elf *elf, const struct vmft_qemu_symbol *symbol,
			 struct vmft_error *err)
{
	for (; symbol->name; symbol++) {
		GElf_Sym found;

		if (!symbol_find(elf, symbol->name, &found))
			return refuse(err, path, "does not export ", symbol->name);
		if (symbol->size && symbol->size != found.st_size)
			return refuse(err, path, "another layout of ", symbol->name);
	}
	return 0;
}

/* A variable of the field's type ends after the field. */
static bool fits(Elf *elf, const struct vmft_qemu_field *field, const struct vmft_qemu_place *place)
{
	GElf_Sym found;

	return !symbol_find(elf, field->type, &found) ||
	       place->offset + place->bytes <= found.st_size;
}

static int find_places(const char *path, Elf *elf, struct vmft_qemu_binary *binary,
		       struct vmft_error *err)
{
	const struct vmft_qemu_field *fields = binary->series->fields;
	const struct vmft_qemu_field *bad = NULL;
	int r = vmft_qemu_layout_read(elf, fields, binary->place, VMFT_QEMU_FIELDS, &bad);

	if (r < 0 && bad)
		return refuse(err, path,
			      r == -EEXIST ? "describes more than once the member "
					   : "does not describe the member ",
			      bad->member);
	if (r < 0)
		return refuse(err, path, "cannot read its tables: ", strerror(-r));
	for (size_t i = 0; i < VMFT_QEMU_FIELDS; i++)
		if (!fits(elf, &fields[i], &binary->place[i]))
			return refuse(err, path, "another layout of ", fields[i].type);
	return 0;
}

static int inspect_elf(const char *path, Elf *elf, struct vmft_qemu_binary *binary,
		       struct vmft_error *err)
{
	struct vmft_qemu_binary filled = *binary;
	GElf_Ehdr header;
	int r;

	if (!elf || elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header))
		return refuse(err, path, "not a program file", "");
	if (header.e_machine != EM_X86_64)
		return refuse(err, path, "not a program for x86_64", "");
	r = check_symbols(path, elf, binary->series->symbols, err);
	if (r < 0)
		return r;
	r = find_places(path, elf, &filled, err);
	if (r < 0)
		return r;
	if (!elf_build_id(elf, filled.build_id, sizeof(filled.build_id)))
		return refuse(err, path, "has no build-id to compare with the other side's", "");
	*binary = filled;
	return 0;
}

static int cannot(struct vmft_error *err, const char *path, const char *what, int err_no)
{
	return vmft_error_set(err, -err_no, VMFT_EXIT_QEMU,
			      "%s: cannot %s: %s; set qemu= in the pair file", path, what,
			      strerror(err_no));
}

int vmft_qemu_binary_inspect(const char *path, struct vmft_qemu_binary *binary,
			     struct vmft_error *err)
{
	Elf *elf;
	int fd, r;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return refuse(err, path, "libelf is too old", "");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return cannot(err, path, "open", errno);
	/* Not ELF_C_READ: libelf 0.192 never frees what that reads of a damaged file. */
	elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	r = inspect_elf(path, elf, binary, err);
	(void)elf_end(elf);
	(void)close(fd);
	return r;
}

int vmft_qemu_version_parse(const char *output, size_t size, char ret[static VMFT_QEMU_VERSION_MAX])
{
	static const char intro[] = "QEMU emulator version ";
	size_t len = 0;

	if (size < sizeof(intro) || memcmp(output, intro, sizeof(intro) - 1) != 0)
		return -EINVAL;
	output += sizeof(intro) - 1;
	size -= sizeof(intro) - 1;
	while (len < size && output[len] && strchr("0123456789.", output[len]))
		len++;
	if (len == 0 || len >= VMFT_QEMU_VERSION_MAX)
		return -EINVAL;
	memcpy(ret, output, len);
	ret[len] = '\0';
	return 0;
}

static int spawn_qemu(const char *path, const char *const *arguments, int out, pid_t *ret)
{
	const char *argv[ARGUMENTS_MAX + 2] = {path};
	posix_spawn_file_actions_t actions;
	int r = posix_spawn_file_actions_init(&actions);

	if (r)
		return -r;
	for (size_t i = 0; i < ARGUMENTS_MAX && arguments[i]; i++)
		argv[i + 1] = arguments[i];
	r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	/* posix_spawn() changes none of the words. */
	if (r == 0)
		r = posix_spawn(ret, path, &actions, NULL, (char *const *)(uintptr_t)argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

ssize_t vmft_qemu_output(const char *path, const char *const *arguments, char *buffer, size_t size)
{
	int pipe_fd[2], r;
	ssize_t got;
	pid_t pid;

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return -errno;
	r = spawn_qemu(path, arguments, pipe_fd[1], &pid);
	(void)close(pipe_fd[1]);
	if (r < 0) {
		(void)close(pipe_fd[0]);
		return r;
	}
	got = vmft_read_whole(pipe_fd[0], buffer, size,
			      vmft_monotonic_ns() + ANSWER_TIMEOUT_MS * UINT64_C(1000000));
	(void)close(pipe_fd[0]);
	/* Whatever it is, it has said enough, or will not. */
	(void)kill(pid, SIGKILL);
	reap(pid);
	return got;
}

static ssize_t run_version(const char *path, char *buffer, size_t size, struct vmft_error *err)
{
	static const char *const arguments[] = {"--version", NULL};
	const ssize_t got = vmft_qemu_output(path, arguments, buffer, size);

	return got < 0 ? cannot(err, path, "run it with --version", (int)-got) : got;
}

int vmft_qemu_binary_check(const char *path, struct vmft_qemu_binary *ret, struct vmft_error *err)
{
	struct vmft_qemu_binary binary = {0};
	char output[VERSION_OUTPUT_MAX];
	ssize_t size = run_version(path, output, sizeof(output), err);
	int r;

	if (size < 0)
		return (int)size;
	if (vmft_qemu_version_parse(output, (size_t)size, binary.version) < 0)
		return refuse(err, path, "does not say that it is a QEMU emulator", "");
	binary.series = vmft_qemu_series_find(binary.version);
	if (!binary.series)
		return refuse(err, path, "vmft does not know QEMU ", binary.version);
	r = vmft_qemu_binary_inspect(path, &binary, err);
	if (r == 0)
		*ret = binary;
	return r;
}
