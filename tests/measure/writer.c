/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEED	      UINT64_C(0x9e3779b97f4a7c15)
#define KICK	      SIGUSR1
#define CPUID_ENTRIES 256

/* The guest's own memory, from address 0. */
#define AT_PML4	      0x1000u
#define AT_PDPT	      0x2000u
#define AT_PD	      0x3000u /* two: the guest's own GiB and the measured one */
#define AT_CODE	      0x10000u
#define AT_TASK	      0x11000u
#define AT_BITMAP     0x20000u
#define PRIVATE_BYTES 0x40000u
#define MEASURED      UINT64_C(0x40000000)
#define GIB	      UINT64_C(0x40000000)
#define LARGE_BYTES   UINT64_C(0x200000)
#define LARGE_PAGES   512u

#define PTE_TABLE 0x07u /* present, writable, ring 3 */
#define PTE_LARGE 0xe7u /* the same, accessed, dirty, 2 MiB */

/*
 * Position independent, no stack: it also runs as the guest, in ring 3. The bit is set before
 * the page is written, so that a guest stopped in between has no page without its bit.
 */
__asm__(".pushsection .text\n"
	".globl measure_write_loop, measure_write_loop_end\n"
	".hidden measure_write_loop, measure_write_loop_end\n"
	".type measure_write_loop, @function\n"
	"measure_write_loop:\n"
	"	mov 48(%rdi), %rax\n"
	"1:	cmpl $0, 32(%rdi)\n"
	"	jne 4f\n"
	"	mov %rax, %rdx\n" /* xorshift64 */
	"	shl $13, %rdx\n"
	"	xor %rdx, %rax\n"
	"	mov %rax, %rdx\n"
	"	shr $7, %rdx\n"
	"	xor %rdx, %rax\n"
	"	mov %rax, %rdx\n"
	"	shl $17, %rdx\n"
	"	xor %rdx, %rax\n"
	"	mov %eax, %edx\n"
	"	imul 8(%rdi), %rdx\n"
	"	shr $32, %rdx\n"
	"	mov 16(%rdi), %rcx\n"
	"	bts %rdx, (%rcx)\n"
	"	shl $12, %rdx\n"
	"	add 0(%rdi), %rdx\n"
	"	mov 40(%rdi), %rcx\n"
	"	inc %rcx\n"
	"	mov %rcx, (%rdx)\n"
	"	mov %rcx, 40(%rdi)\n"
	"	mov 24(%rdi), %rcx\n"
	"2:	test %rcx, %rcx\n"
	"	jz 1b\n"
	"	dec %rcx\n"
	"	cmpl $0, 32(%rdi)\n"
	"	je 2b\n"
	"4:	mov %rax, 48(%rdi)\n"
	"	ret\n"
	"measure_write_loop_end:\n"
	".popsection\n");

void measure_write_loop(struct writer_task *task);
extern const uint8_t measure_write_loop_end[];

_Static_assert(offsetof(struct writer_task, memory) == 0, "the loop's offsets");
_Static_assert(offsetof(struct writer_task, window) == 8, "the loop's offsets");
_Static_assert(offsetof(struct writer_task, bitmap) == 16, "the loop's offsets");
_Static_assert(offsetof(struct writer_task, work) == 24, "the loop's offsets");
_Static_assert(offsetof(struct writer_task, stop) == 32, "the loop's offsets");
_Static_assert(offsetof(struct writer_task, count) == 40, "the loop's offsets");
_Static_assert(offsetof(struct writer_task, seed) == 48, "the loop's offsets");

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		; /* interrupted */
}

static void *writer_thread(void *arg)
{
	struct writer *writer = arg;

	for (;;) {
		wait_for(&writer->go);
		if (atomic_load(&writer->end))
			return NULL;
		measure_write_loop(writer->task);
		sem_post(&writer->stopped);
	}
}

