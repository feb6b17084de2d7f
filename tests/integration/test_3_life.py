# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest may do to itself: shut down, reboot."""

from harness import check, equal, lab, test
from vmftlab.lab import READY
from vmftlab.load import GuestShell, Writer


@test("guest-shutdown")
def guest_shutdown(name):
    with lab(name) as pair:
        pair.start_protected()
        for side in pair.side.values():
            side.may_end = True
        GuestShell(pair).send("sync; poweroff -f")
        for side in pair.side.values():
            equal(side.exit_code(120), 0, f"exit code of {side.name}'s QEMU")
        for side in pair.side.values():
            pair.wait(lambda: not side.monitor_pids(), f"{side.name}'s monitor to end", 30)
            check("live" not in side.log() and "alone" not in side.log(),
                  f"{side.name} went live:\n{side.log()}")
        equal(len(pair.capture["B"].frames()), 0, "frames from the backup")


@test("guest-reboot")
def guest_reboot(name):
    with lab(name) as pair:
        pair.start_protected()
        GuestShell(pair).send("sync; reboot -f")
        for side in pair.side.values():
            pair.wait(lambda: side.console().count(READY.encode()) == 2,
                      f"the guest's second boot on {side.name}")
        equal(pair.state("A"), "protected", "state of A")
        equal(pair.state("B"), "protected", "state of B")
        pair.wait_following()
        writer = Writer(pair)
        writer.start()
        pair.wait(lambda: len(writer.acks()) > 10, "writes after the reboot")
        pair.kill_qemu("A")
        pair.wait_state("B", "alone")
        seen = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > seen, "writes after the failover")
        writer.stop()
        equal(writer.verify(), (len(writer.acks()), 0), "writes verified and lost")
