# SPDX-License-Identifier: GPL-2.0-or-later
"""How pytest names, chooses, orders, reports and records the tests of this project.

A test has a short name, "checkpoint-kill9-qemu": the way its guest is protected, then the name of
its function. People run tests by it, logs and docs/tests.md use it.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import nested

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join(ROOT, "build", "test-logs")
TABLE = os.path.join(ROOT, "docs", "tests.md")
SUITES = ("everyday", "all")
NESTED = nested.Nested()

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "tests"))

import table  # pylint: disable=wrong-import-position


# -- options

def pytest_addoption(parser):
    group = parser.getgroup("vmft")
    group.addoption("--suite", choices=SUITES, default="all",
                    help="the tests marked everyday, or all (default)")
    group.addoption("--only", action="append", default=[], metavar="NAME",
                    help="the test of this short name; may be given more than once")
    group.addoption("--list-names", action="store_true", help="print the short names and stop")
    group.addoption("--results", metavar="FILE",
                    help="append each result to FILE; tests that have one there do not run again")
    group.addoption("--nested", action="store_true",
                    help="all tests of guests under KVM run on a host of scripts/kvm-host")
    group.addoption("--builds", default="", metavar="DIRECTORIES",
                    help="run the programs that meson calls tests in these, separated by commas")


def pytest_configure(config):
    # A background job is born with SIGINT ignored. Both signals unwind: each test ends its guests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    atexit.register(close_labs)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reporter(config), "vmft-reporter")


def close_labs():
    NESTED.close()
    lab = sys.modules.get("vmftlab.lab")
    if lab:
        lab.close_all()


# -- names and choice

def short_name(item):
    if item.cls:  # one of unittest's
        return ".".join([item.path.stem.removeprefix("test_"), item.cls.__name__,
                         item.originalname.removeprefix("test_")])
    words = [item.originalname.removeprefix("test_").replace("_", "-")]
    params = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    way = params.pop("way", None)
    words += [str(value) for value in params.values()]
    return (way.prefix if way else "") + "-".join(words)


def everyday_reason(item):
    """Why the everyday suite has this test, or None."""
    if item.cls:  # tests/lab
        return "the judges of a drill can fail"
    way = item.callspec.params.get("way") if hasattr(item, "callspec") else None
    sanitized = way is not None and way.build != "build"
    for mark in item.iter_markers("everyday"):
        reason, *ways = mark.args
        if way in ways or (not ways and not sanitized):
            return reason
    return None


def describe(item):
    """What the controller has to know of a test: its report takes it there."""
    reason = everyday_reason(item)
    mark = item.get_closest_marker("full")
    return {"name": short_name(item), "suite": "everyday" if reason else "all",
            "reason": reason or (mark.args[0] if mark else "")}


def pytest_itemcollected(item):
    """A test that runs on an emulated host needs more time. One process runs all of those, and so
    there is one such host at a time."""
    if nested.inside():
        item.add_marker(pytest.mark.timeout(nested.SLOWER * timeout_of(item)), append=False)
    elif nested.possible(item):
        item.add_marker(pytest.mark.timeout(nested.BOOT_S + nested.SLOWER * timeout_of(item)),
                        append=False)
        item.add_marker(pytest.mark.xdist_group("kvm"))


def timeout_of(item):
    mark = item.get_closest_marker("timeout")
    return mark.args[0] if mark else float(item.config.getini("timeout"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Every process of a parallel run has to come to the same list."""
    known = {}
    for item in items:
        item.vmft = describe(item)
        item.user_properties.append(("vmft", item.vmft))
        first = known.setdefault(item.vmft["name"], item)
        if first is not item:
            raise pytest.UsageError(f"two tests are named {item.vmft['name']}: "
                                    f"{first.nodeid} and {item.nodeid}")
    only = config.getoption("--only")
    unknown = [name for name in only if name not in known]
    if unknown:
        raise pytest.UsageError(f"no test is named {', '.join(unknown)}; see scripts/test --list")
    done = read_results(config.getoption("--results"))
    everyday = config.getoption("--suite") == "everyday"
    chosen = [item for item in items
              if (not only or item.vmft["name"] in only)
              and (not everyday or item.vmft["suite"] == "everyday")
              and item.vmft["name"] not in done]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = in_order(chosen, everyday)
    if config.getoption("--list-names"):
        print("\n".join(item.vmft["name"] for item in chosen))
        items[:] = []


def in_order(items, everyday):
    """The longest first, so that no process has a long one left when the others are done. All tests
    may be interrupted: those without a result, or with the oldest, come before the others."""
    rows = table.read_table(TABLE)

    def key(item):
        row = rows.get(item.vmft["name"], {})
        age = "" if everyday else row.get("date", "")
        return age, -float(row.get("seconds") or limit_of(item))
    return sorted(items, key=key)


def limit_of(item):
    mark = item.get_closest_marker("timeout")
    return mark.args[0] if mark else 20


def read_results(path):
    """The records of an earlier run, by name."""
    if not path or not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    return {record["name"]: record for record in records}


