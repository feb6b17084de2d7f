# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of devices share: a guest with drivers for them, command lines, and QMP."""

import glob
import json
import os
import socket

from harness import Way, check

MIB = 1 << 20

DEVICES = Way("checkpoint-", "checkpoint", image="devices", smp=1, captures=False,
              pair={"strategy": "checkpoint"}, append="vmft.disk=label panic=0")
DEVICES_KVM = Way("kvm-", "checkpoint", **{**DEVICES.options, "accel": "kvm"})


class Qmp:
    """QEMU's own monitor, as a tool has it."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(path)
        self.file = self.sock.makefile("r", encoding="utf-8")
        self.events = []
        json.loads(self.file.readline())
        self.do("qmp_capabilities")

    def ask(self, command, **arguments):
        line = {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        self.sock.sendall((json.dumps(line) + "\n").encode())
        while True:
            answer = json.loads(self.file.readline())
            if "event" not in answer:
                return answer
            self.events.append(answer["event"])

    def do(self, command, **arguments):
        answer = self.ask(command, **arguments)
        check("return" in answer, f"{command}: {answer}")
        return answer["return"]

    def refused(self, command, **arguments):
        answer = self.ask(command, **arguments)
        check("vmft" in answer.get("error", {}).get("desc", ""), f"{command} was not refused: {answer}")

    def human(self, line):
        return self.do("human-monitor-command", **{"command-line": line})


def remove_sockets(pair):
    for side in pair.side.values():
        for path in glob.glob(socket_in(side, "*")):
            os.unlink(path)


def with_lines(pair, make, without=()):
    """Each side's line: the lab's own board, kernel and console, with the devices of make(side), and
    without some words."""
    for name, side in pair.side.items():
        def edit(args, side=side):
            keep = []
            words = iter(args)
            for word in words:
                if word in without:
                    continue
                if word in ("-drive", "-device", "-netdev", "-display"):
                    next(words)
                else:
                    keep.append(word)
            return keep + make(side)
        pair.edit[name] = edit


def path_in(side, name):
    return os.path.join(side.dir, name)


def socket_in(side, name):
    """Not among the files that are kept if the test fails."""
    return f"/tmp/{os.path.basename(os.path.dirname(side.dir))}{side.name}.{name}"
