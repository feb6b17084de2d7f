# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces and the links between them.

      client          switch (br0)
      eth0 ---------- portC
                      portA ---- up0  hostA (br0: up0, tap0)
                      portB ---- up0  hostB (br0: up0, tap0)
                                 chan0 hostA ==== hostB chan0   logging channel
                                 beat0 hostA ==== hostB beat0   heartbeat path

The guest's tap hangs on a bridge of its own host, so the switch knows only by its own
learning which port the guest is behind, and a failover must make it learn anew.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess

GUEST_MAC = "52:54:00:12:34:56"
GUEST_IP = "10.7.0.2"
CLIENT_IP = "10.7.0.1"
CHANNEL_IP = {"A": "10.99.0.1", "B": "10.99.0.2"}
CHANNEL_PORT = 7700
HEARTBEAT_IP = {"A": "10.98.0.1", "B": "10.98.0.2"}
HEARTBEAT_PORT = 7701

CLONE_NEWNET = 0x40000000
SIOCETHTOOL, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO = 0x8946, 0x1F, 0x24, 0x2C


def run(*command, check=True, **options):
    """Runs a command to its end; what it printed is part of the error, if there is one."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: "
                           f"{(done.stderr or done.stdout).strip()}")
    return done


class Network:
    """The four namespaces of one lab. Their names begin with the lab's own prefix."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.host = {"A": f"{prefix}-hostA", "B": f"{prefix}-hostB"}
        self.switch = f"{prefix}-switch"
        self.client = f"{prefix}-client"
        self.all = [*self.host.values(), self.switch, self.client]

    def create(self):
        for ns in self.all:
            _namespace(ns)
        _bridge(self.switch)
        for side, ns in self.host.items():
            _bridge(ns)
            _ip(ns, "tuntap", "add", "dev", "tap0", "mode", "tap")
            _enslave(ns, "tap0")
            _ip(ns, "link", "add", "up0", "type", "veth",
                "peer", "name", f"port{side}", "netns", self.switch)
            _enslave(ns, "up0")
            _enslave(self.switch, f"port{side}")
        _ip(self.client, "link", "add", "eth0", "type", "veth",
            "peer", "name", "portC", "netns", self.switch)
        _enslave(self.switch, "portC")
        _address(self.client, "eth0", f"{CLIENT_IP}/24")
        for device, address in (("chan0", CHANNEL_IP), ("beat0", HEARTBEAT_IP)):
            _ip(self.host["A"], "link", "add", device, "type", "veth",
                "peer", "name", device, "netns", self.host["B"])
            for side, ns in self.host.items():
                _address(ns, device, f"{address[side]}/30")

    def add_namespace(self, name, switch=False):
        """One more; it is removed with the others. Returns its whole name."""
        ns = f"{self.prefix}-{name}"
        self.all.append(ns)
        _namespace(ns)
        if switch:
            _bridge(ns)
        return ns

    def plug(self, ns, device, address, switch, port):
        """A device of a namespace's own at a port of a switch."""
        _ip(ns, "link", "add", device, "type", "veth", "peer", "name", port, "netns", switch)
        _enslave(switch, port)
        _address(ns, device, address)

    def set_port(self, switch, port, up):
        """Down: whoever is plugged in there is cut off, and sees its own device lose its link."""
        _ip(switch, "link", "set", port, "up" if up else "down")

    def has_link(self, ns, device):
        return "state UP" in _ip(ns, "-o", "link", "show", device)

    def cut_channel(self):
        """Down on one end: nobody is told anything, frames are lost in both directions."""
        _ip(self.host["A"], "link", "set", "chan0", "down")

    def mend_channel(self):
        _ip(self.host["A"], "link", "set", "chan0", "up")

    def swallow_large_frames(self, mtu=9000):
        """The hosts' ends of the channel have that MTU, a switch between them drops what is over
        1500 and says nothing. Done to a channel that is cut meanwhile; returns the switch."""
        middle = self.add_namespace("middle", switch=True)
        _ip(self.host["A"], "link", "delete", "chan0")
        for side, ns in self.host.items():
            port = f"port{side}"
            self.plug(ns, "chan0", f"{CHANNEL_IP[side]}/30", middle, port)
            _ip(ns, "link", "set", "chan0", "mtu", str(mtu))
            # What A sends gets into the switch and is dropped there, as on a real network; what B
            # sends is dropped by its own end of the veth.
            if side == "A":
                _ip(middle, "link", "set", port, "mtu", str(mtu))
            # One packet is one frame, on both ends of a veth.
            for place, device in ((ns, "chan0"), (middle, port)):
                in_namespace(place, lambda d=device: _no_offloads(d))
        return middle

    def set_channel_mtu(self, mtu):
        for ns in self.host.values():
            _ip(ns, "link", "set", "chan0", "mtu", str(mtu))

    def cut_heartbeat(self):
        _ip(self.host["A"], "link", "set", "beat0", "down")

    def mend_heartbeat(self):
        _ip(self.host["A"], "link", "set", "beat0", "up")

    def heartbeat_is_cut(self):
        return "state UP" not in _ip(self.host["B"], "-o", "link", "show", "beat0")

    def misdirect(self, side, device):
        """What a host sends on one of the two links is lost; what it is sent still comes. Its
        frames go to nobody's address: not every kernel has netem."""
        peer = (CHANNEL_IP if device == "chan0" else HEARTBEAT_IP)["B" if side == "A" else "A"]
        _ip(self.host[side], "neigh", "replace", peer, "lladdr", "02:00:00:00:00:01",
            "dev", device, "nud", "permanent")

    def slow_channel(self, rate, burst_kb=32):
        """As tc(8) writes rates. In both directions; little is queued on the way."""
        for ns in self.host.values():
            run("tc", "-n", ns, "qdisc", "add", "dev", "chan0", "root", "tbf", "rate", rate,
                "burst", f"{burst_kb}kb", "limit", "128kb")

    def fast_channel(self):
        for ns in self.host.values():
            run("tc", "-n", ns, "qdisc", "del", "dev", "chan0", "root")

    def channel_is_cut(self):
        return not self.has_link(self.host["B"], "chan0")

    def channel_bytes(self, side):
        """What a host has sent on the channel so far, headers of all layers included."""
        return self._sent(side, "chan0")["bytes"]

    def heartbeats(self, side):
        """How many packets a host has sent on the heartbeat path so far."""
        return self._sent(side, "beat0")["packets"]

    def _sent(self, side, device):
        shown = json.loads(_ip(self.host[side], "-s", "-j", "link", "show", device))
        return shown[0]["stats64"]["tx"]

    def guest_port(self):
        """The switch port the guest's MAC was last learnt on, or None."""
        shown = run("bridge", "-n", self.switch, "fdb", "show", "br", "br0").stdout
        for line in shown.splitlines():
            words = line.split()
            if words[:2] == [GUEST_MAC, "dev"]:
                return words[2]
        return None

    def pids(self):
        found = []
        for ns in self.all:
            done = run("ip", "netns", "pids", ns, check=False)
            found += [int(word) for word in done.stdout.split()]
        return found

    def remove(self):
        for ns in self.all:
            if os.path.exists(f"/run/netns/{ns}"):
                run("ip", "netns", "del", ns, check=False)

    def left(self):
        return [ns for ns in self.all if os.path.exists(f"/run/netns/{ns}")]


