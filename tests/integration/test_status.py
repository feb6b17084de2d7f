# SPDX-License-Identifier: GPL-2.0-or-later
"""vmft status and vmft events: what a person and a script read of a VM, in each of its states."""

import json
import os
import subprocess
import time

from harness import BOTH, LOCKSTEP, check, equal, everyday, lab, note, ways
from vmftlab.net import run
from vmftlab.programs import built

# monitor/common/exit-codes.h
PROTECTED, ADDRESS, ALONE, ATTACHING, WAITING = 0, 6, 14, 15, 16


class Shown:
    """vmft as it runs on a host: with a /run/vmft that holds the sockets of this lab's sides."""

    def __init__(self, pair):
        self.pair = pair
        links = " && ".join(f"ln -s {side.control} /run/vmft/{pair.prefix}.{side.host}.sock"
                            for side in pair.side.values())
        self.inside = ["unshare", "-m", "sh", "-c",
                       f'mount -t tmpfs none /run && mkdir /run/vmft && {links} && exec "$@"', "sh"]

    def ask(self, *words):
        """What it prints, and its exit code."""
        done = run(*self.inside, built("vmft"), *words, check=False, timeout=60)
        return done.stdout + done.stderr, done.returncode

    def follow(self, path, *words):
        """vmft events, until it is killed; what it prints goes to that file."""
        with open(path, "wb") as file:
            return subprocess.Popen([*self.inside, built("vmft"), *words], stdin=subprocess.DEVNULL,
                                    stdout=file, stderr=file)

    def must_be(self, side, code, *words):
        """The status of a side, by its name: the exit code, in it these words, 80 columns wide."""
        text, got = self.ask("status", f"{self.pair.prefix}.{self.pair.side[side].host}")
        equal(got, code, f"exit code of vmft status for {side} ({text})")
        for word in words:
            check(word in text, f"no {word!r} in the status of {side}:\n{text}")
        for line in text.splitlines() if code != ADDRESS else ():
            check(len(line) <= 80 or " " not in line.strip(), f"{len(line)} columns: {line}")
        return text

    def by_json(self, side):
        text, _ = self.ask("--json", "status", f"{self.pair.prefix}.{self.pair.side[side].host}")
        return json.loads(text)


def events_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def changes(path, side):
    """The states a side went through, and why."""
    return [(event["was"], event["state"], event["reason"]) for event in events_of(path)
            if event["side"] == side and "was" in event]


