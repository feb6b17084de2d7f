# SPDX-License-Identifier: GPL-2.0-or-later
"""Attaching a backup to a guest that runs, and being protected again after a failover."""

import os
import re
import time

import pytest

from attaching import (alone, attach_compared, lead_to, phase, start_alone, start_held, unprotect)
from harness import (ASAN_CHECKPOINT, ASAN_LOCKSTEP, BOTH, CHECKPOINT, LOCKSTEP, TCG_1,
                     captures_whole, check, equal, everyday, full, note, silent, ways, workload,
                     writer_to)
from vmftlab.guest import READY
from vmftlab.load import GuestShell
from vmftlab.net import CHANNEL_IP, CHANNEL_PORT, HEARTBEAT_IP, HEARTBEAT_PORT
from vmftlab.watch import PAIRED

RNG_PERIOD_S = 3
REBOOTS = b"reboot: Restarting system"

# What the monitors may hold of their own, whatever the guest's size (docs/attach.md).
MONITOR_ANON_KB = 8 * 1024


@full("divergence and reprotect compare a few attaches; this finds what is rare")
@ways(LOCKSTEP)
@pytest.mark.timeout(900)
def test_attach_thirty(name, way):
    attaches(name, way, 30)


@full("reprotect does a few attaches; this finds what is rare")
@ways(CHECKPOINT)
@pytest.mark.timeout(400)
def test_attach_ten(name, way):
    attaches(name, way, 10)


def attaches(name, way, count):
    """`count` attaches in a row under dd with fsync, downloads, pings and writes.

    The guest is told to stop at the first entry after the attach point. There memory and disks of
    both sides are compared. Then the guest continues, protected, until the backup's host is lost.
    """
    # A frozen guest logs nothing, so its backup replays nothing. With the long silence-ms neither side
    # takes that for a fault.
    with alone(name, way, pair={"silence-ms": "20000"}) as pair:
        load = workload(pair)
        load.start()
        load.wait_progress("before")
        stuns = []
        for number in range(count):
            before = len(load.writer.acks())
            pair.command("A", "freeze")
            pair.start_backup("B")
            equal(pair.compare("A", "B")[1], "", f"differences after attach {number + 1}")
            last = pair.wait_attached("A", "B")["attach_last"]
            stuns.append(last["stun_ms"])
            pair.wait(lambda: len(load.writer.acks()) > before, "writes by the protected guest")
            equal(pair.status("A")["attached"], number + 1, "attaches counted")
            pair.end_side("B")
            pair.wait_state("A", "alone", "attaching")
        load.stop()
        equal(load.faults(), "", "what clients saw go wrong")
        verified, lost = load.writer.verify()
        equal((verified, lost), (len(load.writer.acks()), 0), "writes verified and lost")
        stuns.sort()
        note(f"{count} attaches, identical; stun median {stuns[count // 2]:.1f} ms, worst "
             f"{stuns[-1]:.1f} ms")


def ticks(pair, side):
    """Seconds of the guest's own time, since it booted."""
    return pair.side[side].console().count(b"\ntick ")


@full("the default board is loaded by every attach; this loads another, again and again")
@ways(LOCKSTEP)
@pytest.mark.timeout(600)
def test_attach_q35(name, way):
    """A board with devices (ICH9) that may load state only into a machine that was reset since it
    ran: attached idle, under load, and by each survivor of a chain."""
    with way.lab(name, captures=False, machine="q35",
                 pair={"start": "alone", "silence-ms": "20000"}) as pair:
        start_alone(pair)
        attach_compared(pair, "A", "B", "of an idle guest")
        unprotect(pair, "A", "B")
        load = workload(pair)
        load.start()
        load.wait_progress("before")
        attach_compared(pair, "A", "B", "under load")
        live, other = "A", "B"
        for number in range(2):
            pair.faults.kill_qemu(live)
            pair.wait_state(other, "alone")
            live, other = other, live
            attach_compared(pair, live, other, f"after failover {number + 1}")
            load.wait_progress(f"after failover {number + 1}")
        load.stop()
        equal(load.faults(), "", "what clients saw go wrong")
        equal(load.writer.verify(), (len(load.writer.acks()), 0), "writes verified and lost")


def for_ever_booting(args):
    """The arguments of a guest whose first process reboots it."""
    at = args.index("-append") + 1
    return [*args[:at], f"{args[at]} rdinit=/bin/busybox -- reboot -f", *args[at + 1:]]


