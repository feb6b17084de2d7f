/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A table is an array of records in the program's data, and each record begins with a pointer to
 * the member's name. In the file of a program that can be moved (PIE) all such pointers are
 * relocations: addresses at which the loader adds the program's own. So the tables are found by
 * going through the relocations for those whose target is a known name.
 */
#include "qemu-layout.h"

#include <elf.h>
#include <errno.h>
#include <gelf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENTS_MAX 16u
#define POINTERS_MAX (4u << 20) /* QEMU 11.1 has 300,000 */
#define ENTRIES_MAX  64u	/* of a table */

/* struct VMStateDescription has the pointer to its fields within so many bytes. */
#define DESCRIPTION_BYTES 128u

/* glibc 2.36 and libelf 0.188 name it; older ones do not. */
#ifndef SHT_RELR
#define SHT_RELR 19
#endif

/* The pointer at address at of the program points to address to. */
struct pointer {
	uint64_t at, to;
};

struct program {
	const uint8_t *file;
	size_t file_bytes;
	GElf_Phdr segment[SEGMENTS_MAX];
	size_t segments;
	struct pointer *pointer; /* sorted by at */
	size_t pointers, room;
};

/* A record of a table: so many bytes, and the member's offset at this place; a VMStateField's size
 * follows the offset. */
struct record {
	size_t bytes, offset_at;
};

/* include/migration/vmstate.h: to 10.0, with err_hint; 11.1, without. */
static const struct record vmstate_records[] = {{104, 16}, {96, 8}};
/* include/hw/qdev-properties.h: 7.2; 10.0. */
static const struct record property_records[] = {{88, 16}, {72, 16}};

struct table {
	uint64_t at;
	struct record record;
};

/* --- the file ---------------------------------------------------------------------- */

/* The n bytes at an address of the program; NULL if the file does not have all of them. */
static const uint8_t *bytes_at(const struct program *program, uint64_t address, size_t n)
{
	for (size_t i = 0; i < program->segments; i++) {
		const GElf_Phdr *segment = &program->segment[i];
		const uint64_t within = address - segment->p_vaddr;

		if (address < segment->p_vaddr || within > segment->p_filesz ||
		    n > segment->p_filesz - within)
			continue;
		if (segment->p_offset > program->file_bytes ||
		    within > program->file_bytes - segment->p_offset ||
		    n > program->file_bytes - segment->p_offset - within)
			return NULL;
		return program->file + segment->p_offset + within;
	}
	return NULL;
}

static uint64_t number_at(const uint8_t *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

static int read_segments(Elf *elf, struct program *program)
{
	size_t count;

	program->file = (const uint8_t *)elf_rawfile(elf, &program->file_bytes);
	if (!program->file || elf_getphdrnum(elf, &count) != 0)
		return -EINVAL;
	for (size_t i = 0; i < count && i <= INT32_MAX; i++) {
		GElf_Phdr *segment = &program->segment[program->segments];

		if (!gelf_getphdr(elf, (int)i, segment))
			return -EINVAL;
		if (segment->p_type != PT_LOAD)
			continue;
		if (++program->segments == SEGMENTS_MAX)
			return -EINVAL;
	}
	return 0;
}

/* --- its pointers ------------------------------------------------------------------- */

static int add_pointer(struct program *program, uint64_t at, uint64_t to)
{
	struct pointer *grown;

	if (program->pointers == POINTERS_MAX)
		return -E2BIG;
	if (program->pointers == program->room) {
		const size_t room = program->room ? 2 * program->room : 65536;

		grown = reallocarray(program->pointer, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		program->pointer = grown;
		program->room = room;
	}
	program->pointer[program->pointers++] = (struct pointer){at, to};
	return 0;
}

/* A relocation of the compact kind does not say its target: that is what the file has there. */
static int add_stored(struct program *program, uint64_t at)
{
	const uint8_t *bytes = bytes_at(program, at, sizeof(uint64_t));

	return bytes ? add_pointer(program, at, number_at(bytes)) : -EINVAL;
}

static int read_rela(struct program *program, Elf_Scn *section)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Rela relocation;
	int r = 0;

	for (int i = 0; r == 0 && data && gelf_getrela(data, i, &relocation); i++)
		if (GELF_R_TYPE(relocation.r_info) == R_X86_64_RELATIVE)
			r = add_pointer(program, relocation.r_offset,
					(uint64_t)relocation.r_addend);
	return r;
}

/*
 * The compact kind (SHT_RELR): an even word is the address of a pointer; an odd one has a bit for
 * each of the 63 words after the last.
 */
static int read_relr(struct program *program, Elf_Scn *section)
{
	Elf_Data *data = elf_rawdata(section, NULL);
	uint64_t next = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && data && data->d_buf && i + 8 <= data->d_size; i += 8) {
		const uint64_t word = number_at((const uint8_t *)data->d_buf + i);

		if ((word & 1) == 0) {
			r = add_stored(program, word);
			next = word + 8;
			continue;
		}
		for (unsigned bit = 1; r == 0 && bit < 64; bit++)
			if (word >> bit & 1)
				r = add_stored(program, next + 8 * (uint64_t)(bit - 1));
		next += 8 * 63;
	}
	return r;
}

static int by_address(const void *left, const void *right)
{
	const struct pointer *a = left, *b = right;

	return (a->at > b->at) - (a->at < b->at);
}

