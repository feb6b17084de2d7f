# SPDX-License-Identifier: GPL-2.0-or-later
"""One host of a lab: its namespace, its files, its QEMU (started as vmft-qemu) and its monitor."""

import fcntl
import os
import struct
import subprocess

from .net import run
from .process import command_name, read
from .watch import LabError, tail

PIPE_BYTES = 4096
STORE_SPARE = 1 << 20
# tests/lab/clockstep.c: the step in ns, and how many readings had a step.
CLOCK = struct.Struct("=qQ")
# The roles that the hosts start with. They are also the names of the hosts' sections in the pair
# file, if a test does not give the hosts other names.
ROLE = {"A": "primary", "B": "backup"}


class Side:
    """`host` is what the pair file calls the host; without it the file has a section of its role."""

    def __init__(self, name, ns, directory, host=None):
        self.name = name
        self.host = host or ROLE[name]
        self.section = f"host {host}" if host else ROLE[name]
        self.role = ROLE[name]  # as last started; it does not change when a backup goes live
        self.ns = ns
        self.dir = os.path.join(directory, name)
        self.disk = os.path.join(self.dir, "disk.raw")
        self.console_path = os.path.join(self.dir, "console")
        self.log_path = os.path.join(self.dir, "log")
        self.control = os.path.join(self.dir, "control.sock")
        self.store = None  # the mount point of its image's own file system, if there is one
        self.store_bytes = 0  # how large that file system is
        self.pipe = self.pipe_fd = None  # where the guest's second serial port ends, if it has one
        self.clock = None  # the file that steps this host's CLOCK_REALTIME, if there is one
        self.process = None
        self.may_end = False  # the test expects that this host's QEMU may end
        os.mkdir(self.dir)

    # -- what a host has of its own only for some faults

    def own_store(self, image_bytes):
        """A small file system for the image, which has room for the whole image."""
        self.store = os.path.join(self.dir, "store")
        self.store_bytes = image_bytes + STORE_SPARE
        os.mkdir(self.store)
        run("mount", "-t", "tmpfs", "-o", f"size={self.store_bytes}", "tmpfs", self.store)
        self.disk = os.path.join(self.store, "disk.raw")

    def own_pipe(self):
        """A pipe that this program holds open and never reads."""
        self.pipe = os.path.join(self.dir, "pipe")
        os.mkfifo(self.pipe)
        self.pipe_fd = os.open(self.pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self.pipe_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def own_clock(self):
        self.clock = os.path.join(self.dir, "clock")
        with open(self.clock, "wb") as file:
            file.write(bytes(CLOCK.size))

    def remove(self):
        """Removes what own_store() and own_pipe() made."""
        if self.store:
            run("umount", "-l", self.store, check=False)
        if self.pipe_fd is not None:
            os.close(self.pipe_fd)
            self.pipe_fd = None

    def clock_readings(self):
        """How often a stepped clock was read on this host."""
        return CLOCK.unpack(read(self.clock))[1]

    # -- what it says and runs

    def console(self):
        return read(self.console_path)

    def log(self):
        return read(self.log_path).decode(errors="replace")

    def log_lines(self):
        return [line for line in self.log().splitlines() if line.strip()]

    def qemu_pid(self):
        return self.process.pid

    def qemu_runs(self):
        return self.process is not None and self.process.poll() is None

    def monitor_pids(self):
        done = run("ip", "netns", "pids", self.ns, check=False)
        return [int(pid) for pid in done.stdout.split() if command_name(pid) == "vmft-monitor"]

    def exit_code(self, timeout=30):
        """The exit code of QEMU, or of vmft-qemu if it ended before it became QEMU."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: still runs after {timeout} s; it said:\n"
                           f"{tail(self.log())}") from error
