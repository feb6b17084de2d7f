# SPDX-License-Identifier: GPL-2.0-or-later
"""A backup whose guest is not what the primary's is: found, reported, replaced."""

import glob
import hashlib
import os
import re

import pytest

from harness import (ASAN_LOCKSTEP, LOCKSTEP, Loaded, Told, check, equal, everyday, full, note,
                     paired, ways)
from vmftlab import injure
from vmftlab.watch import PAIRED
from vmftlab.net import GUEST_IP

# A backup that is stopped while its log is damaged, or while the machine is busy with other things,
# must not be given up for its silence.
SILENCE = {"silence-ms": "30000"}
EXIT_DIVERGED = 12
KV_PORT = 7777
UNUSED_PAGE = 0xB8000  # of the RAM that the video card's window hides: no guest reaches it


class Diverging:
    """A pair under load of which one thing is about to be damaged."""

    def __init__(self, pair):
        self.pair = pair
        self.loaded = Loaded(pair).start()
        equal(pair.status("A")["divergences"], 0, "divergences before")

    def found(self, since, *kinds):
        """Checks that the backup found the damage at or after a log position, in one of these ways:
        by what its monitor, the report and the primary say. Returns the report."""
        pair, side = self.pair, self.pair.side["B"]
        side.may_end = True
        pair.wait_said("B", r"this guest has diverged")
        said = re.search(r"diverged \((\S+)\) at log position (\d+): ", side.log())
        kind, position = said[1], int(said[2])
        note(f"found: {said[0]}{since} was damaged")
        check(kind in kinds, f"found as {kind}, not as {' or '.join(kinds)}")
        check(position >= since, f"found at {position}, damaged at {since}")
        equal(side.exit_code(), EXIT_DIVERGED, "exit code of the backup")
        pair.wait_state("A", "alone")
        now = pair.status("A")
        equal(now["divergences"], 1, "divergences counted by the primary")
        check(f"({kind}) at log position {position}" in now["divergence"],
              f"the primary says: {now['divergence']}")
        check("diverged" in now["reason"], f"reason of the primary: {now['reason']}")
        return report(pair, kind, position)

    def healed(self):
        """Another backup, on the same host: attached by itself, and nothing was lost."""
        pair = self.pair
        self.loaded.settle("by the primary alone")
        pair.start_backup("B")
        pair.wait_attached("A", "B")
        self.loaded.settle("protected again")
        before = pair.status("B")["outputs_compared"]
        pair.wait(lambda: pair.status("B")["outputs_compared"] > before, "frames to be compared")
        self.loaded.verify()
        pair.wait_following()
        equal(pair.compare("A", "B")[1], "", "differences of the healed pair")
        equal(pair.status("A")["divergences"], 1, "divergences in the end")
        paired(pair, "A", "state of A in the end")


def download(pair):
    path = os.path.join(pair.dir, "big")
    pair.client.run("python3", "-c", "import sys, urllib.request as u; "
                    f"u.urlretrieve('http://{GUEST_IP}/big', sys.argv[1])", path)
    with open(path, "rb") as file:
        return file.read()


def report(pair, kind, position):
    paths = glob.glob(f"{pair.side['B'].dir}/*.divergence-{position}.txt")
    equal(len(paths), 1, "reports beside the control socket")
    check(f"report: {paths[0]}" in pair.side["B"].log(), "the log does not name it")
    with open(paths[0], encoding="ascii") as file:
        text = file.read()
    check(re.search(rf"^what: +{kind}: ", text, re.M), f"the report does not say {kind}")
    check(re.search(rf"^log position: {position}$", text, re.M), "nor the position")
    lines = re.findall(r"^(>| ) +\d+ +\d+  [a-z]", text, re.M)
    check(len(lines) > 10, f"only {len(lines)} events around it")
    equal(lines.count(">"), 1, "events marked as the one")
    return text


@everyday("a frame that differs is found, reported, healed")
@ways(LOCKSTEP)
@pytest.mark.timeout(400)
def test_diverge_output(name, way):
    """A bit of the web server's file flips in the backup's memory: its next download is another."""
    with way.lab(name, pair={"digest-ms": 0}) as pair:
        content = download_when_up(pair)
        diverging = Diverging(pair)
        since = pair.status("B")["log_replayed"]
        count = injure.flip_content(pair.side["B"], content[40960:40960 + injure.PAGE])
        check(count > 0, "the file is nowhere in the backup's memory")
        diverging.found(since, "output")
        equal(hashlib.sha256(download(pair)).digest(), hashlib.sha256(content).digest(),
              "the file as the primary serves it")
        diverging.healed()


