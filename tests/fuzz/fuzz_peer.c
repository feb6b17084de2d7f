/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole monitor (tests/pair), and the input is its peer: well-formed frames in any order, with
 * what would come next in its place more often than not, and bytes that are none. Whatever comes:
 * the monitor does not abort, the guest's memory and images are written to within their bounds
 * only, and no guest is live that the arbiter has not let go on.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "driver.h"
#include "logging-channel/epoch.h"
#include "logging-channel/event.h"
#include "logging-channel/wire.h"
#include "tests/pair/world.h"

#define MS	    UINT64_C(1000000)
#define RECORDS_MAX 200u
#define VERSIONS_AT 4u /* in a hello: the value of its first field */

/* The other side, as the input has made it so far. */
struct script {
	struct vmft_wire_reader r;
	unsigned side; /* of the monitor that is tried */
	struct world_peer peer, stranger;
	struct vmft_epoch_packer *packer;
	uint64_t position; /* where what is sent next begins: a log, or an epoch */
	uint8_t frame[VMFT_FRAME_HEADER + VMFT_FRAME_PAYLOAD_MAX];
};

static struct script script;

static void must(bool good)
{
	if (!good)
		abort();
}

static struct vmft_monitor *monitor(void)
{
	return &world_side[script.side].m;
}

static bool is_checkpoint(void)
{
	return monitor()->strategy_ops == &vmft_strategy_checkpoint;
}

/* --- payloads ------------------------------------------------------------------- */

static size_t put_hello(struct vmft_wire_reader *r, uint8_t *payload)
{
	struct vmft_hello hello = monitor()->options.identity;
	const uint8_t other = (uint8_t)vmft_wire_get(r, 1);
	size_t n;

	hello.role = script.side == WORLD_PRIMARY ? VMFT_ROLE_BACKUP : VMFT_ROLE_PRIMARY;
	hello.host = script.side == WORLD_PRIMARY ? VMFT_HOST_SECOND : VMFT_HOST_FIRST;
	hello.attach = script.side == WORLD_BACKUP && !(other & 1);
	(void)snprintf(hello.record, sizeof(hello.record), "%s",
		       script.side == WORLD_PRIMARY ? world_mark : world_record);
	if (other & 2)
		hello.role = (uint8_t)vmft_wire_get(r, 1);
	if (other & 4)
		hello.name[0] = (char)('a' + other % 16);
	if (other & 8)
		hello.host = (uint8_t)vmft_wire_get(r, 1);
	if (other & 16)
		hello.silence_ms = (uint32_t)vmft_wire_get(r, 4);
	if (other & 32)
		hello.record[0] = 'x';
	if (other & 64) {
		hello.feature[0] = (struct vmft_feature){.bit = 1, .name = "new"};
		hello.feature[0].required = (uint8_t)vmft_wire_get(r, 1) & 1;
		hello.feature_count = 1;
	}
	n = vmft_hello_encode(&hello, payload);
	if (other & 128)
		payload[VERSIONS_AT + vmft_wire_get(r, 1) % 4] = (uint8_t)vmft_wire_get(r, 1);
	return n;
}

static size_t put_geometry(struct vmft_wire_reader *r, uint8_t *payload)
{
	static struct vmft_geometry geometry;
	const uint8_t other = (uint8_t)vmft_wire_get(r, 1);

	memset(&geometry, 0, sizeof(geometry));
	geometry.count = WORLD_DISKS + 2;
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		geometry.region[i].kind = VMFT_REGION_DISK;
		geometry.region[i].format = VMFT_IMAGE_RAW;
		geometry.region[i].bytes = geometry.region[i].guest_bytes = WORLD_DISK_BYTES;
	}
	geometry.region[WORLD_DISKS].kind = VMFT_REGION_RAM;
	geometry.region[WORLD_DISKS].bytes = WORLD_RAM_BYTES;
	strcpy(geometry.region[WORLD_DISKS].name, "vmft.ram");
	geometry.region[WORLD_DISKS + 1].kind = VMFT_REGION_SHADOW;
	geometry.region[WORLD_DISKS + 1].bytes = WORLD_ROM_BYTES;
	strcpy(geometry.region[WORLD_DISKS + 1].name, "pc.bios");
	if (other & 1)
		geometry.region[vmft_wire_get(r, 1) % geometry.count].bytes = vmft_wire_get(r, 4);
	if (other & 2)
		geometry.count = (uint32_t)vmft_wire_get(r, 1) % 6;
	if (other & 4)
		geometry.region[vmft_wire_get(r, 1) % 4].kind = (uint8_t)vmft_wire_get(r, 1);
	if (other & 8)
		geometry.region[vmft_wire_get(r, 1) % 4].guest_bytes = vmft_wire_get(r, 8);
	return vmft_geometry_encode(&geometry, payload);
}

