/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From multiboot's 32 bit to 64 bit, ring 3 with IOPL 3, for each processor.
 *
 * Some KVM hosts run only 64-bit ring 3 natively and emulate everything else, a
 * thousand times slower. So next to nothing is done before ring 3, the page tables
 * are part of the image, and nothing ever comes back: there are no interrupts.
 */
#define CODE32	 0x08
#define CODE64	 0x10
#define DATA32	 0x18
#define USER_DATA 0x2b
#define USER_CODE 0x33
#define EFLAGS	 0x3002 /* IOPL 3, interrupts off */

#define CR0_PE_PG 0x80000001
#define CR4_PAE	 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

#define CPUID_HYPERVISOR     0x40000000
#define CPUID_KVM_FEATURES   0x40000001
#define KVMK		     0x4b4d564b /* the beginning of KVMKVMKVM */
#define KVM_CLOCKSOURCE2     0x08
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01

#define STACK_SHIFT 13
#define CPUS	    16	   /* BARE_CPUS */
#define TRAMPOLINE  0x8000 /* BARE_TRAMPOLINE */

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_MEMORY 2

	.section .multiboot, "a"
	.long MULTIBOOT_MAGIC, MULTIBOOT_MEMORY, -(MULTIBOOT_MAGIC + MULTIBOOT_MEMORY)

	.globl _start, ap_start, ap_bytes, multiboot_info, cpus_started, pvclock
	.text
	.code32
_start:
	cli
	lgdtl gdt_pointer
	mov %ebx, multiboot_info
enter64:
	mov $DATA32, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %cr4, %eax
	or $CR4_PAE, %eax
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov %cr0, %eax
	or $CR0_PE_PG, %eax
	mov %eax, %cr0
	ljmp $CODE64, $1f

	.code64
1:	mov $USER_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov $1, %edi
	lock xadd %edi, cpus_started

	mov $1, %eax
	cpuid
	bt $31, %ecx /* under a hypervisor */
	jnc 2f
	mov $CPUID_HYPERVISOR, %eax
	cpuid
	cmp $KVMK, %ebx
	jne 2f
	mov $CPUID_KVM_FEATURES, %eax
	cpuid
	test $KVM_CLOCKSOURCE2, %eax
	jz 2f
	mov $MSR_KVM_SYSTEM_TIME_NEW, %ecx
	mov %edi, %eax
	shl $6, %eax
	add $pvclock + 1, %eax /* 1: enabled */
	xor %edx, %edx
	wrmsr

2:	lea 1(%rdi), %ecx
	shl $STACK_SHIFT, %ecx
	lea stacks - 8(%rcx), %rcx
	mov %rcx, %rsp
	push $USER_DATA
	push %rcx
	push $EFLAGS
	push $USER_CODE
	push $cpu_main
	iretq

/* Copied to TRAMPOLINE: what lgdt reads must be in the first 64 KiB, too. */
	.code16
ap_start:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl TRAMPOLINE + gdt_pointer - ap_start
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $CODE32, $enter64
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
ap_end:

	.data
	.balign 8
gdt:	.quad 0
	.quad 0x00cf9b000000ffff /* CODE32 */
	.quad 0x00af9b000000ffff /* CODE64 */
	.quad 0x00cf93000000ffff /* DATA32 */
	.quad 0x00cffb000000ffff
	.quad 0x00cff3000000ffff /* USER_DATA */
	.quad 0x00affb000000ffff /* USER_CODE */
gdt_end:
multiboot_info:
	.long 0
cpus_started:
	.long 0
ap_bytes:
	.long ap_end - ap_start

/* The first 4 GiB as they are, in pages of 2 MiB for ring 3. */
	.balign 4096
pml4:	.quad pdpt + 7
	.skip 4096 - 8
pdpt:	.quad pd + 7, pd + 0x1007, pd + 0x2007, pd + 0x3007
	.skip 4096 - 32
pd:
	.set page, 0
	.rept 2048
	.quad page + 0x87
	.set page, page + 0x200000
	.endr

	.bss
	.balign 4096
pvclock:
	.skip 64 * CPUS
	.balign 4096
stacks:	.skip CPUS << STACK_SHIFT

	.section .note.GNU-stack, "", @progbits
