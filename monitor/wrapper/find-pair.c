/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "find-pair.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "arena.h"
#include "monitor/common/exit-codes.h"
#include "monitor/daemon/arbiter/owner.h"
#include "optset.h"
#include "rewrite.h"

/* --- the command line ------------------------------------------------------------ */

static int take_name(struct vmft_line_domain *domain, const char *given, struct vmft_error *err)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	const size_t len = strlen(given);

	/* The name becomes that of a file. */
	if (len == 0 || len > VMFT_DOMAIN_NAME_MAX || strspn(given, allowed) != len ||
	    given[0] == '.')
		return vmft_error_set(
		    err, -EINVAL, VMFT_EXIT_CONFIG,
		    "the domain's name '%.80s' can be no pair file's; call the domain by 1 to 64 "
		    "of "
		    "A-Z a-z 0-9 . _ -, or set VMFT_PAIR to the path of the pair file",
		    given);
	memcpy(domain->name, given, len + 1);
	return 0;
}

/* "guest=NAME,debug-threads=on", or NAME. */
static int read_name(struct vmft_line_domain *domain, const char *text, struct vmft_error *err)
{
	struct vmft_arena *arena = vmft_arena_new();
	struct vmft_optset set;
	const char *problem, *name = NULL;
	int r = 0;

	if (vmft_optset_parse(arena, text, "guest", &set, &problem) == 0)
		name = vmft_optset_get(&set, "guest");
	if (name)
		r = take_name(domain, name, err);
	vmft_arena_free(arena);
	return r;
}

int vmft_domain_read(int argc, char *const argv[], struct vmft_line_domain *ret,
		     struct vmft_error *err)
{
	int r = 0;

	*ret = (struct vmft_line_domain){0};
	for (int i = 1; r == 0 && i + 1 < argc; i++) {
		const char *name = vmft_option_name(argv[i]);
		const struct vmft_option *option = name ? vmft_option_find(name) : NULL;

		if (!option || !option->has_arg)
			continue;
		/* An argument is no option, though it may look like one. */
		i++;
		if (strcmp(name, "name") == 0)
			r = read_name(ret, argv[i], err);
		else if (strcmp(name, "uuid") == 0)
			(void)snprintf(ret->uuid, sizeof(ret->uuid), "%s", argv[i]);
	}
	return r;
}

int vmft_domain_check(const struct vmft_line_domain *domain, const char *path,
		      const struct vmft_pair_config *config, struct vmft_error *err)
{
	/* The arbiter knows a VM by the name in the file: two VMs would be one there. */
	if (strcmp(domain->name, config->name) != 0)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%.200s: it has name = %s, and the domain is %s; correct one "
				      "of them",
				      path, config->name, domain->name);
	return 0;
}

int vmft_domain_check_uuid(const struct vmft_line_domain *domain, const char *path,
			   const struct vmft_pair_config *config, struct vmft_error *err)
{
	if (config->uuid[0] == '\0' || domain->uuid[0] == '\0' ||
	    strcasecmp(config->uuid, domain->uuid) == 0)
		return 0;
	return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
			      "%.200s: it has uuid = %s, and -uuid says %s: this is another VM",
			      path, config->uuid, domain->uuid);
}

/* --- the host ---------------------------------------------------------------------- */

int vmft_domain_host(const struct vmft_pair_config *config,
		     const bool is_local[static VMFT_HOST_COUNT], enum vmft_host *ret,
		     struct vmft_error *err)
{
	enum vmft_host found = VMFT_HOST_COUNT;

	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++) {
		if (!config->has_host[host] || !is_local[host])
			continue;
		if (found != VMFT_HOST_COUNT)
			return vmft_error_set(
			    err, -EINVAL, VMFT_EXIT_CONFIG,
			    "this host has the channel addresses of both [%s] and [%s] in the pair "
			    "file; correct the file, or set VMFT_HOST",
			    config->host[found].section, config->host[host].section);
		found = host;
	}
	if (found == VMFT_HOST_COUNT)
		return vmft_error_set(
		    err, -EINVAL, VMFT_EXIT_CONFIG,
		    "this host has no channel address of the pair file (the first is %s, of [%s]); "
		    "correct the file, or bring the network up",
		    config->host[0].channel.text, config->host[0].section);
	*ret = found;
	return 0;
}

/* --- the role ---------------------------------------------------------------------- */

