# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest may do to itself: shut down, reboot."""

from harness import BOTH, LOCKSTEP, check, equal, everyday, full, paired, ways
from vmftlab.guest import READY
from vmftlab.net import run
from vmftlab.load import GuestShell, Writer


@everyday("a guest's power-off ends both sides with equal disks", LOCKSTEP)
@ways(*BOTH)
def test_guest_shutdown(name, way):
    with way.lab(name) as pair:
        pair.start_protected()
        # With checkpoint the primary was alone before, while its backup was attached.
        said = {name: len(side.log()) for name, side in pair.side.items()}
        shell = GuestShell(pair)
        shell.run("dd if=/dev/urandom of=/mnt/last bs=64k count=16 2>/dev/null")
        for side in pair.side.values():
            side.may_end = True
        shell.send("sync; poweroff -f")
        for side in pair.side.values():
            equal(side.exit_code(120), 0, f"exit code of {side.name}'s QEMU")
        for side in pair.side.values():
            pair.wait(lambda: not side.monitor_pids(), f"{side.name}'s monitor to end", 30)
            since = side.log()[said[side.name]:]
            check("live" not in since and "alone" not in since,
                  f"{side.name} went live:\n{side.log()}")
        equal(len(pair.capture["B"].frames()), 0, "frames from the backup")
        # The last that was written, too, has come to the backup before both ended.
        compared = run("cmp", *(side.disk for side in pair.side.values()), check=False)
        equal(compared.stdout + compared.stderr, "", "difference of the disks")


# With checkpoints the backup's QEMU ends when it is told to.
@full("a race of guest-shutdown at a slower link; the simulation draws it")
@ways(LOCKSTEP)
def test_guest_shutdown_slow_channel(name, way):
    """The backup's QEMU leaves at the guest's power-off, long before the end of the log comes."""
    with way.lab(name, captures=False, pair={"silence-ms": 30000}) as pair:
        pair.start_protected()
        shell = GuestShell(pair)
        pair.net.slow_channel("256kbit")
        for side in pair.side.values():
            side.may_end = True
        shell.send("sync; poweroff -f")
        for side in pair.side.values():
            equal(side.exit_code(120), 0, f"exit code of {side.name}'s QEMU")
        for side in pair.side.values():
            pair.wait(lambda: not side.monitor_pids(), f"{side.name}'s monitor to end", 60)
            check("the guest ended" in side.log(), f"{side.name} ended otherwise:\n{side.log()}")
            check("live" not in side.log() and "alone" not in side.log(),
                  f"{side.name} took the other for dead:\n{side.log()}")


@everyday("a reset of the machine is replayed, and is part of an epoch", LOCKSTEP)
@ways(*BOTH)
def test_guest_reboot(name, way):
    with way.lab(name) as pair:
        pair.start_protected()
        GuestShell(pair).send("sync; reboot -f")
        # A backup that is sent state prints nothing.
        for side in "A" if way.sends_state else "AB":
            pair.wait(lambda: pair.side[side].console().count(READY.encode()) == 2,
                      f"the guest's second boot on {side}")
        paired(pair, "A", "state of A")
        paired(pair, "B", "state of B")
        pair.wait_following()
        writer = Writer(pair)
        writer.start()
        pair.wait(lambda: len(writer.acks()) > 10, "writes after the reboot")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        seen = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > seen, "writes after the failover")
        writer.stop()
        equal(writer.verify(), (len(writer.acks()), 0), "writes verified and lost")
