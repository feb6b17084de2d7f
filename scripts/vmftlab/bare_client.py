# SPDX-License-Identifier: GPL-2.0-or-later
"""The bare guest's key-value service as its clients see it. Also a program of its own:

    bare_client.py write HOST RECORD UNTIL-FILE [--keys N] [--first-key K] [--durable]
                         [--resend-ms MS]
    bare_client.py verify HOST RECORD [--durable]      exit 1 if anything is lost

A record line is `sent_ns acked_ns key value` (CLOCK_MONOTONIC) of an acknowledged write.
"""

import argparse
import json
import os
import socket
import struct
import sys
import time

PORT = 7777
MAGIC = 0x766D6674
REQUEST = struct.Struct(">IIIIQ")
ANSWER = struct.Struct(">IIIIQII")  # numbers follow, 64 bits each
SET, GET, STATS, CLOCK, POWER_OFF = 1, 2, 3, 4, 9
DURABLE = 0x100
OK, NONE = 0, 1
RESEND_S = 0.1
STOP_GRACE_S = 5
SHOWN = 10


class NoAnswer(Exception):
    """Nothing came back in time."""


class Client:
    """One request at a time. It is repeated, under its number, until it is answered."""

    def __init__(self, sock, resend_s=RESEND_S):
        self.sock = sock
        self.resend_s = resend_s
        self.number = 0
        self.resent = 0

    def ask(self, op, key=0, value=0, until=None):
        """(status, value, numbers). `until` is a time.monotonic(), or a function that says
        whether to give up."""
        if until is None:
            until = time.monotonic() + 60
        over = until if callable(until) else lambda: time.monotonic() > until
        self.number = (self.number + 1) & 0xFFFFFFFF
        request = REQUEST.pack(MAGIC, op, self.number, key, value)
        while (answer := self._once(request)) is None:
            if over():
                raise NoAnswer(f"no answer to operation {op:#x} of key {key}")
            self.resent += 1
        return answer

    def _once(self, request):
        """Sends, and waits resend_s for the answer to just that."""
        end = time.monotonic() + self.resend_s
        self._try(lambda: self.sock.send(request))
        while (left := end - time.monotonic()) > 0:
            self.sock.settimeout(left)
            data = self._try(lambda: self.sock.recv(2048))
            if data is None:
                # Unreachable for the moment is no reason to ask more often.
                time.sleep(max(0, end - time.monotonic()))
            elif len(data) >= ANSWER.size and data[:16] == request[:16]:
                *_, value, status, count = ANSWER.unpack_from(data)
                return status, value, struct.unpack_from(f">{count}Q", data, ANSWER.size)
        return None

    @staticmethod
    def _try(action):
        try:
            return action()
        except OSError:
            return None


def stats(client, until=None):
    """What the guest counted. Anything but 0 in mismatches, backwards, disk_mismatches and
    disk_errors is a fault."""
    _, _, numbers = client.ask(STATS, until=until)
    names = ("ticks", "mismatches", "backwards", "disk_mismatches", "disk_writes",
             "disk_errors", "sets", "gets")
    found = dict(zip(names, numbers))
    rest = numbers[len(names):]
    found["cpus"] = [{"ticks": ticks, "bad": bad} for ticks, bad in zip(rest[::2], rest[1::2])]
    found["bad"] = sum(found[name] for name in ("mismatches", "backwards", "disk_mismatches",
                                                "disk_errors"))
    return found


def clock(client, until=None):
    """kvmclock_ns is 0 where there is none; apic_ns is the machine's virtual time."""
    _, _, numbers = client.ask(CLOCK, until=until)
    return dict(zip(("tsc", "tsc_hz", "kvmclock_ns", "apic_ns"), numbers))


def write(client, options):
    """SETs flat out. A value is the time it was first sent at: later ones are greater."""
    durable = DURABLE if options.durable else 0
    report = {"acknowledged": 0, "unacknowledged": 0, "refused": 0, "resent": 0, "longest_ms": 0}
    stop_at = None

    def give_up():
        nonlocal stop_at
        if stop_at is None and os.path.exists(options.until):
            stop_at = time.monotonic() + STOP_GRACE_S
        return stop_at is not None and time.monotonic() > stop_at

    with open(options.record, "ab", buffering=0) as record:
        while not os.path.exists(options.until):
            key = options.first_key + report["acknowledged"] % options.keys
            sent = time.monotonic_ns()
            try:
                status, _, _ = client.ask(SET | durable, key, sent, give_up)
            except NoAnswer:
                report["unacknowledged"] += 1
                break
            acked = time.monotonic_ns()
            if status != OK:
                report["refused"] += 1
                print(f"key {key}: status {status}", file=sys.stderr)
                break
            record.write(b"%d %d %d %d\n" % (sent, acked, key, sent))
            report["acknowledged"] += 1
            report["longest_ms"] = max(report["longest_ms"], (acked - sent) / 1e6)
    report["resent"] = client.resent
    print(json.dumps(report))
    return 1 if report["refused"] else 0


def verify(client, options):
    """A value newer than all acknowledged ones was sent and may or may not have been done."""
    durable = DURABLE if options.durable else 0
    last, newest, lost = {}, 0, 0
    with open(options.record, encoding="ascii") as record:
        for line in record:
            _, _, key, value = map(int, line.split())
            last[key] = value
            newest = max(newest, value)
    for key, wanted in last.items():
        status, value, _ = client.ask(GET | durable, key)
        if status == OK and (value == wanted or value > newest):
            continue
        lost += 1
        if lost <= SHOWN:
            print(f"key {key}: status {status} value {value}, acknowledged was {wanted}",
                  file=sys.stderr)
    print(json.dumps({"verified": len(last) - lost, "lost": lost}))
    return 1 if lost else 0


def main(words):
    parser = argparse.ArgumentParser(description="client of the bare guest")
    parser.add_argument("action", choices=("write", "verify"))
    parser.add_argument("host")
    parser.add_argument("record")
    parser.add_argument("until", nargs="?", help="stop once this file is there")
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--first-key", type=int, default=0)
    parser.add_argument("--resend-ms", type=int, default=int(RESEND_S * 1000))
    parser.add_argument("--durable", action="store_true", help="on the guest's disk")
    options = parser.parse_args(words)
    if options.action == "write" and not options.until:
        parser.error("write needs UNTIL-FILE")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((options.host, PORT))
    client = Client(sock, options.resend_ms / 1000)
    try:
        return (write if options.action == "write" else verify)(client, options)
    except NoAnswer as error:
        print(f"bare_client: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
