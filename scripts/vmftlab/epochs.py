# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/bench epochs measures: what checkpoints cost a guest, and what they take."""

import contextlib
import itertools
import os
import random
import re
import statistics
import time

from .bare import BareWriter
from .epoch_guests import QUIET, WRITERS, Guest, Kind, checkpoint, fixed
from .lab import Lab
from .watch import progress
from .net import GUEST_IP
from .story import (ERRORS, EXIT_FAILED, EXIT_OK, events_ns, nothing_left, outage_ms,
                    write_json)

ME = "scripts/bench"
KVM1, KVM2 = Kind("bare", "kvm", 1), Kind("bare", "kvm", 2)
TCG1, TCG2 = Kind("bare", "tcg", 1), Kind("bare", "tcg", 2)
TINY = Kind("tiny", "tcg", 2)
LENGTH_MS = 25  # of the epochs, where it is not what is varied
GIB, SMALL = 1024, 256  # MiB
STOP_PARTS = ("pause", "stop", "save", "scan", "copy", "start")
PAGE_KINDS = ("pages_zero", "pages_unchanged", "pages_delta", "pages_whole")
PING_S = 0.013  # no multiple of it is an epoch for long
TURNS = 2  # guests that are measured in a row before plain QEMU is once more
RESEND_MS = 20  # an outage seen by a client that asks again so soon is that exact
GAP_S = (0.01, 0.05)  # between two requests, at random, so that they come anywhere in an epoch


class Plan:
    """How much of it: all, or what is enough to see that everything works."""

    def __init__(self, quick):
        self.quick = quick
        self.lengths = (100, 20) if quick else (200, 100, 40, 20, 10)
        self.writers = ("light", "heavy") if quick else tuple(WRITERS)
        self.rounds = 1 if quick else 3
        self.rate_s = 0.4 if quick else 1.2
        self.warm_s = 0.5 if quick else 2
        self.window_s = 1 if quick else 5
        self.stops_s = 1 if quick else 12
        self.pings = 50 if quick else 300
        self.requests = 20 if quick else 200
        self.failovers = 1 if quick else 5
        self.load_s = 0.5 if quick else 1.5

    def kinds(self, *kinds):
        """Those that can be had here; one will do for a short run, and none that has to boot."""
        if self.quick:
            return [KVM1 if KVM1.runs_here() else TCG1]
        return [kind for kind in kinds if kind.runs_here()]