def drop_half_line(path):
    """A run that was killed may have left half a record at the end: that test runs again."""
    if path and os.path.exists(path):
        with open(path, "r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def commit_now():
    """The commit that is tested; a "+" after it says that the source was changed since."""
    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], stdout=subprocess.PIPE, text=True,
                              check=False).stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/tests.md")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


# -- while a test runs

@pytest.fixture(autouse=True)
def programs(request, monkeypatch):
    """The programs under test are those of the build that the test's way asks for."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    build = getattr(params.get("way"), "build", "build")
    if build != "build":
        path = os.path.join(ROOT, build, "bin")
        if not os.path.exists(path):
            pytest.skip(f"no {build}")
        monkeypatch.setenv("VMFT_BIN", path)


@pytest.fixture
def name(request):
    """The test's short name; its logs are in the directory of that name."""
    return request.node.vmft["name"]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not nested.wanted(pyfuncitem):
        return None
    NESTED.run(pyfuncitem, os.path.join(LOGS, pyfuncitem.vmft["name"]))
    return True


def pytest_runtest_setup(item):
    shutil.rmtree(os.path.join(LOGS, item.vmft["name"]), ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        directory = os.path.join(LOGS, item.vmft["name"])
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "traceback"), "w", encoding="utf-8") as file:
            file.write(report.longreprtext + "\n")
        report.vmft_why = f"{call.excinfo.value}".split("\n")[0] or repr(call.excinfo.value)


def pytest_report_teststatus(report):
    """The reporter below prints a line for each test; pytest counts, and prints no letters."""
    if report.failed:
        return ("failed" if report.when == "call" else "error"), "", ""
    if report.skipped:
        return "skipped", "", ""
    return ("passed" if report.when == "call" else ""), "", ""


class Reporter:
    """Prints and records results, in the process that has the terminal."""

    def __init__(self, config):
        self.config = config
        self.failures = {}  # name: why
        self.cannot = {}  # why: names
        self.passed = 0
        self.ends = {}  # of tests that are not over: outcome and why
        self.seconds = {}
        self.results = config.getoption("--results")
        self.commit = commit_now() if self.results else None
        drop_half_line(self.results)
        for record in read_results(self.results).values():
            self._count(record["name"], record["outcome"], record["why"])

    def _count(self, name, outcome, why):
        if outcome == "passed":
            self.passed += 1
        elif outcome == "failed":
            self.failures[name] = why
        else:
            self.cannot.setdefault(why, []).append(name)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        known = dict(report.user_properties).get("vmft")
        if not known:
            # xdist reports a test whose process ended without what the test had told of itself. It
            # is counted, but not recorded: a run that is continued does it again.
            if report.failed:
                self._lost(report.nodeid, "its process ended")
            return
        name = known["name"]
        self.seconds[name] = self.seconds.get(name, 0) + report.duration
        if report.failed:
            self.ends.setdefault(name, ("failed", getattr(report, "vmft_why", "?")))
        elif report.skipped:
            self.ends.setdefault(name, ("cannot run here",
                                        report.longrepr[2].removeprefix("Skipped: ")))
        if report.when == "teardown":
            self._finished(known, report)

    def _finished(self, known, report):
        name = known["name"]
        outcome, why = self.ends.pop(name, ("passed", ""))
        for line in report.capstderr.splitlines():
            if line.startswith("    ") and "... " not in line:
                self._line(line)
        took = f"({self.seconds[name]:.1f} s)"
        self._line({"passed": f"ok {name} {took}", "failed": f"FAIL {name}: {why} {took}",
                    "cannot run here": f"note {name}: cannot run here: {why}"}[outcome])
        self._count(name, outcome, why)
        self._record(known, outcome, why)

    @pytest.hookimpl(trylast=True)
    def pytest_collectreport(self, report):
        if report.failed:
            self._lost(report.nodeid, "cannot be collected")

    def _lost(self, name, why):
        if name not in self.failures:
            self._line(f"FAIL {name}: {why}")
            self._count(name, "failed", why)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session, exitstatus):
        """The exit status also says what the earlier part of a continued run found; of that, pytest
        knows nothing."""
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and self.results:
            session.exitstatus = (pytest.ExitCode.TESTS_FAILED if self.failures else
                                  pytest.ExitCode.OK if self.passed else exitstatus)

    def _line(self, text):
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        reporter.ensure_newline()
        reporter.write_line(text, flush=True)

    def _record(self, known, outcome, why):
        if not self.results:
            return
        with open(self.results, "a", encoding="utf-8") as file:
            file.write(json.dumps({**known, "outcome": outcome, "why": why,
                                   "seconds": round(self.seconds[known["name"]], 1),
                                   "date": time.strftime("%Y-%m-%d"),
                                   "commit": self.commit}) + "\n")

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter):
        if self.config.getoption("--list-names"):
            return
        for why, names in self.cannot.items():
            terminalreporter.write_line(f"{len(names)} cannot run here: {why}: {', '.join(names)}")
        for name, why in self.failures.items():
            terminalreporter.write_line(f"FAIL {name}: {why}")
        terminalreporter.write_line(f"{self.passed} passed, {len(self.failures)} failed")