static int read_pointers(Elf *elf, struct program *program)
{
	GElf_Shdr header;
	int r = 0;

	for (Elf_Scn *scn = elf_nextscn(elf, NULL); r == 0 && scn; scn = elf_nextscn(elf, scn)) {
		if (!gelf_getshdr(scn, &header) || !(header.sh_flags & SHF_ALLOC))
			continue;
		if (header.sh_type == SHT_RELA)
			r = read_rela(program, scn);
		else if (header.sh_type == SHT_RELR)
			r = read_relr(program, scn);
	}
	if (r == 0 && program->pointers > 0)
		qsort(program->pointer, program->pointers, sizeof(*program->pointer), by_address);
	return r;
}

static const struct pointer *pointer_at(const struct program *program, uint64_t address)
{
	const struct pointer key = {.at = address};

	if (program->pointers == 0)
		return NULL;
	return bsearch(&key, program->pointer, program->pointers, sizeof(key), by_address);
}

static bool is_text(const struct program *program, uint64_t address, const char *text)
{
	const size_t n = strlen(text) + 1;
	const uint8_t *found = bytes_at(program, address, n);

	return found && memcmp(found, text, n) == 0;
}

/* Whether the pointer at this address points to the text. */
static bool names(const struct program *program, uint64_t address, const char *text)
{
	const struct pointer *pointer = pointer_at(program, address);

	return pointer && is_text(program, pointer->to, text);
}

/* --- tables -------------------------------------------------------------------------- */

/* Whether the wanted table is at this address, with one of count kinds of records. */
static bool begins_at(const struct program *program, uint64_t address,
		      const struct vmft_qemu_table *wanted, const struct record *records,
		      size_t count, struct table *ret)
{
	if (!names(program, address, wanted->begin[0]))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!names(program, address + records[i].bytes, wanted->begin[1]))
			continue;
		*ret = (struct table){address, records[i]};
		return true;
	}
	return false;
}

/* The VMStateDescription at this address has the wanted name: one of its pointers is to its
 * fields. */
static bool described_at(const struct program *program, uint64_t address,
			 const struct vmft_qemu_table *wanted, struct table *ret)
{
	for (size_t i = 8; i < DESCRIPTION_BYTES; i += 8) {
		const struct pointer *fields = pointer_at(program, address + i);

		if (fields && begins_at(program, fields->to, wanted, vmstate_records,
					sizeof(vmstate_records) / sizeof(vmstate_records[0]), ret))
			return true;
	}
	return false;
}

static bool is_at(const struct program *program, const struct pointer *pointer,
		  const struct vmft_qemu_table *wanted, struct table *ret)
{
	if (wanted->kind == VMFT_QEMU_VMSTATE)
		return is_text(program, pointer->to, wanted->name) &&
		       described_at(program, pointer->at, wanted, ret);
	return is_text(program, pointer->to, wanted->begin[0]) &&
	       begins_at(program, pointer->at, wanted, property_records,
			 sizeof(property_records) / sizeof(property_records[0]), ret);
}

static int find_table(const struct program *program, const struct vmft_qemu_table *wanted,
		      struct table *ret)
{
	struct table found;
	bool any = false;

	for (size_t i = 0; i < program->pointers; i++) {
		if (!is_at(program, &program->pointer[i], wanted, &found))
			continue;
		if (any && found.at != ret->at)
			return -EEXIST;
		any = true;
		*ret = found;
	}
	return any ? 0 : -ENOENT;
}

/* --- entries -------------------------------------------------------------------------- */

static int read_entry(const struct program *program, const struct vmft_qemu_field *field,
		      const struct table *table, uint64_t at, struct vmft_qemu_place *ret)
{
	const uint8_t *record = bytes_at(program, at, table->record.bytes);
	uint64_t offset, size = 0;

	if (!record)
		return -ENOENT;
	offset = number_at(record + table->record.offset_at);
	if (field->sizes)
		size = number_at(record + table->record.offset_at + 8);
	if (offset > VMFT_QEMU_OFFSET_MAX || size > 8)
		return -ENOENT;
	*ret = (struct vmft_qemu_place){(uint16_t)(offset + field->distance), (uint16_t)size};
	return vmft_qemu_place_is_good(field, ret) ? 0 : -ENOENT;
}

static int find_entry(const struct program *program, const struct vmft_qemu_field *field,
		      struct vmft_qemu_place *ret)
{
	struct table table = {0};
	uint64_t at;
	int r = find_table(program, field->table, &table);

	if (r < 0)
		return r;
	at = table.at;
	/* The last record's name is NULL, which is no relocation. A record that QEMU leaves out of
	 * a table has a name ("unused"). */
	for (size_t i = 0; i < ENTRIES_MAX && pointer_at(program, at); i++) {
		if (names(program, at, field->key))
			return read_entry(program, field, &table, at, ret);
		at += table.record.bytes;
	}
	return -ENOENT;
}

int vmft_qemu_layout_read(Elf *elf, const struct vmft_qemu_field *fields,
			  struct vmft_qemu_place *ret, size_t count,
			  const struct vmft_qemu_field **ret_bad)
{
	struct program program = {0};
	int r = read_segments(elf, &program);

	if (r == 0)
		r = read_pointers(elf, &program);
	for (size_t i = 0; r == 0 && i < count; i++) {
		if (!fields[i].table) {
			ret[i] = (struct vmft_qemu_place){fields[i].distance, fields[i].bytes};
			continue;
		}
		r = find_entry(&program, &fields[i], &ret[i]);
		if (r < 0)
			*ret_bad = &fields[i];
	}
	free(program.pointer);
	return r;
}
