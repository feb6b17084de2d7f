# SPDX-License-Identifier: GPL-2.0-or-later
"""vmft-kv's CAS, and histories of services that are killed, lose answers, or lie."""

import collections
import os
import random
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
import unittest
from unittest import mock

from vmftlab import bare_client, history, linear
from vmftlab.history import Histories, longest_gap_ms
from vmftlab.programs import ROOT
from vmftlab.watch import LabError

KV = os.path.join(ROOT, "build", "guest-tools", "vmft-kv")
PATIENCE_S = 60


class Here:
    """As much of a lab as a history needs, with the service on this machine."""

    prefix = "here"

    def __init__(self, port):
        self.port = port
        self.client = self

    def connect(self, _port, timeout=60):
        return socket.create_connection(("127.0.0.1", self.port), timeout)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Kv:
    """vmft-kv, which may be killed and started again."""

    def __init__(self, directory):
        self.log = os.path.join(directory, "kv.log")
        self.port = free_port()
        self.process = None

    def start(self):
        self.process = subprocess.Popen([KV, self.log, str(self.port)])
        wait(self._listens, "vmft-kv")

    def _listens(self):
        if self.process.poll() is not None:
            raise AssertionError(f"vmft-kv ended with {self.process.returncode}")
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 30)

    def kill(self):
        self.process.kill()
        self.process.wait()


def wait(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"still waiting for {what}")
        time.sleep(0.02)


def run(histories, operations, meanwhile=lambda: None):
    histories.start()
    wait(lambda: histories.progress() >= operations, "operations")
    meanwhile()
    before = histories.progress()
    wait(lambda: histories.progress() >= before + operations, "operations afterwards")
    histories.stop()
    return histories.ops()


def kinds(ops):
    return collections.Counter((op.kind, op.done) for op in ops if op.returned is not None)


class KvTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.kv = Kv(scratch.name)
        self.kv.start()
        self.addCleanup(self.kv.kill)

    def ask(self, *lines):
        with self.kv.connect() as conn, conn.makefile("r") as file:
            conn.sendall("".join(f"{line}\n" for line in lines).encode())
            return [file.readline().rstrip("\n") for _ in lines]

    def test_cas(self):
        self.assertEqual(
            self.ask("CAS k a b", "CAS k  a", "CAS k  c", "CAS k b c", "GET k", "CAS k a b c",
                     "GET k", "CAS k b c", "CAS k a x"),
            ["NONE", "OK", "CONFLICT a", "CONFLICT a", "VALUE a", "OK", "VALUE b c",
             "CONFLICT b c", "CONFLICT b c"])

    def test_cas_is_on_disk(self):
        self.assertEqual(self.ask("CAS k  a", "CAS k a b", "CAS k a c"), ["OK", "OK", "CONFLICT b"])
        self.kv.process.send_signal(signal.SIGKILL)
        self.kv.process.wait()
        self.kv.start()
        self.assertEqual(self.ask("GET k"), ["VALUE b"])

    def test_cas_bad_lines(self):
        long = "v" * 1024
        for line in ("CAS", "CAS k", "CAS k a", "CAS k a ", "CAS k  ", "CAS  a b",
                     f"CAS {'k' * 129} a b", f"CAS k a {long}v", "CAS k a b\x01"):
            self.assertEqual(self.ask(line)[0].split()[0], "ERR", line)
        self.assertEqual(self.ask("GET k"), ["NONE"])
        key = "k" * 128
        self.assertEqual(self.ask(f"CAS {key}  {long}", f"CAS {key} {long} {long}"), ["OK", "OK"])
        self.assertEqual(self.ask(f"CAS k {long}v a"), ["ERR use CAS key old new, with two spaces "
                                                       "if there is no old"])

    def test_history(self):
        histories = Histories(Here(self.kv.port), interval_ms=2, seed=1)
        ops = run(histories, 300)
        self.assertEqual(histories.problems, [])
        self.assertTrue(linear.check(ops).linearizable, linear.check(ops))
        seen = kinds(ops)
        for kind in ((linear.READ, True), (linear.WRITE, True), (linear.CAS, True),
                     (linear.CAS, False)):
            self.assertGreater(seen[kind], 10, seen)
        self.assertEqual(len({op.client for op in ops}), 4)
        written = [op.value for op in ops if op.kind != linear.READ]
        self.assertEqual(len(written), len(set(written)))
        last = [op for op in ops if op.client == 0][-len(histories.keys):]
        self.assertEqual([(op.kind, op.key) for op in last],
                         [(linear.READ, key) for key in histories.keys])
        acks = histories.acks()
        self.assertEqual(acks, sorted(acks))
        self.assertEqual(histories.last_ack(), acks[-1])
        self.assertEqual(len(acks), histories.progress())
        latencies = histories.latencies()
        self.assertEqual(len(latencies), len(ops))
        self.assertTrue(all(op["ok"] and op["ms"] > 0 for op in latencies))

    def test_history_of_a_kill(self):
        """What was under way then may have happened or not; the clients come back."""
        histories = Histories(Here(self.kv.port), clients=8, interval_ms=1, seed=2)
        killed = []

        def meanwhile():
            for _ in range(3):
                killed.append(time.monotonic_ns())
                self.kv.kill()
                time.sleep(0.5)  # the outage
                self.kv.start()
                before = histories.progress()
                wait(lambda b=before: histories.progress() > b + 50, "clients to be back")
        ops = run(histories, 300, meanwhile)
        self.assertEqual(histories.problems, [])
        verdict = linear.check(ops)
        self.assertTrue(verdict.linearizable, verdict)
        self.assertGreaterEqual(histories.broken, 3)
        for when in killed:
            self.assertGreaterEqual(histories.outage_ms(when), 500)
        self.assertEqual(sum(not op["ok"] for op in histories.latencies()),
                         sum(op.returned is None for op in ops))

    def test_history_of_a_loss(self):
        """The last writes are taken out of the log while it is down: that must show. (A key that
        is written first afterwards hides it; not all of so many are.)"""
        histories = Histories(Here(self.kv.port), keys=20, interval_ms=2, seed=3)

        def meanwhile():
            self.kv.kill()
            with open(self.kv.log, "r+b") as log:
                lines = log.readlines()
                log.truncate(sum(map(len, lines[:-100])))
            self.kv.start()
        ops = run(histories, 300, meanwhile)
        verdict = linear.check(ops)
        self.assertEqual(verdict.outcome, linear.VIOLATION)
        self.assertIn(verdict.key, histories.keys)

    def test_keys_of_their_own(self):
        one, two = (Histories(Here(self.kv.port)) for _ in range(2))
        self.assertEqual(len({*one.keys, *two.keys}), 12)

    def test_no_answer(self):
        """A service that is silent: given up, told apart, and asked anew."""
        self.kv.process.send_signal(signal.SIGSTOP)
        histories = Histories(Here(self.kv.port), clients=2, interval_ms=1, timeout_s=0.3)
        histories.start()
        wait(lambda: sum(not op["ok"] for op in histories.latencies()) >= 4, "timeouts")
        self.assertEqual((histories.progress(), histories.acks()), (0, []))
        self.kv.process.send_signal(signal.SIGCONT)
        wait(lambda: histories.progress() > 50, "answers")
        histories.stop()
        self.assertTrue(linear.check(histories.ops()).linearizable)


