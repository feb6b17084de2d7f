# SPDX-License-Identifier: GPL-2.0-or-later
"""What several clients of one guest saw: histories for linear.py to judge.

Each client has a connection of its own and does one thing after another to a few keys that all
share. An operation whose connection broke, or that had no answer in time, may have happened or
not, and may happen yet; it is recorded as such and never repeated.

The bare guest answers datagrams, of which any may be lost, so requests are repeated. A SET that
comes twice must not undo another's in between: there each key has one client that writes it,
and all read it. As a client's datagrams keep their order, a late one only repeats what the next
overwrites.
"""

import bisect
import itertools
import random
import threading
import time

from . import bare_client
from .watch import LabError
from .linear import CAS, READ, WRITE, Op
from .net import GUEST_IP, udp_socket

KV_PORT = 7777
REDIS_PORT = 6379
# Half of the tries go to what the client last saw there, so some succeed and some do not.
MIX = ((READ, 40), (WRITE, 35), (CAS, 25))
TIMEOUT_S = 15
CONNECT_S = 2  # a SYN is repeated after 1 s, then 2, 4...; a new try is sooner
RETRY_S = 0.2
BARE_FIRST_KEY = 40000  # beyond the keys of the writers in bare.py
LINE_MAX = 1 << 16
PROBLEMS_MAX = 100

SCRIPT = ("local v = redis.call('GET', KEYS[1]) or '' "
          "if v == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return {1, v} end "
          "return {0, v}")

_numbers = itertools.count()


class Refused(Exception):
    """The service answered, but not with a result."""


class KvClient:
    """vmft-kv's lines (guest-tools/README.md)."""

    def __init__(self, lab, timeout):
        self.sock = lab.client.connect(KV_PORT, timeout=CONNECT_S)
        self.sock.settimeout(timeout)
        self.file = self.sock.makefile("rb")

    def perform(self, op):
        if op.kind == READ:
            op.value = self._value(self._ask(f"GET {op.key}"), "VALUE")
        elif op.kind == WRITE:
            self._value(self._ask(f"SET {op.key} {op.value}"), "OK")
        else:
            answer = self._ask(f"CAS {op.key} {op.old or ''} {op.value}")
            op.done = answer == "OK"
            op.found = None if op.done else self._value(answer, "CONFLICT")

    def _ask(self, request):
        self.sock.sendall(f"{request}\n".encode())
        line = self.file.readline(LINE_MAX)
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the connection ended")
        return line.decode("ascii", "replace").rstrip("\n")

    @staticmethod
    def _value(answer, word):
        first, _, rest = answer.partition(" ")
        if first == "NONE" and word != "OK":
            return None
        if first != word:
            raise Refused(answer)
        return rest

    def close(self):
        self.file.close()
        self.sock.close()


