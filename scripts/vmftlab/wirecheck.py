# SPDX-License-Identifier: GPL-2.0-or-later
"""What the wire says of the two promises: never two live, and no output before its ack.

Frames are pcap.Frame, captured as they come in at the hosts' switch ports: their time is
CLOCK_REALTIME of the machine that carries both hosts.
"""

import bisect
import collections
import ctypes
import dataclasses
import struct

from . import bare_client
from .pcap import TCP, UDP

LARGEST = 1514  # of Ethernet without segmentation offload
# struct virtio_net_hdr_mrg_rxbuf: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset and
# num_buffers, which a sender leaves 0. A tap takes it before each frame.
VIRTIO_HEAD = struct.Struct("<BBHHHHH")
NEEDS_CSUM, GSO_TCPV4 = 1, 1
CSUM_AT = {TCP: 16, UDP: 6}  # of the checksum in its header
SEGMENTS = (1448, 1460)  # of TCP on Ethernet, with timestamps or without


# -- two live sides


def double_live(frames_a, frames_b, intervals):
    """[(host, frame)], oldest first, of the frames a host had no right to send.

    intervals: (host, from_ns, to_ns) in which host ("A" or "B") was entitled to emit; to_ns is
    None if it still is. Both ends belong to it.
    """
    allowed = {"A": [], "B": []}
    for host, begin, end in intervals:
        allowed[host].append((begin, end))
    found = [(host, frame) for host, frames in (("A", frames_a), ("B", frames_b))
             for frame in frames if not _within(frame.when, allowed[host])]
    return sorted(found, key=lambda pair: pair[1].when)


def _within(when, intervals):
    return any(begin <= when and (end is None or when <= end) for begin, end in intervals)


def handovers(frames_a, frames_b):
    """[(when, host)]: from when on frames came from host, as far as the frames alone say. More
    than one for the start and one for each failover means that two were live."""
    merged = sorted([(frame.when, "A") for frame in frames_a]
                    + [(frame.when, "B") for frame in frames_b])
    found = []
    for when, host in merged:
        if not found or found[-1][1] != host:
            found.append((when, host))
    return found


# -- lockstep: each frame was in the log that the backup held


@dataclasses.dataclass
class Outputs:
    """What output_before_ack() found. Frames in all of them, oldest first."""

    matched: int = 0
    early: list = dataclasses.field(default_factory=list)  # (frame, when the backup held it)
    unlogged: list = dataclasses.field(default_factory=list)  # the backup never held it
    # Perhaps parts of a longer one, cut up by the host's segmentation offload: not checked.
    unmatched: list = dataclasses.field(default_factory=list)

    @property
    def violations(self):
        return len(self.early) + len(self.unlogged)


class Digests:
    """XXH3_64bits of libxxhash, with which the monitors check frames, too."""

    def __init__(self):
        library = ctypes.CDLL("libxxhash.so.0")
        self._of = library.XXH3_64bits
        self._of.restype = ctypes.c_uint64
        self._of.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
        self._seeded = library.XXH3_64bits_withSeed
        self._seeded.restype = ctypes.c_uint64
        self._seeded.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64)

    def of(self, data):
        return self._of(bytes(data), len(data))

    def sealed(self, frame):
        """A frame of the channel with its checksum made anew: logging-channel/frame.h."""
        sum64 = self._seeded(bytes(frame[16:]), len(frame) - 16, int.from_bytes(frame[:8], "big"))
        return frame[:8] + sum64.to_bytes(8, "big") + frame[16:]


def output_before_ack(frames, outputs):
    """Whether the backup held what led to each of the frames before it was on the wire.

    frames: those of a protected primary, whole. outputs: (digest64, length, held_ns) in the
    order of the log, of at least the same time; the digest is over the frame as the guest gave
    it to its card, virtio's header included where there is one (net/dump.c of QEMU 7.2). Of frames
    that are alike the first was the first.
    """
    digests = Digests()
    held = collections.defaultdict(collections.deque)
    lengths = collections.Counter()
    for digest, length, when in outputs:
        held[digest, length].append(when)
        lengths[length] += 1
    found = Outputs()
    rest = []
    for frame in sorted(frames, key=lambda frame: frame.when):
        if len(frame.data) < frame.length:
            raise ValueError(f"{len(frame.data)} bytes captured of a frame of {frame.length}: "
                             "capture with a greater snap length")
        queue = next((queue for head in _heads(frame)
                      if (queue := held.get((digests.of(head + frame.data),
                                             len(head) + frame.length)))), None)
        if not queue:
            rest.append(frame)
            continue
        found.matched += 1
        when = queue.popleft()
        if when > frame.when:
            found.early.append((frame, when))
    _sort_out(rest, held, lengths, found)
    return found


