# SPDX-License-Identifier: GPL-2.0-or-later
"""Attaching a backup to a guest that runs, and being protected again after a failover."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import sys
import time

import pytest

from harness import (ASAN_CHECKPOINT, ASAN_LOCKSTEP, BOTH, CHECKPOINT, LOCKSTEP, TCG_1,
                     captures_whole, check, equal, everyday, full, note, silent, ways, workload,
                     writer_to)
from vmftlab.guest import READY
from vmftlab.watch import PAIRED
from vmftlab.programs import directory, built
from vmftlab.load import GuestShell
from vmftlab.net import CHANNEL_IP, CHANNEL_PORT, HEARTBEAT_IP, HEARTBEAT_PORT

MIB = 1 << 20
RNG_PERIOD_S = 3
REBOOTS = b"reboot: Restarting system"

# What the monitors may hold of their own, whatever the guest's size (docs/attach.md).
MONITOR_ANON_KB = 8 * 1024


@contextlib.contextmanager
def alone(name, way, memory=None, pair=None, captures=False):
    """A guest that runs on A without a backup."""
    with way.lab(name, captures=captures, pair={"start": "alone", **(pair or {})}) as made:
        if memory:
            made.guest.memory = memory
        start_alone(made)
        yield made


def start_alone(pair, args=None):
    pair.start_side("A", args=args)
    pair.wait(lambda: pair.state("A") == "alone", "the primary to run alone")
    pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot")


def phase(pair, side="A"):
    found = pair.peek(side)
    return found["attach_phase"] if found else None


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
    """So many attaches in a row under dd with fsync, downloads, pings and writes.

    The guest is told to stop at the first entry behind the attach point, where both sides
    are compared whole; then it goes on, protected, until the backup's host is lost.
    """
    # A guest that is kept frozen lets nothing be replayed: that is no lag of the backup's.
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


def attach_compared(pair, live, other, what, args=None):
    """Attaches and compares both sides whole at the first entry behind the attach point."""
    pair.command(live, "freeze")
    pair.start_backup(other, args=args)
    equal(pair.compare(live, other)[1], "", f"differences after an attach {what}")
    pair.wait_attached(live, other)


def ticks(pair, side):
    """Seconds of the guest's own time, since it booted."""
    return pair.side[side].console().count(b"\ntick ")


def unprotect(pair, live, other):
    pair.end_side(other)
    pair.wait_state(live, "alone", "attaching")


@full("the default board is loaded by every attach; this loads another, again and again")
@ways(LOCKSTEP)
@pytest.mark.timeout(600)
def test_attach_q35(name, way):
    """A board whose devices may not load state into a machine that has run without a reset in
    between (ICH9): attached idle, under load, and by each survivor of a chain."""
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
    """Of a guest whose first process reboots it."""
    at = args.index("-append") + 1
    return [*args[:at], f"{args[at]} rdinit=/bin/busybox -- reboot -f", *args[at + 1:]]


@full("firmware runs while a backup is attached: rare in use, slow to meet")
@ways(LOCKSTEP)
@pytest.mark.timeout(400)
def test_attach_booting(name, way):
    """A guest that reboots as soon as it has booted: whenever a backup is attached, firmware or
    kernel is on its way. What the firmware builds, and what QEMU keeps of it, is the same on
    both sides."""
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
    """The random generator's timer, which gives the guest its quota anew, is in no saved state:
    attached while it runs and the quota is used up, then idle for longer than it takes."""
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
        # Firmware, ROMs and ACPI tables are no part of vmft.ram: they were carried too.
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


# --- faults in each phase -----------------------------------------------------

# As status names them, in their order. A phase that the primary leaves by itself is held.
PHASES = ("tracking", "offered", "comparing", "copying", "scanning", "stopping", "sending",
          "catching-up", "sealing")


