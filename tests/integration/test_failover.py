# SPDX-License-Identifier: GPL-2.0-or-later
"""One fault per pair, under network and disk load, with a client that writes."""

import time

from harness import (ASAN_CHECKPOINT, ASAN_LOCKSTEP, BOTH, KVM_1, KVM_2, LINUX_KVM_1, LINUX_KVM_2,
                     LINUX_KVM_4, LOCKSTEP, Loaded, TCG_1, TCG_2, captures_whole, check, equal,
                     everyday, full, note, paired, silent, ways)
from vmftlab.pcap import RARP


def backup_took_over(loaded, what):
    """The guest lives on B, the switch knows, clients go on, nothing is lost."""
    pair = loaded.pair
    pair.wait_state("B", "alone")
    loaded.settle(f"after {what}")
    equal(pair.net.guest_port(), "portB", "switch port of the guest's MAC")
    equal(pair.capture["B"].frames()[0].ethertype, RARP,
          "ethertype of the survivor's first frame, which announces it")
    note(f"outage {loaded.outage_ms(pair.status('B')['live_ns']):.0f} ms")
    loaded.verify()


def primary_went_on(loaded, what):
    pair = loaded.pair
    pair.wait_state("A", "alone")
    loaded.settle(f"after {what}")
    equal(pair.net.guest_port(), "portA", "switch port of the guest's MAC")
    loaded.verify()
    equal(len(pair.capture["B"].frames()), 0, "frames from the backup's host")


@everyday("a failover without a bad access or undefined behaviour", ASAN_LOCKSTEP)
@everyday("a backup goes live and loses no acknowledged write", LOCKSTEP, TCG_1, KVM_2)
@ways(*BOTH, TCG_1, KVM_2, LINUX_KVM_1, LINUX_KVM_2, LINUX_KVM_4, ASAN_LOCKSTEP, ASAN_CHECKPOINT)
def test_kill9_qemu(name, way):
    with way.lab(name) as pair:
        loaded = Loaded(pair).start()
        pair.faults.kill_qemu("A")
        killed = time.time_ns()
        backup_took_over(loaded, "kill -9 of the primary's QEMU")
        silent(pair, "A", killed, "after its QEMU was killed")
        captures_whole(pair)


@everyday("a guest is gated for good when its monitor is gone", TCG_1)
@ways(*BOTH, TCG_1)
def test_kill9_monitor(name, way):
    with way.lab(name) as pair:
        loaded = Loaded(pair).start()
        pair.faults.kill_monitor("A")
        pair.wait_state("B", "going-live", "alone")
        live = time.time_ns()
        backup_took_over(loaded, "kill -9 of the primary's monitor")
        check(pair.side["A"].qemu_runs(), "the primary's QEMU is not there any more: "
              "its silence proves nothing")
        silent(pair, "A", live, "after the backup went live")
        pair.wait_said("A", "stopped for good", 10)
        captures_whole(pair)


@full("kill9-qemu and kill9-monitor see both halves of it")
@ways(*BOTH)
def test_kill9_host(name, way):
    with way.lab(name) as pair:
        loaded = Loaded(pair).start()
        pair.faults.kill_host("A")
        killed = time.time_ns()
        backup_took_over(loaded, "kill -9 of all on the primary's host")
        silent(pair, "A", killed, "after all on it was killed")
        captures_whole(pair)


def sigstop(name, way, stop):
    with way.lab(name) as pair:
        loaded = Loaded(pair).start()
        stop(pair)
        pair.wait_state("B", "alone")
        check("silent" in pair.status("B")["reason"], "the backup took over for another reason "
              f"than silence: {pair.status('B')['reason']}")
        live = time.time_ns()
        loaded.settle("after the primary was stopped")
        check(pair.side["A"].qemu_runs(), "the primary's QEMU did not live to be let go on")
        pair.faults.cont_host("A")
        pair.wait_state("A", "fenced")
        pair.wait_said("A", "fenced", 10)
        # Long enough for a guest that still ran to answer: it is pinged all the time.
        time.sleep(3)
        silent(pair, "A", live, "after the backup went live, stopped or let go on")
        backup_took_over(loaded, "the primary was let go on")
        silent(pair, "A", live, "to the end")
        captures_whole(pair)


@everyday("a host that was silent wakes up fenced, after the backup went live", LOCKSTEP, KVM_1)
@ways(*BOTH, TCG_2, KVM_1)
def test_sigstop_primary(name, way):
    sigstop(name, way, lambda pair: pair.faults.stop_host("A"))