class Bench:
    """All parts of one run, and what went wrong in them."""

    def __init__(self, plan, pin):
        self.plan = plan
        self.pin = pin
        self.failures = []
        self._guests = []

    @contextlib.contextmanager
    def guest(self, *args, **options):
        """A guest that is looked at before it goes."""
        guest = Guest(*args, **options)
        self._guests.append(guest.lab)
        with guest:
            yield guest
            if (faults := guest.work.faults()):
                self.failures.append(f"{guest}: {faults}")

    def leave_nothing(self):
        for lab in self._guests:
            if not nothing_left(ME, lab):
                self.failures.append("left something behind")
        self._guests = []

    def _each(self, measure, cases):
        """What could be measured. Who fails is named, the others go on."""
        found = []
        for case in cases:
            try:
                found.append(measure(*case))
            except ERRORS as error:
                self.failures.append(f"{', '.join(map(str, case))}: {error}")
        return found

    # -- overhead

    def overhead(self):
        cases = itertools.product(self.plan.kinds(KVM1, TCG1, TCG2, TINY), self.plan.writers)
        return self._each(self._overhead, cases)

    def _overhead(self, kind, writer):
        with pinned(self.pin) as cpus:
            return self._side_by_side(kind, writer, cpus)

    def _side_by_side(self, kind, writer, cpus):
        """Plain QEMU and all lengths: one runs at a time, the others are held."""
        pairs = {"alone": checkpoint(start="alone")}
        for length in self.plan.lengths:
            pairs[f"{length} ms"] = checkpoint(**fixed(length))
        found = {"kind": str(kind), "writer": writer, "plain_pages_per_s": [],
                 "variants": {name: {"pages_per_s": [], "overhead": []} for name in pairs}}
        with contextlib.ExitStack() as stack:
            plain, *others = (
                self._held(stack, kind, writer, pair, cpus) for pair in (None, *pairs.values()))
            guests = dict(zip(pairs, others))
            for guest in (plain, *others):
                guest.go_on()
                guest.begin()
                guest.hold()
            for number in range(self.plan.rounds):
                for at, (name, guest) in enumerate(guests.items()):
                    if at % TURNS == 0:
                        base = self._in_turn(plain)
                        found["plain_pages_per_s"].append(base)
                    rate = self._in_turn(guest)
                    found["variants"][name]["pages_per_s"].append(rate)
                    found["variants"][name]["overhead"].append(100 * (base / rate - 1))
                progress(f"overhead, {kind}, {writer}, round {number + 1} of "
                         f"{self.plan.rounds}: " + ", ".join(
                             f"{name} {variant['overhead'][-1]:.0f} %"
                             for name, variant in found["variants"].items()))
            for guest in (plain, *guests.values()):
                guest.go_on()
                if guest.pair and not guest.alone:
                    found["variants"][name_of(guests, guest)]["status"] = figures(guest.status())
        return found

    def _held(self, stack, kind, writer, pair, cpus):
        guest = stack.enter_context(self.guest(kind, writer, GIB, pair, cpus=cpus, wait=True))
        guest.hold()
        return guest

    def _in_turn(self, guest):
        guest.go_on()
        try:
            return guest.rate(self.plan.rate_s)
        finally:
            guest.hold()

    # -- bytes

    def bytes(self):
        cases = itertools.product(self.plan.kinds(KVM1, TINY), self.plan.writers, (64, 0))
        return self._each(self._bytes, cases)

    def _bytes(self, kind, writer, cache):
        pair = checkpoint(delta_cache_mib=str(cache), **fixed(LENGTH_MS))
        with self.guest(kind, writer, GIB, pair) as guest:
            time.sleep(self.plan.warm_s)
            before, sent = guest.status(), self._channel(guest)
            begin = time.monotonic()
            time.sleep(self.plan.window_s)
            after, more = guest.status(), self._channel(guest)
            seconds = time.monotonic() - begin
            epochs = after["epochs"] - before["epochs"]
            found = {"kind": str(kind), "writer": writer, "cache_mib": cache, "epochs": epochs,
                     "seconds": seconds, "status": figures(after),
                     **{key: after[key] - before[key] for key in ("pages", *PAGE_KINDS)}}
            for side in "AB":
                found[f"wire_{side}_bytes"] = more[side] - sent[side]
        progress(f"bytes, {kind}, {writer}, cache {cache} MiB: "
                 f"{kb(found['wire_A_bytes'] / max(1, epochs))} kB an epoch on the wire")
        return found

    @staticmethod
    def _channel(guest):
        return {side: guest.lab.net.channel_bytes(side) for side in "AB"}

    # -- stops

    def stops(self):
        return self._each(self._stops, (
            (kind, memory, writer) for kind in self.plan.kinds(KVM1, KVM2, TCG1, TCG2, TINY)
            for memory, writer in ((SMALL, "light"), (GIB, "medium"))))

    def _stops(self, kind, memory, writer):
        with self.guest(kind, writer, memory, checkpoint(**fixed(LENGTH_MS))) as guest:
            time.sleep(self.plan.stops_s)
            status = guest.status()
        progress(f"stops, {kind}, {memory} MiB, {writer}: median {status['pause_ms_p50']:.2f} ms, "
                 f"99 % {status['pause_ms_p99']:.2f} ms")
        return {"kind": str(kind), "memory_mib": memory, "writer": writer,
                "status": figures(status)}

    # -- latency

    def latency(self):
        variants = {"unprotected": None, "adaptive": checkpoint(),
                    f"{LENGTH_MS} ms": checkpoint(**fixed(LENGTH_MS))}
        return self._each(lambda kind, name: self._latency(kind, name, variants[name]),
                          itertools.product(self.plan.kinds(KVM1, TCG1, TINY), variants))

    def _latency(self, kind, name, pair):
        with self.guest(kind, None, SMALL, pair) as guest:
            time.sleep(self.plan.warm_s)
            found = {"kind": str(kind), "epochs": name, "ping_ms": self._pings(guest),
                     "spaced_ms": self._requests(guest, GAP_S),
                     "back_to_back_ms": self._requests(guest, (0, 0))}
            if pair:
                found["status"] = figures(guest.status())
        progress(f"latency, {kind}, {name}: ping {two(found['ping_ms'])} ms, "
                 f"request {two(found['spaced_ms'])} ms")
        return found

    def _pings(self, guest):
        done = guest.lab.client.run("ping", "-n", "-i", str(PING_S), "-c", str(self.plan.pings),
                                    "-W", "5", GUEST_IP, check=False)
        times = [float(text) for text in re.findall(r"time=([\d.]+) ms", done.stdout)]
        if len(times) < self.plan.pings:
            self.failures.append(f"{guest}: {self.plan.pings - len(times)} of {self.plan.pings} "
                                 f"pings were not answered")
        return times

    def _requests(self, guest, gap_s):
        times = []
        for _ in range(self.plan.requests):
            time.sleep(random.uniform(*gap_s))
            begin = time.monotonic_ns()
            guest.work.request()
            times.append((time.monotonic_ns() - begin) / 1e6)
        return times

    # -- going live

    def live(self):
        return self._each(self._live, ((kind,) for kind in self.plan.kinds(KVM1, KVM2, TCG2)))

    def _live(self, kind):
        lab = Lab(kind.image, captures=False, accel=kind.accel, smp=kind.smp,
                  pair={"strategy": "checkpoint"}, append=QUIET)
        self._guests.append(lab)
        found = {"kind": str(kind), "runs": []}
        with lab:
            lab.start_protected()
            writer = BareWriter(lab, resend_ms=RESEND_MS)
            writer.start()
            live, backup = "A", "B"
            for number in range(self.plan.failovers):
                if number:
                    lab.start_backup(backup)
                    lab.wait_attached(live, backup)
                time.sleep(self.plan.load_s)
                found["runs"].append(self._fail_over(lab, writer, live, backup))
                progress(f"live, {kind}, failover {number + 1} of {self.plan.failovers}: "
                         "{live_ms:.1f} ms after the decision, outage {outage_ms:.0f} ms".format(
                             **found["runs"][-1]))
                live, backup = backup, live
            time.sleep(self.plan.load_s)
            writer.stop()
            verified, found["lost"] = writer.verify()
            found["acknowledged"] = len(writer.acks())
            if found["lost"] or not verified:
                self.failures.append(f"{kind}: {found['lost']} acknowledged writes are lost")
        return found

    @staticmethod
    def _fail_over(lab, writer, live, backup):
        killed = lab.faults.kill_qemu(live)
        lab.wait_state(backup, "alone")
        status = lab.status(backup)
        acked = writer.progress()
        lab.wait(lambda: writer.progress() > acked, "the survivor to acknowledge writes")
        said = [re.match(r"live: ([\d.]+) ms", text) for _, text in events_ns(status)]
        return {"live_ms": [float(match.group(1)) for match in said if match][-1],
                "from_kill_ms": (status["live_ns"] - killed) / 1e6,
                "outage_ms": outage_ms(writer.acks(), status["live_ns"])}


