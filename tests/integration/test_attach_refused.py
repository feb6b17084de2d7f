# SPDX-License-Identifier: GPL-2.0-or-later
"""What an attach is refused for, and when it waits for a person."""

import fcntl
import os
import shutil
import socket
import struct
import time

import pytest

from attaching import alone, refused
from harness import (BOTH, CHECKPOINT, LOCKSTEP, TCG_1, equal, everyday, ways, with_taps,
                     writer_to)
from vmftlab.guest import READY
from vmftlab.programs import built, directory

MIB = 1 << 20


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

        # An image in use: QEMU's programs lock byte 101 of an image that they write to, and byte 201
        # if no other program may write to it.
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


# A monitor opens its socket before it knows the strategy: the two ways differ in the guest only.
@everyday("a side that was killed can be started at once", TCG_1)
@ways(LOCKSTEP, TCG_1)
def test_restart_at_once(name, way):
    """A side that was killed may be started again at once. The kernel closes later what the dead
    monitor's io_uring held: the socket still answers although its process is gone."""
    with way.lab(name, captures=False) as pair, socket.socket(socket.AF_UNIX) as held:
        child = os.fork()
        if child == 0:
            held.bind(pair.side["B"].control)
            held.listen()
            os._exit(0)
        os.waitpid(child, 0)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(pair.side["B"].control)  # it looks as if a monitor listened there
        pair.start_backup("B")
        for _ in range(5):
            pair.faults.kill_host("B")
            pair.start_backup("B")


# A backup's monitor that lies: it says that its tap is like the primary's, so the hello finds no
# difference. For that it changes what the settings in the shared memory say of the first card (struct
# vmft_settings in monitor/interface.h): 16 disks come before the cards, and a card's id, interface
# and address come before what its tap can do.
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
    there is a pair, each time that it comes. The guest goes on alone."""
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
                            inside=f'shift; set -- {there}/vmft-qemu "$@"; ' +
                            with_taps("9=tap0,plain"))
            pair.side["B"].may_end = True
            pair.wait(lambda: pair.status("A")["attach_failures"] > failures, "the refusal")
            refused(pair, "vnet_hdr=on", "a state that cannot be loaded")
            equal(pair.status("A")["attached"], 0, "pairs that were formed")
            pair.end_side("B")
        before = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > before, "writes of the guest without a backup")
        pair.start_backup("B")
        pair.wait_attached("A", "B")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        before = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > before, "writes after the failover")
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "writes verified and lost")
