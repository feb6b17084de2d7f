# SPDX-License-Identifier: GPL-2.0-or-later
"""A drill: faults, one after the other, to a protected pair under load.

Before each fault both sides protect each other, and after it they do so again. In between, the drill
looks at what happened and whether it was right.
"""

import datetime
import os
import platform
import re
import sys
import time

from ..faults import kinds as all_kinds
from ..faults.arbiter import ArbiterDownToo
from ..faults.fault import FAILOVER, NOTHING, OTHER, WAITED, WENT_ON, FaultError
from ..lab import Lab
from ..outputrule import OutputRule
from ..programs import ROOT
from ..story import ERRORS
from ..watch import PAIRED, LabError, tail
from . import report
from .clients import Clients
from .seen import Sampler, Wire

LOGS = os.path.join(ROOT, "build", "drill-logs")
# How long the drill waits for what must come. How soon it came is in the report.
PATIENCE_S = 60
COMPARE_EACH = 20  # faults
# A service manager starts a backup that ends again in this way: docs/attach.md.
STARTS, RESTART_S = 5, 1
LIVE = ("alone", "attaching", "sealing", "shipping", *PAIRED)
OVER = ("fenced", "ended")
FINDINGS = re.compile(r"Sanitizer|runtime error:")


class Drill:
    """A pair under load, and what was done to it. The reports are made from `result`.

    `plan` is a list of (kind, target), `logs` a directory where the logs are kept if something is
    wrong."""

    def __init__(self, options, plan, logs=LOGS, rule=OutputRule):
        self.options = options
        self.logs = logs
        self.plan = plan
        kinds = [all_kinds.KINDS[kind] for kind, _ in plan]
        self.lab = Lab(options.image, captures=False, accel=options.accel, smp=options.smp,
                       append="blk=1" if options.image == "bare" else "",
                       own_disks=any(kind.needs_disks for kind in kinds),
                       own_clocks=any(kind.needs_clocks for kind in kinds),
                       own_pipes=any(kind.needs_pipes for kind in kinds), save_log=True,
                       pair={"silence-ms": str(options.silence_ms), "on-stop": "hand-over",
                             **({} if options.strategy == "auto"
                                else {"strategy": options.strategy})})
        # A stopped monitor does not answer; the drill must not wait for it again and again.
        self.lab.answer_s = 1
        self.live = "A"
        self.clients = self.sampler = self.wire = self.rule = None
        self.make_rule = rule
        self.linearizable = None  # None until a history was judged
        self.problems = []  # those that belong to no single fault
        self.undetected = self.compared = self.restarts = 0
        self.answered, self.lost = 0, None
        self.findings = []
        self.result = {"vm": self.lab.prefix, "strategy": options.strategy,
                       "accel": options.accel, "smp": options.smp, "image": options.image,
                       "seed": options.seed, "machine": machine(),
                       "began": datetime.datetime.now().astimezone().isoformat("T", "seconds"),
                       "seconds": 0.0, "faults": [], "samples": [], "ops": [], "totals": {},
                       "ok": False, "problems": self.problems}

    # -- from the beginning to the end

    def run(self):
        """Runs the whole drill in an open lab. The result is complete afterwards, whatever happens."""
        begin = time.monotonic()
        try:
            self.begin()
            self.go_through()
        except (*ERRORS, FaultError) as error:
            self.problems.append(str(error))
        self.conclude()
        self.result["seconds"] = time.monotonic() - begin

    def begin(self):
        lab = self.lab
        lab.start_protected()
        self.result["strategy"] = lab.status("A")["strategy"]
        held = os.path.join(lab.dir, "held")
        os.mkdir(held)
        self.rule = self.make_rule(self.result["strategy"], held)
        self.wire = Wire(lab, self.live, self.rule)
        self.wire.turn()
        self.pair_began()
        self.sampler = Sampler(lab)
        self.sampler.start()
        self.clients = Clients(lab, self.options.seed)
        self.clients.start()
        self.moves("before the first fault")

    def go_through(self):
        for number, (kind, target) in enumerate(self.plan, 1):
            try:
                record = self.one(kind, target)
            finally:
                self.tell(number)
            if record["problems"] and not self.options.keep_going:
                return
            if number % COMPARE_EACH == 0 and number < len(self.plan):
                self.compare()
                self.judge_histories()

    def one(self, kind, target):
        """Does one fault, until the guest is protected again. Returns its record."""
        record = {"kind": kind, "victim": target, "at_ns": time.monotonic_ns(), "until_ns": 0,
                  "verified": "", "expected": "", "outcome": NOTHING, "outage_ms": None, "seconds": 0.0,
                  "protected_again_ms": None, "problems": []}
        self.result["faults"].append(record)
        fault = all_kinds.KINDS[kind](self.lab, self.live, target)
        record["victim"], record["expected"] = fault.victim, " or ".join(fault.expected())
        begin = time.monotonic()
        try:
            self.moves(f"before {kind}")
            fault.prepare()
            self.happen(fault, record)
        except (*ERRORS, FaultError) as error:
            record["problems"].append(str(error))
            self.recover(fault, record)
        finally:
            fault.end()
            record["until_ns"] = record["until_ns"] or time.monotonic_ns()
            record["problems"] += self.wire.turn()
            record["seconds"] = time.monotonic() - begin
        return record

    def pair_began(self):
        """Both sides protect. From now on the backup must hold the log of each output first."""
        status = self.lab.status(self.live)
        self.rule.began(status, self.live, self.lab.status(OTHER[self.live])["save_log"],
                        time.time_ns())

    def pair_ended(self, when_ns, fault=None):
        """Ends the pair at when_ns (CLOCK_MONOTONIC). `fault` is what ended it; None: the log may lack
        its end."""
        pair = self.rule.current()
        if pair:
            self.rule.ended(when_ns + time.time_ns() - time.monotonic_ns(), fault is None or
                            (fault.kills_monitor and fault.host == OTHER[pair.primary]))

    def asked_since(self, status):
        """When the primary asked the arbiter whether it may go on without its backup, in ns.

        No output leaves until it has the answer. Its journal has the answer a moment after its gate
        opened, so the time of the question is used."""
        pair = self.rule.current()
        asked = None
        for event in status["events"]:
            found = re.match(r"(arbitrating|alone), generation (\d+)", event["text"])
            if not pair or not found:
                continue
            if found.group(1) == "alone" and int(found.group(2)) > pair.generation:
                return asked
            asked = event["ms"] * 1_000_000
        return None

    def happen(self, fault, record):
        generation = self.lab.status(self.live)["generation"]
        before = self.live
        record["at_ns"] = fault.at_ns = fault.start()
        record["verified"] = fault.verify()
        if isinstance(fault, ArbiterDownToo):
            fault.wait_for_nothing(self.clients.progress)
            outcome = WAITED
        else:
            outcome = self.watch(fault, generation)
        late = fault.verify_late()
        record["verified"] += f"; {late}" if late else ""
        fault.end()
        record["until_ns"] = time.monotonic_ns()
        if outcome == WAITED:
            self.settle(fault, generation)
        elif outcome == NOTHING:
            self.still_protected(fault, generation)
            outcome = self.outcome(fault, generation) or NOTHING
        record["outcome"] = outcome
        if outcome not in fault.expected():
            raise FaultError(f"{outcome} instead of {record['expected']}: {self.lab.describe()}")
        self.after(fault, record, before)

    def watch(self, fault, generation):
        """Waits until one side went on, or the fault's time is over; returns the outcome."""
        if fault.hold_s == 0:
            return self.settle(fault, generation)
        end = time.monotonic() + fault.hold_s
        found = None
        while not found and time.monotonic() < end:
            time.sleep(0.05)
            found = self.outcome(fault, generation)
        return found or NOTHING

    def settle(self, fault, generation):
        return self.lab.wait(lambda: self.outcome(fault, generation), "one side to go on",
                             PATIENCE_S)

    def outcome(self, fault, generation):
        """The outcome so far, or None. Tells it to the check of the captures."""
        other = OTHER[self.live]
        status = {name: self.lab.peek(name) for name in (self.live, other)}
        new, old = status[other], status[self.live]
        if new and new["role"] == "primary" and new["state"] in LIVE and new["live_ns"]:
            self.pair_ended(new["live_ns"], fault)
            self.now_live(other, new)
            return FAILOVER
        if old and old["role"] == "primary" and old["state"] in LIVE and \
           (old["state"] not in PAIRED or old["generation"] > generation):
            if old["state"] == "shipping":
                return None
            self.pair_ended(self.asked_since(old) or fault.at_ns, fault)
            return WENT_ON
        return None

    def now_live(self, name, status):
        asked = [event["ms"] * 1_000_000 for event in status["events"]
                 if event["text"].startswith("arbitrating")]
        self.wire.went_live(name, max((at for at in asked if at <= status["live_ns"]),
                                      default=status["live_ns"]), status["live_ns"])
        self.live = name

    def still_protected(self, fault, generation):
        """Checks that the fault has changed nothing, and that nothing changes after its end."""
        self.moves(f"after {fault.kind}")
        for name in "AB":
            status = self.lab.status(name)
            if (status["state"] not in PAIRED or status["generation"] != generation) and \
               NOTHING == fault.expected()[0] and len(fault.expected()) == 1:
                raise FaultError(f"{name} is {status['state']} ({status['reason']}), generation "
                                 f"{status['generation']} instead of protected, {generation}")

    def after(self, fault, record, before):
        """After one side went on: until the guest is protected again."""
        if record["outcome"] == NOTHING:
            self.measure(record)
            return
        if self.live != before or isinstance(fault, ArbiterDownToo):
            self.moves(f"by {self.live} after {fault.kind}")
        else:
            self.moves(f"after {fault.kind}")
        self.measure(record)
        self.loser_is_over(OTHER[self.live])
        self.protect()
        record["protected_again_ms"] = (time.monotonic_ns() - record["at_ns"]) / 1e6

    def measure(self, record):
        record["outage_ms"] = self.clients.outage_ms(record["at_ns"], record["until_ns"])

    def loser_is_over(self, name):
        """Waits until the side that is not live has no monitor, or a monitor that knows it."""
        def over():
            state = self.lab.state(name)
            return state is None or state in OVER
        self.lab.wait(over, f"{name}, which is not live, to end or be fenced", 20)

    def protect(self):
        """Starts a backup on the free host, again and again, as its service manager does."""
        live, other = self.live, OTHER[self.live]
        for attempt in range(STARTS):
            if attempt:
                self.restarts += 1
                time.sleep(RESTART_S)
            if self.offer(live, other):
                for side in self.lab.side.values():
                    side.may_end = False
                self.pair_began()
                return
        raise LabError(f"{other} was started {STARTS} times; {self.lab.describe()}; it said:\n"
                       f"{tail(self.lab.side[other].log())}")

    def offer(self, live, other):
        """Starts a backup once; returns whether it came to protect the guest. It may end, because an
        attach failed half-way, or because its address is not free yet: the kernel closes the socket
        of a monitor a moment after the monitor ended. So protect() starts it again."""
        side = self.lab.side[other]
        side.role = "backup"
        self.lab.end_side(other)
        self.lab.start_side(other, role="backup")
        side.may_end = True
        asked = False

        def done():
            nonlocal asked
            if not side.qemu_runs():
                return "over"
            if not asked and self.lab.peek(other):
                asked = True
                self.lab.attach_now(live)
            return "protected" if self.lab.paired(live) and self.lab.paired(other) else None
        if self.lab.wait(done, f"{other} to be attached to {live}", PATIENCE_S) == "protected":
            return True
        say(f"        {other} ended with {side.exit_code()} and is started again; it said:\n"
            f"{tail(side.log(), 3)}")
        return False

    def recover(self, fault, record):
        """After a problem: heals the fault and protects the guest again, so that the drill can go on."""
        try:
            fault.end()
            for side in self.lab.side.values():
                side.may_end = True  # the drill knows by now which side has ended
            if self.is_protected() and self.guest_answers():
                return
            self.pair_ended(record["at_ns"])
            # A side that asks the arbiter now may be live soon, and may have the last copy.
            live = self.wait_live(PATIENCE_S // 2)
            if live is None or not self.guest_answers():
                # The guest is stuck. Its host is killed, so that the backup takes over.
                self.lab.faults.kill_host(live or self.live)
                live = self.wait_live(PATIENCE_S)
            if live is None:
                raise LabError(f"no side is live: {self.lab.describe()}")
            if live != self.live:
                self.now_live(live, self.lab.status(live))
            self.moves("by the side that was brought back")
            self.protect()
        except ERRORS as error:
            record["problems"].append(f"could not be protected again: {error}")
            self.give_up(error)

    def guest_answers(self):
        try:
            self.moves("after a problem", 15)
        except LabError:
            return False
        return True

    def give_up(self, error):
        self.lab.keep_logs(self.logs)
        raise FaultError(f"the guest is lost to the drill, logs are kept in {self.logs}") from error

    def is_protected(self):
        return all(self.lab.paired(name) for name in "AB")

    def find_live(self):
        for name in (OTHER[self.live], self.live):
            status = self.lab.peek(name)
            if status and status["role"] == "primary" and status["state"] in ("alone", "attaching",
                                                                              "sealing"):
                return name
        return None

    def wait_live(self, seconds):
        """The side that is live without a backup; None if there is none within that time."""
        end = time.monotonic() + seconds
        while not (live := self.find_live()) and time.monotonic() < end:
            time.sleep(0.1)
        return live

    def moves(self, what, timeout=PATIENCE_S):
        """Waits until requests that were sent from now on are answered."""
        now = time.monotonic_ns()
        before = self.clients.progress()
        self.lab.wait(lambda: self.clients.progress() > before + 2 and
                      self.clients.last_ack() > now, f"clients to be answered {what}", timeout)

    def compare(self):
        """Compares memory and disks of both sides at one log position."""
        if not self.is_protected():
            return
        said = self.said_diverged()
        position, differ = self.lab.compare(self.live, OTHER[self.live])
        self.compared += 1
        say(f"        compared at {position}: {differ or 'memory and disks are the same'}")
        if differ:
            self.problems.append(f"the sides differ at {position}: {differ}")
            self.undetected += not said

    def judge_histories(self, go_on=True):
        found = self.clients.judge(go_on)
        self.linearizable = self.linearizable is not False and not found
        self.problems += found

    def said_diverged(self):
        return any(re.search(r"diverge", side.log()) for side in self.lab.side.values())

    def conclude(self):
        steps = [self.stop_histories, self.stop_clients, self.compare, self.finish_wire,
                 self.read_back, self.finish_captures, self.find_findings]
        for step in steps if self.clients else steps[-1:]:
            try:
                step()
            except ERRORS as error:
                self.problems.append(str(error))
        if self.sampler:
            self.sampler.stop()
            self.result["samples"] = self.sampler.samples
        self.count()

    def stop_histories(self):
        self.judge_histories(go_on=False)
        self.result["ops"] = self.clients.ops()

    def stop_clients(self):
        self.clients.stop()

    def read_back(self):
        """Reads all writes back after the backup has ended. With a backup each answer would wait for
        the end of an epoch, which takes minutes in all."""
        if self.is_protected():
            self.lab.end_side(OTHER[self.live])
            self.lab.wait_state(self.live, "alone", "attaching", timeout=PATIENCE_S)
        self.answered, self.lost = self.clients.lost()
        if self.lost:
            self.problems.append(f"{self.lost} acknowledged writes are lost")

    def finish_wire(self):
        """Must run while the backup's log can be read; the backup may still write what it holds."""
        self.pair_ended(time.monotonic_ns())
        self.problems += self.wire.turn()
        if self.clients.judged and not self.rule.checked:
            self.problems.append("output before its ack: nothing could be compared")

    def finish_captures(self):
        self.problems += self.wire.look(self.lab.capture, time.time_ns())

    def find_findings(self):
        self.findings = [line for side in self.lab.side.values() for line in side.log_lines()
                         if FINDINGS.search(line)]
        self.problems += self.findings

    def count(self):
        done = self.result["faults"]
        totals = {
            "lost": self.lost, "operations": self.answered,
            "double_live": self.wire.double_live if self.wire else None,
            "output_before_ack": self.rule.violations if self.rule and self.rule.checked else None,
            "output_checked": self.rule.checked if self.rule else 0,
            "output_unmatched": self.rule.unmatched if self.rule else 0,
            "output_left_out": self.rule.left_out if self.rule else 0,
            "linearizable": self.linearizable,
            "judged_operations": self.clients.judged if self.clients else 0,
            "broken_connections": self.clients.broken if self.clients else 0,
            "undetected_divergence": self.undetected if self.compared else None,
            "compared": self.compared, "restarts": self.restarts,
            "sanitizer_findings": len(self.findings)}
        self.result["totals"] = totals
        report.summarize(self.result)
        good = (not self.problems and not any(fault["problems"] for fault in done)
                and len(done) == len(self.plan) and self.lost == 0
                and not totals["double_live"] and not self.undetected
                and totals["output_before_ack"] == 0 and self.linearizable is True)
        self.result["ok"] = good
        if not good and self.lab.dir and os.path.isdir(self.lab.dir):
            self.lab.keep_logs(self.logs)

    def tell(self, number):
        """Prints the outcome of the last fault."""
        record = self.result["faults"][-1]
        say(f"{number:>3}/{len(self.plan)} {self.line(self.plan[number - 1][1], record)}")
        for text in record["problems"]:
            say(f"        PROBLEM {text}")

    @staticmethod
    def line(target, record):
        where = f" on {record['victim']}" if record["victim"] != target else ""
        outage = f"outage {record['outage_ms']:.0f} ms" if record["outage_ms"] else "no outage"
        again = record["protected_again_ms"]
        return (f"{'FAIL' if record['problems'] else 'ok  '} {record['kind']}:{target}"
                f"{where}: {record['verified'] or 'not verified'} -> "
                f"{record['outcome']}, {outage}" +
                (f", protected again after {again / 1000:.1f} s" if again else "") +
                f"; took {record['seconds']:.1f} s")


def machine():
    """This machine in one line: processors, memory, kernel."""
    model = next((line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo")
                  if line.startswith("model name")), "unknown processor")
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo")
                   if line.startswith("MemTotal")), 0)
    return (f"{os.cpu_count()} x {model}, {memory / (1 << 20):.0f} GiB, "
            f"Linux {platform.release()}")


def _lines(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readlines()


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)
