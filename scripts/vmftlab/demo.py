# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/demo shows: a guest's host dies under a writing client, nothing is lost."""

import argparse
import re
import sys

from .chain import Chain
from .guest import KVM, READY, SMP_MAX, has_kvm
from .lab import remove_kept
from .story import (EPOCH_KEYS, EXIT_FAILED, EXIT_OK, IMAGES, SUITES, Show, events_ns, first_after,
                    guarded, nothing_left, outage_ms, write_json)

ME = "scripts/demo"
RESULT_KEYS = ("image", "suite", "acknowledged", "lost", "outage_ms", "go_live_ms", "lag_ms",
               "log_bytes_per_s", "console_identical", "strategy", "strategy_reason", "accel",
               "smp", *EPOCH_KEYS)


def parse_arguments(words):
    parser = argparse.ArgumentParser(
        prog=ME, description="Protects a guest, kills its primary, counts the losses.")
    parser.add_argument("--image", choices=IMAGES,
                        help="tiny: busybox and vmft-kv, the default with tcg; debian: Debian "
                             "with redis and nginx; bare: no operating system, checks its own "
                             "memory, the default with kvm, also where KVM can run nothing else")
    parser.add_argument("--suite", choices=SUITES,
                        help="the Debian release of the tiny or debian guest, default that of this "
                             "machine")
    parser.add_argument("--strategy", choices=("auto", "lockstep", "checkpoint"), default="auto",
                        help="what the pair file says: replay what the guest does, send its state "
                             "epoch by epoch, or whichever fits, the default")
    parser.add_argument("--accel", choices=("tcg", "kvm"), default="tcg",
                        help="tcg, the default, runs everywhere; kvm needs /dev/kvm")
    parser.add_argument("--smp", type=_number(1, SMP_MAX), default=1, metavar="N",
                        help=f"processors of the guest, 1 to {SMP_MAX}, default 1; more than one "
                             "need checkpoint")
    parser.add_argument("--chain", type=_number(1, 1000), metavar="N",
                        help="N failovers in a row; each time the host that was killed comes back "
                             "and protects the guest again, which goes on serving meanwhile")
    parser.add_argument("--json", metavar="FILE", help="write the result there as JSON")
    parser.add_argument("--keep", action="store_true",
                        help="leave the survivor running and say how to reach it")
    parser.add_argument("--stop", metavar="NAME", help="remove what --keep left running")
    parser.add_argument("--seconds", type=_number(1, 3600), default=4, metavar="N",
                        help="of client load before and after each kill, default 4")
    # For the shell script, which would not install packages for a mistyped option.
    parser.add_argument("--usage-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    options.image = options.image or ("bare" if options.accel == "kvm" else "tiny")
    why_not = cannot(options)
    if why_not:
        parser.error(why_not)
    return options


def cannot(options):
    """Why what is asked for cannot be shown; vmft-qemu would refuse it, too, but later."""
    if options.accel == "kvm" and not options.stop and not has_kvm():
        return (f"--accel kvm: cannot run here: no {KVM}; scripts/kvm-host {ME} ... runs it on an "
                "emulated host that has one")
    if options.strategy == "lockstep" and (options.accel == "kvm" or options.smp > 1):
        return "--strategy lockstep: only one processor on tcg can be replayed"
    if options.strategy == "lockstep" and options.image == "bare":
        return "--strategy lockstep: the bare guest's board cannot be replayed"
    if options.suite and options.image == "bare":
        return "--suite: nothing in the bare guest is of a Debian release"
    return None


def _number(least, most):
    def parse(text):
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"from {least} to {most}")
        return value
    parse.__name__ = "number"  # what argparse calls it
    return parse


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


