# SPDX-License-Identifier: GPL-2.0-or-later
"""A protected VM as a domain of libvirt: what an admin does with virsh, and what virsh shows."""

import os
import re
import signal
import time

import pytest

from harness import Loaded, Way, check, equal, everyday, full, keep_logs, note, ways
from vmftlab.guest import READY
from vmftlab.libvirt import LibvirtLab
from vmftlab.net import run
from vmftlab.process import command_name, read
from vmftlab.programs import ROOT, built

SMALL = "<controller type='usb' model='none'/><memballoon model='none'/>"
LOCKSTEP = Way("", "lockstep", machine="pc", devices=SMALL, pair={"strategy": "lockstep"})
# libvirt adds root ports, USB and a balloon.
CHECKPOINT = Way("checkpoint-", "checkpoint", machine="q35", smp=2)
BOTH = (LOCKSTEP, CHECKPOINT)


class Domains:
    """A lab with libvirt; its logs are kept if the test fails."""

    def __init__(self, name, way):
        self.name = name
        self.lab = LibvirtLab(**way.options)

    def __enter__(self):
        self.lab.open()
        return self.lab

    def __exit__(self, kind, error, trace):
        if kind:
            keep_logs(self.lab, self.name)
        self.lab.close()
        left = self.lab.left_behind()
        check(kind or not left, f"left behind: {left}")


def says(pair, name, state):
    found = pair.side[name].domain_state()
    check(found.startswith(state), f"virsh on {name} says {found!r}, not {state!r}")


def descriptors(pid):
    """What a process has open, but for the standard three."""
    directory = f"/proc/{pid}/fd"
    return {os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory) if int(fd) > 2}


def confined(side):
    """QEMU and its monitor are libvirt-qemu's, without capabilities, and the monitor has nothing of
    what libvirt gave QEMU: its monitor's socket, taps, consoles."""
    (monitor,), (qemu,) = side.monitor_pids(), side.qemu_pids()
    for pid in (monitor, qemu):
        status = read(f"/proc/{pid}/status").decode()
        check(re.search(r"^Uid:\s+987\s", status, re.M), f"{command_name(pid)} is not libvirt-qemu's")
        check(re.search(r"^CapEff:\s+0+$", status, re.M), f"{command_name(pid)} has capabilities")
    check("Seccomp:\t2" in status, "QEMU is not in its sandbox")
    check("/dev/net/tun" in descriptors(qemu), "QEMU has no tap")
    found = {name for name in descriptors(monitor) if name.startswith(("socket:", "pipe:", "/dev/net"))}
    equal(found & descriptors(qemu), set(), "what the monitor has inherited")


def protect_again(pair, name, primary):
    """virsh start on a host that has come back, with the XML that it had."""
    pair.start_domain(name)
    pair.wait_attached(primary, name)
    says(pair, name, "paused")
    says(pair, primary, "running")


@everyday("libvirt's domain: found by its name, shown as it is, protected again without an edit")
@ways(*BOTH)
@pytest.mark.timeout(600)
def test_libvirt_failover(name, way):
    """A host dies with everything on it, twice; virsh on the other says that the domain runs there."""
    with Domains(name, way) as pair:
        a, b = pair.side["A"], pair.side["B"]
        loaded = Loaded(pair).start()
        says(pair, "A", "running")
        says(pair, "B", "paused")
        confined(a)
        confined(b)
        xml = a.virsh("dumpxml", "--inactive", pair.prefix).stdout
        equal(b.virsh("dumpxml", "--inactive", pair.prefix).stdout, xml, "the XML of B")
        a.power_off()
        check(not a.qemu_runs() and not a.monitor_pids(), "host A has processes")
        pair.wait_domain("B", "running")
        loaded.settle("after the death of host A")
        a.boot()
        says(pair, "A", "shut off")
        protect_again(pair, "A", "B")
        pair.wait_following("B", "A")
        for side in (a, b):
            side.restart_libvirtd()
        says(pair, "A", "paused")
        says(pair, "B", "running")
        _, differences = pair.compare("B", "A")
        equal(differences, "", "what differs between the sides")
        b.power_off()
        pair.wait_domain("A", "running")
        loaded.settle("after the death of host B")
        equal(a.virsh("dumpxml", "--inactive", pair.prefix).stdout, xml, "the XML of A")
        loaded.verify()