def phases(way):
    """In which an attach can be kept. A backup that is sent state has its QEMU up already: it
    answers an offer at once."""
    return [phase for phase in PHASES if not (way.sends_state and phase == "offered")]


def start_held(pair):
    """A backup on B whose attach stays in its first phase, however soon it begins."""
    pair.command("A", "hold-attach")
    pair.start_backup("B")
    pair.attach_now("A")


def lead_to(pair, wanted):
    """Step by step into a phase, in which the attach then stays."""
    pair.wait(lambda: phase(pair) != "idle", "the attach to begin")
    while (now := phase(pair)) != wanted:
        check(now in PHASES, f"the attach is {now}: {pair.status('A')['attach_error']}")
        # This one ends with the backup's answer, held or not: a step would be the next phase's.
        if now != "offered":
            pair.command("A", "step-attach")
        pair.wait(lambda: phase(pair) != now, f"the attach to leave {now}")


def goes_on(pair, writer, what):
    """The primary lives as before, says why the attempt failed, and will try again."""
    seen = len(writer.acks())
    pair.wait(lambda: len(writer.acks()) > seen + 5, f"writes {what}")
    # Of an attempt that is over nothing may slow the guest; the next one may have begun.
    pair.wait(lambda: pair.status("A")["throttle_permille"] == 0, f"the guest's full speed {what}",
              20)
    status = pair.status("A")
    check(status["state"] in ("alone", "attaching"), f"state of A {what}: {status['state']}")
    check(status["attach_failures"] > 0, f"no failed attempt counted {what}")
    check(status["attach_error"], f"status does not say why {what}")
    return status["attach_error"]


def fault_in_each_phase(name, way, phases, fault, heal, expect):
    with alone(name, way) as pair:
        writer = writer_to(pair, interval_ms=10)
        writer.start()
        for wanted in phases:
            failures = pair.status("A")["attach_failures"]
            start_held(pair)
            lead_to(pair, wanted)
            pair.side["B"].may_end = True
            fault(pair)
            pair.wait(lambda: pair.status("A")["attach_failures"] > failures,
                      f"the attempt to fail while {wanted}")
            pair.command("A", "release-attach")
            why = goes_on(pair, writer, f"after the fault while {wanted}")
            check(re.search(expect, why), f"the reason given while {wanted}: {why}")
            note(f"{wanted}: {why}")
            pair.end_side("B")
            heal(pair)
        pair.start_backup("B")
        pair.attach_now("A")
        pair.wait_attached("A", "B")
        equal(pair.status("A")["attach_error"], "", "error after an attach that went well")
        pair.wait_following()
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "writes verified and lost")


@everyday("an attach that fails in each of its phases leaves the guest alone", LOCKSTEP)
@ways(*BOTH)
@pytest.mark.timeout(600)
def test_attach_backup_killed(name, way):
    fault_in_each_phase(name, way, phases(way), lambda pair: pair.faults.kill_host("B"),
                        lambda pair: None, "connection|silent|guest died")


@full("attach-backup-killed ends the same phases; drill-channel cuts the channel")
@ways(*BOTH)
@pytest.mark.timeout(600)
def test_attach_channel_cut(name, way):
    fault_in_each_phase(name, way, phases(way), lambda pair: pair.faults.cut_channel(),
                        lambda pair: pair.net.mend_channel(), "connection|silent")


@full("attach-backup-killed ends the same phases")
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_attach_qemu_killed(name, way):
    """The backup's QEMU dies, its monitor lives and says so."""
    fault_in_each_phase(name, way, ("copying", "catching-up"), lambda pair: pair.faults.kill_qemu("B"),
                        lambda pair: None, "guest died")


