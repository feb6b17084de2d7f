# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demos share: the time line they tell, the client's view, how they begin and end."""

import bisect
import hashlib
import json
import os
import subprocess
import sys
import time

from .bare import BareGuest, BareWriter
from .control import ControlError
from .lab import Lab, close_all, handle_signals
from .watch import PATIENCE_S, LabError, progress
from .programs import built
from .load import Writer
from .net import GUEST_IP

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

# What a lab can fail with.
ERRORS = (LabError, ControlError, RuntimeError, OSError, subprocess.SubprocessError)

PROTOCOL = {"tiny": "kv", "debian": "redis"}
IMAGES = ("tiny", "debian", "bare")
SUITES = ("bookworm", "trixie")  # the Debian releases that guests are made of

# Of an epoch, with strategy = checkpoint; as status has them.
EPOCH_KEYS = ("epochs", "pause_ms_p50", "pause_ms_p99", "pause_ms_max", "length_ms_p50",
              "sent_bytes_p50")


class Story:
    """The time line: what happened when, in seconds from the start."""

    def __init__(self):
        self.begin = 0
        self.lines = []

    def start(self, text):
        self.begin = time.monotonic_ns()
        self.tell(text, self.begin)

    def tell(self, text, when=None):
        when = when or time.monotonic_ns()
        self.lines.append((when, text))
        print(f"  {self._at(when)}  {text}", file=sys.stderr, flush=True)

    def note(self, text, when):
        """For the report only: known afterwards."""
        self.lines.append((when, text))

    def _at(self, when):
        return f"{(when - self.begin) / 1e9:8.3f} s"

    def report(self):
        return [f"  {self._at(when)}  {text}" for when, text in sorted(self.lines)]


class Show:
    """A pair, a client that writes to its guest, and what was found."""

    def __init__(self, options):
        self.options = options
        self.story = Story()
        self.lab = lab_for(options)
        self.how = {}  # the pair protects its guest: strategy, reason, accelerator, processors
        self.writer = None
        self.live = "A"  # the host the guest is live on
        self.killed_at = self.live_at = 0  # CLOCK_MONOTONIC, ns; of the last failover
        self.checks = []  # (what, good, words)
        self._web = None

    def begin(self):
        """Until the guest is protected and the client's writes are acknowledged."""
        story, lab = self.story, self.lab
        story.start(f"start: primary on {lab.net.host['A']}, backup on {lab.net.host['B']}")
        lab.start_protected()
        status = lab.status(self.live)
        self.how = {"strategy": status["strategy"], "strategy_reason": status["strategy_reason"],
                    "accel": lab.guest.accel, "smp": lab.guest.smp}
        story.tell("guest serves, " + ("backup is sent its state, epoch by epoch"
                                       if self.by_epochs() else
                                       "backup replays and has caught up"))
        self._web = web_hash(lab) if lab.guest.image == "debian" else None
        self.writer = new_writer(lab)
        self.writer.start()
        lab.wait(self.writer.progress, "the first acknowledged write")
        story.tell("client writes", self.writer.acks()[0])

    def by_epochs(self):
        return self.how.get("strategy") == "checkpoint"

    def epoch_figures(self):
        """Of the live side's last epochs; None for each with lockstep."""
        status = self.lab.status(self.live) if self.by_epochs() else {}
        return {key: status.get(key) for key in EPOCH_KEYS}

    def protection(self):
        """One line for people."""
        how = self.how
        if not how:
            return "not protected"
        return (f"strategy {how['strategy']} ({how['strategy_reason']}), {how['accel']}, "
                f"{how['smp']} processor{'s' if how['smp'] > 1 else ''}")

    def load(self, seconds):
        """Lets the client write for a while, and until writes are acknowledged in that while."""
        before = self.writer.progress()
        end = time.monotonic() + seconds
        told = time.monotonic() + 2
        while time.monotonic() < end:
            if time.monotonic() > told:
                progress(f"the client writes, {self.writer.progress()} acknowledged")
                told += 2
            time.sleep(0.1)
        self.lab.wait(lambda: self.writer.progress() > before,
                      "the client's writes to be acknowledged")

    def fail_over(self, survivor, kill_text, live_text):
        lab, victim = self.lab, self.live
        self.killed_at = lab.faults.kill_qemu(victim)
        self.story.tell(f"{kill_text} (pid {lab.side[victim].qemu_pid()}), "
                        f"{len(self.writer.acks())} writes acknowledged", self.killed_at)
        lab.wait_state(survivor, "alone")
        self.live = survivor
        self.live_at = lab.status(survivor)["live_ns"]
        self.story.tell(live_text, self.live_at)

    def verify(self):
        """Reads every acknowledged write back; returns (verified, lost)."""
        what = ("last value of each key" if self.lab.guest.image == "bare" else
                "every acknowledged write")
        progress(f"reading {self.writer.stored()} acknowledged values back")
        verified, lost = (redis_verify(self.writer) if self.lab.guest.image == "debian"
                          else self.writer.verify())
        self.story.tell(f"{what} read back: {verified} there, {lost} lost")
        return verified, lost

    def check_guest(self):
        """What the bare guest found wrong with its own memory, clocks and disk."""
        if self.lab.guest.image != "bare":
            return
        guest = BareGuest(self.lab)
        stats = guest.stats()
        guest.close()
        self.check("guest", stats["bad"] == 0,
                   f"looked after its own memory, clocks and disk {stats['ticks']} times, "
                   f"{stats['bad']} faults")

    def check_web(self, since):
        if self._web:
            same = web_hash(self.lab) == self._web
            self.check("web", same, f"nginx {'serves' if same else 'does NOT serve'} /big as "
                                    f"before the {since}")

    def check(self, what, good, words):
        self.checks.append((what, good, words))

    def report_checks(self):
        for what, good, words in self.checks:
            print(f"  {what:<8} {'ok  ' if good else 'FAIL'}  {words}")

    def good(self):
        return all(good for _, good, _ in self.checks)

    def keep(self):
        lab = self.lab
        lab.kept = True
        client = f"ip netns exec {lab.net.client}"
        ask = {"debian": f"curl http://{GUEST_IP}/\n  {client} redis-cli -h {GUEST_IP}",
               "tiny": f"curl http://{GUEST_IP}/\n"
                       f"  {client} nc {GUEST_IP} 7777    # SET key value, GET key, LIST",
               "bare": f"ping {GUEST_IP}"}[lab.guest.image]
        print(f"\nThe survivor is left running:\n"
              f"  {client} {ask}\n"
              f"  {built('vmft')} status {lab.side[self.live].control}\n"
              f"  tail -f {lab.side[self.live].console_path}\n"
              f"  scripts/demo --stop {lab.prefix}    # removes it")


