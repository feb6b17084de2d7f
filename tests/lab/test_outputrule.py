# SPDX-License-Identifier: GPL-2.0-or-later
"""outputrule.py on pairs that are made up: that it finds what it is there to find."""

import os
import tempfile
import unittest

from vmftlab import wirecheck
from vmftlab.watch import LabError
from vmftlab.outputrule import OutputRule, unstepped
from vmftlab.pcap import Frame

from test_wirecheck import CLIENT, GUEST, ping, ipv4

SECOND = 10**9
BEGIN = 1_800_000_000 * SECOND


def frame(when, data, length=None):
    return Frame(BEGIN + when, data, length or len(data))


class Rule(unittest.TestCase):
    strategy = "lockstep"

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.saved = os.path.join(directory.name, "saved")
        held = os.path.join(directory.name, "held")
        os.mkdir(held)
        self.log = []
        self.rule = OutputRule(self.strategy, held, read=lambda path: self.log)
        self.began(1, 0)

    def began(self, generation, when, primary="A"):
        path = f"{self.saved}-g{generation}"
        if not os.path.exists(path):
            with open(path, "w", encoding="ascii"):
                pass
        self.rule.began({"generation": generation}, primary, path, BEGIN + when)

    def judged(self, end, cut=False):
        self.rule.ended(BEGIN + end, cut)
        return self.rule.judge()


class Lockstep(Rule):
    def sent(self, when, data, held=None, host="A"):
        self.rule.saw({host: [frame(when, data)]}, [])
        if held is not None:
            self.log.append((wirecheck.Digests().of(data), len(data), BEGIN + held))

    def test_held_first(self):
        self.sent(20, b"a" * 60, 10)
        self.sent(30, b"b" * 60, 30)
        self.assertEqual(self.judged(100), [])
        self.assertEqual((self.rule.checked, self.rule.violations), (2, 0))
        self.assertEqual(os.listdir(self.rule.directory), [])

    def test_before_it_was_held(self):
        self.sent(20, b"a" * 60, 10)
        self.sent(30, b"b" * 60, 2_000_030)
        problem, = self.judged(100)
        self.assertRegex(problem, "output before its ack: 1 of 2 frames.*held 2.000 ms later")
        self.assertEqual(self.rule.violations, 1)
        self.assertEqual(os.listdir(self.rule.directory), ["saved-g1"])

    def test_never_held(self):
        self.sent(20, b"a" * 60, 10)
        self.sent(30, b"b" * 60)
        self.assertRegex(self.judged(100)[0], "1 of 2 frames.*never held")

    def test_end_of_a_log_that_was_cut(self):
        self.sent(20, b"a" * 60, 10)
        self.sent(30, b"b" * 60)
        self.assertEqual(self.judged(100, cut=True), [])
        self.assertEqual((self.rule.checked, self.rule.left_out), (1, 1))

    def test_cut_is_no_excuse_for_what_was_before(self):
        self.sent(20, b"a" * 60)
        self.sent(30, b"b" * 60, 25)
        self.assertRegex(self.judged(100, cut=True)[0], "1 of 2 frames.*never held")

    def test_announcements_are_not_the_guests(self):
        self.sent(20, b"a" * 60, 10)
        self.sent(30, b"\xff" * 6 + b"\x52\x54\x00\x12\x34\x56" + b"\x80\x35" + bytes(46))
        self.assertEqual(self.judged(100), [])
        self.assertEqual((self.rule.checked, self.rule.violations), (1, 0))

    def test_only_while_it_protects(self):
        self.sent(-5, b"a" * 60)
        self.sent(200, b"b" * 60)
        self.sent(50, b"c" * 60, host="B")
        self.assertEqual(self.judged(100), [])
        self.assertEqual(self.rule.checked, 0)

    def test_nothing_is_known(self):
        for when in range(30):
            self.sent(when, bytes([when]) * 60)
        self.log.append((1, 1600, BEGIN))
        self.assertRegex(self.judged(100)[0], "none of 30 frames is in the saved log")

    def test_cut_off_frames_are_counted(self):
        self.rule.saw({"A": [frame(10, b"a" * 60, 70000)]}, [])
        self.assertEqual(self.judged(100), [])
        self.assertEqual(self.rule.unmatched, 1)

    def test_two_pairs(self):
        self.sent(20, b"a" * 60, 10)
        self.rule.ended(BEGIN + 100)
        self.began(2, 200, "B")
        self.assertEqual(self.rule.judge(), [])
        self.sent(150, b"b" * 60, host="B")
        self.sent(250, b"c" * 60, 300, host="B")
        self.assertRegex(self.judged(400)[0], "1 of 1 frames, generation 2, primary B")

    def test_the_same_pair(self):
        self.began(1, 50)
        self.assertEqual(len(self.rule.pairs), 1)

    def test_an_hour_off(self):
        for step in (0, 3600, -3600):
            self.assertEqual(unstepped(BEGIN + 7 + step * SECOND, BEGIN + 900 * SECOND), BEGIN + 7)
        data = b"a" * 60
        self.rule.saw({"A": [frame(20, data)]}, [])
        self.log.append((wirecheck.Digests().of(data), 60, BEGIN + 21 - 3600 * SECOND))
        self.assertRegex(self.judged(100)[0], "1 of 1 frames")

    def test_no_log(self):
        with self.assertRaisesRegex(LabError, "generation 2 saves no log"):
            self.rule.began({"generation": 2}, "B", None, BEGIN)


class Checkpoint(Rule):
    strategy = "checkpoint"

    def pinged(self, number, asked, answered):
        request = ipv4(1, ping(8, 1, number)[34:], CLIENT, GUEST)
        self.rule.saw({"A": [frame(answered, ping(0, 1, number))]}, [frame(asked, request)])

    def test_an_epoch_between(self):
        self.log += [BEGIN + 15]
        self.pinged(1, 10, 20)
        self.assertEqual(self.judged(100), [])
        self.assertEqual(self.rule.checked, 1)

    def test_no_epoch_between(self):
        self.log += [BEGIN + 5, BEGIN + 25]
        self.pinged(1, 10, 20)
        self.assertRegex(self.judged(100)[0], "1 of 1 frames.*no epoch was held")
        self.assertEqual(self.rule.violations, 1)

    def test_asked_before_the_pair(self):
        self.log += [BEGIN + 15]
        self.pinged(1, -10, 20)
        self.assertEqual(self.judged(100), [])
        self.assertEqual(self.rule.checked, 1)

    def test_end_of_a_log_that_was_cut(self):
        self.log += [BEGIN + 15]
        self.pinged(1, 10, 20)
        self.log += [BEGIN + 20]
        self.pinged(2, 30, 40)
        self.assertEqual(self.judged(100, cut=True), [])
        self.assertEqual((self.rule.checked, self.rule.left_out), (1, 1))


del Rule

if __name__ == "__main__":
    unittest.main()