@full("stopped-qemu-is-silent sees the same detection; drill-stops does all three")
@ways(*BOTH)
def test_sigstop_qemu_only(name, way):
    sigstop(name, way, lambda pair: pair.faults.stop_qemu("A"))


@everyday("two sides that live ask the arbiter: one goes on, the other is fenced", LOCKSTEP, TCG_1)
@ways(*BOTH, TCG_1, KVM_2, ASAN_LOCKSTEP)
def test_cut_channel(name, way):
    with way.lab(name) as pair:
        loaded = Loaded(pair).start()
        pair.faults.cut_channel()
        winner = pair.wait(lambda: next((side for side in "AB" if pair.state(side) == "alone"),
                                        None), "one side to go on")
        loser = "B" if winner == "A" else "A"
        note(f"{pair.side[winner].role} went on")
        fenced = time.time_ns()
        pair.side[loser].may_end = True
        pair.wait_said(loser, "fenced")
        if winner == "B":
            backup_took_over(loaded, "the cut")
        else:
            primary_went_on(loaded, "the cut")
        silent(pair, loser, fenced, "after it was fenced")
        captures_whole(pair)


@everyday("a primary goes on alone without a pause of its clients", TCG_1)
@ways(*BOTH, TCG_1)
def test_kill_backup(name, way):
    with way.lab(name) as pair:
        loaded = Loaded(pair).start()
        pair.faults.kill_host("B")
        primary_went_on(loaded, "the backup's host was killed")
        captures_whole(pair)


@everyday("a backup's monitor that outlives its QEMU tells the primary", TCG_1)
@ways(*BOTH, TCG_1)
def test_kill_backup_qemu(name, way):
    with way.lab(name) as pair:
        loaded = Loaded(pair).start()
        pair.faults.kill_qemu("B")
        primary_went_on(loaded, "the backup's QEMU was killed")
        captures_whole(pair)


@everyday("nobody goes on without an answer of the arbiter", LOCKSTEP)
@ways(*BOTH, TCG_1)
def test_link_and_arbiter_down(name, way):
    """Nobody may go on; when the arbiter is back, exactly one does."""
    with way.lab(name) as pair:
        loaded = Loaded(pair).start()
        pair.faults.hide_arbiter()
        pair.faults.cut_channel()
        for side in "AB":
            pair.wait_state(side, "waiting-arbiter", "arbitrating")
        quiet = time.time_ns()
        acks = len(loaded.load.writer.acks())
        time.sleep(5)
        for side in "AB":
            check(pair.state(side) in ("waiting-arbiter", "arbitrating"),
                  f"{side} did not wait for the arbiter: {pair.state(side)}")
            silent(pair, side, quiet, "while nobody could be sure to be the only one")
        equal(len(loaded.load.writer.acks()), acks, "writes acknowledged meanwhile")
        for side in pair.side.values():
            side.may_end = True
        pair.faults.return_arbiter()
        winner = pair.wait(lambda: next((side for side in "AB" if pair.state(side) == "alone"),
                                        None), "one side to go on")
        loser = "B" if winner == "A" else "A"
        note(f"{pair.side[winner].role} went on")
        pair.wait_said(loser, "fenced")
        if winner == "B":
            backup_took_over(loaded, "the arbiter came back")
        else:
            primary_went_on(loaded, "the arbiter came back")
        silent(pair, loser, quiet, "after it was fenced")
        captures_whole(pair)


@full("the board changes nothing of a failover; attach-q35 sees what it changes")
@ways(*BOTH)
def test_q35(name, way):
    with way.lab(name) as pair:
        pair.guest.machine = "q35"
        loaded = Loaded(pair).start()
        pair.faults.kill_qemu("A")
        backup_took_over(loaded, "kill -9 of the primary's QEMU")


# The ring is lockstep's. What a slow backup does to epochs: test_checkpoint.py.
@full("unit tests fill the ring; lag slows the primary")
@ways(LOCKSTEP)
def test_slow_backup(name, way):
    """A backup whose log ring is full slows the primary down; it is not given up for it."""
    with way.lab(name, pair={"log-bytes": 1 << 20}) as pair:
        loaded = Loaded(pair).start()
        loaded.settle("with a full ring")
        paired(pair, "A", "state of A")
        paired(pair, "B", "state of B")
        pair.faults.kill_qemu("A")
        backup_took_over(loaded, "kill -9 of the primary's QEMU")
        captures_whole(pair)
