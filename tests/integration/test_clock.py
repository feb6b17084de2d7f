# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's clock is its host's: at every load, over a pause, an attach and a failover."""

import statistics
import time

import pytest

from harness import LOCKSTEP, check, equal, full, note, ways
from vmftlab.clock import Busy, GuestClock
from vmftlab.load import Writer

PHASE_S = 4
PAUSE_S = 1.5
# Other work on the machine keeps a guest from executing for as long as it likes. Without anything
# done about it, a pause is seen for many seconds and the time of an outage is lost for good.
OFF_MS = 150
# Linux knows whole seconds of its machine's clock, and takes it that half a second has passed.
BOOT_OFF_MS = 500


class Checked:
    """What is known for certain of the guest's clock, against where it was at first."""

    def __init__(self, pair):
        self.clock = GuestClock(pair, each_s=0.05)
        self.clock.start()
        time.sleep(2)
        self.base = statistics.median(one.monotonic_ms for one in self.clock.readings)
        self.begin = time.monotonic()

    def phase(self, what, seconds=PHASE_S):
        time.sleep(seconds)
        readings = self.clock.since(self.begin)
        check(len(readings) > seconds, f"{what}: hardly an answer")
        behind = max(0, self.base - min(one.monotonic_ms for one in readings))
        ahead = max(0, max(one.certain_ms for one in readings) - self.base)
        note(f"{what}: at least {behind:.0f} ms behind, {ahead:.0f} ahead, {len(readings)} answers")
        check(behind < OFF_MS, f"{what}: the guest's clock was {behind:.0f} ms behind")
        check(ahead < OFF_MS, f"{what}: the guest's clock was {ahead:.0f} ms ahead")
        self.begin = time.monotonic()

    def over(self):
        self.clock.stop()
        equal(self.clock.went_back(), 0, "times the guest's clock went back")


def pause(pair, seconds):
    pair.command("A", "freeze")
    frozen = pair.wait(lambda: pair.status("A")["frozen_at"], "the guest to freeze", 30)
    time.sleep(seconds)
    check(frozen, "the guest did not freeze")
    pair.command("A", "thaw")


@full("lockstep replays the clock's readings, which divergence compares; this measures it")
@ways(LOCKSTEP)
@pytest.mark.timeout(400)
def test_guest_clock(name, way):
    with way.lab(name, captures=False) as pair:
        pair.start_protected()
        checked = Checked(pair)
        boot = statistics.median(one.real_ms for one in checked.clock.readings)
        check(abs(boot) < BOOT_OFF_MS + OFF_MS, f"after its boot the guest was {boot:.0f} ms off")
        checked.phase("idle")
        writer, busy = Writer(pair), Busy(pair)
        writer.start()
        checked.phase("a client writes")
        busy.start()
        checked.phase("and a busy loop")
        pause(pair, PAUSE_S)
        checked.phase("after a pause")
        busy.stop()
        pair.faults.stop_host("A")
        pair.wait_state("B", "alone")
        checked.phase("after the failover of a stopped host")
        pair.start_backup("A")
        pair.wait_attached("B", "A")
        checked.phase("after an attach")
        writer.stop()
        checked.over()
        equal(pair.status("B")["divergences"], 0, "divergences")
