/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies of the builds of QEMU that VMs were started with on this host, so that a guest which began
 * on one build can get a backup here after the package was upgraded. In lockstep no other build
 * will do.
 *
 * DIRECTORY/BUILD-ID/ has bin/, share/ and lib/ as the build had them around its program: QEMU
 * finds its firmware and its modules relative to where its program is (get_relocated_path() in its
 * util/cutils.c). DIRECTORY/used/NAME says which build the VM of that name was last started with
 * here, and its pair file. Everything belongs to root.
 */
#ifndef VMFT_BUILDS_H
#define VMFT_BUILDS_H

#include "monitor/common/error.h"
#include "monitor/common/pair-config.h"
#include "qemu-binary.h"

#define VMFT_BUILDS_DIRECTORY "/var/lib/vmft/builds"

/*
 * Copies the build whose program is path, unless it is kept already. 0; -ENOTSUP: its firmware is
 * not in directories beside the program's, so that a copy would not find it; another negative
 * errno. *err is filled then.
 */
int vmft_builds_keep(const char *directory, const char *path, const struct vmft_qemu_binary *qemu,
		     struct vmft_error *err);

/*
 * The program of the build that begins with these hex digits. -ENOENT: it is not kept. -EBADMSG:
 * digits is not a part of a build-id.
 */
int vmft_builds_find(const char *directory, const char *digits, char ret[static VMFT_PATH_MAX]);

/* The VM of that name is started on this host with this build. 0 or a negative errno. */
int vmft_builds_used(const char *directory, const char *vm, const char *pair_file,
		     const char *build_id);

/*
 * Removes each build that no VM was last started with here, but the one named keep. A VM without
 * its pair file does not count any more. 0 or a negative errno.
 */
int vmft_builds_prune(const char *directory, const char *keep);

#endif
