# SPDX-License-Identifier: GPL-2.0-or-later
"""All kinds of faults, and the lists of them that a drill does."""

from .arbiter import (ArbiterDown, ArbiterDownChannelCut, ArbiterDownKill, ArbiterUnmounted,
                      ArbiterWiped)
from .links import (ChannelCap, ChannelCut, ChannelCutShort, ChannelDelay, ChannelLoss,
                    ChannelOneWay, ClientCut, HeartbeatCut, UplinkLate)
from .processes import (KillMonitor, KillQemu, PowerOff, StopHost, StopMonitor, StopQemu, TapOther,
                        Terminate)
from .resources import (ClockStep, ConsoleStalled, DiskFullBackup, DiskFullPrimary, MemoryPressure,
                        SlowBackup)

KINDS = {fault.kind: fault for fault in (
    KillQemu, KillMonitor, StopHost, StopQemu, StopMonitor, PowerOff, ChannelCut, ChannelCutShort,
    ChannelOneWay, ChannelLoss, ChannelDelay, ChannelCap, HeartbeatCut, ClientCut, UplinkLate, ArbiterDown,
    ArbiterDownChannelCut, ArbiterDownKill, ArbiterWiped, ArbiterUnmounted, Terminate, TapOther,
    ConsoleStalled, DiskFullBackup, DiskFullPrimary, MemoryPressure,
    ClockStep, SlowBackup)}


def available(options, without=()):
    """The kinds that can be done here, but for those in `without`."""
    return {kind: fault for kind, fault in KINDS.items()
            if kind not in without and fault.why_not(options) is None}


def every(kinds):
    """(kind, target) for each target of each kind, once."""
    return [(kind, target) for kind, fault in kinds.items() for target in fault.targets]


def drawn(count, chance, kinds):
    """`count` faults at random, by weight."""
    classes = list(kinds.values())
    picked = chance.choices(classes, [fault.weight for fault in classes], k=count)
    return [(fault.kind, chance.choice(fault.targets)) for fault in picked]


def kinds_in(text):
    """The kinds that a list with commas names."""
    kinds = [word.strip() for word in text.split(",") if word.strip()]
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"no fault {kind!r}; --list names them")
    return kinds


def parse_list(text, options=None):
    """KIND or KIND:TARGET, with commas. A kind without a target is done to each of its targets.
    Without options, it is not checked whether the kind can be done here."""
    plan = []
    for word in text.split(","):
        kind, _, target = word.strip().partition(":")
        kinds_in(kind or "?")
        why = options and KINDS[kind].why_not(options)
        if why:
            raise ValueError(f"{kind}: not available: {why}")
        targets = KINDS[kind].targets
        if target and target not in targets:
            raise ValueError(f"{kind}: done to {' or '.join(targets)}, not to {target!r}")
        plan += [(kind, name) for name in ([target] if target else targets)]
    return plan
