# SPDX-License-Identifier: GPL-2.0-or-later
"""Was what clients saw of some registers possible on one machine that never failed?

Linearizable: there is an order of the operations that a single register could have gone
through, in which each takes effect at one moment between its invocation and its return.
Keys are independent of each other, so each is searched by itself (locality: Herlihy and Wing,
1990). The search is Wing and Gong's (1993) with the memory of Lowe ("Testing for
linearizability", 2017), in his just-in-time form: returns are gone through in order of time,
and an operation is given its place only when a return asks for it. What is remembered is the
set of (value, operations placed and not yet returned) that can be had so far: an empty one is
a violation, and the return that emptied it is where to look.
"""

import dataclasses

READ, WRITE, CAS = "read", "write", "cas"
OK, VIOLATION, UNDECIDED = "ok", "violation", "undecided"
NEVER = 1 << 63  # a return that did not come; later than any time
# For one key: some seconds and some hundred MB at worst. With values of their own, and a handful
# of clients, an operation takes two or three.
CONFIGURATIONS, CONFIGURATIONS_PER_OP = 200_000, 20
SHOWN = 12  # operations of a witness
VALUES_SHOWN = 6


@dataclasses.dataclass
class Op:
    """One operation of one client. Times are of one clock, in ns.

    read: `value` is what was read, None if the key was not there.
    write: `value` is what was written.
    cas: `old` was to become `value`; `done` says whether it did, and if not, `found` is
    what was there instead. None as `old` or `found`: no such key.
    returned is None if nobody knows whether it happened: no answer, or the connection broke.
    """

    client: int
    kind: str
    key: str
    value: object = None
    old: object = None
    done: bool = True
    found: object = None
    invoked: int = 0
    returned: int = None

    def __str__(self):
        if self.kind == READ:
            text = "read" + (f" {self.value}" if self.returned is not None else "")
        elif self.kind == WRITE:
            text = f"write {self.value}"
        else:
            text = f"cas {self.old} -> {self.value}"
            if self.returned is not None:
                text += ": done" if self.done else f": found {self.found}"
        return text if self.returned is not None else f"{text} (no answer)"


@dataclasses.dataclass
class Verdict:
    """outcome: OK, VIOLATION or UNDECIDED; anything but OK is a failure."""

    outcome: str
    operations: int = 0
    configurations: int = 0  # that were looked at
    key: str = None  # of the first violation in time, or of what could not be decided
    witness: list = dataclasses.field(default_factory=list)  # lines of text

    @property
    def linearizable(self):
        return self.outcome == OK

    def __str__(self):
        if self.outcome == OK:
            return f"{self.operations} operations are linearizable"
        if self.outcome == UNDECIDED:
            return (f"undecided: the operations on {self.key} can be ordered in too many ways "
                    f"({self.configurations} looked at)")
        return "\n".join([f"not linearizable, key {self.key}:", *self.witness])


def check(ops, initial=None, limit=None):
    """Verdict on a history. `initial` is the value of each key before it; `limit` is how many
    configurations of a key are looked at before it is given up."""
    by_key = {}
    for op in ops:
        by_key.setdefault(op.key, []).append(op)
    total = Verdict(OK, len(ops))
    found = []
    for key, some in by_key.items():
        search = _Search(some, initial, limit)
        outcome = search.run()
        total.configurations += search.looked_at
        if outcome != OK:
            found.append((outcome, key, search))
    if not found:
        return total
    # A violation stands, whatever could not be decided besides.
    worst = min(found, key=lambda bad: (bad[0] != VIOLATION, bad[2].stuck_at()))
    total.outcome, total.key = worst[:2]
    total.witness = worst[2].witness() if total.outcome == VIOLATION else []
    return total


