/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Samples of memory and the processor's registers at equal log positions.
 *
 * A sample is taken between an event and its effect, for kinds of events that only the main loop
 * writes and only the main loop replays. The recorder has written the event's last byte and has not
 * carried out its effect. A replayer that asks for the kind of the next event is at the same point
 * (replay_checkpoint() calls replay_finish_event() first). The thread holds the replay mutex: the
 * vCPU is between two calls of tcg_cpus_exec(), so all its registers are in memory, and it has
 * executed as many instructions as the log says.
 *
 * Memory is then what the log has made it, except for disk requests: from a request to the event
 * that completes it, worker threads read into guest memory at any time. So no request may be under
 * way.
 *
 * Memory is read with pread() from its memfd. This needs nothing of QEMU, and a page that the guest
 * has never touched stays a hole.
 */
#define _GNU_SOURCE
#include "digest.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "diverge.h"
#include "ground.h"
#include "logging-channel/event.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/interface.h"
#include "tap.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define PAGE		VMFT_RAM_BLOCK_BYTES
#define REGISTERS_BYTES 8192u /* QEMU prints about 2000 */

struct vmft_digest vmft_digest;

static uint64_t processor_digest(void)
{
	char text[REGISTERS_BYTES] = "";
	const size_t length = vmft_qemu_registers(text, sizeof(text));

	return length ? XXH3_64bits(text, length) : 0;
}

static bool page_digest(uint32_t page, uint32_t *ret)
{
	uint8_t bytes[PAGE];

	if (syscall(SYS_pread64, vmft_agent.ram_fd, bytes, sizeof(bytes), (off_t)page * PAGE) !=
	    (ssize_t)sizeof(bytes))
		return false;
	*ret = (uint32_t)XXH3_64bits(bytes, sizeof(bytes));
	return true;
}

static uint32_t page_count(void)
{
	struct stat st;

	if (fstat(vmft_agent.ram_fd, &st) < 0 || st.st_size < (off_t)PAGE ||
	    st.st_size / PAGE > UINT32_MAX)
		return 0;
	return (uint32_t)(st.st_size / PAGE);
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
	while (b != 0) {
		const uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* The distance from one page of a sample to the next. It is large, because pages that are near each
 * other belong to one program, and a sample is to have pages of many. It has no common divisor with
 * the number of pages, so that each page is taken once before one is taken twice. */
static uint32_t stride_of(uint32_t pages)
{
	uint32_t stride = (uint32_t)((uint64_t)pages * 618 / 1000) | 1;

	while (common_divisor(pages, stride) != 1)
		stride += 2;
	return stride;
}

/* No disk request is under way: see the head of this file. */
static bool is_quiet(void)
{
	const struct vmft_tap *tap = &vmft_tap;

	return vmft_qemu_block_requests() - tap->requests == tap->cursor.blocks;
}

static bool choose(struct vmft_digest *digest, struct vmft_digest_entry *ret)
{
	uint32_t count = atomic_load(&vmft_agent.iface->digest_pages);

	ret->pages = page_count();
	if (ret->pages == 0)
		return false;
	if (count > VMFT_DIGEST_PAGES_MAX)
		count = VMFT_DIGEST_PAGES_MAX;
	if (count > ret->pages)
		count = ret->pages;
	ret->count = (uint16_t)count;
	ret->stride = stride_of(ret->pages);
	ret->first = digest->next % ret->pages;
	digest->next = (uint32_t)((ret->first + (uint64_t)count * ret->stride) % ret->pages);
	return true;
}

static void take(struct vmft_digest *digest)
{
	uint8_t bytes[VMFT_DIGEST_ENTRY_MAX];
	struct vmft_digest_entry entry;

	if (!choose(digest, &entry))
		return;
	entry.processor = processor_digest();
	for (unsigned i = 0; i < entry.count; i++)
		if (!page_digest(vmft_digest_entry_page(&entry, i), &entry.digest[i]))
			return;
	vmft_tap_add(bytes, vmft_digest_entry_encode(&entry, bytes));
	atomic_fetch_add(&vmft_agent.iface->digests_taken, 1);
}

void vmft_digest_point(void)
{
	struct vmft_digest *digest = &vmft_digest;
	const uint64_t every =
	    (uint64_t)atomic_load_explicit(&vmft_agent.iface->digest_ms, memory_order_relaxed) *
	    1000000u;
	uint64_t now;

	if (every == 0)
		return;
	now = vmft_agent_now();
	if (now < digest->taken_ns + every || gettid() != getpid() || !vmft_tap_is_kept() ||
	    atomic_load(&vmft_tap.busy) || !is_quiet())
		return;
	digest->taken_ns = now;
	take(digest);
	atomic_fetch_add(&vmft_agent.iface->digest_ns, vmft_agent_now() - now);
}

/* Lists the pages that differ. The report has the digests of the first. */
static void compare(uint64_t position, const struct vmft_digest_entry *entry)
{
	const uint64_t processor = processor_digest();
	uint32_t expected = 0, found = 0, pages = 0;

	for (unsigned i = 0; i < entry->count; i++) {
		const uint32_t page = vmft_digest_entry_page(entry, i);
		uint32_t here;

		if (!page_digest(page, &here)) {
			vmft_agent_broken("the guest's memory cannot be read");
			return;
		}
		if (here == entry->digest[i])
			continue;
		if (pages++ == 0) {
			expected = entry->digest[i];
			found = here;
		}
		vmft_diverge_page((uint64_t)page * PAGE);
	}
	if (pages > 0)
		vmft_diverge(VMFT_DIVERGENCE_MEMORY, position, expected, found);
	else if (processor != entry->processor)
		vmft_diverge(VMFT_DIVERGENCE_PROCESSOR, position, entry->processor, processor);
	else
		atomic_fetch_add(&vmft_agent.iface->digests_compared, 1);
}

void vmft_digest_compare(uint64_t position, const uint8_t *bytes, size_t n)
{
	struct vmft_digest_entry entry;

	if (vmft_digest_entry_decode(bytes, n, &entry) < 0 || entry.pages != page_count()) {
		vmft_agent_broken("the primary's guest has another size of memory");
		return;
	}
	/* The main loop took the sample. Another thread is at another point: it does not compare.
	 */
	if (gettid() == getpid())
		compare(position, &entry);
}
