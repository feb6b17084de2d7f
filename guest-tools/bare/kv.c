/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The service on UDP port 7777: a value for each of 65536 keys, in memory or on the disk.
 * README.md has the format, scripts/vmftlab/bare.py the client.
 */
#include "bare.h"

#define KV_MAGIC   0x766d6674u /* vmft */
#define KV_KEYS	   65536u
#define KV_REQUEST 24
#define KV_HEADER  32 /* of an answer; numbers follow */
#define KV_NUMBERS ((KV_ANSWER - KV_HEADER) / 8)
#define KV_DURABLE 0x100u

enum op {
	OP_SET = 1,
	OP_GET = 2,
	OP_STATS = 3,
	OP_CLOCK = 4,
	OP_POWER_OFF = 9,
};

enum status {
	STATUS_OK = 0,
	STATUS_NONE = 1,    /* no such key */
	STATUS_INVALID = 2, /* no such operation, or a key too large */
	STATUS_DAMAGED = 3, /* what is stored is not what was */
	STATUS_DISK = 4,    /* no disk, or it failed */
};

/* microvm's ACPI sleep register, and the pc machine's. */
#define GED_SLEEP     0xfea00200u
#define GED_POWER_OFF 0x34
#define PM1_CONTROL   0x604
#define PM1_POWER_OFF 0x2000

struct entry {
	uint64_t value;
	uint64_t check; /* 0 with value 0: never set */
};

struct answer {
	uint64_t value;
	uint32_t status;
	uint32_t count;
	uint64_t number[KV_NUMBERS];
};

static struct entry table[KV_KEYS];
static uint64_t sets, gets;
static bool power_off;

static uint64_t check_of(uint32_t key, uint64_t value)
{
	return ~value ^ key;
}

static enum status entry_read(uint32_t key, const struct entry *entry, uint64_t *ret_value)
{
	if (!entry->value && !entry->check)
		return STATUS_NONE;
	*ret_value = entry->value;
	return entry->check == check_of(key, entry->value) ? STATUS_OK : STATUS_DAMAGED;
}

static enum status set(uint32_t key, uint64_t value, bool durable)
{
	struct entry entry = {.value = value, .check = check_of(key, value)};

	if (key >= (durable ? disk_keys() : KV_KEYS))
		return durable && !disk_there() ? STATUS_DISK : STATUS_INVALID;
	sets++;
	table[key] = entry;
	if (durable) {
		uint8_t data[DISK_SECTOR] = {0};

		memcpy(data, &entry, sizeof(entry));
		if (!disk_write_durably(key, data))
			return STATUS_DISK;
	}
	return STATUS_OK;
}

static enum status get(uint32_t key, bool durable, uint64_t *ret_value)
{
	struct entry entry;

	if (key >= (durable ? disk_keys() : KV_KEYS))
		return durable && !disk_there() ? STATUS_DISK : STATUS_INVALID;
	gets++;
	entry = table[key];
	if (durable) {
		uint8_t data[DISK_SECTOR];

		if (!disk_read(key, data))
			return STATUS_DISK;
		memcpy(&entry, data, sizeof(entry));
	}
	return entry_read(key, &entry, ret_value);
}

static void add(struct answer *answer, uint64_t number)
{
	answer->number[answer->count++] = number;
}

static void stats(struct answer *answer)
{
	uint64_t mismatches = 0, backwards = 0;

	for (unsigned i = 0; i <= options.aps; i++) {
		mismatches += cpus[i].mismatches;
		backwards += cpus[i].backwards;
	}
	add(answer, cpus[0].ticks);
	add(answer, mismatches);
	add(answer, backwards);
	add(answer, disk_stats.mismatches);
	add(answer, disk_stats.writes);
	add(answer, disk_stats.errors);
	add(answer, sets);
	add(answer, gets);
	for (unsigned i = 0; i <= options.aps; i++) {
		add(answer, cpus[i].ticks);
		add(answer, cpus[i].mismatches + cpus[i].backwards);
	}
}

static void clocks(struct answer *answer)
{
	add(answer, rdtsc());
	add(answer, clock_tsc_hz());
	add(answer, clock_kvm_ns(0));
	add(answer, clock_apic_ns());
}

static void operate(uint32_t op, uint32_t key, struct answer *answer)
{
	bool durable = op & KV_DURABLE;

	switch (op & ~KV_DURABLE) {
	case OP_SET:
		answer->status = set(key, answer->value, durable);
		break;
	case OP_GET:
		answer->value = 0;
		answer->status = get(key, durable, &answer->value);
		break;
	case OP_STATS:
		stats(answer);
		break;
	case OP_CLOCK:
		clocks(answer);
		break;
	case OP_POWER_OFF:
		power_off = true;
		break;
	default:
		answer->status = STATUS_INVALID;
	}
}

size_t kv_request(const uint8_t *request, size_t bytes, uint8_t to[static KV_ANSWER])
{
	struct answer answer = {.status = STATUS_OK};

	if (bytes != KV_REQUEST || get32(request) != KV_MAGIC)
		return 0;
	answer.value = get64(request + 16);
	operate(get32(request + 4), get32(request + 12), &answer);
	memcpy(to, request, 16);
	put64(to + 16, answer.value);
	put32(to + 24, answer.status);
	put32(to + 28, answer.count);
	for (uint32_t i = 0; i < answer.count; i++)
		put64(to + KV_HEADER + i * 8, answer.number[i]);
	return KV_HEADER + (size_t)answer.count * 8;
}

void kv_after_answer(void)
{
	if (!power_off)
		return;
	power_off = false;
	net_drain();
	*(volatile uint8_t *)(uintptr_t)GED_SLEEP = GED_POWER_OFF;
	out16(PM1_CONTROL, PM1_POWER_OFF);
}
