# SPDX-License-Identifier: GPL-2.0-or-later
"""The bare guest, seen from the lab's client: writes that are recorded, what it counted."""

import json
import os
import re
import sys
import time

from . import bare_client
from .watch import PATIENCE_S, LabError
from .load import Load, Pings, Writer
from .net import GUEST_IP, udp_socket

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bare_client.py")


class BareWriter(Writer):
    """Writes flat out, one request at a time, to `keys` keys in turn.

    With durable=True to the guest's disk, where only the lower half of its sectors are keys.
    Writers at the same time need keys of their own.
    """

    program = "bare_client"

    def __init__(self, lab, keys=1000, first_key=0, durable=False, name="writes",
                 resend_ms=100):
        super().__init__(lab, name=name)
        self.durable = ["--durable"] if durable else []
        self.command = [sys.executable, PROGRAM, "write", GUEST_IP, self.record, self.until,
                        "--keys", str(keys), "--first-key", str(first_key),
                        "--resend-ms", str(resend_ms), *self.durable]

    def stored(self):
        """The last value of each key."""
        return len({line.split()[2] for line in self._lines()})

    def verify(self):
        """Reads the last acknowledged value of each key back; returns (verified, lost)."""
        done = self.lab.client.run(sys.executable, PROGRAM, "verify", GUEST_IP, self.record,
                                   *self.durable, check=False, timeout=PATIENCE_S)
        if done.returncode not in (0, 1):
            raise LabError(f"bare_client verify ended with {done.returncode}: "
                           f"{done.stderr.strip()}")
        answer = json.loads(done.stdout)
        return answer["verified"], answer["lost"]


class BareGuest:
    """What the guest itself can be asked."""

    def __init__(self, lab, patience=PATIENCE_S):
        self.lab = lab
        self.patience = patience
        self.client = bare_client.Client(udp_socket(lab.net.client, GUEST_IP, bare_client.PORT))

    def set(self, key, value):
        """Whether it was done."""
        status, _, _ = self._ask(lambda client, until: client.ask(bare_client.SET, key, value, until))
        return status == bare_client.OK

    def get(self, key):
        """The value, or None."""
        status, value, _ = self._ask(lambda client, until: client.ask(bare_client.GET, key, 0, until))
        return value if status == bare_client.OK else None

    def stats(self):
        return self._ask(bare_client.stats)

    def clock(self):
        return self._ask(bare_client.clock)

    def power_off(self):
        self._ask(lambda client, until: client.ask(bare_client.POWER_OFF, until=until))

    def ping(self, count=20, size=56, interval=0.01):
        """(sent, received)."""
        done = self.lab.client.run("ping", "-n", "-q", "-c", str(count), "-i", str(interval),
                                   "-s", str(size), "-W", "5", GUEST_IP, check=False)
        found = re.search(r"(\d+) packets transmitted, (\d+) received", done.stdout)
        if not found:
            raise LabError(f"ping: {(done.stderr or done.stdout).strip()}")
        return int(found.group(1)), int(found.group(2))

    def close(self):
        self.client.sock.close()

    def _ask(self, question):
        try:
            return question(self.client, until=time.monotonic() + self.patience)
        except bare_client.NoAnswer as error:
            raise LabError(f"the bare guest: {error}") from error


class BareLoad(Load):
    """Writes to memory and to the disk at once, and pings; the guest looks after itself."""

    KEYS, DURABLE_KEYS = 1000, 200

    def __init__(self, lab):
        super().__init__(lab, BareWriter(lab, keys=self.KEYS))
        self.durable = BareWriter(lab, keys=self.DURABLE_KEYS, first_key=self.KEYS, durable=True,
                                  name="durable")
        self.writers.append(self.durable)
        self.parts = {"pings": Pings(lab), "durable": self.durable}

    def faults(self):
        """What the guest found wrong with its memory, clocks and disk."""
        guest = BareGuest(self.lab)
        stats = guest.stats()
        guest.close()
        return f"{stats}" if stats["bad"] else ""
