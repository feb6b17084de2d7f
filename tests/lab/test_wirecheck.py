# SPDX-License-Identifier: GPL-2.0-or-later
"""wirecheck.py on frames that are made up."""

import struct
import unittest

from vmftlab import bare_client, wirecheck
from vmftlab.pcap import MAGIC_NS, Frame, parse

GUEST, CLIENT = bytes([10, 7, 0, 2]), bytes([10, 7, 0, 1])


def frame(when, data=b"x" * 60, length=None):
    return Frame(when, data, len(data) if length is None else length)


def ipv4(protocol, payload, source=GUEST, destination=CLIENT):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0,
                       source, destination)
    return b"\2" * 12 + b"\x08\0" + head + payload


def tcp(source, destination, sequence, ack, data=b"", flags=16):
    return ipv4(6, struct.pack(">HHIIBBHHH", source, destination, sequence, ack, 0x50, flags,
                               1000, 0, 0) + data)


def udp(source, destination, data):
    return ipv4(17, struct.pack(">HHHH", source, destination, 8 + len(data), 0) + data)


def ping(kind, identifier, number):
    return ipv4(1, struct.pack(">BBHHH", kind, 0, 0, identifier, number))


class TwoLive(unittest.TestCase):
    INTERVALS = [("A", 0, 100), ("B", 110, 200), ("A", 210, None)]

    def found(self, a, b):
        return [(host, one.when) for host, one in wirecheck.double_live(
            [frame(when) for when in a], [frame(when) for when in b], self.INTERVALS)]

    def test_each_in_its_time(self):
        self.assertEqual(self.found([0, 50, 100, 210, 9999], [110, 200]), [])

    def test_outside(self):
        self.assertEqual(self.found([50, 101, 150, 300], [109, 120, 205, 400]),
                         [("A", 101), ("B", 109), ("A", 150), ("B", 205), ("B", 400)])

    def test_never_entitled(self):
        one = frame(5)
        self.assertEqual(wirecheck.double_live([], [one], [("A", 0, None)]), [("B", one)])
        self.assertEqual(wirecheck.double_live([one], [], []), [("A", one)])

    def test_handovers(self):
        a, b = [frame(n) for n in (1, 2, 8, 9)], [frame(n) for n in (4, 5)]
        self.assertEqual(wirecheck.handovers(a, b), [(1, "A"), (4, "B"), (8, "A")])
        self.assertEqual(wirecheck.handovers([], []), [])


class Lockstep(unittest.TestCase):
    def setUp(self):
        self.digest = wirecheck.Digests().of

    def output(self, data, held):
        return self.digest(data), len(data), held

    def test_digest(self):
        """XXH3_64bits of nothing without a seed is a constant of the algorithm."""
        self.assertEqual(self.digest(b""), 0x2d06800538d394c2)
        self.assertNotEqual(self.digest(b"\0"), self.digest(b"\0\0"))

    def test_held_first(self):
        found = wirecheck.output_before_ack([frame(10, b"a" * 60), frame(20, b"b" * 70)],
                                            [self.output(b"a" * 60, 10), self.output(b"b" * 70, 19)])
        self.assertEqual((found.matched, found.violations, found.unmatched), (2, 0, []))

    def test_after_virtios_header(self):
        """What the guest's card puts before a frame is in the digest, and not on the wire."""
        segment = tcp(7777, 40000, 1, 1, b"OK\n")
        large = tcp(7777, 40000, 1, 1, b"x" * 4000)
        heads = {b"\x08\x06" + b"a" * 60: bytes(12),
                 segment: struct.pack("<BBHHHHH", 1, 0, 0, 0, 34, 16, 0),
                 udp(7, 8, b"x"): struct.pack("<BBHHHHH", 1, 0, 0, 0, 34, 6, 0),
                 large: struct.pack("<BBHHHHH", 1, 1, 54, 1448, 34, 16, 0)}
        for data, head in heads.items():
            log = [self.output(head + data, 5)]
            self.assertEqual(wirecheck.output_before_ack([frame(6, data)], log).matched, 1)
            found = wirecheck.output_before_ack([frame(4, data)], log)
            self.assertEqual(([when for _, when in found.early], found.unlogged), ([5], []))
        log = [self.output(b"\1" * 12 + segment, 5)]
        self.assertEqual(wirecheck.output_before_ack([frame(6, segment)], log).matched, 0)

    def test_too_early(self):
        one = frame(10, b"a" * 60)
        found = wirecheck.output_before_ack([one], [self.output(b"a" * 60, 11)])
        self.assertEqual((found.early, found.violations), ([(one, 11)], 1))

    def test_not_logged(self):
        one = frame(10, b"z" * 60)
        found = wirecheck.output_before_ack([one], [self.output(b"a" * 60, 5)])
        self.assertEqual((found.unlogged, found.violations, found.matched), ([one], 1, 0))
        self.assertEqual(wirecheck.output_before_ack([one], []).unlogged, [one])

    def test_alike_in_order(self):
        """The second of two that are alike has the second's ack, and a third has none."""
        data = b"a" * 60
        log = [self.output(data, 5), self.output(data, 30)]
        good = wirecheck.output_before_ack([frame(10, data), frame(31, data)], log)
        self.assertEqual((good.matched, good.violations), (2, 0))
        bad = wirecheck.output_before_ack([frame(29, data), frame(10, data), frame(40, data)], log)
        self.assertEqual([(one.when, held) for one, held in bad.early], [(29, 30)])
        self.assertEqual([one.when for one in bad.unlogged], [40])

    def test_cut_up_on_the_way(self):
        """Parts of a large frame are told, not passed over; a frame that is no part is a fault."""
        log = [self.output(b"L" * 4000, 5), self.output(b"a" * 60, 5)]
        parts = [frame(10, b"L" * 1514), frame(11, b"L" * 1514), frame(12, b"L" * 1080)]
        found = wirecheck.output_before_ack([*parts, frame(13, b"b" * 60)], log)
        self.assertEqual(found.unmatched, parts)
        self.assertEqual([one.when for one in found.unlogged], [13])
        # A longer one is no part of it.
        longer = frame(14, b"M" * 5000)
        self.assertEqual(wirecheck.output_before_ack([longer], log).unlogged, [longer])
        # With the large one seen whole there is nothing they could be parts of.
        whole = frame(9, b"L" * 4000)
        self.assertEqual(wirecheck.output_before_ack([whole, *parts], log).unlogged, parts)

    def test_captured_in_part(self):
        self.assertRaisesRegex(ValueError, "snap length", wirecheck.output_before_ack,
                               [frame(1, b"a" * 60, 61)], [])