def _ip(ns, *words):
    return run("ip", "-n", ns, *words).stdout


def _namespace(ns):
    run("ip", "netns", "add", ns)
    _quiet_ipv6(ns)
    _ip(ns, "link", "set", "lo", "up")


def _bridge(ns):
    _ip(ns, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0",
        "mcast_snooping", "0")
    _ip(ns, "link", "set", "br0", "up")


def _enslave(ns, device):
    _ip(ns, "link", "set", device, "master", "br0", "up")


def _address(ns, device, address):
    _ip(ns, "addr", "add", address, "dev", device)
    _ip(ns, "link", "set", device, "up")


def _quiet_ipv6(ns):
    """Neighbour discovery of our own interfaces would only blur the captures."""
    script = ("for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do "
              "[ ! -e $f ] || echo 1 > $f; done")
    run("ip", "netns", "exec", ns, "sh", "-c", script)


def in_namespace(ns, make):
    """What make() returns, called in a namespace: a socket keeps the one it was made in.

    setns(2) moves the calling thread only, and it is moved back at once.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{ns}", "rb") as target, open("/proc/thread-self/ns/net", "rb") as own:
        if libc.setns(target.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {ns}")
        try:
            return make()
        finally:
            if libc.setns(own.fileno(), CLONE_NEWNET) != 0:
                os.abort()


def _socket_in(ns, kind):
    return in_namespace(ns, lambda: socket.socket(socket.AF_INET, kind))


def _no_offloads(device):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in (ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO):
            value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
            fcntl.ioctl(any_socket, SIOCETHTOOL,
                        struct.pack("16sP16x", device.encode(), ctypes.addressof(value)))


def udp_socket(ns, address, port):
    """Packets go to and come from that address only. Nothing is sent yet."""
    made = _socket_in(ns, socket.SOCK_DGRAM)
    made.connect((address, port))
    return made


def tcp_socket(ns, timeout=30):
    made = _socket_in(ns, socket.SOCK_STREAM)
    made.settimeout(timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def tcp_connect(ns, address, port, timeout=30):
    made = tcp_socket(ns, timeout)
    try:
        made.connect((address, port))
    except OSError:
        made.close()
        raise
    return made