/* The host in the record of a generation. VMFT_HOST_COUNT: the pair file has no such host. */
static enum vmft_host holder(const struct vmft_pair_config *config, const char *owner)
{
	const char *name;
	const size_t n = vmft_owner_host(owner, &name);

	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++)
		if (config->has_host[host] && strlen(config->host[host].name) == n &&
		    memcmp(config->host[host].name, name, n) == 0)
			return host;
	return VMFT_HOST_COUNT;
}

static enum vmft_role_reason reason_of(const struct vmft_pair_config *config, enum vmft_host host,
				       const struct vmft_arbiter_latest *latest)
{
	const enum vmft_host held_by = holder(config, latest->owner);

	if (latest->generation == 0)
		return VMFT_ROLE_VM_IS_NEW;
	if (!latest->ended)
		return held_by == host ? VMFT_ROLE_LOST_HERE : VMFT_ROLE_HELD;
	if (latest->declared)
		return VMFT_ROLE_VM_DECLARED;
	/* The guest may have ended without a backup. Then only the image of the host that it ended
	 * on has all that the guest wrote, and the other image is made equal to it by an attach. */
	if (held_by == host)
		return VMFT_ROLE_VM_ENDED;
	return held_by == VMFT_HOST_COUNT ? VMFT_ROLE_VM_LEFT : VMFT_ROLE_ENDED_THERE;
}

/*
 * A generation without an end is held by whoever won it, also after its host has died. Then the
 * guest may still run: this side waits as a backup, and a person who knows better says so (vmft
 * declare-dead). This is so on the holder's own host, too: the backup of the guest that died there
 * may be about to take over, with what the guest's clients were told.
 */
struct vmft_role_choice vmft_domain_role(const struct vmft_pair_config *config, enum vmft_host host,
					 const struct vmft_arbiter_latest *latest)
{
	struct vmft_role_choice choice = {.role = VMFT_ROLE_PRIMARY,
					  .reason = reason_of(config, host, latest)};

	if (choice.reason == VMFT_ROLE_HELD || choice.reason == VMFT_ROLE_LOST_HERE ||
	    choice.reason == VMFT_ROLE_ENDED_THERE)
		choice.role = VMFT_ROLE_BACKUP;
	return choice;
}

void vmft_domain_role_text(const struct vmft_pair_config *config,
			   const struct vmft_role_choice *choice,
			   const struct vmft_arbiter_latest *latest, char *ret, size_t size)
{
	const enum vmft_host held_by = holder(config, latest->owner);
	const char *where =
	    held_by == VMFT_HOST_COUNT ? "another host" : config->host[held_by].name;
	const unsigned long long generation = (unsigned long long)latest->generation;

	switch (choice->reason) {
	case VMFT_ROLE_VM_IS_NEW:
		(void)snprintf(ret, size, "%s has never run: this side is the primary",
			       config->name);
		break;
	case VMFT_ROLE_VM_ENDED:
		(void)snprintf(ret, size,
			       "generation %llu of %s ended on this host: this side is the primary",
			       generation, config->name);
		break;
	case VMFT_ROLE_VM_DECLARED:
		(void)snprintf(
		    ret, size,
		    "generation %llu of %s was declared dead: this side is the primary, with the "
		    "images of this host",
		    generation, config->name);
		break;
	case VMFT_ROLE_VM_LEFT:
		(void)snprintf(ret, size,
			       "generation %llu of %s ended on a host that the pair file does not "
			       "have: this side is the primary, with the images of this host",
			       generation, config->name);
		break;
	case VMFT_ROLE_HELD:
		(void)snprintf(
		    ret, size,
		    "%s has generation %llu of %s: this side is its backup. If the guest "
		    "does not run there any more, run: vmft declare-dead %s",
		    where, generation, config->name, config->name);
		break;
	case VMFT_ROLE_ENDED_THERE:
		(void)snprintf(ret, size,
			       "generation %llu of %s ended on %s, whose images have all that the "
			       "guest wrote: this side is the backup and waits until %s is started "
			       "there. To start it here with older images, set VMFT_ROLE=primary",
			       generation, config->name, where, config->name);
		break;
	case VMFT_ROLE_LOST_HERE:
		(void)snprintf(
		    ret, size,
		    "generation %llu of %s ran on this host and did not end in order: "
		    "this side is the backup and waits for a guest that took over. If %s "
		    "runs nowhere, run: vmft declare-dead %s, and start it again",
		    generation, config->name, config->name, config->name);
		break;
	}
}