def goes_on(primary, survivor):
    """(good, in words). State alone was sent: the survivor's console begins where it went live."""
    last = re.findall(rb"tick \d+ up=\d+", primary)
    new = re.findall(rb"tick \d+ up=\d+", survivor)
    if not last or not new:
        return False, "one of the sides printed nothing"
    words = f"{new[0].decode()!r} after {last[-1].decode()!r} on the primary"
    if READY.encode() in survivor:
        return False, f"booted anew: {words}"
    return True, f"goes on: the survivor's first tick is {words}"


class Demo(Show):
    """One failover."""

    def __init__(self, options):
        super().__init__(options)
        self.result = {}

    def run(self):
        self.begin()
        self.load(self.options.seconds)
        self.kill()
        self.load(self.options.seconds)
        self.writer.stop()
        self.measure()
        self.check_web("kill")
        self.check_guest()

    def kill(self):
        before = self.lab.status("A")
        self.result["lag_ms"] = before["lag_ms"]
        self.result["log_bytes_per_s"] = before["log_bytes_per_s"]
        self.result.update(self.how, **self.epoch_figures())
        self.fail_over("B", "KILL -9 of the primary's QEMU",
                       "LIVE: the backup carries the guest on")
        for when, text in events_ns(self.lab.status("B")):
            if when >= self.killed_at and "live" not in text:
                self.story.note(f"backup: {text}", when)

    def measure(self):
        lab, acks = self.lab, self.writer.acks()
        self.story.tell("first write acknowledged by the survivor",
                        first_after(acks, self.live_at))
        verified, lost = self.verify()
        both = lab.side["A"].console(), lab.side["B"].console()
        good, words = goes_on(*both) if self.by_epochs() else consoles(*both)
        self.result.update(
            image=lab.guest.image, suite=lab.guest.suite, acknowledged=len(acks), lost=lost,
            outage_ms=outage_ms(acks, self.live_at),
            go_live_ms=(self.live_at - self.killed_at) / 1e6,
            console_identical=None if self.by_epochs() else good)
        self.check("writes", lost == 0 and verified == self.writer.stored(),
                   f"{len(acks)} acknowledged, {lost} lost")
        self.check("console", good, words)

    def report(self):
        result = self.result
        print(f"\nvmft demo, {self.lab.guest}\n{self.protection()}\n")
        print("\n".join(self.story.report()))
        print()
        self.report_checks()
        print(f"  outage   {result['outage_ms']:.0f} ms seen by the client, between two "
              f"acknowledged writes")
        print(f"  go-live  {result['go_live_ms']:.0f} ms from the kill to the guest being live")
        if self.by_epochs():
            print(f"  before   an epoch each {result['length_ms_p50']:.0f} ms (median); the guest "
                  f"stopped for {result['pause_ms_p50']:.1f} ms (median) to "
                  f"{result['pause_ms_p99']:.1f} ms (p99);\n           "
                  f"{result['sent_bytes_p50'] / 1000:.0f} kB an epoch (median), "
                  f"{result['log_bytes_per_s'] / 1000:.0f} kB/s, just before the kill")
        else:
            print(f"  before   execution lag {result['lag_ms']} ms, "
                  f"log {result['log_bytes_per_s'] / 1000:.0f} kB/s, just before the kill")

    def write_json(self, path):
        write_json(path, {key: self.result[key] for key in RESULT_KEYS})


def show(options):
    shown = (Chain if options.chain else Demo)(options)
    with shown.lab:
        shown.run()
        shown.report()
        if options.json:
            shown.write_json(options.json)
        if options.keep:
            shown.keep()
    if not options.keep and not nothing_left(ME, shown.lab):
        return EXIT_FAILED
    return EXIT_OK if shown.good() else EXIT_FAILED


def main(words):
    options = parse_arguments(words)
    if options.usage_only:
        return EXIT_OK
    if options.stop:
        found = remove_kept(options.stop)
        print(f"{options.stop}: {'removed' if found else 'nothing of that name is there'}")
        return EXIT_OK if found else EXIT_FAILED
    return guarded(ME, lambda: show(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
