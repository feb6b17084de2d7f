# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done to the hosts of a lab: `Lab.faults`. Each fault is shown to have happened."""

import os
import signal
import struct
import time

from .net import run
from .process import process_state
from .watch import LabError


class LabFaults:
    def __init__(self, lab):
        self.lab = lab

    # -- processes

    def kill_qemu(self, name):
        """Returns CLOCK_MONOTONIC in ns just before the kill."""
        side = self.lab.side[name]
        side.may_end = True
        when = time.monotonic_ns()
        os.kill(side.qemu_pid(), signal.SIGKILL)
        if side.process.wait(10) != -signal.SIGKILL:
            raise LabError(f"{name}: QEMU was not killed: it had ended before")
        return when

    def kill_monitor(self, name):
        side = self.lab.side[name]
        side.may_end = True
        _signal(side.monitor_pids(), signal.SIGKILL, f"{name}'s monitor")
        self.lab.wait(lambda: not side.monitor_pids(), f"{name}'s monitor to be gone", 10)

    def kill_host(self, name):
        side = self.lab.side[name]
        side.may_end = True
        _signal([side.qemu_pid(), *side.monitor_pids()], signal.SIGKILL, f"host {name}")
        self.lab.wait(lambda: not side.monitor_pids() and not side.qemu_runs(),
                      f"host {name} to be gone", 10)

    def stop_host(self, name):
        side = self.lab.side[name]
        self._stop([side.qemu_pid(), *side.monitor_pids()])

    def stop_qemu(self, name):
        self._stop([self.lab.side[name].qemu_pid()])

    def cont_host(self, name):
        """Lets every stopped process of a host continue."""
        side = self.lab.side[name]
        _signal([*side.monitor_pids(), side.qemu_pid()], signal.SIGCONT, f"host {name}")

    def _stop(self, pids):
        _signal(pids, signal.SIGSTOP, "host")
        self.lab.wait(lambda: all(process_state(pid) == "T" for pid in pids),
                      "processes to stop", 10)

    # -- links and the arbiter

    def cut_channel(self):
        self.lab.net.cut_channel()
        if not self.lab.net.channel_is_cut():
            raise LabError("the channel link is still up")

    def cut_heartbeat(self):
        self.lab.net.cut_heartbeat()
        if not self.lab.net.heartbeat_is_cut():
            raise LabError("the link of the heartbeat path is still up")

    def hide_arbiter(self):
        os.rename(self.lab.arbiter, f"{self.lab.arbiter}.away")

    def return_arbiter(self):
        os.rename(f"{self.lab.arbiter}.away", self.lab.arbiter)

    # -- disks and clocks

    def fill_store(self, name):
        """Leaves no free byte where a host's image is. It makes the file system smaller, which
        needs no memory."""
        store = self.lab.side[name].store
        for _ in range(20):
            found = os.statvfs(store)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            # The kernel refuses this if something was written in between.
            if run("mount", "-o", f"remount,size={used}", store, check=False).returncode == 0:
                return
        raise LabError(f"{store} cannot be made full")

    def free_store(self, name):
        side = self.lab.side[name]
        run("mount", "-o", f"remount,size={side.store_bytes}", side.store)

    def step_clock(self, name, seconds):
        """From now on every process of that host reads CLOCK_REALTIME with this offset."""
        with open(self.lab.side[name].clock, "r+b") as file:
            file.write(struct.pack("=q", int(seconds * 1e9)))


def _signal(pids, number, what):
    if not pids:
        raise LabError(f"{what}: no process to send {number.name} to")
    for pid in pids:
        os.kill(pid, number)