@full("firmware runs while a backup is attached: rare in use, slow to meet")
@ways(LOCKSTEP)
@pytest.mark.timeout(400)
def test_attach_booting(name, way):
    """A guest that reboots as soon as it has booted, so whenever a backup is attached, firmware or
    kernel is booting. What the firmware builds, and what QEMU keeps of it, is the same on both
    sides."""
    for machine in ("pc", "q35"):
        with way.lab(f"{name}-{machine}", captures=False, machine=machine,
                     pair={"start": "alone", "silence-ms": "20000"}) as pair:
            pair.start_side("A", args=for_ever_booting(pair.qemu_args("A")))
            pair.wait_state("A", "alone")
            attach_compared(pair, "A", "B", f"of a booting {machine}",
                            args=for_ever_booting(pair.qemu_args("B")))
            count = pair.side["A"].console().count(REBOOTS)
            pair.wait(lambda: pair.side["A"].console().count(REBOOTS) > count, "a reboot")
            pair.wait_following()


@full("the state of one device; disks and cards are in every attach of the everyday suite")
@ways(LOCKSTEP)
def test_attach_rng(name, way):
    """The timer of the random generator gives the guest a new quota, and is in no saved state. The
    backup is attached while the timer runs and the quota is used up; then the guest is idle for
    longer than the timer takes."""
    with way.lab(name, captures=False, pair={"start": "alone", "silence-ms": "20000"}) as pair:
        args = {side: [*pair.qemu_args(side), "-device",
                       f"virtio-rng-pci,max-bytes=64,period={RNG_PERIOD_S * 1000}"]
                for side in "AB"}
        start_alone(pair, args["A"])
        shell = GuestShell(pair)
        shell.send("while true; do dd if=/dev/hwrng of=/dev/null bs=64 count=1 2>/dev/null; done &")
        began = ticks(pair, "A")
        pair.wait(lambda: ticks(pair, "A") > began + 1, "the quota to be used up")
        for number in range(2):
            attach_compared(pair, "A", "B", f"while a quota runs, {number + 1}", args=args["B"])
            began = ticks(pair, "A")
            pair.wait(lambda: ticks(pair, "A") > began + 2 * RNG_PERIOD_S, "two quotas")
            pair.wait_following()
            equal(pair.compare("A", "B")[1], "", "differences after two quotas")
            if number == 0:
                unprotect(pair, "A", "B")


@everyday("a guest that began alone is protected and survives its host", LOCKSTEP)
@ways(*BOTH)
def test_attach_then_failover(name, way):
    """A guest that ran alone is protected, survives its host, and reboots on the new one."""
    with alone(name, way, captures=True) as pair:
        load = workload(pair)
        load.start()
        load.wait_progress("before")
        pair.start_backup("B")
        pair.wait_attached("A", "B")
        load.wait_progress("while protected")
        equal(len(pair.capture["B"].frames()), 0, "frames from the backup")
        pair.faults.kill_qemu("A")
        killed = time.time_ns()
        pair.wait_state("B", "alone")
        load.wait_progress("after the failover")
        silent(pair, "A", killed, "after its QEMU was killed")
        load.stop()
        equal(load.faults(), "", "what clients saw go wrong")
        equal(load.writer.verify(), (len(load.writer.acks()), 0), "writes verified and lost")
        captures_whole(pair)
        # Firmware, ROMs and ACPI tables are not in vmft.ram. A reboot shows that they were copied too.
        GuestShell(pair).send("sync; reboot -f")
        pair.wait(lambda: pair.side["B"].console().count(READY.encode()) == 1,
                  "the guest to boot on the new host")


@everyday("attaches without a bad access or undefined behaviour", ASAN_CHECKPOINT)
@everyday("roles change again and again, the image is copied each time")
@ways(*BOTH, ASAN_LOCKSTEP, ASAN_CHECKPOINT)
@pytest.mark.timeout(400)
def test_reprotect(name, way):
    """A fails to B, B is protected by A, B fails to A; the backup dies, and another comes."""
    with way.lab(name, captures=False) as pair:
        pair.start_protected()
        writer = writer_to(pair)
        writer.start()
        live, other = "A", "B"
        for _ in range(2):
            seen = len(writer.acks())
            pair.wait(lambda: len(writer.acks()) > seen + 20, "writes")
            pair.faults.kill_qemu(live)
            pair.wait_state(other, "alone")
            pair.start_backup(live)
            pair.wait_attached(other, live)
            live, other = other, live
        equal(pair.status(live)["generation"], 3, "generation after two failovers")
        pair.faults.kill_host(other)
        pair.wait_state(live, "alone")
        pair.start_backup(other)
        pair.wait_attached(live, other)
        pair.wait_following(live, other)
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "writes verified and lost")


