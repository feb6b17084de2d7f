# SPDX-License-Identifier: GPL-2.0-or-later
"""What the network sees of a guest's cards, and whether it finds the guest after a failover."""

import os
import socket
import sys
import threading
import time

from harness import check, drill, equal, note
from vmftlab.load import GuestShell
from vmftlab.net import (CLIENT_IP, GUEST_IP, GUEST_MAC, _ip, in_namespace, run)
from vmftlab.pcap import RARP, Capture

HERE = os.path.dirname(os.path.abspath(__file__))

MAC1, IP1, CLIENT_IP1 = "52:54:00:12:34:66", "10.8.0.2", "10.8.0.1"
ARP = 0x0806

# Descriptors of the two cards' taps: in falling order on one host, in rising order on the other,
# and beyond what a process may have open by default.
FDS = {"A": (2007, 9), "B": (7, 2009)}


def mac(data):
    return data.hex(":")


def second_wire(pair):
    """Each host has a macvtap on an uplink of its own to a second switch; the client is there too."""
    switch = pair.net.add_namespace("switch2", switch=True)
    for name, ns in pair.net.host.items():
        _ip(ns, "link", "add", "up1", "type", "veth", "peer", "name", f"port{name}",
            "netns", switch)
        _ip(switch, "link", "set", f"port{name}", "master", "br0", "up")
        _ip(ns, "link", "set", "up1", "up")
        _ip(ns, "link", "add", "link", "up1", "name", "mv0", "address", MAC1,
            "type", "macvtap", "mode", "bridge")
        _ip(ns, "link", "set", "mv0", "up")
        hand_over(pair, name, macvtap_node(pair, name))
    pair.net.plug(pair.net.client, "eth1", f"{CLIENT_IP1}/24", switch, "portC")
    return switch


def macvtap_node(pair, name):
    """Its character device; where there is no udev nobody makes one under /dev."""
    shown = run("ip", "netns", "exec", pair.net.host[name], "sh", "-c",
                "cat /sys/class/net/mv0/macvtap/tap*/dev").stdout
    node = os.path.join(pair.side[name].dir, "macvtap")
    os.mknod(node, 0o020600, os.makedev(*map(int, shown.split(":"))))
    return node


def hand_over(pair, name, node):
    fd0, fd1 = FDS[name]
    pair.edit[name] = lambda args: [
        f"tap,id=n0,fd={fd0}" if arg.startswith("tap,id=n0") else arg for arg in args
    ] + ["-netdev", f"tap,id=n1,fd={fd1}", "-device", f"virtio-net-pci,netdev=n1,mac={MAC1}"]
    pair.inside[name] = (f'set -- {sys.executable} {HERE}/tapfds.py {fd0}=tap0 {fd1}={node} '
                         f'-- "$@"')


def everything(pair, ns, port, name):
    """All frames that come in at a port of a switch."""
    capture = Capture(ns, port, os.path.join(pair.dir, f"{name}.pcap"), which="greater 0")
    pair.processes.append(capture.process)
    capture.wait_listening()
    return capture


def answers(pair, address, count=5):
    done = pair.client_run("ping", "-n", "-i", "0.2", "-c", str(count), "-W", "2", address,
                           check=False)
    return done.stdout.count("time=")


class Storm:
    """Somebody on wire 0 asks for the guest's address there, 250 times a second."""

    def __init__(self, pair):
        self.sock = in_namespace(pair.net.client, self._open)
        shown = _ip(pair.net.client, "-o", "link", "show", "eth0")
        own = bytes.fromhex(shown.split("link/ether ")[1].split()[0].replace(":", ""))
        self.frame = (b"\xff" * 6 + own + bytes.fromhex("08060001080006040001") + own +
                      socket.inet_aton(CLIENT_IP) + bytes(6) +
                      socket.inet_aton(GUEST_IP)).ljust(60, b"\0")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @staticmethod
    def _open():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind(("eth0", ARP))
        return sock

    def _run(self):
        while not self._stop.wait(0.004):
            self.sock.send(self.frame)

    def stop(self):
        self._stop.set()
        self._thread.join(10)
        self.sock.close()


@drill("cards")
def cards(name, way):
    """Two cards, a tap and a macvtap, handed over in an order of each host's own: each is gated,
    announced with its own address, and given its own wire's frames only."""
    with way.lab(name) as pair:
        switch2 = second_wire(pair)
        wire = {
            "A": (everything(pair, pair.net.switch, "portA", "allA"),
                  everything(pair, switch2, "portA", "allA1")),
            "B": (everything(pair, pair.net.switch, "portB", "allB"),
                  everything(pair, switch2, "portB", "allB1")),
        }
        pair.start_protected()
        shell = GuestShell(pair)
        shell.run(f"echo 1 >/proc/sys/net/ipv6/conf/eth1/disable_ipv6; "
                  f"ip addr add {IP1}/24 dev eth1; ip link set eth1 up")
        shell.close()
        equal([answers(pair, GUEST_IP), answers(pair, IP1)], [5, 5], "answers before")

        pair.command("B", "hold-acks")
        time.sleep(0.5)
        held = time.time_ns()
        equal([answers(pair, GUEST_IP, 3), answers(pair, IP1, 3)], [0, 0], "answers, acks held")
        check(pair.status("A")["gate_frames"] >= 6, "the gate holds no answers")
        for capture in wire["A"]:
            leaked = [f for f in capture.frames(held) if mac(f.data[6:12]) in (GUEST_MAC, MAC1)]
            equal(len(leaked), 0, "frames of the guest that left while acks were held")
        pair.command("B", "release-acks")
        pair.wait(lambda: pair.status("A")["gate_frames"] == 0, "the gate to empty", 30)

        storm = Storm(pair)
        time.sleep(1)
        killed = time.time_ns()
        pair.kill_qemu("A")
        pair.wait_state("B", "alone")
        time.sleep(2)
        storm.stop()
        for capture, own, other in zip(wire["B"], (GUEST_MAC, MAC1), (MAC1, GUEST_MAC)):
            frames = capture.frames(killed)
            announced = {mac(f.data[6:12]) for f in frames if f.ethertype == RARP}
            equal(announced, {own}, "announced on the wire")
            equal(len([f for f in frames if mac(f.data[6:12]) == other]), 0,
                  "frames of the other card")
        wrong = [f for f in wire["B"][1].frames(killed)
                 if f.ethertype == ARP and f.data[28:32] == socket.inet_aton(GUEST_IP)]
        equal(len(wrong), 0, "answers on wire 1 to what was asked on wire 0")
        equal([answers(pair, GUEST_IP), answers(pair, IP1)], [5, 5], "answers afterwards")
        note(f"{len(wire['B'][0].frames(killed))} frames on wire 0 after the failover")
