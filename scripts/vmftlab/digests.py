# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/bench digests measures: what it costs to compare samples of a guest's memory."""

import statistics
import time

from . import injure
from .bench_dirty import Dirty
from .watch import progress
from .story import EXIT_FAILED, EXIT_OK, measured, write_json

ME = "scripts/bench"
EVERY_MS = (0, 1000, 100)
WARM_S = 3
TURN_S = 6

LEGEND = """\
Tiny guest, lockstep, protected, flat out in 64 MiB; the same pair in turn with each setting of
digest-ms, digest-pages as by default. Work: pages written to per second, median / least / most of
the turns. A sample: time the guest's QEMU spent on one, all turns together, and the share of time that
is."""


def turn(lab, dirty, every_ms):
    injure.sample_each(lab.side["A"], every_ms)
    time.sleep(1)
    before, begin = lab.status("A"), time.monotonic_ns()
    time.sleep(TURN_S)
    after, end = lab.status("A"), time.monotonic_ns()
    return {"digest_ms": every_ms, "pages_per_s": dirty.rate(begin, end), "ns": end - begin,
            **{key: after[key] - before[key] for key in ("digests_taken", "digest_ns")}}


def measure(lab, rounds):
    lab.start_protected()
    dirty = Dirty(lab, 128)
    dirty.start()
    dirty.touch(64, "max", "random")
    time.sleep(WARM_S)
    found = []
    for number in range(rounds):
        for every_ms in EVERY_MS:
            found.append(turn(lab, dirty, every_ms))
        progress(f"round {number + 1} of {rounds}: " + ", ".join(
            f"{one['pages_per_s']:.0f}/s" for one in found[-len(EVERY_MS):]))
    if lab.status("A")["divergences"]:
        raise RuntimeError(f"a divergence was found: {lab.status('A')['divergence']}")
    dirty.stop()
    return found


def row(turns):
    work = [one["pages_per_s"] for one in turns]
    taken = sum(one["digests_taken"] for one in turns)
    spent = sum(one["digest_ns"] for one in turns)
    share = spent / sum(one["ns"] for one in turns)
    return [str(turns[0]["digest_ms"]),
            f"{statistics.median(work):.0f} / {min(work):.0f} / {max(work):.0f}", str(taken),
            f"{spent / taken / 1e6:.2f} ms, {100 * share:.2f} %" if taken else "-"]


def digests(options):
    command = f"{ME} digests --runs {options.runs}"
    found, failures = measured(ME, lambda lab: measure(lab, options.runs))
    print(f"\n`{command}`\n\n| digest-ms | work, pages/s | samples | a sample |\n|---|---|---|---|")
    for every_ms in EVERY_MS:
        turns = [one for one in found if one["digest_ms"] == every_ms]
        if turns:
            print(f"| {' | '.join(row(turns))} |")
    print(f"\n{LEGEND}")
    for failure in failures:
        print(f"FAILED: {failure}")
    if options.json:
        write_json(options.json, {"command": command, "turns": found, "failures": failures})
    return EXIT_FAILED if failures else EXIT_OK