static size_t put_chunk(struct vmft_wire_reader *r, uint8_t *payload)
{
	const uint32_t region = (uint32_t)vmft_wire_get(r, 1) % 8;
	const size_t n = vmft_wire_get(r, 2) % (VMFT_FRAME_PAYLOAD_MAX - VMFT_CHUNK_HEAD);

	vmft_chunk_encode(region, payload);
	memset(payload + VMFT_CHUNK_HEAD, (int)vmft_wire_get(r, 1), n);
	return VMFT_CHUNK_HEAD + n;
}

static size_t put_sums(struct vmft_wire_reader *r, uint8_t *payload)
{
	static struct vmft_sums sums;

	sums.region = (uint32_t)vmft_wire_get(r, 1) % 8;
	sums.count = 1 + (uint32_t)vmft_wire_get(r, 1) % VMFT_SUMS_MAX;
	sums.seed = vmft_wire_get(r, 1);
	memset(sums.sum, (int)vmft_wire_get(r, 1), sizeof(sums.sum));
	return vmft_sums_encode(&sums, payload);
}

static size_t put_point(struct vmft_wire_reader *r, uint8_t *payload)
{
	const uint8_t other = (uint8_t)vmft_wire_get(r, 1);
	struct vmft_point point = {
	    .state_bytes = monitor()->sink.state_bytes,
	    .disk_count = WORLD_DISKS,
	    .disk_bytes = {WORLD_DISK_BYTES, WORLD_DISK_BYTES},
	};

	if (other & 1)
		point.state_bytes = vmft_wire_get(r, 4);
	if (other & 2)
		point.disk_count = (uint32_t)vmft_wire_get(r, 1) % (VMFT_POINT_DISKS_MAX + 1);
	if (other & 4)
		point.disk_bytes[0] = vmft_wire_get(r, 8);
	return vmft_point_encode(&point, payload);
}

static size_t put_ack(struct vmft_wire_reader *r, uint8_t *payload)
{
	const uint8_t other = (uint8_t)vmft_wire_get(r, 1);
	struct vmft_ack ack = {
	    .replayed = script.position,
	    .echo = vmft_loop_now(),
	    .formed = other & 1,
	};

	if (other & 2)
		ack.replayed -= vmft_wire_get(r, 1);
	if (other & 4)
		ack.echo = vmft_wire_get(r, 8);
	return vmft_ack_encode(&ack, payload);
}

/* Of a whole epoch the pieces or the commit, of a log one reading of a clock. */
static size_t put_log(struct vmft_wire_reader *r, uint8_t *payload)
{
	static const uint8_t event[] = {28 /* CLOCK_HOST */, 0, 0, 0, 0, 0, 0, 0, 1};
	static uint8_t page[VMFT_EPOCH_PAGE];
	struct vmft_epoch_commit commit = {.state_bytes = 100, .disk_count = WORLD_DISKS};
	const uint8_t other = (uint8_t)vmft_wire_get(r, 1);

	if (!is_checkpoint()) {
		script.position += sizeof(event);
		memcpy(payload, event, sizeof(event));
		return sizeof(event);
	}
	if (other & 1) {
		memset(page, other, sizeof(page));
		(void)vmft_epoch_pack(script.packer, (uint32_t)vmft_wire_get(r, 1) % 6,
				      vmft_wire_get(r, 1) * 4096u, page, sizeof(page), true);
		return vmft_epoch_finish_pieces(script.packer, payload);
	}
	if (other & 2) {
		struct vmft_epoch_input input = {.epoch = script.position + vmft_wire_get(r, 1),
						 .nic = (uint32_t)vmft_wire_get(r, 1),
						 .n = 100,
						 .bytes = page};

		return vmft_epoch_put_input(script.packer, &input, payload);
	}
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		commit.disk_bytes[i] = other & 4 ? vmft_wire_get(r, 8) : WORLD_DISK_BYTES;
	script.position++;
	return vmft_epoch_put_commit(script.packer, &commit, payload);
}

static size_t put_bytes(struct vmft_wire_reader *r, uint8_t *payload)
{
	const size_t n = vmft_wire_get(r, 1) < r->left ? r->at[-1] : r->left;

	memcpy(payload, r->at, n);
	r->at += n;
	r->left -= n;
	return n;
}

