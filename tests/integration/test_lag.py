# SPDX-License-Identifier: GPL-2.0-or-later
"""A backup that does not keep up: its primary is slowed, and rid of it in the end. Who is told."""

import contextlib
import os
import re
import signal
import time

import pytest

from harness import (ASAN_LOCKSTEP, BOTH, CHECKPOINT, LOCKSTEP, Loaded, Told, captures_whole, check,
                     equal, everyday, note, paired, ways)
from vmftlab import cgroup
from vmftlab.guest import READY
from vmftlab.load import GuestShell, Writer

# What waits for a slow backup is in the ring, the gate and the area, all of a size that is set and
# shared or QEMU's. A monitor's own memory has what is fixed and, with checkpoints, an epoch or two.
GREW_KB_MAX = {"lockstep": 16 * 1024, "checkpoint": 64 * 1024}


@contextlib.contextmanager
def group(pair, name):
    """A control group for the processes of a host, which are gone before it is."""
    made = cgroup.Group("cpu", f"{pair.prefix}-{name}")
    try:
        yield made
    finally:
        pair.end_side(name)
        made.remove()


def slow_down(pair, name, quota, percent):
    """To so much of one processor, for all there is on the host now."""
    quota.limit_cpu(percent)
    quota.add([pair.side[name].qemu_pid(), *pair.side[name].monitor_pids()])


class Memory:
    """What both monitors have of their own, and the most of it that was seen."""

    def __init__(self, pair):
        self.pair = pair
        self.first = self._anon_kb()
        self.most = dict(self.first)

    def _anon_kb(self):
        found = {}
        for name, side in self.pair.side.items():
            for pid in side.monitor_pids():
                with open(f"/proc/{pid}/status", encoding="ascii") as file:
                    found[name] = int(re.search(r"RssAnon:\s*(\d+)", file.read())[1])
        return found

    def look(self):
        for name, kb in self._anon_kb().items():
            self.most[name] = max(self.most[name], kb)

    def bounded(self, strategy):
        for side, kb in self.most.items():
            check(kb - self.first[side] < GREW_KB_MAX[strategy],
                  f"{side}'s monitor grew: {self.first[side]} kB, then {kb} kB")


# --- a slow backup -----------------------------------------------------------------


def slow_enough(way):
    """Percent of a processor with which a backup cannot follow: it replays, or only copies."""
    return 2 if way.sends_state else 10


@everyday("the primary is slowed for its backup and let go on", LOCKSTEP)
@ways(*BOTH, ASAN_LOCKSTEP)
@pytest.mark.timeout(400)
def test_lag(name, way):
    """The primary is slowed for its backup, and only so long."""
    with way.lab(name, pair={"lag-ms": "200", "silence-ms": "10000",
                             "delta-cache-mib": "8"}) as pair, group(pair, "B") as quota:
        loaded = Loaded(pair).start()
        memory = Memory(pair)
        slow_down(pair, "B", quota, slow_enough(way))

        def look(done, what):
            def looked():
                memory.look()
                status = pair.status("A")
                return status if done(status) else None
            return pair.wait(looked, what)
        lagging = look(lambda status: status["state"] == "lagging" and
                       status["throttle_permille"] > 0, "a pair that lags")
        # The pair may lag for what else the machine does, before the quota is used up.
        pair.wait(lambda: quota.throttled() > 0, "the backup to be held back")
        equal(pair.state("B"), "protected", "state of B, which lags")
        check("does not keep up" in lagging["next"], f"advice: {lagging['next']}")
        # The bound is on what time would add to.
        end = time.monotonic() + 10
        look(lambda status: time.monotonic() > end, "memory to grow")
        paired(pair, "A", "state of A all the while")
        loaded.settle("while the pair lags")
        note(f"{lagging['lag_ms']} ms behind, slowed by {lagging['throttle_permille'] / 10} %, "
             f"B held back {quota.throttled()} times; RssAnon {memory.first} kB, then at most "
             f"{memory.most} kB")
        memory.bounded(way.strategy)

        quota.free_cpu()
        loaded.load.stop()
        pair.wait_state("A", "protected")
        pair.wait(lambda: pair.status("A")["throttle_permille"] == 0, "the guest's own speed")
        equal(pair.status("A")["next"], None, "advice when all is well")
        pair.wait_said("A", "lagging: the backup is [0-9]+ ms behind", 1)
        pair.wait_said("A", "keeps up again; it was up to [0-9]+ ms behind", 1)
        check("stands still" not in pair.side["A"].log(), "a slow replay is said to stand still")
        loaded.verify()
        captures_whole(pair)


class Busy:
    """More to do for the guest than a slow backup can follow, whoever waits for output."""

    WORK = "while :; do dd if=/dev/zero of=/mnt/busy bs=64k count=64 conv=fsync 2>/dev/null; done"

    def __init__(self, pair):
        self.shell = GuestShell(pair)
        self.job = self.shell.run(f"{self.WORK} & echo $!").strip()

    def end(self):
        self.shell.run(f"kill {self.job}")
        self.shell.close()


def attached_quiet(pair):
    """A guest that has booted, and then got its backup: booting is more than one can follow."""
    pair.start_side("A")
    pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot")
    pair.start_backup("B")
    pair.wait_attached("A", "B")


