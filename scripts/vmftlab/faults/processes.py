# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults to processes: killed, stopped, told to end, started again with another tap."""

import os
import signal

from .. import netfaults
from ..net import run
from ..process import process_state
from .fault import Fault, FaultError


class KillQemu(Fault):
    kind = "kill-qemu"
    text = "kill -9 of QEMU"
    weight = 4

    def inject(self):
        self.pid = self.side().qemu_pid()
        self.lab.faults.kill_qemu(self.host)

    def verify(self):
        ended = self.side().process.poll()
        if ended != -signal.SIGKILL:
            raise FaultError(f"QEMU {self.pid} ended with {ended}" if ended is not None else
                             f"QEMU {self.pid} is still there")
        return f"QEMU {self.pid} ended by signal {-ended}"


class KillMonitor(Fault):
    kind = "kill-monitor"
    text = "kill -9 of vmft-monitor"
    kills_monitor = True
    weight = 4

    def inject(self):
        self.pids = self.side().monitor_pids()
        self.lab.faults.kill_monitor(self.host)

    def verify(self):
        if not self.pids:
            raise FaultError("there was no monitor")
        # A process that dies leaves its namespace before it is gone.
        self.lab.wait(lambda: all(process_state(pid) in ("", "Z") for pid in self.pids),
                      f"monitor {self.pids} to be gone", 10)
        return f"monitor {self.pids[0]} is gone"


class Stop(Fault):
    """SIGSTOP; SIGCONT when the other side has taken over, or gone on without this side."""

    weight = 3
    stopped = ()

    def pids(self):
        raise NotImplementedError

    def inject(self):
        self.stopped = self.pids()
        for pid in self.stopped:
            os.kill(pid, signal.SIGSTOP)
        self.lab.wait(lambda: all(process_state(pid) == "T" for pid in self.stopped),
                      "processes to stop", 10)

    def verify(self):
        return f"/proc says T of {' '.join(map(str, self.stopped))}"

    def verify_late(self):
        still = [pid for pid in self.stopped if process_state(pid) == "T"]
        if still != self.stopped:
            raise FaultError(f"only {still} of {self.stopped} were still stopped")
        return "and still said so at the end"

    def heal(self):
        for pid in self.stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


class StopHost(Stop):
    kind = "stop-host"
    text = "SIGSTOP of QEMU and monitor, later SIGCONT"

    def pids(self):
        return [self.side().qemu_pid(), *self.side().monitor_pids()]


class StopQemu(Stop):
    kind = "stop-qemu"
    text = "SIGSTOP of QEMU alone, later SIGCONT"

    def pids(self):
        return [self.side().qemu_pid()]


class StopMonitor(Stop):
    kind = "stop-monitor"
    text = "SIGSTOP of vmft-monitor alone, later SIGCONT"

    def pids(self):
        return self.side().monitor_pids()


class Terminate(Fault):
    """What a service manager does to end QEMU. With on-stop = hand-over a primary hands over."""

    kind = "sigterm"
    text = "SIGTERM to QEMU: a primary hands over, a backup leaves"
    weight = 2

    def inject(self):
        self.pid = self.side().qemu_pid()
        os.kill(self.pid, signal.SIGTERM)

    def verify(self):
        self.lab.wait(lambda: not self.side().qemu_runs(), f"QEMU {self.pid} to end", 20)
        code = self.side().process.poll()
        if code is None or code < 0:
            raise FaultError(f"QEMU {self.pid} ended with {code}: not in order")
        return f"QEMU {self.pid} has ended by itself, with {code}"


class TapOther(KillQemu):
    kind = "tap-other"
    text = "the backup comes back with a tap of another kind: refused by name, then with the right one"
    targets = ("backup",)
    weight = 1

    def verify(self):
        said = super().verify()
        self.lab.wait_state(self.live, "alone", timeout=60)
        side = self.side()
        side.may_end = True
        self.lab.end_side(self.host)
        args = [word.replace(",script=no", ",vnet_hdr=off,script=no")
                for word in self.lab.qemu_args(self.host)]
        self.lab.start_side(self.host, args=args, role="backup")
        self.lab.wait_said(self.host, r"vnet_hdr is o(n|ff) at the primary, o(n|ff) at the backup",
                           60)
        if self.lab.state(self.live) != "alone":
            raise FaultError(f"{self.live} is {self.lab.state(self.live)}")
        return f"{said}; it came back without vnet_hdr, and was refused for it"

    def heal(self):
        self.lab.end_side(self.host)


class PowerOff(Fault):
    kind = "power-off"
    text = "all of a host gone at once: its links are down before its processes are killed"
    weight = 4
    kills_monitor = True

    def inject(self):
        side = self.side()
        # The links go down first: no FIN or RST of a dying process may get out.
        netfaults.links_down(side.ns, "chan0", "up0", *extra_links(side.ns))
        self.pids = [int(pid) for pid in run("ip", "netns", "pids", side.ns).stdout.split()]
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        self.lab.wait(lambda: not side.qemu_runs() and not side.monitor_pids(),
                      f"host {self.host} to be gone", 10)

    def verify(self):
        side = self.side()
        left = run("ip", "netns", "pids", side.ns).stdout.split()
        if left or netfaults.is_up(side.ns, "chan0") or netfaults.is_up(side.ns, "up0"):
            raise FaultError(f"processes {left} are left, or a link is up")
        return f"links down, {len(self.pids)} processes killed, none left"

    def heal(self):
        netfaults.links_up(self.side().ns, "chan0", "up0", *extra_links(self.side().ns))


def extra_links(ns):
    """The links of the heartbeat path, if there is one."""
    found = run("ip", "-n", ns, "-br", "link").stdout.split()
    return [word.split("@")[0] for word in found if word.startswith(("beat", "heart"))]
