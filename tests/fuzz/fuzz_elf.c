/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that is called QEMU: its symbols, their sizes and its build-id are read out of it. What
 * is taken has a build-id, a refusal says something and leaves nothing behind.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.h"
#include "monitor/wrapper/qemu-binary.h"

static void must(int good)
{
	if (!good)
		abort();
}

static void inspect(const uint8_t *data, size_t size)
{
	static const struct vmft_qemu_symbol symbols[] = {{"mode", 4}, {"get", 0}, {0}};
	static const struct vmft_qemu_series series = {.name = "7.2", .symbols = symbols};
	struct vmft_qemu_binary binary = {.version = "7.2.1", .series = &series}, before = binary;
	struct vmft_error err = {0};
	char path[32];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	must(fd >= 0 && (size == 0 || write(fd, data, size) == (ssize_t)size));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (vmft_qemu_binary_inspect(path, &binary, &err) == 0)
		must(binary.build_id[0] != '\0' &&
		     strspn(binary.build_id, "0123456789abcdef") == strlen(binary.build_id));
	else
		must(err.text[0] != '\0' && memcmp(&binary, &before, sizeof(before)) == 0);
	(void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char version[VMFT_QEMU_VERSION_MAX];

	inspect(data, size);
	if (vmft_qemu_version_parse((const char *)data, size, version) == 0)
		must(version[0] != '\0' && strspn(version, "0123456789.") == strlen(version));
	return 0;
}

/* A shared object with the two symbols and a build-id, and no code. */
static const struct {
	Elf64_Ehdr head;
	Elf64_Sym symbol[3];
	char strings[16];
	Elf64_Nhdr note;
	char name[4], id[8];
	Elf64_Shdr section[4];
} elf = {
    .head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	     .e_type = ET_DYN,
	     .e_machine = EM_X86_64,
	     .e_version = EV_CURRENT,
	     .e_shoff =
		 sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Sym) + 16 + sizeof(Elf64_Nhdr) + 12 + 4,
	     .e_ehsize = sizeof(Elf64_Ehdr),
	     .e_shentsize = sizeof(Elf64_Shdr),
	     .e_shnum = 4,
	     .e_shstrndx = 2},
    .symbol = {{0},
	       {.st_name = 1, .st_info = 0x11, .st_shndx = 1, .st_size = 4},
	       {.st_name = 6, .st_info = 0x12, .st_shndx = 1}},
    .strings = "\0mode\0get",
    .note = {.n_namesz = 4, .n_descsz = 8, .n_type = NT_GNU_BUILD_ID},
    .name = "GNU",
    .id = "build-id",
    .section = {{0},
		{.sh_type = SHT_DYNSYM,
		 .sh_offset = sizeof(Elf64_Ehdr),
		 .sh_size = 3 * sizeof(Elf64_Sym),
		 .sh_link = 2,
		 .sh_addralign = 8,
		 .sh_entsize = sizeof(Elf64_Sym)},
		{.sh_type = SHT_STRTAB,
		 .sh_offset = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Sym),
		 .sh_size = 16,
		 .sh_addralign = 1},
		{.sh_type = SHT_NOTE,
		 .sh_offset = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Sym) + 16,
		 .sh_size = sizeof(Elf64_Nhdr) + 12,
		 .sh_addralign = 4}},
};
static const char version[] = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n";

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {&elf, sizeof(elf)},
    {version, sizeof(version) - 1},
    {0},
};
