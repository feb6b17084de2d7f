# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests share: the ways to protect a guest, checks, the pair under load."""

import contextlib
import os
import re
import sys
import time

import pytest

from marks import everyday, full, kvm  # pylint: disable=unused-import
from vmftlab.bare import BareLoad, BareWriter
from vmftlab.guest import KVM, has_kvm
from vmftlab.lab import Lab
from vmftlab.programs import ROOT
from vmftlab.load import Workload, Writer

HERE = os.path.dirname(os.path.abspath(__file__))
LOGS = os.path.join(ROOT, "build", "test-logs")


class Failure(AssertionError):
    """A check did not hold."""


class Way:
    """How the guest of a test is protected: the options of its lab, and the build that protects it."""

    def __init__(self, prefix, strategy, build="build", **options):
        self.prefix = prefix  # of the test's name
        self.strategy = strategy
        self.build = build
        self.options = options

    def lab(self, name, **more):
        return lab(name, **{**self.options, **more})

    def sanitized(self):
        """The same with programs that AddressSanitizer and UBSan watch; see no_findings()."""
        return Way(f"asan-{self.prefix}", self.strategy, "build-asan", **self.options)

    def __str__(self):
        return self.prefix.rstrip("-") or self.strategy

    @property
    def sends_state(self):
        return self.strategy == "checkpoint"


def bare(accel, smp):
    prefix = f"bare-{accel}-" + (f"smp{smp}-" if smp > 1 else "")
    return Way(prefix, "checkpoint", image="bare", accel=accel, smp=smp, append="blk=1")


LOCKSTEP = Way("", "lockstep")
CHECKPOINT = Way("checkpoint-", "checkpoint", smp=2)
BOTH = (LOCKSTEP, CHECKPOINT)
TCG_1, TCG_2, KVM_1, KVM_2 = (bare(accel, smp) for accel in ("tcg", "kvm") for smp in (1, 2))
# Where the machine's own KVM cannot run Linux, these run on a host of scripts/kvm-host: tests/nested.py.
LINUX_KVM_1, LINUX_KVM_2, LINUX_KVM_4 = (
    Way("kvm-" + (f"smp{smp}-" if smp > 1 else ""), "checkpoint", accel="kvm", smp=smp)
    for smp in (1, 2, 4))
ASAN_LOCKSTEP, ASAN_CHECKPOINT, ASAN_TCG_1 = (
    way.sanitized() for way in (LOCKSTEP, CHECKPOINT, TCG_1))


def ways(*several):
    """Declares a test for each of these ways to protect a guest: `way` is the one."""
    return pytest.mark.parametrize("way", several, ids=str)


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(found, expected, what):
    check(found == expected, f"{what}: {found!r} instead of {expected!r}")


def paired(pair, name, what):
    """A primary may lag at the moment; it is protected all the same."""
    check(pair.paired(name), f"{what}: {pair.state(name)!r}, which is no pair's")


@contextlib.contextmanager
def lab(name, suite=None, **options):
    """A lab whose logs are kept if the test fails, and which must leave nothing behind."""
    if options.get("accel") == "kvm" and not has_kvm():
        pytest.skip(f"no {KVM}")
    made = Lab(**options)
    made.guest.suite = suite
    try:
        made.open()
        yield made
        no_findings(made)
    except BaseException:
        keep_logs(made, name)
        raise
    finally:
        made.close()
    left = made.left_behind()
    check(not left, f"left behind: {left}")


def no_findings(made):
    """What a sanitizer says of a monitor that was built with one fails the test."""
    for side in made.side.values():
        for line in side.log_lines():
            check("Sanitizer" not in line and "runtime error:" not in line, line)


def keep_logs(made, name):
    if not made.dir or not os.path.isdir(made.dir):
        return
    target = os.path.join(LOGS, name)
    made.keep_logs(target)
    with open(os.path.join(target, "status"), "w", encoding="utf-8") as file:
        for side in made.side:
            file.write(f"{side}: {made.peek(side)}\n")


def workload(pair, **options):
    """Clients of each kind that the pair's guest serves."""
    return (BareLoad if pair.guest.image == "bare" else Workload)(pair, **options)


def writer_to(pair, **options):
    """A client that writes. That of the bare guest always waits for its answer."""
    return BareWriter(pair) if pair.guest.image == "bare" else Writer(pair, **options)


