# SPDX-License-Identifier: GPL-2.0-or-later
"""linear.py: histories that are right and wrong by hand, and at random against an oracle."""

import itertools
import random
import unittest

from vmftlab.linear import CAS, OK, READ, UNDECIDED, VIOLATION, WRITE, Op, check

SMALL = 1500  # random histories each


def read(client, begin, end, value, key="k"):
    return Op(client, READ, key, value, invoked=begin, returned=end)


def write(client, begin, end, value, key="k"):
    return Op(client, WRITE, key, value, invoked=begin, returned=end)


def cas(client, begin, end, old, new, done=True, found=None, key="k"):
    return Op(client, CAS, key, new, old, done, found, begin, end)


class ByHand(unittest.TestCase):
    def good(self, *ops, initial=None):
        verdict = check(ops, initial)
        self.assertEqual(verdict.outcome, OK, verdict)
        self.assertTrue(verdict.linearizable)

    def bad(self, *ops, initial=None):
        verdict = check(ops, initial)
        self.assertEqual(verdict.outcome, VIOLATION, verdict)
        self.assertFalse(verdict.linearizable)
        self.assertTrue(any(line.startswith(">") for line in verdict.witness), verdict)
        return verdict

    def test_nothing(self):
        self.good()

    def test_one_after_another(self):
        self.good(read(1, 0, 1, None), write(1, 2, 3, "a"), read(2, 4, 5, "a"),
                  cas(1, 6, 7, "a", "b"), read(2, 8, 9, "b"),
                  cas(1, 10, 11, "a", "c", False, "b"), read(1, 12, 13, "b"))

    def test_initial_value(self):
        self.good(read(1, 0, 1, "i"), initial="i")
        self.bad(read(1, 0, 1, None), initial="i")

    def test_overlapping_reads_may_see_either(self):
        self.good(write(1, 0, 1, "a"), write(1, 10, 20, "b"), read(2, 11, 12, "a"),
                  read(3, 13, 14, "b"))
        self.good(write(1, 0, 1, "a"), write(1, 10, 20, "b"), read(2, 11, 12, "b"))

    def test_stale_read(self):
        verdict = self.bad(write(1, 0, 1, "a"), write(1, 2, 3, "b"), read(2, 4, 5, "a"))
        self.assertEqual(verdict.key, "k")
        self.assertIn("> client 2", str(verdict))
        self.assertIn("could hold: b", str(verdict))

    def test_reads_go_back(self):
        self.bad(write(1, 0, 1, "a"), write(1, 10, 20, "b"), read(2, 11, 12, "b"),
                 read(3, 13, 14, "a"))

    def test_lost_write(self):
        self.bad(write(1, 0, 1, "a"), read(2, 2, 3, None))

    def test_lost_after_it_was_seen(self):
        self.bad(write(1, 0, None, "a"), read(2, 1, 2, "a"), read(2, 3, 4, None))

    def test_lost_cas(self):
        self.bad(write(1, 0, 1, "a"), cas(2, 2, 3, "a", "b"), read(1, 4, 5, "a"))

    def test_both_cas_won(self):
        self.bad(write(1, 0, 1, "a"), cas(2, 2, 9, "a", "b"), cas(3, 2, 9, "a", "c"))

    def test_neither_cas_won(self):
        self.bad(write(1, 0, 1, "a"), cas(2, 2, 9, "a", "b", False, "c"),
                 cas(3, 2, 9, "a", "c", False, "b"))

    def test_one_cas_won(self):
        self.good(write(1, 0, 1, "a"), cas(2, 2, 9, "a", "b"),
                  cas(3, 2, 9, "a", "c", False, "b"), read(1, 10, 11, "b"))

    def test_cas_of_an_absent_key(self):
        self.good(cas(1, 0, 1, None, "a"), cas(2, 2, 3, None, "b", False, "a"))
        self.bad(cas(1, 0, 1, None, "a"), cas(2, 2, 3, None, "b"))

    def test_refused_with_what_it_wanted(self):
        self.bad(write(1, 0, 1, "a"), cas(1, 2, 3, "a", "b", False, "a"))

    def test_never_written(self):
        self.assertIn("nobody wrote z", str(self.bad(write(1, 0, 1, "a"), read(1, 2, 3, "z"))))

    def test_read_before_it_was_asked_for(self):
        self.bad(read(1, 0, 1, "a"), write(2, 2, 3, "a"))
        self.bad(read(1, 0, 1, "a"), write(2, 2, None, "a"))
        self.bad(read(1, 0, 1, "b"), cas(2, 2, None, None, "b"))

    def test_unknown_may_happen(self):
        self.good(write(1, 0, None, "a"), read(2, 5, 6, None), read(2, 7, 8, "a"))
        self.good(write(1, 0, 1, "a"), cas(2, 2, None, "a", "b"), read(3, 90, 91, "b"))

    def test_unknown_may_never_happen(self):
        self.good(write(1, 0, None, "a"), read(2, 5, 6, None), read(2, 7, 8, None))
        self.good(write(1, 0, 1, "a"), cas(2, 2, None, "a", "b"), read(3, 90, 91, "a"))

    def test_unknown_happens_once(self):
        self.bad(write(1, 0, None, "a"), read(2, 1, 2, "a"), write(2, 3, 4, "b"),
                 read(2, 5, 6, "b"), read(3, 7, 8, "a"))

    def test_unknown_cas_needs_its_value(self):
        self.bad(write(1, 0, 1, "a"), cas(2, 2, None, "z", "b"), read(3, 90, 91, "b"))

    def test_chain_of_unknown(self):
        chain = [cas(1, 0, None, None, "a"), cas(2, 1, None, "a", "b"), cas(3, 2, None, "b", "c")]
        self.good(*chain, read(4, 5, 6, "c"))
        self.good(*chain, read(4, 5, 6, "a"), read(4, 7, 8, "c"))
        self.bad(*chain, read(4, 5, 6, "c"), read(4, 7, 8, "b"))

    def test_a_value_written_twice(self):
        self.good(write(1, 0, 1, "a"), write(1, 2, 3, "b"), write(1, 4, 5, "a"),
                  read(2, 6, 7, "a"))
        self.good(write(1, 0, None, "a"), write(1, 2, None, "a"), write(2, 3, 4, "b"),
                  read(2, 5, 6, "a"), read(2, 7, 8, "a"))

    def test_keys_are_independent(self):
        self.good(write(1, 0, 1, "a", "x"), write(1, 2, 3, "b", "y"), read(2, 4, 5, "a", "x"))
        self.assertEqual(self.bad(write(1, 0, 1, "a", "x"), read(1, 2, 3, None, "y"),
                                  read(2, 4, 5, None, "x")).key, "x")

    def test_touching_overlaps(self):
        self.good(read(1, 0, 5, "a"), write(2, 5, 9, "a"))

    def test_returned_too_early(self):
        self.assertRaises(ValueError, check, [read(1, 5, 4, None)])

    def test_undecided_is_no_yes(self):
        """Values that repeat, so that nothing can be left out: more ways than are looked at."""
        ops = [write(n, 0, None, n % 9) for n in range(40)] + [read(50, 1, 2, "z")]
        verdict = check(ops, limit=1000)
        self.assertEqual(verdict.outcome, UNDECIDED)
        self.assertFalse(verdict.linearizable)
        self.assertIn("undecided", str(verdict))

    def test_a_violation_counts_more_than_undecided(self):
        ops = [write(n, 0, None, n % 9) for n in range(40)] + [read(50, 1, 2, "z")]
        ops += [read(1, 0, 1, "x", "other")]
        verdict = check(ops, limit=1000)
        self.assertEqual((verdict.outcome, verdict.key), (VIOLATION, "other"))

    def test_witness_is_short(self):
        ops = [write(1, 2 * n, 2 * n + 1, n) for n in range(500)] + [read(2, 2000, 2001, 17)]
        witness = self.bad(*ops).witness
        self.assertLess(len(witness), 20)
        self.assertTrue(any("write 17" in line for line in witness), witness)
        self.assertTrue(any("write 499" in line for line in witness), witness)


