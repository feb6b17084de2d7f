# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/demo shows: a guest's host dies under a writing client, nothing is lost."""

import argparse
import bisect
import hashlib
import json
import os
import sys
import time

from .lab import BIN, Lab, LabError, close_all, handle_signals, progress, remove_kept
from .load import Writer
from .net import GUEST_IP

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

PROTOCOL = {"tiny": "kv", "debian": "redis"}
RESULT_KEYS = ("image", "acknowledged", "lost", "outage_ms", "go_live_ms", "lag_ms",
               "log_bytes_per_s", "console_identical")


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


def parse_arguments(words):
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="Protects a guest, kills its primary, counts the losses.")
    parser.add_argument("--image", choices=sorted(PROTOCOL), default="tiny",
                        help="tiny: busybox and vmft-kv; debian: Debian 12 with redis and nginx")
    parser.add_argument("--json", metavar="FILE", help="write the result there as JSON")
    parser.add_argument("--keep", action="store_true",
                        help="leave the survivor running and say how to reach it")
    parser.add_argument("--stop", metavar="NAME", help="remove what --keep left running")
    parser.add_argument("--seconds", type=_seconds, default=4, metavar="N",
                        help="of client load before and after the kill, default 4")
    # For the shell script, which would not install packages for a mistyped option.
    parser.add_argument("--usage-only", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def _seconds(text):
    value = int(text)
    if not 1 <= value <= 3600:
        raise argparse.ArgumentTypeError("from 1 to 3600")
    return value


def load_for(lab, writer, seconds):
    """Lets the client write for a while, and until writes are acknowledged in that while."""
    before = len(writer.acks())
    end = time.monotonic() + seconds
    told = time.monotonic() + 2
    while time.monotonic() < end:
        if time.monotonic() > told:
            progress(f"the client writes, {len(writer.acks())} acknowledged")
            told += 2
        time.sleep(0.1)
    lab.wait(lambda: len(writer.acks()) > before, "the client's writes to be acknowledged")


def outage_ms(acks, live_at):
    """The pause the client saw: from the last ack before the guest was live to the first after."""
    after = bisect.bisect_right(acks, live_at)
    if after == 0 or after == len(acks):
        return None
    return (acks[after] - acks[after - 1]) / 1e6


def first_after(acks, when):
    return acks[bisect.bisect_right(acks, when)]


def consoles(primary, survivor):
    """(identical, in words). The primary's last line may be in the middle of being printed,
    and what was printed after the last log entry that left the host is not known to anyone else.
    """
    whole = primary[:primary.rfind(b"\n") + 1]
    lines = whole.count(b"\n")
    if not whole:
        return False, "the primary printed nothing"
    if survivor.startswith(whole):
        more = survivor.count(b"\n") - lines
        return True, (f"identical: the survivor's begins with all {lines} whole lines "
                      f"({len(whole)} bytes) the primary printed, and goes on for {more} more")
    at = next((i for i, (a, b) in enumerate(zip(whole, survivor)) if a != b),
              min(len(whole), len(survivor)))
    return False, (f"DIFFERENT from byte {at} of the {len(whole)} bytes in the primary's "
                   f"{lines} whole lines")


def web_check(lab):
    """SHA-256 of /big as served, for the image with nginx."""
    lab.client_run("curl", "-sSf", "-m", "120", "-o", f"{lab.dir}/big", f"http://{GUEST_IP}/big")
    with open(f"{lab.dir}/big", "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def redis_verify(lab, writer):
    """(verified, lost): every acknowledged SET read back by the stock client."""
    pairs = writer.pairs()
    script = "".join(f"GET {key}\n" for key, _ in pairs)
    path = os.path.join(lab.dir, "gets")
    with open(path, "w", encoding="utf-8") as file:
        file.write(script)
    done = lab.client_run("sh", "-c", f"redis-cli -h {GUEST_IP} <{path}")
    values = done.stdout.splitlines()
    if len(values) != len(pairs):
        raise LabError(f"redis-cli answered {len(values)} of {len(pairs)} GETs")
    good = sum(value == expected for value, (_, expected) in zip(values, pairs))
    return good, len(pairs) - good


def verify(lab, writer):
    return redis_verify(lab, writer) if lab.image == "debian" else writer.verify()


class Demo:
    def __init__(self, options):
        self.options = options
        self.story = Story()
        self.lab = Lab(options.image, captures=False)
        self.result = {}
        self.checks = []  # (what, good, words)
        self.killed_at = self.live_at = 0  # CLOCK_MONOTONIC, ns

    def run(self):
        story, lab = self.story, self.lab
        story.start(f"start: primary on {lab.net.host['A']}, backup on {lab.net.host['B']}")
        lab.start_protected()
        story.tell("guest serves, backup replays and has caught up")
        web_before = web_check(lab) if lab.image == "debian" else None
        writer = Writer(lab, PROTOCOL[lab.image])
        writer.start()
        lab.wait(lambda: len(writer.acks()) > 0, "the first acknowledged write")
        story.tell("client writes", writer.acks()[0])
        load_for(lab, writer, self.options.seconds)
        self.kill(writer)
        load_for(lab, writer, self.options.seconds)
        writer.stop()
        self.measure(writer)
        if web_before:
            same = web_check(lab) == web_before
            self.check("web", same, "nginx serves /big as before the kill" if same
                       else "nginx does NOT serve /big as before the kill")

    def kill(self, writer):
        story, lab = self.story, self.lab
        before = lab.status("A")
        self.result["lag_ms"] = before["lag_ms"]
        self.result["log_bytes_per_s"] = before["log_bytes_per_s"]
        self.killed_at = lab.kill_qemu("A")
        story.tell(f"KILL -9 of the primary's QEMU (pid {lab.side['A'].qemu_pid()}), "
                   f"{len(writer.acks())} writes acknowledged", self.killed_at)
        lab.wait_state("B", "alone")
        self.live_at = lab.status("B")["live_ns"]
        story.tell("LIVE: the backup carries the guest on", self.live_at)
        for when, text in events_ns(lab.status("B")):
            if when >= self.killed_at and "live" not in text:
                story.note(f"backup: {text}", when)

    def measure(self, writer):
        story, lab, acks = self.story, self.lab, writer.acks()
        story.tell("first write acknowledged by the survivor", first_after(acks, self.live_at))
        verified, lost = verify(lab, writer)
        story.tell(f"every acknowledged write read back: {verified} there, {lost} lost")
        identical, words = consoles(lab.side["A"].console(), lab.side["B"].console())
        self.result.update(
            image=lab.image, acknowledged=len(acks), lost=lost,
            outage_ms=outage_ms(acks, self.live_at),
            go_live_ms=(self.live_at - self.killed_at) / 1e6, console_identical=identical)
        self.check("writes", lost == 0 and verified == len(acks),
                   f"{len(acks)} acknowledged, {lost} lost")
        self.check("console", identical, words)

    def check(self, what, good, words):
        self.checks.append((what, good, words))

    def report(self):
        result = self.result
        print(f"\nvmft demo, {result['image']} guest\n")
        print("\n".join(self.story.report()))
        print()
        for what, good, words in self.checks:
            print(f"  {what:<8} {'ok  ' if good else 'FAIL'}  {words}")
        print(f"  outage   {result['outage_ms']:.0f} ms seen by the client, between two "
              f"acknowledged writes")
        print(f"  go-live  {result['go_live_ms']:.0f} ms from the kill to the guest being live")
        print(f"  before   execution lag {result['lag_ms']} ms, "
              f"log {result['log_bytes_per_s'] / 1000:.0f} kB/s, just before the kill")

    def good(self):
        return all(good for _, good, _ in self.checks)

    def write_json(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump({key: self.result[key] for key in RESULT_KEYS}, file, indent=2)
            file.write("\n")

    def keep(self):
        lab = self.lab
        lab.kept = True
        client = f"ip netns exec {lab.net.client}"
        ask = (f"{client} redis-cli -h {GUEST_IP}" if lab.image == "debian"
               else f"{client} nc {GUEST_IP} 7777    # SET key value, GET key, LIST")
        print(f"\nThe survivor is left running:\n"
              f"  {client} curl http://{GUEST_IP}/\n"
              f"  {ask}\n"
              f"  {BIN}/vmft status {lab.side['B'].control}\n"
              f"  tail -f {lab.side['B'].console_path}\n"
              f"  scripts/demo --stop {lab.prefix}    # removes it")


def events_ns(status):
    """What the monitor wrote down: CLOCK_MONOTONIC and text. This machine is both hosts."""
    return [(event["ms"] * 1_000_000, event["text"]) for event in status["events"]]


def main(words):
    options = parse_arguments(words)
    if options.usage_only:
        return EXIT_OK
    if options.stop:
        found = remove_kept(options.stop)
        print(f"{options.stop}: {'removed' if found else 'nothing of that name is there'}")
        return EXIT_OK if found else EXIT_FAILED
    handle_signals()
    demo = Demo(options)
    try:
        with demo.lab:
            demo.run()
            demo.report()
            if options.json:
                demo.write_json(options.json)
            if options.keep:
                demo.keep()
    except KeyboardInterrupt:
        print("scripts/demo: interrupted, everything is removed", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (LabError, RuntimeError, OSError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        close_all()
    left = "" if options.keep else demo.lab.left_behind()
    if left:
        print(f"scripts/demo: left behind: {left}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK if demo.good() else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