def name_of(guests, wanted):
    return next(name for name, guest in guests.items() if guest is wanted)


def figures(status):
    """What a status says of epochs."""
    wanted = re.compile(r"epochs|pages|.*_(ms|bytes)_(p50|p99|max)$|throttle_permille$")
    return {key: value for key, value in status.items() if wanted.match(key)}


# The tables.

def kb(value):
    return f"{value / 1000:.1f}" if value < 100_000 else f"{value / 1000:.0f}"


def quantile(values, permille):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * permille // 1000)]


def two(values):
    return f"{quantile(values, 500):.2f} / {quantile(values, 990):.2f}" if values else "-"


def middle(values, digits=0):
    """The median, and in brackets from the least to the greatest."""
    least, most = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def percent(values):
    """As middle(); what is many times as long is not readable in percent."""
    if max(values) < 1000:
        return f"{middle(values)} %"
    return f"x {middle([1 + value / 100 for value in values])}"


def overhead_table(rows):
    names = list(rows[0]["variants"])
    yield ["guest", "writer", "pages/s unprotected", *names]
    for row in rows:
        yield [row["kind"], row["writer"], f"{statistics.median(row['plain_pages_per_s']):.0f}",
               *(percent(row["variants"][name]["overhead"]) for name in names)]


def bytes_table(rows):
    yield ["guest", "writer", "delta cache MiB", "copied kB", "sent kB", "on the wire kB",
           "answered kB", "wire MB/s", "pages", "unchanged %", "delta %", "whole %"]
    for row in rows:
        epochs, pages, status = max(1, row["epochs"]), max(1, row["pages"]), row["status"]
        yield [row["kind"], row["writer"], str(row["cache_mib"]), kb(status["staged_bytes_p50"]),
               kb(status["sent_bytes_p50"]), kb(row["wire_A_bytes"] / epochs),
               kb(row["wire_B_bytes"] / epochs),
               f"{row['wire_A_bytes'] / row['seconds'] / 1e6:.2f}", f"{row['pages'] / epochs:.0f}",
               *(f"{100 * row[key] / pages:.0f}" for key in PAGE_KINDS[1:])]


