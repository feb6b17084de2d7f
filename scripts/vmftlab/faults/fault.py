# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fault to a pair is: the class that each kind of fault extends, and the outcomes."""

import time

OTHER = {"A": "B", "B": "A"}

# Outcomes.
FAILOVER = "failover"  # the backup went live
WENT_ON = "went-on"  # the primary went on without its backup
WAITED = "waited"  # no side went on until the arbiter was back
NOTHING = "nothing"  # the pair still protects, with the same roles and generation

SIDES = ("primary", "backup")


class FaultError(Exception):
    """A fault did not happen, or had an outcome that is not right."""


class Fault:
    """One fault to a pair whose guest is live on side `live`. `role` names the target."""

    kind = ""
    text = ""  # for people
    targets = SIDES  # roles whose host it can be done to; or "net", "arbiter"
    weight = 2  # how often a random series has it, relative to the other kinds
    hold_s = 0  # how long it lasts at least; 0: until one side went on
    ends = "victim"  # whose processes may end because of it: victim, both, none
    may = {"primary": (FAILOVER,), "backup": (WENT_ON,)}
    needs_disks = needs_clocks = needs_pipes = False
    kills_monitor = False  # on its host; what that monitor had not written yet is lost

    def __init__(self, lab, live, role):
        self.lab = lab
        self.role = role
        self.live = live
        self.backup = OTHER[live]
        self.host = {"primary": live, "backup": self.backup}.get(role)
        self.victim = self.host or role  # as the report names it
        self.healed = True

    @classmethod
    def why_not(cls, _options):
        """Why this fault cannot be done here, or None."""
        return None

    def expected(self):
        return self.may[self.role] if self.role in self.may else self.may["any"]

    def prepare(self):
        """Does what takes time and is not the fault itself."""

    def start(self):
        """Does the fault; returns CLOCK_MONOTONIC in ns just before it."""
        self.healed = False
        for name in {"victim": [self.host] if self.host else [], "both": "AB", "none": ""}[self.ends]:
            self.lab.side[name].may_end = True
        when = time.monotonic_ns()
        self.inject()
        return when

    def end(self):
        """Heals the fault, once; also if only half of it was done."""
        if not self.healed:
            self.healed = True
            self.heal()

    def inject(self):
        raise NotImplementedError

    def verify(self):
        """The evidence that it happened, as text. Called once, after inject()."""
        raise NotImplementedError

    def verify_late(self):
        """Evidence that exists only after the fault has lasted; "" if none. Called before heal()."""
        return ""

    def heal(self):
        pass

    def side(self):
        return self.lab.side[self.host]