def lab_for(options):
    """What the options ask for."""
    made = Lab(options.image, captures=False, accel=options.accel, smp=options.smp,
               append="blk=1" if options.image == "bare" else "",
               pair={} if options.strategy == "auto" else {"strategy": options.strategy})
    made.guest.suite = options.suite
    return made


def new_writer(lab):
    return BareWriter(lab) if lab.guest.image == "bare" else Writer(lab, PROTOCOL[lab.guest.image])


def outage_ms(acks, live_at):
    """The pause the client saw: from the last ack before the guest was live to the first after."""
    after = bisect.bisect_right(acks, live_at)
    if after == 0 or after == len(acks):
        return None
    return (acks[after] - acks[after - 1]) / 1e6


def first_after(acks, when):
    return acks[bisect.bisect_right(acks, when)]


def web_hash(lab):
    """SHA-256 of /big as served, for the image with nginx."""
    lab.client.run("curl", "-sSf", "-m", "120", "-o", f"{lab.dir}/big", f"http://{GUEST_IP}/big")
    with open(f"{lab.dir}/big", "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def redis_verify(writer):
    """(verified, lost): every acknowledged SET read back by the stock client."""
    lab, pairs = writer.lab, writer.pairs()
    script = "".join(f"GET {key}\n" for key, _ in pairs)
    path = os.path.join(lab.dir, "gets")
    with open(path, "w", encoding="utf-8") as file:
        file.write(script)
    done = lab.client.run("sh", "-c", f"redis-cli -h {GUEST_IP} <{path}",
                          timeout=PATIENCE_S + len(pairs) // 20)
    values = done.stdout.splitlines()
    if len(values) != len(pairs):
        raise LabError(f"redis-cli answered {len(values)} of {len(pairs)} GETs")
    good = sum(value == expected for value, (_, expected) in zip(values, pairs))
    return good, len(pairs) - good


def events_ns(status):
    """What the monitor wrote down: CLOCK_MONOTONIC and text. This machine is both hosts."""
    return [(event["ms"] * 1_000_000, event["text"]) for event in status["events"]]


def write_json(path, result):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=2)
        file.write("\n")


def guarded(me, action):
    """Does action(), which returns an exit status; no lab outlives it, whatever way it ends."""
    handle_signals()
    try:
        return action()
    except KeyboardInterrupt:
        print(f"{me}: interrupted, everything is removed", file=sys.stderr)
        return EXIT_INTERRUPTED
    except ERRORS as error:
        print(f"{me}: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        close_all()


def nothing_left(me, lab):
    """After a lab was closed. Says what is still there."""
    left = lab.left_behind()
    if left:
        print(f"{me}: left behind: {left}", file=sys.stderr)
    return not left


def measured(me, measure):
    """What measure(lab) returns of a tiny guest's lab, [] if it did not come to an end, and what
    went wrong."""
    lab = Lab("tiny", captures=False)
    failures, found = [], []
    with lab:
        try:
            found = measure(lab)
        except ERRORS as error:
            failures.append(str(error))
    if not nothing_left(me, lab):
        failures.append("left something behind")
    return found, failures