@full("libvirt-failover starts both, one after the other")
@ways(*BOTH)
@pytest.mark.timeout(600)
def test_libvirt_backup_first(name, way):
    """A backup without a primary is started and destroyed; two hosts start a new VM at once."""
    with Domains(name, way) as pair:
        a, b = pair.side["A"], pair.side["B"]
        both_start = ["sh", "-c", f"virsh -q -c qemu:///system start {pair.prefix}"]
        for process in [side.start(*both_start) for side in (a, b)]:
            equal(process.wait(60), 0, "virsh start ended with")
        pair.wait(lambda: pair.paired("A") and pair.paired("B"), "the pair to form")
        states = sorted(side.domain_state().split()[0] for side in (a, b))
        equal(states, ["paused", "running"], "what virsh shows")
        primary, backup = ("A", "B") if a.domain_state().startswith("running") else ("B", "A")
        pair.side[primary].power_off()
        pair.wait_domain(backup, "running")
        # The new primary's host dies, and the other one comes back alone: only a person knows.
        pair.side[primary].boot()
        pair.side[backup].power_off()
        note(f"started without a primary: {pair.start_domain(primary):.1f} s")
        says(pair, primary, "paused")
        pair.side[primary].virsh("destroy", pair.prefix)
        says(pair, primary, "shut off")


@full("libvirt-failover: the record of a generation that a side won")
@ways(*BOTH)
@pytest.mark.timeout(600)
def test_libvirt_power_cut(name, way):
    """Both hosts lose power, and both start the domain when they come back: nobody runs the guest
    until a person says that it is dead. The person starts it where it ran last."""
    with Domains(name, way) as pair:
        a, b = pair.side["A"], pair.side["B"]
        loaded = Loaded(pair).start()
        loaded.load.stop()
        for side in (a, b):
            side.virsh("autostart", pair.prefix)
        # Neither host hears of the other's end before its own.
        pair.net.cut_channel()
        pair.net.cut_heartbeat()
        for side in (a, b):
            side.power_off()
        equal(pair.generations(), [f"{pair.prefix}.gen-1"], "what the arbiter has")
        pair.net.mend_channel()
        pair.net.mend_heartbeat()
        for side in (a, b):
            side.boot()
        for side, said in ((a, "ran on this host"), (b, "alpha has generation 1")):
            pair.wait_said(side.name, said, 60)
            pair.wait_domain(side.name, "paused")
            check("vmft declare-dead" in side.log(), f"nor what to do: {side.log()[-500:]}")
        out = pair.declare_dead("A")
        check("declared dead" in out, out)
        a.virsh("destroy", pair.prefix)
        pair.start_domain("A")
        pair.wait_domain("A", "running")
        pair.wait_attached("A", "B")
        says(pair, "B", "paused")


@full("libvirt-failover: a host that dies ends its domain")
@ways(*BOTH)
@pytest.mark.timeout(600)
def test_libvirt_fenced(name, way):
    """A host hangs and wakes up when the other has taken over. Its domain ends, and its log says
    why."""
    with Domains(name, way) as pair:
        a = pair.side["A"]
        loaded = Loaded(pair).start()
        stopped = [*a.qemu_pids(), *a.monitor_pids()]
        check(len(stopped) == 2, f"QEMU and its monitor: {[command_name(p) for p in stopped]}")
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        pair.wait_domain("B", "running")
        loaded.settle("after the takeover")
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        pair.wait_domain("A", "shut off")
        check("fenced: the backup is live as generation 2" in a.log(), a.log()[-500:])
        protect_again(pair, "A", "B")
        loaded.verify()


@full("the unit tests of how a domain finds its pair")
@pytest.mark.timeout(400)
def test_libvirt_refused(name):
    """virsh start shows the admin why."""
    with Domains(name, LOCKSTEP) as pair:
        a = pair.side["A"]

        def refused(pattern, **keys):
            pair.write_pair(**keys)
            done = a.virsh("start", pair.prefix, check=False)
            check(done.returncode != 0, "it was started")
            check(re.search(pattern, done.stderr), f"virsh does not say /{pattern}/: {done.stderr}")

        refused(r"this is another VM", uuid="c7a5fdbd-edaf-9455-926a-d65c16db1800")
        refused(r"it has name = other, and the domain is vmft", name="other")
        refused(r"write start = alone", start="pair")
        run("ip", "-n", a.ns, "addr", "del", "10.99.0.1/30", "dev", "chan0")
        refused(r"this host has no channel address of the pair file")
        run("ip", "-n", a.ns, "addr", "add", "10.99.0.1/30", "dev", "chan0")
        os.unlink(a.pair_path())
        done = a.virsh("start", pair.prefix, check=False)
        check("there is no pair file of the domain" in done.stderr, done.stderr)
        # libvirt's questions to QEMU need no pair.
        known = a.virsh("domcapabilities", "--emulatorbin", built("vmft-qemu"), "--machine", "q35")
        check("<machine>pc-q35-" in known.stdout, known.stdout[:500])


