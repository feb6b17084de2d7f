# SPDX-License-Identifier: GPL-2.0-or-later
"""The log a backup saves: what is in it, running it once more, and what it must not disturb."""

import json
import os
import re
import shutil
import struct
import subprocess
import tempfile

import pytest

from harness import (ASAN_LOCKSTEP, LOCKSTEP, Loaded, TCG_1, check, equal, everyday, full, note,
                     paired, ways)
from vmftlab.guest import READY
from vmftlab.programs import built
from vmftlab.load import GuestShell
from vmftlab.net import run

REPLAY_LIMIT_S = 600
QEMU, DIFFERS = 4, 12
MARK = "a line the guest wrote before the kill"


def save_dir(pair):
    path = os.path.join(pair.dir, "saved")
    os.makedirs(path, exist_ok=True)
    return path


def saved(way, name, **options):
    """A lab whose backup saves its log; the directory is known once the lab is there."""
    return way.lab(name, pair={"save-log": "/var/empty", **options.pop("pair", {})}, **options)


def use_save_dir(pair):
    pair.pair_keys["save-log"] = save_dir(pair)
    pair.write_pair()
    return save_dir(pair)


def the_file(pair):
    names = os.listdir(save_dir(pair))
    equal(len(names), 1, f"files saved ({names})")
    return os.path.join(save_dir(pair), names[0])


def logdump(path, *options, code=0):
    done = run(built("vmft-logdump"), *options, path, check=False, timeout=120)
    equal(done.returncode, code, f"exit code of vmft-logdump ({done.stderr.strip()})")
    return done


def entries(path):
    return [json.loads(line) for line in logdump(path, "--json").stdout.splitlines()]


def original_disk(pair):
    return pair.guest.disk_image


def replay(pair, path, *options, disk=True):
    command = [built("vmft"), "replay", path, *options]
    if disk:
        command += ["--disk", original_disk(pair)]
    if pair.pair_keys["qemu"]:
        command += ["--qemu", pair.pair_keys["qemu"]]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=REPLAY_LIMIT_S, check=False,
                          env={**os.environ, "TMPDIR": replay_dir(pair)})
    equal(os.listdir(replay_dir(pair)), [], "what vmft replay left behind")
    return done


def replay_dir(pair):
    path = os.path.join(pair.dir, "tmp")
    os.makedirs(path, exist_ok=True)
    return path


def changed_copy(pair, path, name, position, byte):
    """One byte of the log is another, and the checksums are right."""
    to = os.path.join(pair.dir, name)
    run(built("vmft-savedlog-edit"), path, to, str(position), str(byte))
    return to


def log_bytes(path):
    """All of the log, read without any of vmft's code."""
    with open(path, "rb") as file:
        data = file.read()
    equal(data[:8], b"VMFTLOG\n", "the first bytes of a saved log")
    at, found, expected = struct.unpack_from(">I", data, 12)[0], [], None
    while at + 32 <= len(data):
        position, _, length = struct.unpack_from(">QqI", data, at + 8)
        equal(position, position if expected is None else expected, "position of a record")
        found.append(data[at + 32:at + 32 + length])
        expected = position + length
        at += 32 + length
    equal(at, len(data), "end of the last record")
    return b"".join(found)


def whole(found):
    """Nothing is missing in between; returns where it ends."""
    for before, after in zip(found, found[1:]):
        equal(after["position"], before["position"] + before["bytes"], "position of an entry")
        check(after["held_ns"] >= before["held_ns"], "an entry was held before the one before it")
    return found[-1]["position"] + found[-1]["bytes"]


def stale_runs(found):
    """Runs of the vCPU whose limit is older than how its instructions become time (docs/qemu.md),
    by position, and how often a timer of the main loop has changed that. Such a run begins without
    the entry that goes before a new limit."""
    changes, stale, reads, limit_is_old = 0, [], None, False
    for entry in found:
        kind = (entry["kind"], entry.get("checkpoint") or entry.get("clock"))
        if kind == ("checkpoint", "clock-virtual-rt"):
            reads = 0
        elif kind == ("clock", "virtual-rt") and reads is not None:
            # One to run the timers, one for how long to wait; the third is a timer's.
            reads += 1
            if reads == 3:
                changes += 1
                limit_is_old = True
        elif kind != ("clock", "host"):
            reads = None
            if limit_is_old and kind[0] == "instruction":
                stale.append(entry["position"])
            limit_is_old = limit_is_old and kind[0] != "instruction" and \
                kind != ("checkpoint", "clock-warp-account")
    return stale, changes


