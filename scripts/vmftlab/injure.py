# SPDX-License-Identifier: GPL-2.0-or-later
"""Damage to a backup after all checks: to its guest's memory, and to the log that it replays."""

import contextlib
import mmap
import os
import signal
import struct
import time

PAGE = 4096
IFACE_HEADER = 128 * 1024  # VMFT_IFACE_HEADER in monitor/interface.h: the ring begins here
LOG_HEAD, DIGEST_MS = 64, 368

INSTRUCTION, BLOCK, NET, CLOCK_VIRTUAL_RT = 0, 8, 9, 29
CHECKPOINT_CLOCK_VIRTUAL = 34
CHECKPOINT_RESET = 38  # nobody in a guest that does not reset waits for it
OUTPUT, DIGEST, CLOCK = 0xe0, 0xe1, 0xe2

# Bytes of an event but for those that are counted in it; logging-channel/event.c has all.
FIXED = {INSTRUCTION: 5, 3: 9, 4: 9, BLOCK: 9, 22: 9, 24: 5, 25: 9, 28: 9, CLOCK_VIRTUAL_RT: 9,
         OUTPUT: 13, CLOCK: 18}
COUNTED = {7: 6, NET: 10, 23: 5, 27: 9}  # the last four bytes of so many say how many follow


@contextlib.contextmanager
def _memory(pid, name):
    """A memfd of a process, by the name it was made with."""
    directory = f"/proc/{pid}/fd"
    path, *_ = (f"{directory}/{fd}" for fd in os.listdir(directory)
                if os.readlink(f"{directory}/{fd}").startswith(f"/memfd:{name}"))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        yield memory


def flip_page(side, offset):
    """Flips a bit in a page of the guest's memory."""
    with _memory(side.qemu_pid(), "vmft-ram") as ram:
        ram[offset + 100] ^= 0x10


def flip_content(side, content):
    """Flips a bit in each page of the guest's memory that holds just this. How many there were."""
    count = 0
    with _memory(side.qemu_pid(), "vmft-ram") as ram:
        at = ram.find(content)
        while at >= 0:
            if at % PAGE == 0:
                ram[at + 100] ^= 0x10
                count += 1
            at = ram.find(content, at + 1)
    return count


class Log:
    """The log that a backup holds, from an event's beginning on; its QEMU does not run."""

    def __init__(self, ring, position):
        self.ring = ring
        self.size = len(ring) - IFACE_HEADER
        if self.size & (self.size - 1):
            raise RuntimeError("IFACE_HEADER is not that of monitor/interface.h: the ring's size "
                               f"would be {self.size}, which is no power of two")
        self.begin = position

    def byte(self, position):
        return self.ring[IFACE_HEADER + position % self.size]

    def bytes(self, position, count):
        return bytes(self.byte(position + i) for i in range(count))

    def flip(self, position, bits):
        self.ring[IFACE_HEADER + position % self.size] ^= bits

    def head(self):
        return struct.unpack_from("<Q", self.ring, LOG_HEAD)[0]

    def length(self, position):
        kind = self.byte(position)
        if kind in COUNTED:
            fixed = COUNTED[kind]
            return fixed + int.from_bytes(self.bytes(position + fixed - 4, 4))
        if kind == DIGEST:
            return 23 + 4 * int.from_bytes(self.bytes(position + 1, 2))
        return FIXED.get(kind, 1)

    def events(self):
        """Position and kind of each whole event."""
        at, head = self.begin, self.head()
        while at < head:
            yield at, self.byte(at)
            at += self.length(at)


@contextlib.contextmanager
def held_log(lab, primary, backup):
    """Stops the guest between two events, the backup's QEMU when it has come there, and lets the
    guest go on: what the backup is sent meanwhile can be damaged, and is replayed afterwards.

    A backup that is stopped falls silent: silence-ms must be long."""
    pid = lab.side[backup].qemu_pid()
    lab.command(primary, "freeze")
    frozen = lab.wait(lambda: lab.status(primary)["frozen_at"], "the guest to freeze", 30)
    lab.wait(lambda: lab.status(backup)["log_replayed"] >= frozen, "the backup to come there")
    # The effect of the last event. After it QEMU asks for more log.
    time.sleep(0.2)
    os.kill(pid, signal.SIGSTOP)
    try:
        lab.command(primary, "thaw")
        with _memory(pid, "vmft-iface") as ring:
            yield Log(ring, frozen)
    finally:
        os.kill(pid, signal.SIGCONT)


def sample_each(side, milliseconds):
    """As the pair file's digest-ms would, for a guest that runs already (no damage, but done the
    same way)."""
    with _memory(side.qemu_pid(), "vmft-iface") as iface:
        struct.pack_into("<I", iface, DIGEST_MS, milliseconds)
