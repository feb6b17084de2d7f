# SPDX-License-Identifier: GPL-2.0-or-later
"""One protected pair on two hosts made of namespaces, and the faults done to it.

A lab leaves nothing behind: whatever way the program ends, short of a kill -9, its
processes, namespaces and files go with it.
"""

import atexit
import fcntl
import itertools
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from . import control
from .net import (CHANNEL_IP, CHANNEL_PORT, GUEST_IP, GUEST_MAC, HEARTBEAT_IP, HEARTBEAT_PORT,
                  Network, run, tcp_connect)
from .pcap import Capture
from .programs import ROOT, built

# VMFT_QEMU: another QEMU binary than the default one

MEMORY_MB = {"tiny": 256, "debian": 512, "bare": 256}
# The bare guest has no ACPI to find devices with, and drivers for these only.
BARE_MACHINE = "microvm,rtc=on,isa-serial=on,pit=on,pic=on"
# Of the package qemu-system-data: firmware that does nothing but start a kernel.
QBOOT = "/usr/share/qemu/qboot.rom"
READY = "vmft-guest: ready"
KVM = "/dev/kvm"
KVM_GET_API_VERSION, KVM_API_VERSION = 0xAE00, 12
SMP_MAX = 8  # a guest vmft protects
PIPE_BYTES = 4096
STORE_SPARE = 1 << 20
# tests/lab/clockstep.c: the step in ns, and how many readings had one.
CLOCK = struct.Struct("=qQ")
# The roles that the hosts start with; also what their sections in the pair file are called, if a
# test does not call the hosts something else.
ROLE = {"A": "primary", "B": "backup"}

# Two emulated machines share the processors, and replay may be slower than record: a
# backup can be many seconds behind. Nothing is concluded from how long a thing takes.
PATIENCE_S = 180
PROGRESS_S = 2

# The states of a side of a pair: it protects, whether the backup keeps up at the moment or not.
PAIRED = ("protected", "lagging")

_numbers = itertools.count(1)
_open_labs = []


class LabError(Exception):
    """What the lab was asked for did not happen."""