class Redis(socketserver.ThreadingTCPServer):
    """The three commands the history uses, as redis answers them."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, cas=True):
        super().__init__(("127.0.0.1", 0), RedisHandler)
        self.lock = threading.Lock()
        self.data = {}
        self.compares = cas

    def execute(self, words):
        with self.lock:
            if words[0] == "GET":
                return bulk(self.data.get(words[1]))
            if words[0] == "SET":
                self.data[words[1]] = words[2]
                return b"+OK\r\n"
            if words[:3] != ["EVAL", history.SCRIPT, "1"]:
                return b"-ERR unknown command\r\n"
            value = self.data.get(words[3], "")
            if value == words[4] or not self.compares:
                self.data[words[3]] = words[5]
                return b"*2\r\n:1\r\n" + bulk(value)
            return b"*2\r\n:0\r\n" + bulk(value)


def bulk(value):
    return b"$-1\r\n" if value is None else f"${len(value)}\r\n{value}\r\n".encode()


class RedisHandler(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2].decode())
            self.wfile.write(self.server.execute(words))


class RedisTest(unittest.TestCase):
    def serve(self, server):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return Histories(Here(server.server_address[1]), protocol="redis", interval_ms=2, seed=4)

    def test_history(self):
        histories = self.serve(Redis())
        ops = run(histories, 300)
        self.assertEqual(histories.problems, [])
        self.assertTrue(linear.check(ops).linearizable, linear.check(ops))
        self.assertEqual(len(kinds(ops)), 4, kinds(ops))

    def test_a_cas_that_does_not_compare(self):
        histories = self.serve(Redis(cas=False))
        self.assertEqual(linear.check(run(histories, 300)).outcome, linear.VIOLATION)

    def test_errors_are_told(self):
        server = Redis()
        server.execute = lambda words: b"-MISCONF no disk\r\n"
        histories = self.serve(server)
        histories.start()
        wait(lambda: histories.problems, "a problem")
        histories.stop()
        self.assertIn("MISCONF no disk", histories.problems[0])
        self.assertEqual(histories.acks(), [])

    def test_a_client_that_ends_is_told(self):
        histories = self.serve(Redis())
        with mock.patch.object(history.RedisClient, "perform", side_effect=ZeroDivisionError):
            histories.start()
            wait(lambda: len(histories.problems) == 4, "clients to end")
        wait(lambda: not any(thread.is_alive() for thread in histories._threads), "threads")
        self.assertRaisesRegex(LabError, "ended: client .: ZeroDivisionError", histories.progress)
        histories.stop()


class Bare:
    """The bare guest's service, over a network that loses and doubles datagrams."""

    def __init__(self):
        self.random = random.Random(5)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.data = {}
        self.lost = self.doubled = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                request, peer = self.sock.recvfrom(2048)
            except OSError:
                return
            if not request:
                return
            answer = self._execute(request)
            if self.random.random() < 0.1:
                self.doubled += 1
                answer = self._execute(request)
            if self.random.random() < 0.1:
                self.lost += 1
            else:
                self.sock.sendto(answer, peer)

    def _execute(self, request):
        _, op, _, key, value = bare_client.REQUEST.unpack(request)
        status = bare_client.OK
        if op == bare_client.SET:
            self.data[key] = value
        elif key in self.data:
            value = self.data[key]
        else:
            status = bare_client.NONE
        return bare_client.ANSWER.pack(*bare_client.REQUEST.unpack(request)[:4], value, status, 0)

    def connect(self, *_):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(self.sock.getsockname())
        return sock


class BareTest(unittest.TestCase):
    def test_history(self):
        service = Bare()
        lab = mock.Mock(prefix="here")
        with mock.patch.object(history, "udp_socket", service.connect):
            histories = Histories(lab, protocol="bare", interval_ms=1, seed=5)
            ops = run(histories, 400)
        with service.connect() as stop:
            stop.send(b"")
        self.assertEqual(histories.problems, [])
        self.assertGreater(min(service.lost, service.doubled), 5)
        self.assertTrue(linear.check(ops).linearizable, linear.check(ops))
        writers = collections.defaultdict(set)
        for op in ops:
            if op.kind == linear.WRITE:
                writers[op.key].add(op.client)
        self.assertEqual({len(clients) for clients in writers.values()}, {1}, writers)
        self.assertEqual(len(writers), 6)
        service.sock.close()


class Gaps(unittest.TestCase):
    MS = 10**6

    def gap(self, times, begin, end):
        return longest_gap_ms([t * self.MS for t in times], begin * self.MS, end * self.MS)

    def test_longest(self):
        times = [0, 10, 20, 120, 130, 500]
        self.assertEqual(self.gap(times, 5, 15), 10)
        self.assertEqual(self.gap(times, 15, 25), 100)
        self.assertEqual(self.gap(times, 30, 40), 100)
        self.assertEqual(self.gap(times, 121, 125), 10)
        self.assertEqual(self.gap(times, 121, 131), 370)
        self.assertEqual(self.gap(times, 600, 700), 0)


if __name__ == "__main__":
    unittest.main()
