# SPDX-License-Identifier: GPL-2.0-or-later
"""What a drill sees from outside: the status of both sides, and the frames on the wire."""

import os
import threading
import time

from .. import control
from ..pcap import NEARLY_WHOLE, NEARLY_WHOLE_KIB, SETTLE_S, Capture

SAMPLE_S = 0.1


class Sampler:
    """The status of both sides, ten times a second."""

    def __init__(self, lab):
        self.lab = lab
        self.samples = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._over.set()
        self._thread.join(10)

    def _run(self):
        while not self._over.wait(SAMPLE_S):
            self.samples.append({"at_ns": time.monotonic_ns(),
                                 **{name: self._look(name) for name in "AB"}})

    def _look(self, name):
        try:
            found = control.ask(self.lab.side[name].control, "status", SAMPLE_S)
        except control.ControlError:
            return None
        return {key: found.get(key) for key in ("role", "state", "generation", "lag_ms",
                                                "log_head")}


class Wire:
    """Captures what leaves each host, and checks whether that side was entitled to send it. `rule`
    gets every frame (outputrule.py)."""

    def __init__(self, lab, live, rule):
        self.lab = lab
        self.rule = rule
        # [host, from, to]: when a host was entitled to send, CLOCK_MONOTONIC in ns. None: it still is.
        self.entitled = [[live, 0, None]]
        self.number = 0
        self.since = 0  # time.time_ns(): this turn's captures count from then on
        self.double_live = 0
        self.frames = 0

    def went_live(self, name, asked_ns, live_ns):
        """A side announces its guest while it goes live, a moment before its status says live, but
        not before it asked the arbiter. From then on no other side may send."""
        if self.entitled[-1][0] != name:
            self.entitled[-1][2] = live_ns
            self.entitled.append([name, asked_ns, None])

    def turn(self):
        """Begins new captures and checks the old ones. Returns problems."""
        old = self.lab.capture
        self.number += 1
        self.lab.capture = {}
        whole = {"snap": NEARLY_WHOLE, "buffer_kib": NEARLY_WHOLE_KIB}
        # Digests are of whole frames. The requests of clients matter with epochs only.
        wanted = ({"A": {}, "B": {}, "C": {"which": "ip"}} if self.rule.by_epochs else
                  {"A": whole, "B": whole})
        for name, options in wanted.items():
            path = os.path.join(self.lab.dir, f"port{name}.{self.number}.pcap")
            self.lab.capture[name] = Capture(self.lab.net.switch, f"port{name}", path, **options)
            self.lab.processes.append(self.lab.capture[name].process)
        for capture in self.lab.capture.values():
            capture.wait_listening()
        problems = self.look(old, time.time_ns())
        # The sides that were live before do not matter any more.
        self.entitled = self.entitled[-1:]
        return problems

    def look(self, captures, until):
        """Ends captures and checks their frames; returns problems, as text. Frames after `until`
        (time.time_ns()) are also in the next captures, and are checked there."""
        offset = time.time_ns() - time.monotonic_ns()
        problems = []
        seen = {}
        time.sleep(SETTLE_S if captures else 0)
        for name, capture in captures.items():
            frames = capture.read()
            missed = capture.stop()
            if missed:
                problems.append(f"{missed} frames missed by the capture at {name}")
            seen[name] = [frame for frame in frames if self.since <= frame.when < until]
            if name == "C":
                os.unlink(capture.path)
                os.unlink(capture.errors)
                continue
            wrong = [frame.when - offset for frame in frames
                     if not self._may(name, frame.when - offset)]
            self.frames += len(frames)
            self.double_live += len(wrong)
            if wrong:
                problems.append(f"double live: {len(wrong)} frames from {name} at "
                                f"{wrong[0] / 1e6:.1f} ms and later; entitled were " +
                                ", ".join(f"{host} {begin / 1e6:.1f} to "
                                          f"{end / 1e6 if end else 0:.1f}"
                                          for host, begin, end in self.entitled))
            else:
                os.unlink(capture.path)
                os.unlink(capture.errors)
        self.since = until
        requests = seen.pop("C", [])
        self.rule.saw(seen, requests)
        return problems + self.rule.judge()

    def _may(self, name, when):
        return any(host == name and begin <= when and (end is None or when <= end)
                   for host, begin, end in self.entitled)
