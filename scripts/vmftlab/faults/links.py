# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults to the channel, the heartbeat path and the client's link."""

import os
import time

from .. import netfaults
from ..net import CHANNEL_IP, GUEST_IP
from ..programs import directory
from .fault import FAILOVER, NOTHING, OTHER, WENT_ON, Fault, FaultError
from .processes import KillQemu


class ChannelCut(Fault):
    kind = "channel-cut"
    text = "the logging channel's link goes down and stays so"
    targets = ("net",)
    weight = 4
    ends = "both"
    may = {"any": (FAILOVER, WENT_ON)}

    def inject(self):
        self.lab.net.cut_channel()

    def verify(self):
        return link_is_cut(self.lab)

    def heal(self):
        self.lab.net.mend_channel()


def link_is_cut(lab):
    if not lab.net.channel_is_cut():
        raise FaultError("the channel's link is still up")
    return "chan0 has no carrier"


class ChannelCutShort(Fault):
    kind = "channel-cut-short"
    text = "the channel's link is down for a quarter of the silence time: nothing may change"
    targets = ("net",)
    ends = "none"
    may = {"any": (NOTHING,)}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.hold_s = int(self.lab.pair_keys["silence-ms"]) / 4000

    def inject(self):
        self.lab.net.cut_channel()
        self.cut_at = time.monotonic()

    def verify(self):
        return link_is_cut(self.lab)

    def verify_late(self):
        return f"{link_is_cut(self.lab)} until {time.monotonic() - self.cut_at:.1f} s later"

    def heal(self):
        self.lab.net.mend_channel()


class Lossy(Fault):
    """Rules that drop frames which come in at chan0 of some hosts."""

    ends = "both"

    def rules(self):
        """Makes one rule after the other. If one cannot be made, heal() removes those before it."""
        raise NotImplementedError

    def inject(self):
        self.dropping = []
        for rule in self.rules():
            self.dropping.append(rule)

    def verify(self):
        found = netfaults.wait_counted(self.dropping, 5)
        if not all(frames for frames, _ in found):
            raise FaultError(f"nothing was dropped: {found}")
        return "dropped " + " and ".join(f"{frames} frames, {size} bytes" for frames, size in found)

    def verify_late(self):
        return "in the end " + ", ".join(f"{rule.counted()[0]}" for rule in self.dropping)

    def heal(self):
        for rule in self.dropping:
            rule.remove()

    @classmethod
    def why_not(cls, _options):
        return None if _has_nft() else "no nft: package nftables"


class ChannelOneWay(Lossy):
    kind = "channel-one-way"
    text = "nothing that this side sends on the channel arrives, all of the other's does"
    may = {"any": (FAILOVER, WENT_ON)}

    def rules(self):
        yield netfaults.drop_all(self.lab.net.host[OTHER[self.host]], "chan0")


class ChannelLoss(Lossy):
    kind = "channel-loss"
    text = "5 % of the channel's frames are lost, both ways"
    targets = ("net",)
    hold_s = 3
    ends = "none"
    may = {"any": (NOTHING,)}
    PERCENT = 5

    def rules(self):
        for ns in self.lab.net.host.values():
            yield netfaults.drop_some(ns, "chan0", self.PERCENT)

    def verify(self):
        return f"rules of {self.PERCENT} % on both hosts"

    def verify_late(self):
        return Lossy.verify(self)


class ChannelDelay(Fault):
    kind = "channel-delay"
    text = "the channel's frames take 200 ms, both ways"
    targets = ("net",)
    hold_s = 3
    ends = "none"
    may = {"any": (NOTHING,)}
    MS = 200

    def inject(self):
        self.delays = []
        for ns in self.lab.net.host.values():
            self.delays.append(netfaults.Delay(directory(), ns, "chan0", self.MS))

    def verify(self):
        took = netfaults.round_trip_ms(self.lab.net.host["A"], CHANNEL_IP["B"])
        if took is None or took < 2 * self.MS:
            raise FaultError(f"a ping over the channel took {took} ms")
        return f"a ping over the channel takes {took:.0f} ms"

    def verify_late(self):
        return ", ".join(f"{frames} frames late at {name}" for name, (frames, _) in
                         zip("AB", (delay.counted() for delay in self.delays)))

    def heal(self):
        for delay in self.delays:
            delay.remove()

    @classmethod
    def why_not(cls, _options):
        return None if _has_nft() else "no nft: package nftables"