def download_when_up(pair):
    pair.start_protected()
    pair.start_protected = lambda: None
    return download(pair)


@everyday("the memory samples find what no output shows")
@ways(LOCKSTEP, ASAN_LOCKSTEP)
@pytest.mark.timeout(400)
def test_diverge_memory(name, way):
    """A bit flips in a page that nobody uses: nothing but the samples could find it."""
    with way.lab(name, pair={"digest-ms": 50, "digest-pages": 1024}) as pair:
        diverging = Diverging(pair)
        since = pair.status("B")["log_replayed"]
        injure.flip_page(pair.side["B"], UNUSED_PAGE)
        text = diverging.found(since, "memory")
        pages = re.findall(r"^  (0x[0-9a-f]+) ", text, re.M)
        equal([int(page, 16) for page in pages], [UNUSED_PAGE], "pages listed")
        diverging.healed()


@full("diverge-output sees the same detector")
@ways(LOCKSTEP)
@pytest.mark.timeout(400)
def test_diverge_log_packet(name, way):
    """A bit of what a client sends flips in the backup's log, after the checksum: its guest
    answers another thing, or nothing."""
    with way.lab(name, pair={"digest-ms": 0, **SILENCE}) as pair:
        diverging = Diverging(pair)
        with pair.client.connect(KV_PORT) as conn:
            lines = conn.makefile("r")
            conn.sendall(b"GET flip\n")
            lines.readline()
            with injure.held_log(pair, "A", "B") as log:
                conn.sendall(b"SET flip abc\nGET flip\n")
                since = pair.wait(lambda: packet(log, b"SET flip abc"), "it in the log", 20)
            diverging.found(since, "output", "no-output", "more-output")
            equal([lines.readline().strip() for _ in range(2)], ["OK", "VALUE abc"],
                  "answers of the primary")
        diverging.healed()


def packet(log, text):
    """Flips a bit of the text's last letter where it comes first; the position of the packet."""
    for at, kind in log.events():
        found = log.bytes(at, log.length(at)).find(text) if kind == injure.NET else -1
        if found >= 0:
            log.flip(at + found + len(text) - 1, 0x01)
            return at
    return None


@full("unit tests change each kind of event; diverge-log-kind sees a real replay")
@ways(LOCKSTEP)
@pytest.mark.timeout(400)
def test_diverge_log_clock(name, way):
    """What its clock is set to changes in the backup's log: time passes otherwise for its guest."""
    with way.lab(name, pair={"digest-ms": 50, "stall-ms": 6000, **SILENCE}) as pair:
        diverging = Diverging(pair)
        with injure.held_log(pair, "A", "B") as log:
            since = pair.wait(lambda: set_clock(log), "such an entry in the log", 20)
        diverging.found(since, "processor", "memory", "output", "no-output", "more-output",
                        "stalled")
        diverging.healed()


@full("stall-without-primary sees a replay that stands still")
@ways(LOCKSTEP, ASAN_LOCKSTEP)
@pytest.mark.timeout(400)
def test_diverge_log_kind(name, way):
    """An event turns into one that nothing in the backup's guest will ever act on. That it stands
    still is told long before it is found why. The primary counts the time in which the backup's QEMU
    was stopped: the quarter that it waits longer must be more."""
    with way.lab(name, pair={"stall-ms": 40000, **SILENCE}) as pair:
        told = Told(pair)
        diverging = Diverging(pair)
        bits = injure.CHECKPOINT_CLOCK_VIRTUAL ^ injure.CHECKPOINT_RESET
        with injure.held_log(pair, "A", "B") as log:
            since = pair.wait(lambda: change(log, injure.CHECKPOINT_CLOCK_VIRTUAL, 0, bits),
                              "a timer's checkpoint in the log", 20)
        standing(pair, told)
        text = diverging.found(since, "stalled")
        check(re.search(rf"^> +{since} +1  checkpoint reset", text, re.M),
              "the report does not point at the event")
        diverging.healed()