class RedisClient:
    """redis, in its own protocol (RESP 2)."""

    def __init__(self, lab, timeout):
        self.sock = lab.client.connect(REDIS_PORT, timeout=CONNECT_S)
        self.sock.settimeout(timeout)
        self.file = self.sock.makefile("rb")

    def perform(self, op):
        if op.kind == READ:
            op.value = self._ask("GET", op.key)
        elif op.kind == WRITE:
            answer = self._ask("SET", op.key, op.value)
            if answer != "OK":
                raise Refused(f"SET: {answer}")
        else:
            answer = self._ask("EVAL", SCRIPT, "1", op.key, op.old or "", op.value)
            if not isinstance(answer, list) or len(answer) != 2 or answer[0] not in (0, 1):
                raise Refused(f"EVAL: {answer}")
            op.done = answer[0] == 1
            op.found = None if op.done else answer[1] or None

    def _ask(self, *words):
        coded = [word.encode() for word in words]
        self.sock.sendall(b"*%d\r\n" % len(coded)
                          + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in coded))
        return self._answer()

    def _answer(self):
        line = self.file.readline(LINE_MAX)
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the connection ended")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode("ascii", "replace")
        if kind == b"-":
            raise Refused(rest.decode("ascii", "replace"))
        if kind not in b":$*" or not rest.lstrip(b"-").isdigit():
            raise Refused(f"not RESP: {line!r}")
        number = int(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        if number > LINE_MAX:
            raise Refused(f"not what was asked for: {line!r}")
        if kind == b"*":
            return [self._answer() for _ in range(number)]
        data = self.file.read(number + 2)
        if len(data) < number + 2:
            raise ConnectionResetError("the connection ended")
        return data[:-2].decode("ascii", "replace")

    def close(self):
        self.file.close()
        self.sock.close()


class BareClient:
    """The bare guest's datagrams. Keys and values are numbers."""

    def __init__(self, lab, timeout):
        self.timeout = timeout
        self.client = bare_client.Client(udp_socket(lab.net.client, GUEST_IP, bare_client.PORT))

    def perform(self, op):
        write = op.kind == WRITE
        try:
            status, value, _ = self.client.ask(
                bare_client.SET if write else bare_client.GET, op.key,
                op.value if write else 0, until=time.monotonic() + self.timeout)
        except bare_client.NoAnswer as error:
            raise TimeoutError(str(error)) from error
        if status not in ((bare_client.OK,) if write else (bare_client.OK, bare_client.NONE)):
            raise Refused(f"status {status}")
        if not write:
            op.value = value if status == bare_client.OK else None

    def close(self):
        self.client.sock.close()


PROTOCOLS = {"kv": KvClient, "redis": RedisClient, "bare": BareClient}


class Histories:
    """Clients that do what they do until they are told to stop.

    protocol: kv, redis or bare. `interval_ms` is what a client waits from one operation to
    the next, give or take a half. The same seed gives the same choices, not the same history.
    """

    def __init__(self, lab, clients=4, keys=6, protocol="kv", seed=0, interval_ms=20,
                 timeout_s=TIMEOUT_S):
        self.lab = lab
        self.protocol = protocol
        self.interval_s = interval_ms / 1000
        self.timeout_s = timeout_s
        self.keys = self._own_keys(keys)
        self.problems = []  # answers that were errors; clients that ended
        self.broken = 0  # connections that broke or were given up
        self._began = self._ended = None
        self._stop = threading.Event()
        self._records = [[] for _ in range(clients)]  # (operation, when it was over)
        self._threads = [threading.Thread(target=self._run, args=(client, seed), daemon=True)
                         for client in range(clients)]

    def _own_keys(self, keys):
        """What a key held before is not known, so each history has keys of its own."""
        number = next(_numbers)
        if self.protocol == "bare":
            first = BARE_FIRST_KEY + number * keys
            return list(range(first, first + keys))
        return [f"h{self.lab.prefix}-{number}-{key}" for key in range(keys)]

    def start(self):
        self._began = time.monotonic_ns()
        for thread in self._threads:
            thread.start()

    def stop(self):
        """What is under way is let come to its end, and each key is read once more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * self.timeout_s + 2 * CONNECT_S + 5)
        if any(thread.is_alive() for thread in self._threads):
            raise LabError("a client of the history does not stop")
        if self._ended is None:
            self._ended = time.monotonic_ns()

    def ops(self):
        """All operations so far (linear.Op), by client."""
        return [op for records in self._records for op, _ in list(records)]

    def progress(self):
        """Operations completed so far; an error if a client ended by itself."""
        if self._began and not self._stop.is_set() and not all(t.is_alive() for t in self._threads):
            raise LabError(f"a client of the history ended: {'; '.join(self.problems)}")
        return len(self._completed())

    def acks(self):
        """When each completed operation returned: CLOCK_MONOTONIC in ns, oldest first."""
        return sorted(op.returned for op in self._completed())

    def last_ack(self):
        """When the last of them returned; 0 before the first."""
        return max((op.returned for op in self._completed()), default=0)

    def latencies(self):
        """{"at_ns" (it was over), "ms", "ok" (it was answered)} of each, in order of time."""
        found = [{"at_ns": over, "ms": (over - op.invoked) / 1e6, "ok": op.returned is not None}
                 for records in self._records for op, over in list(records)]
        return sorted(found, key=lambda op: op["at_ns"])

    def outage_ms(self, at_ns, window_ms=1000):
        """The longest time in which no client had an answer, of those that have a part in the
        window from at_ns on. One that still lasts counts up to now."""
        end = self._ended or time.monotonic_ns()
        return longest_gap_ms([self._began, *self.acks(), end], at_ns, at_ns + window_ms * 10**6)

    def _completed(self):
        return [op for op in self.ops() if op.returned is not None]

    def _run(self, client, seed):
        choose = random.Random(f"{seed} {client}")
        connection = None
        try:
            for number in itertools.count(1):
                if not connection:
                    connection = self._connect()
                if self._stop.wait(self.interval_s * choose.uniform(0.5, 1.5)):
                    break
                if connection and not self._operate(client, connection,
                                                    self._choose(client, number, choose)):
                    connection.close()
                    connection = None
            if connection and client == 0:
                # Or what was written last to a key would never be asked for.
                all(self._operate(client, connection, Op(client, READ, key)) for key in self.keys)
        except Exception as error:  # pylint: disable=broad-exception-caught
            # A client that is gone would be a history that says nothing: progress() tells.
            self.problems.append(f"client {client}: {error!r}")
        finally:
            if connection:
                connection.close()

    def _connect(self):
        """None if it was told to stop meanwhile."""
        while not self._stop.is_set():
            try:
                return PROTOCOLS[self.protocol](self.lab, self.timeout_s)
            except OSError:
                self._stop.wait(RETRY_S)
        return None

    def _choose(self, client, number, choose):
        op = Op(client, choose.choices(*zip(*MIX))[0], choose.choice(self.keys))
        if self.protocol == "bare":
            own = self.keys[client::len(self._records)]
            op.kind = READ if op.kind == READ or not own else WRITE
            if op.kind == WRITE:
                op.key = choose.choice(own)
                op.value = (client + 1) << 32 | number
            return op
        if op.kind != READ:
            op.value = f"{client}.{number}"
        if op.kind == CAS:
            op.old = self._last_seen(client, op.key)
        return op

    def _last_seen(self, client, key):
        for op, _ in reversed(self._records[client]):
            if op.key == key and op.returned is not None:
                return op.found if op.kind == CAS and not op.done else op.value
        return None

    def _operate(self, client, connection, op):
        """Whether the connection is good for another."""
        op.invoked = time.monotonic_ns()
        try:
            connection.perform(op)
            op.returned = time.monotonic_ns()
            self._records[client].append((op, op.returned))
            return True
        except Refused as error:
            if len(self.problems) < PROBLEMS_MAX:
                self.problems.append(f"client {client}: {op}: {error}")
        except OSError:
            self.broken += 1
        self._records[client].append((op, time.monotonic_ns()))
        return self.protocol == "bare"


def longest_gap_ms(times, begin, end):
    """The longest between two neighbours that has a part in [begin, end]; times are sorted."""
    first = max(bisect.bisect_right(times, begin) - 1, 0)
    last = min(bisect.bisect_left(times, end), len(times) - 1)
    gaps = (times[at + 1] - times[at] for at in range(first, last))
    return max(gaps, default=0) / 1e6
