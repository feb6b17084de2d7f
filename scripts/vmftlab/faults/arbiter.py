# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults to the arbiter, alone and together with a fault that needs it."""

import os
import time

from .fault import NOTHING, OTHER, SIDES, WAITED, Fault, FaultError
from .links import link_is_cut


class ArbiterDown(Fault):
    kind = "arbiter-down"
    text = "the arbiter alone is away: nothing may change"
    targets = ("arbiter",)
    hold_s = 1.5
    ends = "none"
    weight = 1
    may = {"any": (NOTHING,)}

    def inject(self):
        self.lab.faults.hide_arbiter()

    def verify(self):
        if os.path.exists(self.lab.arbiter):
            raise FaultError(f"{self.lab.arbiter} is still there")
        return "its directory is away"

    def heal(self):
        if not os.path.exists(self.lab.arbiter):
            self.lab.faults.return_arbiter()


class ArbiterDownToo(ArbiterDown):
    """The arbiter is away during a fault that needs it: the sides wait until it is back."""

    ends = "both"
    weight = 2
    hold_s = 0
    WAIT_S = 1.5
    may = {"any": (WAITED,)}

    def waiting(self):
        """The sides that must wait for the arbiter."""
        return (self.live, self.backup)

    def wait_for_nothing(self, answered):
        """Waits until the sides wait, then checks that no side goes on. `answered` counts the clients'
        acks."""
        for name in self.waiting():
            self.lab.wait_state(name, "waiting-arbiter", "arbitrating", timeout=60)
        before = answered()
        time.sleep(self.WAIT_S)
        for name in self.waiting():
            found = self.lab.state(name)
            if found not in ("waiting-arbiter", "arbitrating"):
                raise FaultError(f"{name} did not wait for the arbiter: {found}")
        if answered() != before:
            raise FaultError(f"{answered() - before} requests were answered without an arbiter")


class ArbiterDownChannelCut(ArbiterDownToo):
    kind = "arbiter-down-channel-cut"
    text = "the arbiter is away, then the channel is cut: all wait until the arbiter is back"

    def inject(self):
        super().inject()
        self.lab.net.cut_channel()

    def verify(self):
        return f"{super().verify()}, {link_is_cut(self.lab)}"

    def heal(self):
        super().heal()
        self.lab.net.mend_channel()


class ArbiterDownKill(ArbiterDownToo):
    kind = "arbiter-down-kill"
    text = "the arbiter is away, then a host is killed: the other waits until the arbiter is back"
    targets = SIDES
    kills_monitor = True

    def inject(self):
        super().inject()
        self.lab.faults.kill_host(self.host)

    def verify(self):
        side = self.side()
        if side.qemu_runs() or side.monitor_pids():
            raise FaultError(f"something on {self.host} is still there")
        return f"{super().verify()}, QEMU and monitor of {self.host} are gone"

    def waiting(self):
        return (OTHER[self.host],)


class ArbiterWiped(ArbiterDownToo):
    kind = "arbiter-wiped"
    text = "the arbiter's records are gone, then the channel is cut: all wait until they are back"

    @property
    def kept(self):
        return f"{self.lab.arbiter}.kept"

    @staticmethod
    def move_all(source, target):
        for name in os.listdir(source):
            os.rename(os.path.join(source, name), os.path.join(target, name))

    def inject(self):
        os.makedirs(self.kept, exist_ok=True)
        self.move_all(self.lab.arbiter, self.kept)
        self.lab.net.cut_channel()

    def verify(self):
        kept = [name for name in os.listdir(self.kept) if ".gen-" in name]
        left = [name for name in os.listdir(self.lab.arbiter) if ".gen-" in name]
        if left or not kept:
            raise FaultError(f"records: {left} are there, {kept} were taken away")
        return f"{len(kept)} generations were taken out of it, {link_is_cut(self.lab)}"

    def heal(self):
        # A backup may have written a mark there since; it is newer than the kept one and stays.
        self.move_all(self.lab.arbiter, self.kept)
        self.move_all(self.kept, self.lab.arbiter)
        self.lab.net.mend_channel()


class ArbiterUnmounted(Fault):
    """As if a share was unmounted: the path leads to an empty directory on one host."""

    kind = "arbiter-unmounted"
    text = "on one host the arbiter's path leads elsewhere, then the channel is cut"

    def inject(self):
        empty = f"{self.lab.arbiter}.empty"
        os.makedirs(empty, exist_ok=True)
        self.lab.enter(self.host, "mount", "--bind", empty, self.lab.arbiter)
        self.lab.net.cut_channel()

    def verify(self):
        seen = self.lab.enter(self.host, "ls", self.lab.arbiter).stdout
        if ".gen-" in seen:
            raise FaultError(f"{self.host} still sees {seen.split()}")
        return f"{self.host} finds no records there, {link_is_cut(self.lab)}"

    def verify_late(self):
        made = os.listdir(f"{self.lab.arbiter}.empty")
        if made:
            raise FaultError(f"{self.host} has left {made} there")
        return "and has left none"

    def heal(self):
        if self.side().monitor_pids():
            self.lab.enter(self.host, "umount", self.lab.arbiter)
        self.lab.net.mend_channel()
