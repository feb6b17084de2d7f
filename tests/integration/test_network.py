# SPDX-License-Identifier: GPL-2.0-or-later
"""What the network sees of a guest's cards, and whether it finds the guest after a failover."""

import os
import socket
import threading
import time

from harness import BOTH, LOCKSTEP, check, equal, everyday, note, ways, with_taps
from vmftlab.load import GuestShell
from vmftlab.net import (CLIENT_IP, GUEST_IP, GUEST_MAC, _ip, in_namespace, run)
from vmftlab.pcap import RARP, Capture

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
    pair.inside[name] = with_taps(f"{fd0}=tap0", f"{fd1}={node}")


def everything(pair, ns, port, name):
    """All frames that come in at a port of a switch."""
    capture = Capture(ns, port, os.path.join(pair.dir, f"{name}.pcap"), which="greater 0")
    pair.processes.append(capture.process)
    capture.wait_listening()
    return capture


def answers(pair, address, count=5):
    done = pair.client.run("ping", "-n", "-i", "0.2", "-c", str(count), "-W", "2", address,
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


@everyday("two cards, each gated and announced", LOCKSTEP)
@ways(*BOTH)
def test_cards(name, way):
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
        pair.faults.kill_qemu("A")
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

        _ip(pair.net.host["B"], "link", "set", "up1", "down")
        up = time.time_ns()
        _ip(pair.net.host["B"], "link", "set", "up1", "up")
        pair.wait_said("B", "link (up1|mv0) has come up: announced again", 30)
        pair.wait(lambda: [f for f in wire["B"][1].frames(up) if f.ethertype == RARP],
                  "an announcement when the macvtap's link has come up", 30)
        note(f"{len(wire['B'][0].frames(killed))} frames on wire 0 after the failover")


# -- what the guest has shown

NEW_MAC = "52:54:00:aa:bb:01"
OTHER_MAC = "02:42:0a:07:00:07"  # as a macvlan child has one
GROUP = "239.1.1.1"
VLAN7 = "81000007"
ARP_PROBE = "08060001080006040001"


def shown_frames():
    """From another address, and with a VLAN tag from the card's new one: ARP, as hex."""
    def arp(mac_text, tag):
        source = mac_text.replace(":", "")
        return f"{'ff' * 6}{source}{tag}{ARP_PROBE}{source}00000000{'00' * 6}0a070063"
    return f"{arp(OTHER_MAC, '')} {arp(NEW_MAC, VLAN7)}"


def show(pair):
    """The guest gets another address, uses one more and a VLAN, joins a group; then it is quiet."""
    shell = GuestShell(pair)
    # The connection stands still meanwhile, and a guest that answers is not quiet.
    shell.send("(sleep 1; echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all; ip link set eth0 down; "
               f"ip link set eth0 address {NEW_MAC}; ip link set eth0 up; "
               f"ip route add 224.0.0.0/4 dev eth0; vmft-show eth0 frame {shown_frames()}; "
               f"vmft-show eth0 join {GROUP}) >/dev/null 2>&1 </dev/null &")
    time.sleep(0.3)
    shell.close()


def marks(frames):
    """What of the guest's is in there: addresses, tagged ones, reports."""
    found = set()
    for frame in frames:
        tagged = frame.ethertype == 0x8100
        if tagged:
            found.add(f"{mac(frame.data[6:12])} in {frame.data[14] << 8 & 0xf00 | frame.data[15]}")
        else:
            found.add(mac(frame.data[6:12]))
        if frame.ip_protocol() == 2:
            found.add("report")
    return found


SHOWN = {NEW_MAC, OTHER_MAC, f"{NEW_MAC} in 7", "report"}


def announcements(frames):
    """Announced, not sent by the guest: reverse ARP, also tagged; reports of groups."""
    return [f for f in frames if f.ethertype == RARP or f.ip_protocol() == 2 or
            (f.ethertype == 0x8100 and f.data[16:18] == b"\x80\x35")]


def announced_on(pair, capture, since, what):
    pair.wait(lambda: SHOWN | {GUEST_MAC} <= marks(announcements(capture.frames(since))),
              f"{what}: {SHOWN | {GUEST_MAC}}", 60)


def learnt_at(pair, port):
    """The switch's own view of the guest."""
    fdb = run("bridge", "-n", pair.net.switch, "fdb", "show", "br", "br0").stdout
    mdb = run("bridge", "-n", pair.net.switch, "mdb", "show").stdout
    return (all(f"{address} dev {port} " in fdb for address in (NEW_MAC, OTHER_MAC)) and
            f"port {port} grp {GROUP}" in mdb)


@everyday("a switch finds a quiet guest after a failover", LOCKSTEP)
@ways(*BOTH)
def test_found_again(name, way):
    """A quiet guest is found after a failover to a host whose uplink comes up later, and after
    the next one, to a host whose bridge forwards later; that backup was attached meanwhile."""
    with way.lab(name, captures=False) as pair:
        _ip(pair.net.switch, "link", "set", "br0", "type", "bridge", "mcast_snooping", "1")
        wire = {side: everything(pair, pair.net.switch, f"port{side}", f"all{side}")
                for side in "AB"}
        pair.start_protected()
        show(pair)
        pair.wait(lambda: SHOWN <= marks(wire["A"].frames()), "what the guest shows", 60)
        pair.wait(lambda: learnt_at(pair, "portA"), "the switch to learn", 30)

        _ip(pair.net.host["B"], "link", "set", "up0", "down")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone", "attaching")
        time.sleep(2)
        check(learnt_at(pair, "portA"), "the switch has the guest elsewhere too early")
        up = time.time_ns()
        _ip(pair.net.host["B"], "link", "set", "up0", "up")
        announced_on(pair, wire["B"], up, "announced after the uplink came up")
        check(learnt_at(pair, "portB"), "the switch has not learnt where the guest is")
        pair.wait_said("B", "link up0 has come up: announced again", 30)
        for text in (NEW_MAC, OTHER_MAC, rf"{NEW_MAC} \(VLAN 7\)", f"group {GROUP}"):
            pair.wait_said("B", f"announced on n0: .*{text}", 10)
        pair.wait(lambda: again(wire["B"].frames(up)) >= 8, "it to be announced again", 60)

        pair.start_backup("A")
        pair.wait_attached("B", "A")
        _ip(pair.net.host["A"], "link", "set", "br0", "type", "bridge", "stp_state", "1",
            "forward_delay", "200")
        _ip(pair.net.host["A"], "link", "set", "up0", "down")
        _ip(pair.net.host["A"], "link", "set", "up0", "up")
        killed = time.time_ns()
        pair.faults.kill_qemu("B")
        pair.wait_state("A", "alone", "attaching")
        announced_on(pair, wire["A"], killed, "announced when the bridge forwards")
        check(learnt_at(pair, "portA"), "the switch has not learnt where the guest is")
        pair.wait_said("A", "link up0 has come up: announced again", 30)


def again(frames):
    return len([f for f in frames if f.ethertype == RARP and mac(f.data[6:12]) == OTHER_MAC])