def stops_table(rows):
    yield ["guest", "memory MiB", "writer", "epochs", "copied kB", *STOP_PARTS]
    for row in rows:
        status = row["status"]
        yield [row["kind"], str(row["memory_mib"]), row["writer"], str(status["epochs"]),
               kb(status["staged_bytes_p50"]),
               *(" / ".join(f"{status[f'{part}_ms_{point}']:.2f}"
                            for point in ("p50", "p99", "max")) for part in STOP_PARTS)]


def latency_table(rows):
    yield ["guest", "epochs", "ping", "request", "back to back", "epoch length",
           "output held", "stop"]
    for row in rows:
        status = row.get("status")
        yield [row["kind"], row["epochs"], two(row["ping_ms"]), two(row["spaced_ms"]),
               two(row["back_to_back_ms"]),
               *(f"{status[f'{key}_ms_p50']:.2f} / {status[f'{key}_ms_p99']:.2f}"
                 if status else "-" for key in ("length", "output", "pause"))]


def live_table(rows):
    yield ["guest", "failovers", "live ms after the decision", "live ms after the kill",
           "outage ms", "writes acknowledged", "lost"]
    for row in rows:
        yield [row["kind"], str(len(row["runs"])),
               *(middle([run[key] for run in row["runs"]], digits)
                 for key, digits in (("live_ms", 1), ("from_kill_ms", 1), ("outage_ms", 0))),
               str(row["acknowledged"]), str(row["lost"])]


# The aims: what was found, in words, and whether that is as good as was wanted.

def aim(words, found, most):
    return {"aim": words, "found": found, "most": most, "met": found <= most}


def overhead_aims(rows):
    for row in rows:
        for name, most in (("100 ms", 10), ("40 ms", 20)):
            if row["writer"] == "light" and name in row["variants"]:
                yield aim(f"{row['kind']}: overhead of a light writer at {name}, %",
                          statistics.median(row["variants"][name]["overhead"]), most)


def stops_aims(rows):
    for row in rows:
        yield aim(f"{row['kind']}, {row['memory_mib']} MiB, {row['writer']}: median stop, ms",
                  row["status"]["pause_ms_p50"], 1 if row["writer"] == "light" else 5)


def latency_aims(rows):
    for row in rows:
        if "status" in row:
            yield aim(f"{row['kind']}, {row['epochs']}: 99 % of pings, ms; epoch length + 2",
                      quantile(row["ping_ms"], 990), LENGTH_MS + 2)