def loaded_log(pair):
    """A pair under load whose primary is killed. Returns the file, and the keys that had been
    acknowledged before the kill."""
    use_save_dir(pair)
    loaded = Loaded(pair).start()
    shell = GuestShell(pair)
    shell.run(f"echo '{MARK}' > /dev/console")
    pair.wait_following()
    loaded.settle("before the kill")
    path = pair.status("B")["save_log"]
    equal(path, the_file(pair), "the file status names")
    acked = [key for key, _ in loaded.load.writer.pairs()]
    pair.faults.kill_qemu("A")
    pair.wait_state("B", "alone")
    loaded.settle("after the kill")
    loaded.verify()
    equal(pair.status("B")["save_log_error"], "", "what went wrong with saving")
    return path, acked


@everyday("a log from a stranger runs no program of his")
def test_replay_executes_nothing_of_the_log(name):
    """A log may come from anybody: the program its header names is not run."""
    with tempfile.TemporaryDirectory(prefix=name) as directory:
        program, mark, log = (os.path.join(directory, word) for word in ("qemu", "mark", "log"))
        with open(program, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\ntouch {mark}\necho QEMU emulator version 7.2.0\n")
        os.chmod(program, 0o755)
        run(built("vmft-savedlog-edit"), "--forge", log, program)
        done = run(built("vmft"), "replay", log, check=False, timeout=60)
        check(not os.path.exists(mark), "the program in the log's header was run")
        equal(done.returncode, QEMU, f"exit code of vmft replay ({done.stderr.strip()})")
        check(re.search(rf"another QEMU build .*{program}", done.stderr), done.stderr)
        note(done.stderr.strip())
        run(program)
        check(os.path.exists(mark), "the program would have left no mark")


@everyday("a saved log is complete and runs again")
@ways(LOCKSTEP)
@pytest.mark.timeout(900)
def test_savedlog_replay(name, way):
    """All that was held is in the file, and running it again does what the backup's guest did."""
    with saved(way, name) as pair:
        path, acked = loaded_log(pair)
        found = entries(path)
        end = whole(found)
        equal(found[0]["position"], 0, "position of the first entry")
        stale, changes = stale_runs(found)
        check(changes > 0, "no timer of the main loop has changed time")
        equal(stale, [], "runs with a limit of another time, which cannot be replayed")
        log = log_bytes(path)
        equal(len(log), end, "bytes of log in the file")
        check(acked, "nothing was acknowledged before the kill")
        for key in acked:
            check(key.encode() in log, f"the packet with key {key}, which was acknowledged, "
                                       "is not in the log")
        packets = [entry for entry in found if entry["kind"] == "net"]
        for entry in packets:
            at = entry["position"] + 10
            equal(log[at:at + min(entry["length"], 16)].hex(),
                  entry["first-bytes"].rstrip("."), "a packet's first bytes")
        for protocol in ("ARP", "ICMP", "TCP"):
            check(any(entry["protocol"] == protocol for entry in packets),
                  f"no {protocol} packet among {len(packets)}")
        note(f"{len(found)} entries, {end} bytes, {len(packets)} packets")
        console = os.path.join(pair.dir, "replayed-console")
        before = pair.side["B"].console()
        done = replay(pair, path, "--console", console)
        equal(done.returncode, 0, f"exit code of vmft replay ({done.stdout}{done.stderr})")
        said = re.search(r"replayed (\d+) entries up to position (\d+), no difference", done.stdout)
        check(said, f"vmft replay said {done.stdout!r}")
        # The log may end after instructions that led to an entry that the backup never had.
        check(end - int(said[2]) in (0, 5), f"replayed up to {said[2]} of {end}")
        with open(console, "rb") as file:
            replayed = file.read()
        check(before.startswith(replayed), f"another console: {replayed[-80:]}")
        check(MARK.encode() in replayed, "the replayed console lacks what the guest wrote")
        equal(pair.side["B"].console()[:len(before)], before, "the backup's own console")


@full("savedlog-differs-packet sees a replay that differs")
@ways(LOCKSTEP)
@pytest.mark.timeout(600)
def test_savedlog_differs(name, way):
    """A request that completes though it was never made: replay waits for it, and says where."""
    with saved(way, name) as pair:
        path, _ = loaded_log(pair)
        blocks = [entry for entry in entries(path) if entry["kind"] == "block"]
        entry = blocks[len(blocks) // 2]
        copy = changed_copy(pair, path, "changed.vmftlog", entry["position"] + 1, 0x7f)
        done = replay(pair, copy)
        equal(done.returncode, DIFFERS, f"exit code of vmft replay ({done.stdout}{done.stderr})")
        check(re.search(r"a difference at log position \d+ of \d+: replay stands still although",
                        done.stdout), f"vmft replay said {done.stdout!r}")
        here = [line for line in done.stdout.splitlines() if line.startswith("->")]
        equal(len(here), 1, f"entries pointed at ({done.stdout})")
        equal(here[0].split()[1:3], [str(entry["position"]), "block"], "the entry pointed at")
        check(len(done.stdout.splitlines()) == 1 + 5 + 1 + 3, f"entries around it: {done.stdout}")


@full("savedlog-replay shows that a replay is compared; this damages one")
@ways(LOCKSTEP)
@pytest.mark.timeout(600)
def test_savedlog_differs_packet(name, way):
    """A ping whose last byte is another: its checksum is wrong, and the guest does not answer."""
    with saved(way, name) as pair:
        path, _ = loaded_log(pair)
        found = entries(path)
        if not any(entry["kind"] in ("output", "digest") for entry in found):
            pytest.skip("the log has nothing that output is compared with")
        pings = [entry for entry in found
                 if entry["kind"] == "net" and entry["protocol"] == "ICMP"]
        ping = pings[len(pings) // 2]
        at = ping["position"] + ping["bytes"] - 1
        copy = changed_copy(pair, path, "changed.vmftlog", at, ord("~"))
        done = replay(pair, copy)
        equal(done.returncode, DIFFERS, f"exit code of vmft replay ({done.stdout}{done.stderr})")
        said = re.search(r"a difference at log position (\d+)", done.stdout)
        check(said and int(said[1]) > at, f"vmft replay said {done.stdout!r}")


@full("savedlog-replay and unit tests of the reader see the ends of a log")
@ways(LOCKSTEP)
@pytest.mark.timeout(400)
def test_savedlog_guest_ends(name, way):
    """A log that ends with the guest is replayed to that end; a torn one up to where it is torn."""
    with saved(way, name) as pair:
        use_save_dir(pair)
        pair.start_protected()
        for side in pair.side.values():
            side.may_end = True
        GuestShell(pair).send("sync; poweroff -f")
        equal(pair.side["B"].exit_code(120), 0, "exit code of the backup's QEMU")
        pair.wait(lambda: not pair.side["B"].monitor_pids(), "the backup's monitor to end", 30)
        path = the_file(pair)
        found = entries(path)
        whole(found)
        causes = [entry["cause"] for entry in found if entry["kind"] == "shutdown"]
        # QEMU itself adds host-signal as it leaves, if the backup has not left by then.
        equal(causes[:1], ["guest-shutdown"], "how the guest ended")
        done = replay(pair, path)
        equal(done.returncode, 0, f"exit code of vmft replay ({done.stdout}{done.stderr})")
        check("no difference" in done.stdout, f"vmft replay said {done.stdout!r}")
        torn(pair, path, found)
        refused(pair, path)


def torn(pair, path, found):
    """What power loss leaves: a record cut short, or zeroes."""
    size = os.path.getsize(path)
    for name, length, zeroes in (("short", size - 3, 0), ("zeroes", size - 3, 70000)):
        copy = os.path.join(pair.dir, f"{name}.vmftlog")
        shutil.copy(path, copy)
        os.truncate(copy, length)
        os.truncate(copy, length + zeroes)
        done = logdump(copy, "--json", "--stats")
        less = json.loads(done.stdout)["entries"]
        check(0 < less < len(found), f"{less} of {len(found)} entries ({name})")
        check("torn" in done.stderr, f"vmft-logdump said {done.stderr!r} ({name})")
        last = logdump(copy, "--json", "--from", str(found[less - 1]["position"])).stdout
        equal(json.loads(last), found[less - 1], f"the last entry that is whole ({name})")


def refused(pair, path):
    """What is no saved log, or a damaged one, is one line and nothing else."""
    copy = os.path.join(pair.dir, "damaged.vmftlog")
    with open(path, "rb") as file:
        data = bytearray(file.read())
    data[len(data) // 2] ^= 1
    with open(copy, "wb") as file:
        file.write(data)
    done = replay(pair, copy)
    equal(done.returncode, 2, "exit code for a damaged log")
    check(re.fullmatch(r"vmft replay: .*: damaged after log position \d+.*\n", done.stderr),
          f"vmft replay said {done.stderr!r}")
    said = logdump(copy, "--stats", code=1).stderr
    check(re.fullmatch(r"vmft-logdump: .*: damaged at byte \d+, .*\n", said),
          f"vmft-logdump said {said!r}")
    with open(copy, "wb") as file:
        file.write(b"[pair]\n" * 100)
    said = logdump(copy, code=2).stderr
    check(re.fullmatch(r"vmft-logdump: .*: not a log that vmft saved\n", said),
          f"vmft-logdump said {said!r}")
    done = replay(pair, path, disk=False)
    equal(done.returncode, 2, "exit code for a disk that is not given")
    equal(done.stderr.count("\n"), 1, f"lines of a refusal ({done.stderr})")
    other = os.path.join(pair.dir, "other.raw")
    shutil.copy(pair.side["A"].disk, other)
    done = replay(pair, path, "--disk", other, disk=False)
    equal(done.returncode, 5, f"exit code for another disk ({done.stdout}{done.stderr})")
    equal(done.stderr.count("\n"), 1, f"lines of a refusal ({done.stderr})")


@everyday("a full disk of the saved log disturbs nothing")
@ways(LOCKSTEP, ASAN_LOCKSTEP)
def test_savedlog_disk_full(name, way):
    """A full disk stops the saving, and nothing else."""
    with saved(way, name) as pair:
        directory = use_save_dir(pair)
        pair.start_side("B", inside=f"mount -t tmpfs -o size=256k none {directory}")
        pair.wait(lambda: pair.peek("B"), "the backup's monitor")
        pair.start_side("A")
        pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot")
        error = pair.wait(lambda: pair.status("B")["save_log_error"], "the disk to be full")
        check(re.search("No space left on device", error), f"save_log_error is {error!r}")
        paired(pair, "B", "state of B")
        said = [line for line in pair.side["B"].log_lines() if "is not saved any more" in line]
        equal(len(said), 1, "lines about it")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        GuestShell(pair).run("true")
        pair.side["B"].may_end = True


@full("savedlog-disk-full sees that a log that cannot be saved disturbs nothing")
@ways(LOCKSTEP)
def test_savedlog_no_directory(name, way):
    """Nowhere to save to: said at the start, and the pair forms."""
    with saved(way, name) as pair:
        pair.pair_keys["save-log"] = os.path.join(pair.dir, "nowhere")
        pair.write_pair()
        pair.start_protected()
        check("No such file" in pair.status("B")["save_log_error"],
              f"save_log_error is {pair.status('B')['save_log_error']!r}")
        equal(pair.status("B")["save_log"], "", "save_log")


@everyday("a log that begins at an attach", TCG_1)
@ways(LOCKSTEP, TCG_1)
def test_savedlog_attach(name, way):
    """A log that begins at an attach can be looked at, not replayed."""
    with saved(way, name, captures=False, pair={"start": "alone"}) as pair:
        use_save_dir(pair)
        pair.start_side("A")
        pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot")
        pair.start_backup("B")
        pair.wait_attached("A", "B")
        pair.wait_following()
        first = pair.status("A")["log_head"]
        pair.wait(lambda: pair.status("B")["log_replayed"] > first, "the log to go on")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        path = the_file(pair)
        found = entries(path)
        if way.sends_state:
            equal({entry["kind"] for entry in found}, {"epoch"}, "kinds of entries")
            positions = [entry["position"] for entry in found]
            equal(positions, sorted(set(positions)), "positions of the epochs")
        else:
            whole(found)
            check(found[0]["position"] > 0, "the log begins at 0")
        check(found[-1]["position"] > first, "the file ends too early")
        done = replay(pair, path)
        equal(done.returncode, 2, f"exit code of vmft replay ({done.stdout}{done.stderr})")
        equal(done.stderr.count("\n"), 1, f"lines of the refusal ({done.stderr})")
        check("checkpoints" in done.stderr if way.sends_state else "attached" in done.stderr,
              f"vmft replay said {done.stderr!r}")