def simulate(random_, clients, operations, keys=1, unknown=0.0, values=None, step=10):
    """What clients see of real registers: each operation takes effect at a moment between its
    invocation and its return. values: how many different ones, None for unique ones."""
    registers = {}
    ops = []
    moments = []
    for client in range(clients):
        now = random_.randrange(step)
        for number in range(operations // clients):
            kind = random_.choice((READ, WRITE, CAS))
            invoked = now + random_.randrange(step)
            effect = invoked + random_.randrange(1, step)
            op = Op(client, kind, f"k{random_.randrange(keys)}", invoked=invoked,
                    returned=effect + random_.randrange(step))
            if kind != READ:
                op.value = (f"{client}.{number}" if values is None
                            else random_.randrange(values))
            now = op.returned + 1
            lost = random_.random() < unknown
            if lost:
                # It happens much later, or never.
                effect = invoked + random_.randrange(1, 20 * step)
            ops.append(op)
            if not lost or random_.random() < 0.6:
                moments.append((effect, len(ops) - 1))
            if lost:
                op.returned = None
    seen = {key: [None] for key in (f"k{n}" for n in range(keys))}
    for _, number in sorted(moments):
        op = ops[number]
        value = registers.get(op.key)
        if op.kind == READ and op.returned is not None:
            op.value = value
        elif op.kind == WRITE:
            registers[op.key] = op.value
        elif op.kind == CAS:
            op.old = value if random_.random() < 0.6 else random_.choice(seen[op.key])
            op.done = value == op.old
            op.found = None if op.done else value
            if op.done:
                registers[op.key] = op.value
        seen[op.key].append(registers.get(op.key))
    return ops


def mutate(random_, ops):
    """One thing that somebody saw is another, or came at another time."""
    op = random_.choice(ops)
    values = [other.value for other in ops if other.kind != READ] + [None]
    what = random_.randrange(4)
    if what == 0 and op.kind == READ and op.returned is not None:
        op.value = random_.choice(values)
    elif what == 1 and op.kind == CAS and op.returned is not None:
        op.done = not op.done
        op.found = None if op.done else random_.choice(values)
    elif what == 2 and op.returned is not None:
        op.returned = op.invoked + random_.randrange(3)
    elif op.kind == CAS:
        op.old = random_.choice(values)


def oracle(ops, initial=None):
    """Every order of every choice of those without an answer; for a handful on one key."""
    known = [op for op in ops if op.returned is not None]
    unknown = [op for op in ops if op.returned is None]
    for count in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, count):
            if possible_order(known + list(some), initial):
                return True
    return False


