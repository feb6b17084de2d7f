/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builds.h"
#include "monitor/daemon/arbiter/owner.h"
#include "monitor/daemon/arbiter/pair-arbiter.h"

_Static_assert(VMFT_OWNER_BUILD_HEX < 16, "callers have room for it");

int vmft_guest_build_find(const struct vmft_pair_config *config, const char *pair_file,
			  enum vmft_role role, char kept[static VMFT_PATH_MAX],
			  char digits[static 16], struct vmft_error *err)
{
	struct vmft_arbiter_latest latest;
	int r;

	kept[0] = digits[0] = '\0';
	/* A primary starts the guest anew, with what is installed. */
	if (role != VMFT_ROLE_BACKUP)
		return 0;
	r = vmft_pair_arbiter_latest(config, pair_file, &latest, err);
	if (r < 0)
		return r;
	if (latest.generation == 0 || latest.ended || !vmft_owner_build(latest.owner, digits))
		return 0;
	if (vmft_builds_find(VMFT_BUILDS_DIRECTORY, digits, kept) < 0)
		kept[0] = '\0';
	return 0;
}

/* No guest of another build runs. A start that the arbiter or the peer will refuse must not lose
 * the copy that the running guest's next backup needs; so an arbiter that does not answer means no.
 */
static bool is_this_or_none(const struct vmft_pair_config *config, const char *pair_file,
			    const struct vmft_qemu_binary *qemu)
{
	char digits[VMFT_OWNER_BUILD_HEX + 1];
	struct vmft_arbiter_latest latest;
	struct vmft_error err;

	if (vmft_pair_arbiter_latest(config, pair_file, &latest, &err) < 0)
		return false;
	if (latest.generation == 0 || latest.ended)
		return true;
	return vmft_owner_build(latest.owner, digits) &&
	       strncmp(qemu->build_id, digits, strlen(digits)) == 0;
}

void vmft_guest_build_keep(const struct vmft_pair_config *config, const char *pair_file,
			   const struct vmft_qemu_binary *qemu)
{
	struct vmft_error err;
	int r;

	/* The self-test's guests do not outlive it. */
	if (getenv("VMFT_SELF_TEST"))
		return;
	if (geteuid() == 0 && vmft_builds_keep(VMFT_BUILDS_DIRECTORY, config->qemu, qemu, &err) < 0)
		(void)fprintf(stderr,
			      "vmft-qemu: no copy of this QEMU is kept, so after an upgrade of it "
			      "the guest may get no backup on this host: %s\n",
			      err.text);
	if (!is_this_or_none(config, pair_file, qemu))
		return;
	/* Another user can do so where an administrator gave it the directory of the records. */
	r = vmft_builds_used(VMFT_BUILDS_DIRECTORY, config->name, pair_file, qemu->build_id);
	if (geteuid() != 0)
		return;
	if (r == 0)
		r = vmft_builds_prune(VMFT_BUILDS_DIRECTORY, qemu->build_id);
	if (r < 0)
		(void)fprintf(stderr, "vmft-qemu: %s: %s; old copies of QEMU are kept there\n",
			      VMFT_BUILDS_DIRECTORY, strerror(-r));
}
