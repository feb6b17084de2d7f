# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's clock against the host's: the tiny guest's vmft-clock is asked again and again.
And what scripts/bench clock measures."""

import statistics
import threading
import time

from .watch import progress
from .load import GuestShell, Writer
from .net import GUEST_IP, udp_socket
from .story import EXIT_FAILED, EXIT_OK, measured, write_json

ME = "scripts/bench"
CLOCK_PORT = 7780
ASK_EACH_S = 0.1
BUSY = "(while :; do :; done) >/dev/null 2>&1 &"


class Reading:
    """One answer. The guest reads its clocks when the question is there, so `real_ms` and
    `monotonic_ms`, guest's minus host's, have the question's way in them: never too small."""

    def __init__(self, at, real_ms, monotonic_ms, answer_ms):
        self.at = at  # time.monotonic()
        self.real_ms = real_ms
        self.monotonic_ms = monotonic_ms
        self.answer_ms = answer_ms

    @property
    def guest_ms(self):
        return self.at * 1e3 + self.monotonic_ms

    @property
    def certain_ms(self):
        """The same if the question's way took all the time there was: never too large."""
        return self.monotonic_ms - self.answer_ms


def read_once(lab, tries=10):
    """The one of several answers that took the least time."""
    clock = GuestClock(lab, each_s=0.02)
    clock.start()
    lab.wait(lambda: len(clock.readings) >= tries, "the guest to tell the time")
    clock.stop()
    return min(clock.readings, key=lambda one: one.answer_ms)


class GuestClock:
    """Asks until it is stopped. A question that is lost, as in a failover, is not asked again."""

    def __init__(self, lab, each_s=ASK_EACH_S):
        self.lab = lab
        self.each_s = each_s
        self.readings = []
        self._asked = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join(10)

    def since(self, begin):
        return [one for one in self.readings if one.at >= begin]

    def went_back(self):
        """How often the guest's clock showed less than at the answer before."""
        return sum(after.guest_ms < before.guest_ms
                   for before, after in zip(self.readings, self.readings[1:]))

    def _run(self):
        sock = udp_socket(self.lab.net.client, GUEST_IP, CLOCK_PORT)
        due = time.monotonic()
        while not self._stop.is_set():
            if time.monotonic() >= due:
                due = time.monotonic() + self.each_s
                self._ask(sock)
            sock.settimeout(max(0.001, due - time.monotonic()))
            try:
                self._answered(sock.recv(256))
            except OSError:
                pass  # nothing yet; or nobody is there
        sock.close()

    def _ask(self, sock):
        number = len(self._asked)
        self._asked[number] = time.time_ns(), time.monotonic_ns()
        try:
            sock.send(str(number).encode())
        except OSError:
            pass

    def _answered(self, text):
        number, real, monotonic = map(int, text.split())
        asked_real, asked = self._asked[number]
        self.readings.append(Reading(asked / 1e9, (real - asked_real) / 1e6,
                                     (monotonic - asked) / 1e6,
                                     (time.monotonic_ns() - asked) / 1e6))


