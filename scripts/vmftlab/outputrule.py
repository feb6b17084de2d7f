# SPDX-License-Identifier: GPL-2.0-or-later
"""During a drill: did the backup hold what led to each frame before the frame was out?

What a host sent while it was the primary of a pair is compared with the log that this pair's backup
saved (docs/savedlog.md), once the pair is over; wirecheck.py does the comparing.
"""

import json
import os

from . import wirecheck
from .watch import LabError
from .programs import built
from .net import run
from .pcap import RARP

SHOWN = 3
# The drill steps a host's clock by an hour, exactly: so far off is by how much it was.
STEPS_NS = (0, 3600 * 10**9, -3600 * 10**9)
ENOUGH = 20  # frames of which none is known are no accident


class Pair:
    """A primary and its backup, from when both said that they protect. Times: CLOCK_REALTIME."""

    def __init__(self, generation, primary, begin_ns, file):
        self.generation = generation
        self.primary = primary
        self.begin_ns = begin_ns
        self.end_ns = None
        self.file = file
        self.cut = False  # the backup's monitor was killed: the end of its file is lost

    def has(self, when):
        return self.begin_ns <= when and (self.end_ns is None or when <= self.end_ns)


class OutputRule:
    """`read`: of a saved log, its outputs (digest, length, held) or the times epochs were held."""

    def __init__(self, strategy, directory, read=None):
        self.by_epochs = strategy == "checkpoint"
        self.directory = directory
        self.read = read or (read_epochs if self.by_epochs else read_outputs)
        self.pairs = []  # not judged yet, oldest first
        self.frames = {"A": [], "B": []}
        self.requests = []
        # Of frames (lockstep) or answers: compared, too early; those that could not be.
        self.checked = self.violations = self.unmatched = self.left_out = 0

    # -- what happens

    def began(self, status, primary, saved, now_ns):
        """status: the primary's. saved: the file its backup writes."""
        if self.pairs and self.pairs[-1].end_ns is None:
            if self.pairs[-1].generation == status["generation"]:
                return
            self.ended(now_ns)
        if not saved:
            raise LabError(f"the backup of generation {status['generation']} saves no log")
        # A name of its own: the monitors keep eight files, whoever still needs them.
        kept = os.path.join(self.directory, os.path.basename(saved))
        os.link(saved, kept)
        self.pairs.append(Pair(status["generation"], primary, now_ns, kept))

    def ended(self, when_ns, cut=False):
        """From then on nobody protects; of a pair that was over already it is too late."""
        if self.pairs and self.pairs[-1].end_ns is None:
            self.pairs[-1].end_ns = when_ns
            self.pairs[-1].cut = cut

    def current(self):
        return self.pairs[-1] if self.pairs and self.pairs[-1].end_ns is None else None

    def saw(self, frames, requests):
        """frames: by host, what it sent. requests: what the client did."""
        for host, some in frames.items():
            self.frames[host] += some
        self.requests += wirecheck.requests_in(requests)

    # -- what comes of it

    def judge(self):
        """Of the pairs that are over; problems, as text."""
        problems = []
        while self.pairs and self.pairs[0].end_ns is not None:
            pair = self.pairs[0]
            # Not the guest's: the agent tells switches where it is live now, for up to 0.8 s
            # (monitor/agent/nic.c), when it may be protected again already.
            sent = [frame for frame in self.frames[pair.primary]
                    if pair.has(frame.when) and frame.ethertype != RARP]
            found = self._epochs(pair, sent) if self.by_epochs else self._outputs(pair, sent)
            problems += found
            if not found:
                os.unlink(pair.file)
            self.pairs.pop(0)
        self._forget()
        return problems

    def _forget(self):
        begin = self.pairs[0].begin_ns if self.pairs else None
        for host, frames in self.frames.items():
            self.frames[host] = [frame for frame in frames if begin and frame.when >= begin]
        # What was asked just before is answered by the next pair.
        self.requests = [one for one in self.requests if begin and one[0] >= begin - 60 * 10**9]

    def _outputs(self, pair, sent):
        outputs = [(digest, length, unstepped(when, pair.begin_ns))
                   for digest, length, when in self.read(pair.file)]
        whole = [frame for frame in sent if len(frame.data) == frame.length]
        found = wirecheck.output_before_ack(whole, outputs)
        last = max((when for _, _, when in outputs), default=0)
        unlogged = [frame for frame in found.unlogged if not (pair.cut and frame.when > last)]
        self.left_out += len(found.unlogged) - len(unlogged)
        self.unmatched += len(found.unmatched) + len(sent) - len(whole)
        self.checked += found.matched
        self.violations += len(found.early) + len(unlogged)
        bad = [(frame, f"held {(when - frame.when) / 1e6:.3f} ms later")
               for frame, when in found.early]
        bad += [(frame, "never held") for frame in unlogged]
        return self._said(pair, bad, len(sent), found.matched)

    def _epochs(self, pair, sent):
        held = sorted(unstepped(when, pair.begin_ns) for when in self.read(pair.file))
        asked = {match for _, match in self.requests}
        answers = [one for one in wirecheck.answers_in(sent) if one[1] in asked]
        last = held[-1] if held else 0
        if pair.cut:
            self.left_out += sum(when > last for when, _ in answers)
            answers = [one for one in answers if one[0] <= last]
        early = wirecheck.epoch_before_answer(held, self.requests, answers)
        self.checked += len(answers)
        self.violations += len(early)
        bad = {when for _, when, _ in early}
        return self._said(pair, [(frame, "no epoch was held since it was asked for")
                                 for frame in sent if frame.when in bad], len(answers), len(answers))

    def _said(self, pair, bad, count, known):
        where = f"generation {pair.generation}, primary {pair.primary}"
        if bad:
            frames = "; ".join(f"{frame.when / 1e9:.6f} s, {frame.length} bytes, {why}: "
                               f"{frame.data[:66].hex()}" for frame, why in bad[:SHOWN])
            return [f"output before its ack: {len(bad)} of {count} frames, {where}, "
                    f"{os.path.basename(pair.file)}: {frames}"]
        if count >= ENOUGH and not known:
            return [f"none of {count} frames is in the saved log, {where}"]
        return []


def unstepped(held_ns, near_ns):
    """The time without what the drill did to that host's clock."""
    return held_ns - min(STEPS_NS, key=lambda step: abs(held_ns - step - near_ns))


def read_outputs(path):
    return [(int(entry["digest"], 16), entry["length"], entry["held_ns"])
            for entry in _entries(path, "--kind", "output")]


def read_epochs(path):
    return [entry["held_ns"] for entry in _entries(path)]


def _entries(path, *options):
    """Of a file that may still be written: a torn end is no error."""
    done = run(built("vmft-logdump"), "--json", *options, path, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()]
