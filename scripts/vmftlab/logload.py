# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/bench log measures: what lockstep logs for what a guest does, and how it does it."""

import statistics
import time

from .clock import read_once
from .watch import progress
from .load import DiskWork, Downloads, GuestShell, Pings, Writer
from .story import EXIT_FAILED, EXIT_OK, measured, write_json

ME = "scripts/bench"
SAMPLE_S = 0.1

LEGEND = """\
Tiny guest, lockstep, protected, nothing held back but by the output rule. An answer: from one client's
acknowledged write to its next, median / 99th percentile / longest. Execution lag: ten samples a second.
Guest's clock: by how much it went fast or slow against the host's, over the whole turn."""


class Idle:
    """Nothing, for comparison."""

    def start(self):
        pass

    def progress(self):
        return 0

    def stop(self):
        pass


class Megabytes(Downloads):
    """Counted in a unit worth printing."""

    def progress(self):
        return self.bytes / 1e6


def _downloads(lab):
    shell = GuestShell(lab)
    sha256 = shell.run("sha256sum /www/big").split()[0]
    shell.close()
    return Megabytes(lab, sha256)


# What is done, how one of it is called, and how it is made.
WORK = (
    ("idle", "", lambda lab: Idle()),
    ("one client writes, one write at a time", "writes",
     lambda lab: Writer(lab, name="one")),
    ("eight clients write", "writes", lambda lab: Writer(lab, connections=8, name="eight")),
    ("pings, each 10 ms", "pings", Pings),
    ("downloads of /big", "MB", _downloads),
    ("dd of 128 KiB with fsync", "times", DiskWork),
)


def _answers_ms(work, begin_ns):
    """Between one write's acknowledgement and the next: only with a single connection."""
    acks = [at for at in work.acks() if at >= begin_ns]
    return sorted((after - before) / 1e6 for before, after in zip(acks, acks[1:]))


def turn(lab, what, work, seconds):
    work.start()
    clock, done = read_once(lab), work.progress()
    before, begin = lab.status("A"), time.monotonic_ns()
    lags = []
    while time.monotonic_ns() - begin < seconds * 10**9:
        lags.append(lab.status("A")["lag_ms"])
        time.sleep(SAMPLE_S)
    after, end = lab.status("A"), time.monotonic_ns()
    done, now = work.progress() - done, read_once(lab)
    work.stop()
    return {"what": what, "seconds": (end - begin) / 1e9, "done": done, "lag_ms": sorted(lags),
            "log_bytes": after["log_head"] - before["log_head"],
            "log_events": after["log_events"] - before["log_events"],
            "answers_ms": _answers_ms(work, begin) if what.startswith("one client") else [],
            "clock_ppm": 1e3 * (now.monotonic_ms - clock.monotonic_ms) / (now.at - clock.at)}


def measure(lab, seconds):
    begin = time.monotonic()
    lab.start_protected()
    status = lab.status("A")
    found = [{"what": "boot", "seconds": time.monotonic() - begin, "done": 1, "lag_ms": [],
              "log_bytes": status["log_head"], "log_events": status["log_events"],
              "answers_ms": [], "clock_ppm": None}]
    for what, _, make in WORK:
        found.append(turn(lab, what, make(lab), seconds))
        progress(f"{what}: {found[-1]['log_bytes'] / found[-1]['seconds'] / 1e6:.3f} MB/s")
    if lab.status("A")["divergences"]:
        raise RuntimeError(f"a divergence was found: {lab.status('A')['divergence']}")
    return found


def _quantile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


def row(one, unit):
    seconds = one["seconds"]
    answers, lags = one["answers_ms"], one["lag_ms"]
    return [one["what"],
            f"{one['done'] / seconds:.0f} {unit}/s" if unit else f"{seconds:.1f} s",
            " / ".join(f"{_quantile(answers, share):.1f}" for share in (0.5, 0.99, 1))
            if answers else "-",
            f"{one['log_bytes'] / seconds / 1e6:.3f}", f"{one['log_events'] / seconds:.0f}",
            f"{one['log_bytes'] / one['done']:.1f}" if unit and one["done"] else "-",
            f"{statistics.median(lags):.0f} / {_quantile(lags, 0.99):.0f}" if lags else "-",
            f"{one['clock_ppm'] / 1e4:+.3f} %" if one["clock_ppm"] is not None else "-"]


def log(options):
    command = f"{ME} log --seconds {options.seconds}"
    found, failures = measured(ME, lambda lab: measure(lab, options.seconds))
    units = {what: unit for what, unit, _ in WORK}
    print(f"\n`{command}`\n\n| the guest | does | an answer, ms | log MB/s | entries/s "
          "| log bytes for one | execution lag, ms | guest's clock |\n|---|---|---|---|---|---|---|---|")
    for one in found:
        print(f"| {' | '.join(row(one, units.get(one['what'], '')))} |")
    print(f"\n{LEGEND}")
    for failure in failures:
        print(f"FAILED: {failure}")
    if options.json:
        write_json(options.json, {"command": command, "turns": found, "failures": failures})
    return EXIT_FAILED if failures else EXIT_OK