ROWS = re.compile(r"^\| `(.+?)` \| (\w+) \| (\w+) \| (\w+) \|$", re.MULTILINE)


def rows():
    """The table of docs/libvirt.md: each command of virsh, and what becomes of it."""
    with open(os.path.join(ROOT, "docs", "libvirt.md"), encoding="utf-8") as file:
        return ROWS.findall(file.read())


def outcome(side, command):
    """What virsh makes of a command, in the words of the table."""
    done = side.virsh(*[word.replace("DOMAIN", side.domain) for word in command.split()],
                      check=False)
    if done.returncode == 0:
        return "done", done.stdout
    return ("refused" if "vmft" in done.stderr.replace(side.domain, "") else "libvirt"), done.stderr


def press_power(pair, *names):
    """Presses the power button of A. The QEMU of each of these sides must tell of it."""
    heard = [pair.side[name].start("virsh", "-c", "qemu:///system", "qemu-monitor-event",
                                   pair.prefix, "POWERDOWN", "--timeout", "60") for name in names]
    time.sleep(1)  # virsh does not say when it listens
    pair.side["A"].virsh("shutdown", pair.prefix, "--mode", "acpi")
    for name, process in zip(names, heard):
        equal(process.wait(90), 0, f"{name} tells of its power button")


@full("libvirt-failover, and the unit tests of what QEMU's monitors refuse")
@ways(*BOTH)
@pytest.mark.timeout(600)
def test_libvirt_verbs(name, way):
    """Each row of the table of docs/libvirt.md, on both sides. The pair is protected after each, and
    both sides are equal at the end."""
    wrong = []
    with Domains(name, way) as pair:
        a, b = pair.side["A"], pair.side["B"]
        pair.start_protected()
        for command, lockstep, checkpoint, backup in rows():
            running = lockstep if way.strategy == "lockstep" else checkpoint
            for side, expected in ((a, running), (b, backup)):
                found, said = outcome(side, command)
                if found != expected.replace("nothing", "done"):
                    wrong.append(f"{command} on {side.name}: {found}, not {expected}: {said.strip()}")
            check(a.qemu_runs() and b.qemu_runs(), f"QEMU has ended after {command}")
            pair.wait(lambda: pair.paired("A") and pair.paired("B"), f"a pair after {command}", 60)
        equal(wrong, [], "rows that are wrong")
        pair.wait(lambda: len(re.findall(READY, a.console().decode(errors="replace"))) > 1,
                  "the guest to boot again after its reset")
        says(pair, "A", "running")
        says(pair, "B", "paused")
        press_power(pair, *("AB" if way.strategy == "lockstep" else "A"))
        pair.wait_following()
        _, differences = pair.compare("A", "B")
        equal(differences, "", "what differs between the sides")
        a.power_off()
        pair.wait_domain("B", "running")


@full("ends: SIGTERM to QEMU")
@ways(*BOTH)
@pytest.mark.timeout(600)
def test_libvirt_destroy(name, way):
    """virsh destroy of a backup ends the backup only; of the running domain, both."""
    with Domains(name, way) as pair:
        pair.start_protected()
        pair.side["B"].virsh("destroy", pair.prefix)
        says(pair, "B", "shut off")
        pair.wait_state("A", "alone")
        says(pair, "A", "running")
        protect_again(pair, "B", "A")
        pair.side["A"].virsh("destroy", pair.prefix)
        says(pair, "A", "shut off")
        pair.wait_domain("B", "shut off")
        # It ended on A: B waits for A's images, A starts.
        pair.start_domain("B")
        says(pair, "B", "paused")
        pair.start_domain("A")
        pair.wait_domain("A", "running")
        pair.wait_attached("A", "B")