# A backup with checkpoint runs nothing that could stand still: test_checkpoint.py.
@everyday("the backup's file system fills up in the copy")
@ways(LOCKSTEP, ASAN_LOCKSTEP)
@pytest.mark.timeout(400)
def test_attach_target_full(name, way):
    """The backup's image is on a file system that fills up, in the copy and behind it."""
    with alone(name, way) as pair:
        writer = writer_to(pair, interval_ms=10)
        writer.start()
        shell = GuestShell(pair)
        shell.run("dd if=/dev/urandom of=/mnt/fill bs=1M count=8; sync")
        size = os.path.getsize(pair.side["A"].disk)
        small = os.path.join(pair.side["B"].dir, "small")
        os.mkdir(small)
        args = pair.qemu_args("B", disk=f"{small}/disk.raw")
        inside = f"mount -t tmpfs -o size=4m tmpfs {small} && truncate -s {size} {small}/disk.raw"
        pair.start_side("B", role="backup", args=args, inside=inside)
        pair.side["B"].may_end = True
        pair.wait(lambda: pair.status("A")["attach_failures"] > 0, "the attempt to fail")
        why = goes_on(pair, writer, "with a full target")
        check("No space left on device" in why and "disk.raw" in why, f"the reason given: {why}")
        note(why)
        # Nothing ran there yet: the backup waits for another attempt, which fails as well.
        check(pair.side["B"].qemu_runs(), "the backup's QEMU did not stay")
        pair.wait(lambda: pair.status("A")["attach_failures"] > 1, "another attempt to fail")
        pair.end_side("B")

        # Room for the copy, but not for what the guest writes while the backup catches up.
        pair.command("A", "hold-attach")
        pair.start_side("B", role="backup", args=args,
                        inside=inside.replace("size=4m", "size=24m"))
        pair.wait(lambda: pair.peek("B"), "the monitor of backup B")
        pair.attach_now("A")
        lead_to(pair, "catching-up")
        pair.side["B"].may_end = True
        failures = pair.status("A")["attach_failures"]
        shell.run("dd if=/dev/urandom of=/mnt/more bs=1M count=24; sync")
        pair.wait(lambda: pair.status("A")["attach_failures"] > failures, "the attach to fail")
        pair.command("A", "release-attach")
        why = goes_on(pair, writer, "with a target that has filled up")
        check("disk full" in why and "disk.raw" in why, f"the reason given: {why}")
        note(why)
        seen = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > seen + 5, "writes without that backup")
        shell.run("rm /mnt/more")
        pair.start_backup("B")
        pair.attach_now("A")
        pair.wait_attached("A", "B")
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "writes verified and lost")


@everyday("a half-made backup never goes live", TCG_1)
@ways(*BOTH, TCG_1)
@pytest.mark.timeout(400)
def test_attach_primary_killed(name, way):
    """An unprotected guest dies with its host: the half-made backup must never go live."""
    for wanted in ("copying", "catching-up"):
        with alone(name, way, captures=True) as pair:
            start_held(pair)
            lead_to(pair, wanted)
            pair.side["B"].may_end = True
            pair.faults.kill_host("A")
            killed = time.time_ns()
            if wanted == "copying":
                pair.wait_state("B", "forming")
            else:
                pair.wait(lambda: not pair.side["B"].qemu_runs(), "the half-made backup to end")
            time.sleep(1)
            silent(pair, "B", 0, "at all")
            silent(pair, "A", killed, "after it was killed")
            equal(pair.generations(), [f"{pair.prefix}.gen-1"],
                  "records of the arbiter")


# --- what is refused, and what is asked for -----------------------------------


def refused(pair, pattern, what):
    pair.wait(lambda: re.search(pattern, pair.status("A")["attach_error"]), f"{what} to be refused")
    note(pair.status("A")["attach_error"])
    equal(pair.state("A") in ("alone", "attaching"), True, "the primary goes on")


