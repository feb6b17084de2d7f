# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures on the switch's ports: what really left a host, and when."""

import re
import signal
import struct
import subprocess
import time

from .net import GUEST_MAC

MAGIC_NS = 0xA1B23C4D
SNAP = 128
RARP = 0x8035
IPV4 = 0x0800
TCP = 6
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

    def _transport(self):
        return 14 + (self.data[14] & 15) * 4

    def tcp_ports(self):
        """(source, destination), or None."""
        if self.ip_protocol() != TCP:
            return None
        return struct.unpack_from(">HH", self.data, self._transport())

    def tcp_syn(self):
        return bool(self.data[self._transport() + 13] & 2)

    def ping_reply(self):
        """(identifier, sequence number) of an ICMP echo reply, or None."""
        if self.ip_protocol() != ICMP or self.data[self._transport()] != 0:
            return None
        return struct.unpack_from(">HH", self.data, self._transport() + 4)


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
    are not the fenced side's doing.
    """

    def __init__(self, ns, port, path):
        self.path = path
        self.errors = f"{path}.log"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", ns, "tcpdump", "-i", port, "-Q", "in", "-w", path,
                 "--time-stamp-precision=nano", "--immediate-mode", "-U", "-n", "-B", "16384",
                 "-s", str(SNAP), "-Z", "root", "ether", "src", GUEST_MAC],
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
        time.sleep(0.3)  # tcpdump has its own buffers
        if self.process.poll() is not None and not self._dropped_known():
            raise RuntimeError(f"tcpdump is gone: {self._said().strip()}")
        with open(self.path, "rb") as file:
            return [frame for frame in parse(file.read()) if frame.when >= since]

    def _dropped_known(self):
        return "dropped by kernel" in self._said()

    def stop(self):
        """Ends the capture; returns how many frames it missed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(10)
        missed = re.search(r"(\d+) packets? dropped by kernel", self._said())
        return int(missed.group(1)) if missed else -1
