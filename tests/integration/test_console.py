# SPDX-License-Identifier: GPL-2.0-or-later
"""A serial console that nobody reads: the guest goes on, and stays protected."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile

import pytest

from harness import BOTH, CHECKPOINT, LOCKSTEP, check, equal, everyday, paired, ways
from vmftlab.guest import READY
from vmftlab.load import GuestShell

PORTS = 4
PIPE_BYTES = 4096  # the least a pipe can have room for
KILOBYTES = 96  # to each port: more than the agent keeps (64 KiB) and the host beside it


class StalledConsoles:
    """A side's four serial ports, each with another thing on the host that takes nothing.

    The first is the lab's console in a file, with a log in a pipe that nobody reads, as libvirt's;
    then a pipe, a pty that somebody has open and does not read, and a full disk. What QEMU and the
    monitor have to say goes into a pipe that is full before they start.
    """

    def __init__(self, pair, name):
        self.pair = pair
        self.side = pair.side[name]
        self.dir = tempfile.mkdtemp(prefix="vmft-pipes-")  # not among the logs that are kept
        self.pipes = [self._pipe(f"pipe{i}") for i in range(3)]
        os.write(self.pipes[2][1], bytes(PIPE_BYTES))
        self.reader = None

    def _pipe(self, name):
        path = os.path.join(self.dir, name)
        os.mkfifo(path)
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return path, fd

    def start(self):
        log, pipe, stderr = (path for path, _ in self.pipes)
        args = self.pair.qemu_args(self.side.name)
        at = args.index("-serial")
        args[at:at + 2] = ["-chardev",
                           f"file,id=c0,path={self.side.console_path},logfile={log},logappend=on",
                           "-serial", "chardev:c0", "-serial", f"file:{pipe}",
                           "-serial", "pty", "-serial", "file:/dev/full"]
        self.pair.start_side(self.side.name, args=args, inside=f"exec 2>{stderr}")
        self.pair.wait(lambda: self.pair.peek(self.side.name), f"the monitor of {self.side.name}")

    def open_pty(self):
        """QEMU prints its name where no test can wait for it: libc keeps what goes to a file."""
        number = self.pair.wait(self._pty_number, f"{self.side.name}'s QEMU to open a pty")
        self.reader = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)

    def _pty_number(self):
        about = f"/proc/{self.side.qemu_pid()}/fdinfo"
        for fd in os.listdir(about):
            with contextlib.suppress(OSError), open(f"{about}/{fd}", encoding="ascii") as file:
                if found := re.search(r"^tty-index:\s*(\d+)", file.read(), re.M):
                    return found[1]
        return None

    def read_pipe(self):
        """What has come through the second port; a reader that goes on."""
        text = b""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self.pipes[1][1], 65536):
                text += more
        return text

    def close(self):
        for _, fd in self.pipes:
            os.close(fd)
        if self.reader is not None:
            os.close(self.reader)
        shutil.rmtree(self.dir)


def fill_ports(pair, marker):
    """The guest writes more to each port than anybody takes, and says when it has."""
    shell = GuestShell(pair)
    shell.send(f"for i in 0 1 2 3; do (dd if=/dev/zero bs=1k count={KILOBYTES} 2>/dev/null"
               f" | tr '\\0' x >/dev/ttyS$i) & done; wait; echo; echo {marker} >/dev/ttyS0")
    return shell


def drops(pair, name):
    """The reader stands still; the guest does not, and the side counts what was lost."""
    # A whole port's is lost on the full disk, and a part of each other's.
    pair.wait(lambda: pair.status(name)["console_dropped"] > KILOBYTES * 1024,
              f"{name} to count what nobody took")
    said = [event["text"] for event in pair.status(name)["events"]
            if "a serial console drops output" in event["text"]]
    check(1 <= len(said) <= 3, f"{name}: lines that say so ({said})")


@everyday("a console that nobody reads does not stop the guest", LOCKSTEP)
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_stalled_console(name, way):
    with way.lab(name, captures=False) as pair, contextlib.ExitStack() as stack:
        consoles = {side: StalledConsoles(pair, side) for side in "BA"}
        for side in consoles.values():
            stack.callback(side.close)
            side.start()
        pair.wait(lambda: pair.paired("A") and pair.paired("B"), "the pair to form")
        for side in consoles.values():
            side.open_pty()
        pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot")

        shell = fill_ports(pair, "ALL-WRITTEN")
        pair.wait(lambda: b"ALL-WRITTEN" in pair.side["A"].console(), "the guest to get on")
        shell.close()
        drops(pair, "A")
        paired(pair, "A", "A, whose consoles nobody reads")
        pair.wait_following()
        if way is not CHECKPOINT:
            # It replays, and writes the same to its own consoles.
            drops(pair, "B")
            check(b"ALL-WRITTEN" in pair.side["B"].console(), "the backup's console")
            equal(pair.compare("A", "B")[1], "", "A and B at one position")

        # More than the pipe had room for: the rest is what the agent kept. Both may come at once.
        taken = []

        def take():
            taken.append(consoles["A"].read_pipe())
            return sum(len(text) for text in taken) > PIPE_BYTES

        pair.wait(take, "what there was no room for in the pipe")
        check(b"x" * 100 in b"".join(taken), "what the port's reader got")

        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        shell = fill_ports(pair, "STILL-WRITTEN")
        pair.wait(lambda: b"STILL-WRITTEN" in pair.side["B"].console(),
                  "the guest to get on at B")
        shell.close()
        drops(pair, "B")
