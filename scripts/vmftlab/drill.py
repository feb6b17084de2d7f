# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/drill does: faults, one after the other, to a protected pair under load.

Each begins with both sides protecting each other and ends with it; in between it is looked at
what happened, and whether that was right.
"""

import argparse
import datetime
import os
import platform
import random
import re
import sys
import threading
import time

from . import control, drillreport, faults, linear
from .bare import BareWriter
from .faults import FAILOVER, NOTHING, OTHER, WAITED, WENT_ON, ArbiterDownToo, FaultError
from .history import Histories, longest_gap_ms
from .lab import KVM, PAIRED, ROOT, SMP_MAX, Lab, LabError, has_kvm, tail
from .load import Writer
from .outputrule import OutputRule
from .pcap import NEARLY_WHOLE, NEARLY_WHOLE_KIB, SETTLE_S, Capture
from .story import ERRORS, EXIT_FAILED, EXIT_OK, IMAGES, PROTOCOL, guarded, nothing_left

ME = "scripts/drill"
LOGS = os.path.join(ROOT, "build", "drill-logs")
SILENCE_MS = 3000
SAMPLE_S = 0.1
# For what must come; how quickly it did is in the report.
PATIENCE_S = 60
COMPARE_EACH = 20  # faults
# As a service manager does with a backup that ends: docs/attach.md.
STARTS, RESTART_S = 5, 1
LIVE = ("alone", "attaching", "sealing", "shipping", *PAIRED)
OVER = ("fenced", "ended")
FINDINGS = re.compile(r"Sanitizer|runtime error:")


# --- clients ----------------------------------------------------------------------


class Clients:
    """What the guest is asked meanwhile: writes that are read back in the end, and histories,
    whose operations are judged in stretches. The search and what it needs stay small so."""

    HISTORY = {"clients": 3, "keys": 6, "interval_ms": 60}

    def __init__(self, lab, seed):
        self.lab = lab
        self.seed = seed
        if lab.image == "bare":
            self.writers = [BareWriter(lab, keys=200),
                            BareWriter(lab, keys=100, first_key=1000, durable=True,
                                       name="durable")]
        else:
            self.writers = [Writer(lab, PROTOCOL[lab.image], connections=2, interval_ms=40)]
        self.began = self.ended = None
        self.stretches = 0
        self.judged = self.broken = 0  # operations; connections that were given up
        self._past_acks, self._past_ops = [], []
        self.history = None

    def start(self):
        self.began = time.monotonic_ns()
        for writer in self.writers:
            writer.start()
        self._begin_stretch()

    def _begin_stretch(self):
        self.stretches += 1
        self.history = Histories(self.lab, protocol=PROTOCOL.get(self.lab.image, "bare"),
                                 seed=f"{self.seed} {self.stretches}", **self.HISTORY)
        self.history.start()

    def judge(self, go_on=True):
        """Ends a stretch of the histories; problems, as text. Begins the next."""
        history, self.history = self.history, None
        if not history:
            return []
        history.stop()
        self._past_acks += history.acks()
        self._past_ops += history.latencies()
        self.broken += history.broken
        if go_on:
            self._begin_stretch()
        verdict = linear.check(history.ops())
        self.judged += verdict.operations
        return history.problems + ([] if verdict.linearizable else [str(verdict)])

    def stop(self):
        self.ended = time.monotonic_ns()
        for writer in self.writers:
            writer.stop()

    def progress(self):
        """Operations answered so far; an error if a client is gone."""
        return (sum(writer.progress() for writer in self.writers) + len(self._past_acks)
                + (self.history.progress() if self.history else 0))

    def acks(self):
        """When each was: CLOCK_MONOTONIC in ns, oldest first."""
        return sorted([*(at for writer in self.writers for at in writer.acks()),
                       *self._past_acks, *(self.history.acks() if self.history else ())])

    def last_ack(self):
        """By which each writer had an answer. Not each history: its connection may wait for the
        next time TCP repeats what was lost, long after others are served."""
        return min(writer.last_ack() for writer in self.writers)

    def outage_ms(self, begin_ns, end_ns):
        """The longest time without any answer that has a part in that interval."""
        return longest_gap_ms([self.began, *self.acks(), self.ended or time.monotonic_ns()],
                              begin_ns, end_ns)

    def ops(self):
        """Of the histories, oldest first."""
        return self._past_ops

    def lost(self):
        """After stop(): (operations that were answered, those of them that are lost)."""
        counted = [writer.verify() for writer in self.writers]
        return (sum(len(writer.acks()) for writer in self.writers) + len(self._past_acks),
                sum(lost for _, lost in counted))


# --- looking on -------------------------------------------------------------------


class Sampler:
    """The status of both sides, ten times a second."""

    def __init__(self, lab):
        self.lab = lab
        self.samples = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._over.set()
        self._thread.join(10)

    def _run(self):
        while not self._over.wait(SAMPLE_S):
            self.samples.append({"at_ns": time.monotonic_ns(),
                                 **{name: self._look(name) for name in "AB"}})

    def _look(self, name):
        try:
            found = control.ask(self.lab.side[name].control, "status", SAMPLE_S)
        except control.ControlError:
            return None
        return {key: found.get(key) for key in ("role", "state", "generation", "lag_ms",
                                                "log_head")}


class Wire:
    """Captures of what leaves each host, and whether that side was entitled to it. rule: what is
    told of all that is seen."""

    def __init__(self, lab, live, rule):
        self.lab = lab
        self.rule = rule
        # [host, from, to] of who may say something, CLOCK_MONOTONIC in ns; None: it still is.
        self.entitled = [[live, 0, None]]
        self.number = 0
        self.since = 0  # time.time_ns(): from when on this turn's captures count
        self.double_live = 0
        self.frames = 0

    def went_live(self, name, asked_ns, live_ns):
        """It announces itself as it goes live, a moment before it says that it is; and not
        before it asked the arbiter. Nobody else may say anything once it is."""
        if self.entitled[-1][0] != name:
            self.entitled[-1][2] = live_ns
            self.entitled.append([name, asked_ns, None])

    def turn(self):
        """Begins new captures and looks at those there are. Returns problems."""
        old = self.lab.capture
        self.number += 1
        self.lab.capture = {}
        whole = {"snap": NEARLY_WHOLE, "buffer_kib": NEARLY_WHOLE_KIB}
        # Digests are of whole frames. What is asked matters with epochs only.
        wanted = ({"A": {}, "B": {}, "C": {"which": "ip"}} if self.rule.by_epochs else
                  {"A": whole, "B": whole})
        for name, options in wanted.items():
            path = os.path.join(self.lab.dir, f"port{name}.{self.number}.pcap")
            self.lab.capture[name] = Capture(self.lab.net.switch, f"port{name}", path, **options)
            self.lab.processes.append(self.lab.capture[name].process)
        for capture in self.lab.capture.values():
            capture.wait_listening()
        problems = self.look(old, time.time_ns())
        # Who was live before is of no interest any more.
        self.entitled = self.entitled[-1:]
        return problems

    def look(self, captures, until):
        """Ends them; problems, as text. `until`, time.time_ns(): what is later is seen by others."""
        offset = time.time_ns() - time.monotonic_ns()
        problems = []
        seen = {}
        time.sleep(SETTLE_S if captures else 0)
        for name, capture in captures.items():
            frames = capture.read()
            missed = capture.stop()
            if missed:
                problems.append(f"{missed} frames missed by the capture at {name}")
            seen[name] = [frame for frame in frames if self.since <= frame.when < until]
            if name == "C":
                os.unlink(capture.path)
                os.unlink(capture.errors)
                continue
            wrong = [frame.when - offset for frame in frames
                     if not self._may(name, frame.when - offset)]
            self.frames += len(frames)
            self.double_live += len(wrong)
            if wrong:
                problems.append(f"double live: {len(wrong)} frames from {name} at "
                                f"{wrong[0] / 1e6:.1f} ms and later; entitled were " +
                                ", ".join(f"{host} {begin / 1e6:.1f} to "
                                          f"{end / 1e6 if end else 0:.1f}"
                                          for host, begin, end in self.entitled))
            else:
                os.unlink(capture.path)
                os.unlink(capture.errors)
        self.since = until
        requests = seen.pop("C", [])
        self.rule.saw(seen, requests)
        return problems + self.rule.judge()

    def _may(self, name, when):
        return any(host == name and begin <= when and (end is None or when <= end)
                   for host, begin, end in self.entitled)


# --- the drill --------------------------------------------------------------------


class Drill:
    """A pair under load, and what was done to it. `result` is what the reports are made of."""

    def __init__(self, options, plan, logs=LOGS, rule=OutputRule):
        self.options = options
        self.logs = logs  # where they are kept if something is wrong
        self.plan = plan
        kinds = [faults.KINDS[kind] for kind, _ in plan]
        self.lab = Lab(options.image, captures=False, accel=options.accel, smp=options.smp,
                       append="blk=1" if options.image == "bare" else "",
                       own_disks=any(kind.needs_disks for kind in kinds),
                       own_clocks=any(kind.needs_clocks for kind in kinds),
                       own_pipes=any(kind.needs_pipes for kind in kinds), save_log=True,
                       pair={"silence-ms": str(options.silence_ms), "on-stop": "hand-over",
                             **({} if options.strategy == "auto"
                                else {"strategy": options.strategy})})
        # One that is stopped would be waited for, time and again.
        self.lab.answer_s = 1
        self.live = "A"
        self.clients = self.sampler = self.wire = self.rule = None
        self.make_rule = rule
        self.linearizable = None  # None until a history was judged
        self.problems = []  # of no single fault
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
        """The lab is open. Whatever happens, the result is whole afterwards."""
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
        """One fault, until the guest is protected again. Returns its record."""
        record = {"kind": kind, "victim": target, "at_ns": time.monotonic_ns(), "until_ns": 0,
                  "verified": "", "expected": "", "outcome": NOTHING, "outage_ms": None, "seconds": 0.0,
                  "protected_again_ms": None, "problems": []}
        self.result["faults"].append(record)
        fault = faults.KINDS[kind](self.lab, self.live, target)
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
        """Both sides protect: what the primary says from now on has to be held first."""
        status = self.lab.status(self.live)
        self.rule.began(status, self.live, self.lab.status(OTHER[self.live])["save_log"],
                        time.time_ns())

    def pair_ended(self, when_ns, fault=None):
        """CLOCK_MONOTONIC in ns, and what ended it. None: nobody has seen to the end of the log."""
        pair = self.rule.current()
        if pair:
            self.rule.ended(when_ns + time.time_ns() - time.monotonic_ns(), fault is None or
                            (fault.kills_monitor and fault.host == OTHER[pair.primary]))

    def asked_since(self, status):
        """When the primary of the pair there is now asked the arbiter whether it may go on without
        its backup, in ns. Until it has the answer nothing gets out; that it has it stands in its
        journal a moment after its gate is open."""
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
        """Until somebody went on, or the fault's time is over; returns the outcome."""
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
        """What has come of it by now, or None. Says so to the capture's check."""
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
        """Nothing may have changed, and does not once the fault is over."""
        self.moves(f"after {fault.kind}")
        for name in "AB":
            status = self.lab.status(name)
            if (status["state"] not in PAIRED or status["generation"] != generation) and \
               NOTHING == fault.expected()[0] and len(fault.expected()) == 1:
                raise FaultError(f"{name} is {status['state']} ({status['reason']}), generation "
                                 f"{status['generation']} instead of protected, {generation}")

    def after(self, fault, record, before):
        """From one side having gone on to the guest being protected again."""
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
        """A side that is not live and still has a monitor knows that it is not."""
        def over():
            state = self.lab.state(name)
            return state is None or state in OVER
        self.lab.wait(over, f"{name}, which is not live, to end or be fenced", 20)

    def protect(self):
        """The host that is free offers itself, as its service manager would have it do."""
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
        """One start of a backup; whether it came to protect the guest. Restart=always: it may end
        because an attach failed half-way, or its address is not free yet (what a monitor listened
        with is closed by the kernel a moment after it ended)."""
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
        """After a problem: heals, and tries to be protected again, so that others can be found."""
        try:
            fault.end()
            for side in self.lab.side.values():
                side.may_end = True  # what has ended is known
            if self.is_protected() and self.guest_answers():
                return
            self.pair_ended(record["at_ns"])
            # Whoever asks the arbiter at the moment may be live soon; it may be the last copy.
            live = self.wait_live(PATIENCE_S // 2)
            if live is None or not self.guest_answers():
                # A guest that is stuck: its host is switched off, the backup takes over.
                self.lab.kill_host(live or self.live)
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
        """Which side is live without a backup; None if in that time none is."""
        end = time.monotonic() + seconds
        while not (live := self.find_live()) and time.monotonic() < end:
            time.sleep(0.1)
        return live

    def moves(self, what, timeout=PATIENCE_S):
        """Until requests that were sent from now on are answered."""
        now = time.monotonic_ns()
        before = self.clients.progress()
        self.lab.wait(lambda: self.clients.progress() > before + 2 and
                      self.clients.last_ack() > now, f"clients to be answered {what}", timeout)

    def compare(self):
        """Memory and disks of both sides at one log position."""
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
        """Without its backup: with it each answer would wait for an epoch's end, for minutes."""
        if self.is_protected():
            self.lab.end_side(OTHER[self.live])
            self.lab.wait_state(self.live, "alone", "attaching", timeout=PATIENCE_S)
        self.answered, self.lost = self.clients.lost()
        if self.lost:
            self.problems.append(f"{self.lost} acknowledged writes are lost")

    def finish_wire(self):
        """While there is a backup whose log can be read; it may write yet what it holds."""
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
        drillreport.summarize(self.result)
        good = (not self.problems and not any(fault["problems"] for fault in done)
                and len(done) == len(self.plan) and self.lost == 0
                and not totals["double_live"] and not self.undetected
                and totals["output_before_ack"] == 0 and self.linearizable is True)
        self.result["ok"] = good
        if not good and self.lab.dir and os.path.isdir(self.lab.dir):
            self.lab.keep_logs(self.logs)

    def tell(self, number):
        """What came of the last one."""
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
    """One line: processors, memory, kernel."""
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


# --- the program ------------------------------------------------------------------


def parse_arguments(words):
    parser = argparse.ArgumentParser(
        prog=ME, description="Does faults to a protected guest under load, shows that each "
                             "happened, and what came of it. Without --fault or --soak: each kind "
                             "once.")
    parser.add_argument("--list", action="store_true", help="name the kinds of faults and stop")
    parser.add_argument("--fault", metavar="LIST",
                        help="KIND or KIND:primary, KIND:backup; several with commas")
    parser.add_argument("--soak", type=int, metavar="N", help="N faults at random")
    parser.add_argument("--without", metavar="LIST", default="",
                        help="kinds of faults that neither --soak nor the default has")
    parser.add_argument("--seed", type=int, help="of the random ones; the same seed gives the "
                                                 "same faults")
    parser.add_argument("--image", choices=IMAGES, help="the guest, default tiny; bare with kvm")
    parser.add_argument("--strategy", choices=("auto", "lockstep", "checkpoint"), default="auto")
    parser.add_argument("--accel", choices=("tcg", "kvm"), default="tcg")
    parser.add_argument("--smp", type=int, choices=range(1, SMP_MAX + 1), default=1, metavar="N",
                        help="processors of the guest, default 1")
    parser.add_argument("--silence-ms", type=int, default=SILENCE_MS, metavar="MS",
                        help=f"as in the pair file, default {SILENCE_MS}")
    parser.add_argument("--json", metavar="FILE", help="write the result there as JSON")
    parser.add_argument("--html", metavar="FILE", help="write the report there as one page")
    parser.add_argument("--keep-going", action="store_true",
                        help="go on to the next fault after a problem")
    # For the shell script, which would not install packages for a mistyped option.
    parser.add_argument("--usage-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    options.image = options.image or ("bare" if options.accel == "kvm" else "tiny")
    options.seed = options.seed if options.seed is not None else random.randrange(1 << 31)
    if options.fault and options.soak:
        parser.error("--fault and --soak: one of the two")
    if options.soak is not None and options.soak < 1:
        parser.error("--soak: 1 or more")
    if options.accel == "kvm" and not options.usage_only and not options.list and not has_kvm():
        parser.error(f"--accel kvm: cannot run here: no {KVM}")
    try:
        if options.fault:
            faults.parse_list(options.fault, None if options.usage_only else options)
        without = faults.kinds_in(options.without)
        if not options.fault and not set(faults.KINDS) - set(without):
            raise ValueError("--without: nothing is left")
    except ValueError as error:
        parser.error(str(error))
    return options


def plan_of(options):
    if options.fault:
        return faults.parse_list(options.fault, options)
    kinds = faults.available(options, faults.kinds_in(options.without))
    if options.soak:
        return faults.drawn(options.soak, random.Random(options.seed), kinds)
    return faults.every(kinds)


def list_kinds(options):
    for kind, fault in faults.KINDS.items():
        why = fault.why_not(options)
        print(f"{kind:<26} {'|'.join(fault.targets):<15} {fault.text}" +
              (f" [not available: {why}]" if why else ""))
    return EXIT_OK


def drill(options):
    made = Drill(options, plan_of(options))
    say(f"{len(made.plan)} faults, seed {options.seed}, {options.image} guest, strategy "
        f"{options.strategy}, {options.accel}, {options.smp} processors")
    with made.lab:
        made.run()
    report(made.result, options)
    clean = nothing_left(ME, made.lab)
    return EXIT_OK if made.result["ok"] and clean else EXIT_FAILED


def report(result, options):
    print(drillreport.table(result))
    for path, made in ((options.json, drillreport.json), (options.html, drillreport.html)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(made(result))


def main(words):
    options = parse_arguments(words)
    if options.usage_only:
        return EXIT_OK
    if options.list:
        return list_kinds(options)
    return guarded(ME, lambda: drill(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
