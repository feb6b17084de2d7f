/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "checking.h"

#include <errno.h>
#include <json-c/json.h>
#include <libvirt/virterror.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arguments.h"
#include "logging-channel/now.h"
#include "logging-channel/read-whole.h"
#include "monitor/common/exit-codes.h"
#include "monitor/domain/look.h"

#define ASK_MS	     60000u
#define LISTEN_NS    UINT64_C(10000000000)
#define DEFAULT_PORT 7700

/* --- options ------------------------------------------------------------------ */

enum { KEY_STRATEGY = 0x100, KEY_ARBITER, KEY_CHANNEL };

static const struct argp_option option_table[] = {
    {"backup", 'b', "URI", 0, "libvirt on the host of the backup: qemu+ssh://HOST/system", 0},
    {"connect", 'c', "URI", 0, "libvirt on the host of the domain, if not " VMFT_CHECKING_HERE_URI,
     0},
    {"strategy", KEY_STRATEGY, "S", 0, "auto (default), lockstep or checkpoint", 0},
    {"arbiter", KEY_ARBITER, "WHERE", 0, "file:/DIRECTORY or etcd:URL,..., as in a pair file", 0},
    {"channel", KEY_CHANNEL, "A,B", 0,
     "IP:PORT of the channel on the domain's host and on the other", 0},
    {0},
};

static void take_channel(const struct argp_state *state, struct vmft_checking *c, const char *arg)
{
	const size_t first = strcspn(arg, ",");
	const char *second = arg + first + (arg[first] == ',');
	struct vmft_channel_address address;

	if (!second[0] || first >= sizeof(c->channel[0]) || strlen(second) >= sizeof(c->channel[0]))
		vmft_arguments_wrong(state, "--channel %.100s: write IP:PORT,IP:PORT", arg);
	(void)snprintf(c->channel[VMFT_HERE], sizeof(c->channel[0]), "%.*s", (int)first, arg);
	(void)snprintf(c->channel[VMFT_THERE], sizeof(c->channel[0]), "%s", second);
	for (int host = 0; host < VMFT_BOTH; host++)
		if (vmft_channel_address_parse(c->channel[host], &address) < 0)
			vmft_arguments_wrong(state, "--channel %s: write IP:PORT, in numbers",
					     c->channel[host]);
}

static void take_strategy(const struct argp_state *state, struct vmft_checking *c, const char *arg)
{
	enum vmft_strategy_kind kind;

	if (vmft_strategy_kind_parse(arg, &kind) < 0)
		vmft_arguments_wrong(state, "--strategy %.40s: auto, lockstep or checkpoint", arg);
	c->strategy = arg;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct vmft_checking *c = state->input;

	switch (key) {
	case 'b':
		c->uri[VMFT_THERE] = arg;
		return 0;
	case 'c':
		c->uri[VMFT_HERE] = arg;
		return 0;
	case KEY_STRATEGY:
		take_strategy(state, c, arg);
		return 0;
	case KEY_ARBITER:
		c->arbiter = arg;
		return 0;
	case KEY_CHANNEL:
		take_channel(state, c, arg);
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num > 0)
			vmft_arguments_wrong(state, "name one domain only, without %s", arg);
		c->name = arg;
		return 0;
	case ARGP_KEY_END:
		if (!c->name || !c->uri[VMFT_THERE])
			vmft_arguments_wrong(state, "needs the name of a domain, and --backup URI");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const struct argp vmft_checking_argp = {.options = option_table, .parser = parse_option};

/* --- libvirt ------------------------------------------------------------------ */

/* libvirt would print each error by itself. */
static void say_nothing(void *user, virErrorPtr error)
{
	(void)user;
	(void)error;
}

static int libvirt_error(struct vmft_error *err, const char *what, const char *todo)
{
	const char *message = virGetLastErrorMessage();

	return vmft_error_set(err, -EIO, VMFT_EXIT_ADDRESS, "%.200s: %.200s%s%s", what,
			      message ? message : "unknown error", todo[0] ? "; " : "", todo);
}

static int connect_both(struct vmft_checking *c, struct vmft_error *err)
{
	struct vmft_reach other;
	int r = vmft_reach_parse(c->uri[VMFT_THERE], &other, err);

	if (r == 0 && other.is_here)
		return vmft_error_set(
		    err, -EINVAL, VMFT_EXIT_CONFIG,
		    "--backup %.200s: this is the domain's own host; name another "
		    "one, qemu+ssh://HOST/system",
		    c->uri[VMFT_THERE]);
	for (int host = 0; host < VMFT_BOTH; host++) {
		r = vmft_reach_parse(c->uri[host], &c->reach[host], err);
		if (r < 0)
			return r;
		(void)snprintf(c->host[host], sizeof(c->host[0]), "%s",
			       c->reach[host].is_here ? "this host" : c->reach[host].host);
		c->connection[host] = virConnectOpen(c->uri[host]);
		if (!c->connection[host])
			return libvirt_error(err, c->uri[host], "try: virsh -c URI version");
	}
	return 0;
}

/* What the domain's next start will be: its persistent definition. */
static int read_domain(struct vmft_checking *c, struct vmft_error *err)
{
	virDomainPtr domain = virDomainLookupByName(c->connection[VMFT_HERE], c->name);

	if (!domain)
		domain = virDomainLookupByUUIDString(c->connection[VMFT_HERE], c->name);
	if (!domain)
		return libvirt_error(err, c->name, "see virsh list --all");
	c->xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE);
	(void)virDomainFree(domain);
	if (!c->xml)
		return libvirt_error(err, c->name, "");
	return vmft_domain_parse(c->xml, strlen(c->xml), &c->domain, err);
}

