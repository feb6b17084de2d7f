# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults to what a host has: disk space, memory, processor time, a console's reader, a clock."""

import os
import subprocess
import sys
import threading
import time

from .. import bare_client, cgroup
from ..load import GuestShell
from ..net import GUEST_IP, udp_socket
from ..process import process_state
from .fault import NOTHING, WENT_ON, Fault, FaultError


class ConsoleStalled(Fault):
    """A serial port ends in a pipe that nobody reads. The guest writes more than vmft keeps."""

    kind = "console-stalled"
    text = "the guest writes to a serial console whose readers stand still on both hosts"
    targets = ("net",)
    weight = 1
    hold_s = 0.5
    ends = "none"
    may = {"any": (NOTHING,)}
    needs_pipes = True
    KILOBYTES = 96

    @classmethod
    def why_not(cls, options):
        # Without options the question is about the tiny guest.
        return None if not options or options.image == "tiny" else "needs the tiny guest's shell"

    def inject(self):
        self.before = self.lab.status(self.live)["console_dropped"]
        shell = GuestShell(self.lab)
        shell.run(f"dd if=/dev/zero bs=1k count={self.KILOBYTES} 2>/dev/null | tr '\\0' x"
                  " >/dev/ttyS1")
        shell.close()

    def verify(self):
        dropped = self.lab.status(self.live)["console_dropped"] - self.before
        if dropped <= 0:
            raise FaultError("nothing was dropped: its reader took all of it")
        return f"the guest has written {self.KILOBYTES} KiB, of which {dropped} bytes were dropped"


class DiskFull(Fault):
    """The guest writes where the image of one host has no blocks yet, and no block is free there."""

    needs_disks = True
    serial = 0
    # How often the guest may write so in one lab: its disk has room for little more.
    MOST = 24
    KEY_FIRST, KEY_STEP = 4096, 8

    def prepare(self):
        cls = DiskFull
        cls.serial += 1
        if self.lab.guest.image == "tiny":
            self.shell = GuestShell(self.lab)
            self.shell.run("true")
        elif self.lab.guest.image == "bare":
            self.client = bare_client.Client(udp_socket(self.lab.net.client, GUEST_IP,
                                                        bare_client.PORT), 0.05)

    def inject(self):
        self.lab.faults.fill_store(self.host)
        if self.lab.guest.image == "tiny":
            # The guest writes to blocks that were never used. The answer may never come.
            self.shell.send(f"dd if=/dev/urandom of=/mnt/full.{DiskFull.serial} bs=64k count=16 "
                            "conv=fsync 2>/dev/null")
        elif self.lab.guest.image == "bare":
            self.writer = threading.Thread(target=self._write_bare, daemon=True)
            self.writer.start()

    def _write_bare(self):
        key = self.KEY_FIRST + self.KEY_STEP * DiskFull.serial
        until = time.monotonic() + 30
        try:
            self.client.ask(bare_client.SET | bare_client.DURABLE, key, 1,
                            lambda: self.healed or time.monotonic() > until)
        except bare_client.NoAnswer:
            pass

    def verify(self):
        free = os.statvfs(self.side().store).f_bavail
        if free:
            raise FaultError(f"{free} blocks are free where {self.host}'s image is")
        return f"statfs of {self.host}'s images says 0 blocks free"

    def heal(self):
        self.lab.faults.free_store(self.host)
        if self.lab.guest.image == "tiny":
            self.shell.close()
        elif self.lab.guest.image == "bare":
            self.writer.join(5)
            self.client.sock.close()


class DiskFullPrimary(DiskFull):
    kind = "disk-full-primary"
    text = "no space left where the primary's image is; it ends, and its backup takes over"
    targets = ("primary",)
    weight = 1


class DiskFullBackup(DiskFull):
    kind = "disk-full-backup"
    text = "no space left where the backup's image is; it is given up, and attached again later"
    targets = ("backup",)
    weight = 1


