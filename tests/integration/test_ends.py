# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM that ends in order ends on both sides, whoever asks for it; a side that stops alone does not
take the other with it.

VMFT_ENDS=N makes the series that long.
"""

import os
import random
import re
import signal
import time

import pytest

from harness import LOCKSTEP, TCG_1, check, equal, everyday, note, ways
from vmftlab.bare import BareGuest
from vmftlab.guest import READY
from vmftlab.load import GuestShell
from vmftlab.net import run

ENDS = int(os.environ.get("VMFT_ENDS", "7"))
LATER_S = 1.5  # at most: the guest is ended while it boots, and after


def begin(pair, primary, backup):
    """A pair of which either host may be the primary; started as by libvirt, which ends QEMU itself
    after a power-off."""
    for name, role in ((backup, "backup"), (primary, "primary")):
        pair.start_side(name, [*pair.qemu_args(name), "-no-shutdown"], role=role)
        pair.wait(lambda: pair.peek(name), f"the monitor of {name}")
    pair.wait(lambda: pair.paired(primary) and pair.paired(backup), "the pair to form")


def all_of(pair, name):
    return [pair.side[name].qemu_pid(), *pair.side[name].monitor_pids()]


def terminate(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass  # with what was signalled before


def power_off(pair, primary):
    pair.wait(lambda: READY.encode() in pair.side[primary].console(), "the guest to boot")
    if pair.guest.image == "bare":
        BareGuest(pair).power_off()
    else:
        GuestShell(pair).send("sync; poweroff -f")


# By what a VM is ended; who is told first must not matter.
CAUSES = {
    "SIGTERM to QEMU": lambda pair, a, b: terminate([pair.side[a].qemu_pid()]),
    "SIGTERM to the monitor": lambda pair, a, b: terminate(pair.side[a].monitor_pids()),
    "SIGTERM to both": lambda pair, a, b: terminate(all_of(pair, a)),
    "SIGTERM to both, the monitor first": lambda pair, a, b: terminate(all_of(pair, a)[::-1]),
    "SIGTERM to both hosts": lambda pair, a, b: terminate(all_of(pair, a) + all_of(pair, b)),
    "SIGTERM to both hosts, the backup first":
        lambda pair, a, b: terminate(all_of(pair, b) + all_of(pair, a)),
    "power-off": lambda pair, a, b: power_off(pair, a),
}


def records(pair):
    """The generations at the arbiter, and those that ended."""
    names = os.listdir(pair.arbiter)
    return [sorted(int(found.group(1)) for found in
                   (re.fullmatch(rf".*\.{kind}-(\d+)", name) for name in names) if found)
            for kind in ("gen", "end")]


def ended_together(pair, what):
    for side in pair.side.values():
        equal(side.exit_code(60), 0, f"exit code of {side.name}'s QEMU after {what}")
        pair.wait(lambda: not side.monitor_pids(), f"{side.name}'s monitor to end", 30)
    compared = run("cmp", *(side.disk for side in pair.side.values()), check=False)
    equal(compared.stdout + compared.stderr, "", f"difference of the disks after {what}")


@everyday("a VM ends in order whoever is asked, on both sides", TCG_1)
@ways(LOCKSTEP, TCG_1)
@pytest.mark.timeout(120 + 40 * ENDS)
def test_ends(name, way):
    """Again and again, started on the other host each time: in lockstep that compares the images."""
    with way.lab(name, captures=False) as pair:
        for number in range(ENDS):
            what, cause = list(CAUSES.items())[number % len(CAUSES)]
            primary, backup = "AB" if number % 2 == 0 else "BA"
            begin(pair, primary, backup)
            for side in pair.side.values():
                side.may_end = True
            time.sleep(random.uniform(0, LATER_S))
            cause(pair, primary, backup)
            ended_together(pair, what)
            generations = list(range(1, number + 2))
            equal(records(pair), [generations, generations],
                  f"generations, and those that ended, after {what}")
        note(f"{ENDS} ends, none of them a failover")


@everyday("an end is not lost while output is held or a backup is attached", LOCKSTEP)
@ways(LOCKSTEP, TCG_1)
def test_end_held(name, way):
    """SIGTERM to a guest that is frozen, whose backup keeps its acks, and that is being attached."""
    with way.lab(name, captures=False) as pair:
        begin(pair, "A", "B")
        for side in pair.side.values():
            side.may_end = True
        pair.command("B", "hold-acks")
        pair.command("A", "freeze")
        pair.wait(lambda: pair.status("A")["frozen_at"], "the guest to freeze")
        terminate(all_of(pair, "A"))
        # With checkpoints the end is not told to a backup that does not hold all of it.
        pair.wait_said("A", "shipping, generation 1: the guest ended|the guest ended")
        if pair.peek("B"):
            pair.command("B", "release-acks")
        ended_together(pair, "SIGTERM to a frozen guest without acks")
        equal(records(pair), [[1], [1]], "generations, and those that ended")

        pair.write_pair(start="alone")
        pair.start_side("A", role="primary")
        pair.wait_state("A", "alone")
        pair.command("A", "hold-attach")
        pair.start_backup("B")
        pair.attach_now("A")
        pair.wait(lambda: pair.status("A")["attach_phase"] == "tracking", "the attach to begin")
        for _ in range(3):
            pair.command("A", "step-attach")
        pair.side["A"].may_end = pair.side["B"].may_end = True
        terminate(all_of(pair, "A"))
        equal(pair.side["A"].exit_code(60), 0, "exit code of A's QEMU, which attached a backup")
        pair.wait(lambda: not pair.side["A"].monitor_pids(), "A's monitor to end", 30)
        equal(records(pair), [[1, 2], [1, 2]], "generations, and those that ended")
        check("live" not in pair.side["B"].log(), "the backup that was attached went live")


@everyday("a backup that stops says so", TCG_1)
@ways(LOCKSTEP, TCG_1)
def test_backup_stops(name, way):
    """A backup that is told to stop says so: its primary does not wait, and is protected again."""
    with way.lab(name, captures=False) as pair:
        begin(pair, "A", "B")
        for number, pids in enumerate((lambda: [pair.side["B"].qemu_pid()],
                                       pair.side["B"].monitor_pids,
                                       lambda: all_of(pair, "B"))):
            pair.side["B"].may_end = True
            terminate(pids())
            pair.wait_state("A", "alone", "attaching")
            equal(pair.side["B"].exit_code(30), 0, "exit code of the backup's QEMU")
            pair.wait(lambda: not pair.side["B"].monitor_pids(), "its monitor to end", 30)
            equal(pair.status("A")["generation"], number + 2, "generation of A")
            pair.wait_said("A", f"alone, generation {number + 2}: the backup was told to stop")
            pair.start_backup("B")
            pair.wait_attached("A", "B")
        # One that has not seen its primary yet has nobody to tell.
        pair.end_side("A")
        pair.wait(lambda: not pair.paired("B"), "B to notice")


@everyday("a start that was ended frees the VM", TCG_1)
@ways(LOCKSTEP, TCG_1)
def test_never_ran(name, way):
    """Told to stop before there was a pair: nothing ran, the VM can be started at once."""
    with way.lab(name, captures=False) as pair:
        for number, pids in enumerate((lambda side: [side.qemu_pid()], lambda side:
                                       side.monitor_pids())):
            for host, role in (("A", "primary"), ("B", "backup")):
                side = pair.start_side(host, role=role)
                pair.wait(lambda: pair.peek(host), f"the monitor of {host}")
                side.may_end = True
                terminate(pids(side))
                # One that had not begun to come up dies of it.
                check(side.exit_code(30) in (0, -signal.SIGTERM), f"exit code of the {role}'s QEMU")
                pair.wait(lambda: not side.monitor_pids(), f"the {role}'s monitor to end", 30)
            generations = list(range(1, number + 2))
            equal(records(pair), [generations, generations], "generations, and those that ended")