/* The bridge of a network on one host; it is judged here, as only libvirt knows networks. */
static void resolve_network(struct vmft_checking *c, int host, const char *name,
			    struct json_object *bridges)
{
	virNetworkPtr network = virNetworkLookupByName(c->connection[host], name);
	char *bridge = network ? virNetworkGetBridgeName(network) : NULL;
	char what[96];

	(void)snprintf(what, sizeof(what), "network %.40s on %.40s", name, c->host[host]);
	if (!network)
		vmft_conditions_add(&c->found, VMFT_CONDITION_FAILED, what,
				    "libvirt there has none of that name; define and start it");
	else if (virNetworkIsActive(network) != 1)
		vmft_conditions_add(&c->found, VMFT_CONDITION_FAILED, what,
				    "it is not active; start it: virsh net-start %s", name);
	else if (!bridge)
		vmft_conditions_add(&c->found, VMFT_CONDITION_FAILED, what,
				    "it has no bridge; use one that has");
	else
		vmft_conditions_add(&c->found, VMFT_CONDITION_PASSED, what, "bridge %s", bridge);
	if (bridge)
		json_object_array_add(bridges, json_object_new_string(bridge));
	free(bridge);
	if (network)
		(void)virNetworkFree(network);
}

/* --- what each host is asked ---------------------------------------------------- */

static void put_nics(struct vmft_checking *c, int host, struct json_object *request)
{
	struct json_object *bridges = json_object_new_array(), *taps = json_object_new_array();

	for (size_t i = 0; i < c->domain.nic_count; i++) {
		const struct vmft_domain_nic *nic = &c->domain.nic[i];

		if (strcmp(nic->type, "bridge") == 0)
			json_object_array_add(bridges, json_object_new_string(nic->source));
		else if (strcmp(nic->type, "network") == 0)
			resolve_network(c, host, nic->source, bridges);
		else if (strcmp(nic->type, "ethernet") == 0 && nic->target[0])
			json_object_array_add(taps, json_object_new_string(nic->target));
		else if (strcmp(nic->type, "direct") == 0)
			json_object_array_add(taps, json_object_new_string(nic->source));
	}
	json_object_object_add(request, "bridges", bridges);
	json_object_object_add(request, "taps", taps);
}

static void put_line(struct vmft_checking *c, int host, struct json_object *request)
{
	char *line = virConnectDomainXMLToNative(c->connection[host], "qemu-argv", c->xml, 0);
	char what[96];

	if (line) {
		json_object_object_add(request, "line", json_object_new_string(line));
	} else {
		(void)snprintf(what, sizeof(what), "command line on %.60s", c->host[host]);
		vmft_conditions_add(&c->found, VMFT_CONDITION_FAILED, what,
				    "libvirt there does not take the domain: %s",
				    virGetLastErrorMessage());
	}
	free(line);
}