static size_t put_zero(struct vmft_wire_reader *r, uint8_t *payload)
{
	const uint32_t region = (uint32_t)vmft_wire_get(r, 1) % 8;

	return vmft_zero_encode(region, vmft_wire_get(r, 4), payload);
}

static size_t put_want(struct vmft_wire_reader *r, uint8_t *payload)
{
	const uint32_t region = (uint32_t)vmft_wire_get(r, 1) % 8;

	return vmft_want_encode(region, vmft_wire_get(r, 1) * UINT64_C(0x0101010101010101),
				payload);
}

static size_t put_clock(struct vmft_wire_reader *r, uint8_t *payload)
{
	return vmft_u64_encode(vmft_loop_now() + vmft_wire_get(r, 1) * MS - 0x10 * MS, payload);
}

static size_t put_payload(struct vmft_wire_reader *r, uint16_t type, uint8_t *payload)
{
	switch (type) {
	case VMFT_FRAME_HELLO:
		return put_hello(r, payload);
	case VMFT_FRAME_LOG:
		return put_log(r, payload);
	case VMFT_FRAME_ACK:
		return put_ack(r, payload);
	case VMFT_FRAME_ATTACH:
		return put_geometry(r, payload);
	case VMFT_FRAME_CHUNK:
		return put_chunk(r, payload);
	case VMFT_FRAME_ZERO:
		return put_zero(r, payload);
	case VMFT_FRAME_POINT:
		return put_point(r, payload);
	case VMFT_FRAME_SUMS:
		return put_sums(r, payload);
	case VMFT_FRAME_WANT:
		return put_want(r, payload);
	case VMFT_FRAME_READY:
	case VMFT_FRAME_ROUND:
		return 0;
	case VMFT_FRAME_HEARTBEAT:
	case VMFT_FRAME_FORMED:
	case VMFT_FRAME_ALIVE:
		return put_clock(r, payload);
	default:
		return put_bytes(r, payload);
	}
}

/* --- records ---------------------------------------------------------------------- */

/* What that kind of frame says next, if nothing is wrong. */
static uint64_t next_position(uint16_t type)
{
	switch (type) {
	case VMFT_FRAME_LOG:
		return is_checkpoint() ? script.position + 1 : script.position;
	case VMFT_FRAME_STATE:
		return monitor()->sink.state_bytes;
	case VMFT_FRAME_ACK:
	case VMFT_FRAME_POINT:
	case VMFT_FRAME_HEARTBEAT:
		return script.position;
	default:
		return 0;
	}
}

/* A primary's log begins, and goes on, where its agent says. */
static void follow_primary(void)
{
	struct vmft_monitor *m = monitor();

	if (script.side == WORLD_PRIMARY)
		script.position = m->strategy_ops->taken(m->strategy);
}

static void send_frame(struct vmft_wire_reader *r, struct world_peer *to, uint16_t type)
{
	const uint8_t wrong = (uint8_t)vmft_wire_get(r, 1);
	struct vmft_frame_info info = {.type = type, .generation = world_generation};

	follow_primary();
	info.position = wrong & 1   ? vmft_wire_get(r, 8)
			: wrong & 2 ? vmft_wire_get(r, 1) * 4096
				    : next_position(type);
	info.length = (uint32_t)put_payload(r, type, script.frame + VMFT_FRAME_HEADER);
	if (wrong & 8)
		info.version = (uint16_t)vmft_wire_get(r, 1) % 8;
	if (wrong & 4)
		info.generation += vmft_wire_get(r, 1) - 1;
	vmft_frame_seal(script.frame, &info);
	(void)world_peer_send(to, script.frame, VMFT_FRAME_HEADER + info.length);
	world_run(1 * MS);
}

static void agent_says(struct vmft_wire_reader *r)
{
	struct world_side *side = &world_side[script.side];

	switch (vmft_wire_get(r, 1) % 6) {
	case 0:
		atomic_store(&side->iface->agent_state, (uint32_t)vmft_wire_get(r, 1) % 12);
		break;
	case 1:
		atomic_store(&side->area->result, -(int32_t)vmft_wire_get(r, 1));
		break;
	case 2:
		atomic_store(&side->iface->disk_error, vmft_disk_error_pack(0, VMFT_DISK_WRITE, 5));
		atomic_fetch_add(&side->iface->disk_failures, 1);
		break;
	case 3:
		atomic_store(&side->iface->diverged, (uint32_t)vmft_wire_get(r, 1) % 7);
		break;
	case 4:
		atomic_store(&side->iface->log_tail, vmft_wire_get(r, 8));
		break;
	default:
		world_end_guest(script.side);
	}
}