static void *writer_vcpu(void *arg)
{
	struct writer *writer = arg;

	wait_for(&writer->go);
	while (!atomic_load(&writer->end)) {
		int ret = ioctl(writer->vcpu_fd, KVM_RUN, 0);

		if (ret < 0 && errno == EAGAIN)
			continue;
		if (ret < 0 && errno == EINTR && !writer->run->immediate_exit)
			continue;
		if (ret == 0 || errno != EINTR)
			atomic_store(&writer->failed, true);
		writer->run->immediate_exit = 0;
		sem_post(&writer->stopped);
		wait_for(&writer->go);
	}
	return NULL;
}

static void writer_kicked(int signum)
{
	(void)signum; /* KVM_RUN returns, that is all */
}

static int writer_begin(struct writer *writer, void *(*run)(void *))
{
	sem_init(&writer->go, 0, 0);
	sem_init(&writer->stopped, 0, 0);
	return -pthread_create(&writer->thread, NULL, run, writer);
}

void writer_go(struct writer *writer)
{
	atomic_store(&writer->task->stop, 0);
	sem_post(&writer->go);
}

bool writer_stop(struct writer *writer)
{
	if (writer->is_guest) {
		writer->run->immediate_exit = 1;
		pthread_kill(writer->thread, KICK);
	} else {
		atomic_store(&writer->task->stop, 1);
	}
	wait_for(&writer->stopped);
	return !atomic_load(&writer->failed);
}

int writer_open_thread(struct writer *writer, void *memory, size_t bytes)
{
	memset(writer, 0, sizeof(*writer));
	writer->bitmap_bytes = bytes / WRITER_PAGE_BYTES / 8;
	writer->bitmap = calloc(1, writer->bitmap_bytes);
	writer->task = calloc(1, sizeof(*writer->task));
	if (!writer->bitmap || !writer->task) {
		free(writer->bitmap);
		free(writer->task);
		return -ENOMEM;
	}
	writer->task->memory = (uintptr_t)memory;
	writer->task->bitmap = (uintptr_t)writer->bitmap;
	writer->task->seed = SEED;
	return writer_begin(writer, writer_thread);
}

/* ---- the guest ---- */

static void guest_page_tables(uint8_t *private)
{
	uint64_t *pml4 = (uint64_t *)(private + AT_PML4), *pdpt = (uint64_t *)(private + AT_PDPT);
	uint64_t *pd = (uint64_t *)(private + AT_PD);

	pml4[0] = AT_PDPT | PTE_TABLE;
	pdpt[0] = AT_PD | PTE_TABLE;
	pdpt[1] = (AT_PD + WRITER_PAGE_BYTES) | PTE_TABLE;
	for (unsigned i = 0; i < 2 * LARGE_PAGES; i++)
		pd[i] = i * LARGE_BYTES | PTE_LARGE;
}

static int guest_memory(struct writer *writer, void *memory, size_t bytes)
{
	struct kvm_userspace_memory_region private = {
	    .slot = 0,
	    .memory_size = PRIVATE_BYTES,
	    .userspace_addr = (uintptr_t)writer->private,
	};
	struct kvm_userspace_memory_region measured = {
	    .slot = 1,
	    .guest_phys_addr = MEASURED,
	    .memory_size = bytes,
	    .userspace_addr = (uintptr_t)memory,
	};

	if (ioctl(writer->vm_fd, KVM_SET_USER_MEMORY_REGION, &private) < 0 ||
	    ioctl(writer->vm_fd, KVM_SET_USER_MEMORY_REGION, &measured) < 0)
		return -errno;
	return 0;
}

/* Long mode needs to be among the vCPU's features. */
static int guest_cpuid(struct writer *writer)
{
	struct kvm_cpuid2 *cpuid;
	int err = 0;

	cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(writer->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ||
	    ioctl(writer->vcpu_fd, KVM_SET_CPUID2, cpuid) < 0)
		err = -errno;
	free(cpuid);
	return err;
}

