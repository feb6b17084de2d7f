/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-qemu-inspect VERSION FILE: what vmft-qemu finds in a QEMU binary of that version, without
 * running it: the binary may be of another distribution, whose libraries are not here.
 *
 * Accepted: "series NAME", "build-id HEX" and "place TYPE.MEMBER OFFSET/BYTES" for each field, a
 * line each. Refused: the reason on standard error, and the exit code that vmft-qemu would end
 * with.
 */
#include <stdio.h>

#include "monitor/agent/qemu/series.h"
#include "monitor/common/exit-codes.h"
#include "monitor/wrapper/qemu-binary.h"

static void tell(const struct vmft_qemu_binary *binary)
{
	printf("series %s\nbuild-id %s\n", binary->series->name, binary->build_id);
	for (size_t i = 0; i < VMFT_QEMU_FIELDS; i++) {
		const struct vmft_qemu_field *field = &binary->series->fields[i];
		const struct vmft_qemu_place *place = &binary->place[i];

		printf("place %s.%s %u/%u\n", field->type, field->member, (unsigned)place->offset,
		       (unsigned)place->bytes);
	}
}

int main(int argc, char **argv)
{
	struct vmft_qemu_binary binary = {0};
	struct vmft_error err = {0};

	if (argc != 3) {
		fprintf(stderr, "usage: vmft-qemu-inspect VERSION FILE\n");
		return VMFT_EXIT_CONFIG;
	}
	binary.series = vmft_qemu_series_find(argv[1]);
	if (!binary.series) {
		fprintf(stderr, "vmft does not know QEMU %s\n", argv[1]);
		return VMFT_EXIT_QEMU;
	}
	if (vmft_qemu_binary_inspect(argv[2], &binary, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return err.exit_code;
	}
	tell(&binary);
	return 0;
}