class Side:
    """One host: its namespace, its files, its QEMU (started as vmft-qemu) and its monitor."""

    def __init__(self, name, ns, directory, host=None):
        self.name = name
        self.host = host or ROLE[name]
        self.section = f"host {host}" if host else ROLE[name]
        self.role = ROLE[name]  # as last started; a backup that goes live stays one here
        self.ns = ns
        self.dir = os.path.join(directory, name)
        self.disk = os.path.join(self.dir, "disk.raw")
        self.console_path = os.path.join(self.dir, "console")
        self.log_path = os.path.join(self.dir, "log")
        self.control = os.path.join(self.dir, "control.sock")
        self.store = None  # where its image is, if that is a file system of its own
        self.pipe = self.pipe_fd = None  # what its guest's second serial port ends in, if it has one
        self.clock = None  # the file that steps its CLOCK_REALTIME, if there is one
        self.process = None
        self.may_end = False  # its QEMU's end is no surprise

    def console(self):
        return _read(self.console_path)

    def log(self):
        return _read(self.log_path).decode(errors="replace")

    def log_lines(self):
        return [line for line in self.log().splitlines() if line.strip()]

    def qemu_pid(self):
        return self.process.pid

    def qemu_runs(self):
        return self.process is not None and self.process.poll() is None

    def monitor_pids(self):
        done = run("ip", "netns", "pids", self.ns, check=False)
        return [int(pid) for pid in done.stdout.split() if _comm(pid) == "vmft-monitor"]

    def exit_code(self, timeout=30):
        """What QEMU, or vmft-qemu before it came to that, ended with."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: still runs after {timeout} s; it said:\n"
                           f"{tail(self.log())}") from error


class Lab:
    """Use as a context manager. Namespaces and captures are there from the beginning.

    `append` is more for the guest's command line; the bare guest takes the first of two words.
    `cpus` are the host's processors all of a side runs on, as taskset writes them.
    `own_disks`: each host's image is on a small file system of its own, which can be full.
    `own_clocks`: each host's CLOCK_REALTIME can be stepped.
    `own_pipes`: the guest has a second serial port, which ends in a pipe on each host that nobody
    reads.
    Without `heartbeat` the pair has its channel only.
    `save_log`: backups save their log in `saved`, which both hosts see.
    `hosts`: what the hosts are called in the pair file, by the name of their side.
    """

    def __init__(self, image="tiny", captures=True, pair=None, accel="tcg", smp=1, append="",
                 machine=None, cpus=None, own_disks=False, own_clocks=False, own_pipes=False,
                 heartbeat=True, save_log=False, hosts=None):
        self.prefix = f"vmft{os.getpid()}n{next(_numbers)}"
        self.image = image
        self.image_dir = None
        self.memory = MEMORY_MB[image]
        self.machine = machine or (BARE_MACHINE if image == "bare" else "pc")
        self.accel = accel
        self.smp = smp
        self.append = append
        self.cpus = cpus or {}
        self.own_disks = own_disks
        self.own_clocks = own_clocks
        self.own_pipes = own_pipes
        self.heartbeat = heartbeat
        self.save_log = save_log
        self.hosts = hosts or {}
        # A slow machine is no slow backup: it is given up in the tests of that only.
        self.pair_keys = {"silence-ms": "3000", "lag-drop-ms": "0",
                          "qemu": os.environ.get("VMFT_QEMU"),
                          **self._strategy_keys(), **(pair or {})}
        self.dir = None
        self.net = Network(self.prefix)
        self.capture = {}
        self.side = {}
        self.processes = []
        self.edit = {}  # name of a side: makes its QEMU's arguments of the usual ones
        self.inside = {}  # name of a side: shell that is run before its vmft-qemu
        self.answer_s = 5  # a monitor that takes longer is not there for peek()
        self._want_captures = captures
        self.kept = False

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *_):
        self.close()

    def open(self):
        self.image_dir = image_build(self.image)
        _open_labs.append(self)
        self.dir = tempfile.mkdtemp(prefix=f"{self.prefix}-")
        os.mkdir(self.arbiter)
        if self.save_log:
            os.mkdir(self.saved)
            self.pair_keys["save-log"] = self.saved
        self.net.create()
        for name, ns in self.net.host.items():
            self.side[name] = Side(name, ns, self.dir, self.hosts.get(name))
            os.mkdir(self.side[name].dir)
            self._equip(self.side[name])
        self.write_pair()
        if self._want_captures:
            for name in self.side:
                path = os.path.join(self.dir, f"port{name}.pcap")
                self.capture[name] = Capture(self.net.switch, f"port{name}", path)
                self.processes.append(self.capture[name].process)
            for capture in self.capture.values():
                capture.wait_listening()

    def _equip(self, side):
        """What a host has of its own only if faults are to be done to it."""
        if self.own_disks:
            side.store = os.path.join(side.dir, "store")
            os.mkdir(side.store)
            run("mount", "-t", "tmpfs", "-o", f"size={self.store_bytes()}", "tmpfs", side.store)
            side.disk = os.path.join(side.store, "disk.raw")
        if self.own_pipes:
            side.pipe = os.path.join(side.dir, "pipe")
            os.mkfifo(side.pipe)
            # Somebody has it open, and takes nothing.
            side.pipe_fd = os.open(side.pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.fcntl(side.pipe_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        if self.own_clocks:
            side.clock = os.path.join(side.dir, "clock")
            with open(side.clock, "wb") as file:
                file.write(bytes(CLOCK.size))

    def store_bytes(self):
        """Enough for the whole image."""
        return os.path.getsize(os.path.join(self.image_dir, "disk.raw")) + STORE_SPARE

    # -- files

    @property
    def arbiter(self):
        return os.path.join(self.dir, "arbiter")

    def generations(self):
        """The records there, by name; a backup leaves a mark besides."""
        return sorted(name for name in os.listdir(self.arbiter)
                      if not name.startswith(".") and ".mark-" not in name)

    @property
    def saved(self):
        return os.path.join(self.dir, "saved")

    @property
    def pair_path(self):
        return os.path.join(self.dir, "pair.conf")

    def write_pair(self, path=None, **changes):
        """Writes the pair file. A value of None leaves the key out."""
        keys = {"name": self.prefix, "arbiter": f"file:{self.arbiter}", **self.pair_keys,
                **{key.replace("_", "-"): value for key, value in changes.items()}}
        path = path or self.pair_path
        with open(path, "w", encoding="utf-8") as file:
            file.write("[pair]\n")
            file.writelines(f"{key} = {value}\n" for key, value in keys.items() if value)
            for side in self.side.values():
                file.write(f"[{side.section}]\n"
                           f"channel = {CHANNEL_IP[side.name]}:{CHANNEL_PORT}\n"
                           f"control = {side.control}\n")
                if self.heartbeat:
                    file.write(f"heartbeat = {HEARTBEAT_IP[side.name]}:{HEARTBEAT_PORT}\n")
        return path

    def copy_disk(self, name):
        source = os.path.join(self.image_dir, "disk.raw")
        run("cp", "--sparse=always", "--reflink=auto", source, self.side[name].disk)

    def _strategy_keys(self):
        """auto would replay one processor on TCG, but not on the bare guest's board."""
        cannot = self.image == "bare" and self.accel == "tcg" and self.smp == 1
        return {"strategy": "checkpoint"} if cannot else {}

    def qemu_args(self, name, memory=None, disk=None):
        side = self.side[name]
        bare = self.image == "bare"
        drive = (f"file={disk or side.disk},if={'none,id=d0' if bare else 'virtio'},"
                 f"format=raw,cache=writeback")
        return ["-name", self.prefix, "-nodefaults", "-display", "none",
                "-machine", self.machine, *self._processor_args(),
                "-m", str(memory or self.memory), *self._kernel_args(),
                "-serial", f"file:{side.console_path}",
                *(["-serial", f"file:{side.pipe}"] if self.own_pipes else []),
                "-drive", drive, *(["-device", "virtio-blk-device,drive=d0"] if bare else []),
                "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
                "-device", f"virtio-net-{'device' if bare else 'pci'},netdev=n0,"
                           f"mac={GUEST_MAC}"]

    def _processor_args(self):
        if self.smp == 1:
            return ["-accel", self.accel]
        return ["-accel", "tcg,thread=multi" if self.accel == "tcg" else self.accel,
                "-smp", str(self.smp)]

    def _kernel_args(self):
        image = self.image_dir
        words = [*self.append.split(), *_read(f"{image}/cmdline").decode().split()]
        if self.image != "bare":
            if self.smp > 1 and self.accel == "tcg":
                # One boot in some hundred of such a guest hangs where Linux goes from ticks to
                # one-shot timers, on a busy host and without vmft too: docs/qemu.md.
                words += ["nohz=off", "highres=off"]
            return ["-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd",
                    "-append", " ".join(words)]
        return ["-bios", QBOOT, "-kernel", f"{image}/bare.elf",
                "-append", " ".join([*words, f"aps={self.smp - 1}"])]

    # -- start

    def start_side(self, name, args=None, pair_file=None, role=None, host=None, inside=None):
        """Starts vmft-qemu on a host. `inside` is shell run before it, in its mount namespace."""
        side = self.side[name]
        if not os.path.exists(side.disk):
            self.copy_disk(name)
        command = ["ip", "netns", "exec", side.ns, "env",
                   f"VMFT_PAIR={pair_file or self.pair_path}"]
        side.role = role or side.role
        if role != "":
            command += [f"VMFT_ROLE={side.role}", f"VMFT_HOST={host or side.host}"]
        if side.clock:
            # The agent is preloaded behind it.
            command += [f"VMFT_CLOCK_STEP={side.clock}",
                        f"LD_PRELOAD={built('vmft-clockstep.so')}"]
        inside = inside or self.inside.get(name)
        if inside:
            command += ["sh", "-c", f'{inside}; exec "$@"', "sh"]
        command += [built("vmft-qemu"), *(args or self._args_of(name))]
        return self._start_process(side, command)

    def _args_of(self, name):
        return self.edit.get(name, lambda args: args)(self.qemu_args(name))

    def start_plain(self, name):
        """The same guest under QEMU alone: nothing of vmft is there."""
        side = self.side[name]
        self.copy_disk(name)
        qemu = self.pair_keys["qemu"] or "qemu-system-x86_64"
        return self._start_process(side, ["ip", "netns", "exec", side.ns, qemu,
                                          *self.qemu_args(name)])

    def _start_process(self, side, command):
        if side.name in self.cpus:
            command = ["taskset", "-c", self.cpus[side.name], *command]
        with open(side.log_path, "ab") as log:
            # A session of its own: Ctrl-C is for this program, which then stops the rest.
            side.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        side.may_end = False
        self.processes.append(side.process)
        return side

    def start(self):
        """The backup first: it listens."""
        self.start_side("B")
        self.wait(lambda: self.peek("B"), "the backup's monitor")
        self.start_side("A")
        self.wait(lambda: self.peek("A"), "the primary's monitor")

    def start_protected(self):
        """A pair whose guest serves and whose backup has followed it that far."""
        self.start()
        self.wait(lambda: self.paired("A") and self.paired("B"), "the pair to form")
        self.wait(lambda: READY.encode() in self.side["A"].console(), "the guest to boot")
        self.wait_following()

    def end_side(self, name):
        """Whatever is left of a side is gone afterwards, as on a host that is switched on again."""
        side = self.side[name]
        side.may_end = True
        for pid in [*side.monitor_pids(), *([side.qemu_pid()] if side.qemu_runs() else [])]:
            _kill(pid)
        self.wait(lambda: not side.monitor_pids() and not side.qemu_runs(),
                  f"host {name} to be empty", 10)

    def start_backup(self, name, args=None):
        """A host that is back offers itself: with the image it has, or a new one of that size."""
        self.end_side(name)
        side = self.side[name]
        if not os.path.exists(side.disk):
            size = os.path.getsize(os.path.join(self.image_dir, "disk.raw"))
            with open(side.disk, "wb") as file:
                file.truncate(size)
        self.start_side(name, args=args, role="backup")
        self.wait(lambda: self.peek(name), f"the monitor of backup {name}")

    def attach_now(self, primary):
        """Without waiting for the next attempt's time; refused if it has begun by itself."""
        control.ask(self.side[primary].control, "attach")

    def wait_attached(self, primary, backup):
        """Until the guest on primary is protected by backup; returns the primary's status."""
        self.wait(lambda: self.paired(primary) and self.paired(backup),
                  f"{backup} to be attached to {primary}")
        return self.status(primary)

    # -- looking

    def peek(self, name):
        """The status of a side, or None when there is nobody to ask."""
        try:
            answer = control.ask(self.side[name].control, "status", self.answer_s)
        except control.ControlError:
            return None
        return answer if answer.get("ok") else None

    def status(self, name):
        return self.command(name, "status")

    def state(self, name):
        found = self.peek(name)
        return found["state"] if found else None

    def paired(self, name):
        return self.state(name) in PAIRED

    def command(self, name, verb, timeout=30):
        return control.command(self.side[name].control, verb, timeout)

    def wait(self, predicate, what, timeout=PATIENCE_S):
        """Waits until predicate() is true and returns what it returned.

        A monitor that does not answer counts as not yet. Gives up at once when a QEMU ends
        that nobody killed.
        """
        begin = time.monotonic()
        told = begin + PROGRESS_S
        while True:
            try:
                found = predicate()
            except control.ControlError:
                found = None
            if found:
                return found
            self._check_ends(what)
            now = time.monotonic()
            if now - begin > timeout:
                raise LabError(f"no {what} within {timeout} s; {self.describe()}")
            if now > told:
                progress(f"waiting for {what} ({now - begin:.0f} s)")
                told = now + 10
            time.sleep(0.05)

    def _check_ends(self, what):
        for side in self.side.values():
            if side.process and not side.may_end and not side.qemu_runs():
                raise LabError(f"{side.name} ({side.role}) ended with {side.process.returncode} "
                               f"while waiting for {what}; it said:\n{tail(side.log())}")

    def describe(self):
        words = []
        for name in self.side:
            found = self.peek(name)
            words.append(f"{name}: {found['state']}, {found.get('reason')}, log "
                         f"{found.get('log_head')}/{found.get('log_acked')}/"
                         f"{found.get('log_replayed')}" if found else f"{name}: no status")
        return "; ".join(words)

    def wait_following(self, primary="A", backup="B"):
        """Until the backup has replayed all that the primary had logged when this was called."""
        position = self.status(primary)["log_head"]
        self.wait(lambda: self.status(backup)["log_replayed"] >= position,
                  "the backup to catch up")

    def wait_state(self, name, *states, timeout=PATIENCE_S):
        return self.wait(lambda: self.state(name) in states,
                         f"{name} to be {' or '.join(states)}", timeout)

    def wait_said(self, name, pattern, timeout=PATIENCE_S):
        return self.wait(lambda: re.search(pattern, self.side[name].log()),
                         f"{name} to say /{pattern}/", timeout)

    def compare(self, primary, backup):
        """Stops the guest for a moment. Returns the log position it stands at on both sides,
        and what of memory and disks is not the same there, as text; "" when nothing."""
        self.command(primary, "freeze")
        frozen = self.wait(lambda: self.status(primary)["frozen_at"], "the guest to freeze", 30)
        self.wait(lambda: self.status(backup)["log_replayed"] >= frozen,
                  "the backup to replay up to there")
        # What the last entry started, on both sides; an epoch is applied whole.
        time.sleep(1 if self.status(primary)["strategy"] == "lockstep" else 0.2)
        digest = {name: self.command(name, "digest", 60) for name in (primary, backup)}
        differ = [f"{key} {digest[primary][key]} and {digest[backup][key]}"
                  for key in ("position", "ram_bytes", "ram")
                  if digest[primary][key] != digest[backup][key]]
        if digest[primary]["position"] != frozen:
            differ.append(f"frozen at {frozen}, but at {digest[primary]['position']} now")
        if os.path.getsize(self.side[primary].disk) == 0:
            differ.append("empty disks were compared")
        done = run("cmp", self.side[primary].disk, self.side[backup].disk, check=False)
        if done.returncode != 0:
            differ.append((done.stdout + done.stderr).strip())
        self.command(primary, "thaw")
        self.wait(lambda: self.status(primary)["log_head"] > frozen, "the guest to go on")
        return frozen, ", ".join(differ)

    # -- faults

    def kill_qemu(self, name):
        """Returns CLOCK_MONOTONIC in ns just before the kill."""
        side = self.side[name]
        side.may_end = True
        when = time.monotonic_ns()
        os.kill(side.qemu_pid(), signal.SIGKILL)
        if side.process.wait(10) != -signal.SIGKILL:
            raise LabError(f"{name}: QEMU was not killed but ended before")
        return when

    def kill_monitor(self, name):
        side = self.side[name]
        side.may_end = True
        self._signal(side.monitor_pids(), signal.SIGKILL, f"{name}'s monitor")
        self.wait(lambda: not side.monitor_pids(), f"{name}'s monitor to be gone", 10)

    def kill_host(self, name):
        side = self.side[name]
        side.may_end = True
        self._signal([side.qemu_pid(), *side.monitor_pids()], signal.SIGKILL, f"host {name}")
        self.wait(lambda: not side.monitor_pids() and not side.qemu_runs(),
                  f"host {name} to be gone", 10)

    def stop_host(self, name):
        side = self.side[name]
        self._stop([side.qemu_pid(), *side.monitor_pids()])

    def stop_qemu(self, name):
        self._stop([self.side[name].qemu_pid()])

    def cont_host(self, name):
        """Lets everything on a host go on."""
        side = self.side[name]
        self._signal([*side.monitor_pids(), side.qemu_pid()], signal.SIGCONT, f"host {name}")

    def _stop(self, pids):
        self._signal(pids, signal.SIGSTOP, "host")
        self.wait(lambda: all(process_state(pid) == "T" for pid in pids), "processes to stop", 10)

    @staticmethod
    def _signal(pids, number, what):
        if not pids:
            raise LabError(f"{what}: no process to send {number.name} to")
        for pid in pids:
            os.kill(pid, number)

    def cut_channel(self):
        self.net.cut_channel()
        if not self.net.channel_is_cut():
            raise LabError("the channel link is still up")

    def fill_store(self, name):
        """Not a byte is left where a host's image is. By shrinking it: it costs no memory."""
        store = self.side[name].store
        for _ in range(20):
            found = os.statvfs(store)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            # Refused if something was written in between.
            if run("mount", "-o", f"remount,size={used}", store, check=False).returncode == 0:
                return
        raise LabError(f"{store} cannot be made full")

    def free_store(self, name):
        run("mount", "-o", f"remount,size={self.store_bytes()}", self.side[name].store)

    def step_clock(self, name, seconds):
        """From now on all on that host read CLOCK_REALTIME so many seconds off."""
        with open(self.side[name].clock, "r+b") as file:
            file.write(struct.pack("=q", int(seconds * 1e9)))

    def clock_readings(self, name):
        """How often a stepped clock was read on that host."""
        return CLOCK.unpack(_read(self.side[name].clock))[1]

    def cut_heartbeat(self):
        self.net.cut_heartbeat()
        if not self.net.heartbeat_is_cut():
            raise LabError("the link of the heartbeat path is still up")

    def enter(self, name, *command, check=True):
        """Runs a command where a side's monitor is: in its network and its view of the files."""
        return run("nsenter", "-t", str(self.side[name].monitor_pids()[0]), "-m", "-n", *command,
                   check=check)

    def vmft(self, *words, side="A"):
        """The command line tool on a side's host; what it printed and its exit code."""
        done = subprocess.run(["ip", "netns", "exec", self.side[side].ns,
                               built("vmft"), *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=PATIENCE_S, check=False)
        return done.stdout, done.returncode

    def hide_arbiter(self):
        os.rename(self.arbiter, f"{self.arbiter}.away")

    def return_arbiter(self):
        os.rename(f"{self.arbiter}.away", self.arbiter)

    # -- the client

    def client_command(self, *command):
        return ["ip", "netns", "exec", self.net.client, *command]

    def client_run(self, *command, check=True, timeout=PATIENCE_S, **options):
        return run(*self.client_command(*command), check=check, timeout=timeout, **options)

    def client_start(self, *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        process = subprocess.Popen(self.client_command(*command), stdin=subprocess.DEVNULL,
                                   stdout=stdout, stderr=stderr, start_new_session=True)
        self.processes.append(process)
        return process

    def client_connect(self, port, timeout=60):
        return tcp_connect(self.net.client, GUEST_IP, port, timeout)

    # -- the end

    def keep_logs(self, directory):
        """Copies logs, consoles and captures, not the disks, nor an etcd member's data."""
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(self.dir, directory,
                        ignore=lambda _, names: [n for n in names
                                                 if n.endswith((".raw", ".sock", ".etcd"))])

    def close(self):
        """Ends everything, once; a second Ctrl-C in here must not leave half of it."""
        if self not in _open_labs:
            return
        with _uninterrupted():
            _open_labs.remove(self)
            if not self.kept:
                self._tear_down()

    def _tear_down(self):
        for capture in self.capture.values():
            if capture.process.poll() is None:
                capture.process.kill()
        end = time.monotonic() + 10
        while (pids := self.net.pids()) and time.monotonic() < end:
            for pid in pids:
                _kill(pid)
            for process in self.processes:
                process.poll()
            time.sleep(0.02)
        for process in self.processes:
            process.wait(10)
        self.net.remove()
        for side in self.side.values():
            if side.store:
                run("umount", "-l", side.store, check=False)
            if side.pipe_fd is not None:
                os.close(side.pipe_fd)
                side.pipe_fd = None
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def left_behind(self):
        """What is still there after close(), as text; empty when all is well."""
        left = [f"process {pid} ({_comm(pid)})" for pid in _mentioning(self.prefix)]
        left += [f"namespace {ns}" for ns in self.net.left()]
        left += [self.dir] if self.dir and os.path.exists(self.dir) else []
        return ", ".join(left)


def has_kvm():
    try:
        with open(KVM, "r+b", buffering=0) as kvm:
            return fcntl.ioctl(kvm, KVM_GET_API_VERSION) == KVM_API_VERSION
    except OSError:
        return False


def image_build(name):
    """The directory of a guest image, built if need be."""
    command = [os.path.join(ROOT, "guest-tools", "build")]
    if os.geteuid() == 0:
        command.append("--install")
    done = subprocess.run([*command, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"guest-tools/build {name} ended with {done.returncode}")
    return done.stdout.strip()


def progress(text):
    print(f"    ... {text}", file=sys.stderr, flush=True)


def tail(text, lines=8):
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (nothing)"


def close_all():
    for lab in list(_open_labs):
        lab.close()


def handle_signals():
    """Ctrl-C and SIGTERM both unwind, also when a background job was born ignoring SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _on_term)
    atexit.register(close_all)


def remove_kept(prefix):
    """Removes what a lab left behind on purpose. Returns whether there was anything."""
    net = Network(prefix)
    directories = [os.path.join(tempfile.gettempdir(), name)
                   for name in os.listdir(tempfile.gettempdir()) if name.startswith(f"{prefix}-")]
    found = bool(net.left() or directories)
    while pids := net.pids():
        for pid in pids:
            _kill(pid)
        time.sleep(0.05)
    net.remove()
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    return found


def _on_term(number, _frame):
    sys.exit(128 + number)


class _uninterrupted:
    """No Ctrl-C and no SIGTERM in between (main thread; others never get them)."""

    def __enter__(self):
        self.signals = {signal.SIGINT, signal.SIGTERM}
        self.before = signal.pthread_sigmask(signal.SIG_BLOCK, self.signals)

    def __exit__(self, *_):
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _comm(pid):
    return _read_proc(pid, "comm").strip()


def process_state(pid):
    """The state letter of a process; its name, which may hold anything, is in parentheses."""
    return _read_proc(pid, "stat").rpartition(")")[2].strip()[:1]


def _read_proc(pid, name):
    try:
        return _read(f"/proc/{pid}/{name}").decode(errors="replace")
    except ProcessLookupError:
        return ""


def _mentioning(text):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) != os.getpid() and text in _read_proc(pid, "cmdline"):
            found.append(int(pid))
    return found


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