@everyday("what a person and a script read of a VM in each of its states", LOCKSTEP)
@ways(*BOTH)
def test_status(name, way):
    """From a backup that waits to a VM that is protected, alone, attaching, protected, and gone."""
    with way.lab(name, captures=False) as pair:
        shown = Shown(pair)
        primary, backup = f"{pair.prefix}.primary", f"{pair.prefix}.backup"
        pair.start_side("B")
        pair.wait(lambda: pair.state("B") == "forming", "the backup's monitor")
        shown.must_be("B", WAITING, "forming for ", "next        this side waits on")
        text, code = shown.ask("status")
        equal(code, WAITING, f"exit code of the list while A is not there ({text})")
        equal(len(text.splitlines()), 2, f"lines of the list: {text}")

        pair.start_side("A")
        pair.wait(lambda: pair.paired("A") and pair.paired("B"), "the pair to form")
        pair.wait_following()
        protected = shown.must_be("A", PROTECTED, "host backup at", "behind",
                                  "none to this side since it was started")
        note(protected)
        note(shown.must_be("B", PROTECTED, "host primary at"))
        check(9 <= len(protected.splitlines()) <= 16, f"{protected}")
        status = shown.by_json("A")
        equal((status["version"], status["peer"], status["failovers"], status["took_over_ms"]),
              (1, "backup", 0, None), "version, peer, failovers and took_over_ms")
        equal(shown.ask("status", pair.prefix)[1], ADDRESS, "exit code for a name of two sides")
        listed, code = shown.ask("status")
        note(listed)
        equal(code, PROTECTED, f"exit code of the list ({listed})")
        equal([line.split()[:2] for line in listed.splitlines()[1:]],
              [[backup, "backup"], [primary, "primary"]], "the list")
        text, _ = shown.ask("status", "--json")
        equal([json.loads(line)["host"] for line in text.splitlines()], ["backup", "primary"],
              "the list as JSON")

        told, read = (os.path.join(pair.dir, f"events.{kind}") for kind in ("json", "text"))
        following = [shown.follow(told, "events", "--json"), shown.follow(read, "events", primary)]
        pair.wait(lambda: len(events_of(told)) == 2 and os.path.getsize(read) > 0,
                  "both sides to be followed, one of them by both")
        for side in pair.side.values():
            side.may_end = True
        killed = time.time()
        pair.faults.kill_host("B")
        pair.wait_state("A", "alone")
        alone = shown.must_be("A", ALONE, "because     ", "backup lost ", "peer        ",
                              "nothing protects this guest: start a backup")
        note(alone)
        pair.wait(lambda: changes(told, primary)[-1:] and changes(told, primary)[-1][1] == "alone",
                  "the change to alone to be told")
        seen = changes(told, primary)
        equal([change[:2] for change in seen],
              [("protected", "arbitrating"), ("arbitrating", "alone")], "changes of A's state")
        check(seen[0][2], f"no reason was given: {seen}")
        last = [event for event in events_of(told) if event.get("state") == "alone"][0]
        check(abs(last["time_ms"] / 1000 - killed) < 60, f"its time of day is {last}")
        with open(read, encoding="utf-8") as file:
            text = file.read()
        note(text)
        check(f"{primary}: is protected, generation 1\n" in text, text)
        check(f"{primary}: protected -> arbitrating, generation 1: " in text, text)

        pair.command("A", "hold-attach")
        pair.start_backup("B")
        pair.wait_state("A", "attaching")
        note(shown.must_be("A", ATTACHING, "round "))
        shown.must_be("B", ATTACHING)
        pair.command("A", "release-attach")
        pair.wait_attached("A", "B")
        shown.must_be("A", PROTECTED, "attach      the last one took")
        # A side that is new is followed as well.
        pair.wait(lambda: changes(told, backup)[-1:] and changes(told, backup)[-1][1] == "protected",
                  "the new backup to be followed")

        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        live = shown.must_be("B", ALONE, "the guest went live here ")
        note(live)
        equal(shown.by_json("B")["failovers"], 1, "failovers of B")
        pair.wait(lambda: not pair.side["A"].monitor_pids(), "A's monitor to end", 30)
        shown.must_be("A", ADDRESS)
        equal(following[1].wait(20), ADDRESS, "exit code of vmft events when the monitor is gone")
        # What was last is told, too: the monitor ended at once.
        pair.wait(lambda: changes(told, primary)[-1][1] == "ended", "the end of A to be told")
        following[0].kill()
        following[0].wait()


@everyday("the words of the command line, and its exit codes")
def test_command_line(name):
    """What vmft cannot read is one line and exit code 2; --help tells of each command."""
    with lab(name, captures=False) as pair:
        shown = Shown(pair)
        for words in (["status", "--no"], ["nothing"], ["status", "a", "b"], [],
                      ["--timeout", "x", "status"], ["freeze"], ["drill"], ["replay"],
                      ["declare-dead"], ["switchover", "a", "b"], ["status", "--timeout"]):
            text, code = shown.ask(*words)
            equal(code, 2, f"exit code of vmft {words}")
            equal(len(text.splitlines()), 1, f"lines of vmft {words}: {text}")
            check("--help" in text, f"vmft {words} does not say where help is: {text}")
        for words in ([], ["status"], ["events"], ["watch"], ["drill"], ["declare-dead"],
                      ["replay"], ["freeze"]):
            text, code = shown.ask(*words, "--help")
            equal(code, 0, f"exit code of vmft {words} --help")
            check("Usage: vmft" in text and text.count("\n") > 4, f"{words}: {text}")
