# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kind of fault, done to a pair under load by the functions of scripts/drill.

Several kinds share a lab: each begins and ends with a protected guest. Each is named in the
output, with the evidence that it happened and what came of it.
"""

import os
import random
import types

import pytest

import harness
from harness import (ASAN_CHECKPOINT, ASAN_LOCKSTEP, BOTH, CHECKPOINT, KVM_2, LINUX_KVM_2, TCG_1,
                     check, equal, everyday, full, note, ways)
from vmftlab import outputrule
from vmftlab.drill.run import Drill
from vmftlab.faults import kinds as all_kinds
from vmftlab.faults.fault import FAILOVER, NOTHING
from vmftlab.faults.processes import KillQemu
from vmftlab.guest import has_kvm
from vmftlab.watch import SILENCE_MS

SEED = int(os.environ.get("VMFT_SEED", "1"))
# Faults of a soak. A guest with two processors and checkpoints takes all of the machine's time.
SOAK = {strategy: int(os.environ.get("VMFT_SOAK", count))
        for strategy, count in (("lockstep", "100"), ("checkpoint", "30"))}
# The output rule was under test only if at least so many frames were compared.
OUTPUT_LEAST = 20
# So long after each answer that no epoch is in time for it.
LATE_NS = 600 * 10**9

# The kinds that share a lab. A kind that is in no group fails drill-every-kind.
GROUPS = {
    "processes": ("kill-qemu", "kill-monitor", "power-off", "memory-pressure", "sigterm"),
    "stops": ("stop-host", "stop-qemu", "stop-monitor"),
    "channel": ("channel-cut", "channel-cut-short", "channel-one-way", "channel-loss",
                "channel-delay", "channel-cap", "heartbeat-cut"),
    "arbiter": ("arbiter-down", "arbiter-down-channel-cut", "arbiter-down-kill",
                "arbiter-wiped", "arbiter-unmounted"),
    "rest": ("client-cut", "uplink-late", "tap-other", "console-stalled", "clock-step", "slow-backup"),
    "disk-full": ("disk-full-backup", "disk-full-primary"),
}


def options_for(way, seed=None):
    """The options that scripts/drill would get for this."""
    given = way.options
    return types.SimpleNamespace(image=given.get("image", "tiny"), strategy=way.strategy,
                                 accel=given.get("accel", "tcg"), smp=given.get("smp", 1),
                                 seed=seed, silence_ms=SILENCE_MS, keep_going=True)


def done(name, way, plan, seed=None, rule=outputrule.OutputRule):
    """Does the faults of the plan; returns the result that scripts/drill would write."""
    if way.options.get("accel") == "kvm" and not has_kvm():
        pytest.skip("no /dev/kvm")
    made = Drill(options_for(way, seed), plan, os.path.join(harness.LOGS, name), rule)
    with made.lab:
        made.run()
    left = made.lab.left_behind()
    check(not left, f"left behind: {left}")
    return made.result


def good(result, plan):
    for record in result["faults"]:
        check(not record["problems"], f"{record['kind']} on {record['victim']}: "
              f"{'; '.join(record['problems'])}")
        check(record["verified"], f"{record['kind']}: nothing shows that it happened")
        check(record["outcome"] in record["expected"].split(" or "),
              f"{record['kind']}: {record['outcome']}")
    check(result["ok"], f"not well: {'; '.join(result['problems'])}")
    equal([record["kind"] for record in result["faults"]], [kind for kind, _ in plan],
          "faults done")
    totals = result["totals"]
    names = ("lost", "double_live", "output_before_ack", "undetected_divergence")
    equal({name: totals[name] for name in names}, dict.fromkeys(names, 0), "totals")
    check(totals["linearizable"], "not linearizable")
    check(totals["operations"] > 10, f"only {totals['operations']} operations")
    check(totals["judged_operations"] > 10, f"only {totals['judged_operations']} were judged")
    check(totals["output_checked"] >= OUTPUT_LEAST,
          f"only {totals['output_checked']} frames were compared with the saved log")
    equal(totals["output_unmatched"], 0, "frames that could not be compared")
    check(result["samples"], "nothing was sampled")
    note(f"{len(plan)} faults, {totals['operations']} operations, {totals['output_checked']} "
         f"frames of output compared; outage median {totals['outage_ms']['p50']:.0f} ms, worst "
         f"{totals['outage_ms']['max']:.0f} ms")
    note("seconds a fault: " + ", ".join(f"{record['kind']} {record['seconds']:.1f}"
                                         for record in result["faults"]))


@full("each kind of fault has a test of its own topic; this does all under one judge")
@pytest.mark.parametrize("group", GROUPS)
@ways(*BOTH, LINUX_KVM_2, ASAN_LOCKSTEP, ASAN_CHECKPOINT)
@pytest.mark.timeout(600)
def test_drill(name, way, group):
    kinds = GROUPS[group]
    there = {kind: fault for kind, fault in all_kinds.available(None).items() if kind in kinds}
    for kind in set(kinds) - set(there):
        note(f"{kind} is left out: {all_kinds.KINDS[kind].why_not(None)}")
    plan = all_kinds.every(there)
    good(done(name, way, plan), plan)


@everyday("no kind of fault is forgotten by the drills")
def test_drill_every_kind():
    """GROUPS has every kind of fault."""
    equal(sorted(kind for kinds in GROUPS.values() for kind in kinds), sorted(all_kinds.KINDS),
          "kinds of faults that are under test")


@everyday("seven kinds of fault in a row, judged by histories and the saved log")
@ways(KVM_2)
@pytest.mark.timeout(400)
def test_drill_of_some(name, way):
    """On the bare guest, which finds damage to its memory and clocks by itself."""
    plan = all_kinds.parse_list("kill-qemu,power-off:primary,stop-host:primary,channel-cut,"
                                "channel-loss,clock-step,kill-monitor:backup")
    good(done(name, way, plan), plan)


@full("faults at random, for an hour: it finds what is rare")
@ways(*BOTH)
@pytest.mark.timeout(300 + 30 * max(SOAK.values()))
def test_drill_soak(name, way):
    """VMFT_SOAK faults at random, from VMFT_SEED."""
    plan = all_kinds.drawn(SOAK[way.strategy], random.Random(SEED), all_kinds.available(None))
    note(f"seed {SEED}")
    good(done(name, way, plan, SEED), plan)


@everyday("a soak can be repeated")
def test_drill_same_seed():
    """The same seed gives the same faults, another seed others; by weight, all of them."""
    kinds = all_kinds.available(None)
    drawn = [all_kinds.drawn(300, random.Random(seed), kinds) for seed in (7, 7, 8)]
    equal(drawn[0], drawn[1], "faults of the same seed")
    check(drawn[0] != drawn[2], "two seeds gave the same faults")
    equal(sorted({kind for kind, _ in drawn[0]}), sorted(kinds), "kinds that were drawn")


class NotKilled(KillQemu):
    kind = "not-killed"

    def inject(self):
        self.pid = self.side().qemu_pid()


class KilledButHarmless(KillQemu):
    """Its outcome is not the one that it names as right."""
    kind = "killed-but-harmless"
    may = {"primary": (NOTHING,)}


@everyday("the judges find a fault that did not happen")
@pytest.mark.timeout(400)
def test_drill_finds_out(name):
    """The drill finds a fault that did not happen and an outcome that is not right, and protects
    the guest again after each."""
    plan = [("not-killed", "primary"), ("killed-but-harmless", "primary"), ("kill-qemu", "primary")]
    made = (NotKilled, KilledButHarmless)
    all_kinds.KINDS.update((fault.kind, fault) for fault in made)
    try:
        result = done(name, TCG_1, plan)
    finally:
        for fault in made:
            del all_kinds.KINDS[fault.kind]
    first, second, third = result["faults"]
    check("is still there" in "".join(first["problems"]), f"not found out: {first}")
    check("failover instead of nothing" in "".join(second["problems"]), f"not found out: {second}")
    equal(third["problems"], [], "problems of the fault after those")
    equal(third["outcome"], FAILOVER, "outcome of the fault after those")
    check(not result["ok"], "the drill says that all was well")
    equal(result["totals"]["lost"], 0, "lost")


@everyday("the judge of the output rule can fail", CHECKPOINT)
@ways(*BOTH)
@pytest.mark.timeout(300)
def test_drill_finds_early_output(name, way):
    """If the backup had held its log later than it did, the drill would report it for real frames."""
    plan = [("kill-qemu", "primary")]

    def late_outputs(path):
        return [(digest, length, held + LATE_NS)
                for digest, length, held in outputrule.read_outputs(path)]

    def late_epochs(path):
        return [held + LATE_NS for held in outputrule.read_epochs(path)]

    class Late(outputrule.OutputRule):
        def __init__(self, strategy, directory):
            super().__init__(strategy, directory,
                             late_epochs if strategy == "checkpoint" else late_outputs)

    result = done(name, way, plan, rule=Late)
    check(not result["ok"], "the drill says that all was well")
    check(result["totals"]["output_before_ack"] > 0, f"nothing was found: {result['totals']}")
    said = "".join(result["faults"][0]["problems"])
    check("output before its ack" in said, f"the fault's problems do not say so: {said}")
