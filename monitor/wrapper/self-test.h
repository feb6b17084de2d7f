/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each build of QEMU is tried once on a host before a VM runs on it: a small guest is recorded,
 * replayed, attached and taken over on this host, by both strategies, in about 20 seconds
 * (the script self-test). That it has passed is remembered by the build-id, in
 * VMFT_TRIED_DIRECTORY.
 */
#ifndef VMFT_SELF_TEST_H
#define VMFT_SELF_TEST_H

#include <stdbool.h>

#include "monitor/common/error.h"
#include "qemu-binary.h"

#define VMFT_TRIED_DIRECTORY "/var/lib/vmft/tried"

/* Whether this build has passed with this version of vmft. */
bool vmft_self_test_passed(const struct vmft_qemu_binary *qemu);

/*
 * Tries the build and remembers if it passes. If another process does so at the moment, it waits
 * for that one. The script's lines go to stderr. 0, or a negative errno with *err filled: the build
 * did not pass (-EPROTO), or could not be tried.
 */
int vmft_self_test_run(const char *path, const struct vmft_qemu_binary *qemu,
		       struct vmft_error *err);

/* Before a VM is started: tries a build that has not passed. A process that is not root cannot; it
 * says so and goes on. */
int vmft_self_test_need(const char *path, const struct vmft_qemu_binary *qemu,
			struct vmft_error *err);

/* vmft-qemu --self-test [--if-new] [QEMU]: tries the build; --if-new: if it has not passed yet.
 * Returns the exit code. */
int vmft_self_test_main(int argc, char *argv[]);

#endif
