/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "reach.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "strangers.h"

void vmft_reach_init(struct vmft_reach *reach, const struct vmft_pair_config *config,
		     enum vmft_host host, struct vmft_journal *journal)
{
	*reach = (struct vmft_reach){.config = config, .journal = journal, .host = host};
}

/* Where no backup was started yet nobody listens: a refused connection is no fault, and is not
 * said. */
void vmft_reach_note(struct vmft_reach *reach, enum vmft_host to, int error)
{
	const struct vmft_channel_address *own = &reach->config->host[reach->host].channel;
	int *last = &reach->error[to];

	if (error == *last)
		return;
	*last = error;
	if (error < 0 && error != -ECONNREFUSED)
		vmft_journal_say(reach->journal, "cannot connect to [%s] channel = %s from %s: %s",
				 reach->config->host[to].section,
				 reach->config->host[to].channel.text, own->text, strerror(-error));
}

/* The interface that has an address of this host, or "?". */
static void interface_of(const struct vmft_channel_address *own, char ret[static IF_NAMESIZE])
{
	struct ifaddrs *all, *one;

	(void)snprintf(ret, IF_NAMESIZE, "?");
	if (getifaddrs(&all) < 0)
		return;
	for (one = all; one; one = one->ifa_next)
		if (one->ifa_addr &&
		    vmft_same_host(one->ifa_addr, (const struct sockaddr *)&own->addr))
			(void)snprintf(ret, IF_NAMESIZE, "%s", one->ifa_name);
	freeifaddrs(all);
}

/* If small frames pass and large ones do not, nothing else tells a person of it. */
void vmft_reach_look(struct vmft_reach *reach, const struct vmft_channel *channel)
{
	const struct vmft_channel_address *to = &reach->config->host[channel->to].channel;
	unsigned *lost = &reach->lost_mtu[channel->to];
	char device[IF_NAMESIZE];
	unsigned mtu;

	if (!channel->conn)
		return;
	switch (channel->transport->large(channel->conn, &mtu)) {
	case VMFT_LARGE_LOST:
		if (*lost == mtu)
			return;
		*lost = mtu;
		interface_of(&reach->config->host[reach->host].channel, device);
		vmft_journal_say(reach->journal,
				 "channel to %s: small frames pass, large ones do not: something "
				 "on the way carries less than the MTU of %s, %u: give all of the "
				 "path the same MTU",
				 to->text, device, mtu);
		return;
	case VMFT_LARGE_PASSES:
		if (*lost > 0)
			vmft_journal_say(reach->journal, "channel to %s: large frames pass again",
					 to->text);
		*lost = 0;
		return;
	default:
		return;
	}
}

void vmft_reach_describe(const struct vmft_reach *reach, char *text, size_t size)
{
	size_t n = 0;

	text[0] = '\0';
	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT && n < size; host++) {
		int more = 0;

		if (reach->error[host] < 0)
			more = snprintf(text + n, size - n, "%s%s: %s", n ? "; " : "",
					reach->config->host[host].channel.text,
					strerror(-reach->error[host]));
		else if (reach->lost_mtu[host] > 0)
			more = snprintf(text + n, size - n,
					"%s%s: small frames pass, large ones (MTU %u) do not",
					n ? "; " : "", reach->config->host[host].channel.text,
					reach->lost_mtu[host]);
		n += more > 0 ? (size_t)more : 0;
	}
}
