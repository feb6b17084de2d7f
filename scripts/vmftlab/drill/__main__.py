# SPDX-License-Identifier: GPL-2.0-or-later
"""The program scripts/drill: its options, and what it prints and writes."""

import argparse
import random
import sys

from ..faults import kinds as all_kinds
from ..guest import KVM, SMP_MAX, has_kvm
from ..story import EXIT_FAILED, EXIT_OK, IMAGES, guarded, nothing_left
from ..watch import SILENCE_MS
from . import report
from .run import Drill, say

ME = "scripts/drill"


def parse_arguments(words):
    parser = argparse.ArgumentParser(
        prog=ME, description="Does faults to a protected guest under load, shows that each "
                             "happened, and what came of it. Without --fault or --soak: each kind "
                             "once.")
    parser.add_argument("--list", action="store_true", help="name the kinds of faults and stop")
    parser.add_argument("--fault", metavar="LIST",
                        help="KIND or KIND:primary, KIND:backup; several with commas")
    parser.add_argument("--soak", type=int, metavar="N", help="N faults at random")
    parser.add_argument("--without", metavar="LIST", default="",
                        help="kinds of faults that neither --soak nor the default has")
    parser.add_argument("--seed", type=int, help="of the random ones; the same seed gives the "
                                                 "same faults")
    parser.add_argument("--image", choices=IMAGES, help="the guest, default tiny; bare with kvm")
    parser.add_argument("--strategy", choices=("auto", "lockstep", "checkpoint"), default="auto")
    parser.add_argument("--accel", choices=("tcg", "kvm"), default="tcg")
    parser.add_argument("--smp", type=int, choices=range(1, SMP_MAX + 1), default=1, metavar="N",
                        help="processors of the guest, default 1")
    parser.add_argument("--silence-ms", type=int, default=SILENCE_MS, metavar="MS",
                        help=f"as in the pair file, default {SILENCE_MS}")
    parser.add_argument("--json", metavar="FILE", help="write the result there as JSON")
    parser.add_argument("--html", metavar="FILE", help="write the report there as one page")
    parser.add_argument("--keep-going", action="store_true",
                        help="go on to the next fault after a problem")
    # For the shell script, which would not install packages for a mistyped option.
    parser.add_argument("--usage-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    options.image = options.image or ("bare" if options.accel == "kvm" else "tiny")
    options.seed = options.seed if options.seed is not None else random.randrange(1 << 31)
    if options.fault and options.soak:
        parser.error("--fault and --soak: one of the two")
    if options.soak is not None and options.soak < 1:
        parser.error("--soak: 1 or more")
    if options.accel == "kvm" and not options.usage_only and not options.list and not has_kvm():
        parser.error(f"--accel kvm: cannot run here: no {KVM}")
    try:
        if options.fault:
            all_kinds.parse_list(options.fault, None if options.usage_only else options)
        without = all_kinds.kinds_in(options.without)
        if not options.fault and not set(all_kinds.KINDS) - set(without):
            raise ValueError("--without: nothing is left")
    except ValueError as error:
        parser.error(str(error))
    return options


def plan_of(options):
    if options.fault:
        return all_kinds.parse_list(options.fault, options)
    kinds = all_kinds.available(options, all_kinds.kinds_in(options.without))
    if options.soak:
        return all_kinds.drawn(options.soak, random.Random(options.seed), kinds)
    return all_kinds.every(kinds)


def list_kinds(options):
    for kind, fault in all_kinds.KINDS.items():
        why = fault.why_not(options)
        print(f"{kind:<26} {'|'.join(fault.targets):<15} {fault.text}" +
              (f" [not available: {why}]" if why else ""))
    return EXIT_OK


def drill(options):
    made = Drill(options, plan_of(options))
    say(f"{len(made.plan)} faults, seed {options.seed}, {options.image} guest, strategy "
        f"{options.strategy}, {options.accel}, {options.smp} processors")
    with made.lab:
        made.run()
    give_report(made.result, options)
    clean = nothing_left(ME, made.lab)
    return EXIT_OK if made.result["ok"] and clean else EXIT_FAILED


def give_report(result, options):
    print(report.table(result))
    for path, made in ((options.json, report.json), (options.html, report.html)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(made(result))


def main(words):
    options = parse_arguments(words)
    if options.usage_only:
        return EXIT_OK
    if options.list:
        return list_kinds(options)
    return guarded(ME, lambda: drill(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
