# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests scripts/bench epochs measures: a writer in each, protected by checkpoints or not."""

import contextlib
import os
import time
from typing import NamedTuple

from .bare import BareGuest
from .bare_client import GET
from .guest import READY
from .lab import Lab
from .load import GuestShell

DIRTY_PORT = 7779
KV_PORT = 7777
SILENCE_MS = 60000  # of guests that are stopped in turn: nobody is to take them for dead
SETTLE_S = 0.3
DRAIN_S = 0.2


class Kind(NamedTuple):
    """What kind of guest."""
    image: str
    accel: str
    smp: int

    def __str__(self):
        return f"{self.image}, {self.accel.upper()}, {self.smp} vCPU"

    def runs_here(self):
        return self.accel != "kvm" or os.access("/dev/kvm", os.R_OK | os.W_OK)


class Writer(NamedTuple):
    """How much of its memory a guest writes to, over and over, as fast as it can."""
    pages: int
    batch: int  # pages between two looks at the network

    def words(self, smp):
        """The bare guest's; each of its processors has its part."""
        each = self.pages // smp
        return f"np={each} apnp={each} dirty={min(self.batch, each)} delay=0 dma=0"

    def mib(self):
        return max(1, self.pages // 256)


WRITERS = {
    "light": Writer(64, 16),
    "medium": Writer(2600, 130),
    "heavy": Writer(16384, 1024),
}
QUIET = "np=64 apnp=64 dirty=16 delay=1000 dma=0"


def fixed(length_ms):
    """Epochs of one length."""
    return {f"epoch-{which}ms": str(length_ms) for which in ("", "min-", "max-")}


def checkpoint(**keys):
    """A pair's keys. start=None leaves a key out."""
    return {"strategy": "checkpoint", "silence-ms": str(SILENCE_MS),
            **{key.replace("_", "-"): value for key, value in keys.items()}}


class Guest:
    """One, in a lab of its own; a context manager. Without pair keys it is plain QEMU's.

    With wait=True what has an operating system is not more than booted until begin().
    """

    def __init__(self, kind, writer=None, memory=256, pair=None, cpus=None, wait=False):
        words = WRITERS[writer].words(kind.smp) if writer else QUIET
        self.kind = kind
        self.pair = pair
        self.alone = bool(pair) and pair.get("start") == "alone"
        self.lab = Lab(kind.image, captures=False, accel=kind.accel, smp=kind.smp, pair=pair,
                       append=words if kind.image == "bare" else "", cpus=cpus)
        self.lab.guest.memory = memory
        self.work = None
        self._writer = writer
        self._wait = wait
        # The epochs of an operating system that boots are not to be among the figures.
        self._protect_later = bool(pair) and not self.alone and kind.image != "bare"
        if self._protect_later:
            self.lab.pair_keys["start"] = "alone"
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.lab)
            self._start()
            self.work = BareWork(self.lab) if self.kind.image == "bare" else TinyWork(self.lab)
            stack.callback(self.work.close)
            if not self._wait:
                self.begin()
            self._stack = stack.pop_all()
        return self

    def begin(self):
        if self._protect_later:
            self.lab.start_backup("B")
            self.lab.wait_attached("A", "B")
            self._protect_later = False
        if self._writer:
            self.work.begin(self._writer)

    def __exit__(self, *_):
        self._stack.close()

    def _start(self):
        lab = self.lab
        if self.pair is None:
            lab.start_plain("A")
        elif self.alone or self._protect_later:
            lab.start_side("A")
        else:
            lab.start()
            lab.wait(lambda: lab.paired("A") and lab.paired("B"), "the pair to form")
        lab.wait(lambda: READY.encode() in lab.side["A"].console(), f"the guest ({self}) to boot")

    def __str__(self):
        return f"{self.kind}{'' if self.pair else ', unprotected'}"

    def sides(self):
        alone = self.pair is None or self.alone or self._protect_later
        return ("A",) if alone else ("A", "B")

    def hold(self):
        """Both hosts stand still: another guest is measured. The backup last, so that nothing is
        under way, and not for half a minute: one whose epochs make no progress for that long is
        given up."""
        for name in self.sides():
            self.lab.faults.stop_host(name)
            time.sleep(DRAIN_S)

    def go_on(self):
        for name in reversed(self.sides()):
            self.lab.faults.cont_host(name)
        time.sleep(SETTLE_S)

    def rate(self, seconds):
        """Pages written to per second. If the primary's host has a processor, time that programs
        which are none of ours had it is not counted."""
        pages, begin = self.work.count()
        before = self._processor()
        time.sleep(seconds)
        more, end = self.work.count()
        after = self._processor()
        counted = end - begin
        if before:
            wall, ours_or_idle = (late - early for early, late in zip(before, after))
            counted *= min(1, ours_or_idle / wall)
        return (more - pages) * 1e9 / counted

    def _processor(self):
        """(CLOCK_MONOTONIC, time the primary's host ran or nobody did) in ns."""
        if "A" not in self.lab.cpus:
            return None
        side = self.lab.side["A"]
        ran = sum(run_ns(pid) for pid in [side.qemu_pid(), *side.monitor_pids()])
        return time.monotonic_ns(), ran + idle_ns(int(self.lab.cpus["A"]))

    def status(self):
        return self.lab.status("A")