class _Search:
    """Over the operations on one key."""

    def __init__(self, ops, initial, limit):
        self.ops = sorted(ops, key=lambda op: op.invoked)
        self.initial = initial
        self.limit = limit or CONFIGURATIONS + CONFIGURATIONS_PER_OP * len(ops)
        self.looked_at = 0
        self.stuck = None  # the operation that has no place
        self.before = set()  # what the register could have held just before
        for op in self.ops:
            if op.returned is not None and op.returned < op.invoked:
                raise ValueError(f"{op} of client {op.client} returned before it was invoked")

    def run(self):
        ends = _effective_ends(self.ops, self.initial)
        configurations = {(self.initial, frozenset())}
        pending = set()
        for _, is_return, number in _events(self.ops, ends):
            if not is_return:
                pending.add(number)
                continue
            after = self._place(configurations, number, pending)
            if after is None:
                return UNDECIDED
            if not after:
                self.stuck = self.ops[number]
                self.before = {value for value, _ in configurations}
                return VIOLATION
            configurations = after
            pending.remove(number)
        return OK

    def _place(self, configurations, number, pending):
        """All that can be had with that operation placed, and forgotten; None: too many."""
        seen = set(configurations)
        stack = list(configurations)
        after = set()
        while stack:
            value, placed = stack.pop()
            self.looked_at += 1
            if self.looked_at > self.limit:
                return None
            if number in placed:
                after.add((value, placed - {number}))
                continue
            for other in pending - placed:
                possible, new = _apply(self.ops[other], value)
                reached = (new, placed | {other})
                if possible and reached not in seen:
                    seen.add(reached)
                    stack.append(reached)
        return after

    def stuck_at(self):
        return self.stuck.returned if self.stuck else NEVER

    def witness(self):
        """What was under way at the time, and the last before: as lines, times in ms."""
        stuck = self.stuck
        near = [op for op in self.ops if op.invoked <= stuck.returned
                and (op.returned is None or op.returned >= stuck.invoked)]
        past = sorted((op for op in self.ops if op.returned is not None
                       and op.returned < stuck.invoked), key=lambda op: op.returned)
        # Who wrote what is in dispute tells more than who came last.
        wanted = {stuck.value if stuck.kind == READ else stuck.old, stuck.found} - {None}
        writers = [op for op in self.ops if op.kind != READ and op.value in wanted]
        shown = near[-SHOWN:] if len(near) > SHOWN else near
        chosen = {id(op): op for op in [*past[len(shown) - SHOWN:], *shown, *writers[:2], stuck]}
        lines = [_line(op, stuck) for op in sorted(chosen.values(), key=lambda op: op.invoked)]
        if len(near) > len(shown):
            lines.append(f"  and {len(near) - len(shown)} more that were under way")
        held = sorted(map(str, self.before))
        more = f" and {len(held) - VALUES_SHOWN} more" if len(held) > VALUES_SHOWN else ""
        lines.append(f"  before it the key could hold: {', '.join(held[:VALUES_SHOWN])}{more}")
        if wanted and not writers and not wanted & {self.initial}:
            lines.append(f"  nobody wrote {', '.join(sorted(map(str, wanted)))}")
        return lines


def _line(op, stuck):
    begin = (op.invoked - stuck.invoked) / 1e6
    end = f"{(op.returned - stuck.invoked) / 1e6:+.3f}" if op.returned is not None else "never"
    mark = ">" if op is stuck else " "
    return f"{mark} client {op.client} {begin:+.3f} to {end} ms: {op}"


def _apply(op, value):
    """(whether it could have happened with that value there, the value afterwards)."""
    if op.kind == WRITE:
        return True, op.value
    if op.kind == READ:
        return op.returned is None or op.value == value, value
    if op.returned is None:
        # Not done is as good as never placed.
        return value == op.old, op.value
    if op.done:
        return value == op.old, op.value
    return value != op.old and op.found == value, value


def _events(ops, ends):
    """(time, is a return, number), in order. At one time invocations come first: operations
    that touch count as overlapping, since a clock has a resolution. Then the returns that were
    seen, so that a search is never stuck at one that was not."""
    events = []
    for number, op in enumerate(ops):
        if ends[number] is None:
            continue
        events.append((op.invoked, 0, number))
        if ends[number] != NEVER:
            events.append((ends[number], 1 if op.returned is not None else 2, number))
    return sorted(events)


def _effective_ends(ops, initial):
    """Until when each has happened: its return, NEVER, or None for one that may be left out.

    An operation without an answer stays under way for ever, and the search doubles with each.
    If no value is written twice, it need not: one whose value nobody saw can be left out, for
    whoever came after it saw another's; and one whose value was seen happened before the
    first who saw it returned.
    """
    ends = [NEVER if op.returned is None else op.returned for op in ops]
    for number, op in enumerate(ops):
        if op.returned is None and op.kind == READ:
            ends[number] = None
    written = [op.value for op in ops if op.kind != READ]
    if len(set(written)) < len(written) or initial in written:
        return ends
    unknown = {op.value: number for number, op in enumerate(ops)
               if op.returned is None and op.kind != READ}
    for number in unknown.values():
        ends[number] = None
    # Earliest first, so that each is met with its final end; what a seen CAS had seen in its
    # turn happened before that one did.
    for end, number in sorted((op.returned, number) for number, op in enumerate(ops)
                              if op.returned is not None):
        seen = _seen(ops[number])
        while seen in unknown:
            writer = unknown.pop(seen)
            # Seen before it was asked for: then the one who saw it has no place.
            ends[writer] = end if end >= ops[writer].invoked else NEVER
            seen = _seen(ops[writer])
    return ends


def _seen(op):
    """The value that must have been there for what came of it."""
    if op.kind == WRITE:
        return None
    if op.kind == READ:
        return op.value
    return op.old if op.returned is None or op.done else op.found
