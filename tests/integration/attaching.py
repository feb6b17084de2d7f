# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of attaching a backup share: a guest that runs alone, and an attach that is held
in a phase."""

import contextlib
import re

from harness import check, equal, note
from vmftlab.guest import READY


@contextlib.contextmanager
def alone(name, way, memory=None, pair=None, captures=False):
    """A guest that runs on A without a backup."""
    with way.lab(name, captures=captures, pair={"start": "alone", **(pair or {})}) as made:
        if memory:
            made.guest.memory = memory
        start_alone(made)
        yield made


def start_alone(pair, args=None):
    pair.start_side("A", args=args)
    pair.wait(lambda: pair.state("A") == "alone", "the primary to run alone")
    pair.wait(lambda: READY.encode() in pair.side["A"].console(), "the guest to boot")


def phase(pair, side="A"):
    found = pair.peek(side)
    return found["attach_phase"] if found else None


def attach_compared(pair, live, other, what, args=None):
    """Attaches, and compares memory and disks of both sides at the first entry after the attach
    point."""
    pair.command(live, "freeze")
    pair.start_backup(other, args=args)
    equal(pair.compare(live, other)[1], "", f"differences after an attach {what}")
    pair.wait_attached(live, other)


def unprotect(pair, live, other):
    pair.end_side(other)
    pair.wait_state(live, "alone", "attaching")


# The phases in their order, by their names in the status. hold-attach keeps an attach in a phase that
# the primary would leave by itself.
PHASES = ("tracking", "offered", "comparing", "copying", "scanning", "stopping", "sending",
          "catching-up", "sealing")


def phases():
    """The phases in which an attach can be kept. The backup's QEMU runs already, and answers an offer
    at once."""
    return [phase for phase in PHASES if phase != "offered"]


def start_held(pair):
    """Starts a backup on B. Its attach stays in the first phase, however soon it begins."""
    pair.command("A", "hold-attach")
    pair.start_backup("B")
    pair.attach_now("A")


def lead_to(pair, wanted):
    """Steps the attach into a phase, in which it then stays."""
    pair.wait(lambda: phase(pair) != "idle", "the attach to begin")
    while (now := phase(pair)) != wanted:
        check(now in PHASES, f"the attach is {now}: {pair.status('A')['attach_error']}")
        # The offered phase ends with the backup's answer, held or not. A step would be taken for the
        # next phase.
        if now != "offered":
            pair.command("A", "step-attach")
        pair.wait(lambda: phase(pair) != now, f"the attach to leave {now}")


def goes_on(pair, writer, what):
    """Checks that the primary runs as before, says why the attempt failed, and will try again.
    Returns the reason that it gives."""
    seen = len(writer.acks())
    pair.wait(lambda: len(writer.acks()) > seen + 5, f"writes {what}")
    # An attempt that is over may not slow the guest; but the next attempt may have begun.
    pair.wait(lambda: pair.status("A")["throttle_permille"] == 0, f"the guest's full speed {what}",
              20)
    status = pair.status("A")
    check(status["state"] in ("alone", "attaching"), f"state of A {what}: {status['state']}")
    check(status["attach_failures"] > 0, f"no failed attempt counted {what}")
    check(status["attach_error"], f"status does not say why {what}")
    return status["attach_error"]


def refused(pair, pattern, what):
    pair.wait(lambda: re.search(pattern, pair.status("A")["attach_error"]), f"{what} to be refused")
    note(pair.status("A")["attach_error"])
    equal(pair.state("A") in ("alone", "attaching"), True, "the primary goes on")
