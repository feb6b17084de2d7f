# SPDX-License-Identifier: GPL-2.0-or-later
"""A pair on two hosts that are machines of their own, each emulated by a QEMU: its own kernel, clock,
disk and network cards. The guest is Linux under KVM. A host is powered off for real: its QEMU is killed,
so nothing on the host closes a connection or says a last word. It comes back with an empty disk.

Network, client and arbiter (etcd) are outside of both hosts.
"""

import contextlib
import os

import pytest

from harness import LOGS, check, equal, full, note
from vmftlab.load import Writer
from vmftlab.machines import Machines
from vmftlab.watch import PAIRED

WRITES = 20


@contextlib.contextmanager
def machines(name):
    with Machines() as made:
        try:
            yield made
        except BaseException:
            made.keep_logs(os.path.join(LOGS, name))
            raise


class Story:
    """The client's writes over power failures."""

    def __init__(self, pair):
        self.pair = pair
        self.writer = Writer(pair)

    def acknowledged(self, what):
        before = self.writer.progress()
        self.pair.wait(lambda: self.writer.progress() > before + WRITES,
                       f"{WRITES} writes to be acknowledged {what}")

    def power_fails(self, victim, survivor):
        """The survivor carries the guest on; nothing comes from the host that is off."""
        pair, writer = self.pair, self.writer
        for side in (victim, survivor):
            check(pair.machine[side].state() in PAIRED, f"{side} is no pair's before the power fails")
        frames = len(pair.capture[survivor].frames())
        acks = len(writer.acks())
        off = pair.power_off(victim)
        pair.wait_state(survivor, "alone")
        self.acknowledged(f"after the power of {victim} failed")
        equal(len(pair.capture[victim].frames(off)), 0, f"frames from {victim} after its power failed")
        check(len(pair.capture[survivor].frames()) > frames, f"no frame came from {survivor}")
        before, after = (next(iter(when)) for when in
                         (reversed(writer.acks()[:acks]), writer.acks()[acks:]))
        note(f"power of host {victim} failed after {acks} acknowledged writes; the next one came "
             f"{(after - before) / 1e9:.1f} s after the last")

    def nothing_lost(self):
        self.writer.stop()
        verified, lost = self.writer.verify()
        equal(lost, 0, "acknowledged writes lost")
        equal(verified, self.writer.stored(), "acknowledged writes read back")
        note(f"{verified} acknowledged writes, all there")


def until_power_fails(pair):
    """The power of A, which was the primary, has failed."""
    kernels = [pair.machine[side].kernel() for side in "AB"]
    check(kernels[0] != kernels[1], f"both hosts are one boot of one kernel: {kernels}")
    pair.start_protected()
    story = Story(pair)
    story.writer.start()
    story.acknowledged("while it is protected")
    story.power_fails("A", "B")
    return story


@full("kill9 and power-off of the other tests end processes of one kernel")
@pytest.mark.xdist_group("kvm")
@pytest.mark.timeout(1800)
def test_machines_power_off(name):
    with machines(name) as pair:
        until_power_fails(pair).nothing_lost()


@full("machines-power-off is the first half of it")
@pytest.mark.xdist_group("kvm")
@pytest.mark.timeout(2400)
def test_machines_return(name):
    """The host comes back with an empty disk and protects the guest again; then the other loses power."""
    with machines(name) as pair:
        story = until_power_fails(pair)
        before = pair.machine["B"].kernel()
        pair.boot("A")
        pair.wait_up("A")
        check(pair.machine["A"].kernel() != before, "host A was not booted anew")
        pair.start_side("A", "backup", empty=True)
        pair.wait_protected("B", "A")
        story.acknowledged("while it is protected again")
        story.power_fails("B", "A")
        story.nothing_lost()
