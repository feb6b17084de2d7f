# SPDX-License-Identifier: GPL-2.0-or-later
"""An installed Debian with PostgreSQL, nothing masked: its host dies, it reboots, panics, ends."""

import time

import pytest

from harness import check, equal, full, note, paired, ways
from vmftlab.net import run
from stock import CLIENTS, TRANSACTIONS, Clients, Pgbench, Stock, boot, wait_boot

LOCKSTEP = Stock("", "lockstep", suite="bookworm")
CHECKPOINT = Stock("checkpoint-", "checkpoint", suite="bookworm")
CHECKPOINT_2 = Stock("checkpoint-smp2-", "checkpoint", suite="bookworm", smp=2)
Q35_13 = Stock("q35-trixie-", "lockstep", suite="trixie", machine="q35")
UEFI_13 = Stock("checkpoint-uefi-q35-trixie-", "checkpoint", suite="trixie", machine="q35", uefi=True)
UEFI_PC = Stock("checkpoint-uefi-pc-smp2-", "checkpoint", suite="bookworm", smp=2, uefi=True)
BEFORE_KILL = 60
PANIC_S = 3  # from a panic to the reboot
ROOT_OFFSET = (4096 + 32 * 2048) * 512  # of the root partition: guest-tools/stock/image


@full("the small guests every day; this one takes minutes")
@ways(LOCKSTEP, CHECKPOINT, CHECKPOINT_2, Q35_13, UEFI_13, UEFI_PC)
@pytest.mark.timeout(2400)
def test_stock_pgbench(name, way):
    """A kill amid transactions: all that was acknowledged is there, and no connection is reset."""
    with way.lab(name) as pair:
        boot(pair)
        clients = Clients(pair)
        clients.booted_by(way)
        bench = Pgbench(clients)
        bench.start()
        bench.wait_rows(BEFORE_KILL, "transactions before the kill")
        killed = time.time()
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        live = time.time()
        bench.wait_rows(bench.rows() + CLIENTS, "transactions after the failover")
        bench.end()
        done = bench.acknowledged()
        equal(len(done), CLIENTS * TRANSACTIONS, "transactions acknowledged")
        amid = {one.client for one in done if one.begin < killed < one.end}
        equal(len(amid), CLIENTS, "clients that were amid a transaction at the kill")
        bench.all_there()
        before = sum(one.end < killed for one in done)
        check(before >= BEFORE_KILL, f"{before} transactions were acknowledged before the kill")
        late = [one.end - killed for one in done if one.begin < killed < one.end]
        note(f"{before} transactions before the kill, {len(amid)} amid it (the guest was live again "
             f"after {live - killed:.1f} s, they took until {min(late):.1f} to {max(late):.1f} s), "
             f"{len(done) - before - len(amid)} after it")
        clients.healthy("after the failover")


@full("guest-reboot every day")
@ways(LOCKSTEP, CHECKPOINT_2)
@pytest.mark.timeout(3600)
def test_stock_reboot(name, way):
    """The guest reboots by command, panics and reboots by itself, and then its host dies."""
    with way.lab(name) as pair:
        boot(pair)
        clients = Clients(pair)
        clients.sql("CREATE TABLE kept AS SELECT 1 AS n")
        boots = [clients.boot_id()]
        clients.ssh("systemctl reboot", check_end=False)
        wait_boot(pair, 2)
        boots.append(clients.boot_id())
        clients.healthy("after the reboot")
        clients.sql("INSERT INTO kept VALUES (2)")
        # The connection would wait for an answer.
        clients.ssh(f"sysctl -q kernel.panic={PANIC_S}; "
                    "(sleep 1; echo c >/proc/sysrq-trigger) <&- >&- 2>&- &")
        wait_boot(pair, 3)
        boots.append(clients.boot_id())
        equal(len(set(boots)), 3, f"boots of the guest ({boots})")
        check(b"Kernel panic" in pair.side["A"].console(), "the guest did not panic")
        paired(pair, "A", "state of A")
        paired(pair, "B", "state of B")
        check("live" not in pair.side["B"].log(), f"B went live at a reboot:\n{pair.side['B'].log()}")
        clients.sql("INSERT INTO kept VALUES (3)")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        equal(clients.sql("SELECT n FROM kept ORDER BY n"), ["1", "2", "3"], "rows")
        equal(clients.boot_id(), boots[-1], "boot after the failover")
        clients.healthy("after the failover")


@full("guest-shutdown every day")
@ways(LOCKSTEP, CHECKPOINT_2)
@pytest.mark.timeout(2400)
def test_stock_poweroff(name, way):
    """systemctl poweroff ends both sides, with equal disks and a clean file system."""
    with way.lab(name) as pair:
        boot(pair)
        clients = Clients(pair)
        clients.sql("CREATE TABLE kept AS SELECT 1 AS n")
        # With checkpoint the primary was alone before, while its backup was attached.
        said = {name: len(side.log()) for name, side in pair.side.items()}
        for side in pair.side.values():
            side.may_end = True
        clients.ssh("systemctl poweroff", check_end=False)
        for side in pair.side.values():
            equal(side.exit_code(600), 0, f"exit code of {side.name}'s QEMU")
        for side in pair.side.values():
            pair.wait(lambda: not side.monitor_pids(), f"{side.name}'s monitor to end", 60)
            since = side.log()[said[side.name]:]
            check("live" not in since and "alone" not in since, f"{side.name} went live:\n{side.log()}")
        check(b"reboot: Power down" in pair.side["A"].console(), "the guest did not power off")
        compared = run("cmp", *(side.disk for side in pair.side.values()), check=False)
        equal(compared.stdout + compared.stderr, "", "difference of the disks")
        run("e2fsck", "-fn", f"{pair.side['B'].disk}?offset={ROOT_OFFSET}")
