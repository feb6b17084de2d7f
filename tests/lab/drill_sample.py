#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A drill's result that no drill had, to look at the report with, and for its tests:

    tests/lab/drill_sample.py short|soak|failed FILE.html
"""

import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))

from vmftlab.drill import report as drillreport  # pylint: disable=wrong-import-position

# kind, victim, outcome, evidence
FAULTS = (
    ("kill-qemu", "AB", "failover", "pid 4711 is gone, its exit status was signal 9"),
    ("kill-monitor", "AB", "failover", "vmft-monitor 4712 is gone; its socket refuses"),
    ("stop-qemu", "AB", "failover", "/proc/4711/stat says T for 8.2 s"),
    ("power-off", "AB", "failover", "no process is left in the namespace of the host"),
    ("cut-channel", "net", "failover", "chan0 is down at both ends; 0 bytes went through"),
    ("one-way-loss", "net", "failover", "netem dropped 214 of 214 frames from B to A"),
    ("loss-5%", "net", "went-on", "netem dropped 61 of 1233 frames"),
    ("delay-200ms", "net", "went-on", "ping over the channel took 400.3 ms"),
    ("rate-8mbit", "net", "went-on", "tbf held 118 kB back; 0.98 MB/s went through"),
    ("cut-heartbeat", "net", "nothing", "0 of 9 heartbeats arrived on the second path"),
    ("cut-client", "net", "waited", "portC is down; the client's ping had no reply"),
    ("arbiter-down", "arbiter", "waited", "the directory cannot be written: Read-only file system"),
    ("disk-full", "AB", "failover", "df says 0 blocks are free; QEMU had ENOSPC"),
    ("memory-pressure", "AB", "went-on", "memory.events: high 8812, the cgroup is at its limit"),
    ("clock-step", "AB", "nothing", "date -u is 3600 s ahead of the other host"),
    ("slow-cpu", "B", "went-on", "cpu.stat: throttled 412 times, 9.1 s in all"),
)
LONG = {"stop-qemu": 8, "loss-5%": 6, "delay-200ms": 6, "rate-8mbit": 6, "cut-heartbeat": 5,
        "cut-client": 4, "arbiter-down": 7, "memory-pressure": 6, "slow-cpu": 6, "cut-channel": 3,
        "one-way-loss": 5, "clock-step": 5, "disk-full": 2}


def sample(faults=16, per_fault=9.0, rate=90, seed=7, bad=False, sample_s=0.1):
    """A result with so many faults, each `per_fault` seconds from the next."""
    random_ = random.Random(seed)
    start = 8_000_000 * 10**9
    result = {"vm": "web1", "strategy": "lockstep", "accel": "tcg", "smp": 1, "image": "tiny",
              "seed": seed, "machine": "AMD EPYC, 2 processors, 24 GiB; Linux 6.1; QEMU 7.2.22",
              "began": "2025-03-09T14:02:11+00:00", "seconds": faults * per_fault + 8,
              "faults": [], "samples": [], "ops": [], "problems": []}
    gaps, now, live = [], 6.0, "A"
    changes = [(0.0, "A", 1)]  # when, who runs the guest, in which generation
    for number in range(faults):
        kind, victims, outcome, evidence = FAULTS[number % len(FAULTS) if faults <= 16
                                                  else random_.randrange(len(FAULTS))]
        victim = victims if victims in ("net", "arbiter") else live if "A" in victims else "B"
        outage = {"failover": random_.lognormvariate(6.3, 0.5), "went-on": random_.uniform(20, 400),
                  "waited": random_.uniform(3500, 7000), "nothing": None}[outcome]
        if outage:
            gaps.append((now + random_.uniform(-0.01, 0.05), outage / 1000))
        if outcome == "failover":
            live = "B" if live == "A" else "A"
            changes.append((now + outage / 1500, live, len(changes) + 1))
        result["faults"].append({
            "kind": kind, "victim": victim, "at_ns": round(start + now * 1e9),
            "until_ns": round(start + (now + LONG[kind]) * 1e9) if kind in LONG else None,
            "verified": evidence, "expected": "failover" if outcome == "failover" else "goes on",
            "outcome": outcome, "outage_ms": outage, "problems": [],
            "protected_again_ms": random_.uniform(1500, 4200) if outcome == "failover" else None})
        now += per_fault * random_.uniform(0.75, 1.25)
    end = now + 2
    _samples(result, random_, (start, end, sample_s), changes)
    _ops(result, random_, start, end, gaps, rate)
    result["totals"] = {"lost": 0, "double_live": 0, "output_before_ack": 0,
                        "undetected_divergence": 0, "linearizable": True,
                        "operations": len(result["ops"]), "sanitizer_findings": 0}
    result["ok"] = not bad
    if bad:
        result["totals"].update(lost=3, linearizable=False, double_live=None)
        result["faults"][4]["problems"] = ["fenced host A sent 2 frames after B was live",
                                           "A <did> not say & why it \"stopped\""]
        result["problems"] = ["key h-3: client 2 read 1.417, which was overwritten 812 ms before"]
    return drillreport.summarize(result)


def _samples(result, random_, times, changes):
    start, end, step = times
    position, at = 0, 0.0
    while at < end:
        when, live, generation = [change for change in changes if change[0] <= at][-1]
        other = "B" if live == "A" else "A"
        since = at - when
        position += round(random_.uniform(100000, 450000) * step)
        lag = max(random_.gauss(220, 60), 5) + (900 if random_.random() < 0.01 else 0)
        first = generation == 1
        state = ("forming" if first and since < 1 else "alone" if since < 0.8 and not first
                 else "attaching" if since < 2.2 and not first else "protected")
        ours = {"role": "primary", "state": state, "generation": generation,
                "lag_ms": round(lag), "log_head": position}
        theirs = {"role": "backup", "state": state, "generation": generation, "lag_ms": None,
                  "log_head": position - round(lag * 300)}
        if state == "alone":
            theirs = None if generation % 3 else {**theirs, "state": "fenced"}
        if -0.6 < min((at - change[0] for change in changes[1:]), key=abs, default=9) < -0.1:
            theirs["state"] = random_.choice(("draining", "arbitrating"))
            ours = None if generation % 2 else ours
        result["samples"].append({"at_ns": round(start + at * 1e9), live: ours, other: theirs})
        at += step


def _ops(result, random_, start, end, gaps, rate):
    at = 1.5
    while at < end:
        ms = random_.lognormvariate(1.9, 0.6) + (random_.random() < 0.004) * 300
        for begin, length in gaps:
            if begin <= at < begin + length:
                for _ in range(4):
                    began = begin - random_.uniform(0, 0.03)
                    ok = length < 5 or random_.random() < 0.5
                    result["ops"].append({"at_ns": round(start + (begin + length) * 1e9
                                                         + random_.uniform(0, 5e6)),
                                          "ms": (begin + length - began) * 1000, "ok": ok})
                at = begin + length
        result["ops"].append({"at_ns": round(start + at * 1e9), "ms": ms, "ok": True})
        at += random_.expovariate(rate)


SAMPLES = {"short": {}, "failed": {"bad": True},
           "soak": {"faults": 100, "per_fault": 18, "rate": 28}}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in SAMPLES:
        sys.exit(__doc__)
    made = sample(**SAMPLES[sys.argv[1]])
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(drillreport.html(made))
    print(drillreport.table(made))
