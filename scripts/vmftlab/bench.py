# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/bench measures: attaching a backup to a guest that runs; taking dirty pages.

What epochs cost is in epochs.py, what comparing samples of memory costs in digests.py;
how late a monitor wakes up in hiccups.py.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from .bench_dirty import Dirty
from .clock import PARTS as CLOCK_PARTS, clock
from .digests import digests
from .epochs import PARTS as EPOCH_PARTS, epochs
from .hiccups import hiccups
from .guest import READY
from .lab import Lab
from .programs import ROOT
from .watch import progress
from .load import GuestShell
from .logload import log
from .story import (ERRORS, EXIT_FAILED, EXIT_OK, guarded, nothing_left, write_json)

ME = "scripts/bench"
LOGS = os.path.join(ROOT, "build", "bench-logs")
COPY_OR_PROTECT = os.path.join(ROOT, "build", "tests", "vmft-copy-or-protect")
SETTLE_S = 1
BEFORE_S = 2  # the guest's work is measured for so long before each attach
ATTACH_LIMIT_S = 900
# What vmft-dirty does with a guest of so many MiB: working set, pages a second, order.
LOADS = {
    "idle": lambda mib: (1, "0", "order"),
    "5000 pages/s": lambda mib: (mib // 4, "5000", "random"),
    "flat out": lambda mib: (mib // 4, "max", "random"),
}
PARTS = ("stop_ms", "drain_ms", "copy_ms", "save_ms", "start_ms")


class Memory:
    """What a process holds: VmRSS at its highest, RssAnon as sampled."""

    def __init__(self, pid):
        self.pid = pid
        self.anon = self.rss = 0
        with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # the highest begins anew

    def sample(self):
        try:
            with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as file:
                fields = dict(line.split(":", 1) for line in file)
            self.rss = max(self.rss, int(fields["VmHWM"].split()[0]) * 1024)
            self.anon = max(self.anon, int(fields["RssAnon"].split()[0]) * 1024)
        except (OSError, KeyError):
            pass  # it has ended


class Attaches:
    """All attaches of one guest: it stays, its backups come and go."""

    def __init__(self, memory_mib, runs):
        self.runs = runs
        self.lab = Lab("tiny", captures=False, pair={"start": "alone"})
        self.lab.guest.memory = memory_mib
        self.dirty = None
        self.results = []

    def run(self):
        with self.lab as lab:
            try:
                self._boot()
                for name, plan in LOADS.items():
                    self._configuration(name, *plan(lab.guest.memory))
                self.dirty.stop()
            except ERRORS:
                lab.keep_logs(LOGS)
                progress(f"logs are kept in {LOGS}")
                raise

    def _boot(self):
        lab = self.lab
        lab.start_side("A")
        lab.wait(lambda: READY.encode() in lab.side["A"].console(),
                 f"the guest of {lab.guest.memory} MiB to boot")
        shell = GuestShell(lab)
        free = shell.run("grep MemAvailable /proc/meminfo").split()[1]
        shell.close()
        # Most of what there is, so that the copy is that of a guest that has run for long.
        self.dirty = Dirty(lab, int(free) * 9 // 10 // 1024 - 4)
        self.dirty.start()

    def _configuration(self, load, working_set, pages_per_s, order):
        self.dirty.touch(working_set, pages_per_s, order)
        found = {"memory_mib": self.lab.guest.memory, "load": load, "working_set_mib": working_set,
                 "pages_per_s": pages_per_s, "order": order, "runs": []}
        self.results.append(found)
        for number in range(1, self.runs + 1):
            run = self._attach()
            found["used_bytes"] = used_bytes(self.lab.side["A"].qemu_pid())
            found["runs"].append(run)
            progress(f"{self.lab.guest.memory} MiB, {load}, attach {number} of {self.runs}: "
                     f"{in_words(run)}")

    def _attach(self):
        lab, dirty = self.lab, self.dirty
        time.sleep(SETTLE_S)
        begin = time.monotonic_ns()
        time.sleep(BEFORE_S)
        end = time.monotonic_ns()
        before = {"pages_per_s_before": dirty.rate(begin, end),
                  "answer_ms_before": dirty.answer_ms(begin, end)}
        status = lab.status("A")
        failures, attached = status["attach_failures"], status["attached"]
        memory = {"primary": Memory(status["monitor_pid"])}
        throttles = []

        def ended():
            now = lab.status("A")
            throttles.append(now["throttle_permille"] if now["state"] == "attaching" else 0)
            for process in memory.values():
                process.sample()
            return (now["attach_failures"] > failures or
                    now["attached"] > attached and lab.state("B") == "protected")

        started = time.monotonic_ns()
        lab.start_backup("B")
        lab.side["B"].may_end = True  # as it does when the attach fails
        if (backup := lab.peek("B")):
            memory["backup"] = Memory(backup["monitor_pid"])
        lab.wait(ended, f"the attach to a guest of {lab.guest.memory} MiB to end", ATTACH_LIMIT_S)
        status = lab.status("A")
        run = {"ok": status["attached"] > attached, "error": status["attach_error"],
               "throttle_permille": max(throttles), **before}
        if run["ok"]:
            end = status["since_ms"] * 1_000_000
            begin = max(started, end - int(status["attach_last"]["total_ms"] * 1e6))
            run.update(status["attach_last"], pages_per_s_during=dirty.rate(begin, end),
                       answer_ms_during=dirty.answer_ms(begin, end))
        for name, process in memory.items():
            run[f"{name}_rss_bytes"], run[f"{name}_anon_bytes"] = process.rss, process.anon
        lab.end_side("B")
        lab.wait_state("A", "alone")
        dirty.samples.clear()
        return run


def used_bytes(pid):
    """What of the guest's memory there is on the host: all that was ever touched."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        if os.readlink(path).startswith("/memfd:vmft-ram"):
            return os.stat(path).st_blocks * 512
    raise RuntimeError("QEMU has no memfd named vmft-ram")


def in_words(run):
    if not run["ok"]:
        return f"FAILED: {run['error']}"
    return (f"stun {run['stun_ms']:.1f} ms, attach {run['total_ms'] / 1000:.2f} s, "
            f"{run['rounds']} rounds, {run['ram_bytes'] / 1e6:.0f} MB of memory")


# The table. A cell: from the runs that came about; median and worst of them.

def spread(runs, value, digits=0, worst=max):
    values = [value(run) for run in runs]
    values = [v for v in values if v is not None]
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} / {worst(values):.{digits}f}"


def work_done(run):
    """Percent of what the guest got done before."""
    if not run["pages_per_s_before"] or run["pages_per_s_during"] is None:
        return None
    return 100 * run["pages_per_s_during"] / run["pages_per_s_before"]


def answers(runs, when):
    values = [run[f"answer_ms_{when}"]["median"] for run in runs if run[f"answer_ms_{when}"]]
    return f"{statistics.median(values):.0f}" if values else "-"


def parts(runs):
    return " + ".join(f"{statistics.median(run[key] for run in runs):.1f}" for key in PARTS)


def holds(runs, side):
    rss, anon = (max(run.get(f"{side}_{what}_bytes", 0) for run in runs) / 1e6
                 for what in ("rss", "anon"))
    return f"{rss:.0f} ({anon:.1f})"


COLUMNS = (
    ("stun ms", lambda runs: spread(runs, lambda r: r["stun_ms"], 1)),
    ("stop + drain + copy + save + start", parts),
    ("output held ms", lambda runs: spread(runs, lambda r: r["hold_ms"], 1)),
    ("attach s", lambda runs: spread(runs, lambda r: r["total_ms"] / 1000, 2)),
    ("rounds", lambda runs: spread(runs, lambda r: r["rounds"])),
    ("memory sent MB", lambda runs: spread(runs, lambda r: r["ram_bytes"] / 1e6)),
    ("slowed by up to %", lambda runs: spread(runs, lambda r: r["throttle_permille"] / 10)),
    ("work %", lambda runs: spread(runs, work_done, worst=min)),
    ("answers ms", lambda runs: f"{answers(runs, 'before')}, {answers(runs, 'during')}"),
    ("primary's monitor MB", lambda runs: holds(runs, "primary")),
    ("backup's monitor MB", lambda runs: holds(runs, "backup")),
)


def table(results):
    names = ["memory MiB", "in use MB", "load", "attaches"] + [name for name, _ in COLUMNS]
    lines = [names, ["---"] * len(names)]
    for found in results:
        good = [run for run in found["runs"] if run["ok"]]
        lines.append([str(found["memory_mib"]), f"{found.get('used_bytes', 0) / 1e6:.0f}",
                      f"{found['load']}, {found['working_set_mib']} MiB"
                      if found["pages_per_s"] != "0" else found["load"],
                      f"{len(good)} of {len(found['runs'])}"] +
                     [cell(good) if good else "-" for _, cell in COLUMNS])
    return [f"| {' | '.join(cells)} |" for cells in lines]


LEGEND = """\
Median / worst of the attaches. Tiny guest, alone at first; its memory was filled once. Load: random
pages written to in a working set. Stun: the guest is stopped; its parts are medians. Output held:
until the backup has all that was seen outside. Work: pages written to per second during the attach
against before. Answers: of a client that asks the guest 50 times a second, before the attach and
during it, medians. Monitors: most of VmRSS, in brackets RssAnon."""


def attach(options):
    results, failures = [], []
    for memory_mib in options.memory:
        bench = Attaches(memory_mib, options.runs)
        try:
            bench.run()
        except ERRORS as error:
            failures.append(f"{memory_mib} MiB: {error}")
        results += bench.results
        if not nothing_left(ME, bench.lab):
            failures.append(f"{memory_mib} MiB: left something behind")
    command = f"{ME} attach --memory {','.join(map(str, options.memory))} --runs {options.runs}"
    print(f"\n`{command}`\n")
    print("\n".join(table(results)))
    print(f"\n{LEGEND}")
    for found in results:
        failures += [f"{found['memory_mib']} MiB, {found['load']}: {run['error']}"
                     for run in found["runs"] if not run["ok"]]
    if failures:
        print("\nFailed:")
        for failure in failures:
            print(f"  {failure}")
    if options.json:
        write_json(options.json, {"command": command, "configurations": results,
                                  "failures": failures})
    return EXIT_FAILED if failures else EXIT_OK


COPY_LEGEND = """\
Medians. 1 GiB, epochs of 25 ms; the writer dirties random pages, about half of them again in the
next epoch. Dirty pages: of an epoch; a writer held up dirties fewer. Copy: while the writer is
stopped. Protect: it is let go, its pages are write-protected with userfaultfd and copied while it
runs, those it writes to first by the handler of the faults; with gaps: clean pages in between are
protected too, which needs fewer calls; poll: who copies also handles the faults. Writer's work:
pages written per second, stops included, against an epoch in which nothing is taken."""


def copy(options):
    command = f"{ME} copy --runs {options.runs}"
    program = [COPY_OR_PROTECT, "--runs", str(options.runs)]
    if options.json:
        program += ["--json", options.json]
    print(f"\n`{command}`\n", flush=True)
    if subprocess.run(program, check=False).returncode:
        return EXIT_FAILED
    print(f"\n{COPY_LEGEND}")
    return EXIT_OK


def parse_arguments(words):
    parser = argparse.ArgumentParser(prog=ME, description="Measures, and prints Markdown tables.")
    # For the shell script, which would not install packages for a mistyped option.
    parser.add_argument("--usage-only", action="store_true", help=argparse.SUPPRESS)
    benches = parser.add_subparsers(required=True, metavar="BENCH")
    bench = benches.add_parser(
        "attach", help="attaching a backup: stun, duration, slowdown, memory of the monitors",
        description="Attaches a backup again and again to a guest that is alone, idle and "
                    "writing to its memory.")
    bench.add_argument("--memory", type=_sizes, default=[256, 1024, 4096], metavar="MIB,...",
                       help="the guests' memory, default 256,1024,4096")
    bench.add_argument("--runs", type=_count, default=5, metavar="N",
                       help="attaches for each row of the table, default 5")
    bench.add_argument("--json", metavar="FILE", help="write all figures there as JSON")
    bench.set_defaults(bench=attach)
    bench = benches.add_parser(
        "copy", help="an epoch's dirty pages: copied while the guest is stopped, or protected",
        description="Takes the dirty pages of a writer, a thread and a KVM guest, by copying "
                    "them while it is stopped and by write-protecting them.")
    bench.add_argument("--runs", type=_runs_of_copy, default=5, metavar="N",
                       help="runs of 20 epochs for each row of the table, default 5")
    bench.add_argument("--json", metavar="FILE", help="write all figures there as JSON")
    bench.set_defaults(bench=copy)
    bench = benches.add_parser(
        "epochs", help="protection by checkpoints: overhead, bytes, stops, latency, failovers",
        description="Runs guests that are protected by checkpoints beside the same guests under "
                    "plain QEMU. Kinds of guests that this machine cannot run are left out.")
    bench.add_argument("--part", choices=list(EPOCH_PARTS), action="append",
                       help="only this one; may be given several times, default all")
    bench.add_argument("--quick", action="store_true",
                       help="a minute's run that shows whether everything works, not how well")
    bench.add_argument("--no-pin", action="store_true",
                       help="let the primary's host and all else share all processors; otherwise "
                            "the primary's host is the first, the backup and clients the rest")
    bench.add_argument("--json", metavar="FILE", help="write all figures there as JSON")
    bench.set_defaults(bench=epochs)
    bench = benches.add_parser(
        "digests", help="lockstep: comparing samples of the guest's memory with the backup's",
        description="Lets a protected guest write to its memory, with digest-ms off, at its "
                    "default and at a tenth of it in turn.")
    bench.add_argument("--runs", type=_count, default=5, metavar="N",
                       help="turns of each setting, default 5")
    bench.add_argument("--json", metavar="FILE", help="write all figures there as JSON")
    bench.set_defaults(bench=digests)
    bench = benches.add_parser(
        "log", help="lockstep: what is logged for what a guest does, and how fast it does it",
        description="Lets a protected guest idle, write, answer pings, send and write to its "
                    "disk, one after the other.")
    bench.add_argument("--seconds", type=_seconds, default=20, metavar="N",
                       help="how long for each row of the table, default 20")
    bench.add_argument("--json", metavar="FILE", help="write all figures there as JSON")
    bench.set_defaults(bench=log)
    bench = benches.add_parser(
        "clock", help="lockstep: how far the guest's clock is from the host's",
        description="Asks a protected guest the time while it idles, works, is given backups and "
                    "fails over.")
    bench.add_argument("--seconds", type=_seconds, default=20, metavar="N",
                       help="how long for each row of the table, default 20")
    bench.add_argument("--part", choices=[what for what, _ in CLOCK_PARTS], action="append",
                       help="only this row; may be given several times, default all")
    bench.add_argument("--json", metavar="FILE", help="write all figures there as JSON")
    bench.set_defaults(bench=clock)
    bench = benches.add_parser(
        "hiccups", help="how late a monitor is woken up: what silence-ms rests on",
        description="Measures how late a thread with the monitor's settings wakes up.")
    bench.add_argument("--seconds", type=_seconds, default=60, metavar="N",
                       help="how long for each row of the table, default 60")
    bench.add_argument("--load", action="store_true",
                       help="also beside busy processes, and beside a protected guest under load")
    bench.add_argument("--json", metavar="FILE", help="write all figures there as JSON")
    bench.set_defaults(bench=hiccups)
    return parser.parse_args(words)


def _sizes(text):
    sizes = [int(word) for word in text.split(",")]
    if not all(192 <= size <= 65536 for size in sizes):
        raise argparse.ArgumentTypeError("from 192 to 65536 MiB each")
    return sizes


def _count(text):
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("from 1 to 1000")
    return value


def _seconds(text):
    value = int(text)
    if not 1 <= value <= 86400:
        raise argparse.ArgumentTypeError("from 1 to 86400")
    return value


def _runs_of_copy(text):
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError("from 1 to 100")
    return value


def main(words):
    options = parse_arguments(words)
    if options.usage_only:
        return EXIT_OK
    return guarded(ME, lambda: options.bench(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
