# SPDX-License-Identifier: GPL-2.0-or-later
"""When a silent peer is given up: the channel, the heartbeat path, and what may speak for a peer.

How fast anything is, is not asserted; that nobody gives up before his time is. Each time is one
that a monitor has measured itself and said.
"""

import os
import re
import socket
import threading
import time

import pytest

from harness import (ASAN_LOCKSTEP, BOTH, Loaded, TCG_1, captures_whole, check, equal, everyday,
                     full, lab, note, one_line, silent, ways)
from test_failover import backup_took_over, primary_went_on
from vmftlab.watch import PAIRED
from vmftlab.net import CHANNEL_IP, HEARTBEAT_IP, HEARTBEAT_PORT, in_namespace, udp_socket

SILENCE_MS = 2000
GRACE_MS = 8000
KEYS = {"silence-ms": SILENCE_MS, "grace-ms": GRACE_MS}
GAVE_UP = r"nothing heard for (\d+) ms .*heartbeat path: (.*)\)"
IN_GRACE = "the channel is silent, but the peer is there on the heartbeat path"


def both_protected(pair, generation):
    for side in "AB":
        status = pair.status(side)
        check(status["state"] in PAIRED, f"state of {side}: {status['state']}")
        equal(status["generation"], generation, f"generation of {side}")


def paths_are(pair, pattern):
    """Both sides' status, waited for: it is a matter of datagrams."""
    for side in "AB":
        pair.wait(lambda s=side: re.fullmatch(pattern, pair.status(s)["heartbeat_path"]),
                  f"{side}'s heartbeat path to be {pattern}", 30)


def gave_up_after(pair, side, at_least_ms, path):
    """The side said that it gave its peer up: not before its time, and knowing this."""
    found = pair.wait_said(side, GAVE_UP)
    note(f"{side}: {found.group(0)}")
    check(int(found.group(1)) >= at_least_ms,
          f"{side} gave up after {found.group(1)} ms, not {at_least_ms}")
    check(re.match(path, found.group(2)), f"{side} saw its heartbeat path as {found.group(2)!r}")
    return int(found.group(1))


def never_graced(pair, side):
    check(IN_GRACE not in pair.side[side].log(), f"{side} waited for grace-ms")


@everyday("the heartbeat path alone decides nothing", TCG_1)
@ways(*BOTH, ASAN_LOCKSTEP, TCG_1)
def test_heartbeat_path_cut(name, way):
    """It alone is no reason for anything."""
    with way.lab(name, pair=KEYS) as pair:
        loaded = Loaded(pair).start()
        paths_are(pair, "ok")
        pair.faults.cut_heartbeat()
        paths_are(pair, r"silent for \d+ ms")
        for side in "AB":
            pair.wait_said(side, "heartbeat path to .*: silent", 10)
        time.sleep(2 * SILENCE_MS / 1000)  # not to wait for anything: nothing is to happen
        both_protected(pair, 1)
        loaded.settle("without the heartbeat path")
        pair.net.mend_heartbeat()
        paths_are(pair, "ok")
        for side in "AB":
            pair.wait_said(side, "heartbeat path to .*: ok again", 10)
            equal(pair.status(side)["detection"], "channel ok", f"detection of {side}")
        # Back to where a death is seen at once.
        pair.faults.kill_qemu("A")
        backup_took_over(loaded, "kill -9 of the primary's QEMU")
        captures_whole(pair)


@full("unit tests of the detection see each length of silence; this uses the defaults")
def test_channel_cut_short(name):
    """With the defaults, cuts of 300 and 600 ms change nothing."""
    with lab(name, pair={"silence-ms": None}) as pair:
        loaded = Loaded(pair).start()
        equal(pair.status("A")["silence_ms"], 1000, "silence-ms by default")
        for cut_ms in (300, 600, 600):
            begin = time.monotonic()
            pair.faults.cut_channel()
            time.sleep(cut_ms / 1000)
            pair.net.mend_channel()
            check(time.monotonic() - begin < 1.5, "this machine is too busy: the cut was longer "
                  "than is to be survived")
            for side in "AB":
                pair.wait(lambda s=side: pair.status(s)["detection"] == "channel ok",
                          f"{side} to hear its peer again")
            loaded.settle(f"after a cut of {cut_ms} ms")
            both_protected(pair, 1)
        loaded.verify()
        both_protected(pair, 1)
        equal(len(pair.capture["B"].frames()), 0, "frames from the backup's host")
        captures_whole(pair)


