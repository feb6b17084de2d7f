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
#include "monitor/agent/qemu/series.h"
#include "monitor/wrapper/qemu-binary.h"

static void must(int good)
{
	if (!good)
		abort();
}

static const struct vmft_qemu_table states = {VMFT_QEMU_VMSTATE, "vm", {"a", "n"}};
static const struct vmft_qemu_table options = {VMFT_QEMU_PROPERTY, "", {"b", "n"}};

static void inspect(const uint8_t *data, size_t size)
{
	static const struct vmft_qemu_symbol symbols[] = {{"mode", 4}, {"get", 0}, {0}};
	static struct vmft_qemu_field fields[VMFT_QEMU_FIELDS];
	const struct vmft_qemu_series series = {
	    .name = "7.2", .symbols = symbols, .fields = fields};
	struct vmft_qemu_binary binary = {.version = "7.2.1", .series = &series}, before = binary;
	struct vmft_error err = {0};
	char path[32];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	/* The seed's two tables; all other fields are found without one. */
	for (size_t i = 2; i < VMFT_QEMU_FIELDS; i++)
		fields[i].type = "none";
	fields[0] = (struct vmft_qemu_field){"state", "a", &states, "a", 1u << 8, 0, 0};
	fields[1] = (struct vmft_qemu_field){"device", "b", &options, "b", 0, 24, 0};
	must(fd >= 0 && (size == 0 || write(fd, data, size) == (ssize_t)size));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (vmft_qemu_binary_inspect(path, &binary, &err) == 0)
		must(vmft_qemu_place_is_good(&fields[0], &binary.place[0]) &&
		     vmft_qemu_place_is_good(&fields[1], &binary.place[1]) &&
		     binary.build_id[0] != '\0' &&
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

/*
 * A shared object with the two symbols, a build-id, a table of each kind, and no code. Its
 * addresses are its offsets in the file. The relocations of the first table are of the compact
 * kind.
 */
struct object {
	Elf64_Ehdr head;
	Elf64_Phdr segment;
	Elf64_Sym symbol[3];
	char strings[16];
	Elf64_Nhdr note;
	char name[4], id[8];
	Elf64_Shdr section[6];
	char words[16];
	uint64_t description[4]; /* name, -, fields, - */
	uint64_t state[2][12];	 /* VMStateField: name, offset, size... */
	uint64_t option[2][9];	 /* Property: name, info, offset... */
	uint64_t relr[6];
	Elf64_Rela rela[2];
};

#define AT(member)    offsetof(struct object, member)
#define SIZE(member)  sizeof(((struct object *)0)->member)
#define WORD(letters) (AT(words) + (letters))

static const struct object elf = {
    .head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	     .e_type = ET_DYN,
	     .e_machine = EM_X86_64,
	     .e_version = EV_CURRENT,
	     .e_phoff = AT(segment),
	     .e_shoff = AT(section),
	     .e_ehsize = sizeof(Elf64_Ehdr),
	     .e_phentsize = sizeof(Elf64_Phdr),
	     .e_phnum = 1,
	     .e_shentsize = sizeof(Elf64_Shdr),
	     .e_shnum = 6,
	     .e_shstrndx = 2},
    .segment = {.p_type = PT_LOAD,
		.p_filesz = sizeof(struct object),
		.p_memsz = sizeof(struct object)},
    .symbol = {{0},
	       {.st_name = 1, .st_info = 0x11, .st_shndx = 1, .st_size = 4},
	       {.st_name = 6, .st_info = 0x12, .st_shndx = 1}},
    .strings = "\0mode\0get",
    .note = {.n_namesz = 4, .n_descsz = 8, .n_type = NT_GNU_BUILD_ID},
    .name = "GNU",
    .id = "build-id",
    .section = {{0},
		{.sh_type = SHT_DYNSYM,
		 .sh_offset = AT(symbol),
		 .sh_size = SIZE(symbol),
		 .sh_link = 2,
		 .sh_addralign = 8,
		 .sh_entsize = sizeof(Elf64_Sym)},
		{.sh_type = SHT_STRTAB,
		 .sh_offset = AT(strings),
		 .sh_size = SIZE(strings),
		 .sh_addralign = 1},
		{.sh_type = SHT_NOTE,
		 .sh_offset = AT(note),
		 .sh_size = sizeof(Elf64_Nhdr) + 12,
		 .sh_addralign = 4},
		{.sh_type = SHT_RELR,
		 .sh_flags = SHF_ALLOC,
		 .sh_offset = AT(relr),
		 .sh_size = SIZE(relr),
		 .sh_addralign = 8,
		 .sh_entsize = 8},
		{.sh_type = SHT_RELA,
		 .sh_flags = SHF_ALLOC,
		 .sh_offset = AT(rela),
		 .sh_size = SIZE(rela),
		 .sh_addralign = 8,
		 .sh_entsize = sizeof(Elf64_Rela)}},
    .words = "vm\0a\0n\0b",
    .description = {WORD(0), 0, AT(state)},
    .state = {{WORD(3), 40, 8}, {WORD(5), 48, 8}},
    .option = {{WORD(7), 0, 100}, {WORD(5), 0, 108}},
    /* Two addresses, of which the first has a bit for the second word after it, then one each. */
    .relr = {AT(description), 1 | 1u << 2, AT(state), AT(state[1])},
    .rela = {{AT(option), R_X86_64_RELATIVE, WORD(7)}, {AT(option[1]), R_X86_64_RELATIVE, WORD(5)}},
};
static const char version[] = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n";

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {&elf, sizeof(elf)},
    {version, sizeof(version) - 1},
    {0},
};
