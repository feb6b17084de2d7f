# SPDX-License-Identifier: GPL-2.0-or-later
"""Control groups for the processes of one host: version 1 or 2, whichever the machine has."""

import os
import time

ROOT = "/sys/fs/cgroup"
PERIOD_US = 50_000


class CgroupError(Exception):
    """The kernel did not take it."""


class Group:
    """A group of one controller, "cpu" or "memory", at the top of the tree. remove() gives the
    processes back to where they were."""

    def __init__(self, controller, name):
        self.v2 = is_v2()
        base = ROOT if self.v2 else os.path.join(ROOT, controller)
        if not os.path.isdir(base):
            raise CgroupError(f"no {base}: this machine has no cgroup controller {controller}")
        if self.v2:
            _enable(controller)
        self.controller = controller
        self.base = base
        self.path = os.path.join(base, name)
        self.procs = os.path.join(self.path, "cgroup.procs")
        self.before = {}  # pid: its group
        os.mkdir(self.path)

    def add(self, pids):
        for pid in pids:
            self.before[pid] = self._of(pid)
            _write(self.procs, pid)

    def pids(self):
        return [int(word) for word in _read(self.procs).split()]

    def _of(self, pid):
        """Where a process is, as a directory."""
        for line in _read(f"/proc/{pid}/cgroup").splitlines():
            number, controllers, path = line.split(":", 2)
            if (number == "0") if self.v2 else (self.controller in controllers.split(",")):
                return os.path.join(self.base, path.lstrip("/"))
        return self.base

    def remove(self):
        if not os.path.isdir(self.path):
            return
        end = time.monotonic() + 10
        while pids := self.pids():
            for pid in pids:
                self._give_back(pid)
            if time.monotonic() > end:
                raise CgroupError(f"{self.path} does not become empty: {pids}")
        # One that is just dying is in no list, and still counted.
        while True:
            try:
                os.rmdir(self.path)
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def _give_back(self, pid):
        try:
            _write(os.path.join(self.before.get(pid, self.base), "cgroup.procs"), pid)
        except OSError:
            pass  # ended meanwhile

    # -- cpu

    def limit_cpu(self, percent):
        """Of one processor."""
        quota = PERIOD_US * percent // 100
        if self.v2:
            self._set("cpu.max", f"{quota} {PERIOD_US}")
        else:
            self._set("cpu.cfs_period_us", PERIOD_US)
            self._set("cpu.cfs_quota_us", quota)

    def free_cpu(self):
        if self.v2:
            self._set("cpu.max", f"max {PERIOD_US}")
        else:
            self._set("cpu.cfs_quota_us", -1)

    def throttled(self):
        """In how many periods the quota was used up."""
        return self._words("cpu.stat").get("nr_throttled", 0)

    # -- memory

    def limit_memory(self, size):
        """Nor may it be swapped out."""
        self._set("memory.max" if self.v2 else "memory.limit_in_bytes", size)
        for name, most in (("memory.swap.max", 0), ("memory.memsw.limit_in_bytes", size)):
            if os.path.exists(os.path.join(self.path, name)):
                self._set(name, most)

    def limit_hits(self):
        """How often something had to be reclaimed, or was not to be had."""
        if self.v2:
            return self._words("memory.events").get("max", 0)
        return sum(int(_read(path)) for path in
                   (os.path.join(self.path, name) for name in ("memory.failcnt",
                                                               "memory.memsw.failcnt"))
                   if os.path.exists(path))

    def oom_kills(self):
        return self._words("memory.events" if self.v2 else "memory.oom_control").get("oom_kill", 0)

    def _set(self, name, value):
        _write(os.path.join(self.path, name), value)

    def _words(self, name):
        lines = _read(os.path.join(self.path, name)).splitlines()
        return {key: int(value) for key, value in (line.split() for line in lines)}


def is_v2():
    """Where version 1's controllers are mounted too, they have the controllers."""
    return os.path.exists(os.path.join(ROOT, "cgroup.controllers"))


def why_not(controller):
    """Why there can be no such group here, or None."""
    if not is_v2():
        return None if os.path.isdir(os.path.join(ROOT, controller)) else \
            f"no cgroup controller {controller}"
    there = _read(os.path.join(ROOT, "cgroup.controllers")).split()
    return None if controller in there else f"no cgroup controller {controller}"


def _enable(controller):
    path = os.path.join(ROOT, "cgroup.subtree_control")
    if controller not in _read(path).split():
        _write(path, f"+{controller}")


def _read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def _write(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{value}\n")
