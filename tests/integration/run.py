#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the integration tests: run.py [--list] [NAME...]. See README.md."""

import argparse
import importlib
import os
import shutil
import signal
import sys
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


def on_alarm(_number, _frame):
    raise Stuck("stuck: over its time limit")


def main():
    parser = argparse.ArgumentParser(prog="run.py")
    parser.add_argument("--list", action="store_true", help="name the tests and stop")
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
    failed = 0
    cannot = {}  # why: the tests
    names = choose(tests, options.name)
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
    for why, tests_ in cannot.items():
        print(f"{len(tests_)} cannot run here: {why}: {', '.join(tests_)}")
    run = len(names) - sum(map(len, cannot.values()))
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