static int guest_registers(struct writer *writer)
{
	struct kvm_segment data = {
	    .limit = UINT32_MAX,
	    .selector = 0x2b,
	    .type = 3,
	    .present = 1,
	    .dpl = 3,
	    .db = 1,
	    .s = 1,
	    .g = 1,
	};
	struct kvm_regs regs = {.rip = AT_CODE, .rdi = AT_TASK, .rflags = 0x202};
	struct kvm_sregs sregs;

	if (ioctl(writer->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.cs = data;
	sregs.cs.selector = 0x33;
	sregs.cs.type = 11;
	sregs.cs.db = 0;
	sregs.cs.l = 1;
	sregs.cr0 = 0x80000033; /* PG, NE, ET, MP, PE */
	sregs.cr3 = AT_PML4;
	sregs.cr4 = 0x620;  /* PAE, SSE */
	sregs.efer = 0x500; /* LMA, LME */
	if (ioctl(writer->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(writer->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

static int guest_create(struct writer *writer)
{
	int bytes;

	writer->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (writer->kvm_fd < 0)
		return -errno;
	writer->vm_fd = ioctl(writer->kvm_fd, KVM_CREATE_VM, 0);
	if (writer->vm_fd < 0)
		return -errno;
	writer->vcpu_fd = ioctl(writer->vm_fd, KVM_CREATE_VCPU, 0);
	bytes = ioctl(writer->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (writer->vcpu_fd < 0 || bytes < 0)
		return -errno;
	writer->run_bytes = (size_t)bytes;
	writer->run =
	    mmap(NULL, writer->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, writer->vcpu_fd, 0);
	if (writer->run == MAP_FAILED)
		return -errno;
	return 0;
}

static void guest_fill(struct writer *writer)
{
	uintptr_t code = (uintptr_t)measure_write_loop;

	guest_page_tables(writer->private);
	memcpy(writer->private + AT_CODE, (const void *)code,
	       (uintptr_t)measure_write_loop_end - code);
	writer->bitmap = (uint64_t *)(writer->private + AT_BITMAP);
	writer->task = (struct writer_task *)(writer->private + AT_TASK);
	writer->task->memory = MEASURED;
	writer->task->bitmap = AT_BITMAP;
	writer->task->seed = SEED;
}

static void guest_free(struct writer *writer)
{
	if (writer->run && writer->run != MAP_FAILED)
		munmap(writer->run, writer->run_bytes);
	if (writer->vcpu_fd >= 0)
		close(writer->vcpu_fd);
	if (writer->vm_fd >= 0)
		close(writer->vm_fd);
	if (writer->kvm_fd >= 0)
		close(writer->kvm_fd);
	munmap(writer->private, PRIVATE_BYTES);
}

int writer_open_guest(struct writer *writer, void *memory, size_t bytes)
{
	struct sigaction kick = {.sa_handler = writer_kicked};
	int err;

	memset(writer, 0, sizeof(*writer));
	if (bytes > GIB)
		return -EINVAL;
	writer->is_guest = true;
	writer->kvm_fd = writer->vm_fd = writer->vcpu_fd = -1;
	writer->bitmap_bytes = bytes / WRITER_PAGE_BYTES / 8;
	writer->private =
	    mmap(NULL, PRIVATE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (writer->private == MAP_FAILED)
		return -errno;
	guest_fill(writer);
	sigaction(KICK, &kick, NULL);
	err = guest_create(writer);
	if (!err)
		err = guest_memory(writer, memory, bytes);
	if (!err)
		err = guest_cpuid(writer);
	if (!err)
		err = guest_registers(writer);
	if (!err)
		err = writer_begin(writer, writer_vcpu);
	if (err)
		guest_free(writer);
	return err;
}

void writer_close(struct writer *writer)
{
	atomic_store(&writer->end, true);
	sem_post(&writer->go);
	pthread_join(writer->thread, NULL);
	sem_destroy(&writer->go);
	sem_destroy(&writer->stopped);
	if (writer->is_guest) {
		guest_free(writer);
	} else {
		free(writer->bitmap);
		free(writer->task);
	}
}
