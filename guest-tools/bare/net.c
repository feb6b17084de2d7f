/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ARP, ping and one UDP port: each answer goes back where the request came from. */
#include "bare.h"
#include "virtio.h"

#define NET_F_MAC   (1u << 5)
#define NET_RX	    0
#define NET_TX	    1
#define NET_HEADER  10 /* struct virtio_net_hdr, all zero: nothing is offloaded */
#define FRAME_BYTES 1514
#define BUFFER	    2048

#define ETH_BYTES  14
#define ETH_ARP	   0x0806
#define ETH_IP	   0x0800
#define MAC_BYTES  6
#define ARP_BYTES  28
#define ARP_HEAD   0x0001080006040000ULL /* IPv4 over Ethernet; the operation comes last */
#define ARP_ASK	   1
#define ARP_ANSWER 2
#define IP_BYTES   20
#define IP_ICMP	   1
#define IP_UDP	   17
#define ICMP_BYTES 8
#define ICMP_ASK   8
#define UDP_BYTES  8

static struct virtqueue rx, tx;
static struct virtqueue_memory rx_memory, tx_memory;
static uint8_t rx_buffer[VIRTQUEUE_SIZE][BUFFER], tx_buffer[VIRTQUEUE_SIZE][BUFFER];
static uint8_t mac[MAC_BYTES];
static uint16_t tx_next;
static uint16_t ip_id;
static bool there;

bool net_start(void)
{
	uint64_t device = virtio_find(VIRTIO_NET);

	if (!device)
		return false;
	virtio_begin(device, NET_F_MAC);
	for (int i = 0; i < MAC_BYTES; i++)
		mac[i] = ((volatile uint8_t *)(device + VIRTIO_CONFIG))[i];
	if (!virtqueue_start(&rx, device, NET_RX, &rx_memory) ||
	    !virtqueue_start(&tx, device, NET_TX, &tx_memory))
		return false;
	for (uint16_t i = 0; i < VIRTQUEUE_SIZE; i++) {
		rx_memory.desc[i] = (struct virtio_desc){
		    .address = (uintptr_t)rx_buffer[i], .bytes = BUFFER, .flags = VIRTIO_TO_GUEST};
		tx_memory.desc[i].address = (uintptr_t)tx_buffer[i];
		virtqueue_offer(&rx, i);
	}
	virtio_go(device);
	virtqueue_kick(&rx);
	there = true;
	return true;
}

static void tx_reap(void)
{
	struct virtio_used used;

	while (virtqueue_take(&tx, &used))
		;
}

static void send(size_t bytes)
{
	uint16_t desc = tx_next++ % VIRTQUEUE_SIZE;

	tx_memory.desc[desc].bytes = (uint32_t)(NET_HEADER + bytes);
	virtqueue_offer(&tx, desc);
	virtqueue_kick(&tx);
}

void net_drain(void)
{
	while (there && virtqueue_open(&tx))
		tx_reap();
}

/* ---- checksums ---- */

static uint32_t sum(const uint8_t *from, size_t bytes, uint32_t total)
{
	for (; bytes > 1; from += 2, bytes -= 2)
		total += get16(from);
	return bytes ? total + (uint32_t)(*from << 8) : total;
}

/* 0 over what includes a right checksum. */
static uint16_t fold(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~total;
}

static uint16_t udp_sum(const uint8_t *ip, size_t bytes)
{
	return fold(sum(ip + 12, 8 + bytes, (uint32_t)(IP_UDP + bytes)));
}

/* ---- what is answered; requests and answers begin at the Ethernet header ---- */

static size_t arp(const uint8_t *in, size_t bytes, uint8_t *out)
{
	const uint8_t *ask = in + ETH_BYTES;
	uint8_t *answer = out + ETH_BYTES;

	if (bytes < ETH_BYTES + ARP_BYTES || get64(ask) != (ARP_HEAD | ARP_ASK) ||
	    get32(ask + 24) != get32(options.ip))
		return 0;
	put64(answer, ARP_HEAD | ARP_ANSWER);
	memcpy(answer + 8, mac, MAC_BYTES);
	memcpy(answer + 14, options.ip, 4);
	memcpy(answer + 18, ask + 8, MAC_BYTES + 4);
	return ARP_BYTES;
}