class Line:
    """The guest's clock as it would be without jitter: an offset and a rate."""

    def __init__(self, readings):
        eighth = max(1, len(readings) // 8)
        first, last = readings[:eighth], readings[-eighth:]
        self.at, begin = _middle(first)
        at, end = _middle(last)
        self.offset_ms = begin
        self.ppm = 1e3 * (end - begin) / (at - self.at) if at > self.at else 0.0

    def off_ms(self, reading):
        return reading.monotonic_ms - self.offset_ms - self.ppm * (reading.at - self.at) / 1e3


def _middle(readings):
    return (statistics.median(one.at for one in readings),
            statistics.median(one.monotonic_ms for one in readings))


class Busy:
    """A shell that goes round and never waits."""

    def __init__(self, lab):
        self.shell = GuestShell(lab)

    def start(self):
        self.shell.send(BUSY)

    def stop(self):
        self.shell.run("kill $!")
        self.shell.close()


def _idle(_lab, seconds):
    time.sleep(seconds)


def _writes(lab, seconds):
    writer = Writer(lab, name="clock-writes")
    writer.start()
    time.sleep(seconds)
    writer.stop()


def _is_busy(lab, seconds):
    busy = Busy(lab)
    busy.start()
    time.sleep(seconds)
    busy.stop()


def _both(lab, seconds):
    writer, busy = Writer(lab, name="clock-both"), Busy(lab)
    writer.start()
    busy.start()
    time.sleep(seconds)
    busy.stop()
    writer.stop()


def _attach(lab, seconds):
    """Beside a writer, as often as fits."""
    writer = Writer(lab, name="clock-attach")
    writer.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lab.faults.kill_qemu("B")
        lab.wait_state("A", "alone")
        lab.start_backup("B")
        lab.wait_attached("A", "B")
        time.sleep(1)
    writer.stop()


def _failover(lab, seconds):
    """Beside a writer. The survivor stays alone."""
    writer = Writer(lab, name="clock-failover")
    writer.start()
    time.sleep(2)
    lab.faults.kill_qemu("A")
    lab.side["A"].may_end = True
    lab.wait_state("B", "alone")
    time.sleep(seconds)
    writer.stop()


PARTS = (("idle", _idle), ("one client writes", _writes), ("a busy loop", _is_busy),
         ("both", _both), ("attaches beside a writer", _attach),
         ("a failover beside a writer", _failover), ("idle, alone", _idle))

LEGEND = """\
Tiny guest, lockstep, asked ten times a second. Off: of the guest's CLOCK_MONOTONIC from the straight line
through all before the failover, whose slope is the rate. The guest reads its clock once the question
has come, which takes a while, so it was behind by at least, and ahead by at least, this much at
most; then median / 99th percentile / most of what is seen with the question's way in it, and the
largest step of that from one answer to the next. An answer: median / longest."""


def measure(lab, seconds, parts=PARTS):
    lab.start_protected()
    clock = GuestClock(lab)
    clock.start()
    time.sleep(2)
    found = [{"what": "boot", "real_ms": statistics.median(one.real_ms for one in clock.readings)}]
    spans = []
    for what, do in parts:
        begin = time.monotonic()
        do(lab, seconds)
        spans.append((what, begin, time.monotonic()))
        now = sorted(one.real_ms for one in clock.since(begin))
        progress(f"{what}: {len(now)} answers" + (
            f", guest minus host {now[0]:.0f} to {now[-1]:.0f} ms" if now else ""))
    clock.stop()
    split = next((begin for what, begin, _ in spans if "failover" in what), float("inf"))
    line = Line([one for one in clock.readings if one.at < split])
    for what, begin, end in spans:
        readings = [one for one in clock.readings if begin <= one.at < end]
        found.append({"what": what, **figures(readings, line)})
    if any(status["divergences"] for name in lab.side if (status := lab.peek(name))):
        raise RuntimeError("a divergence was found")
    found[0].update(ppm=line.ppm, went_back=clock.went_back())
    return found


def figures(readings, line):
    off = [line.off_ms(one) for one in readings]
    steps = [abs(after - before) for before, after in zip(off, off[1:])]
    certain = [line.off_ms(one) - one.answer_ms for one in readings]
    return {"answers": len(off), "off_ms": sorted(off), "step_ms": max(steps, default=0),
            "behind_ms": max(0, -min(off, default=0)),
            "ahead_ms": max([0, *certain]),
            "ppm": Line(readings).ppm if len(off) > 8 else 0.0,
            "answer_ms": sorted(one.answer_ms for one in readings)}


def row(one):
    off = one["off_ms"]
    if not off:
        return [one["what"], "no answers", *["-"] * 4]
    middle, late = off[len(off) // 2], off[int(len(off) * 0.99)]
    return [one["what"], f"{one['behind_ms']:.1f} / {one['ahead_ms']:.1f}",
            f"{middle:+.1f} / {late:+.1f} / {off[-1]:+.1f}",
            f"{one['step_ms']:.1f}", f"{one['ppm']:+.0f}",
            f"{statistics.median(one['answer_ms']):.1f} / {one['answer_ms'][-1]:.0f}"]


def clock(options):
    command = f"{ME} clock --seconds {options.seconds}"
    parts = [part for part in PARTS if not options.part or part[0] in options.part]
    found, failures = measured(ME, lambda lab: measure(lab, options.seconds, parts))
    if found:
        print(f"\n`{command}`\n\nAfter its boot the guest's CLOCK_REALTIME was {found[0]['real_ms']:+.0f} "
              f"ms off; rate {found[0]['ppm']:+.0f} ppm; it went back {found[0]['went_back']} times.\n")
    print("| the guest | behind / ahead, ms | with the question's way, ms | step, ms | rate, ppm "
          "| an answer, ms |\n|---|---|---|---|---|---|")
    for one in found[1:]:
        print(f"| {' | '.join(row(one))} |")
    print(f"\n{LEGEND}")
    for failure in failures:
        print(f"FAILED: {failure}")
    if options.json:
        write_json(options.json, {"command": command, "parts": found, "failures": failures})
    return EXIT_FAILED if failures else EXIT_OK