@everyday("what an attach is refused for, at both ends", LOCKSTEP)
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_attach_refused(name, way):
    with alone(name, way) as pair:
        writer = writer_to(pair, interval_ms=10)
        writer.start()
        target = pair.side["B"].disk
        size = os.path.getsize(pair.side["A"].disk)
        with open(target, "wb") as file:
            file.truncate(size - MIB)
        pair.start_backup("B")
        refused(pair, f"{size - MIB} bytes", "an image of another size")
        pair.end_side("B")

        # In use: QEMU's programs hold byte 101 of an image they write to, 201 if nobody else may.
        with open(target, "r+b") as file:
            file.truncate(size)
            for byte in (101, 201):
                lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
                failures = pair.status("A")["attach_failures"]
                pair.start_backup("B")
                pair.wait(lambda: pair.status("A")["attach_failures"] > failures, "a refusal")
                refused(pair, "in use", "an image in use")
                pair.end_side("B")
                lock = struct.pack("hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, byte, 1, 0)
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)

        pair.start_side("B", role="backup", args=pair.qemu_args("B", memory=192))
        pair.wait_said("A", "another machine", 30)
        equal(pair.state("A"), "alone", "state of A with a backup of another machine")
        pair.start_backup("B")
        pair.wait_attached("A", "B")
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "writes verified and lost")


@everyday("reprotect = manual, and a start that a person ends the wait of", TCG_1)
@ways(*BOTH, TCG_1)
def test_attach_by_hand(name, way):
    """reprotect = manual; and a primary that waits for its backup can be told not to."""
    with way.lab(name, captures=False, pair={"reprotect": "manual"}) as pair:
        pair.start_side("A")
        pair.wait_state("A", "forming")
        time.sleep(1)
        equal(pair.side["A"].console(), b"", "console of a guest that waits for its backup")
        pair.command("A", "start")
        pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot alone")
        pair.start_backup("B")
        time.sleep(3)
        equal((pair.state("A"), pair.state("B")), ("alone", "forming"), "states, nothing asked")
        pair.command("A", "attach")
        pair.wait_attached("A", "B")
        pair.end_side("B")
        pair.wait_state("A", "alone")
        pair.start_backup("B")
        time.sleep(3)
        equal(pair.state("A"), "alone", "state of A, not asked again")


# Before there is a strategy.
@everyday("a side that was killed can be started at once", TCG_1)
@ways(LOCKSTEP, TCG_1)
def test_restart_at_once(name, way):
    """A side that was killed may be started again without waiting for the kernel to have closed
    what the dead monitor's io_uring held: its socket still answers, its process is gone."""
    with way.lab(name, captures=False) as pair, socket.socket(socket.AF_UNIX) as held:
        child = os.fork()
        if child == 0:
            held.bind(pair.side["B"].control)
            held.listen()
            os._exit(0)
        os.waitpid(child, 0)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(pair.side["B"].control)  # somebody seems to be there
        pair.start_backup("B")
        for _ in range(5):
            pair.faults.kill_host("B")
            pair.start_backup("B")


@full("a third host is another address in the same exchange as reprotect")
@ways(*BOTH)
def test_attach_spare(name, way):
    """A third host takes the place of one that does not come back."""
    with alone(name, way) as pair:
        control = os.path.join(pair.dir, "spare.sock")
        with open(pair.pair_path, "a", encoding="utf-8") as file:
            # Another port of A's host, which has lost its first inhabitant by then.
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


# --- output, time, memory -----------------------------------------------------


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
        pair.wait(lambda: len(writer.acks()) > seen + 20, "writes behind the attach point")
        equal(phase(pair), "catching-up", "phase meanwhile")
        equal(pair.status("A")["gate_frames"], 0, "frames held behind the attach point")
        lead_to(pair, "sealing")
        time.sleep(1)  # what was on its way
        closed = time.time_ns()
        time.sleep(2)
        silent(pair, "A", closed, "while it is made sure that the backup has all of it")
        check(pair.status("A")["gate_frames"] > 0, "nothing is held, so nothing is shown")
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
    """Memory written faster than the cap lets it be copied: the guest is slowed, visibly, the
    attach comes to an end, and the monitors hold no more than for any other guest."""
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


