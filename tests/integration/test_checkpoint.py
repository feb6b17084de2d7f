# SPDX-License-Identifier: GPL-2.0-or-later
"""Checkpoints: every kind of writer is caught, an epoch that is torn, clocks, sizes.

What either strategy must survive is in the other files, a test for each (drill()).
"""

import os
import re
import time

import pytest

from harness import (ASAN_TCG_1, CHECKPOINT, KVM_1, KVM_2, Loaded, TCG_1, TCG_2, Way, check,
                     clock_reading, equal, everyday, full, kvm, lab, note, paired, ways)
from vmftlab.bare import BareGuest, BareWriter
from vmftlab.load import GuestShell, Pings

MIB = 1 << 20


# --- who writes to the guest's memory ------------------------------------------


class Alone:
    """A pair whose bare guest has one kind of writer; `words` say which."""

    def __init__(self, pair, lap_ticks=300):
        self.pair = pair
        self.lap_ticks = lap_ticks  # in which all is looked at, pages several times
        self.guest = BareGuest(pair)

    def compare(self, times):
        for number in range(times):
            before = self.guest.stats()["ticks"]
            equal(self.pair.compare("A", "B")[1], "", f"differences, comparison {number + 1}")
            self.lap(before, 20)

    def lap(self, since, ticks):
        self.pair.wait(lambda: self.guest.stats()["ticks"] > since + ticks, f"{ticks} ticks")

    def survive(self):
        """On the backup it goes through all it wrote, and finds it as it was."""
        self.pair.faults.kill_qemu("A")
        self.pair.wait_state("B", "alone")
        self.lap(self.guest.stats()["ticks"], self.lap_ticks)
        stats = self.guest.stats()
        equal(stats["bad"], 0, f"faults the guest found ({stats})")
        self.guest.close()


def one_writer(name, way, words):
    return way.lab(name, captures=False, append=words)


@everyday("pages that a processor writes are in the epoch")
@ways(TCG_2, KVM_2)
def test_writer_processors(name, way):
    with one_writer(name, way, "dirty=64 dma=0 blk=0 delay=500") as pair:
        pair.start_protected()
        alone = Alone(pair)
        before = alone.guest.stats()
        alone.compare(2)
        after = alone.guest.stats()
        for cpu, (was, now) in enumerate(zip(before["cpus"], after["cpus"])):
            check(now["ticks"] > was["ticks"] + 20, f"processor {cpu} did not write")
        equal(after["disk_writes"], 0, "writes to the disk")
        alone.survive()


@everyday("pages that a device model writes are in the epoch")
@ways(TCG_1, KVM_1)
def test_writer_devices(name, way):
    """QEMU's main loop and the vCPU's thread on its behalf: DMA of fw_cfg."""
    dma = 64
    with one_writer(name, way, f"dirty=0 dma={dma} blk=0 delay=500") as pair:
        pair.start_protected()
        alone = Alone(pair)
        before, pages = alone.guest.stats(), pair.status("A")["pages"]
        alone.compare(2)
        alone.lap(before["ticks"], 100)
        after, pages = alone.guest.stats(), pair.status("A")["pages"] - pages
        # A transfer that fails is a fault; without them a handful of pages an epoch changes.
        check(pages > 20 * dma, f"only {pages} pages were sent in "
              f"{after['ticks'] - before['ticks']} ticks of {dma} transfers")
        alone.survive()


@everyday("pages that a received frame writes are in the epoch")
@ways(TCG_1, KVM_1)
def test_writer_packets(name, way):
    """The main loop: frames that come in."""
    with one_writer(name, way, "dirty=0 dma=0 blk=0 delay=500") as pair:
        pair.start_protected()
        alone = Alone(pair)
        pings = Pings(pair, size=1400)
        pings.start()
        pair.wait(lambda: pings.progress() > 20, "pings to be answered")
        before = pings.progress()
        alone.compare(3)
        check(pings.progress() > before + 20, "hardly a ping was answered meanwhile")
        alone.survive()
        pings.stop()


@everyday("pages that QEMU's thread pool writes are in the epoch")
@ways(TCG_1, KVM_1)
def test_writer_threads(name, way):
    """QEMU's thread pool: blocks that are read from the disk. The guest looks at each."""
    with one_writer(name, way, "dirty=0 dma=0 blk=1 delay=0") as pair:
        pair.start_protected()
        alone = Alone(pair, lap_ticks=2200)
        # From the second lap on each write has a read before it.
        pair.wait(lambda: alone.guest.stats()["disk_writes"] > 2100, "a lap of the disk's sectors")
        before = alone.guest.stats()["disk_writes"]
        alone.compare(2)
        check(alone.guest.stats()["disk_writes"] > before + 20, "the disk was not read and written")
        alone.survive()


