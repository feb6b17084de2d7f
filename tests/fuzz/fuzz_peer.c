/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole monitor (tests/shell) whose peer is the input: well-formed frames in any order, where the
 * next frame is more often than not one that fits, and bytes that are no frame. Whatever comes, the
 * monitor does not abort, it writes to the guest's memory and images only within their bounds, and
 * no guest is live without the arbiter's consent.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "logging-channel/epoch.h"
#include "logging-channel/event.h"
#include "logging-channel/wire.h"
#include "tests/shell/shell.h"

#define RECORDS_MAX 200u
#define DISKS	    1u
#define VERSIONS_AT 4u /* in a hello: the value of its first field */

/* The other side, as the input has made it so far. */
struct script {
	struct vmft_wire_reader r;
	int host; /* of the monitor that is tried */
	int other;
	struct peer peer, stranger;
	struct vmft_epoch_packer *packer;
	uint64_t position; /* where what is sent next begins: a log, or an epoch */
	uint8_t frame[VMFT_FRAME_HEADER + VMFT_FRAME_PAYLOAD_MAX];
};

static struct script script;
/* What the peer has left at the arbiter, by who it is. */
static const char the_backups[] = "the backup's", the_primarys[] = "the primary's";

static void must(bool good)
{
	if (!good)
		abort();
}

static struct vmft_monitor *monitor(void)
{
	return &world.host[script.host].m;
}

static bool is_primary(void)
{
	return script.host == 0;
}

static bool is_checkpoint(void)
{
	return monitor()->strategy_ops == &vmft_strategy_checkpoint;
}

/* Most promises are void with a peer that lies. These are not. */
static void check_kept(void)
{
	static const char *const kept[] = {
	    "no monitor aborts",
	    "an operation is started once at a time",
	    "one question of a kind at a time",
	    "never two live",
	};

	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		must(strcmp(world.broken, kept[i]) != 0);
	world.broken = NULL;
}

static void run(uint64_t ns)
{
	const uint64_t until = world.now + ns;

	while (world.now < until) {
		world_run(until - world.now);
		if (world.broken)
			check_kept();
		if (is_primary() && !peer_is_there(&script.peer))
			(void)peer_accept(&script.peer, script.other);
	}
}

/* --- payloads ------------------------------------------------------------------- */

