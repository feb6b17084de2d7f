# SPDX-License-Identifier: GPL-2.0-or-later
"""The output rule, seen at the wire, and the gate's bound."""

import os
import time

import pytest

from harness import (BOTH, KVM_1, LINUX_KVM_2, LOCKSTEP, Loaded, TCG_2, captures_whole, check, equal,
                     everyday, note, paired, silent, ways)
from vmftlab import bare_client
from vmftlab.bare import BareGuest

KV_PORT = 7777

# With checkpoint the guest is stopped by the main loop, not by the thread that found the gate
# full: what it had given to its card by then, a ring of the largest frames, comes on top.
CARD_RING_BYTES = 256 * 1514


def kv(lines, conn):
    conn.sendall("".join(f"{line}\n" for line in lines).encode())


def read_lines(file, count):
    return [file.readline().strip() for _ in range(count)]


def connection_ids(frames, client_port):
    """The IP identification of each frame of one TCP connection: Linux counts them up by one
    per frame sent, repeated ones too, so a lost, doubled or overtaken frame shows. (The
    SYN does not count, it has the number 0.)"""
    return [frame.ip_id() for frame in frames
            if frame.tcp_ports() == (KV_PORT, client_port) and not frame.tcp_syn()]


def consecutive(ids, what):
    for before, after in zip(ids, ids[1:]):
        equal(after, (before + 1) % 65536, f"IP id after {before} {what}")


def hold_acks(pair):
    """Returns time.time_ns() from when no ack is under way any more."""
    pair.command("B", "hold-acks")
    time.sleep(0.5)
    return time.time_ns()


@everyday("no frame leaves before its ack, seen at the wire", LOCKSTEP)
@ways(*BOTH, LINUX_KVM_2)
def test_output_rule(name, way):
    with way.lab(name) as pair:
        pair.start_protected()
        conn = pair.client.connect(KV_PORT)
        file = conn.makefile("r")
        port = conn.getsockname()[1]
        kv([f"SET n{i} v{i}" for i in range(50)], conn)
        equal(read_lines(file, 50), ["OK"] * 50, "answers before")
        check(pair.capture["A"].frames(), "the capture saw nothing before acks were held")

        held = hold_acks(pair)
        before = pair.status("A")
        for i in range(50):
            kv([f"GET n{i}"], conn)
            time.sleep(0.05)
        time.sleep(2)
        pair.wait(lambda: pair.status("A")["gate_frames"] > 0, "frames in the gate", 30)
        # Epochs are not taken for ever while acks are held; that it answers shows that it runs.
        check(way.sends_state or pair.status("A")["log_head"] > before["log_head"],
              "the guest did not run while its output was held")
        paired(pair, "A", "state of A while acks were held")
        silent(pair, "A", held, "while the backup held its acks back")
        silent(pair, "B", 0, "at all")
        conn.settimeout(0.2)
        try:
            check(not conn.recv(1), "the client got an answer while acks were held back")
        except TimeoutError:
            pass
        conn.settimeout(60)

        released = time.time_ns()
        pair.command("B", "release-acks")
        equal(read_lines(file, 50), [f"VALUE v{i}" for i in range(50)], "answers, in order")
        frames = pair.capture["A"].frames()
        ids = connection_ids(frames, port)
        after = connection_ids([f for f in frames if f.when >= released], port)
        check(len(after) > 0, "no frame after the acks were let go")
        consecutive(ids, "on the kv connection")
        equal(pair.status("A")["frames_dropped"], 0, "frames dropped")
        captures_whole(pair)


@everyday("no frame leaves before its epoch is acknowledged", KVM_1)
@ways(TCG_2, KVM_1)
def test_output_rule_of_datagrams(name, way):
    """The same with a guest that answers a datagram with a datagram."""
    with way.lab(name) as pair:
        pair.start_protected()
        guest = BareGuest(pair)
        for key in range(50):
            equal(guest.set(key, key + 1), True, "a write before")
        check(pair.capture["A"].frames(), "the capture saw nothing before acks were held")

        held = hold_acks(pair)
        ping = pair.client.start("ping", "-q", "-n", "-i", "0.02", "-c", "100", "-W", "60",
                                 "10.7.0.2")
        pair.wait(lambda: pair.status("A")["gate_frames"] >= 100, "answers in the gate", 30)
        try:
            guest.client.ask(bare_client.GET, 1, until=time.monotonic() + 2)
            check(False, "the client got an answer while acks were held back")
        except bare_client.NoAnswer:
            pass
        paired(pair, "A", "state of A while acks were held")
        silent(pair, "A", held, "while the backup held its acks back")
        silent(pair, "B", 0, "at all")

        pair.command("B", "release-acks")
        equal([guest.get(key) for key in range(50)], [key + 1 for key in range(50)], "values")
        ping.wait(90)
        replies = [f.ping_reply()[1] for f in pair.capture["A"].frames(held) if f.ping_reply()]
        equal(replies, list(range(1, 101)), "ping replies, in order, once each")
        equal(pair.status("A")["frames_dropped"], 0, "frames dropped")
        equal(guest.stats()["bad"], 0, "faults the guest found")
        guest.close()
        captures_whole(pair)


