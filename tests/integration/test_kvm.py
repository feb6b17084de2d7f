# SPDX-License-Identifier: GPL-2.0-or-later
"""What only KVM has: kvmclock, an interrupt controller in the kernel, the host's processor.

The guest is Linux, which uses all of it. Where the machine's own KVM cannot run Linux, these tests run on
a host of scripts/kvm-host (tests/nested.py). How long something takes in there means nothing.
"""

import re
import statistics
import time

import pytest

from harness import (LINUX_KVM_1, LINUX_KVM_2, LINUX_KVM_4, Loaded, check, equal, everyday, full,
                     note, ways, writer_to)
from vmftlab.clock import GuestClock
from vmftlab.load import GuestShell

CLOCK_S = 30
# Of the guest's clock against the host's over that time. Answers come late on an emulated host; this is
# what the quickest answers of the beginning and of the end leave open.
OFF_MS = 250
COMPLAINT = re.compile(r"stall|lockup|clocksource.*unstable|timekeeping watchdog|Call Trace|"
                       r"blocked for more than", re.IGNORECASE)


def no_complaints(shell):
    """The guest's kernel has noticed nothing, of its clocks neither."""
    found = [line for line in shell.run("dmesg").splitlines() if COMPLAINT.search(line)]
    equal(found, [], "what the guest's kernel complains of")


def interrupts(shell):
    """How many local timer interrupts each of the guest's processors had."""
    for line in shell.run("cat /proc/interrupts").splitlines():
        words = line.split()
        if words[:1] == ["LOC:"]:
            return [int(word) for word in words[1:] if word.isdigit()]
    return []


def all_tick(pair, shell, processors, what):
    before = interrupts(shell)
    equal(len(before), processors, f"processors that have a timer {what}")
    pair.wait(lambda: all(now > was for now, was in zip(interrupts(shell), before)),
              f"a timer interrupt on each processor {what}")


@everyday("Linux on two processors of KVM goes on after its host's QEMU was killed")
@ways(LINUX_KVM_2)
def test_short(name, way):
    """As little as shows it, because an emulated host is slow: a client writes, and no other load."""
    with way.lab(name, captures=False) as pair:
        # All of it is sent once when the firmware has changed the memory map.
        pair.guest.memory = 128
        pair.start_protected()
        writer = writer_to(pair)
        writer.start()
        pair.wait(lambda: writer.progress() > 10, "writes before the kill")
        killed = pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        before = sum(at < killed for at in writer.acks())
        pair.wait(lambda: writer.progress() > before + 10, "writes after the kill")
        shell = GuestShell(pair)
        all_tick(pair, shell, 2, "after the failover")
        no_complaints(shell)
        shell.close()
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "keys verified and lost")


@full("kvm-smp2-short has the default interrupt controller, which is the kernel's")
@pytest.mark.parametrize("irqchip", ("on", "split", "off"))
@ways(LINUX_KVM_2)
def test_irqchip(name, way, irqchip):
    """All of the interrupt controllers in the kernel, the local ones only, or none."""
    with way.lab(name, machine=f"pc,kernel-irqchip={irqchip}") as pair:
        loaded = Loaded(pair).start()
        shell = GuestShell(pair)
        all_tick(pair, shell, 2, "before")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        loaded.settle("after the failover")
        all_tick(pair, shell, 2, "after")
        no_complaints(shell)
        shell.close()
        loaded.verify()


def quickest(readings):
    """Guest's clock minus host's, in ms, of the quarter of the answers that took the least time."""
    least = sorted(readings, key=lambda one: one.answer_ms)[:max(4, len(readings) // 4)]
    return statistics.median(one.monotonic_ms - one.answer_ms / 2 for one in least)


@full("bare-kvm-smp2-guest-clock reads kvmclock without Linux")
@ways(LINUX_KVM_1, LINUX_KVM_2, LINUX_KVM_4)
@pytest.mark.timeout(400)
def test_kvmclock(name, way):
    """kvmclock keeps up although the guest is stopped for each epoch. Over a failover it never goes
    back, and loses no more than the time in which the guest did not run."""
    with way.lab(name, captures=False) as pair:
        pair.start_protected()
        shell = GuestShell(pair)
        equal(shell.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource").strip(),
              "kvm-clock", "the guest's clock source")
        clock = GuestClock(pair, each_s=0.1)
        epochs = pair.status("A")["epochs"]
        clock.start()
        time.sleep(CLOCK_S)
        epochs = pair.status("A")["epochs"] - epochs
        readings = list(clock.readings)
        check(len(readings) > CLOCK_S, f"only {len(readings)} answers")
        third = len(readings) // 3
        first, last = quickest(readings[:third]), quickest(readings[-third:])
        note(f"{CLOCK_S} s, {epochs} epochs: kvmclock was {last - first:+.0f} ms off the host's clock")
        check(epochs > CLOCK_S, "too few epochs to show anything")
        check(abs(last - first) < OFF_MS, f"kvmclock moved by {last - first:.0f} ms")

        killed = pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        away_ms = (pair.status("B")["live_ns"] - killed) / 1e6
        seen = len(clock.readings)
        pair.wait(lambda: len(clock.readings) > seen + 100, "answers after the failover")
        after = quickest(clock.readings[seen + 20:])
        clock.stop()
        note(f"live after {away_ms:.0f} ms; kvmclock was {after - last:+.0f} ms off then")
        equal(clock.went_back(), 0, "times the guest's clock went back")
        check(after - last < OFF_MS, f"kvmclock was {after - last:.0f} ms ahead after the failover")
        check(last - after < away_ms + 2 * OFF_MS, f"kvmclock lost {last - after:.0f} ms in an outage "
              f"of {away_ms:.0f} ms")
        no_complaints(shell)
        shell.close()


@full("kvm-smp2-short has QEMU's default processor")
@pytest.mark.parametrize("cpu", ("host", "max", "kvm64"))
@ways(LINUX_KVM_2)
def test_processor(name, way, cpu):
    with way.lab(name, captures=False) as pair:
        for side in "AB":
            pair.edit[side] = lambda args: [*args, "-cpu", cpu]
        loaded = Loaded(pair).start()
        shell = GuestShell(pair)
        equal(pair.compare("A", "B")[1], "", "differences under load")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        loaded.settle("after the failover")
        no_complaints(shell)
        shell.close()
        loaded.verify()
