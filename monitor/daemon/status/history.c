/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "history.h"

void vmft_history_step(struct vmft_history *history, const struct vmft_core *before,
		       const struct vmft_core *now, uint64_t now_ns)
{
	if (now->state != VMFT_STATE_ALONE || before->state == VMFT_STATE_ALONE)
		return;
	if (before->side == VMFT_SIDE_BACKUP) {
		history->failovers++;
		history->took_over_ns = now_ns;
		history->took_over_why = now->lost;
	} else if (before->state == VMFT_STATE_ARBITRATING) {
		/* A pair that was formed: only then is the arbiter asked. */
		history->backups_lost++;
		history->backup_lost_ns = now_ns;
		history->backup_lost_why = now->lost;
	}
}