class ChannelCap(Fault):
    kind = "channel-cap"
    text = "the channel carries less than is sent, both ways"
    targets = ("net",)
    hold_s = 3
    ends = "none"
    may = {"any": (NOTHING,)}
    EPOCHS_KBIT = 16000  # an epoch sends memory, which is far more than a log
    LEAST_KBIT = 256

    def prepare(self):
        status = self.lab.status(self.live)
        half_kbit = status["log_bytes_per_s"] * 8 // 1000 // 2
        log = status["strategy"] == "lockstep"
        self.kbit = max(half_kbit, self.LEAST_KBIT) if log else self.EPOCHS_KBIT

    def inject(self):
        # The bucket is too small to hold what is sent during the whole fault.
        self.lab.net.slow_channel(f"{self.kbit}kbit", burst_kb=32 if self.kbit > 2000 else 4)

    def verify(self):
        return f"token bucket of {self.kbit} kbit/s on both hosts"

    def verify_late(self):
        size, waited = netfaults.shaped(self.lab.net.host[self.live], "chan0")
        if not waited:
            raise FaultError(f"{size} bytes went through, none had to wait")
        return f"{size} bytes through it, had to wait {waited} times"

    def heal(self):
        self.lab.net.fast_channel()


class HeartbeatCut(Fault):
    kind = "heartbeat-cut"
    text = "the second heartbeat path alone is cut: nothing may change"
    targets = ("net",)
    hold_s = 4
    ends = "none"
    may = {"any": (NOTHING,)}

    def inject(self):
        self.lab.net.cut_heartbeat()

    def verify(self):
        if not self.lab.net.heartbeat_is_cut():
            raise FaultError("the heartbeat's link is still up")
        return "the heartbeat's link is down"

    def heal(self):
        self.lab.net.mend_heartbeat()


class ClientCut(Fault):
    kind = "client-cut"
    text = "the clients' link is down for a second: nothing may change"
    targets = ("net",)
    hold_s = 1
    ends = "none"
    weight = 1
    may = {"any": (NOTHING,)}

    def inject(self):
        netfaults.links_down(self.lab.net.switch, "portC")

    def verify(self):
        if netfaults.is_up(self.lab.net.switch, "portC"):
            raise FaultError("portC is up")
        done = self.lab.client.run("ping", "-n", "-q", "-c", "1", "-W", "0.3", GUEST_IP,
                                   check=False)
        if done.returncode == 0:
            raise FaultError("the client still reaches the guest")
        return "portC is down, a ping from the client gets no answer"

    def heal(self):
        netfaults.links_up(self.lab.net.switch, "portC")


class UplinkLate(KillQemu):
    """The switch starts to forward late: the guest is live before its clients can reach it."""

    kind = "uplink-late"
    text = "kill -9 of QEMU while the other host's port is down, for two seconds more"
    targets = ("primary",)
    weight = 1
    LATE_S = 2

    @property
    def port(self):
        return f"port{OTHER[self.host]}"

    def inject(self):
        netfaults.links_down(self.lab.net.switch, self.port)
        super().inject()

    def verify(self):
        said = super().verify()
        if netfaults.is_up(self.lab.net.switch, self.port):
            raise FaultError(f"{self.port} is up")
        return f"{said}, {self.port} is down"

    def verify_late(self):
        time.sleep(self.LATE_S)
        if netfaults.is_up(self.lab.net.switch, self.port):
            raise FaultError(f"{self.port} came up by itself")
        return f"and was {self.LATE_S} s after the guest was live"

    def heal(self):
        netfaults.links_up(self.lab.net.switch, self.port)


def _has_nft():
    return any(os.path.exists(os.path.join(path, "nft"))
               for path in [*os.environ.get("PATH", "").split(":"), "/usr/sbin"])
