# SPDX-License-Identifier: GPL-2.0-or-later
"""A planned hand-over: the backup takes over because it is asked to, and nothing is lost."""

import json
import os
import signal
import time

from harness import (KVM_1, LOCKSTEP, Loaded, TCG_1, check, equal, everyday, note, paired, silent,
                     ways)
from vmftlab import control
from vmftlab.programs import built
from vmftlab.net import run

HANDED_OVER = 13  # monitor/common/exit-codes.h


def switchover(pair, name, *options):
    return run(built("vmft"), *options, "switchover", pair.side[name].control,
               check=False)


def ends_handed_over(pair, name, code=HANDED_OVER):
    equal(pair.side[name].exit_code(30), code, f"exit code of {name}'s QEMU")
    pair.wait(lambda: not pair.side[name].monitor_pids(), f"{name}'s monitor to end", 30)


@everyday("roles are handed over on request and nothing is lost", LOCKSTEP, TCG_1)
@ways(LOCKSTEP, TCG_1, KVM_1)
def test_switchover(name, way):
    """Under load, there and back again; the old host is the backup each time it is started anew."""
    with way.lab(name) as pair:
        loaded = Loaded(pair).start()
        for live, other, options in (("A", "B", []), ("B", "A", ["--json"])):
            pair.side[live].may_end = True
            begun = time.time_ns()
            done = switchover(pair, live, *options)
            equal(done.returncode, 0, f"exit code of vmft switchover: {done.stderr}{done.stdout}")
            if options:
                equal(json.loads(done.stdout)["live_on"], pair.side[other].host, "where it is live")
            else:
                check("was stopped for" in done.stdout, f"it says: {done.stdout}")
            took = (time.time_ns() - begun) / 1e6
            ends_handed_over(pair, live)
            status = pair.status(other)
            check(status["live_ns"] > 0, f"{other} is not live")
            loaded.settle("after the hand-over")
            outage = loaded.outage_ms(status["live_ns"])
            silent(pair, live, time.time_ns(), "after it handed over")
            pair.start_backup(live)
            pair.wait_attached(other, live)
            pair.wait_following(other, live)
            note(f"handed over in {took:.0f} ms, outage a client saw {outage} ms")
        equal(pair.status("A")["generation"], 3, "generation of A")
        # A guest that is alone is read sooner: its answers wait for nobody.
        pair.end_side("B")
        pair.wait_state("A", "alone")
        loaded.verify()


@everyday("a hand-over that cannot be is refused, or taken back")
@ways(TCG_1)
def test_switchover_refused(name, way):
    """No backup, the wrong side; a backup that is gone meanwhile; one that does not get on."""
    with way.lab(name, captures=False) as pair:
        pair.start_protected()
        done = switchover(pair, "B")
        equal(done.returncode, 1, "exit code on the backup")
        check("ask the primary" in done.stderr, f"it says: {done.stderr}")

        # Acks that do not come: it is called off, and the guest goes on.
        pair.command("B", "hold-acks")
        done = switchover(pair, "A")
        equal(done.returncode, 1, "exit code with acks held back")
        check("goes on here, protected" in done.stderr, f"it says: {done.stderr}")
        pair.command("B", "release-acks")
        paired(pair, "A", "state of A after it was called off")
        head = pair.status("A")["log_head"]
        pair.wait(lambda: pair.status("A")["log_head"] > head, "the guest to go on")

        # Nobody could go on afterwards.
        pair.faults.hide_arbiter()
        done = switchover(pair, "A")
        equal(done.returncode, 1, "exit code without an arbiter")
        check("not handed over: " in done.stderr, f"it says: {done.stderr}")
        paired(pair, "A", "state of A without an arbiter")
        pair.faults.return_arbiter()

        # The backup has all, is told to take over, and dies before the arbiter has answered it.
        pair.command("B", "hold-acks")
        pair.side["B"].may_end = True
        asked = pair.client.start(built("vmft"), "switchover", pair.side["A"].control)
        pair.wait_state("A", "handing-over")
        pair.faults.hide_arbiter()
        pair.command("B", "release-acks")
        pair.wait_state("A", "handed-over")
        pair.wait_state("B", "arbitrating", "waiting-arbiter")
        try:
            pair.command("A", "thaw")
            check(False, "a guest that was handed over can be let go on")
        except control.ControlError as error:
            check("handed over" in str(error), f"thaw: {error}")
        pair.faults.kill_host("B")
        pair.wait_state("A", "arbitrating", "waiting-arbiter")
        pair.faults.return_arbiter()
        pair.wait_state("A", "alone")
        equal(asked.wait(30), 1, "exit code when the backup dies")
        head = pair.status("A")["log_head"]
        equal(pair.status("A")["generation"], 2, "generation of A, which goes on")

        done = switchover(pair, "A")
        equal(done.returncode, 1, "exit code without a backup")
        check("no backup to hand over to" in done.stderr, f"it says: {done.stderr}")


@everyday("on-stop = hand-over", TCG_1)
@ways(LOCKSTEP, TCG_1)
def test_on_stop(name, way):
    """on-stop = hand-over: what is told to stop hands over, and without a backup it ends."""
    with way.lab(name, pair={"on-stop": "hand-over"}) as pair:
        loaded = Loaded(pair).start()
        live, other = "A", "B"
        for pids in (lambda side: [side.qemu_pid()], lambda side: side.monitor_pids(),
                     lambda side: [side.qemu_pid(), *side.monitor_pids()]):
            pair.side[live].may_end = True
            for pid in pids(pair.side[live]):
                os.kill(pid, signal.SIGTERM)
            ends_handed_over(pair, live, 0)
            pair.wait_state(other, "alone", "attaching")
            loaded.settle("after the hand-over")
            pair.start_backup(live)
            pair.wait_attached(other, live)
            live, other = other, live
        pair.side[live].may_end = pair.side[other].may_end = True
        os.kill(pair.side[other].qemu_pid(), signal.SIGTERM)
        pair.wait_state(live, "alone")
        loaded.verify()
        os.kill(pair.side[live].qemu_pid(), signal.SIGTERM)
        equal(pair.side[live].exit_code(30), 0, "exit code of a guest that is alone")
        pair.wait(lambda: not pair.side[live].monitor_pids(), "its monitor to end", 30)
