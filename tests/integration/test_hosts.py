# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts are called what the pair file calls them; roles are what the sides are at the moment."""

import re

from harness import BOTH, LOCKSTEP, Loaded, Told, check, equal, everyday, lab, note, ways
from test_bad_input import CONFIG, refused

NAMES = {"A": "alpha", "B": "beta"}


def lines_of(side, since=0):
    """The monitor's log lines from a length of the log on."""
    return [line for line in side.log()[since:].splitlines() if line.startswith("vmft-monitor[")]


def begin_with(side, role, since, what):
    """Each of these lines names the VM, the host and that role. There are some."""
    found = lines_of(side, since)
    check(found, f"{side.host} has written no line {what}")
    head = f"vmft-monitor[{side.prefix}@{side.host}{' ' + role if role else ''}]: "
    for line in found:
        check(line.startswith(head), f"{side.host} {what}: {line!r} does not begin with {head!r}")
    note(found[-1])


@everyday("each line of a log names the host and the role of the moment", LOCKSTEP)
@ways(*BOTH)
def test_host_names(name, way):
    """Before and after a failover: the log lines, status and alarms of both sides."""
    with way.lab(name, hosts=NAMES) as pair:
        alarms = Told(pair)
        for side in pair.side.values():
            side.prefix = pair.prefix
        a, b = pair.side["A"], pair.side["B"]
        loaded = Loaded(pair).start()
        begin_with(a, "primary", 0, "of a pair")
        begin_with(b, "backup", 0, "of a pair")
        for side, peer, role in ((a, "beta", "primary"), (b, "alpha", "backup")):
            status = pair.status(side.name)
            equal((status["host"], status["role"], status["peer"]), (side.host, role, peer),
                  f"host, role and peer in the status of {side.host}")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        settled = len(b.log())
        loaded.settle("after a kill -9 of alpha's QEMU")
        status = pair.status("B")
        equal((status["host"], status["role"]), ("beta", "primary"), "host and role of the live side")
        live = [line for line in lines_of(b) if "@beta primary]: alone" in line]
        equal(len(live), 1, f"lines of beta that say that it is live ({lines_of(b)!r})")
        check(not [line for line in lines_of(b, settled) if "backup]" in line],
              f"the live side calls itself a backup: {lines_of(b, settled)!r}")
        gone = [line for line in lines_of(a) if ": ended" in line]
        check(gone and f"[{pair.prefix}@alpha]: " in gone[-1],
              f"alpha, whose guest is gone, still has a role: {gone!r}")
        note(live[0])
        note(gone[-1])
        equal([alarm["host"] for alarm in alarms.wait("B", "live")], ["beta"], "host of the alarm")
        # alpha comes back: it is the backup now, and says so.
        a.process.wait()
        before = len(a.log())
        pair.start_backup("A")
        pair.wait_attached("B", "A")
        begin_with(a, "backup", before, "attached to beta")
        equal(pair.status("B")["peer"], "alpha", "the peer of the live side")
        loaded.verify()


def test_host_refusals(name):
    with lab(name, captures=False, hosts=NAMES) as pair:
        refused(pair, "A", CONFIG, r"VMFT_HOST is primary; set it to alpha or beta, ", host="primary")
        refused(pair, "A", CONFIG, r"VMFT_HOST is gamma; set it to alpha or beta, ", host="gamma")
        with open(pair.pair_path, "r+", encoding="utf-8") as file:
            text = file.read()
            file.seek(0)
            file.write(re.sub(r"host beta", "backup", text))
            file.truncate()
        refused(pair, "A", CONFIG, r"pair\.conf:\d+: both kinds of host sections: 'backup'; ")
