# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk of one host that is full, or fails: that host's fault, never the guest's.

Full: the image is sparse and lies on a small tmpfs of the side's own mount namespace; the guest
writes where nothing is allocated yet. EIO: the image is a loop device whose file lies there, and
what the page cache took finds no room when it is to be made durable.
"""

import os
import re
import subprocess
import time

import pytest

from harness import (ASAN_CHECKPOINT, ASAN_LOCKSTEP, BOTH, CHECKPOINT, LOCKSTEP, captures_whole,
                     check, clock_reading, equal, everyday, full, note, paired, silent, ways,
                     writer_to)
from attaching import goes_on, lead_to, start_held
from vmftlab.guest import READY
from vmftlab.load import GuestShell, Pings

SMALL_MB = 24  # holds the image as it is, and the guest's next 24 MB not
FILL = "dd if=/dev/urandom of=/mnt/more bs=1M count=24 2>/dev/null; sync"


class SmallDisk:
    """A side's image on a file system of its own, in its mount namespace."""

    def __init__(self, pair, name, megabytes=SMALL_MB, source=None, form="raw"):
        self.pair = pair
        self.name = name
        self.dir = os.path.join(pair.side[name].dir, "small")
        self.form = form
        self.file = os.path.join(self.dir, f"disk.{form}")
        source = source or pair.guest.disk_image
        os.makedirs(self.dir, exist_ok=True)
        if not os.path.exists(pair.side[name].disk):
            pair.guest.copy_disk(pair.side[name].disk)
        self.inside = (f"mount -t tmpfs -o size={megabytes}m tmpfs {self.dir} && "
                       f"cp --sparse=always {source} {self.file}")

    def start(self, role=None, disk=None):
        args = args_for(self.pair, self.name, disk or self.file, self.form)
        self.pair.start_side(self.name, role=role, args=args, inside=self.inside)
        self.pair.wait(lambda: self.pair.peek(self.name), f"the monitor of {self.name}")

    def run(self, *command):
        """On that host, where the file system can be seen."""
        done = subprocess.run(["nsenter", "-t", str(self.pair.side[self.name].qemu_pid()), "-m",
                               *command], capture_output=True, text=True, check=False)
        equal(done.returncode, 0, f"{command}: {done.stderr.strip()}")
        return done.stdout

    def compare(self):
        """pair.compare(), with the image that this side really uses."""
        side = self.pair.side[self.name]
        side.disk = f"/proc/{side.qemu_pid()}/root{self.file}"
        return self.pair.compare("A", "B")[1]

    def make_room(self):
        self.run("mount", "-o", "remount,size=256m", self.dir)


def args_for(pair, name, disk, form):
    return [word.replace("format=raw", f"format={form}")
            for word in pair.qemu_args(name, disk=disk)]


def start_pair(pair, small, other=None, **how):
    """Protected, the guest up, one of its images on a small disk. Returns a client's writes."""
    if small.name == "B":
        small.start(**how)
        pair.start_side("A")
    else:
        pair.start_side("B", args=other)
        pair.wait(lambda: pair.peek("B"), "the backup's monitor")
        small.start(**how)
    pair.wait(lambda: pair.paired("A") and pair.paired("B"), "the pair to form")
    pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot")
    pair.wait_following()
    writer = writer_to(pair, interval_ms=10)
    writer.start()
    pair.wait(lambda: len(writer.acks()) > 5, "writes")
    return writer


def more_writes(pair, writer, what):
    seen = len(writer.acks())
    pair.wait(lambda: len(writer.acks()) > seen + 5, f"writes {what}")


def nothing_lost(writer):
    writer.stop()
    equal(writer.verify(), (len(writer.acks()), 0), "writes verified and lost")


def backup_takes_over(pair, small, what, errno, **how):
    """The guest fills its disk; the command that did ends well, on the other host."""
    writer = start_pair(pair, small, **how)
    pings = Pings(pair)
    pings.start()
    shell = GuestShell(pair)
    pair.side["A"].may_end = True
    equal(shell.run(FILL), "", "what dd and sync said")
    pair.wait_state("B", "alone")
    said = pair.wait_said("A", rf"(disk (full|error): .*{errno})\n")[1]
    note(said)
    check(what in said, f"which image: {said}")
    reason = pair.status("B")["reason"]
    check(re.search(f"guest died: disk (full|error): .*{errno}", reason),
          f"why B took over: {reason}")
    pair.wait_said("A", "ending QEMU .* before its guest sees the error; the backup takes over")
    equal(pair.side["A"].exit_code(), -9, "how the primary's QEMU ended")
    pair.wait(lambda: not pair.side["A"].monitor_pids(), "its monitor to end")
    ended = time.time_ns()
    more_writes(pair, writer, "after the takeover")
    pings.stop()
    check(int(shell.run("stat -c %s /mnt/more")) == 24 << 20, "the file that filled A's disk")
    equal(shell.run("dmesg | grep -iE 'i/o error|remount'"), "", "what the guest's kernel saw")
    equal(pair.net.guest_port(), "portB", "switch port of the guest's MAC")
    silent(pair, "A", ended, "after it had given up")
    first = pair.capture["B"].frames()[0].when
    check(pair.capture["A"].frames()[-1].when < first, "frames from A after the first from B")
    nothing_lost(writer)
    captures_whole(pair)


