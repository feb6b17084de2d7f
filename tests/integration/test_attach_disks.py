# SPDX-License-Identifier: GPL-2.0-or-later
"""Attaching a guest whose images are more than one raw file that it writes to."""

import hashlib
import json
import os

import pytest

from harness import BOTH, LOCKSTEP, check, equal, everyday, full, note, ways, workload
from vmftlab.guest import READY
from vmftlab.load import GuestShell

MIB = 1 << 20


@everyday("images that keep tables in QEMU's memory are copied and replayed", LOCKSTEP)
@ways(*BOTH)
def test_attach_qcow2(name, way):
    """qcow2 images, whose tables QEMU keeps in memory, and a target that is an older copy."""
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
    """Makes a raw and a qcow2 image that both hosts open, as on shared storage; returns the raw
    image's path. Both have the same contents."""
    iso = f"{pair.dir}/install.iso"
    with open(iso, "wb") as file:
        file.write(os.urandom(3 * MIB))
        file.truncate(5 * MIB)
    pair.client.run("qemu-img", "convert", "-O", "qcow2", iso, f"{pair.dir}/install.qcow2")
    return iso


def use_read_only(pair, name, iso):
    """Adds the images as disks after the guest's own disk, which stays vda."""
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
    """Both QEMUs have the same read-only images open: in the first pair, after a failover, and with
    the next backup. An image with other contents is refused and never written to."""
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
