# SPDX-License-Identifier: GPL-2.0-or-later
"""-daemonize: the command ends when QEMU is up, and QEMU goes on by itself."""

import os

from harness import check, equal, everyday, lab
from vmftlab.process import kill, read

EXIT_IMAGE = 5  # monitor/common/exit-codes.h


def begin(pair, side, *more):
    """Starts a side in the background. Returns the exit code of the command that was given."""
    started = pair.start_side(side, args=[*pair.qemu_args(side), "-daemonize", *more])
    started.may_end = True
    return started.exit_code(60)


@everyday("a side that is started in the background is up when the command ends")
def test_daemonize(name):
    with lab(name, captures=False) as pair:
        path = os.path.join(pair.dir, "qemu.pid")
        equal(begin(pair, "B", "-pidfile", path), 0, "exit code")
        qemu = int(read(path).decode())
        try:
            check(os.readlink(f"/proc/{qemu}/exe").endswith("qemu-system-x86_64"),
                  "the pid file does not name QEMU")
            equal(os.getsid(qemu), qemu, "QEMU's session")
            equal(pair.state("B"), "forming", "state of B")
        finally:
            kill(qemu)

        before = len(pair.side["A"].log())
        code = begin(pair, "A", "-drive", "file=/nowhere,if=virtio,format=raw")
        equal(code, EXIT_IMAGE, "exit code of a start that fails")
        check("/nowhere" in pair.side["A"].log()[before:], "it does not say why")