@everyday("images that keep tables in QEMU's memory are copied and replayed", LOCKSTEP)
@ways(*BOTH)
def test_attach_qcow2(name, way):
    """Images that keep tables in QEMU's memory, and a target that is an older copy."""
    with way.lab(name, captures=False, pair={"start": "alone"}) as pair:
        qcow2_images(pair)
        args = {side: pair.qemu_args(side, disk=f"{pair.side[side].dir}/disk.qcow2")
                for side in "AB"}
        for side in args:
            args[side] = [word.replace("format=raw", "format=qcow2") for word in args[side]]
        pair.start_side("A", args=args["A"])
        pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot")
        load = workload(pair)
        load.start()
        load.wait_progress("before")
        pair.start_side("B", role="backup", args=args["B"])
        pair.wait_attached("A", "B")
        load.wait_progress("while protected")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        load.wait_progress("after the failover")
        load.stop()
        equal(load.faults(), "", "what clients saw go wrong")
        equal(load.writer.verify(), (len(load.writer.acks()), 0), "writes verified and lost")
        pair.end_side("B")
        done = pair.client.run("qemu-img", "check", f"{pair.side['B'].dir}/disk.qcow2")
        check("No errors" in done.stdout, done.stdout)


def qcow2_images(pair):
    source = pair.guest.disk_image
    for side in pair.side.values():
        pair.guest.copy_disk(side.disk)  # what start_side() would do
        pair.client.run("qemu-img", "convert", "-O", "qcow2", source, f"{side.dir}/disk.qcow2")


READ_ONLY = ("iso", "qcow2")


def read_only_images(pair):
    """One raw and one qcow2 image for both hosts, as on shared storage; sums of their contents."""
    iso = f"{pair.dir}/install.iso"
    with open(iso, "wb") as file:
        file.write(os.urandom(3 * MIB))
        file.truncate(5 * MIB)
    pair.client.run("qemu-img", "convert", "-O", "qcow2", iso, f"{pair.dir}/install.qcow2")
    return iso


def use_read_only(pair, name, iso):
    """Devices behind the guest's own disk, which stays vda."""
    more = [
        "-drive", f"file={iso},if=none,id=iso,format=raw,readonly=on",
        "-device", "virtio-blk-pci,drive=iso,addr=0x10",
        "-blockdev", json.dumps({"driver": "qcow2", "node-name": "q", "read-only": True,
                                 "file": {"driver": "file",
                                          "filename": f"{pair.dir}/install.qcow2"}}),
        "-device", "virtio-blk-pci,drive=q,addr=0x11"]
    pair.edit[name] = lambda args: args + more


def guest_reads(pair, sums, what):
    shell = GuestShell(pair)
    said = shell.run("echo 3 > /proc/sys/vm/drop_caches; sha256sum /dev/vdb /dev/vdc")
    equal([line.split()[0] for line in said.splitlines()], sums, f"read-only disks {what}")
    said = shell.run("echo x > /dev/vdb && sync; cat /sys/block/vdb/ro /sys/block/vdc/ro")
    equal(said.split()[-2:], ["1", "1"], f"the disks are read-only {what}")
    shell.close()