def standing(pair, told):
    """Of a backup that does not replay what it has: nothing is known of it but that."""
    def stands():
        found = pair.status("A")
        return found if found["replay_stands_ms"] >= 1500 else None
    now = pair.wait(stands, "the primary to see that it stands", 30)
    pair.wait_said("A", r"the backup's replay has stood still at log position \d+ for \d+ ms", 1)
    check(now["state"] in PAIRED, f"state of A meanwhile: {now['state']}")
    equal(now["divergences"], 0, "divergences by then")
    check("it could not take over now" in now["next"], f"advice: {now['next']}")
    text = pair.wait(lambda: next((alarm["text"] for alarm in told.all("A")
                                   if alarm["event"] == "backup-stalled"), None),
                     "A to tell of it", 30)
    check("if this host fails now" in text, f"what A told: {text}")


@everyday("a backup that cannot replay to the end does not go live")
@ways(LOCKSTEP)
@pytest.mark.timeout(400)
def test_stall_without_primary(name, way):
    """The backup comes to an event that it cannot replay, and its primary is dead: it says so, once,
    waits for a person, and does not go live."""
    with way.lab(name, captures=False, pair={"stall-ms": 4000, **SILENCE}) as pair:
        pair.start_protected()
        bits = injure.CHECKPOINT_CLOCK_VIRTUAL ^ injure.CHECKPOINT_RESET
        with injure.held_log(pair, "A", "B") as log:
            since = pair.wait(lambda: change(log, injure.CHECKPOINT_CLOCK_VIRTUAL, 0, bits),
                              "a timer's checkpoint in the log", 20)
            pair.faults.kill_qemu("A")
            pair.wait_state("B", "draining")
        pair.wait_said("B", rf"replay stands still at log position {since} of \d+")
        pair.wait_said("B", "report: ")
        text = report(pair, "stalled", since)
        check(re.search(rf"^> +{since} +1  checkpoint reset", text, re.M),
              "the report does not point at the event")
        pair.wait(lambda: pair.status("B")["log_replayed"] == since, "it to stand there")
        now = pair.status("B")
        equal(now["state"], "draining", "state of B")
        check(f"log position {since} of " in now["next"], f"next is {now['next']!r}")
        equal(pair.side["B"].log().count("stands still"), 1, "lines about it")
        check(not [name for name in os.listdir(pair.arbiter) if name.endswith(".gen-2")],
              "a generation was claimed")


def set_clock(log):
    """Flips a bit worth 8.6 s of the first entry that sets the clock; its position. (A reading that
    is wrong may do no harm: most only tell which of the main loop's timers are due.)"""
    for at, kind in log.events():
        if kind == injure.CLOCK:
            log.flip(at + 2 + 3, 0x02)
            return at
    return None


def change(log, kind, offset, bits):
    """Flips bits of the first event of a kind; its position."""
    for at, found in log.events():
        if found == kind:
            log.flip(at + offset, bits)
            return at
    return None


@full("no false alarm in a minute; every lockstep test would show one")
@ways(LOCKSTEP)
@pytest.mark.timeout(600)
def test_no_divergence(name, way):
    """A minute of load and a failover, sampled twenty times a second: nothing is found."""
    with way.lab(name, captures=False, pair={"digest-ms": 50, **SILENCE}) as pair:
        loaded = Loaded(pair).start()
        pair.wait(lambda: pair.status("B")["digests_compared"] >= 600, "600 samples compared",
                  400)
        loaded.settle("after a minute")
        check(pair.status("B")["outputs_compared"] > 1000, "hardly a frame was compared")
        nothing_found(pair)
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        loaded.settle("after the failover")
        pair.start_backup("A")
        pair.wait_attached("B", "A")
        pair.wait(lambda: pair.status("A")["digests_compared"] >= 100, "samples compared again",
                  200)
        nothing_found(pair)
        now = pair.status("B")
        note(f"a sample took {now['digest_ns'] / now['digests_taken'] / 1e6:.2f} ms")
        loaded.verify()


def nothing_found(pair):
    for side in "AB":
        equal(pair.status(side)["divergences"], 0, f"divergences on {side}")
        paired(pair, side, f"state of {side}")