@everyday("a backup that lags is given up and attached again", CHECKPOINT)
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_lag_drop(name, way):
    """One that lags for too long is given up, its primary is fast again, and attaches it later."""
    with way.lab(name, pair={"lag-drop-ms": "3000", "silence-ms": "10000",
                             "start": "alone"}) as pair, group(pair, "B") as quota:
        told = Told(pair)
        attached_quiet(pair)
        writer = Writer(pair, interval_ms=50)
        writer.start()
        generation = pair.status("A")["generation"]
        pair.side["B"].may_end = True
        slow_down(pair, "B", quota, slow_enough(way))
        busy = Busy(pair)
        pair.wait_said("A", "has lagged for [0-9]+ s .* the backup is given up, "
                            "and none is attached for 3 s")
        pair.wait_state("A", "alone")
        # The pair may lag for what else the machine does, before the quota is used up.
        pair.wait(lambda: quota.throttled() > 0, "the backup to be held back")
        status = pair.status("A")
        equal(status["reason"], "the backup did not keep up", "reason")
        equal(status["generation"], generation + 1, "generation, won by A")
        equal(status["throttle_permille"], 0, "throttle of a guest that is alone")
        check("nothing protects" in status["next"], f"advice: {status['next']}")
        quota.free_cpu()
        busy.end()
        acks = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > acks + 5, "writes without the backup")
        pair.wait_said("B", "fenced: the primary goes on without this backup")
        equal(told.wait("B", "fenced")[0]["text"].split(": ")[-1],
              "the other side won the arbitration", "why B is fenced")

        pair.start_backup("B")
        status = pair.wait_attached("A", "B")
        equal(status["lag_dropped"], 1, "backups given up in a row")
        found = [alarm["event"] for alarm in told.all("A")]
        check({"dropped", "alone"} <= set(found), f"what A told: {found}")
        pair.wait(lambda: told.all("A")[-1]["event"] == "protected", "A to tell of its new backup")
        acks = len(writer.acks())
        pair.wait(lambda: len(writer.acks()) > acks + 5, "writes, protected again")
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "keys verified and lost")
        equal(len(pair.capture["B"].frames()), 0, "frames from the backup's host")
        captures_whole(pair)


# --- who is told --------------------------------------------------------------------


@everyday("the alarm program is told of each change once", LOCKSTEP)
@ways(*BOTH)
@pytest.mark.timeout(400)
def test_alarm(name, way):
    """Each change a person should know of, told by the side it happened to, with what to do."""
    with way.lab(name, captures=False, pair={"lag-ms": "60000"}) as pair:
        told = Told(pair)
        pair.start_protected()
        writer = Writer(pair)
        writer.start()
        pair.wait(lambda: len(writer.acks()) > 5, "writes")
        equal(told.all("A") + told.all("B"), [], "what was told of a pair that formed")

        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        generation = pair.status("B")["generation"]
        text = told.wait("B", "live")[0]["text"]
        check(text.startswith(f"alone, generation {generation}: "), f"text of the alarm: {text}")
        pair.start_backup("A")
        pair.wait_attached("B", "A")
        told.wait("B", "live", "protected")

        pair.faults.hide_arbiter()
        pair.faults.kill_qemu("B")
        pair.wait_state("A", "waiting-arbiter")
        told.wait("A", "arbiter")
        check("reachable" in pair.wait(lambda: pair.status("A")["next"], "advice", 10),
              "no word of the arbiter")
        pair.faults.return_arbiter()
        pair.wait_state("A", "alone")
        told.wait("A", "arbiter", "live")
        fenced(pair, told)
        writer.stop()
        equal(writer.verify(), (writer.stored(), 0), "keys verified and lost")


def ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def idle(pid):
    """A second with less than a fifth of it spent running."""
    before = ticks(pid)
    time.sleep(1)
    return ticks(pid) - before < os.sysconf("SC_CLK_TCK") // 5


def fenced(pair, told):
    """A's host is stopped, B takes over; A wakes up and is fenced: what can be seen of it then."""
    pair.start_backup("B")
    pair.wait_attached("A", "B")
    pair.faults.stop_host("A")
    pair.wait_state("B", "alone")
    told.wait("B", "live", "protected", "live")
    pair.faults.cont_host("A")
    pair.wait_state("A", "fenced")
    told.wait("A", "arbiter", "live", "protected", "fenced")
    pid, live = pair.side["A"].qemu_pid(), pair.status("B")["generation"]
    words = pair.status("A")["next"]
    for word in (f"live as generation {live}", f"gcore {pid}", f"kill {pid}", "VMFT_ROLE=backup"):
        check(word in words, f"no word of {word!r} in: {words}")
    pair.wait(lambda: idle(pid), "the QEMU of a guest that stands still to rest", 30)
    equal(pair.command("A", "digest", 60)["ram"], pair.command("A", "digest", 60)["ram"],
          "digests of the memory of a guest that stands still")

    # As it says.
    pair.side["A"].may_end = True
    os.kill(pid, signal.SIGTERM)
    pair.wait(lambda: not pair.side["A"].qemu_runs() and not pair.side["A"].monitor_pids(),
              "the fenced side to end", 30)
    pair.start_backup("A")
    pair.wait_attached("B", "A")