@everyday("the primary's full disk is a failover", LOCKSTEP)
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_disk_full_primary(name, way):
    with way.lab(name) as pair:
        small = SmallDisk(pair, "A")
        backup_takes_over(pair, small, small.file, "No space left on device")


@full("disk-full-primary sees the same error of a raw image")
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_disk_full_qcow2(name, way):
    """The image's file is to grow, for what the guest writes or for tables of its own."""
    with way.lab(name) as pair:
        image = f"{pair.side['B'].dir}/disk.qcow2"
        pair.client.run("qemu-img", "convert", "-O", "qcow2",
                        pair.guest.disk_image, image)
        small = SmallDisk(pair, "A", source=image, form="qcow2")
        backup_takes_over(pair, small, small.file, "No space left on device",
                          other=args_for(pair, "B", image, "qcow2"))


@everyday("a disk that fails at fdatasync is a failover", CHECKPOINT)
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_disk_eio_primary(name, way):
    """The disk takes the writes, and fails when it is to make them durable."""
    with way.lab(name) as pair:
        small = SmallDisk(pair, "A")
        device = loop_device()
        # Given back by the kernel when the last who has it open is gone.
        small.inside += (f" && losetup {device} {small.file} && exec 9<{device} && "
                         f"losetup -d {device}")
        backup_takes_over(pair, small, device, "Input/output error", disk=device)


