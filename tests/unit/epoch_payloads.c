/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "epoch_payloads.h"

#include <CUnit/CUnit.h>
#include <string.h>

#include "logging-channel/wire.h"

uint8_t *pair_payload_head(enum vmft_epoch_kind kind, size_t raw)
{
	pair_message.n = VMFT_EPOCH_HEAD + raw;
	pair_message.position = pair_ops->held(pair_backup.strategy) + 1;
	return vmft_wire_put_u32(
	    vmft_wire_put_u16(
		vmft_wire_put_u8(vmft_wire_put_u8(pair_message.bytes, (uint8_t)kind), 0), 0),
	    (uint32_t)raw);
}

int pair_send_piece(uint32_t region, uint64_t offset, uint32_t n, enum vmft_epoch_how how)
{
	const size_t follow = how == VMFT_EPOCH_ZERO ? 0 : n;
	uint8_t *at = pair_payload_head(VMFT_EPOCH_PIECES, VMFT_EPOCH_PIECE_HEAD + follow);

	at = vmft_wire_put_u32(vmft_wire_put_u32(vmft_wire_put_u64(at, offset), region), n);
	at = vmft_wire_put_u32(at, (uint32_t)how << 24);
	memset(at, 0xa5, follow);
	return pair_holds();
}

struct vmft_epoch_commit pair_commit_of(uint64_t pieces, uint64_t bytes)
{
	struct vmft_epoch_commit commit = {
	    .pieces = pieces,
	    .bytes = bytes,
	    .state_bytes = pair_now.state_bytes,
	    .disk_count = DISKS,
	};

	memcpy(commit.disk_bytes, pair_now.disk_bytes, sizeof(pair_now.disk_bytes));
	return commit;
}

int pair_send_commit(const struct vmft_epoch_commit *commit)
{
	uint8_t *at = pair_payload_head(VMFT_EPOCH_COMMIT, 28 + 8 * (size_t)commit->disk_count);

	at = vmft_wire_put_u64(vmft_wire_put_u64(at, commit->pieces), commit->bytes);
	at = vmft_wire_put_u32(vmft_wire_put_u64(at, commit->state_bytes), commit->disk_count);
	for (uint32_t i = 0; i < commit->disk_count; i++)
		at = vmft_wire_put_u64(at, commit->disk_bytes[i]);
	return pair_holds();
}

int pair_send_plain_commit(uint64_t pieces, uint64_t bytes)
{
	const struct vmft_epoch_commit commit = pair_commit_of(pieces, bytes);

	return pair_send_commit(&commit);
}

void pair_nothing_applied(void)
{
	pair_spin(0);
	pair_spin(0);
	CU_ASSERT_EQUAL(pair_ops->held(pair_backup.strategy), pair_epoch);
	CU_ASSERT_EQUAL(pair_ops->applied(pair_backup.strategy), pair_epoch);
	CU_ASSERT_EQUAL(pair_backup.moved, 0);
	CU_ASSERT_EQUAL(pair_backup.broken, 0);
	pair_backup_is(&pair_now);
}