def possible_order(ops, value):
    if not ops:
        return True
    for op in ops:
        rest = [other for other in ops if other is not op]
        if any(other.returned is not None and other.returned < op.invoked for other in rest):
            continue
        if op.kind == READ:
            fits, after = op.returned is None or op.value == value, value
        elif op.kind == WRITE:
            fits, after = True, op.value
        elif op.returned is None or op.done:
            fits, after = op.old == value, op.value
        else:
            fits, after = op.old != value and op.found == value, value
        if fits and possible_order(rest, after):
            return True
    return False


class AtRandom(unittest.TestCase):
    def test_real_registers_are_accepted(self):
        for seed in range(200):
            random_ = random.Random(seed)
            ops = simulate(random_, random_.randrange(1, 7), 120, keys=2, unknown=0.05,
                           values=random_.choice((None, None, 3)))
            verdict = check(ops)
            self.assertTrue(verdict.linearizable, f"seed {seed}: {verdict}")

    def compare(self, values, unknown):
        outcomes = {True: 0, False: 0}
        for seed in range(SMALL):
            random_ = random.Random(seed)
            ops = simulate(random_, 3, 6, unknown=unknown, values=values, step=6)
            if seed % 4:
                mutate(random_, ops)
            expected = oracle(ops)
            outcomes[expected] += 1
            verdict = check(ops)
            self.assertEqual(verdict.linearizable, expected,
                             f"seed {seed}: {verdict}: {[str(op) for op in ops]} {ops}")
            self.assertNotEqual(verdict.outcome, UNDECIDED)
        for count in outcomes.values():
            self.assertGreater(count, SMALL // 20, outcomes)

    def test_against_the_oracle(self):
        self.compare(None, 0)

    def test_against_the_oracle_with_unknown(self):
        self.compare(None, 0.3)

    def test_against_the_oracle_with_few_values(self):
        self.compare(2, 0.3)

    def test_many_operations(self):
        """As many as a long drill has, with outages in which nobody had an answer."""
        random_ = random.Random(1)
        ops = simulate(random_, 4, 20000, keys=6, unknown=0.02, step=1000)
        verdict = check(ops)
        self.assertTrue(verdict.linearizable, verdict)
        self.assertLess(verdict.configurations, 20 * len(ops), "configurations looked at")
        last = max((op for op in ops if op.kind == READ and op.returned is not None
                    and op.value is not None), key=lambda op: op.invoked)
        last.value = next(op.value for op in ops if op.kind == WRITE and op.key == last.key
                          and op.returned is not None and op.value != last.value)
        verdict = check(ops)
        self.assertEqual((verdict.outcome, verdict.key), (VIOLATION, last.key))


if __name__ == "__main__":
    unittest.main()
