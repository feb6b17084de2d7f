# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of a link: frames that get lost, or come late. Counted by the kernel.

Made of nftables and a relay in user space, not of sch_netem, which not every kernel has.
"""

import json
import os
import re
import subprocess
import time

from .net import run

TABLE = "vmftdrill"


class Rule:
    """Something done to frames as they come in at a device; while it is there."""

    def __init__(self, ns, device, statement):
        self.ns = ns
        text = (f"table netdev {TABLE} {{\n chain in {{\n"
                f"  type filter hook ingress device \"{device}\" priority 0;\n"
                f"  {statement}\n }}\n}}\n")
        done = subprocess.run(["ip", "netns", "exec", ns, "nft", "-f", "-"], input=text, text=True,
                              capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"nft in {ns}: {done.stderr.strip()}")

    def counted(self):
        """(frames, bytes) it was applied to; a frame may be many of TCP's segments."""
        shown = json.loads(run("ip", "netns", "exec", self.ns, "nft", "-j", "list", "table",
                               "netdev", TABLE).stdout)
        for item in shown["nftables"]:
            for part in item.get("rule", {}).get("expr", []):
                if "counter" in part:
                    return part["counter"]["packets"], part["counter"]["bytes"]
        raise RuntimeError(f"nft in {self.ns}: no counter in {shown}")

    def remove(self):
        run("ip", "netns", "exec", self.ns, "nft", "delete", "table", "netdev", TABLE,
            check=False)


def drop_all(ns, device):
    return Rule(ns, device, "counter drop")


def drop_some(ns, device, percent):
    return Rule(ns, device, f"numgen random mod 100 < {percent} counter drop")


class Delay:
    """IP frames that come in at a device are handed to the host so many milliseconds later."""

    TAP = "late0"

    def __init__(self, bin_dir, ns, device, ms):
        self.ns = ns
        self.relay = subprocess.Popen(
            ["ip", "netns", "exec", ns, os.path.join(bin_dir, "vmft-wire"), self.TAP, str(ms)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        self.rule = None
        try:
            if self.relay.stdout.readline() != b"ready\n":
                raise RuntimeError(f"vmft-wire in {ns} does not start")
            # The tap's frames are addressed to the device they were taken from.
            link = run("ip", "-n", ns, "-j", "link", "show", device).stdout
            run("ip", "-n", ns, "link", "set", self.TAP, "address", json.loads(link)[0]["address"])
            run("ip", "-n", ns, "link", "set", self.TAP, "up")
            self.rule = Rule(ns, device, f"ether type ip counter fwd to \"{self.TAP}\"")
        except BaseException:
            self.remove()
            raise

    def counted(self):
        return self.rule.counted()

    def remove(self):
        if self.rule:
            self.rule.remove()
        # What is still on the way is lost with the relay, as when a cable is changed.
        self.relay.kill()
        self.relay.wait()
        self.relay.stdout.close()


def round_trip_ms(ns, address):
    """The quickest of three pings."""
    done = run("ip", "netns", "exec", ns, "ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "5",
               address, check=False)
    found = re.search(r"= ([0-9.]+)/", done.stdout)
    return float(found.group(1)) if found else None


def links_down(ns, *devices):
    """All at once, as far as one command can."""
    _batch(ns, devices, "down")


def links_up(ns, *devices):
    _batch(ns, devices, "up")


def _batch(ns, devices, state):
    text = "".join(f"link set {device} {state}\n" for device in devices)
    done = subprocess.run(["ip", "-n", ns, "-batch", "-"], input=text, text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip in {ns}: {done.stderr.strip()}")


def is_up(ns, device):
    return "UP" in json.loads(run("ip", "-n", ns, "-j", "link", "show", device).stdout)[0]["flags"]


def shaped(ns, device):
    """(bytes sent, times it had to wait) of the device's token bucket."""
    shown = json.loads(run("tc", "-n", ns, "-s", "-j", "qdisc", "show", "dev", device).stdout)
    for item in shown:
        if item["kind"] == "tbf":
            return item["bytes"], item["overlimits"]
    return 0, 0


def wait_counted(counters, seconds):
    """Until each of them has counted something; returns what they counted."""
    end = time.monotonic() + seconds
    while True:
        found = [counter.counted() for counter in counters]
        if all(frames for frames, _ in found) or time.monotonic() > end:
            return found
        time.sleep(0.05)
