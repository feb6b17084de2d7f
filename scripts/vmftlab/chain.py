# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/demo --chain shows: failover after failover, the guest protected in between."""

import os
import statistics

from .programs import ROOT
from .watch import progress
from .story import EPOCH_KEYS, ERRORS, Show, outage_ms, write_json

LOGS = os.path.join(ROOT, "build", "demo-logs")
OTHER = {"A": "B", "B": "A"}
# Heading, and how a round's row says it.
COLUMNS = (
    ("round", lambda row: row["round"]),
    ("from -> to", lambda row: f"{row['from']} -> {row['to']}"),
    ("outage ms", lambda row: f"{row['outage_ms']:.0f}"),
    ("live after ms", lambda row: f"{row['go_live_ms']:.0f}"),
    ("stun ms", lambda row: f"{row['stun_ms']:.1f}"),
    ("attach ms", lambda row: f"{row['attach_ms']:.0f}"),
    ("MB of memory", lambda row: f"{row['ram_bytes'] / 1e6:.1f}"),
    ("MB of disk", lambda row: f"{row['disk_bytes'] / 1e6:.1f}"),
    ("writes so far", lambda row: row["acknowledged"]),
)
EPOCH_COLUMNS = (
    ("pause ms", lambda row: f"{row['pause_ms_p50']:.1f}"),
    ("pause p99 ms", lambda row: f"{row['pause_ms_p99']:.1f}"),
)
TOTALS = (("outage_ms", "outage"), ("go_live_ms", "live after"), ("stun_ms", "stun"),
          ("attach_ms", "attach"), ("hold_ms", "output held"))


class Chain(Show):
    """Failovers in a row. The guest goes to and fro, and so does its protection."""

    def __init__(self, options):
        super().__init__(options)
        self.rounds = []
        self.lost = None  # not known
        self.figures = dict.fromkeys(EPOCH_KEYS)  # of the last host that was killed

    def run(self):
        try:
            self.begin()
            for number in range(1, self.options.chain + 1):
                self.round(number)
            self.load(self.options.seconds)
            self.writer.stop()
            self.compare()
        except ERRORS as error:
            self.failed(error)
        if self.writer:
            self.count_losses()
        self.check("rounds", len(self.rounds) == self.options.chain,
                   f"{len(self.rounds)} of {self.options.chain} came about")
        if self.good():
            self.check_web("first kill")
            self.check_guest()

    def round(self, number):
        lab, victim, survivor = self.lab, self.live, OTHER[self.live]
        self.load(self.options.seconds)
        self.figures = self.epoch_figures()
        self.fail_over(survivor, f"round {number}: KILL -9 of the QEMU on {victim}",
                       f"LIVE on {survivor}")
        lab.wait(lambda: self.writer.last_ack() > self.live_at,
                 "a write acknowledged by the survivor")
        acks = self.writer.acks()
        outage, go_live = outage_ms(acks, self.live_at), (self.live_at - self.killed_at) / 1e6
        lab.start_backup(victim)
        last = lab.wait_attached(survivor, victim)["attach_last"]
        self.story.tell(f"PROTECTED by {victim} again: stun {last['stun_ms']:.1f} ms, attach "
                        f"{last['total_ms']:.0f} ms")
        self.rounds.append({
            "round": number, "from": victim, "to": survivor, "outage_ms": outage,
            "go_live_ms": go_live, "stun_ms": last["stun_ms"], "attach_ms": last["total_ms"],
            "hold_ms": last["hold_ms"], "ram_bytes": last["ram_bytes"],
            "disk_bytes": last["disk_bytes"], "acknowledged": self.writer.progress(),
            **self.figures})

    def compare(self):
        progress("comparing memory and disks of both sides")
        position, differ = self.lab.compare(self.live, OTHER[self.live])
        self.check("sides", not differ,
                   f"at {'epoch' if self.by_epochs() else 'log position'} {position} " +
                   (f"DIFFERENT: {differ}" if differ else "memory and disks are the same"))

    def failed(self, error):
        self.lab.keep_logs(LOGS)
        self.check("chain", False, f"{error}\n    logs are kept in {LOGS}")

    def count_losses(self):
        """Also after a round that did not come about, if the guest still answers."""
        try:
            self.writer.stop()
            verified, self.lost = self.verify()
        except ERRORS as error:
            self.check("writes", False, f"cannot be read back: {error}")
            return
        acknowledged = len(self.writer.acks())
        self.check("writes", self.lost == 0 and verified == self.writer.stored(),
                   f"{acknowledged} acknowledged, {self.lost} lost")

    def report(self):
        print(f"\nvmft demo, {self.lab.guest}, {len(self.rounds)} failovers in a row\n"
              f"{self.protection()}\n")
        for line in table(self.rounds, COLUMNS + (EPOCH_COLUMNS if self.by_epochs() else ())):
            print(f"  {line}")
        print()
        for key, name in TOTALS if self.rounds else ():
            values = [row[key] for row in self.rounds]
            print(f"  {name:<11} median {statistics.median(values):.1f} ms, "
                  f"worst {max(values):.1f} ms")
        print()
        self.report_checks()

    def write_json(self, path):
        write_json(path, {"image": self.lab.guest.image, "rounds": self.rounds, "lost": self.lost,
                          "acknowledged": len(self.writer.acks()) if self.writer else 0,
                          **self.how, **self.figures})


def table(rows, columns):
    cells = [[name for name, _ in columns]]
    cells += [[str(say(row)) for _, say in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells]
