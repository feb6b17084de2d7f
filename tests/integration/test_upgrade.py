# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU is upgraded under a guest that goes on: each host gets another build, one after the other."""

import os
import re
import subprocess
import tempfile

import pytest

from harness import Loaded, check, equal, everyday, full, lab, note
from vmftlab.programs import ROOT

MACHINE = "pc-i440fx-7.2"
BUILDS = "/var/lib/vmft/builds/"  # monitor/wrapper/builds.h
EXIT_PEER, EXIT_ARBITER = 7, 8  # monitor/common/exit-codes.h


def qemu_of(suite):
    """QEMU's program as that suite of Debian has it."""
    done = subprocess.run([os.path.join(ROOT, "scripts", "qemu-package"), suite],
                          stdout=subprocess.PIPE, text=True, check=True, timeout=200)
    return os.path.join(done.stdout.strip(), "usr", "bin", "qemu-system-x86_64")


def runs(pair, side):
    """The program that the side's QEMU runs."""
    return os.readlink(f"/proc/{pair.side[side].qemu_pid()}/exe")


def host_with(pair, side, qemu):
    """The host's pair file names this QEMU."""
    pair.pair_file[side] = pair.write_pair(os.path.join(pair.dir, f"{side}.conf"), qemu=qemu)


def takes_over(pair, loaded, live, dead):
    pair.side[dead].may_end = True
    pair.faults.kill_host(dead)
    pair.wait_state(live, "alone")
    loaded.settle(f"after {dead} was killed")


def moved(name, qemus):
    """The guest goes through these QEMUs on host A, then B, then A..."""
    with lab(name, pair={"strategy": "checkpoint"}, machine=MACHINE, captures=False) as pair:
        sides = ("AB" * len(qemus))[:len(qemus)]
        host_with(pair, "A", qemus[0])
        host_with(pair, "B", qemus[1])
        loaded = Loaded(pair, network=False).start()
        for live, backup, qemu in zip(sides, sides[1:], qemus[1:]):
            if not pair.side[backup].qemu_runs():
                host_with(pair, backup, qemu)
                pair.start_backup(backup)
                pair.wait_attached(live, backup)
            equal(runs(pair, backup), os.path.realpath(qemu), "the backup's QEMU")
            equal(pair.compare(live, backup)[1], "", f"{live} and {backup}")
            takes_over(pair, loaded, backup, live)
            note(f"{backup} carries on with {qemu}")
        loaded.verify()


@everyday("QEMU is upgraded to the next series under a guest that goes on")
@pytest.mark.timeout(400)
def test_upgrade_next_series(name):
    """A guest of 7.2 gets a backup that runs 10.0, and goes on there."""
    moved(name, [qemu_of("bookworm"), qemu_of("bookworm-backports")])


@full("upgrade-next-series crosses more; this is the way of a security update")
@pytest.mark.timeout(600)
def test_upgrade_same_series(name):
    """To an older build of one series, back to the newer one, and on to the next series."""
    new, old = qemu_of("bookworm"), qemu_of("bookworm-security")
    moved(name, [new, old, new, qemu_of("bookworm-backports")])


def kept_build(name, strategy):
    """The package of both hosts is upgraded under a guest whose backup was lost: the next backup
    runs the copy of the build that the guest runs."""
    with tempfile.TemporaryDirectory(prefix="vmft-installed-") as installed, \
            lab(name, captures=False, pair={"strategy": strategy, "name": name}) as pair:
        qemu = os.path.join(installed, "qemu")
        os.symlink(qemu_of("bookworm"), qemu)
        host_with(pair, "A", qemu)
        host_with(pair, "B", qemu)
        loaded = Loaded(pair, network=False).start()
        equal(runs(pair, "B"), os.path.realpath(qemu), "the QEMU of the first backup")
        pair.side["B"].may_end = True
        pair.faults.kill_host("B")
        pair.wait_state("A", "alone")
        pair.start_backup("B")
        pair.wait_attached("A", "B")
        equal(runs(pair, "B"), os.path.realpath(qemu), "the QEMU of a backup before the upgrade")
        pair.side["B"].may_end = True
        pair.faults.kill_host("B")
        pair.wait_state("A", "alone")
        os.remove(qemu)
        os.symlink(qemu_of("bookworm-security"), qemu)
        # A start as primary, by mistake, is refused; the copy is still there after it.
        side = pair.start_side("B", role="primary")
        side.may_end = True
        equal(side.exit_code(), EXIT_ARBITER, "exit code of a second primary")
        pair.start_backup("B")
        pair.wait_attached("A", "B")
        program = runs(pair, "B")
        check(program.startswith(BUILDS), f"the backup's QEMU is {program}")
        note([line for line in pair.side["B"].log_lines() if "another build" in line][-1])
        equal(pair.compare("A", "B")[1], "", "A and B")
        takes_over(pair, loaded, "B", "A")
        loaded.verify()


@everyday("a guest in lockstep gets a backup after QEMU was upgraded on the backup's host")
@pytest.mark.timeout(300)
def test_upgrade_kept(name):
    kept_build(name, "lockstep")


@full("as upgrade-kept; the machine pc is another one in each build, so the copy is needed too")
@pytest.mark.timeout(300)
def test_upgrade_kept_checkpoint(name):
    kept_build(name, "checkpoint")


def refused(name, why, strategy, machine):
    with lab(name, captures=False, pair={"strategy": strategy}, machine=machine) as pair:
        host_with(pair, "B", qemu_of("bookworm-backports"))
        pair.start_side("B")
        pair.wait(lambda: pair.peek("B"), "the backup's monitor")
        side = pair.start_side("A")
        side.may_end = True
        equal(side.exit_code(), EXIT_PEER, "exit code of A")
        found = re.search(rf".*another QEMU build.*{why}.*", side.log())
        check(found, f"A does not say why: {side.log()}")
        note(found[0])


@everyday("another QEMU build is refused where it would have another machine")
def test_upgrade_refused(name):
    refused(f"{name}-machine", "pc-i440fx-7.2", "checkpoint", "pc")
    refused(f"{name}-replay", "same package", "lockstep", MACHINE)
