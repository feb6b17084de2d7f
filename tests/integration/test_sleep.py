# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that its user suspends to RAM: it sleeps on, whatever becomes of the hosts, until its alarm."""

import time

import pytest

from harness import CHECKPOINT, LOCKSTEP, check, equal, everyday, ways
from vmftlab.load import GuestShell
from vmftlab.net import GUEST_IP

ALARM_S = 3600  # nobody waits for it: the hosts' clocks are stepped
SLEEP = (f"(sleep 1; echo 0 >/sys/class/rtc/rtc0/wakealarm; "
         f"echo +{ALARM_S} >/sys/class/rtc/rtc0/wakealarm; echo FALLS-ASLEEP >/dev/ttyS0; "
         f"echo mem >/sys/power/state; echo WOKE-UP $? >/dev/ttyS0) >/dev/null 2>&1 &")
WOKE = b"WOKE-UP 0"


def falls_asleep(pair, name):
    shell = GuestShell(pair)
    shell.send(SLEEP)
    time.sleep(0.3)
    shell.close()
    pair.wait(lambda: b"FALLS-ASLEEP" in pair.side[name].console(), "the guest to lie down")
    sleeps(pair, name, "after it was told to")


def answers(pair):
    return pair.client.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", GUEST_IP,
                           check=False).returncode == 0


def sleeps(pair, name, when):
    pair.wait(lambda: pair.status(name)["guest_asleep"], f"the guest to sleep at {name} {when}", 60)
    check(not answers(pair), f"a guest that sleeps {when} answers pings")
    check(pair.status(name)["guest_asleep"], f"the guest at {name} does not sleep any more {when}")
    check(WOKE not in pair.side[name].console(), f"the guest at {name} woke up {when}")


def wakes(pair, name):
    for side in pair.side:
        pair.faults.step_clock(side, ALARM_S)
    pair.wait(lambda: WOKE in pair.side[name].console(), f"its alarm to wake the guest at {name}")
    pair.wait(lambda: answers(pair), "the guest to answer")
    check(not pair.status(name)["guest_asleep"], "the guest is up and counts as asleep")


@everyday("a guest that sleeps is moved and woken by its alarm", LOCKSTEP)
@ways(LOCKSTEP, CHECKPOINT)
@pytest.mark.timeout(400)
def test_sleeper(name, way):
    """The host of a sleeping guest dies, it gets a new backup, and wakes up there in time."""
    with way.lab(name, captures=False, own_clocks=True) as pair:
        pair.start_protected()
        falls_asleep(pair, "A")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        sleeps(pair, "B", "after the failover")

        pair.start_backup("A")
        status = pair.wait_attached("B", "A")
        equal(status["attach_failures"], 0, "attempts to attach a backup that failed")
        sleeps(pair, "B", "after an attach")

        wakes(pair, "B")
        pair.wait_following("B", "A")
        equal(pair.compare("B", "A")[1], "", "B and A after the guest woke up")
        pair.faults.kill_qemu("B")
        pair.wait_state("A", "alone")
        pair.wait(lambda: answers(pair), "the guest to answer at A")