@full("writer-threads on the bare guest sees the same writer")
@ways(CHECKPOINT)
def test_writer_threads_of_linux(name, way):
    """The same in large blocks, without the guest's page cache."""
    script = "while true; do dd if=/mnt/fill bs=256k iflag=direct 2>/dev/null | sha256sum; done"
    with way.lab(name, captures=False) as pair:
        pair.start_protected()
        shell = GuestShell(pair)
        shell.run("dd if=/dev/urandom of=/mnt/fill bs=64k count=128 2>/dev/null; sync; "
                  "echo 3 >/proc/sys/vm/drop_caches")
        expected = shell.run("sha256sum /mnt/fill").split()[0]
        digests = []

        def read(count):
            while count:
                digests.append(shell.file.readline().split()[0])
                count -= 1
        shell.send(script)
        read(2)
        for number in range(3):
            equal(pair.compare("A", "B")[1], "", f"differences, comparison {number + 1}")
            read(2)
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        read(4)
        equal(set(digests), {expected}, "digests of the file, read again and again")
        check(pair.status("B")["live_ns"] > 0, "B is not live")
        shell.close()


@everyday("all writers at once, compared whole")
@ways(TCG_2, KVM_2)
def test_compare_ten(name, way):
    """All writers at once, under load: the same memory and the same disk, ten times."""
    with way.lab(name, captures=False) as pair:
        loaded = Loaded(pair).start()
        epochs = [pair.status("A")["log_head"]]
        for number in range(10):
            epoch, differ = pair.compare("A", "B")
            equal(differ, "", f"differences, comparison {number + 1}")
            check(epoch > epochs[-1], f"compared at epoch {epoch} after {epochs[-1]}")
            epochs.append(epoch)
            loaded.settle(f"after comparison {number + 1}")
        loaded.verify()


# --- large epochs ----------------------------------------------------------------


@everyday("torn epochs cause no bad access or undefined behaviour", ASAN_TCG_1)
@everyday("an epoch that ends in the middle is thrown away whole")
@ways(TCG_1, KVM_2, ASAN_TCG_1)
def test_torn_epoch(name, way):
    """Epochs larger than staging, compared; then one is torn: its primary dies as it sends it."""
    pages = 30000
    with way.lab(name, captures=False, append=f"dirty={pages} np={pages} blk=0 dma=0",
                 pair={"epoch-ms": "200", "epoch-min-ms": "200"}) as pair:
        pair.start_protected()
        guest = BareGuest(pair)
        writer = BareWriter(pair)
        writer.start()
        pair.wait(lambda: pair.status("A")["epochs_split"] > 1, "epochs larger than staging")
        for number in range(2):
            equal(pair.compare("A", "B")[1], "", f"differences, comparison {number + 1}")
        status = pair.status("A")
        note(f"{status['epochs']} epochs, {status['epochs_split']} of them in parts; up to "
             f"{status['staged_bytes_max'] / MIB:.0f} MiB, stopped for "
             f"{status['pause_ms_max']:.0f} ms")
        check(status["staged_bytes_max"] > 64 * MIB, "no epoch was larger than staging")

        pair.net.slow_channel("8mbit")
        seen = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > seen + 2, "writes over the slow channel")
        paired(pair, "A", "state of A with a slow channel")
        held = tear(pair)
        pair.wait_state("B", "alone")
        pair.net.fast_channel()
        status = pair.status("B")
        check(status["partial_bytes"] > 0, "no epoch was torn")
        equal(status["log_head"], held, "epoch that B is live at")
        note(f"{status['partial_bytes']} bytes of an epoch that never became whole")
        ticks = guest.stats()["ticks"]
        pair.wait(lambda: guest.stats()["ticks"] > ticks + 3, "the guest to go through its memory")
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "keys verified and lost")
        equal(guest.stats()["bad"], 0, "faults the guest found")
        guest.close()


def tear(pair):
    """Kills the primary's host when part of an epoch has come to the backup, and no more will.
    Returns the last epoch that did whole."""
    while True:
        pair.faults.cut_channel()
        time.sleep(0.3)  # what had arrived is taken in; silence is for seconds yet
        status = pair.status("B")
        if status["partial_bytes"] > 0:
            pair.faults.kill_host("A")
            equal(status["state"], "protected", "state of B when its primary was killed")
            return status["log_held"]
        pair.net.mend_channel()
        time.sleep(1)


# --- time ------------------------------------------------------------------------

CLOCK_SECONDS = int(os.environ.get("VMFT_CLOCK_SECONDS", "12"))
CLOCK_LOSS = 0.005
FROZEN_SECONDS = 2


def reading(guest, which):
    return clock_reading(lambda: guest.clock()[which])