static void do_record(struct vmft_wire_reader *r)
{
	const uint8_t what = (uint8_t)vmft_wire_get(r, 1);

	if (what < 32) {
		send_frame(r, &script.peer, what);
		return;
	}
	switch (what % 8) {
	case 0:
		world_run((1 + vmft_wire_get(r, 1)) * 20 * MS);
		break;
	case 1:
		world_peer_close(&script.peer);
		world_run(1 * MS);
		break;
	case 2:
		if (script.side == WORLD_BACKUP && !script.peer.conn)
			(void)world_peer_connect(&script.peer);
		world_run(1 * MS);
		break;
	case 3:
		if (script.side == WORLD_BACKUP && !script.stranger.conn)
			(void)world_peer_connect(&script.stranger);
		send_frame(r, &script.stranger, (uint16_t)vmft_wire_get(r, 1) % 32);
		break;
	case 4:
		(void)world_peer_send(&script.peer, script.frame, put_bytes(r, script.frame));
		world_run(1 * MS);
		break;
	case 5:
		agent_says(r);
		world_run(1 * MS);
		break;
	case 6:
		world_generation += vmft_wire_get(r, 1) % 3; /* somebody else has won it */
		break;
	default:
		break;
	}
}

/* --- an input ----------------------------------------------------------------------- */

static void begin(struct vmft_wire_reader *r)
{
	const struct vmft_event_in alone = {.kind = VMFT_IN_START_ALONE};
	const uint8_t how = (uint8_t)vmft_wire_get(r, 1);

	world_reset();
	script.side = how & 1;
	script.position = 0;
	must(vmft_epoch_packer_create(1, &script.packer) == 0);
	/* What the peer has left at the arbiter. */
	if (script.side == WORLD_PRIMARY) {
		world_peer_listen(&script.peer);
		strcpy(world_mark, "the backup's");
	} else {
		world_generation = 1;
		strcpy(world_record, "the primary's");
	}
	must(world_up(script.side, how & 2 ? &vmft_strategy_checkpoint : &vmft_strategy_lockstep,
		      NULL) == 0);
	if (script.side == WORLD_PRIMARY && !(how & 4))
		vmft_monitor_event(monitor(), &alone);
	if (script.side == WORLD_BACKUP)
		(void)world_peer_connect(&script.peer);
	world_run(600 * MS);
}

/* The area's head is not the peer's to write, nor are images of another length. */
static void check(void)
{
	struct world_side *side = &world_side[script.side];
	struct stat st;

	must(side->area->magic == VMFT_AREA_MAGIC && side->area->ram_bytes == WORLD_RAM_BYTES);
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		must(stat(side->disk[i], &st) == 0 && st.st_size <= (off_t)WORLD_DISK_BYTES);
	must(!world_is_live(WORLD_BACKUP) || world_generation > 1);
}

static void end(void)
{
	world_transport_cut();
	world_run(5 * MS);
	vmft_epoch_packer_destroy(script.packer);
	script.packer = NULL;
	world_peer_end(&script.peer);
	world_reset();
	script.peer.conn = script.stranger.conn = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool started;

	if (!started)
		world_init();
	started = true;
	script.r = (struct vmft_wire_reader){.at = data, .left = size};
	begin(&script.r);
	for (unsigned i = 0; i < RECORDS_MAX && script.r.left > 0; i++)
		do_record(&script.r);
	world_run(100 * MS);
	check();
	end();
	return 0;
}

/* clang-format off */
#define HELLO VMFT_FRAME_HELLO, 0, 0
#define WAIT(n) 32, n
/* An attach to its end, then a log; checkpoint: an epoch, and the peer is gone. */
#define ATTACH_OF_BACKUP						\
	HELLO, WAIT(1), VMFT_FRAME_ATTACH, 0, 0, WAIT(1),		\
	VMFT_FRAME_SUMS, 0, 0, 4, 7, 0,					\
	VMFT_FRAME_CHUNK, 2, 1, 2, 0x10, 0, 'x',			\
	VMFT_FRAME_CHUNK, 0, 0, 2, 0, 'y', VMFT_FRAME_ZERO, 0, 3, 0, 0, 1, 0, \
	VMFT_FRAME_ROUND, 0, VMFT_FRAME_STATE, 0, 3, 1, 2, 3,		\
	VMFT_FRAME_POINT, 0, 0, WAIT(1), WAIT(1)