def run_ns(pid):
    """For how long the threads of a process have run."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):  # it has ended
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
    return total


def idle_ns(cpu):
    with open("/proc/stat", encoding="ascii") as file:
        words = next(line for line in file if line.startswith(f"cpu{cpu} ")).split()
    return (int(words[4]) + int(words[5])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


# The answer to how far a guest has come waits for the end of an epoch. It was taken when the
# question arrived, so the time is that of the question.

class BareWork:
    """The bare guest's, which writes from its start on."""

    def __init__(self, lab):
        self.guest = BareGuest(lab)
        self.batch = 1

    def begin(self, writer):
        self.batch = WRITERS[writer].batch

    def count(self):
        now = time.monotonic_ns()
        return sum(cpu["ticks"] for cpu in self.guest.stats()["cpus"]) * self.batch, now

    def request(self):
        self.guest.client.ask(GET, 0)

    def faults(self):
        bad = self.guest.stats()["bad"]
        return f"the guest found {bad} mismatches" if bad else ""

    def close(self):
        self.guest.close()


class TinyWork:
    """That of vmft-dirty in the tiny guest; a TCP request is one to vmft-kv."""

    def __init__(self, lab):
        shell = GuestShell(lab)
        shell.run(f"(vmft-dirty {WRITERS['heavy'].mib()} >/dev/null 2>&1 </dev/null &)")
        shell.close()
        self.lab = lab
        self.sock = lab.wait(self._connect, "vmft-dirty to use its memory")
        self.file = self.sock.makefile("r", encoding="ascii")
        self.kv = lab.client.connect(KV_PORT)

    def _connect(self):
        try:
            return self.lab.client.connect(DIRTY_PORT)
        except OSError:
            return None

    def _ask(self, line):
        self.sock.sendall(f"{line}\n".encode())
        answer = self.file.readline().split()
        if not answer or answer[0] == "ERR":
            raise RuntimeError(f"vmft-dirty: {line}: {' '.join(answer)}")
        return answer

    def begin(self, writer):
        self._ask(f"TOUCH {WRITERS[writer].mib()} max order")

    def count(self):
        now = time.monotonic_ns()
        return int(self._ask("COUNT")[1]), now

    def request(self):
        self.kv.sendall(b"GET none\n")
        if not self.kv.recv(4096):
            raise RuntimeError("vmft-kv has ended the connection")

    def faults(self):
        return ""

    def close(self):
        self.sock.close()
        self.kv.close()
