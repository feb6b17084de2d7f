# SPDX-License-Identifier: GPL-2.0-or-later
"""Failovers in a row, each of a fresh pair, at a random moment under load."""

import os
import random
import time

import pytest

from harness import CHECKPOINT, LOCKSTEP, equal, full, note, ways
from vmftlab.load import Workload

MOMENT_S = (0.5, 4.0)


def one_failover(name, way, moment):
    """Returns (acknowledged writes, outage in ms)."""
    with way.lab(name, captures=False) as pair:
        load = Workload(pair)
        pair.start_protected()
        load.start()
        load.wait_progress("before the kill")
        time.sleep(moment)
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        live = pair.status("B")["live_ns"]
        pair.wait(lambda: load.writer.acks()[-1] > live, "a write acknowledged by the survivor")
        load.stop()
        equal(load.faults(), "", "what clients saw go wrong")
        acks = load.writer.acks()
        verified, lost = load.writer.verify()
        equal((verified, lost), (len(acks), 0), "writes verified and lost")
        before = max(at for at in acks if at <= live)
        after = min(at for at in acks if at > live)
        return len(acks), (after - before) / 1e6


@full("kill9-qemu twenty times: it finds what is rare")
@ways(LOCKSTEP)
@pytest.mark.timeout(1800)
def test_twenty_kills(name, way):
    kills(name, way, 20)


@full("kill9-qemu ten times: it finds what is rare")
@ways(CHECKPOINT)
@pytest.mark.timeout(900)
def test_ten_kills(name, way):
    kills(name, way, 10)


def kills(name, way, pairs):
    seed = int(os.environ.get("VMFT_SEED", time.time_ns() % 1000000))
    note(f"seed {seed} (repeat with VMFT_SEED={seed})")
    chance = random.Random(seed)
    outages = []
    total = 0
    for number in range(1, pairs + 1):
        moment = chance.uniform(*MOMENT_S)
        acks, outage = one_failover(name, way, moment)
        total += acks
        outages.append(outage)
        note(f"failover {number}: {acks} writes acknowledged, 0 lost, outage {outage:.0f} ms")
    outages.sort()
    note(f"{pairs} failovers, {total} writes, 0 lost; outage median "
         f"{outages[len(outages) // 2]:.0f} ms, worst {outages[-1]:.0f} ms")