@full("a third host is another address in the same exchange as reprotect")
@ways(*BOTH)
def test_attach_spare(name, way):
    """A third host takes the place of one that does not come back."""
    with alone(name, way) as pair:
        control = os.path.join(pair.dir, "spare.sock")
        with open(pair.pair_path, "a", encoding="utf-8") as file:
            # The third host is another port of A's host; A's first side is dead by then.
            file.write(f"[spare]\nchannel = {CHANNEL_IP['A']}:{CHANNEL_PORT + 1}\n"
                       f"heartbeat = {HEARTBEAT_IP['A']}:{HEARTBEAT_PORT + 1}\n"
                       f"control = {control}\n")
        writer = writer_to(pair)
        writer.start()
        pair.start_backup("B")
        pair.wait_attached("A", "B")
        pair.faults.kill_host("A")
        pair.wait_state("B", "alone")
        pair.side["A"].control = control
        pair.start_side("A", role="backup", host="spare")
        pair.wait_attached("B", "A")
        equal(pair.status("A")["host"], "spare", "the host that protects the guest")
        pair.faults.kill_qemu("B")
        pair.wait_state("A", "alone")
        seen = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > seen + 5, "writes on the spare host")
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "writes verified and lost")


@everyday("output is free during an attach and held from the pair on", TCG_1)
@ways(*BOTH, TCG_1)
def test_attach_output_open(name, way):
    """Output leaves at once while a backup is attached, and waits for acks once there is a pair."""
    with alone(name, way, captures=True) as pair:
        writer = writer_to(pair, interval_ms=10)
        writer.start()
        start_held(pair)
        lead_to(pair, "catching-up")
        seen = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > seen + 20, "writes after the attach point")
        equal(phase(pair), "catching-up", "phase meanwhile")
        equal(pair.status("A")["gate_frames"], 0, "frames held after the attach point")
        lead_to(pair, "sealing")
        time.sleep(1)  # for frames that were on their way
        closed = time.time_ns()
        time.sleep(2)
        silent(pair, "A", closed, "while the backup does not have all of it")
        check(pair.status("A")["gate_frames"] > 0, "no frame is held, so the test shows nothing")
        pair.command("A", "release-attach")
        pair.wait_attached("A", "B")
        pair.command("B", "hold-acks")
        time.sleep(0.5)
        held = time.time_ns()
        time.sleep(2)
        silent(pair, "A", held, "while the backup keeps its acks back")
        pair.command("B", "release-acks")
        seen = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > seen + 5, "writes after the acks")
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "writes verified and lost")
        captures_whole(pair)


def anon_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"RssAnon:\s+(\d+) kB", file.read())[1])


@full("the guest's throttle is under test in lag; this takes a minute of copying")
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_attach_slow_link(name, way):
    """The guest writes memory faster than the cap lets it be copied. The status shows that the
    guest is slowed, the attach comes to an end, and the monitors hold no more memory than usual."""
    with alone(name, way, pair={"attach-mib-per-s": "8", "stun-ms": "20"}) as pair:
        shell = GuestShell(pair)
        shell.send("while true; do dd if=/dev/zero of=/junk bs=64k count=512 2>/dev/null; "
                   "done")
        pair.start_backup("B")
        most = throttled = 0
        rounds = []

        def attached():
            nonlocal most, throttled
            status = pair.status("A")
            most = max([most, *(anon_kb(pid) for side in "AB"
                                for pid in pair.side[side].monitor_pids())])
            throttled = max(throttled, status["throttle_permille"]
                            if status["attach_phase"] in ("copying", "scanning") else 0)
            rounds.append(status["attach_round"])
            return status["state"] in PAIRED
        pair.wait(attached, "the attach to come to its end", 300)
        check(throttled > 0, "the guest was not slowed")
        pair.wait_said("A", "memory is written faster than it can be copied", 10)
        check(most < MONITOR_ANON_KB, f"a monitor held {most} kB of its own")
        note(f"{max(rounds)} rounds, slowed by {throttled / 10:.0f} %, monitors {most} kB")
        pair.wait(lambda: pair.status("A")["throttle_permille"] < 900, "its speed back", 60)
