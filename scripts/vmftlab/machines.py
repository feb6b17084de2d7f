# SPDX-License-Identifier: GPL-2.0-or-later
"""A pair on two hosts that are machines of their own: kernel, clock, network cards and disk each.

      hostA eth1 -- lanA                lanB -- eth1 hostB
                    lan (client, 10.7.0.1)
      hostA eth2 -- chanA  chan  chanB -- eth2 hostB    logging channel
      hostA eth3 -- beatA  beat  beatB -- eth3 hostB    heartbeat path, arbiter (etcd)

The bridges, the client and the arbiter are in one network namespace; the taps are where the hosts'
cards end. On each host the guest's tap is on a bridge with eth1.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time

from .client import Client
from .guest import READY, Guest
from .kvmhost import GIVEN, SILENCE_MS, Given, KvmHost
from .net import (CHANNEL_IP, CHANNEL_PORT, CLIENT_IP, HEARTBEAT_IP, HEARTBEAT_PORT, Network,
                  run)
from .pcap import Capture
from .programs import built
from .watch import PAIRED, PATIENCE_S, LabError, progress, tail

ETCD_IP, ETCD_PORT = "10.98.0.10", 2379
VM = "machines"
HOME = "/root"  # of a host: the VM's files
NETWORKS = ("lan", "chan", "beat")
# A host has nothing but its pair, and two run at the same time.
MEMORY_MB = 2048


class Machine:
    """One host and what runs of the pair on it."""

    def __init__(self, name, host):
        self.name = name
        self.host = host

    def connect(self):
        """Gives its cards their places, as an administrator does after a boot. QEMU is read from the
        disk once: vmft-qemu gives it 5 seconds for that, which an emulated host may need."""
        self.host.run("sh", "-ec", f"""
            qemu-system-x86_64 --version >/dev/null
            ip link add br0 type bridge forward_delay 0 mcast_snooping 0
            ip tuntap add dev tap0 mode tap
            for device in eth1 tap0; do ip link set $device master br0 up; done
            ip link set br0 up
            ip address add {CHANNEL_IP[self.name]}/24 dev eth2
            ip address add {HEARTBEAT_IP[self.name]}/24 dev eth3
            ip link set eth2 up
            ip link set eth3 up""")

    def kernel(self):
        """The boot id of its kernel: no two hosts have the same, and no host has it twice."""
        return self.host.run("cat", "/proc/sys/kernel/random/boot_id").stdout.strip()

    def start(self, role, args, pair_text, empty_bytes=0):
        """Starts vmft-qemu. The host gets an empty image of that size, or else a copy of the guest's."""
        disk = (f"truncate -s {empty_bytes} {HOME}/disk.raw" if empty_bytes else
                f"cp --sparse=always {GIVEN}/guests/tiny/disk.raw {HOME}/disk.raw")
        self.host.run("sh", "-ec", f'{disk}; printf %s "$1" >{HOME}/pair.conf', "sh", pair_text)
        self.host.run(
            "sh", "-c", 'setsid "$@" </dev/null >/root/log 2>&1 &', "sh", "env",
            f"VMFT_PAIR={HOME}/pair.conf", f"VMFT_ROLE={role}", f"VMFT_HOST={self.name.lower()}",
            built("vmft-qemu"), *args)

    def status(self):
        """None while no monitor answers."""
        done = self.host.run(built("vmft"), "--json", "status", VM, check=False)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return None

    def state(self):
        return (self.status() or {}).get("state")

    def log(self):
        return self.host.run("cat", f"{HOME}/log", check=False).stdout

    def guest_console(self):
        return self.host.run("cat", f"{HOME}/console", check=False).stdout