class MemoryPressure(Fault):
    kind = "memory-pressure"
    text = "a host's memory is used up until the kernel's OOM killer ends QEMU there"
    weight = 1
    kills_monitor = True
    hog = group = None
    # What QEMU and the monitor may still take, and the program that uses up the rest.
    LIMIT = 48 << 20
    HOG = ("kept = []\n"
           "while True: kept.append(b'x' * (1 << 18))\n")

    @classmethod
    def why_not(cls, _options):
        return cgroup.why_not("memory")

    def inject(self):
        side = self.side()
        group = self.group = cgroup.Group("memory", f"{self.lab.prefix}{self.host}")
        self.pids = [side.qemu_pid(), *side.monitor_pids()]
        group.add(self.pids)
        group.limit_memory(self.LIMIT)
        # Only memory that QEMU takes from now on counts, so it may not be the largest process.
        with open(f"/proc/{side.qemu_pid()}/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000\n")
        self.hog = subprocess.Popen(["sh", "-c", 'echo $$ >"$1" && exec "$2" -c "$3"', "sh",
                                     group.procs, sys.executable, self.HOG],
                                    stdin=subprocess.DEVNULL, start_new_session=True)
        self.lab.wait(lambda: group.oom_kills() > 0, "the OOM killer", 30)
        # After the hog has given back its memory, the kernel kills no other process.
        self._end_hog()

    def verify(self):
        self.lab.wait(lambda: not self.side().qemu_runs(), "QEMU to be gone", 10)
        gone = [pid for pid in self.pids if process_state(pid) in ("", "Z")]
        return (f"limit hit {self.group.limit_hits()} times, {self.group.oom_kills()} killed by "
                f"the OOM killer; gone: {' '.join(map(str, gone))}")

    def _end_hog(self):
        if self.hog:
            self.hog.kill()
            self.hog.wait()

    def heal(self):
        self._end_hog()
        if self.group:
            self.group.remove()


class SlowBackup(Fault):
    kind = "slow-backup"
    text = "the backup's processes get less processor than they need: its primary waits for it"
    targets = ("backup",)
    hold_s = 3
    # The primary may also give up a backup that cannot keep up.
    may = {"any": (NOTHING, WENT_ON)}
    # Replaying takes more processor time than applying epochs.
    PERCENT = {"lockstep": 20, "checkpoint": 2}
    MORE_S = 3
    group = None

    @classmethod
    def why_not(cls, _options):
        return cgroup.why_not("cpu")

    def prepare(self):
        self.percent = self.PERCENT[self.lab.status(self.live)["strategy"]]

    def inject(self):
        self.group = cgroup.Group("cpu", f"{self.lab.prefix}{self.host}")
        self.group.limit_cpu(self.percent)
        self.group.add([self.side().qemu_pid(), *self.side().monitor_pids()])

    def verify(self):
        return f"quota of {self.percent} % of a processor"

    def verify_late(self):
        # On a busy machine the backup gets less than its quota. Then a smaller quota is needed.
        while not self.group.throttled() and self.percent > 1:
            self.percent //= 2
            self.group.limit_cpu(self.percent)
            end = time.monotonic() + self.MORE_S
            while not self.group.throttled() and time.monotonic() < end:
                time.sleep(0.1)
        throttled = self.group.throttled()
        if not throttled:
            raise FaultError("the quota was never used up")
        return f"nr_throttled {throttled} with {self.percent} %"

    def heal(self):
        if self.group:
            self.group.remove()


class ClockStep(Fault):
    kind = "clock-step"
    text = "CLOCK_REALTIME of a host goes an hour forward, or back, then right again"
    needs_clocks = True
    hold_s = 2
    ends = "none"
    may = {"any": (NOTHING,)}
    SECONDS = {"primary": 3600, "backup": -3600}

    def inject(self):
        self.readings = self.side().clock_readings()
        self.lab.faults.step_clock(self.host, self.SECONDS[self.role])

    def verify(self):
        maps = _read_maps(self.side().qemu_pid())
        if "vmft-clockstep" not in maps:
            raise FaultError("QEMU does not have the stepped clock")
        return f"stepped by {self.SECONDS[self.role]} s"

    def verify_late(self):
        seen = self.side().clock_readings() - self.readings
        if not seen and self.role == "primary":
            raise FaultError("no process read the stepped clock")
        return f"read {seen} times meanwhile"

    def heal(self):
        self.lab.faults.step_clock(self.host, 0)


def _read_maps(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as file:
        return file.read()