@full("images that nobody writes are compared by unit tests; this sees QEMU's locks")
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_attach_read_only(name, way):
    """Both QEMUs hold the same read-only images open: in the first pair, after a failover, and
    beside the backup that comes then. One that is not the same is refused and never written."""
    with way.lab(name, captures=False) as pair:
        iso = read_only_images(pair)
        with open(iso, "rb") as file:
            contents = file.read()
        sums = [hashlib.sha256(contents).hexdigest()] * len(READ_ONLY)
        for side in "AB":
            use_read_only(pair, side, iso)
        pair.start_protected()
        guest_reads(pair, sums, "in the first pair")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        guest_reads(pair, sums, "after the failover")

        other = f"{pair.dir}/other.iso"
        damaged = bytearray(contents)
        damaged[2 * MIB] ^= 1
        with open(other, "wb") as file:
            file.write(damaged)
        use_read_only(pair, "A", other)
        pair.start_backup("A")
        pair.wait(lambda: other in pair.status("B")["attach_error"], "the other image to be refused")
        why = pair.status("B")["attach_error"]
        note(why)
        check("read-only" in why, f"the reason given: {why}")
        with open(other, "rb") as file:
            check(file.read() == damaged, "the image that was refused has been written to")

        use_read_only(pair, "A", iso)
        pair.start_backup("A")
        pair.wait_attached("B", "A")
        guest_reads(pair, sums, "with the new backup")
        pair.faults.kill_qemu("B")
        pair.wait_state("A", "alone")
        guest_reads(pair, sums, "after the second failover")
        with open(iso, "rb") as file:
            check(file.read() == contents, "a read-only image has been written to")


HERE = os.path.dirname(os.path.abspath(__file__))
PLAIN_TAP = f'set -- {sys.executable} {HERE}/plaintap.py 9 tap0 "$@"'

# A backup's monitor that says its tap is as the primary's: the hello finds nothing. It changes what
# the settings in the shared memory say of the first card (struct vmft_settings in
# monitor/interface.h): 16 disks come before the cards, and a card's id, interface and address before
# what its tap can do.
LYING_MONITOR = """#!/usr/bin/python3
import mmap, os, sys
fd = int(sys.argv[sys.argv.index("--iface-fd") + 1])
tap = 4096 + 4648 + 16 * (40 + 4096) + 64 + 16 + 6
with mmap.mmap(fd, tap + 4) as memory:
    if memory[tap:tap + 3] != bytes(3):
        sys.exit(f"not the settings of a tap without a header: {{memory[tap:tap + 3]}}")
    memory[tap:tap + 3] = bytes((1, 20, 31))
os.execv("{0}/vmft-monitor", ["{0}/vmft-monitor", *sys.argv[1:]])
"""


def lying_programs(pair):
    there = f"{pair.dir}/bin"
    os.mkdir(there)
    for name in os.listdir(directory()):
        if name != "vmft-monitor":
            shutil.copy(built(name), there)
    with open(f"{there}/vmft-monitor", "w", encoding="utf-8") as file:
        file.write(LYING_MONITOR.format(directory()))
    os.chmod(f"{there}/vmft-monitor", 0o755)
    return there


@everyday("QEMU's reason why it cannot load the state reaches the primary", CHECKPOINT)
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_attach_unloadable(name, way):
    """A backup whose QEMU cannot load the guest's state is refused with QEMU's own reason, before
    there is a pair, and as often as it comes; the guest goes on alone."""
    with alone(name, way) as pair:
        writer = writer_to(pair, interval_ms=10)
        writer.start()
        pair.wait(lambda: len(writer.acks()) > 5, "writes")
        there = lying_programs(pair)
        args = ["tap,id=n0,fd=9" if arg.startswith("tap,id=n0") else arg
                for arg in pair.qemu_args("B")]
        for _ in range(2):
            failures = pair.status("A")["attach_failures"]
            pair.start_side("B", role="backup", args=args,
                            inside=f'shift; set -- {there}/vmft-qemu "$@"; {PLAIN_TAP}')
            pair.side["B"].may_end = True
            pair.wait(lambda: pair.status("A")["attach_failures"] > failures, "the refusal")
            refused(pair, "vnet_hdr=on", "a state that cannot be loaded")
            equal(pair.status("A")["attached"], 0, "pairs that were formed")
            pair.end_side("B")
        before = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > before, "writes of the guest that goes on")
        pair.start_backup("B")
        pair.wait_attached("A", "B")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        before = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > before, "writes after the failover")
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "writes verified and lost")