class Loaded:
    """A protected pair under network and disk load while a client writes.

    The shape of most failover tests: entering starts all of it and sees it move; the fault
    is the test's; settle() waits until the load moves again; verify() ends it and reads
    every acknowledged write back.
    """

    def __init__(self, pair, **load):
        self.pair = pair
        self.load = workload(pair, **load)
        self.fault_at = 0  # time.time_ns()

    def start(self):
        self.pair.start_protected()
        self.load.start()
        self.load.wait_progress("before the fault")
        paired(self.pair, "A", "state of A before the fault")
        paired(self.pair, "B", "state of B before the fault")
        if self.pair.capture:
            check(self.pair.capture["A"].frames(), "the capture saw nothing before the fault")
            equal(len(self.pair.capture["B"].frames()), 0,
                  "frames from the backup before the fault")
        self.fault_at = time.time_ns()
        return self

    def settle(self, what):
        self.load.wait_progress(what)

    def verify(self):
        self.load.stop()
        equal(self.load.faults(), "", "what clients saw go wrong")
        for writer in self.load.writers:
            verified, lost = writer.verify()
            equal(lost, 0, "acknowledged writes lost")
            equal(verified, writer.stored(), "acknowledged writes read back")

    def outage_ms(self, live_ns):
        """Between the last ack before and the first after the guest was live again."""
        acks = self.load.writer.acks()
        before = [at for at in acks if at <= live_ns]
        after = [at for at in acks if at > live_ns]
        return (after[0] - before[-1]) / 1e6 if before and after else None


class Told:
    """The alarm program of both sides: what it was told, by host."""

    WORDS = ("event", "name", "host", "text")
    SCRIPT = """#!/bin/sh
[ "$*" = "$VMFT_ALARM_EVENT $VMFT_ALARM_NAME $VMFT_ALARM_HOST $VMFT_ALARM_TEXT" ] || exit 1
echo "$1|$2|$3|$4" >> {0}/told.$3
"""

    def __init__(self, pair):
        self.pair = pair
        path = os.path.join(pair.dir, "alarm")
        with open(path, "w", encoding="ascii") as file:
            file.write(self.SCRIPT.format(pair.dir))
        os.chmod(path, 0o755)
        pair.pair_keys["alarm"] = path
        pair.write_pair()

    def all(self, name):
        side = self.pair.side[name]
        try:
            with open(os.path.join(self.pair.dir, f"told.{side.host}"), encoding="utf-8") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        found = [dict(zip(self.WORDS, line.split("|"))) for line in lines]
        for alarm in found:
            equal((alarm["name"], alarm["host"]), (self.pair.prefix, side.host), "name and host")
        return found

    def wait(self, name, *events):
        """Until the program was told just these; two of the same moment may come in any order."""
        self.pair.wait(lambda: len(self.all(name)) >= len(events), f"{name} to tell {events}", 30)
        found = self.all(name)
        equal(sorted(alarm["event"] for alarm in found), sorted(events), f"what {name} told")
        return found


def silent(pair, name, since, what):
    """No frame with the guest's MAC has left a host since then, seen at the switch."""
    frames = pair.capture[name].frames(since)
    equal(len(frames), 0, f"frames with the guest's MAC from {name} {what}")


def clock_reading(read):
    """(host, guest) in ns, of the quickest answer of some; read() asks the guest."""
    best = None
    for _ in range(12):
        sent = time.monotonic_ns()
        found = read()
        took = time.monotonic_ns() - sent
        if best is None or took < best[0]:
            best = took, sent + took // 2, found
    return best[1:]


def captures_whole(pair):
    """A capture that missed frames proves nothing."""
    for name, capture in pair.capture.items():
        equal(capture.stop(), 0, f"frames missed by the capture at {name}")


def one_line(side, pattern_text):
    """Refused before anything ran: exactly one line says what. Another may say which strategy would
    accept more."""
    lines = [line for line in side.log_lines() if "vmft-qemu: strategy " not in line]
    equal(len(lines), 1, f"lines said ({lines})")
    check(re.search(pattern_text, lines[0]),
          f"the line does not say /{pattern_text}/: {lines[0]}")


def with_taps(*taps):
    """Shell for start_side(inside=): vmft-qemu gets these taps as open descriptors (tapfds.py)."""
    return f'set -- {sys.executable} {HERE}/tapfds.py {" ".join(taps)} -- "$@"'


def note(text):
    """For figures worth seeing in the test's output."""
    print(f"    {text}", file=sys.stderr, flush=True)