def worst_second(guest, which, seconds):
    """Reads the guest's clock once a second. Returns what it lost in the worst of them, in ms, and
    in which one: a loss at one time has another cause than a loss all the time."""
    found = [(0.0, 0)]
    host, clock = reading(guest, which)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1)
        host_later, clock_later = reading(guest, which)
        lost = (host_later - host) - (clock_later - clock)
        found.append((lost / 1e6, len(found)))
        host, clock = host_later, clock_later
    return max(found, key=lambda one: abs(one[0]))


def stopped_for_long(pair, guest, which):
    """A drill's stop is none of the guest's: its clock has gone on when it is let go."""
    host, clock = reading(guest, which)
    pair.command("A", "freeze")
    pair.wait(lambda: pair.status("A")["frozen_at"] is not None, "the guest to be frozen")
    time.sleep(FROZEN_SECONDS)
    pair.command("A", "thaw")
    host_later, clock_later = reading(guest, which)
    lost = (host_later - host) - (clock_later - clock)
    note(f"frozen for {FROZEN_SECONDS} s: {which} lost {lost / 1e6:.1f} ms")
    check(abs(lost) < FROZEN_SECONDS * 1e9 / 10, "the guest's clock stood still")


@everyday("the guest's clock keeps up although it is stopped for each epoch", TCG_2, KVM_2)
@ways(TCG_2, KVM_1, KVM_2)
@pytest.mark.timeout(240 + CLOCK_SECONDS)
def test_guest_clock(name, way):
    """Stopped tens of times a second a guest's clock still goes with the host's; and it never
    goes back when the backup takes over.

    VMFT_CLOCK_SECONDS=N makes the measurement that long.
    """
    which = "kvmclock_ns" if way.options["accel"] == "kvm" else "apic_ns"
    with way.lab(name, captures=False) as pair:
        pair.start_protected()
        guest = BareGuest(pair)
        writer = BareWriter(pair)
        writer.start()  # output, so that epochs are short
        pair.wait(lambda: len(writer.acks()) > 20, "writes")
        host, clock = reading(guest, which)
        epochs = pair.status("A")["epochs"]
        worst, when = worst_second(guest, which, CLOCK_SECONDS)
        status = pair.status("A")
        host_later, clock_later = reading(guest, which)
        host, passed = host_later - host, clock_later - clock
        epochs = status["epochs"] - epochs
        stopped = epochs * status["pause_ms_p50"] / (CLOCK_SECONDS * 1000)
        note(f"{host / 1e9:.1f} s, {epochs} epochs, stopped for about {stopped * 100:.1f} % of it: "
             f"{which} lost {(host - passed) / 1e6:.1f} ms, {(host - passed) / host * 100:.3f} %; "
             f"worst in second {when}: {worst:.1f} ms; longest pause {status['pause_ms_max']} ms")
        check(epochs > 10 * CLOCK_SECONDS, "too few epochs to show anything")
        check(abs(host - passed) < CLOCK_LOSS * host, "the guest's clock is not the host's")
        stopped_for_long(pair, guest, which)

        before = guest.clock()[which]
        pair.faults.kill_qemu("A")
        after = guest.clock()[which]
        check(after > before, f"{which} was {before}, then {after} after the failover")
        pair.wait_state("B", "alone")
        equal(guest.stats()["backwards"], 0, "times a clock of the guest went back")
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "keys verified and lost")
        guest.close()


# --- which strategy, and how many processors ----------------------------------------


def chosen(name, strategy, reason, **options):
    with lab(name, captures=False, **options) as pair:
        pair.start()
        for side in "AB":
            status = pair.status(side)
            equal(status["strategy"], strategy, f"strategy of {side}")
            check(re.search(reason, status["strategy_reason"]),
                  f"the reason does not say /{reason}/: {status['strategy_reason']}")
        note(f"{strategy}: {status['strategy_reason']}")


@everyday("strategy = auto chooses by the machine")
def test_auto_strategy(name):
    chosen(name, "lockstep", "^auto: one processor on TCG")
    chosen(name, "checkpoint", "^auto: 2 processors", smp=2)
    chosen(name, "checkpoint", "pair file", pair={"strategy": "checkpoint"})


@kvm("bare")
@everyday("strategy = auto chooses by the accelerator")
def test_auto_strategy_kvm(name):
    chosen(name, "checkpoint", "^auto: .*KVM", image="bare", accel="kvm")


@full("eight processors on a machine of two take long; two are in the everyday suite")
@ways(Way("checkpoint-", "checkpoint", smp=8))
def test_smp8(name, way):
    with way.lab(name, captures=False) as pair:
        loaded = Loaded(pair).start()
        shell = GuestShell(pair)
        equal(shell.run("grep -c ^processor /proc/cpuinfo").strip(), "8", "processors")
        equal(pair.compare("A", "B")[1], "", "differences under load")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        loaded.settle("after the kill")
        equal(shell.run("grep -c ^processor /proc/cpuinfo").strip(), "8", "processors afterwards")
        shell.close()
        loaded.verify()