@everyday("grace-ms: both sides wait as long as heartbeats arrive", TCG_1)
@ways(*BOTH, TCG_1)
def test_channel_silent_in_grace(name, way):
    """Longer than silence-ms, shorter than grace-ms: both wait, output waits, and it goes on."""
    with way.lab(name, pair={"silence-ms": 1000, "grace-ms": 60000}) as pair:
        loaded = Loaded(pair).start()
        pair.faults.cut_channel()
        for side in "AB":
            pair.wait(lambda s=side: "peer alive on the heartbeat path"
                      in pair.status(s)["detection"], f"{side} to wait for its peer", 30)
        # The lease is over by now: nothing leaves while nobody may know who goes on.
        quiet = time.time_ns()
        time.sleep(2)
        silent(pair, "A", quiet, "while the channel is silent")
        both_protected(pair, 1)
        pair.net.mend_channel()
        for side in "AB":
            pair.wait_said(side, "the channel is back")
        loaded.settle("after the channel came back")
        both_protected(pair, 1)
        loaded.verify()
        equal(len(pair.capture["B"].frames()), 0, "frames from the backup's host")
        captures_whole(pair)


def one_goes_on(pair, loaded, what):
    """Returns who did; the other is fenced and silent from then on."""
    winner = pair.wait(lambda: next((side for side in "AB" if pair.state(side) == "alone"), None),
                       "one side to go on")
    loser = "B" if winner == "A" else "A"
    note(f"{pair.side[winner].role} went on")
    fenced = time.time_ns()
    pair.side[loser].may_end = True
    pair.wait_said(loser, "fenced")
    if winner == "B":
        backup_took_over(loaded, what)
    else:
        primary_went_on(loaded, what)
    silent(pair, loser, fenced, "after it was fenced")
    captures_whole(pair)
    return winner