PINNED = """\
Either has
one processor for all of its host, guest, QEMU and monitor, so that each thing done for protection
is time the guest does not get; the backup and the clients have the other. Time other programs had
the processor is not counted."""
SHARED = "Everything shares all processors."
LEGENDS = {
    "overhead": """\
How many percent longer the same work takes than in the same guest under plain QEMU with the same
accelerator (x N: N times as long). {cpus}
Epochs of a fixed length; alone: vmft without a backup. Median of the rounds, least to most; plain
QEMU was measured seconds before. Light writes to 64 pages, medium to 2600 (1 % of the guest's
1 GiB), heavy to 64 MiB: flat out, in order, a word of each page, so that most of the time lost is
that of the first write to a page in an epoch, which KVM is told of by a fault.""",
    "bytes": """\
Per epoch of {length} ms, 1 GiB. Copied: while the guest is stopped; sent: into the channel's
connection (both medians); on the wire: the interface's counters, all headers and idle time
included, means. Bare: its pages are all but empty; tiny: full of what does not compress. In both
one word of a page changes between two epochs at the least, which a delta suits best.""",
    "stops": """\
ms, median / 99 % / most of the last 2048 epochs. Pause: the guest is stopped; its parts: stopping
it, saving the devices' state, looking for what is dirty, copying it, starting it. Epochs of
{length} ms.""",
    "latency": """\
ms, median / 99 %. Request: a UDP (bare) or TCP (tiny) request and its answer, at random times;
back to back: the next as soon as there is an answer. Adaptive: epochs of 25 ms, 5 if output waits,
500 if none does.""",
    "live": """\
kill -9 of the primary's QEMU under a client that writes flat out, each time protected again before;
it asks again after {resend} ms without an answer. Median, least to most.""",
}
REFERENCES = {
    "overhead": """\
For comparison, other machines and loads: Remus (Cully and others, NSDI 2008; quoted
from memory, not checked against the paper), Linux kernel
compilation: 31, 52, 80 and 103 % at 10, 20, 30 and 40 checkpoints per second. QEMU's
micro-checkpointing (Hines, docs/mc.txt of its patches, 2014), a Java application server of 4 GB
over 10 Gbit/s: on the order of 25 % without buffering of output, as high as 50 % with.""",
}
PARTS = {
    "overhead": (Bench.overhead, overhead_table, overhead_aims),
    "bytes": (Bench.bytes, bytes_table, None),
    "stops": (Bench.stops, stops_table, stops_aims),
    "latency": (Bench.latency, latency_table, latency_aims),
    "live": (Bench.live, live_table, None),
}


@contextlib.contextmanager
def pinned(wanted):
    """The primary's host is one processor, all else another: neither takes the other's time."""
    here = sorted(os.sched_getaffinity(0))
    if not wanted or len(here) < 2:
        yield None
        return
    os.sched_setaffinity(0, here[1:])  # what is not started elsewhere: backup, clients
    try:
        yield {"A": str(here[0])}
    finally:
        os.sched_setaffinity(0, here)


def load_average():
    return round(os.getloadavg()[0], 2)


def markdown(cells):
    lines = [list(row) for row in cells]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def epochs(options):
    command = (f"{ME} epochs" + "".join(f" --part {part}" for part in options.part or ()) +
               (" --quick" if options.quick else "") + (" --no-pin" if options.no_pin else ""))
    bench = Bench(Plan(options.quick), not options.no_pin)
    result = {"command": command, "load_average": [load_average()], "parts": {}, "aims": [],
              "failures": bench.failures}
    print(f"\n`{command}`, load average {load_average()} at the start")
    for name in options.part or PARTS:
        measure, table, aims = PARTS[name]
        rows = result["parts"][name] = measure(bench)
        bench.leave_nothing()
        if not rows:
            continue
        legend = LEGENDS[name].format(cpus=SHARED if options.no_pin else PINNED,
                                      length=LENGTH_MS, resend=RESEND_MS)
        print(f"\n### {name}\n\n{markdown(table(rows))}\n\n{legend}", flush=True)
        if name in REFERENCES:
            print(f"\n{REFERENCES[name]}")
        result["aims"] += list(aims(rows)) if aims else []
    result["load_average"].append(load_average())
    print_aims(result["aims"])
    print(f"\nload average {load_average()} at the end")
    for failure in bench.failures:
        print(f"FAILED: {failure}")
    if options.json:
        write_json(options.json, result)
    return EXIT_FAILED if bench.failures else EXIT_OK


def print_aims(aims):
    if aims:
        print("\n" + markdown([("aim", "at most", "measured", ""), *(
            (one["aim"], str(one["most"]), f"{one['found']:.2f}",
             "met" if one["met"] else "MISSED") for one in aims)]))