class Machines:
    """Use as a context manager. `machine` are the hosts by name, "A" and "B"; `client` is the guest's
    client, outside of both."""

    def __init__(self, smp=2):
        self.prefix = f"vmft{os.getpid()}m"
        self.guest = Guest("tiny", "kvm", smp, "", None)
        self.ns = f"{self.prefix}-net"
        self.processes = []
        self.client = Client(self.ns, self.processes)
        self.dir = None
        self.given = None
        self.machine = {}
        self.capture = {}

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix=f"{self.prefix}-")
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _open(self):
        self.guest.build()
        self._make_network()
        self._start_arbiter()
        self.given = Given(self.dir, ["tiny"])
        for name in "AB":
            self.boot(name)
        for name in "AB":
            self.wait_up(name)
            path = os.path.join(self.dir, f"lan{name}.pcap")
            self.capture[name] = Capture(self.ns, f"lan{name}", path)
            self.processes.append(self.capture[name].process)
            self.capture[name].wait_listening()

    def _make_network(self):
        network = Network(self.prefix)
        network.all = []  # only what is asked for
        self.ns = network.add_namespace("net")
        self.client.ns = self.ns
        for bridge, address in zip(NETWORKS, (CLIENT_IP, None, ETCD_IP)):
            self._ip("link", "add", bridge, "type", "bridge", "forward_delay", "0",
                     "mcast_snooping", "0")
            self._ip("link", "set", bridge, "up")
            if address:
                self._ip("address", "add", f"{address}/24", "dev", bridge)
            for name in "AB":
                self._ip("tuntap", "add", "dev", f"{bridge}{name}", "mode", "tap")
                self._ip("link", "set", f"{bridge}{name}", "master", bridge, "up")

    def _ip(self, *words):
        run("ip", "-n", self.ns, *words)

    def _start_arbiter(self):
        url = f"http://{ETCD_IP}:{ETCD_PORT}"
        with open(os.path.join(self.dir, "etcd.log"), "wb") as log:
            self.processes.append(subprocess.Popen(
                ["ip", "netns", "exec", self.ns, "etcd", "--data-dir",
                 os.path.join(self.dir, "etcd"), "--listen-client-urls", url,
                 "--advertise-client-urls", url, "--logger", "zap", "--log-outputs", "stderr"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True))

    # -- hosts

    def boot(self, name):
        """Powers a host on. Its disk is as it was made: nothing of an earlier boot is there."""
        cards = [f"{network}{name}" for network in NETWORKS]
        host = KvmHost(f"host{name}", self.given, self.dir, MEMORY_MB, ns=self.ns, cards=cards)
        with contextlib.suppress(FileNotFoundError):
            os.remove(host.console_path)
        self.machine[name] = Machine(name, host)
        host.start()

    def wait_up(self, name):
        self.machine[name].host.wait_up()
        self.machine[name].connect()

    def power_off(self, name):
        """For real: nothing on the host can do anything any more. Returns time.time_ns()."""
        host = self.machine[name].host
        if host.process.poll() is not None:
            raise LabError(f"host {name} had ended before")
        host.kill()
        return time.time_ns()

    # -- the pair

    def pair_text(self):
        lines = ["[pair]", f"name = {VM}", f"arbiter = etcd:http://{ETCD_IP}:{ETCD_PORT}",
                 f"silence-ms = {SILENCE_MS}", "lag-drop-ms = 0"]
        for name in "AB":
            lines += [f"[host {name.lower()}]", f"channel = {CHANNEL_IP[name]}:{CHANNEL_PORT}",
                      f"heartbeat = {HEARTBEAT_IP[name]}:{HEARTBEAT_PORT}"]
        return "\n".join(lines) + "\n"

    def qemu_args(self):
        # The guest's kernel is in the same place on each host; its words are the image's own.
        args = self.guest.args(Files(), VM)
        return [arg.replace(self.guest.image_dir, f"{GIVEN}/guests/tiny") for arg in args]

    def start_side(self, name, role, empty=False):
        self.machine[name].start(role, self.qemu_args(), self.pair_text(),
                                 self.guest.disk_bytes() if empty else 0)

    def wait(self, predicate, what, timeout=PATIENCE_S):
        """As Watch.wait(); asking a host takes a second."""
        begin = told = time.monotonic()
        while not (found := predicate()):
            now = time.monotonic()
            if now - begin > timeout:
                raise LabError(f"no {what} within {timeout} s; {self.describe()}")
            if now - told > 10:
                progress(f"waiting for {what} ({now - begin:.0f} s)")
                told = now
            time.sleep(0.2)
        return found

    def wait_state(self, name, *states):
        return self.wait(lambda: self.machine[name].state() in states,
                         f"{name} to be {' or '.join(states)}")

    def wait_protected(self, primary, backup):
        for name in (primary, backup):
            self.wait_state(name, *PAIRED)

    def start_protected(self):
        self.start_side("B", "backup")
        self.wait(self.machine["B"].status, "the backup's monitor")
        self.start_side("A", "primary")
        self.wait(lambda: READY in self.machine["A"].guest_console(), "the guest to boot")
        self.wait_protected("A", "B")

    def describe(self):
        return "; ".join(
            f"{name}: {machine.state()}, it said:\n{tail(machine.log())}\n"
            if machine.host.is_up() else f"{name} is off"
            for name, machine in self.machine.items())

    # -- the end

    def keep_logs(self, directory):
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        for name, machine in self.machine.items():
            if machine.host.is_up():
                for what, text in (("log", machine.log()), ("console", machine.guest_console()),
                                   ("dmesg", machine.host.run("dmesg", check=False).stdout)):
                    with open(os.path.join(directory, f"{name}.{what}"), "w",
                              encoding="utf-8") as file:
                        file.write(text)
        for name in os.listdir(self.dir):
            if name.endswith((".console", ".qemu", ".pcap", ".log", ".record")):
                shutil.copy(os.path.join(self.dir, name), directory)

    def close(self):
        for machine in self.machine.values():
            machine.host.kill()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
        run("ip", "netns", "del", self.ns, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


class Files:
    """Where the VM's files are on each host: what Guest.args() asks a side for."""

    console_path = f"{HOME}/console"
    disk = f"{HOME}/disk.raw"
    pipe = None
