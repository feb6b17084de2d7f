/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checkpoint: positions are epochs. An epoch's frames carry its number, the last completes it. */
#include "checkpoint-sink.h"
#include "checkpoint-source.h"

#include <errno.h>
#include <stdlib.h>

struct vmft_strategy {
	struct vmft_strategy_world world;
	struct vmft_epoch_source source;
	struct vmft_epoch_sink sink;
	bool going_live; /* LOAD was asked of the agent and is not answered */
};

static void checkpoint_close(struct vmft_strategy *s)
{
	if (!s)
		return;
	vmft_epoch_source_fini(&s->source);
	vmft_epoch_sink_fini(&s->sink);
	free(s);
}

static int checkpoint_open(const struct vmft_strategy_world *world, struct vmft_strategy **ret)
{
	struct vmft_strategy *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->world = *world;
	rc = vmft_epoch_source_init(&s->source, &s->world);
	if (rc == 0)
		rc = vmft_epoch_sink_init(&s->sink, &s->world);
	if (rc < 0) {
		checkpoint_close(s);
		return rc;
	}
	*ret = s;
	return 0;
}

static int checkpoint_restart(struct vmft_strategy *s, uint64_t position, bool primary)
{
	if (!primary)
		return vmft_epoch_sink_restart(&s->sink, position);
	vmft_epoch_source_restart(&s->source, position);
	return 0;
}

static void checkpoint_halt(struct vmft_strategy *s)
{
	vmft_epoch_source_halt(&s->source);
}

static bool checkpoint_is_idle(const struct vmft_strategy *s)
{
	return !s->source.active && !s->source.drop_due && vmft_agent_link_is_done(s->world.link);
}

static void checkpoint_look(struct vmft_strategy *s)
{
	char why[200];

	vmft_epoch_source_look(&s->source);
	if (!s->going_live || !vmft_agent_link_is_done(s->world.link))
		return;
	s->going_live = false;
	if (vmft_agent_link_result(s->world.link, why, sizeof(why)) < 0)
		s->world.broken(s->world.user, why);
}

static ssize_t checkpoint_take(struct vmft_strategy *s, uint8_t *bytes, size_t n,
			       uint64_t *ret_position)
{
	(void)n;
	return s->source.active ? vmft_epoch_source_take(&s->source, bytes, ret_position) : 0;
}

static uint64_t checkpoint_taken(const struct vmft_strategy *s)
{
	return s->source.epoch;
}

static void checkpoint_finish(struct vmft_strategy *s, bool alive)
{
	vmft_epoch_source_finish(&s->source, alive);
}

static bool checkpoint_is_empty(const struct vmft_strategy *s)
{
	return vmft_epoch_source_is_empty(&s->source);
}

static uint64_t checkpoint_backlog_ns(const struct vmft_strategy *s, uint64_t now)
{
	return s->source.active && s->source.step != VMFT_EPOCH_SOURCE_NONE
		   ? vmft_loop_since(s->source.staged_ns, now)
		   : 0;
}

static uint64_t checkpoint_sent_bytes(const struct vmft_strategy *s)
{
	return vmft_epoch_counts(s->source.packer)->sent_bytes;
}

static void checkpoint_acked(struct vmft_strategy *s, uint64_t position)
{
	vmft_epoch_source_acked(&s->source, position);
}

static void checkpoint_release(struct vmft_strategy *s, uint64_t position, uint64_t until)
{
	struct vmft_iface *iface = s->world.link->iface;

	atomic_store(&iface->release_until, until);
	atomic_store_explicit(&iface->acked, position, memory_order_release);
	if (atomic_load(&iface->gate_frames) > 0)
		vmft_agent_link_ring(s->world.link);
	vmft_epoch_released(&s->source.figures, position, vmft_loop_now());
}

static int checkpoint_hold(struct vmft_strategy *s, uint64_t position, const uint8_t *bytes,
			   size_t n)
{
	const uint64_t held = s->sink.held;
	int rc = vmft_epoch_sink_hold(&s->sink, position, bytes, n);

	if (s->sink.held != held && s->world.saved)
		s->world.saved(s->world.user, s->sink.held, NULL, 0);
	s->source.figures.partial_bytes = vmft_epoch_sink_partial(&s->sink);
	return rc;
}

static bool checkpoint_has_room(const struct vmft_strategy *s)
{
	return vmft_epoch_sink_has_room(&s->sink);
}

static uint64_t checkpoint_held(const struct vmft_strategy *s)
{
	return s->sink.held;
}

static uint64_t checkpoint_applied(const struct vmft_strategy *s)
{
	return s->sink.applied;
}

static bool checkpoint_abandon(struct vmft_strategy *s)
{
	return vmft_epoch_sink_abandon(&s->sink);
}

/* The images are QEMU's from now on. All is written; they may still be being made durable. */
static void checkpoint_go_live(struct vmft_strategy *s, uint64_t position)
{
	vmft_loop_submit(s->world.loop);
	for (uint32_t i = 0; i < s->world.disk_count; i++)
		vmft_image_close(&s->world.disk[i]);
	vmft_epoch_sink_hand_out(&s->sink);
	atomic_store(&s->world.link->area->load_position, position);
	vmft_agent_link_command(s->world.link, VMFT_COMMAND_GO_LIVE);
	vmft_agent_link_request(s->world.link, VMFT_AREA_LOAD);
	s->going_live = true;
}

static const struct vmft_epoch_figures *checkpoint_figures(struct vmft_strategy *s)
{
	return &s->source.figures;
}

const struct vmft_strategy_ops vmft_strategy_checkpoint = {
    .name = "checkpoint",
    .pairs_by_attach = true,
    .kind = VMFT_STRATEGY_CHECKPOINT,
    .ends_by_command = true,
    .saves = VMFT_SAVEDLOG_CHECKPOINT,
    .open = checkpoint_open,
    .close = checkpoint_close,
    .restart = checkpoint_restart,
    .halt = checkpoint_halt,
    .is_idle = checkpoint_is_idle,
    .look = checkpoint_look,
    .take = checkpoint_take,
    .taken = checkpoint_taken,
    .finish = checkpoint_finish,
    .is_empty = checkpoint_is_empty,
    .backlog_ns = checkpoint_backlog_ns,
    .sent_bytes = checkpoint_sent_bytes,
    .acked = checkpoint_acked,
    .release = checkpoint_release,
    .hold = checkpoint_hold,
    .has_room = checkpoint_has_room,
    .held = checkpoint_held,
    .applied = checkpoint_applied,
    .abandon = checkpoint_abandon,
    .go_live = checkpoint_go_live,
    .figures = checkpoint_figures,
};
