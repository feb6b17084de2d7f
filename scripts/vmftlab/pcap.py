# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures on the switch's ports: what really left a host, and when."""

import re
import signal
import struct
import subprocess
import time

from .net import GUEST_MAC

MAGIC_NS = 0xA1B23C4D
SNAP = 128  # headers
WHOLE = 262144  # what tcpdump keeps at most; a frame of segmentation offload is 64 KiB
# Nearly that. With its head it fits into 64 KiB of the buffer, and 512 of them into 32 MiB.
NEARLY_WHOLE, NEARLY_WHOLE_KIB = 65400, 32768
SETTLE_S = 0.3  # tcpdump has its own buffers
RARP = 0x8035
IPV4 = 0x0800
TCP = 6
UDP = 17
ICMP = 1


class Frame:
    """One captured frame. `when` is CLOCK_REALTIME in nanoseconds, as time.time_ns()."""

    def __init__(self, when, data, length):
        self.when = when
        self.data = data
        self.length = length

    @property
    def ethertype(self):
        return struct.unpack_from(">H", self.data, 12)[0]

    def ip_protocol(self):
        if self.ethertype != IPV4 or len(self.data) < 34:
            return None
        return self.data[23]

    def ip_id(self):
        return struct.unpack_from(">H", self.data, 18)[0]

    def transport(self):
        """Where the header after the IP header begins."""
        return 14 + (self.data[14] & 15) * 4

    def tcp_ports(self):
        """(source, destination), or None."""
        if self.ip_protocol() != TCP:
            return None
        return struct.unpack_from(">HH", self.data, self.transport())

    def udp_ports(self):
        """(source, destination), or None."""
        if self.ip_protocol() != UDP or len(self.data) < self.transport() + 8:
            return None
        return struct.unpack_from(">HH", self.data, self.transport())

    def udp_payload(self):
        return self.data[self.transport() + 8:]

    def tcp_end(self):
        """The sequence number after this segment's last byte, or None if it has no data."""
        at = self.transport()
        sequence, = struct.unpack_from(">I", self.data, at + 4)
        total, = struct.unpack_from(">H", self.data, 16)
        count = 14 + total - at - (self.data[at + 12] >> 4) * 4
        return (sequence + count) & 0xFFFFFFFF if count > 0 else None

    def tcp_ack(self):
        """The sequence number it acknowledges, or None."""
        at = self.transport()
        return struct.unpack_from(">I", self.data, at + 8)[0] if self.data[at + 13] & 16 else None

    def tcp_syn(self):
        return bool(self.data[self.transport() + 13] & 2)

    def ping_reply(self):
        """(identifier, sequence number) of an ICMP echo reply, or None."""
        return self._echo(0)

    def ping_request(self):
        """The same of a request."""
        return self._echo(8)

    def _echo(self, kind):
        if self.ip_protocol() != ICMP or self.data[self.transport()] != kind:
            return None
        return struct.unpack_from(">HH", self.data, self.transport() + 4)


def parse(data):
    """Frames of a pcap file; a record not yet written whole ends it."""
    if len(data) < 24:
        return []
    if struct.unpack_from("<I", data)[0] != MAGIC_NS:
        raise ValueError("not a nanosecond pcap file of this machine's byte order")
    frames = []
    at = 24
    while at + 16 <= len(data):
        seconds, ns, kept, length = struct.unpack_from("<IIII", data, at)
        if at + 16 + kept > len(data):
            break
        frames.append(Frame(seconds * 10**9 + ns, data[at + 16:at + 16 + kept], length))
        at += 16 + kept
    return frames


class Capture:
    """tcpdump of what comes in at one switch port with the guest's MAC as its source.

    Only inwards: the switch floods the survivor's broadcasts out of every port, and those
    are not the fenced side's doing. `snap`: bytes kept of each frame. `which`: other frames, in
    tcpdump's words; what clients send comes in at portC. `buffer_kib` is room for frames that
    tcpdump did not come to yet; there each takes as much as `snap`.
    """

    def __init__(self, ns, port, path, snap=SNAP, which=f"ether src {GUEST_MAC}",
                 buffer_kib=16384):
        self.path = path
        self.errors = f"{path}.log"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", ns, "tcpdump", "-i", port, "-Q", "in", "-w", path,
                 "--time-stamp-precision=nano", "--immediate-mode", "-U", "-n", "-B", str(buffer_kib),
                 "-s", str(snap), "-Z", "root", which],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                start_new_session=True)

    def wait_listening(self):
        end = time.monotonic() + 10
        while "listening on" not in self._said():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"tcpdump does not start: {self._said().strip()}")
            time.sleep(0.02)

    def _said(self):
        with open(self.errors, encoding="utf-8", errors="replace") as file:
            return file.read()

    def frames(self, since=0):
        """All frames so far whose time is `since` (time.time_ns()) or later."""
        time.sleep(SETTLE_S)
        return [frame for frame in self.read() if frame.when >= since]

    def read(self):
        """All that tcpdump has written by now: for who has waited SETTLE_S."""
        if self.process.poll() is not None and not self._dropped_known():
            raise RuntimeError(f"tcpdump is gone: {self._said().strip()}")
        with open(self.path, "rb") as file:
            return parse(file.read())

    def _dropped_known(self):
        return "dropped by kernel" in self._said()

    def stop(self):
        """Ends the capture; returns how many frames it missed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(10)
        missed = re.search(r"(\d+) packets? dropped by kernel", self._said())
        return int(missed.group(1)) if missed else -1
