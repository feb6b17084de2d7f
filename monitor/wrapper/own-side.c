/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "own-side.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "find-pair.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/local-address.h"
#include "monitor/daemon/arbiter/pair-arbiter.h"

/* --- the pair file ----------------------------------------------------------------- */

static int find_pair(const struct vmft_line_domain *domain, struct vmft_own_side *side,
		     struct vmft_error *err)
{
	const char *given = getenv("VMFT_PAIR");
	int n;

	side->managed = !given || !given[0];
	if (!side->managed) {
		n = snprintf(side->pair_path, sizeof(side->pair_path), "%s", given);
	} else {
		n = snprintf(side->pair_path, sizeof(side->pair_path),
			     VMFT_PAIR_DIRECTORY "/%s.conf", domain->name);
	}
	if (n < 0 || (size_t)n >= sizeof(side->pair_path))
		return vmft_error_set(err, -ENAMETOOLONG, VMFT_EXIT_CONFIG,
				      "VMFT_PAIR: the path is too long");
	if (!side->managed || (domain->name[0] && access(side->pair_path, F_OK) == 0))
		return 0;
	if (domain->name[0])
		return vmft_error_set(
		    err, -ENOENT, VMFT_EXIT_CONFIG,
		    "VMFT_PAIR is not set, and there is no pair file of the domain "
		    "%s: %s: %s",
		    domain->name, side->pair_path, strerror(errno));
	return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
			      "VMFT_PAIR is not set; set it to the path of the pair file");
}

static int load_pair(const struct vmft_line_domain *domain, struct vmft_own_side *side,
		     struct vmft_error *err)
{
	int r = find_pair(domain, side, err);

	if (r == 0)
		r = vmft_pair_config_load(side->pair_path, &side->config, err);
	if (r == 0 && side->managed)
		r = vmft_domain_check(domain, side->pair_path, &side->config, err);
	if (r == 0)
		r = vmft_domain_check_uuid(domain, side->pair_path, &side->config, err);
	return r;
}

/* --- the host ---------------------------------------------------------------------- */

/* "alpha, beta or gamma": the sections that VMFT_HOST may name. */
static void list_hosts(const struct vmft_pair_config *config, char *ret, size_t size)
{
	const bool third = config->has_host[VMFT_HOST_THIRD];

	(void)snprintf(ret, size, "%s%s%s%s%s", config->host[VMFT_HOST_FIRST].name,
		       third ? ", " : " or ", config->host[VMFT_HOST_SECOND].name,
		       third ? " or " : "", third ? config->host[VMFT_HOST_THIRD].name : "");
}

static int named_host(const struct vmft_pair_config *config, const char *given, enum vmft_host *ret,
		      struct vmft_error *err)
{
	char known[128];

	if (vmft_pair_host_find(config, given, ret) == 0)
		return 0;
	list_hosts(config, known, sizeof(known));
	return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
			      "VMFT_HOST is %.40s; set it to %s, the section of the pair file this "
			      "host is",
			      given, known);
}

static int host_with_address(const struct vmft_pair_config *config, enum vmft_host *ret,
			     struct vmft_error *err)
{
	bool is_local[VMFT_HOST_COUNT];

	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++)
		is_local[host] =
		    config->has_host[host] && vmft_address_is_local(&config->host[host].channel);
	return vmft_domain_host(config, is_local, ret, err);
}

/* The section with this machine's name, its domain left out; in an older file, whose sections have
 * the names of roles, the one named after the role. */
static int host_with_name(const struct vmft_pair_config *config, enum vmft_role role,
			  enum vmft_host *ret, struct vmft_error *err)
{
	char known[128], own[72] = "";
	struct utsname machine;

	if (!config->named)
		(void)snprintf(own, sizeof(own), "%s", vmft_role_name(role));
	else if (uname(&machine) == 0)
		(void)snprintf(own, sizeof(own), "%.*s", (int)strcspn(machine.nodename, "."),
			       machine.nodename);
	if (vmft_pair_host_find(config, own, ret) == 0)
		return 0;
	list_hosts(config, known, sizeof(known));
	return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
			      "VMFT_HOST is not set, and no section of the pair file has the name "
			      "of this host, %.64s; set it to %s",
			      own, known);
}

static int find_host(struct vmft_own_side *side, struct vmft_error *err)
{
	const char *given = getenv("VMFT_HOST");

	if (given)
		return named_host(&side->config, given, &side->host, err);
	if (side->chosen)
		return host_with_address(&side->config, &side->host, err);
	return host_with_name(&side->config, side->role, &side->host, err);
}

/* --- the role ---------------------------------------------------------------------- */

static int read_role(struct vmft_own_side *side, struct vmft_error *err)
{
	const char *given = getenv("VMFT_ROLE");

	side->chosen = given ? strcmp(given, "auto") == 0 : side->managed;
	if (side->chosen || (given && vmft_role_parse(given, &side->role) == 0))
		return 0;
	return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
			      "VMFT_ROLE is %s%.40s; set it to primary, backup or auto",
			      given ? "" : "not set", given ? given : "");
}

static int choose_role(struct vmft_own_side *side, struct vmft_error *err)
{
	struct vmft_arbiter_latest latest;
	struct vmft_role_choice choice;
	char text[512];
	int r = vmft_pair_arbiter_latest(&side->config, side->pair_path, &latest, err);

	if (r < 0)
		return r;
	choice = vmft_domain_role(&side->config, side->host, &latest);
	vmft_domain_role_text(&side->config, &choice, &latest, text, sizeof(text));
	(void)fprintf(stderr, "vmft-qemu: %s\n", text);
	side->role = choice.role;
	return 0;
}

int vmft_own_side_find(int argc, char *const argv[], struct vmft_own_side *ret,
		       struct vmft_error *err)
{
	struct vmft_line_domain domain;
	int r = vmft_domain_read(argc, argv, &domain, err);

	if (r < 0 && !getenv("VMFT_PAIR"))
		return r;
	r = load_pair(&domain, ret, err);
	if (r == 0)
		r = read_role(ret, err);
	if (r == 0)
		r = find_host(ret, err);
	return r == 0 && ret->chosen ? choose_role(ret, err) : r;
}