def _heads(frame):
    """What the guest may have put before it: it is not on the wire, but what Linux writes there
    follows from the frame (virtio_net_hdr_from_skb())."""
    yield bytes(VIRTIO_HEAD.size)
    protocol = frame.ip_protocol()
    if protocol in CSUM_AT:
        start, at = frame.transport(), CSUM_AT[protocol]
        yield VIRTIO_HEAD.pack(NEEDS_CSUM, 0, 0, 0, start, at, 0)
        if protocol == TCP and frame.length > LARGEST:
            head = start + (frame.data[start + 12] >> 4) * 4
            for segment in SEGMENTS:
                yield VIRTIO_HEAD.pack(NEEDS_CSUM, GSO_TCPV4, head, segment, start, at, 0)
    yield b""


def _sort_out(rest, held, lengths, found):
    """A frame that is in no log was changed on the way only if there is one left that it can be
    a part of. No other frame of the guest has its length then, or it would be that one."""
    large = max((length for (_, length), queue in held.items()
                 if queue and length > LARGEST + VIRTIO_HEAD.size), default=0)
    for frame in rest:
        if large > frame.length and not (lengths[frame.length] or
                                         lengths[frame.length + VIRTIO_HEAD.size]):
            found.unmatched.append(frame)
        else:
            found.unlogged.append(frame)


# -- checkpoint: an epoch was held after what is answered had come in


def epoch_before_answer(held, requests, answers):
    """[(request's time, answer's time, match)] of the answers that came too early.

    held: times at which the backup had an epoch whole. requests, answers: (time, match); what
    has the same match belongs together. Of a request that was repeated the first counts: the
    guest cannot have had it before. Answers to what was not seen are not checked.
    """
    held = sorted(held)
    asked = {}
    for when, match in sorted(requests, key=lambda pair: pair[0]):
        asked.setdefault(match, when)
    found = []
    for when, match in sorted(answers, key=lambda pair: pair[0]):
        request = asked.get(match)
        if request is None:
            continue
        # An epoch that was held before cannot have known of it.
        first = bisect.bisect_right(held, request)
        if first == len(held) or held[first] > when:
            found.append((request, when, match))
    return found


def requests_in(frames):
    """(time, match) of what a client sends: pings, datagrams of the bare guest, data on TCP."""
    return [(frame.when, match) for frame in frames if (match := _request(frame))]


def answers_in(frames):
    """The same of what the guest answers. On TCP that is each frame that acknowledges the data:
    it says that the guest has it, whatever else is in the frame."""
    return [(frame.when, match) for frame in frames if (match := _answer(frame))]


def _request(frame):
    if ping := frame.ping_request():
        return ("ping", *ping)
    if ports := frame.udp_ports():
        return _datagram(frame, ports[0]) if ports[1] == bare_client.PORT else None
    if (ports := frame.tcp_ports()) and (end := frame.tcp_end()) is not None:
        return ("tcp", *ports, end)
    return None


def _answer(frame):
    if ping := frame.ping_reply():
        return ("ping", *ping)
    if ports := frame.udp_ports():
        return _datagram(frame, ports[1]) if ports[0] == bare_client.PORT else None
    if (ports := frame.tcp_ports()) and (ack := frame.tcp_ack()) is not None:
        return ("tcp", *reversed(ports), ack)
    return None


def _datagram(frame, client):
    """Requests are told apart by their number (bare_client.REQUEST)."""
    payload = frame.udp_payload()
    if len(payload) < 12 or struct.unpack_from(">I", payload)[0] != bare_client.MAGIC:
        return None
    return ("udp", client, struct.unpack_from(">I", payload, 8)[0])
