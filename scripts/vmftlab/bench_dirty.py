# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's writer to its own memory, and how much it gets done."""

import statistics
import threading
import time

from .load import GuestShell

DIRTY_PORT = 7779
SAMPLE_S = 0.02


class Dirty:
    """The guest's vmft-dirty: told what to do, and asked all the time how far it has come."""

    def __init__(self, lab, mib):
        self.lab = lab
        self.mib = mib
        self.sock = self.file = None
        self.lock = threading.Lock()
        self.samples = []  # (CLOCK_MONOTONIC in ns, pages, ms the answer took)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        shell = GuestShell(self.lab)
        shell.run(f"(vmft-dirty {self.mib} >/dev/console 2>&1 </dev/null &)")
        shell.close()
        self.lab.wait(self._connect, f"the guest to use {self.mib} MiB of memory")
        self.file = self.sock.makefile("r", encoding="ascii")
        self._thread.start()

    def _connect(self):
        try:
            self.sock = self.lab.client.connect(DIRTY_PORT)
        except OSError:
            return False
        return True

    def ask(self, line):
        with self.lock:
            self.sock.sendall(f"{line}\n".encode())
            answer = self.file.readline().split()
        if not answer or answer[0] == "ERR":
            raise RuntimeError(f"vmft-dirty: {line}: {' '.join(answer)}")
        return answer

    def touch(self, mib, pages_per_s, order):
        self.ask(f"TOUCH {mib} {pages_per_s} {order}")

    def _run(self):
        while not self._stop.wait(SAMPLE_S):
            asked = time.monotonic_ns()
            try:
                pages = int(self.ask("COUNT")[1])
            except (OSError, RuntimeError):
                return
            answered = time.monotonic_ns()
            self.samples.append((answered, pages, (answered - asked) / 1e6))

    def pages_at(self, when):
        """Between two answers it is taken to have worked evenly."""
        for before, after in zip(self.samples, self.samples[1:]):
            if before[0] <= when <= after[0]:
                part = (when - before[0]) / (after[0] - before[0])
                return before[1] + part * (after[1] - before[1])
        return None

    def rate(self, begin, end):
        """Pages a second between two moments, if both are among the samples."""
        self.lab.wait(lambda: self.samples and self.samples[-1][0] >= end, "vmft-dirty to answer")
        first, last = self.pages_at(begin), self.pages_at(end)
        if first is None or last is None:
            return None
        return (last - first) * 1e9 / (end - begin)

    def answer_ms(self, begin, end):
        """How long the answers took that came in between."""
        took = sorted(ms for at, _, ms in self.samples if begin <= at <= end)
        if not took:
            return None
        return {"median": statistics.median(took), "p99": took[len(took) * 99 // 100],
                "worst": took[-1]}

    def stop(self):
        self._stop.set()
        self._thread.join(60)
        self.sock.close()