def loop_device():
    done = subprocess.run(["losetup", "-f"], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not os.path.exists(done.stdout.strip()):
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    return done.stdout.strip()


@everyday("the backup's full disk ends the backup only", LOCKSTEP)
@ways(*BOTH, ASAN_LOCKSTEP, ASAN_CHECKPOINT)
@pytest.mark.timeout(400)
def test_disk_full(name, way):
    """The backup ends and says why, the primary goes on and says it too; with room, a pair."""
    with way.lab(name, captures=False) as pair:
        small = SmallDisk(pair, "B")
        writer = start_pair(pair, small)
        shell = GuestShell(pair)
        pair.side["B"].may_end = True
        shell.run(FILL)
        note(pair.wait_said("B", r".*disk full: .*disk\.raw: cannot be written: No space left.*")[0])
        pair.wait_state("A", "alone", "attaching")
        pair.wait(lambda: not pair.side["B"].qemu_runs(), "the backup to end")
        reason = pair.status("A")["reason"]
        note(f"the primary: {reason}")
        check(re.search(r"guest died: disk full: .*disk\.raw: .*No space left", reason),
              f"the primary does not say why it is alone: {reason}")
        pair.wait_said("A", "gives up: .*No space left")
        more_writes(pair, writer, "without the backup")
        check(not pair.paired("A"), "still protected by a backup that is gone")

        pair.end_side("B")
        roomy = SmallDisk(pair, "B", 256)
        roomy.start(role="backup")
        pair.attach_now("A")
        pair.wait_attached("A", "B")
        equal(pair.status("A")["reason"], "none", "reason, protected again")
        equal(roomy.compare(), "", "differences to the new backup")
        nothing_lost(writer)


PAUSED_SECONDS = 4


def uptime(shell):
    return clock_reading(lambda: int(float(shell.run("cat /proc/uptime").split()[0]) * 1e9))


@everyday("a guest that is alone waits for room", CHECKPOINT)
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_disk_full_alone(name, way):
    """Nobody to take over: the guest waits for room, and goes on by itself when there is."""
    with way.lab(name, captures=False, pair={"start": "alone"}) as pair:
        small = SmallDisk(pair, "A")
        small.start()
        pair.wait_state("A", "alone")
        pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot")
        writer = writer_to(pair, interval_ms=10)
        writer.start()
        pair.wait(lambda: len(writer.acks()) > 5, "writes")
        shell = GuestShell(pair)
        host, clock = uptime(shell)
        shell.send(f"({FILL}); echo filled")
        pair.wait(lambda: pair.status("A")["disk_paused"], "the guest to be paused")
        status = pair.status("A")
        equal(status["state"], "alone", "state of A")
        check("No space left" in status["disk_error"], f"the error: {status['disk_error']}")
        # It is let go on once a second, and stops again: more than one failure.
        pair.wait(lambda: pair.status("A")["disk_errors"] > status["disk_errors"], "another try")
        pair.wait_said("A", "no backup can take over")
        time.sleep(PAUSED_SECONDS)
        small.make_room()
        equal(shell.file.readline().strip(), "filled", "what the guest said when it could go on")
        host_later, clock_later = uptime(shell)
        lost = (host_later - host) - (clock_later - clock)
        note(f"paused for more than {PAUSED_SECONDS} s: the guest's clock lost {lost / 1e6:.0f} ms")
        check(abs(lost) < PAUSED_SECONDS * 1e9 / 4, "the guest's clock stood still")
        more_writes(pair, writer, "with room")
        equal(shell.run("dmesg | grep -iE 'i/o error|remount'"), "", "what the guest's kernel saw")
        pair.start_backup("B")
        pair.attach_now("A")
        pair.wait_attached("A", "B")
        equal(small.compare(), "", "differences to the backup")
        nothing_lost(writer)


@full("disk-full and attach-target-full see each half of it")
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_disk_full_attaching(name, way):
    """Behind the attach point, before there is a pair: the attach is given up, the guest waits for
    room as one that is alone, and gets its backup when there is."""
    with way.lab(name, captures=False, pair={"start": "alone"}) as pair:
        small = SmallDisk(pair, "A")
        small.start()
        pair.wait_state("A", "alone")
        pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot")
        writer = writer_to(pair, interval_ms=10)
        writer.start()
        pair.wait(lambda: len(writer.acks()) > 5, "writes")
        shell = GuestShell(pair)
        start_held(pair)
        lead_to(pair, "catching-up")
        pair.side["B"].may_end = True
        shell.send(f"({FILL}); echo filled")
        pair.wait(lambda: pair.status("A")["attach_failures"] > 0, "the attach to fail")
        pair.command("A", "release-attach")
        why = pair.status("A")["attach_error"]
        check("disk full" in why and "disk.raw" in why, f"why it failed: {why}")
        pair.wait(lambda: pair.status("A")["disk_paused"], "the guest to be paused")
        pair.wait(lambda: not pair.side["B"].qemu_runs(), "the half-made backup to end")
        small.make_room()
        equal(shell.file.readline().strip(), "filled", "what the guest said when it could go on")
        goes_on(pair, writer, "with room")
        pair.start_backup("B")
        pair.attach_now("A")
        pair.wait_attached("A", "B")
        equal(small.compare(), "", "differences to the backup")
        nothing_lost(writer)


# With checkpoints what a backup still has to write when its primary dies is an epoch or two, gone
# in milliseconds: tests/unit/test_checkpoint_disk.c.
@everyday("the last copy waits for room before it goes live")
@ways(LOCKSTEP)
@pytest.mark.timeout(400)
def test_disk_full_draining(name, way):
    """The last copy of the guest finds its disk full: it waits for room, live for nobody before."""
    # Its replay stands still for as long as the guest writes, and it is not silent for it.
    with way.lab(name, pair={"silence-ms": "60000", "stall-ms": "300000",
                              "lag-ms": "60000"}) as pair:
        small = SmallDisk(pair, "B", 64)
        writer = start_pair(pair, small)
        writer.stop()
        pair.wait_following()
        free = int(small.run("stat", "-f", "-c", "%a", small.dir)) * 4096
        small.run("dd", "if=/dev/zero", f"of={small.dir}/filler", "bs=64k",
                  f"count={(free >> 16) - 32}")
        shell = GuestShell(pair)
        pair.faults.stop_qemu("B")
        equal(shell.run("dd if=/dev/urandom of=/mnt/more bs=1M count=8 2>/dev/null; sync"), "",
              "what dd and sync said")
        total = shell.run("md5sum /mnt/more")
        paired(pair, "B", "state of B before the fault")
        pair.faults.kill_host("A")
        pair.faults.cont_host("B")
        note(pair.wait_said("B", r".*only copy of the guest.*")[0])
        status = pair.status("B")
        equal(status["state"], "draining", "state of B")
        check("No space left" in status["disk_error"], f"the error: {status['disk_error']}")
        time.sleep(2)  # in which it would have gone live
        equal(pair.state("B"), "draining", "state of B, still without room")
        equal(len(pair.capture["B"].frames()), 0, "frames from B before it is live")
        small.run("rm", f"{small.dir}/filler")
        pair.wait_state("B", "alone")
        # What the guest said was so is so.
        equal(shell.run("md5sum /mnt/more"), total, "the file written before the fault")
        equal(shell.run("dmesg | grep -iE 'i/o error|remount'"), "", "what the guest's kernel saw")
        equal(writer.verify(), (len(writer.acks()), 0), "writes verified and lost")
        captures_whole(pair)