static size_t put_hello(struct vmft_wire_reader *r, uint8_t *payload)
{
	struct vmft_hello hello = monitor()->options.identity;
	const uint8_t other = (uint8_t)vmft_wire_get(r, 1);
	size_t n;

	hello.role = is_primary() ? VMFT_ROLE_BACKUP : VMFT_ROLE_PRIMARY;
	hello.host = is_primary() ? VMFT_HOST_SECOND : VMFT_HOST_FIRST;
	hello.attach = !is_primary() && !(other & 1);
	(void)snprintf(hello.record, sizeof(hello.record), "%s",
		       is_primary() ? the_backups : the_primarys);
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
	geometry.count = DISKS + 2;
	for (unsigned i = 0; i < DISKS; i++) {
		geometry.region[i].kind = VMFT_REGION_DISK;
		geometry.region[i].format = VMFT_IMAGE_RAW;
		geometry.region[i].bytes = geometry.region[i].guest_bytes = DISK_BYTES;
	}
	geometry.region[DISKS].kind = VMFT_REGION_RAM;
	geometry.region[DISKS].bytes = RAM_BYTES;
	strcpy(geometry.region[DISKS].name, "vmft.ram");
	geometry.region[DISKS + 1].kind = VMFT_REGION_SHADOW;
	geometry.region[DISKS + 1].bytes = ROM_BYTES;
	strcpy(geometry.region[DISKS + 1].name, "pc.bios");
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
	    .disk_count = DISKS,
	    .disk_bytes = {DISK_BYTES},
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
	struct vmft_epoch_commit commit = {.state_bytes = 100, .disk_count = DISKS};
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
	for (unsigned i = 0; i < DISKS; i++)
		commit.disk_bytes[i] = other & 4 ? vmft_wire_get(r, 8) : DISK_BYTES;
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

/* A primary's log begins, and goes on, where its agent says. A monitor that has ended has no memory
 * any more. */
static void follow_primary(void)
{
	struct vmft_monitor *m = monitor();

	if (is_primary() && world.host[script.host].up)
		script.position = m->strategy_ops->taken(m->strategy);
}

static void send_frame(struct vmft_wire_reader *r, struct peer *to, uint16_t type)
{
	const uint8_t wrong = (uint8_t)vmft_wire_get(r, 1);
	struct vmft_frame_info info = {.type = type, .generation = arbiter_latest()};

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
	(void)peer_send(to, script.frame, VMFT_FRAME_HEADER + info.length);
	run(1 * MS);
}

static void agent_says(struct vmft_wire_reader *r)
{
	struct vmft_iface *iface = (void *)world.host[script.host].iface.bytes;
	struct vmft_area *area = (void *)world.host[script.host].area.bytes;

	switch (vmft_wire_get(r, 1) % 6) {
	case 0:
		atomic_store(&iface->agent_state, (uint32_t)vmft_wire_get(r, 1) % 12);
		break;
	case 1:
		atomic_store(&area->result, -(int32_t)vmft_wire_get(r, 1));
		break;
	case 2:
		atomic_store(&iface->disk_error, vmft_disk_error_pack(0, VMFT_DISK_WRITE, 5));
		atomic_fetch_add(&iface->disk_failures, 1);
		break;
	case 3:
		atomic_store(&iface->diverged, (uint32_t)vmft_wire_get(r, 1) % 7);
		break;
	case 4:
		atomic_store(&iface->log_tail, vmft_wire_get(r, 8));
		break;
	default:
		qemu_end(script.host);
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
		run((1 + vmft_wire_get(r, 1)) * 20 * MS);
		break;
	case 1:
		peer_close(&script.peer);
		run(1 * MS);
		break;
	case 2:
		if (!is_primary() && !peer_is_there(&script.peer))
			(void)peer_connect(&script.peer, script.other, script.host);
		run(1 * MS);
		break;
	case 3:
		if (!is_primary() && !peer_is_there(&script.stranger))
			(void)peer_connect(&script.stranger, script.other, script.host);
		send_frame(r, &script.stranger, (uint16_t)vmft_wire_get(r, 1) % 32);
		break;
	case 4:
		(void)peer_send(&script.peer, script.frame, put_bytes(r, script.frame));
		run(1 * MS);
		break;
	case 5:
		agent_says(r);
		run(1 * MS);
		break;
	case 6:
		for (uint64_t n = vmft_wire_get(r, 1) % 3; n > 0; n--)
			arbiter_put(arbiter_latest() + 1, "somebody's");
		break;
	default:
		break;
	}
}

/* --- an input ----------------------------------------------------------------------- */

static void start_alone(void *m)
{
	const struct vmft_event_in alone = {.kind = VMFT_IN_START_ALONE};

	vmft_monitor_event(m, &alone);
}

static void begin(struct vmft_wire_reader *r)
{
	const uint8_t how = (uint8_t)vmft_wire_get(r, 1);

	script.host = how & 1;
	script.other = 1 - script.host;
	script.position = 0;
	script.peer.sock = script.stranger.sock = 0;
	must(vmft_epoch_packer_create(1, &script.packer) == 0);
	world_begin(1, how & 2 ? CHECKPOINT : LOCKSTEP, VARIANT_SAVES);
	/* The seeds' peer is slower than that of a simulation. */
	world.config.silence_ms = 1000;
	world.config.grace_ms = 3000;
	world.config.delta_cache_mib = 1;
	world.load_time = 0;
	world.pace = 8;
	world.delay = world.disk_delay = 20 * US;
	world.guest_every = 5 * MS;
	if (is_primary()) {
		peer_listen(script.other);
		arbiter_put_mark(script.other, the_backups);
	} else {
		arbiter_put(1, the_primarys);
	}
	host_start(script.host, is_primary());
	must(world.host[script.host].up);
	if (is_primary() && !(how & 4))
		enter(script.host, start_alone, monitor());
	if (!is_primary())
		(void)peer_connect(&script.peer, script.other, script.host);
	run(600 * MS);
}

/* The area's head is not the peer's to write, nor are images of another length. */
static void check(void)
{
	const struct host *h = &world.host[script.host];
	const struct vmft_area *area = (const void *)h->area.bytes;

	must(area->magic == VMFT_AREA_MAGIC && area->ram_bytes == RAM_BYTES);
	must(h->disk.size <= DISK_BYTES);
	must(is_primary() || !h->q.up || !h->q.runs || !h->q.open || arbiter_latest() > 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tally tally;

	if (!world.tally) {
		world.tally = &tally;
		world.manual = true;
		world_prepare();
	}
	script.r = (struct vmft_wire_reader){.at = data, .left = size};
	begin(&script.r);
	for (unsigned i = 0; i < RECORDS_MAX && script.r.left > 0; i++)
		do_record(&script.r);
	run(100 * MS);
	check();
	vmft_epoch_packer_destroy(script.packer);
	script.packer = NULL;
	return 0;
}

/* clang-format off */
#define HELLO VMFT_FRAME_HELLO, 0, 0
#define WAIT(n) 32, n
/* An attach to its end, then a log; checkpoint: an epoch, and the peer is gone. */
#define ATTACH_OF_BACKUP						\
	HELLO, WAIT(1), VMFT_FRAME_ATTACH, 0, 0, WAIT(1),		\
	VMFT_FRAME_SUMS, 0, 0, 4, 7, 0,					\
	VMFT_FRAME_CHUNK, 2, 1, 1, 0x10, 0, 'x',			\
	VMFT_FRAME_CHUNK, 0, 0, 2, 0, 'y', VMFT_FRAME_ZERO, 0, 3, 0, 0, 1, 0, \
	VMFT_FRAME_ROUND, 0, VMFT_FRAME_STATE, 0, 3, 1, 2, 3,		\
	VMFT_FRAME_POINT, 0, 0, WAIT(1), WAIT(1)
static const uint8_t backup_lockstep[] = {
	1, ATTACH_OF_BACKUP, VMFT_FRAME_LOG, 0, 0, VMFT_FRAME_FORMED, 0, 0x10,
	VMFT_FRAME_LOG, 0, 0, VMFT_FRAME_HEARTBEAT, 0, 0x10, WAIT(2), 33, WAIT(50),
};
static const uint8_t backup_checkpoint[] = {
	3, ATTACH_OF_BACKUP, VMFT_FRAME_FORMED, 0, 0x10,
	VMFT_FRAME_LOG, 0, 1, 1, 1, VMFT_FRAME_LOG, 0, 2, 1, 0, VMFT_FRAME_LOG, 0, 0, WAIT(2),
	33, WAIT(50),
};
/* A state that is right, and an image that is to be made a million times as long. */
static const uint8_t backup_long_image[] = {
	3, HELLO, WAIT(1), VMFT_FRAME_ATTACH, 0, 0, WAIT(1), VMFT_FRAME_STATE, 0, 3, 1, 2, 3,
	VMFT_FRAME_POINT, 0, 4, 0, 0, 1, 0, 0, 0, 0, 0, WAIT(1), WAIT(1),
};
#define ATTACH_OF_PRIMARY						\
	HELLO, WAIT(1), VMFT_FRAME_READY, 0,				\
	VMFT_FRAME_WANT, 0, 0, 0xff, WAIT(2),				\
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
