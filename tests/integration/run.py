#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the integration tests: run.py [--list] [--jobs N] [NAME...]. See README.md."""

import argparse
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts")]

import harness  # noqa: E402
from harness import CannotRun  # noqa: E402
from vmftlab.lab import close_all, handle_signals  # noqa: E402


class Stuck(Exception):
    """A test took longer than its limit."""


def discover():
    for name in sorted(os.listdir(HERE)):
        if name.startswith("test_") and name.endswith(".py"):
            importlib.import_module(name[:-3])
    return harness.TESTS


def choose(tests, names):
    unknown = [name for name in names if name not in tests]
    if unknown:
        sys.exit(f"run.py: no test named {', '.join(unknown)}; see run.py --list")
    return names or list(tests)


def run_one(name, function, limit):
    """Returns why it failed, or None."""
    shutil.rmtree(os.path.join(harness.LOGS, name), ignore_errors=True)
    signal.alarm(limit)
    try:
        function(name)
    except (KeyboardInterrupt, CannotRun):
        raise
    except Exception as error:  # whatever goes wrong in a test is that test's failure
        keep_traceback(name)
        return str(error) or repr(error)
    finally:
        signal.alarm(0)
    return None


def keep_traceback(name):
    directory = os.path.join(harness.LOGS, name)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "traceback"), "w", encoding="utf-8") as file:
        traceback.print_exc(file=file)


class Pool:
    """Tests side by side, each in a process of its own, which ends what it started.

    A test waits most of its time: for a guest to boot, for a silence to be long enough. The longest
    come first.
    """

    OTHERS = ("ok ", "FAIL ", "note ")
    COUNTS = re.compile(r"^(\d+) passed, (\d+) failed$")

    def __init__(self, names, jobs):
        # A limit tells how long a test may be; the last is taken first.
        self.waiting = sorted(names, key=lambda name: harness.TESTS[name][1])
        self.jobs = jobs
        self.lock = threading.Lock()
        self.running = set()
        self.over = False
        self.run = self.failed = 0
        self.cannot = {}

    def all(self):
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.jobs)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.5)
        except BaseException:
            self._end()
            raise

    def _end(self):
        """Each ends its own guests when it is told to."""
        with self.lock:
            self.over = True
            for process in self.running:
                process.send_signal(signal.SIGINT)
        for process in list(self.running):
            process.wait()

    def _work(self):
        while True:
            with self.lock:
                if not self.waiting or self.over:
                    return
                name = self.waiting.pop()
                process = subprocess.Popen([sys.executable, "-u", os.path.join(HERE, "run.py"), name],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           stderr=subprocess.STDOUT, text=True,
                                           start_new_session=True)
                self.running.add(process)
            said = process.communicate()[0]
            with self.lock:
                self.running.discard(process)
                self._count(name, said, process.returncode)

    def _count(self, name, said, code):
        lines = said.splitlines()
        counts = self.COUNTS.match(lines[-1]) if lines else None
        if not counts:
            lines.append(f"FAIL {name}: its process ended with {code}")
        passed, failed = map(int, counts.groups()) if counts else (0, 1)
        self.run += passed + failed
        self.failed += failed
        for line in lines:
            if line.startswith("note ") and ": cannot run here: " in line:
                self.cannot.setdefault(line.split(": cannot run here: ")[1], []).append(name)
            if line.startswith(self.OTHERS) or (line.startswith("    ") and "... " not in line):
                print(line, flush=True)


def on_alarm(_number, _frame):
    raise Stuck("stuck: over its time limit")


def main():
    parser = argparse.ArgumentParser(prog="run.py")
    parser.add_argument("--list", action="store_true", help="name the tests and stop")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", choices=range(1, 9),
                        help="so many at a time, default 1")
    parser.add_argument("name", nargs="*", help="default: all")
    options = parser.parse_args()
    tests = discover()
    if options.list:
        print("\n".join(tests))
        return 0
    if os.geteuid() != 0:
        sys.exit("run.py: must be root: it makes network namespaces and taps")
    handle_signals()
    signal.signal(signal.SIGALRM, on_alarm)
    names = choose(tests, options.name)
    if options.jobs > 1:
        pool = Pool(names, options.jobs)
        pool.all()
        return conclude(pool.run, pool.failed, pool.cannot)
    failed = 0
    cannot = {}  # why: the tests
    for name in names:
        begin = time.monotonic()
        try:
            why = run_one(name, *tests[name])
        except CannotRun as error:
            cannot.setdefault(str(error), []).append(name)
            print(f"note {name}: cannot run here: {error}", flush=True)
            continue
        took = f"({time.monotonic() - begin:.1f} s)"
        failed += why is not None
        print(f"ok {name} {took}" if why is None else f"FAIL {name}: {why} {took}", flush=True)
    return conclude(len(names) - sum(map(len, cannot.values())), failed, cannot)


def conclude(run, failed, cannot):
    for why, tests in cannot.items():
        print(f"{len(tests)} cannot run here: {why}: {', '.join(tests)}")
    print(f"{run - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("run.py: interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        close_all()