class Checkpoint(unittest.TestCase):
    def test_held_between(self):
        self.assertEqual(wirecheck.epoch_before_answer([5, 15, 25], [(10, "x"), (16, "y")],
                                                       [(15, "x"), (30, "y")]), [])

    def test_none_between(self):
        self.assertEqual(wirecheck.epoch_before_answer([5, 15], [(10, "x"), (16, "y")],
                                                       [(14, "x"), (30, "y")]),
                         [(10, 14, "x"), (16, 30, "y")])

    def test_held_as_it_came_is_too_old(self):
        self.assertEqual(wirecheck.epoch_before_answer([10], [(10, "x")], [(12, "x")]),
                         [(10, 12, "x")])

    def test_repeated_request(self):
        self.assertEqual(wirecheck.epoch_before_answer([15], [(20, "x"), (10, "x")], [(22, "x")]),
                         [])

    def test_answer_to_nothing_seen(self):
        self.assertEqual(wirecheck.epoch_before_answer([], [], [(22, "x")]), [])

    def match(self, request, answer):
        asked = wirecheck.requests_in([frame(1, request)])
        told = wirecheck.answers_in([frame(2, answer)])
        self.assertEqual((len(asked), len(told)), (1, 1))
        return asked[0][1] == told[0][1]

    def test_pings(self):
        self.assertTrue(self.match(ping(8, 7, 1), ping(0, 7, 1)))
        self.assertFalse(self.match(ping(8, 7, 1), ping(0, 7, 2)))

    def test_datagrams(self):
        def packet(number):
            return bare_client.REQUEST.pack(bare_client.MAGIC, bare_client.GET, number, 3, 0)
        request = udp(40000, bare_client.PORT, packet(9))
        self.assertTrue(self.match(request, udp(bare_client.PORT, 40000, packet(9))))
        self.assertFalse(self.match(request, udp(bare_client.PORT, 40000, packet(8))))
        self.assertFalse(self.match(request, udp(bare_client.PORT, 40001, packet(9))))
        self.assertEqual(wirecheck.requests_in([frame(1, udp(40000, bare_client.PORT, b"short"))]),
                         [])

    def test_connections(self):
        request = tcp(40000, 7777, 0xFFFFFFFE, 1, b"GET k\n")
        self.assertTrue(self.match(request, tcp(7777, 40000, 1, 4)))
        self.assertFalse(self.match(request, tcp(7777, 40000, 1, 3)))
        self.assertFalse(self.match(request, tcp(7777, 40001, 1, 4)))
        self.assertEqual(wirecheck.requests_in([frame(1, tcp(40000, 7777, 5, 1))]), [])
        self.assertEqual(wirecheck.answers_in([frame(1, tcp(7777, 40000, 1, 0, flags=4))]), [])

    def test_other_frames(self):
        arp = frame(1, b"\2" * 12 + b"\x08\x06" + b"\0" * 46)
        self.assertEqual(wirecheck.requests_in([arp]) + wirecheck.answers_in([arp]), [])


class Captures(unittest.TestCase):
    def test_parse_whole_and_torn(self):
        record = struct.pack("<IIII", 3, 4, 60, 90) + b"a" * 60
        data = struct.pack("<IHHiIII", MAGIC_NS, 2, 4, 0, 0, 60, 1) + record
        for torn in (b"", record[:20], record[:-1]):
            frames = parse(data + torn)
            self.assertEqual([(one.when, len(one.data), one.length) for one in frames],
                             [(3 * 10**9 + 4, 60, 90)])


if __name__ == "__main__":
    unittest.main()
