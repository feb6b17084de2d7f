# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults while a backup is attached: the guest goes on alone, and a half-made backup never goes live."""

import os
import re
import time

import pytest

from attaching import alone, goes_on, lead_to, phases, start_held
from harness import (ASAN_LOCKSTEP, BOTH, LOCKSTEP, TCG_1, check, equal, everyday, full, note,
                     silent, ways, writer_to)
from vmftlab.load import GuestShell


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
    fault_in_each_phase(name, way, phases(), lambda pair: pair.faults.kill_host("B"),
                        lambda pair: None, "connection|silent|guest died")


@full("attach-backup-killed ends the same phases; drill-channel cuts the channel")
@ways(*BOTH)
@pytest.mark.timeout(600)
def test_attach_channel_cut(name, way):
    fault_in_each_phase(name, way, phases(), lambda pair: pair.faults.cut_channel(),
                        lambda pair: pair.net.mend_channel(), "connection|silent")


@full("attach-backup-killed ends the same phases")
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_attach_qemu_killed(name, way):
    """The backup's QEMU dies, its monitor lives and says so."""
    fault_in_each_phase(name, way, ("copying", "catching-up"), lambda pair: pair.faults.kill_qemu("B"),
                        lambda pair: None, "guest died")


# Lockstep only: a checkpoint backup runs no guest that could stall on a full disk. Its disk is
# filled in test_disk_errors.py.
@everyday("the backup's file system fills up in the copy")
@ways(LOCKSTEP, ASAN_LOCKSTEP)
@pytest.mark.timeout(400)
def test_attach_target_full(name, way):
    """The backup's image is on a file system that fills up, in the copy and after it."""
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
        # The backup's guest has not run yet, so the backup waits for another attempt, which fails too.
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
    """An unprotected guest dies with its host. The half-made backup must never go live."""
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