static size_t icmp(const uint8_t *in, size_t bytes, uint8_t *out)
{
	if (bytes < ICMP_BYTES || in[0] != ICMP_ASK || fold(sum(in, bytes, 0)))
		return 0;
	memcpy(out, in, bytes);
	out[0] = 0;
	put16(out + 2, 0);
	put16(out + 2, fold(sum(out, bytes, 0)));
	return bytes;
}

/* in and out are at the IP header. */
static size_t udp(const uint8_t *in, size_t bytes, uint8_t *out)
{
	const uint8_t *ask = in + IP_BYTES;
	uint8_t *answer = out + IP_BYTES;
	size_t length;
	uint16_t check;

	if (bytes < UDP_BYTES || get16(ask + 4) != bytes || get16(ask + 2) != KV_PORT ||
	    (get16(ask + 6) && udp_sum(in, bytes)))
		return 0;
	length = kv_request(ask + UDP_BYTES, bytes - UDP_BYTES, answer + UDP_BYTES);
	if (!length)
		return 0;
	length += UDP_BYTES;
	put16(answer, KV_PORT);
	put16(answer + 2, get16(ask));
	put16(answer + 4, (uint16_t)length);
	put16(answer + 6, 0);
	memcpy(out + 12, options.ip, 4);
	memcpy(out + 16, in + 12, 4);
	check = udp_sum(out, length);
	put16(answer + 6, check ? check : 0xffff);
	return length;
}

static void ip_header(const uint8_t *in, uint8_t *out, size_t bytes)
{
	put16(out, 0x4500);
	put16(out + 2, (uint16_t)bytes);
	put16(out + 4, ++ip_id);
	put16(out + 6, 0);
	out[8] = 64;
	out[9] = in[9];
	put16(out + 10, 0);
	memcpy(out + 12, options.ip, 4);
	memcpy(out + 16, in + 12, 4);
	put16(out + 10, fold(sum(out, IP_BYTES, 0)));
}

static size_t ip(const uint8_t *frame, size_t bytes, uint8_t *answer)
{
	const uint8_t *in = frame + ETH_BYTES;
	uint8_t *out = answer + ETH_BYTES;
	size_t length;

	/* No options, no fragments. */
	if (bytes < ETH_BYTES + IP_BYTES || in[0] != 0x45 || get16(in + 6) & 0x3fff ||
	    get32(in + 16) != get32(options.ip) || fold(sum(in, IP_BYTES, 0)))
		return 0;
	length = get16(in + 2);
	if (length < IP_BYTES || length > bytes - ETH_BYTES)
		return 0;
	length -= IP_BYTES;
	if (in[9] == IP_ICMP)
		length = icmp(in + IP_BYTES, length, out + IP_BYTES);
	else if (in[9] == IP_UDP)
		length = udp(in, length, out);
	else
		return 0;
	if (!length)
		return 0;
	ip_header(in, out, IP_BYTES + length);
	return IP_BYTES + length;
}

static void receive(const uint8_t *frame, size_t bytes)
{
	uint8_t *answer = tx_buffer[tx_next % VIRTQUEUE_SIZE] + NET_HEADER;
	size_t length = 0;

	if (bytes < ETH_BYTES || bytes > FRAME_BYTES)
		return;
	while (virtqueue_open(&tx) == VIRTQUEUE_SIZE)
		tx_reap();
	if (get16(frame + 12) == ETH_ARP)
		length = arp(frame, bytes, answer);
	else if (get16(frame + 12) == ETH_IP)
		length = ip(frame, bytes, answer);
	if (!length)
		return;
	memcpy(answer, frame + MAC_BYTES, MAC_BYTES);
	memcpy(answer + MAC_BYTES, mac, MAC_BYTES);
	memcpy(answer + 12, frame + 12, 2);
	send(ETH_BYTES + length);
	kv_after_answer();
}

void net_poll(void)
{
	struct virtio_used used;

	if (!there)
		return;
	tx_reap();
	/* Bounded, or a flood of packets would leave no time for ticks. */
	for (int i = 0; i < VIRTQUEUE_SIZE && virtqueue_take(&rx, &used); i++) {
		if (used.bytes > NET_HEADER)
			receive(rx_buffer[used.desc] + NET_HEADER, used.bytes - NET_HEADER);
		virtqueue_offer(&rx, (uint16_t)used.desc);
		virtqueue_kick(&rx);
	}
}