static void make_request(struct vmft_checking *c, int host, const char *token)
{
	struct json_object *request = json_object_new_object(), *disks = json_object_new_array();

	for (size_t i = 0; i < c->domain.disk_count; i++) {
		const struct vmft_domain_disk *disk = &c->domain.disk[i];
		struct json_object *one;

		if (!disk->path[0])
			continue;
		one = json_object_new_object();
		json_object_object_add(one, "path", json_object_new_string(disk->path));
		json_object_object_add(one, "format", json_object_new_string(disk->format));
		json_object_array_add(disks, one);
	}
	json_object_object_add(request, "vm", json_object_new_string(c->domain.name));
	json_object_object_add(request, "disks", disks);
	json_object_object_add(request, "strategy", json_object_new_string(c->strategy));
	json_object_object_add(request, "channel", json_object_new_string(c->channel[host]));
	if (c->arbiter) {
		json_object_object_add(request, "arbiter", json_object_new_string(c->arbiter));
		if (host == VMFT_HERE)
			json_object_object_add(request, "token", json_object_new_string(token));
		else
			json_object_object_add(request, "seek", json_object_new_boolean(true));
	}
	put_line(c, host, request);
	put_nics(c, host, request);
	c->request[host] = request;
}

/* --- defaults ------------------------------------------------------------------- */

/* The address by which this host reaches the other one, and that one's. */
static void default_channel(struct vmft_checking *c)
{
	const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM};
	struct addrinfo *found = NULL;
	struct sockaddr_storage own;
	socklen_t n = sizeof(own);
	char text[46];
	int fd;

	if (c->channel[VMFT_HERE][0] || c->reach[VMFT_THERE].is_here ||
	    getaddrinfo(c->reach[VMFT_THERE].host, "9", &hints, &found) != 0)
		return;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	/* Nothing is sent: the kernel chooses the source address. */
	if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0 &&
	    getsockname(fd, (struct sockaddr *)&own, &n) == 0) {
		(void)getnameinfo((struct sockaddr *)&own, n, text, sizeof(text), NULL, 0,
				  NI_NUMERICHOST);
		(void)snprintf(c->channel[VMFT_HERE], sizeof(c->channel[0]), "%s:%d", text,
			       DEFAULT_PORT);
		(void)getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof(text), NULL, 0,
				  NI_NUMERICHOST);
		(void)snprintf(c->channel[VMFT_THERE], sizeof(c->channel[0]), "%s:%d", text,
			       DEFAULT_PORT);
	}
	if (fd >= 0)
		(void)close(fd);
	freeaddrinfo(found);
}

/* A domain that has a pair file is checked with what that says. */
static int take_pair_file(struct vmft_checking *c, struct vmft_error *err)
{
	static struct vmft_pair_config config;
	char path[VMFT_PATH_MAX];
	int r;

	(void)snprintf(path, sizeof(path), VMFT_PAIR_DIRECTORY "/%s.conf", c->domain.name);
	if (strchr(c->domain.name, '/') || access(path, F_OK) < 0)
		return 0;
	r = vmft_pair_config_load(path, &config, err);
	if (r < 0)
		return r;
	(void)snprintf(c->pair_arbiter, sizeof(c->pair_arbiter), "%s", config.arbiter);
	if (!c->arbiter)
		c->arbiter = c->pair_arbiter;
	if (c->channel[VMFT_HERE][0])
		return 0;
	for (int host = 0; host < VMFT_BOTH; host++)
		(void)snprintf(c->channel[host], sizeof(c->channel[0]), "%s",
			       config.host[host].channel.text);
	return 0;
}

/* --- the channel ------------------------------------------------------------------ */

/* "listening 7700", from the other host. 0: it said something else, or nothing in time. */
static uint16_t read_port(int fd)
{
	char line[32] = "";
	unsigned port = 0;
	size_t n = 0;
	const uint64_t until = vmft_monotonic_ns() + LISTEN_NS;

	while (n < sizeof(line) - 1 && vmft_read_whole(fd, line + n, 1, until) == 1 &&
	       line[n] != '\n')
		n++;
	line[n] = '\0';
	return sscanf(line, "listening %5u", &port) == 1 && port <= UINT16_MAX ? (uint16_t)port : 0;
}

