# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done to a protected pair, one class for each kind of fault.

A fault is injected, shows that it really happened (what it says is read from the kernel or from
processes, not from what this program believes to have done), lasts for a while or until somebody
went on, and is healed. Which outcomes are right is part of it.
"""

import os
import signal
import subprocess
import sys
import threading
import time

from . import bare_client, cgroup, netfaults
from .lab import process_state
from .programs import directory
from .load import GuestShell
from .net import CHANNEL_IP, GUEST_IP, run, udp_socket

OTHER = {"A": "B", "B": "A"}

# Outcomes.
FAILOVER = "failover"  # the backup carries the guest on
WENT_ON = "went-on"  # the primary does, without its backup
WAITED = "waited"  # nobody did until the arbiter was back
NOTHING = "nothing"  # still protected, by the same two, in the same generation

SIDES = ("primary", "backup")


class FaultError(Exception):
    """A fault that did not happen, or did not do what it should."""


class Fault:
    """One fault to a pair whose guest is live on `live`. `role` is whose host it is done to."""

    kind = ""
    text = ""  # for people
    targets = SIDES  # whose host; or "net", "arbiter"
    weight = 2  # how often a random series has it
    hold_s = 0  # how long it lasts at least; 0: until somebody went on
    ends = "victim"  # whose processes may end of it: victim, both, none
    may = {"primary": (FAILOVER,), "backup": (WENT_ON,)}
    needs_disks = needs_clocks = needs_pipes = False
    kills_monitor = False  # on its host: what it had not written yet is lost

    def __init__(self, lab, live, role):
        self.lab = lab
        self.role = role
        self.live = live
        self.backup = OTHER[live]
        self.host = {"primary": live, "backup": self.backup}.get(role)
        self.victim = self.host or role  # as the report names it
        self.healed = True

    @classmethod
    def why_not(cls, _options):
        """Why it cannot be done here, or None."""
        return None

    def expected(self):
        return self.may[self.role] if self.role in self.may else self.may["any"]

    def prepare(self):
        """What takes time and is not the fault."""

    def start(self):
        """Does it; returns CLOCK_MONOTONIC in ns just before."""
        self.healed = False
        for name in {"victim": [self.host] if self.host else [], "both": "AB", "none": ""}[self.ends]:
            self.lab.side[name].may_end = True
        when = time.monotonic_ns()
        self.inject()
        return when

    def end(self):
        """Heals it, once; also after half of it was done."""
        if not self.healed:
            self.healed = True
            self.heal()

    def inject(self):
        raise NotImplementedError

    def verify(self):
        """Evidence, as text. Called once, after inject()."""
        raise NotImplementedError

    def verify_late(self):
        """More of it, known only when the fault has lasted; before it is healed. "" if none."""
        return ""

    def heal(self):
        pass

    def side(self):
        return self.lab.side[self.host]


# --- processes that die -----------------------------------------------------------


class KillQemu(Fault):
    kind = "kill-qemu"
    text = "kill -9 of QEMU"
    weight = 4

    def inject(self):
        self.pid = self.side().qemu_pid()
        self.lab.kill_qemu(self.host)

    def verify(self):
        ended = self.side().process.poll()
        if ended != -signal.SIGKILL:
            raise FaultError(f"QEMU {self.pid} ended with {ended}" if ended is not None else
                             f"QEMU {self.pid} is still there")
        return f"QEMU {self.pid} ended by signal {-ended}"


class KillMonitor(Fault):
    kind = "kill-monitor"
    text = "kill -9 of vmft-monitor"
    kills_monitor = True
    weight = 4

    def inject(self):
        self.pids = self.side().monitor_pids()
        self.lab.kill_monitor(self.host)

    def verify(self):
        if not self.pids:
            raise FaultError("there was no monitor")
        # One that is dying leaves its namespace first.
        self.lab.wait(lambda: all(process_state(pid) in ("", "Z") for pid in self.pids),
                      f"monitor {self.pids} to be gone", 10)
        return f"monitor {self.pids[0]} is gone"


class Stop(Fault):
    """SIGSTOP; SIGCONT when the other side carries on, or went on without it."""

    weight = 3
    stopped = ()

    def pids(self):
        raise NotImplementedError

    def inject(self):
        self.stopped = self.pids()
        for pid in self.stopped:
            os.kill(pid, signal.SIGSTOP)
        self.lab.wait(lambda: all(process_state(pid) == "T" for pid in self.stopped),
                      "processes to stop", 10)

    def verify(self):
        return f"/proc says T of {' '.join(map(str, self.stopped))}"

    def verify_late(self):
        still = [pid for pid in self.stopped if process_state(pid) == "T"]
        if still != self.stopped:
            raise FaultError(f"only {still} of {self.stopped} were still stopped")
        return "and still did when it was over"

    def heal(self):
        for pid in self.stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


class StopHost(Stop):
    kind = "stop-host"
    text = "SIGSTOP of QEMU and monitor, later SIGCONT"

    def pids(self):
        return [self.side().qemu_pid(), *self.side().monitor_pids()]


class StopQemu(Stop):
    kind = "stop-qemu"
    text = "SIGSTOP of QEMU alone, later SIGCONT"

    def pids(self):
        return [self.side().qemu_pid()]


class StopMonitor(Stop):
    kind = "stop-monitor"
    text = "SIGSTOP of vmft-monitor alone, later SIGCONT"

    def pids(self):
        return self.side().monitor_pids()


class Terminate(Fault):
    """What a service manager does to end one: on-stop = hand-over makes a primary hand over."""

    kind = "sigterm"
    text = "SIGTERM to QEMU: a primary hands over, a backup leaves"
    weight = 2

    def inject(self):
        self.pid = self.side().qemu_pid()
        os.kill(self.pid, signal.SIGTERM)

    def verify(self):
        self.lab.wait(lambda: not self.side().qemu_runs(), f"QEMU {self.pid} to end", 20)
        code = self.side().process.poll()
        if code is None or code < 0:
            raise FaultError(f"QEMU {self.pid} ended with {code}: not in order")
        return f"QEMU {self.pid} has ended by itself, with {code}"


class TapOther(KillQemu):
    kind = "tap-other"
    text = "the backup comes back with a tap of another kind: refused by name, then with the right one"
    targets = ("backup",)
    weight = 1

    def verify(self):
        said = super().verify()
        self.lab.wait_state(self.live, "alone", timeout=60)
        side = self.side()
        side.may_end = True
        self.lab.end_side(self.host)
        args = [word.replace(",script=no", ",vnet_hdr=off,script=no")
                for word in self.lab.qemu_args(self.host)]
        self.lab.start_side(self.host, args=args, role="backup")
        self.lab.wait_said(self.host, r"vnet_hdr is o(n|ff) at the primary, o(n|ff) at the backup",
                           60)
        if self.lab.state(self.live) != "alone":
            raise FaultError(f"{self.live} is {self.lab.state(self.live)}")
        return f"{said}; it came back without vnet_hdr, and was refused for it"

    def heal(self):
        self.lab.end_side(self.host)


class ConsoleStalled(Fault):
    """A serial port that ends in a pipe nobody reads; its guest writes more than is kept."""

    kind = "console-stalled"
    text = "the guest writes to a serial console whose readers stand still on both hosts"
    targets = ("net",)
    weight = 1
    hold_s = 0.5
    ends = "none"
    may = {"any": (NOTHING,)}
    needs_pipes = True
    KILOBYTES = 96

    @classmethod
    def why_not(cls, options):
        # Without options it is asked of the tiny guest.
        return None if not options or options.image == "tiny" else "needs the tiny guest's shell"

    def inject(self):
        self.before = self.lab.status(self.live)["console_dropped"]
        shell = GuestShell(self.lab)
        shell.run(f"dd if=/dev/zero bs=1k count={self.KILOBYTES} 2>/dev/null | tr '\\0' x"
                  " >/dev/ttyS1")
        shell.close()

    def verify(self):
        dropped = self.lab.status(self.live)["console_dropped"] - self.before
        if dropped <= 0:
            raise FaultError("nothing was dropped: its reader took all of it")
        return f"the guest has written {self.KILOBYTES} KiB, of which {dropped} bytes were dropped"


class PowerOff(Fault):
    kind = "power-off"
    text = "all of a host gone at once: its links are down before its processes are killed"
    weight = 4
    kills_monitor = True

    def inject(self):
        side = self.side()
        # The links first: what a dying process says must not get out (no FIN, no RST).
        netfaults.links_down(side.ns, "chan0", "up0", *extra_links(side.ns))
        self.pids = [int(pid) for pid in run("ip", "netns", "pids", side.ns).stdout.split()]
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        self.lab.wait(lambda: not side.qemu_runs() and not side.monitor_pids(),
                      f"host {self.host} to be gone", 10)

    def verify(self):
        side = self.side()
        left = run("ip", "netns", "pids", side.ns).stdout.split()
        if left or netfaults.is_up(side.ns, "chan0") or netfaults.is_up(side.ns, "up0"):
            raise FaultError(f"processes {left} are left, or a link is up")
        return f"links down, {len(self.pids)} processes killed, none left"

    def heal(self):
        netfaults.links_up(self.side().ns, "chan0", "up0", *extra_links(self.side().ns))


def extra_links(ns):
    """A second path, where there is one."""
    found = run("ip", "-n", ns, "-br", "link").stdout.split()
    return [word.split("@")[0] for word in found if word.startswith(("beat", "heart"))]


# --- the channel ------------------------------------------------------------------


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
    """Rules that drop what comes in at chan0 of some hosts."""

    ends = "both"

    def rules(self):
        """One after the other: what is there already is removed if the next cannot be made."""
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
    EPOCHS_KBIT = 16000  # memory, sent at each epoch's end; a log is a trickle to that
    LEAST_KBIT = 256

    def prepare(self):
        status = self.lab.status(self.live)
        half_kbit = status["log_bytes_per_s"] * 8 // 1000 // 2
        log = status["strategy"] == "lockstep"
        self.kbit = max(half_kbit, self.LEAST_KBIT) if log else self.EPOCHS_KBIT

    def inject(self):
        # A bucket that does not hold the whole of the fault's time.
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
        if hasattr(self.lab.net, "heartbeat_is_cut") and not self.lab.net.heartbeat_is_cut():
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
        done = self.lab.client_run("ping", "-n", "-q", "-c", "1", "-W", "0.3", GUEST_IP,
                                   check=False)
        if done.returncode == 0:
            raise FaultError("the client still reaches the guest")
        return "portC is down, a ping from the client gets no answer"

    def heal(self):
        netfaults.links_up(self.lab.net.switch, "portC")


class UplinkLate(KillQemu):
    """A switch that starts to forward late: the guest is live before anybody can reach it."""

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


# --- the arbiter ------------------------------------------------------------------


class ArbiterDown(Fault):
    kind = "arbiter-down"
    text = "the arbiter alone is away: nothing may change"
    targets = ("arbiter",)
    hold_s = 1.5
    ends = "none"
    weight = 1
    may = {"any": (NOTHING,)}

    def inject(self):
        self.lab.hide_arbiter()

    def verify(self):
        if os.path.exists(self.lab.arbiter):
            raise FaultError(f"{self.lab.arbiter} is still there")
        return "its directory is away"

    def heal(self):
        if not os.path.exists(self.lab.arbiter):
            self.lab.return_arbiter()


class ArbiterDownToo(ArbiterDown):
    """Together with something that has to be arbitrated: all wait until it is back."""

    ends = "both"
    weight = 2
    hold_s = 0
    WAIT_S = 1.5
    may = {"any": (WAITED,)}

    def waiting(self):
        """The sides that should wait for it."""
        return (self.live, self.backup)

    def wait_for_nothing(self, answered):
        """Until they wait; and that nobody goes on meanwhile. `answered` counts acks."""
        for name in self.waiting():
            self.lab.wait_state(name, "waiting-arbiter", "arbitrating", timeout=60)
        before = answered()
        time.sleep(self.WAIT_S)
        for name in self.waiting():
            found = self.lab.state(name)
            if found not in ("waiting-arbiter", "arbitrating"):
                raise FaultError(f"{name} did not wait for the arbiter: {found}")
        if answered() != before:
            raise FaultError(f"{answered() - before} requests were answered without an arbiter")


class ArbiterDownChannelCut(ArbiterDownToo):
    kind = "arbiter-down-channel-cut"
    text = "the arbiter is away, then the channel is cut: all wait until the arbiter is back"

    def inject(self):
        super().inject()
        self.lab.net.cut_channel()

    def verify(self):
        return f"{super().verify()}, {link_is_cut(self.lab)}"

    def heal(self):
        super().heal()
        self.lab.net.mend_channel()


class ArbiterDownKill(ArbiterDownToo):
    kind = "arbiter-down-kill"
    text = "the arbiter is away, then a host is killed: the other waits until the arbiter is back"
    targets = SIDES
    kills_monitor = True

    def inject(self):
        super().inject()
        self.lab.kill_host(self.host)

    def verify(self):
        side = self.side()
        if side.qemu_runs() or side.monitor_pids():
            raise FaultError(f"something on {self.host} is still there")
        return f"{super().verify()}, QEMU and monitor of {self.host} are gone"

    def waiting(self):
        return (OTHER[self.host],)


class ArbiterWiped(ArbiterDownToo):
    kind = "arbiter-wiped"
    text = "the arbiter's records are gone, then the channel is cut: all wait until they are back"

    @property
    def kept(self):
        return f"{self.lab.arbiter}.kept"

    @staticmethod
    def move_all(source, target):
        for name in os.listdir(source):
            os.rename(os.path.join(source, name), os.path.join(target, name))

    def inject(self):
        os.makedirs(self.kept, exist_ok=True)
        self.move_all(self.lab.arbiter, self.kept)
        self.lab.net.cut_channel()

    def verify(self):
        kept = [name for name in os.listdir(self.kept) if ".gen-" in name]
        left = [name for name in os.listdir(self.lab.arbiter) if ".gen-" in name]
        if left or not kept:
            raise FaultError(f"records: {left} are there, {kept} were taken away")
        return f"{len(kept)} generations were taken out of it, {link_is_cut(self.lab)}"

    def heal(self):
        # What was left there since is younger: a mark.
        self.move_all(self.lab.arbiter, self.kept)
        self.move_all(self.kept, self.lab.arbiter)
        self.lab.net.mend_channel()


class ArbiterUnmounted(Fault):
    """As if a share was unmounted: the path leads to an empty directory."""

    kind = "arbiter-unmounted"
    text = "on one host the arbiter's path leads elsewhere, then the channel is cut"

    def inject(self):
        empty = f"{self.lab.arbiter}.empty"
        os.makedirs(empty, exist_ok=True)
        self.lab.enter(self.host, "mount", "--bind", empty, self.lab.arbiter)
        self.lab.net.cut_channel()

    def verify(self):
        seen = self.lab.enter(self.host, "ls", self.lab.arbiter).stdout
        if ".gen-" in seen:
            raise FaultError(f"{self.host} still sees {seen.split()}")
        return f"{self.host} finds no records there, {link_is_cut(self.lab)}"

    def verify_late(self):
        made = os.listdir(f"{self.lab.arbiter}.empty")
        if made:
            raise FaultError(f"{self.host} has left {made} there")
        return "and has left none"

    def heal(self):
        if self.side().monitor_pids():
            self.lab.enter(self.host, "umount", self.lab.arbiter)
        self.lab.net.mend_channel()


# --- what a host runs out of ------------------------------------------------------


class DiskFull(Fault):
    """A guest that writes where the image of one host has no blocks yet, and none to be had."""

    needs_disks = True
    serial = 0
    # Of what the guest may write so, over all faults of a lab; its disk has little more.
    MOST = 24
    KEY_FIRST, KEY_STEP = 4096, 8

    def prepare(self):
        cls = DiskFull
        cls.serial += 1
        if self.lab.image == "tiny":
            self.shell = GuestShell(self.lab)
            self.shell.run("true")
        elif self.lab.image == "bare":
            self.client = bare_client.Client(udp_socket(self.lab.net.client, GUEST_IP,
                                                        bare_client.PORT), 0.05)

    def inject(self):
        self.lab.fill_store(self.host)
        if self.lab.image == "tiny":
            # Blocks that were never used; the answer may never come.
            self.shell.send(f"dd if=/dev/urandom of=/mnt/full.{DiskFull.serial} bs=64k count=16 "
                            "conv=fsync 2>/dev/null")
        elif self.lab.image == "bare":
            self.writer = threading.Thread(target=self._write_bare, daemon=True)
            self.writer.start()

    def _write_bare(self):
        key = self.KEY_FIRST + self.KEY_STEP * DiskFull.serial
        until = time.monotonic() + 30
        try:
            self.client.ask(bare_client.SET | bare_client.DURABLE, key, 1,
                            lambda: self.healed or time.monotonic() > until)
        except bare_client.NoAnswer:
            pass

    def verify(self):
        free = os.statvfs(self.side().store).f_bavail
        if free:
            raise FaultError(f"{free} blocks are free where {self.host}'s image is")
        return f"statfs of {self.host}'s images says 0 blocks free"

    def heal(self):
        self.lab.free_store(self.host)
        if self.lab.image == "tiny":
            self.shell.close()
        elif self.lab.image == "bare":
            self.writer.join(5)
            self.client.sock.close()


class DiskFullPrimary(DiskFull):
    kind = "disk-full-primary"
    text = "no space left where the primary's image is; it ends, and its backup takes over"
    targets = ("primary",)
    weight = 1


class DiskFullBackup(DiskFull):
    kind = "disk-full-backup"
    text = "no space left where the backup's image is; it is given up, and attached again later"
    targets = ("backup",)
    weight = 1


class MemoryPressure(Fault):
    kind = "memory-pressure"
    text = "a host's memory is used up until the kernel's OOM killer ends QEMU there"
    weight = 1
    kills_monitor = True
    hog = group = None
    # What the two may still take, and the program that uses it up.
    LIMIT = 48 << 20
    HOG = ("kept = []\n"
           "while True: kept.append(b'x' * (1 << 18))\n")

    @classmethod
    def why_not(cls, _options):
        return cgroup.why_not("memory")

    def inject(self):
        side = self.side()
        group = self.group = cgroup.Group("memory", f"{self.lab.prefix}{self.host}")
        self.pids = [side.qemu_pid(), *side.monitor_pids()]
        group.add(self.pids)
        group.limit_memory(self.LIMIT)
        # It is the largest there anyhow; of its memory only what it takes from now on counts.
        with open(f"/proc/{side.qemu_pid()}/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000\n")
        self.hog = subprocess.Popen(["sh", "-c", 'echo $$ >"$1" && exec "$2" -c "$3"', "sh",
                                     group.procs, sys.executable, self.HOG],
                                    stdin=subprocess.DEVNULL, start_new_session=True)
        self.lab.wait(lambda: group.oom_kills() > 0, "the OOM killer", 30)
        # With what it held given back there is nobody left to kill.
        self._end_hog()

    def verify(self):
        self.lab.wait(lambda: not self.side().qemu_runs(), "QEMU to be gone", 10)
        gone = [pid for pid in self.pids if process_state(pid) in ("", "Z")]
        return (f"limit hit {self.group.limit_hits()} times, {self.group.oom_kills()} killed by "
                f"the OOM killer; gone: {' '.join(map(str, gone))}")

    def _end_hog(self):
        if self.hog:
            self.hog.kill()
            self.hog.wait()

    def heal(self):
        self._end_hog()
        if self.group:
            self.group.remove()


class SlowBackup(Fault):
    kind = "slow-backup"
    text = "the backup's processes get less processor than they need: its primary waits for it"
    targets = ("backup",)
    hold_s = 3
    # Dropping it is right, too, if it cannot keep up.
    may = {"any": (NOTHING, WENT_ON)}
    # Replaying takes more than applying what was sent.
    PERCENT = {"lockstep": 20, "checkpoint": 2}
    MORE_S = 3
    group = None

    @classmethod
    def why_not(cls, _options):
        return cgroup.why_not("cpu")

    def prepare(self):
        self.percent = self.PERCENT[self.lab.status(self.live)["strategy"]]

    def inject(self):
        self.group = cgroup.Group("cpu", f"{self.lab.prefix}{self.host}")
        self.group.limit_cpu(self.percent)
        self.group.add([self.side().qemu_pid(), *self.side().monitor_pids()])

    def verify(self):
        return f"quota of {self.percent} % of a processor"

    def verify_late(self):
        # On a machine with much else to do it gets less than its quota anyway: then that is less.
        while not self.group.throttled() and self.percent > 1:
            self.percent //= 2
            self.group.limit_cpu(self.percent)
            end = time.monotonic() + self.MORE_S
            while not self.group.throttled() and time.monotonic() < end:
                time.sleep(0.1)
        throttled = self.group.throttled()
        if not throttled:
            raise FaultError("the quota was never used up")
        return f"nr_throttled {throttled} with {self.percent} %"

    def heal(self):
        if self.group:
            self.group.remove()


class ClockStep(Fault):
    kind = "clock-step"
    text = "CLOCK_REALTIME of a host goes an hour forward, or back, then right again"
    needs_clocks = True
    hold_s = 2
    ends = "none"
    may = {"any": (NOTHING,)}
    SECONDS = {"primary": 3600, "backup": -3600}

    def inject(self):
        self.readings = self.lab.clock_readings(self.host)
        self.lab.step_clock(self.host, self.SECONDS[self.role])

    def verify(self):
        maps = _read_maps(self.side().qemu_pid())
        if "vmft-clockstep" not in maps:
            raise FaultError("QEMU does not have the stepped clock")
        return f"stepped by {self.SECONDS[self.role]} s"

    def verify_late(self):
        seen = self.lab.clock_readings(self.host) - self.readings
        if not seen and self.role == "primary":
            raise FaultError("nobody looked at the stepped clock")
        return f"read {seen} times meanwhile"

    def heal(self):
        self.lab.step_clock(self.host, 0)


def _read_maps(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as file:
        return file.read()


def _has_nft():
    return any(os.path.exists(os.path.join(path, "nft"))
               for path in [*os.environ.get("PATH", "").split(":"), "/usr/sbin"])


KINDS = {fault.kind: fault for fault in (
    KillQemu, KillMonitor, StopHost, StopQemu, StopMonitor, PowerOff, ChannelCut, ChannelCutShort,
    ChannelOneWay, ChannelLoss, ChannelDelay, ChannelCap, HeartbeatCut, ClientCut, UplinkLate, ArbiterDown,
    ArbiterDownChannelCut, ArbiterDownKill, ArbiterWiped, ArbiterUnmounted, Terminate, TapOther,
    ConsoleStalled, DiskFullBackup, DiskFullPrimary, MemoryPressure,
    ClockStep, SlowBackup)}


def available(options, without=()):
    """The kinds that can be done here."""
    return {kind: fault for kind, fault in KINDS.items()
            if kind not in without and fault.why_not(options) is None}


def every(kinds):
    """(kind, target) of each, once."""
    return [(kind, target) for kind, fault in kinds.items() for target in fault.targets]


def drawn(count, chance, kinds):
    """So many at random, by weight."""
    classes = list(kinds.values())
    picked = chance.choices(classes, [fault.weight for fault in classes], k=count)
    return [(fault.kind, chance.choice(fault.targets)) for fault in picked]


def kinds_in(text):
    """The kinds a list names."""
    kinds = [word.strip() for word in text.split(",") if word.strip()]
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"no fault {kind!r}; --list names them")
    return kinds


def parse_list(text, options=None):
    """KIND or KIND:TARGET, with commas; a kind without one is done to each of its targets.
    Without options it is not asked what can be done here."""
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