@everyday("the bound of the gate stops the guest and drops nothing", LOCKSTEP)
@ways(*BOTH)
def test_gate_full(name, way):
    """A full gate stops the guest; nothing is dropped, all comes when acks come again."""
    gate = 65536
    most = gate + (CARD_RING_BYTES if way.sends_state else 0)
    with way.lab(name, pair={"gate-bytes": gate}) as pair:
        pair.start_protected()
        conn = pair.client.connect(KV_PORT)
        file = conn.makefile("r")
        port = conn.getsockname()[1]
        kv([f"SET n{i} v{i}" for i in range(20)], conn)
        equal(read_lines(file, 20), ["OK"] * 20, "answers before")

        hold_acks(pair)
        held = time.time_ns()
        # A guest that is let go on over a hundred requests answers as many as its ICMP socket has
        # room for (OutErrors in its /proc/net/snmp are the rest): those are not waited for long.
        ping = pair.client.start("ping", "-q", "-n", "-s", "1400", "-i", "0.02", "-c", "150",
                                 "-W", "10", "10.7.0.2")
        pair.wait(lambda: pair.status("A")["gate_stalls"] > 0, "the gate to fill", 60)
        kv([f"GET n{i}" for i in range(20)], conn)
        if way.sends_state:
            time.sleep(1)  # until the main loop has stopped it
        full = pair.status("A")
        check(full["gate_bytes"] <= most, f"{full['gate_bytes']} bytes in a gate of {gate}")
        check(full["gate_bytes"] > gate - 2000, f"stopped at {full['gate_bytes']} of {gate}")
        time.sleep(2)
        equal(pair.status("A")["log_head"], full["log_head"], "log position, the guest stopped")
        equal(pair.status("A")["gate_bytes"], full["gate_bytes"], "gate, the guest stopped")
        paired(pair, "A", "state of A")
        paired(pair, "B", "state of B")
        silent(pair, "A", held, "while the backup held its acks back")

        pair.command("B", "release-acks")
        equal(read_lines(file, 20), [f"VALUE v{i}" for i in range(20)], "answers, in order")
        pair.wait(lambda: pair.status("A")["log_head"] > full["log_head"], "the guest to go on")
        ping.wait(90)
        frames = pair.capture["A"].frames()
        consecutive(connection_ids(frames, port), "on the kv connection")
        replies = [f.ping_reply()[1] for f in frames if f.ping_reply()]
        check(len(replies) > gate // 1500, f"only {len(replies)} ping replies came")
        equal(replies, sorted(set(replies)), "ping replies, in order, once each")
        pair.wait(lambda: pair.status("A")["gate_frames"] == 0, "the gate to empty", 30)
        equal(pair.status("A")["frames_dropped"], 0, "frames dropped")
        captures_whole(pair)


@everyday("memory and disk are equal after load by several clients", *BOTH)
@ways(*BOTH, LINUX_KVM_2)
@pytest.mark.timeout(240 + int(os.environ.get("VMFT_SECONDS", "5")))
def test_divergence(name, way):
    """After a loaded run, at an equal log position: same memory, same disk.

    VMFT_SECONDS=N makes the run that much longer.
    """
    with way.lab(name) as pair:
        loaded = Loaded(pair).start()
        lag_under_load(pair, int(os.environ.get("VMFT_SECONDS", "5")))
        loaded.settle("once more")
        loaded.verify()
        pair.wait_following()
        equal(pair.compare("A", "B")[1], "", "differences at an equal log position")
        paired(pair, "A", "state of A after thaw")
        equal(loaded.load.writer.verify()[1], 0, "acknowledged writes lost after thaw")
        pair.wait_following()


def lag_under_load(pair, seconds):
    lags = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lags.append(pair.status("A")["lag_ms"])
        time.sleep(0.2)
    lags.sort()
    note(f"execution lag under load: median {lags[len(lags) // 2]} ms, "
         f"p99 {lags[len(lags) * 99 // 100]} ms, {len(lags)} samples")
