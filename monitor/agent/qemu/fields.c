/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fields.def as tables. */
#include "series.h"

const struct vmft_qemu_table vmft_qemu_tables[VMFT_QEMU_TABLES] = {
#define VMFT_QEMU_TABLE(id, kind, name, first, second)                                             \
	[VMFT_QEMU_TABLE_OF_##id] = {VMFT_QEMU_##kind, name, {first, second}},
#include "fields.def"
};

#define SIZE(bytes) (1u << (bytes))

const struct vmft_qemu_field vmft_qemu_fields[VMFT_QEMU_FIELDS] = {
#define VMFT_QEMU_FIELD(id, type, member, table, sizes)                                            \
	[VMFT_QEMU_##id] = {                                                                       \
	    type, member, &vmft_qemu_tables[VMFT_QEMU_TABLE_OF_##table], member, sizes, 0, 0},
#define VMFT_QEMU_PLACE(id, type, member, table, key, distance)                                    \
	[VMFT_QEMU_##id] = {                                                                       \
	    type, member, &vmft_qemu_tables[VMFT_QEMU_TABLE_OF_##table], key, 0, distance, 0},
#define VMFT_QEMU_FIXED(id, type, member, offset, bytes)                                           \
	[VMFT_QEMU_##id] = {type, member, NULL, member, 0, offset, bytes},
#include "fields.def"
};

bool vmft_qemu_place_is_good(const struct vmft_qemu_field *field,
			     const struct vmft_qemu_place *place)
{
	if (place->offset > VMFT_QEMU_OFFSET_MAX || place->bytes > 8)
		return false;
	if (!field->table)
		return place->offset == field->distance && place->bytes == field->bytes;
	return field->sizes ? field->sizes & SIZE(place->bytes) : place->bytes == 0;
}