static int measure(struct vmft_checking *c, struct vmft_link_figures *ret, struct vmft_error *err)
{
	static const char *const words[] = {"listen", NULL};
	struct vmft_channel_address from, to;
	struct vmft_reach_process process = {0};
	uint16_t port;
	int r;

	if (vmft_channel_address_parse(c->channel[VMFT_HERE], &from) < 0 ||
	    vmft_channel_address_parse(c->channel[VMFT_THERE], &to) < 0)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "no addresses are known; give them with --channel");
	r = vmft_reach_start(&c->reach[VMFT_THERE], words, &process, err);
	if (r < 0)
		return r;
	if (dprintf(process.in, "%s\n", c->channel[VMFT_THERE]) < 0)
		r = -errno;
	port = r < 0 ? 0 : read_port(process.out);
	r = port ? vmft_link_measure(&from, &to, port, ret) : -EADDRNOTAVAIL;
	(void)vmft_reach_end(&process);
	return r < 0 ? vmft_error_set(err, r, VMFT_EXIT_PEER, "from %s to %s: %s", from.text,
				      to.text, strerror(-r))
		     : 0;
}

/* --- all of it -------------------------------------------------------------------- */

static void make_token(char ret[static 33])
{
	unsigned char bytes[16] = {0};

	(void)!getrandom(bytes, sizeof(bytes), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

static void append(struct vmft_conditions *to, const struct vmft_conditions *from)
{
	for (size_t i = 0; i < from->count; i++)
		vmft_conditions_add(to, from->item[i].result, from->item[i].what, "%s",
				    from->item[i].text);
}

/* This host first: it leaves the token that the other one looks for. */
static void ask_both(struct vmft_checking *c, struct vmft_evidence *evidence)
{
	for (int host = 0; host < VMFT_BOTH; host++) {
		evidence->host[host] = c->host[host];
		if (isatty(STDERR_FILENO))
			(void)fprintf(stderr, "... asking %s\n", c->host[host]);
		evidence->asked_ns = vmft_realtime_ns();
		if (vmft_reach_ask(&c->reach[host], "look", c->request[host], ASK_MS,
				   &c->facts[host], &c->unanswered[host]) < 0)
			evidence->unanswered[host] = c->unanswered[host].text;
		evidence->answered_ns = vmft_realtime_ns();
		evidence->facts[host] = c->facts[host];
	}
}

static void judge(struct vmft_checking *c)
{
	struct vmft_evidence evidence = {.domain = &c->domain};
	struct vmft_link_figures link;
	static struct vmft_conditions judged;
	struct vmft_error err;
	char token[33];

	make_token(token);
	evidence.token = token;
	for (int host = 0; host < VMFT_BOTH; host++)
		make_request(c, host, token);
	ask_both(c, &evidence);
	if (c->facts[VMFT_THERE]) {
		if (measure(c, &link, &err) == 0)
			evidence.link = &link;
		else
			evidence.link_error = err.text;
	}
	vmft_conditions_judge(&evidence, &judged);
	append(&judged, &c->found);
	c->found = judged;
}

int vmft_checking_run(struct vmft_checking *c, struct vmft_error *err)
{
	int r;

	virSetErrorFunc(NULL, say_nothing);
	r = connect_both(c, err);
	if (r == 0)
		r = read_domain(c, err);
	if (r == 0)
		r = take_pair_file(c, err);
	if (r < 0)
		return r;
	default_channel(c);
	judge(c);
	return 0;
}

void vmft_checking_print(const struct vmft_checking *c, bool failures_only)
{
	for (size_t i = 0; i < c->found.count; i++) {
		const struct vmft_condition *item = &c->found.item[i];

		if (!failures_only || item->result == VMFT_CONDITION_FAILED)
			(void)printf("%-4s  %s: %s\n", vmft_condition_result_name(item->result),
				     item->what, item->text);
	}
	if (c->found.failed > 0)
		(void)printf("%s cannot be protected: %zu condition%s failed.\n", c->domain.name,
			     c->found.failed, c->found.failed == 1 ? "" : "s");
	else if (!failures_only)
		(void)printf("%s can be protected.\n", c->domain.name);
}

void vmft_checking_fini(struct vmft_checking *c)
{
	free(c->xml);
	for (int host = 0; host < VMFT_BOTH; host++) {
		json_object_put(c->request[host]);
		json_object_put(c->facts[host]);
		if (c->connection[host])
			(void)virConnectClose(c->connection[host]);
	}
}