static const uint8_t backup_lockstep[] = {
	1, ATTACH_OF_BACKUP, VMFT_FRAME_LOG, 0, 0, VMFT_FRAME_FORMED, 0, 0x10,
	VMFT_FRAME_LOG, 0, 0, VMFT_FRAME_HEARTBEAT, 0, 0x10, WAIT(2), 33, WAIT(50),
};
static const uint8_t backup_checkpoint[] = {
	3, ATTACH_OF_BACKUP, VMFT_FRAME_FORMED, 0, 0x10,
	VMFT_FRAME_LOG, 0, 1, 2, 1, VMFT_FRAME_LOG, 0, 2, 1, 0, VMFT_FRAME_LOG, 0, 0, WAIT(2),
	33, WAIT(50),
};
/* A state that is right, and an image that is to be made a million times as long. */
static const uint8_t backup_long_image[] = {
	3, HELLO, WAIT(1), VMFT_FRAME_ATTACH, 0, 0, WAIT(1), VMFT_FRAME_STATE, 0, 3, 1, 2, 3,
	VMFT_FRAME_POINT, 0, 4, 0, 0, 1, 0, 0, 0, 0, 0, WAIT(1), WAIT(1),
};
#define ATTACH_OF_PRIMARY						\
	HELLO, WAIT(1), VMFT_FRAME_READY, 0, WAIT(1),			\
	VMFT_FRAME_WANT, 0, 0, 0xff, VMFT_FRAME_WANT, 0, 1, 1, WAIT(2),	\
	VMFT_FRAME_ALIVE, 0, 0, WAIT(2), VMFT_FRAME_ACK, 0, 0, WAIT(2), VMFT_FRAME_ACK, 0, 0
static const uint8_t primary_lockstep[] = {
	0, ATTACH_OF_PRIMARY, WAIT(1), VMFT_FRAME_ACK, 0, 1, WAIT(1), VMFT_FRAME_ACK, 0, 1,
	VMFT_FRAME_BYE, 0, 1, 1, WAIT(20),
};
static const uint8_t primary_checkpoint[] = {
	2, ATTACH_OF_PRIMARY, WAIT(1), VMFT_FRAME_ACK, 0, 1, WAIT(1), VMFT_FRAME_ACK, 0, 1,
	37, 5, VMFT_FRAME_ACK, 0, 1, WAIT(20),
};
/* A pair without an attach, of two that start; strangers, and refusals. */
static const uint8_t backup_forming[] = {
	1, VMFT_FRAME_HELLO, 0, 1, WAIT(1), VMFT_FRAME_HEARTBEAT, 0, 0x10, VMFT_FRAME_LOG, 0, 0,
	35, VMFT_FRAME_HELLO, 0, 0, VMFT_FRAME_BYE, 0, 1, 2, WAIT(1),
};
/* A hello of another version, of another first field, with a feature that is required, or not. */
static const uint8_t backup_foreign[] = {
	1, VMFT_FRAME_HELLO, 8, 4, 0, WAIT(1), 34, VMFT_FRAME_HELLO, 0, 128, 1, 9, WAIT(1),
	34, VMFT_FRAME_HELLO, 0, 64, 1, WAIT(1), 34, VMFT_FRAME_HELLO, 0, 64, 0, WAIT(1),
};
static const uint8_t primary_foreign[] = {
	4, VMFT_FRAME_HELLO, 8, 4, 0, WAIT(1), VMFT_FRAME_REFUSE, 8, 4, 3, 'n', 'o', '!', WAIT(1),
};
static const uint8_t primary_forming[] = {
	4, HELLO, VMFT_FRAME_ACK, 0, 0, WAIT(1), VMFT_FRAME_REFUSE, 0, 3, 'n', 'o', '!',
	VMFT_FRAME_BYE, 0, 1, 3, 36, 4, 'V', 'M', 'F', 'T',
};
/* clang-format on */

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {backup_lockstep, sizeof(backup_lockstep)},
    {backup_checkpoint, sizeof(backup_checkpoint)},
    {backup_long_image, sizeof(backup_long_image)},
    {primary_lockstep, sizeof(primary_lockstep)},
    {primary_checkpoint, sizeof(primary_checkpoint)},
    {backup_forming, sizeof(backup_forming)},
    {primary_forming, sizeof(primary_forming)},
    {backup_foreign, sizeof(backup_foreign)},
    {primary_foreign, sizeof(primary_foreign)},
    {0},
};
