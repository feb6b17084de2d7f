# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be seen of a pair, and how to wait for what it does."""

import os
import re
import sys
import time

from . import control
from .net import run

# The two emulated machines share the processors, and replay may be slower than recording, so a
# backup can be many seconds late. Nothing is concluded from how long something takes.
PATIENCE_S = 180
PROGRESS_S = 2
# silence-ms of labs that want no other. Hosts that are emulated need a longer one, and say so.
SILENCE_MS = int(os.environ.get("VMFT_SILENCE_MS", "3000"))

# The states of a side that is one of a pair, whether the backup keeps up at the moment or not.
PAIRED = ("protected", "lagging")


class LabError(Exception):
    """What the lab was asked for did not happen."""


class Watch:
    """`side` are the hosts by name: "A" begins as the primary, "B" as the backup."""

    def __init__(self):
        self.side = {}
        self.answer_s = 5  # peek() takes a monitor that does not answer in this time for gone

    def peek(self, name):
        """The status of a side, or None if no monitor answers."""
        try:
            answer = control.ask(self.side[name].control, "status", self.answer_s)
        except control.ControlError:
            return None
        return answer if answer.get("ok") else None

    def status(self, name):
        return self.command(name, "status")

    def state(self, name):
        found = self.peek(name)
        return found["state"] if found else None

    def paired(self, name):
        return self.state(name) in PAIRED

    def command(self, name, verb, timeout=30):
        return control.command(self.side[name].control, verb, timeout)

    def wait(self, predicate, what, timeout=PATIENCE_S):
        """Waits until predicate() is true and returns its value.

        A monitor that does not answer counts as "not yet". If a QEMU ends that nobody killed, the
        wait fails at once.
        """
        begin = time.monotonic()
        told = begin + PROGRESS_S
        while True:
            try:
                found = predicate()
            except control.ControlError:
                found = None
            if found:
                return found
            self._check_ends(what)
            now = time.monotonic()
            if now - begin > timeout:
                raise LabError(f"no {what} within {timeout} s; {self.describe()}")
            if now > told:
                progress(f"waiting for {what} ({now - begin:.0f} s)")
                told = now + 10
            time.sleep(0.05)

    def _check_ends(self, what):
        for side in self.side.values():
            if side.process and not side.may_end and not side.qemu_runs():
                raise LabError(f"{side.name} ({side.role}) ended with {side.process.returncode} "
                               f"while waiting for {what}; it said:\n{tail(side.log())}")

    def describe(self):
        words = []
        for name in self.side:
            found = self.peek(name)
            words.append(f"{name}: {found['state']}, {found.get('reason')}, log "
                         f"{found.get('log_head')}/{found.get('log_acked')}/"
                         f"{found.get('log_replayed')}" if found else f"{name}: no status")
        return "; ".join(words)

    def wait_following(self, primary="A", backup="B"):
        """Until the backup has replayed all that the primary had logged when this was called."""
        position = self.status(primary)["log_head"]
        self.wait(lambda: self.status(backup)["log_replayed"] >= position,
                  "the backup to catch up")

    def wait_state(self, name, *states, timeout=PATIENCE_S):
        return self.wait(lambda: self.state(name) in states,
                         f"{name} to be {' or '.join(states)}", timeout)

    def wait_said(self, name, pattern, timeout=PATIENCE_S):
        return self.wait(lambda: re.search(pattern, self.side[name].log()),
                         f"{name} to say /{pattern}/", timeout)

    def wait_attached(self, primary, backup):
        """Until the guest on primary is protected by backup; returns the primary's status."""
        self.wait(lambda: self.paired(primary) and self.paired(backup),
                  f"{backup} to be attached to {primary}")
        return self.status(primary)

    def compare(self, primary, backup):
        """Freezes the guest for a moment and compares memory and disks of both sides.

        Returns the log position at which both stand, and the differences as text, "" if there are
        none.
        """
        self.command(primary, "freeze")
        frozen = self.wait(lambda: self.status(primary)["frozen_at"], "the guest to freeze", 30)
        self.wait(lambda: self.status(backup)["log_replayed"] >= frozen,
                  "the backup to replay up to there")
        # In lockstep, wait for what the last entry started on both sides. An epoch is applied whole.
        time.sleep(1 if self.status(primary)["strategy"] == "lockstep" else 0.2)
        digest = {name: self.command(name, "digest", 60) for name in (primary, backup)}
        differ = [f"{key} {digest[primary][key]} and {digest[backup][key]}"
                  for key in ("position", "ram_bytes", "ram")
                  if digest[primary][key] != digest[backup][key]]
        if digest[primary]["position"] != frozen:
            differ.append(f"frozen at {frozen}, but at {digest[primary]['position']} now")
        if os.path.getsize(self.side[primary].disk) == 0:
            differ.append("empty disks were compared")
        done = run("cmp", self.side[primary].disk, self.side[backup].disk, check=False)
        if done.returncode != 0:
            differ.append((done.stdout + done.stderr).strip())
        self.command(primary, "thaw")
        self.wait(lambda: self.status(primary)["log_head"] > frozen, "the guest to continue")
        return frozen, ", ".join(differ)


def progress(text):
    print(f"    ... {text}", file=sys.stderr, flush=True)


def tail(text, lines=8):
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (nothing)"
