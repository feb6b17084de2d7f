# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest's clients do during a drill."""

import time

from .. import linear
from ..bare import BareWriter
from ..history import Histories, longest_gap_ms
from ..load import Writer
from ..story import PROTOCOL


class Clients:
    """Writers, whose writes are read back at the end, and histories, whose operations are judged in
    stretches. In a short stretch the search of the judge needs little time and memory."""

    HISTORY = {"clients": 3, "keys": 6, "interval_ms": 60}

    def __init__(self, lab, seed):
        self.lab = lab
        self.seed = seed
        if lab.guest.image == "bare":
            self.writers = [BareWriter(lab, keys=200),
                            BareWriter(lab, keys=100, first_key=1000, durable=True,
                                       name="durable")]
        else:
            self.writers = [Writer(lab, PROTOCOL[lab.guest.image], connections=2, interval_ms=40)]
        self.began = self.ended = None
        self.stretches = 0
        self.judged = self.broken = 0  # operations; connections that were given up
        self._past_acks, self._past_ops = [], []
        self.history = None

    def start(self):
        self.began = time.monotonic_ns()
        for writer in self.writers:
            writer.start()
        self._begin_stretch()

    def _begin_stretch(self):
        self.stretches += 1
        self.history = Histories(self.lab, protocol=PROTOCOL.get(self.lab.guest.image, "bare"),
                                 seed=f"{self.seed} {self.stretches}", **self.HISTORY)
        self.history.start()

    def judge(self, go_on=True):
        """Ends a stretch of the histories and begins the next; returns problems, as text."""
        history, self.history = self.history, None
        if not history:
            return []
        history.stop()
        self._past_acks += history.acks()
        self._past_ops += history.latencies()
        self.broken += history.broken
        if go_on:
            self._begin_stretch()
        verdict = linear.check(history.ops())
        self.judged += verdict.operations
        return history.problems + ([] if verdict.linearizable else [str(verdict)])

    def stop(self):
        self.ended = time.monotonic_ns()
        for writer in self.writers:
            writer.stop()

    def progress(self):
        """Operations answered so far; an error if a client is gone."""
        return (sum(writer.progress() for writer in self.writers) + len(self._past_acks)
                + (self.history.progress() if self.history else 0))

    def acks(self):
        """The times of all answers: CLOCK_MONOTONIC in ns, oldest first."""
        return sorted([*(at for writer in self.writers for at in writer.acks()),
                       *self._past_acks, *(self.history.acks() if self.history else ())])

    def last_ack(self):
        """The time by which each writer had an answer. Histories do not count: the connection of one
        may wait until TCP sends a lost segment again, long after others are served."""
        return min(writer.last_ack() for writer in self.writers)

    def outage_ms(self, begin_ns, end_ns):
        """The longest time without any answer that overlaps the interval."""
        return longest_gap_ms([self.began, *self.acks(), self.ended or time.monotonic_ns()],
                              begin_ns, end_ns)

    def ops(self):
        """The operations of the histories, oldest first."""
        return self._past_ops

    def lost(self):
        """After stop(): (number of answered operations, number of those that are lost)."""
        counted = [writer.verify() for writer in self.writers]
        return (sum(len(writer.acks()) for writer in self.writers) + len(self._past_acks),
                sum(lost for _, lost in counted))