@everyday("grace-ms ends", TCG_1)
@ways(*BOTH, TCG_1)
def test_channel_dead_path_alive(name, way):
    """Not before grace-ms; and the primary, which asks first, has two seconds for it here."""
    with way.lab(name, pair=KEYS) as pair:
        loaded = Loaded(pair).start()
        pair.faults.cut_channel()
        winner = one_goes_on(pair, loaded, "the channel was cut for good")
        gave_up_after(pair, winner, GRACE_MS * 3 // 4 if winner == "A" else GRACE_MS, "ok")
        check(IN_GRACE in pair.side[winner].log(), f"{winner} did not say that it waits")
        equal(winner, "A", "who went on")


@full("cut-channel without grace; the simulation draws both cuts")
@ways(*BOTH, TCG_1)
def test_both_paths_cut(name, way):
    with way.lab(name, pair={**KEYS, "grace-ms": 120000}) as pair:
        loaded = Loaded(pair).start()
        pair.faults.cut_heartbeat()
        paths_are(pair, r"silent for \d+ ms")
        pair.faults.cut_channel()
        winner = one_goes_on(pair, loaded, "both paths were cut")
        gave_up_after(pair, winner, SILENCE_MS * 3 // 4 if winner == "A" else SILENCE_MS, "silent")
        never_graced(pair, winner)


@full("unit tests of the heartbeat see a path of one way")
def test_path_one_way(name):
    """A path that carries datagrams one way only counts on neither side: nobody waits for one
    who does not wait."""
    with lab(name, pair={**KEYS, "grace-ms": 120000}) as pair:
        loaded = Loaded(pair).start()
        pair.net.misdirect("A", "beat0")
        pair.wait(lambda: pair.status("B")["heartbeat_path"].startswith("silent"),
                  "B's path to be silent", 30)
        pair.wait(lambda: pair.status("A")["heartbeat_path"].startswith("one way only"),
                  "A to see that it is not heard", 30)
        pair.faults.cut_channel()
        winner = one_goes_on(pair, loaded, "the channel was cut")
        gave_up_after(pair, winner, SILENCE_MS * 3 // 4 if winner == "A" else SILENCE_MS,
                      "silent|one way only")
        never_graced(pair, winner)


def channel_one_way(name, silent_side):
    """What this side sends on the channel is lost, and it alone: either may go on, but one."""
    with lab(name, pair={"silence-ms": SILENCE_MS, "grace-ms": 4000}) as pair:
        loaded = Loaded(pair).start()
        pair.net.misdirect(silent_side, "chan0")
        one_goes_on(pair, loaded, f"nothing of {silent_side} came through")


@everyday("a channel that works one way only is a silent one")
def test_channel_one_way_to_primary(name):
    channel_one_way(name, "A")


@full("channel-one-way-to-primary sees the same from the other side")
def test_channel_one_way_to_backup(name):
    channel_one_way(name, "B")


def stopped_is_dead(name, way, stop):
    """A peer that is stopped is silent on both paths: it is given up without any grace."""
    with way.lab(name, pair={**KEYS, "grace-ms": 120000}) as pair:
        loaded = Loaded(pair).start()
        paths_are(pair, "ok")
        stop(pair)
        pair.wait_state("B", "alone")
        gave_up_after(pair, "B", SILENCE_MS, "silent")
        never_graced(pair, "B")
        pair.side["A"].may_end = True
        backup_took_over(loaded, "the primary was stopped")
        pair.faults.cont_host("A")
        pair.wait_said("A", "fenced")
        captures_whole(pair)


@full("sigstop-primary sees a stopped host without the heartbeat path's grace")
@ways(*BOTH)
def test_stopped_host_is_silent(name, way):
    stopped_is_dead(name, way, lambda pair: pair.faults.stop_host("A"))


@everyday("a stopped QEMU gets no grace although its host beats", TCG_1)
@ways(*BOTH, TCG_1)
def test_stopped_qemu_is_silent(name, way):
    stopped_is_dead(name, way, lambda pair: pair.faults.stop_qemu("A"))


class Forger:
    """Somebody on the primary's host who sends B's monitor what he has seen there, and worse."""

    def __init__(self, pair, seen):
        self.seen = seen
        self.sent = 0
        self._socket = udp_socket(pair.side["A"].ns, HEARTBEAT_IP["B"], HEARTBEAT_PORT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)
        self._socket.close()

    def _run(self):
        number = 0
        while not self._stop.wait(0.005):
            number += 1
            for bytes_ in self._forgeries(self.seen[number % len(self.seen)], number):
                try:
                    self._socket.send(bytes_)
                    self.sent += 1
                except OSError:
                    pass

    @staticmethod
    def _forgeries(seen, number):
        flipped = bytearray(seen)
        flipped[number % len(seen)] ^= 1 << number % 8
        return seen, bytes(flipped), seen[:-1], seen + b"x", b"", b"\xff" * 1400


def datagrams_from(pair, side, count):
    """What a monitor sends on the heartbeat path: heard on its own end of the link."""
    listener = packet_socket(pair.side[side].ns, "beat0")
    found = []
    try:
        while len(found) < count:
            frame = listener.recv(2048)
            # Ethernet, IPv4 without options, UDP to the path's port
            if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[26:30] == \
                    socket.inet_aton(HEARTBEAT_IP[side]):
                found.append(frame[42:42 + int.from_bytes(frame[38:40], "big") - 8])
    finally:
        listener.close()
    return found


def packet_socket(ns, device):
    made = in_namespace(ns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                                                  socket.htons(3)))
    made.bind((device, 0))
    made.settimeout(30)
    return made


@everyday("replayed and foreign datagrams keep nobody alive")
@pytest.mark.timeout(400)
def test_forged_heartbeats(name):
    """Replayed, damaged and foreign datagrams keep nobody alive; nor do those of an earlier pair."""
    with lab(name, pair={**KEYS, "grace-ms": 120000}) as pair:
        loaded = Loaded(pair).start()
        first = datagrams_from(pair, "A", 20)
        check(all(data[:4] == b"VMFT" for data in first), "these are no heartbeats")
        before = pair.status("B")["heartbeats_refused"]
        with Forger(pair, first) as forger:
            pair.wait(lambda: pair.status("B")["heartbeats_refused"] > before + 100,
                      "the forgeries to be refused", 30)
            both_protected(pair, 1)
            loaded.settle("under forged heartbeats")
            pair.faults.stop_host("A")
            stopped_at = forger.sent
            pair.wait_state("B", "alone")
            gave_up_after(pair, "B", SILENCE_MS, "silent")
            never_graced(pair, "B")
            check(forger.sent > stopped_at, "nothing was forged while the primary was stopped")
        # The next pair: what the first one said is worth nothing there.
        pair.start_backup("A")
        pair.wait_attached("B", "A")
        paths_are(pair, "ok")
        backups = datagrams_from(pair, "B", 20)
        reflected = [*first, *backups]
        with Forger(pair, reflected):
            refused = pair.status("B")["heartbeats_refused"]
            pair.wait(lambda: pair.status("B")["heartbeats_refused"] > refused + 100,
                      "the old datagrams to be refused", 30)
            pair.faults.stop_host("A")
            pair.wait_state("B", "alone")
            found = re.findall(GAVE_UP, pair.side["B"].log())
            equal(len(found), 2, "times that B gave its peer up")
            check(int(found[1][0]) >= SILENCE_MS * 3 // 4, f"B gave up after {found[1][0]} ms")
            never_graced(pair, "B")
        loaded.settle("after the second peer was stopped")
        loaded.verify()


@everyday("settings of the heartbeat that differ make no pair")
def test_heartbeat_refusals(name):
    """A path on one side only, and another grace-ms: no pair."""
    with lab(name, captures=False) as pair:
        other = f"{pair.dir}/other.conf"
        pair.start_side("B")
        pair.wait(lambda: pair.peek("B"), "the backup's monitor")
        for what, pattern in (("grace", "another grace-ms"), ("path", "one side only")):
            pair.heartbeat = what != "path"
            pair.write_pair(other, grace_ms=50000 if what == "grace" else None)
            pair.heartbeat = True
            side = pair.start_side("A", pair_file=other)
            side.may_end = True
            equal(side.exit_code(), 7, "exit code")
            pair.wait_said("A", pattern)
            pair.end_side("A")
        equal(pair.state("B"), "forming", "state of the backup that was left")
        refused_file(pair, other, f"heartbeat = {HEARTBEAT_IP['A']}", "", 2,
                     r"other\.conf:\d+: no heartbeat in 'primary'")
        refused_file(pair, other, HEARTBEAT_IP["A"], CHANNEL_IP["A"], 2,
                     r"other\.conf:\d+: heartbeat on the channel's address")
        refused_file(pair, other, HEARTBEAT_IP["A"], "10.98.0.9", 6,
                     r"\[primary\] heartbeat = 10\.98\.0\.9:.*use a free address of this host")


def refused_file(pair, path, old, new, code, pattern):
    """Starts A with the pair file changed: one line, and nothing has run."""
    with open(pair.pair_path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    with open(path, "w", encoding="utf-8") as file:
        # An empty replacement takes the whole line out.
        file.writelines(f"{line.replace(old, new)}\n" for line in lines
                        if new or not line.startswith(old))
    os.truncate(pair.side["A"].log_path, 0)
    side = pair.start_side("A", pair_file=path)
    side.may_end = True
    equal(side.exit_code(), code, "exit code")
    one_line(side, pattern)
    note(side.log_lines()[0])
    equal(side.console(), b"", "console of a guest that must not have run")


@everyday("a path MTU that swallows large frames is named")
def test_channel_swallows_large_frames(name):
    """Hellos pass and a guest's state does not: what is wrong is said, and is all that is to be mended."""
    with lab(name, captures=False, pair={**KEYS, "start": "alone"}) as pair:
        pair.net.swallow_large_frames()
        pair.start()
        pair.side["B"].may_end = True
        note(pair.wait_said("A", r"small frames pass, large ones do not.*MTU of chan0, 9000").group(0))
        pair.wait_state("A", "alone")
        status = pair.status("A")
        check("small frames pass" in status["connect_error"], f"{status['connect_error']!r}")
        check("one MTU" in status["next"], f"next: {status['next']}")
        check(pair.side["A"].qemu_runs(), "the guest's QEMU is gone")
        pair.net.set_channel_mtu(1500)
        pair.start_backup("B")
        pair.wait_attached("A", "B")
        pair.wait_said("A", "large frames pass again", 20)
        equal(pair.status("A")["connect_error"], "", "what keeps a backup away")
        equal(len(re.findall("small frames pass", pair.side["A"].log())), 1, "times it was said")
