# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/demo shows: a guest's host dies under a writing client, nothing is lost."""

import argparse
import sys

from .chain import Chain
from .lab import remove_kept
from .story import (EXIT_FAILED, EXIT_OK, PROTOCOL, Show, events_ns, first_after, guarded,
                    nothing_left, outage_ms, write_json)

ME = "scripts/demo"
RESULT_KEYS = ("image", "acknowledged", "lost", "outage_ms", "go_live_ms", "lag_ms",
               "log_bytes_per_s", "console_identical")


def parse_arguments(words):
    parser = argparse.ArgumentParser(
        prog=ME, description="Protects a guest, kills its primary, counts the losses.")
    parser.add_argument("--image", choices=sorted(PROTOCOL), default="tiny",
                        help="tiny: busybox and vmft-kv; debian: Debian 12 with redis and nginx")
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
    return parser.parse_args(words)


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

    def kill(self):
        before = self.lab.status("A")
        self.result["lag_ms"] = before["lag_ms"]
        self.result["log_bytes_per_s"] = before["log_bytes_per_s"]
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
        identical, words = consoles(lab.side["A"].console(), lab.side["B"].console())
        self.result.update(
            image=lab.image, acknowledged=len(acks), lost=lost,
            outage_ms=outage_ms(acks, self.live_at),
            go_live_ms=(self.live_at - self.killed_at) / 1e6, console_identical=identical)
        self.check("writes", lost == 0 and verified == len(acks),
                   f"{len(acks)} acknowledged, {lost} lost")
        self.check("console", identical, words)

    def report(self):
        result = self.result
        print(f"\nvmft demo, {result['image']} guest\n")
        print("\n".join(self.story.report()))
        print()
        self.report_checks()
        print(f"  outage   {result['outage_ms']:.0f} ms seen by the client, between two "
              f"acknowledged writes")
        print(f"  go-live  {result['go_live_ms']:.0f} ms from the kill to the guest being live")
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
