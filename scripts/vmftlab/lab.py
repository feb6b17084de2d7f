# SPDX-License-Identifier: GPL-2.0-or-later
"""One pair on two hosts that are network namespaces, and how it is started and removed.

A lab leaves nothing behind: however the program ends (except by kill -9), the lab's processes,
namespaces and files are removed.
"""

import atexit
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import control
from .client import Client
from .guest import READY, Guest
from .labfaults import LabFaults
from .net import CHANNEL_IP, CHANNEL_PORT, HEARTBEAT_IP, HEARTBEAT_PORT, Network, run
from .pcap import Capture
from .process import command_name, kill, mentioning
from .programs import built
from .side import Side
from .watch import PATIENCE_S, SILENCE_MS, Watch

# VMFT_QEMU: another QEMU binary than the default one

_numbers = itertools.count(1)
_open_labs = []


class Lab(Watch):
    """Use as a context manager. Namespaces and captures exist from the beginning.

    `guest` is what runs in it, `side` are its hosts, `client` is the guest's client, and `faults`
    is what can be done to the hosts.

    `append` is added to the guest's command line; the bare guest takes the first of two words.
    `cpus`: the host's processors on which all processes of a side run, as taskset writes them.
    `own_disks`: each host's image is on a small file system of its own, which can be made full.
    `own_clocks`: each host's CLOCK_REALTIME can be stepped.
    `own_pipes`: the guest has a second serial port, which on each host ends in a pipe that nobody
    reads.
    Without `heartbeat` the pair has no second path.
    `save_log`: backups save their log in the directory `saved`, which both hosts see.
    `hosts`: the names of the hosts in the pair file, by side.
    """

    not_kept = (".raw", ".sock", ".etcd")  # the ends of the names of files that keep_logs() leaves out

    def __init__(self, image="tiny", captures=True, pair=None, accel="tcg", smp=1, append="",
                 machine=None, cpus=None, own_disks=False, own_clocks=False, own_pipes=False,
                 heartbeat=True, save_log=False, hosts=None):
        super().__init__()
        self.prefix = f"vmft{os.getpid()}n{next(_numbers)}"
        self.guest = Guest(image, accel, smp, append, machine)
        self.cpus = cpus or {}
        self.own_disks = own_disks
        self.own_clocks = own_clocks
        self.own_pipes = own_pipes
        self.heartbeat = heartbeat
        self.save_log = save_log
        self.hosts = hosts or {}
        # lag-drop-ms is 0 because a slow test machine makes a backup slow; only the tests of the lag
        # want a backup that is given up.
        self.pair_keys = {"silence-ms": str(SILENCE_MS), "lag-drop-ms": "0",
                          "qemu": os.environ.get("VMFT_QEMU"),
                          **self.guest.strategy_keys(), **(pair or {})}
        self.dir = None
        self.net = Network(self.prefix)
        self.processes = []
        self.client = Client(self.net.client, self.processes)
        self.faults = LabFaults(self)
        self.capture = {}
        self.edit = {}  # by side: a function that changes its QEMU's arguments
        self.pair_file = {}  # by side: its own one instead of the common one
        self.inside = {}  # by side: shell commands that run before its vmft-qemu
        self._want_captures = captures
        self.kept = False

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *_):
        self.close()

    def open(self):
        self.guest.build()
        _open_labs.append(self)
        self.dir = tempfile.mkdtemp(prefix=f"{self.prefix}-")
        os.mkdir(self.arbiter)
        if self.save_log:
            os.mkdir(self.saved)
            self.pair_keys["save-log"] = self.saved
        self.net.create()
        for name, ns in self.net.host.items():
            self.side[name] = self._make_side(name, ns)
            self._equip(self.side[name])
        self.write_pair()
        if self._want_captures:
            for name in self.side:
                path = os.path.join(self.dir, f"port{name}.pcap")
                self.capture[name] = Capture(self.net.switch, f"port{name}", path)
                self.processes.append(self.capture[name].process)
            for capture in self.capture.values():
                capture.wait_listening()

    def _make_side(self, name, ns):
        return Side(name, ns, self.dir, self.hosts.get(name))

    def _equip(self, side):
        if self.own_disks:
            side.own_store(self.guest.disk_bytes())
        if self.own_pipes:
            side.own_pipe()
        if self.own_clocks:
            side.own_clock()

    # -- files

    @property
    def arbiter(self):
        return os.path.join(self.dir, "arbiter")

    def generations(self):
        """The names of the arbiter's records of generations, without the marks of backups."""
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

    def qemu_args(self, name, memory=None, disk=None):
        return self.guest.args(self.side[name], self.prefix, memory, disk)

    # -- start

    def start_side(self, name, args=None, pair_file=None, role=None, host=None, inside=None):
        """Starts vmft-qemu on a host. `inside` are shell commands that run before it, in its mount
        namespace."""
        side = self.side[name]
        if not os.path.exists(side.disk):
            self.guest.copy_disk(side.disk)
        command = ["ip", "netns", "exec", side.ns, "env",
                   f"VMFT_PAIR={pair_file or self.pair_file.get(name, self.pair_path)}"]
        side.role = role or side.role
        if role != "":
            command += [f"VMFT_ROLE={side.role}", f"VMFT_HOST={host or side.host}"]
        if side.clock:
            # vmft-qemu puts the agent after it in LD_PRELOAD.
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
        """Starts the same guest under QEMU alone, without any part of vmft."""
        side = self.side[name]
        self.guest.copy_disk(side.disk)
        qemu = self.pair_keys["qemu"] or "qemu-system-x86_64"
        return self._start_process(side, ["ip", "netns", "exec", side.ns, qemu,
                                          *self.qemu_args(name)])

    def _start_process(self, side, command):
        if side.name in self.cpus:
            command = ["taskset", "-c", self.cpus[side.name], *command]
        with open(side.log_path, "ab") as log:
            # It has a session of its own, so that Ctrl-C reaches this program only, which then stops
            # the rest.
            side.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        side.may_end = False
        self.processes.append(side.process)
        return side

    def start(self):
        """Starts the backup first, because the backup listens."""
        self.start_side("B")
        self.wait(lambda: self.peek("B"), "the backup's monitor")
        self.start_side("A")
        self.wait(lambda: self.peek("A"), "the primary's monitor")

    def start_protected(self):
        """Starts both sides, and waits until the guest serves and the backup has followed it that
        far."""
        self.start()
        self.wait(lambda: self.paired("A") and self.paired("B"), "the pair to form")
        self.wait(lambda: READY.encode() in self.side["A"].console(), "the guest to boot")
        self.wait_following()

    def end_side(self, name):
        """Ends every process of a side, as if its host had been switched off and on again."""
        side = self.side[name]
        side.may_end = True
        for pid in [*side.monitor_pids(), *([side.qemu_pid()] if side.qemu_runs() else [])]:
            kill(pid)
        self.wait(lambda: not side.monitor_pids() and not side.qemu_runs(),
                  f"host {name} to be empty", 10)

    def start_backup(self, name, args=None):
        """Starts a backup on a host that came back. It uses the image that is there, or a new empty
        one of the same size."""
        self.end_side(name)
        side = self.side[name]
        if not os.path.exists(side.disk):
            with open(side.disk, "wb") as file:
                file.truncate(self.guest.disk_bytes())
        self.start_side(name, args=args, role="backup")
        self.wait(lambda: self.peek(name), f"the monitor of backup {name}")

    def attach_now(self, primary):
        """Begins an attach at once. The monitor refuses if one has already begun."""
        control.ask(self.side[primary].control, "attach")

    # -- commands on a host

    def enter(self, name, *command, check=True):
        """Runs a command in the network and mount namespace of a side's monitor."""
        return run("nsenter", "-t", str(self.side[name].monitor_pids()[0]), "-m", "-n", *command,
                   check=check)

    def vmft(self, *words, side="A"):
        """Runs the command line tool on a side's host; returns its output and its exit code."""
        done = subprocess.run(["ip", "netns", "exec", self.side[side].ns,
                               built("vmft"), *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=PATIENCE_S, check=False)
        return done.stdout, done.returncode

    # -- the end

    def keep_logs(self, directory):
        """Copies logs, consoles and captures, but neither disks nor the data of etcd members."""
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(self.dir, directory, symlinks=True,
                        ignore=lambda _, names: [n for n in names if n.endswith(self.not_kept)])

    def close(self):
        """Ends everything, once. Signals wait meanwhile: a second Ctrl-C must not leave half of it."""
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
                kill(pid)
            for process in self.processes:
                process.poll()
            time.sleep(0.02)
        for process in self.processes:
            process.wait(10)
        self.net.remove()
        for side in self.side.values():
            side.remove()
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def left_behind(self):
        """What close() has not removed, as text; "" if it has removed everything."""
        left = [f"process {pid} ({command_name(pid)})" for pid in mentioning(self.prefix)]
        left += [f"namespace {ns}" for ns in self.net.left()]
        left += [self.dir] if self.dir and os.path.exists(self.dir) else []
        return ", ".join(left)


def close_all():
    for lab in list(_open_labs):
        lab.close()


def handle_signals():
    """Makes SIGINT and SIGTERM unwind the program. A background job starts with SIGINT ignored."""
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
            kill(pid)
        time.sleep(0.05)
    net.remove()
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    return found


def _on_term(number, _frame):
    sys.exit(128 + number)


class _uninterrupted:
    """Blocks SIGINT and SIGTERM meanwhile. This is for the main thread; others never get them."""

    def __enter__(self):
        self.signals = {signal.SIGINT, signal.SIGTERM}
        self.before = signal.pthread_sigmask(signal.SIG_BLOCK, self.signals)

    def __exit__(self, *_):
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)
