# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/bench hiccups measures: how late a monitor is woken up on this machine."""

import contextlib
import json
import os
import subprocess
import sys

from .lab import Lab
from .programs import ROOT
from .load import Workload
from .story import EXIT_FAILED, EXIT_OK, nothing_left, write_json

ME = "scripts/bench"
PROGRAM = os.path.join(ROOT, "build", "tests", "vmft-hiccups")
BUSY = 4  # processes that do nothing but run
QUANTILES = (("p50_ms", "median"), ("p99_ms", "p99"), ("p99_9_ms", "p99.9"),
             ("p99_99_ms", "p99.99"), ("max_ms", "worst"))
# As a monitor's status names its own.
OWN = ("hiccup_ms_p50", "hiccup_ms_p99", "hiccup_ms_max")

LEGEND = """\
How much later than asked for a thread woke up from a sleep of 20 ms. monitor: nice -10 and memory
locked, as vmft-monitor; plain: as any process; real-time: SCHED_RR, the lowest priority. Load average: of the whole machine, at the
end of the row's measurement. Monitors' own: what the two monitors of the pair saw of their ticks."""


def _measure(seconds):
    done = subprocess.run([PROGRAM, "--seconds", str(seconds)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"vmft-hiccups: {done.stderr.strip()}")
    return {"threads": [json.loads(line) for line in done.stdout.splitlines()],
            "load_average": os.getloadavg()[0]}


@contextlib.contextmanager
def _busy():
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"],
                                  stdin=subprocess.DEVNULL) for _ in range(BUSY)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _with_guest(seconds):
    pair = Lab("tiny", captures=False)
    with pair:
        pair.start_protected()
        load = Workload(pair)
        load.start()
        load.wait_progress("before the measurement")
        found = _measure(seconds)
        found["monitors"] = {side: {key: status[key] for key in OWN}
                             for side in "AB" for status in [pair.status(side)]}
        load.stop()
    if not nothing_left(ME, pair):
        raise RuntimeError("the lab left something behind")
    return found


def _rows(results):
    yield ["while", "thread", "wakeups", *(f"{name} ms" for _, name in QUANTILES),
           "load average"]
    yield ["---"] * (4 + len(QUANTILES))
    for what, found in results.items():
        for thread in found["threads"]:
            yield [what, thread["thread"], str(thread["wakeups"]),
                   *(f"{thread[key]:.2f}" for key, _ in QUANTILES),
                   f"{found['load_average']:.1f}"]


def hiccups(options):
    results = {"nothing of ours runs": _measure(options.seconds)}
    if options.load:
        with _busy():
            results[f"{BUSY} busy processes"] = _measure(options.seconds)
        results["a protected guest under load"] = _with_guest(options.seconds)
    command = f"{ME} hiccups --seconds {options.seconds}{' --load' if options.load else ''}"
    print(f"\n`{command}`, {os.cpu_count()} processors\n")
    for cells in _rows(results):
        print(f"| {' | '.join(cells)} |")
    for found in results.values():
        for side, own in found.get("monitors", {}).items():
            print(f"\nMonitor of {side}, its own: median {own['hiccup_ms_p50']}, "
                  f"p99 {own['hiccup_ms_p99']}, worst {own['hiccup_ms_max']} ms")
    print(f"\n{LEGEND}")
    if options.json:
        write_json(options.json, {"command": command, "processors": os.cpu_count(),
                                  "results": results})
    return EXIT_OK if all(found["threads"] for found in results.values()) else EXIT_FAILED
