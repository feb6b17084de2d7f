# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input: one clear line, the documented exit code, a running guest unharmed.

Exit codes: monitor/common/exit-codes.h.
"""

import contextlib
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import threading
import time

from harness import (ASAN_LOCKSTEP, BOTH, LOCKSTEP, check, equal, everyday, full, lab, note,
                     one_line, paired, ways, with_taps)
from vmftlab.programs import built
from vmftlab.load import Writer
from vmftlab.net import CHANNEL_IP, CHANNEL_PORT, run, tcp_connect, tcp_socket
from vmftlab.wirecheck import Digests

CONFIG, UNPROTECTED, QEMU, IMAGE, ADDRESS, PEER, ARBITER = 2, 3, 4, 5, 6, 7, 8
NO_GUEST = 16  # vmft status of a backup that waits for its primary

IFACE_MEMFD = "/memfd:vmft-iface"
IFACE_LOG_HEAD, IFACE_LOG_TAIL = 64, 128  # monitor/interface.h

FRAME_MAGIC = 0x564D4654  # logging-channel/frame.h


def refused(pair, side, code, pattern, **start):
    """Starts a side that must refuse; its log is emptied for the next."""
    made = pair.start_side(side, **start)
    made.may_end = True
    found = made.exit_code()
    said = made.log()
    equal(found, code, f"exit code ({said.strip()!r})")
    one_line(made, pattern)
    note(made.log_lines()[0])
    equal(made.monitor_pids(), [], "monitors left")
    equal(made.console(), b"", "console of a guest that must not have run")
    os.truncate(made.log_path, 0)


@everyday("refusals of the pair file, by the real programs")
def test_bad_configuration(name):
    with lab(name, captures=False) as pair:
        bad = os.path.join(pair.dir, "bad.conf")
        refused(pair, "A", CONFIG, r"nothere\.conf", pair_file="/nothere.conf")
        refused(pair, "A", CONFIG, r"VMFT_ROLE", role="")
        refused(pair, "A", CONFIG, r"VMFT_ROLE.*leader|leader.*VMFT_ROLE", role="leader")
        refused(pair, "A", CONFIG, r"bad\.conf:\d+: .*silence-ms|bad\.conf:\d+: .*'12'",
                pair_file=pair.write_pair(bad, silence_ms="12"))
        refused(pair, "A", CONFIG, r"bad\.conf:\d+: .*no-such-key",
                pair_file=pair.write_pair(bad, no_such_key="1"))
        # Only the monitor can tell; like an address in use it is refused before the guest runs.
        for program in (os.path.join(pair.dir, "nothere"), pair.pair_path):
            refused(pair, "A", CONFIG, rf"bad\.conf: alarm = {program}: .*name a program", role="primary",
                    pair_file=pair.write_pair(bad, alarm=program))
        with open(bad, "wb") as file:
            file.write(random.Random(1).randbytes(3000))
        refused(pair, "A", CONFIG, r"bad\.conf:\d+: ", pair_file=bad)


@everyday("refusals of QEMU and of its machine, by the real QEMU")
def test_bad_qemu_and_machine(name):
    with lab(name, captures=False) as pair:
        bad = os.path.join(pair.dir, "bad.conf")
        refused(pair, "A", QEMU, r"/nothere/qemu", pair_file=pair.write_pair(bad, qemu="/nothere/qemu"))
        refused(pair, "A", QEMU, r"/bin/true|/usr/bin/true", pair_file=pair.write_pair(
            bad, qemu=os.path.realpath("/bin/true")))
        args = pair.qemu_args("A")
        lockstep = pair.write_pair(os.path.join(pair.dir, "lockstep.conf"), strategy="lockstep")
        refused(pair, "A", UNPROTECTED, r"processor.*strategy = checkpoint",
                args=[*args, "-smp", "2"], pair_file=lockstep)
        refused(pair, "A", UNPROTECTED, r"more than 8 processors", args=[*args, "-smp", "9"])
        refused(pair, "A", UNPROTECTED, r"snapshot", args=[*args, "-snapshot"])
        refused(pair, "A", UNPROTECTED, r"e1000", args=[*args, "-device", "e1000"])
        for fd, why in (("0", "no tap and no macvtap"), ("99", "no such descriptor is open")):
            refused(pair, "A", UNPROTECTED, rf"fd={fd}: .*{why}",
                    args=[f"tap,id=n0,fd={fd}" if a.startswith("tap,") else a for a in args])
        refused(pair, "A", UNPROTECTED, r"KVM.*strategy = checkpoint", pair_file=lockstep,
                args=["kvm" if a == "tcg" else a for a in args])
        # Questions to QEMU go to it as they are. These would start a guest that nothing protects.
        for more in (["-drive", f"format=raw,if=virtio,file={pair.side['A'].disk},,help"],
                     ["-cpu", "help", "-cpu", "qemu64"]):
            shutil.copyfile(pair.side["A"].disk, pair.side["A"].disk + ",help")
            refused(pair, "A", CONFIG, r"VMFT_ROLE", role="", args=[
                *(a for a in args if a != "-drive" and not a.startswith("file=/")), *more])


@everyday("refusals of images")
def test_bad_images(name):
    with lab(name, captures=False) as pair:
        missing = os.path.join(pair.dir, "missing.raw")
        refused(pair, "A", IMAGE, r"missing\.raw", args=pair.qemu_args("A", disk=missing))
        directory = os.path.join(pair.dir, "A")
        refused(pair, "A", IMAGE, re.escape(directory), args=pair.qemu_args("A", disk=directory))


def saved_logs(pair, count):
    """So many of that VM's; the pair file that says where."""
    directory = os.path.join(pair.dir, "saved")
    os.mkdir(directory)
    for number in range(count):
        with open(os.path.join(directory, f"{pair.prefix}-g{number}-p0.vmftlog"), "wb"):
            pass
    return pair.write_pair(os.path.join(pair.dir, "saves.conf"), save_log=directory)


@everyday("refusals of addresses and of the arbiter's directory")
def test_bad_addresses_and_arbiter(name):
    with lab(name, captures=False) as pair:
        with contextlib.closing(tcp_socket(pair.net.host["B"])) as taken:
            taken.bind((CHANNEL_IP["B"], CHANNEL_PORT))
            taken.listen()
            # A start that is refused removes no old log.
            saves = saved_logs(pair, 9)
            refused(pair, "B", ADDRESS, rf"{CHANNEL_IP['B']}:{CHANNEL_PORT}.*in use",
                    pair_file=saves)
            equal(len(os.listdir(os.path.join(pair.dir, "saved"))), 9, "saved logs left")
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as taken:
            taken.bind(pair.side["B"].control)
            taken.listen()
            refused(pair, "B", ADDRESS, r"control\.sock.*in use")
        os.unlink(pair.side["B"].control)
        for role in ("backup", "primary"):
            refused(pair, "A", ADDRESS, rf"\[backup\] channel = {CHANNEL_IP['B']}:{CHANNEL_PORT}.*"
                    "use .* address of this host", role=role, host="backup")

        shutil.rmtree(pair.arbiter)
        for side in "AB":
            refused(pair, side, ARBITER, rf"{pair.arbiter}.*No such file")
        os.mkdir(pair.arbiter)
        # Root may write anywhere but to what is mounted read-only; only that side sees it.
        mount = f"mount -t tmpfs -o ro tmpfs {pair.arbiter}"
        for side in "AB":
            refused(pair, side, ARBITER, rf"{pair.arbiter}.*Read-only", inside=mount)
        pair.start_side("B", pair_file=saves)
        pair.wait(lambda: len(os.listdir(os.path.join(pair.dir, "saved"))) == 7,
                  "a start that is not refused to remove old logs", 30)


def refuses_peer(name, prepare, pattern):
    """The primary is refused before its guest runs, with its reason; the backup stays."""
    with lab(name, captures=False) as pair:
        primary, backup = pair.side["A"], pair.side["B"]
        pair.guest.copy_disk(pair.side["B"].disk)
        pair.guest.copy_disk(pair.side["A"].disk)
        arguments = prepare(pair)
        pair.start_side("B")
        pair.wait(lambda: pair.state("B"), "the backup's monitor")
        pair.start_side("A", args=arguments)
        primary.may_end = True
        code = primary.exit_code(60)
        lines = [line for line in primary.log_lines() if re.search(pattern, line)]
        check(len(lines) == 1, f"{len(lines)} lines say /{pattern}/:\n{primary.log()}")
        note(lines[0])
        equal(primary.console(), b"", "console of a guest that must not have run")
        check(backup.qemu_runs(), f"the backup did not stay: {backup.log()}")
        equal(pair.state("B"), "forming", "state of the backup")
        equal(code, PEER, "exit code of the refused primary")


@everyday("two images that differ make no pair")
def test_different_disks(name):
    def prepare(pair):
        with open(pair.side["B"].disk, "r+b") as file:
            file.seek(40 << 20)
            file.write(b"one sector differs")
    refuses_peer(name, prepare, r"disk")


@everyday("two sizes of memory make no pair")
def test_different_memory(name):
    refuses_peer(name, lambda pair: pair.qemu_args("A", memory=192), r"machine")


@everyday("two kinds of tap make no pair")
def test_different_taps(name):
    """What QEMU offers its guest depends on the tap: a side whose tap can do less could not load
    the other's state. Each difference is named before the guest runs."""
    with lab(name, captures=False) as pair:
        primary, backup = pair.side["A"], pair.side["B"]
        usual = pair.qemu_args("A")
        pair.start_side("B")
        pair.wait(lambda: pair.state("B"), "the backup's monitor")
        for tap, inside, pattern in (
                ("tap,id=n0,fd=9", with_taps("9=tap0,plain"),
                 "vnet_hdr is off at the primary, on at the backup"),
                ("tap,id=n0,ifname=tap0,script=no,downscript=no,vnet_hdr=off", None,
                 "vnet_hdr is off at the primary, on at the backup"),
                (None, "ip link set tap0 mtu 1400", "MTU 1400 at the primary, 1500 at the backup"),
        ):
            args = [tap if tap and arg.startswith("tap,") else arg for arg in usual]
            pair.start_side("A", args=args, inside=inside)
            primary.may_end = True
            equal(primary.exit_code(60), PEER, "exit code of the refused primary")
            check(f"netdev n0: {pattern}" in primary.log(), f"not said: {pattern}\n{primary.log()}")
            check(f"netdev n0: {pattern}" in backup.log(), f"not said: {pattern}\n{backup.log()}")
            note(pattern)
            pair.end_side("A")
            os.truncate(primary.log_path, 0)
        equal(primary.console(), b"", "console of a guest that must not have run")
        check(backup.qemu_runs(), f"the backup did not stay: {backup.log()}")


class Serving:
    """A protected pair and a client, to show that neither was harmed."""

    def __init__(self, pair):
        self.pair = pair
        self.writer = Writer(pair, interval_ms=20)

    def start(self):
        self.pair.start_protected()
        self.writer.start()
        self.unharmed("at first")

    def unharmed(self, what):
        seen = len(self.writer.acks())
        self.pair.wait(lambda: len(self.writer.acks()) > seen + 5, f"writes {what}", 60)
        for side in "AB":
            paired(self.pair, side, f"state of {side} {what}")

    def finish(self):
        self.writer.stop()
        equal(self.writer.verify(), (len(self.writer.acks()), 0), "writes verified and lost")


def throw(pair, data, half_close=True):
    """Sends bytes to the backup's channel port and waits until it hangs up."""
    with contextlib.closing(tcp_connect(pair.net.host["A"], CHANNEL_IP["B"], CHANNEL_PORT,
                                        20)) as conn:
        try:
            conn.sendall(data)
            if half_close:
                conn.shutdown(socket.SHUT_WR)
            while conn.recv(4096):
                pass
        except TimeoutError:
            raise
        except OSError:
            pass  # hung up on in the middle: just as well


def old_frame(version):
    """A well-formed header of another version; what follows is that version's business."""
    return struct.pack(">IHHQQQII", FRAME_MAGIC, version, 1, 0, 0, 0, 0, 0)


@everyday("garbage causes no bad access or undefined behaviour", ASAN_LOCKSTEP)
@everyday("a running guest survives garbage on the channel", LOCKSTEP)
@ways(*BOTH, ASAN_LOCKSTEP)
def test_garbage_on_channel(name, way):
    with way.lab(name, captures=False) as pair:
        serving = Serving(pair)
        serving.start()
        chance = random.Random(2)
        for size in (1, 39, 40, 1000, 200000):
            throw(pair, chance.randbytes(size))
        throw(pair, b"GET / HTTP/1.0\r\n\r\n")
        serving.unharmed("after garbage on the channel's port")
        equal(len(re.findall("does not speak vmft", pair.side["B"].log())), 1,
              "times the backup said so of one address")
        throw(pair, old_frame(999))
        pair.wait_said("B", r"version 999", 20)
        serving.unharmed("after a peer of another version")
        # Many who connect and say nothing must not keep the pair from anything.
        idle = [tcp_connect(pair.net.host["A"], CHANNEL_IP["B"], CHANNEL_PORT) for _ in range(20)]
        serving.unharmed("with 20 silent connections")
        for conn in idle:
            conn.close()
        serving.finish()


@everyday("a stopped monitor and one without descriptors are reported")
def test_monitor_in_trouble(name):
    """Of a monitor that is stopped a person hears; one without descriptors says so and waits."""
    with lab(name, captures=False) as pair:
        # A descriptor of whoever starts a VM: QEMU may be told of it, the monitor has no use for it.
        pair.start_side("B", inside="exec 9</etc/hostname")
        pair.wait(lambda: pair.state("B") == "forming", "the backup's monitor")
        monitor, = pair.side["B"].monitor_pids()
        check("/etc/hostname" in descriptors(pair.side["B"].qemu_pid()).values(),
              "QEMU has not the descriptor")
        check("/etc/hostname" not in descriptors(monitor).values(),
              f"the monitor has {descriptors(monitor)}")
        check("VMFT_ROLE=primary" in pair.status("B")["next"], f"next: {pair.status('B')['next']}")

        os.kill(monitor, signal.SIGSTOP)
        asked = vmft(pair, "status")
        equal(asked.returncode, ADDRESS, "exit code of vmft status")
        check(re.search(rf"pid {monitor}, has not answered in 1 s.*kill -CONT {monitor}",
                        asked.stderr), f"vmft said {asked.stderr!r}")
        with contextlib.ExitStack() as waiting:
            # Until there is no more room for who waits.
            with contextlib.suppress(BlockingIOError):
                while True:
                    conn = waiting.enter_context(socket.socket(socket.AF_UNIX))
                    conn.setblocking(False)
                    conn.connect(pair.side["B"].control)
            asked = vmft(pair, "watch")
            equal(asked.returncode, ADDRESS, "exit code of vmft watch")
            check("no monitor accepted the question" in asked.stderr, f"vmft said {asked.stderr!r}")
        os.kill(monitor, signal.SIGCONT)
        pair.wait(lambda: vmft(pair, "status").returncode == NO_GUEST, "an answer", 20)

        # The lowest number that is free: no descriptor is to be had.
        used = {}
        while used != (used := descriptors(monitor)):
            time.sleep(0.5)  # those who asked before are still being hung up on
        _, hard = resource.prlimit(monitor, resource.RLIMIT_NOFILE)
        resource.prlimit(monitor, resource.RLIMIT_NOFILE,
                         (next(n for n in range(hard) if n not in used), hard))
        with contextlib.closing(tcp_connect(pair.net.host["A"], CHANNEL_IP["B"], CHANNEL_PORT)):
            # What waits in the kernel already was started under the old limit.
            pair.wait(lambda: vmft(pair, "status").returncode == ADDRESS, "no answer", 20)
            for door in ("channel: no connection can be accepted",
                         "control socket: no connection can be accepted"):
                pair.wait_said("B", f"{door}: Too many open files", 20)
            before, began = processor_seconds(monitor), time.monotonic()
            time.sleep(1)
            share = (processor_seconds(monitor) - before) / (time.monotonic() - began)
            check(share < 0.3, f"the monitor spins: {share:.0%} of a processor")
            resource.prlimit(monitor, resource.RLIMIT_NOFILE, (hard, hard))
            pair.wait(lambda: vmft(pair, "status").returncode == NO_GUEST, "an answer", 20)
        equal(len(re.findall("no connection can be accepted", pair.side["B"].log())), 2,
              "times it was said")


def descriptors(pid):
    """What a process has open, by number."""
    directory = f"/proc/{pid}/fd"
    return {int(number): os.readlink(f"{directory}/{number}") for number in os.listdir(directory)}


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        words = file.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def vmft(pair, verb):
    return run(built("vmft"), "--timeout", "1", verb, pair.side["B"].control,
               check=False, timeout=60)


class Silent:
    """Somebody on the primary's host who takes all places for connections, again and again."""

    def __init__(self, pair):
        self._ns = pair.net.host["A"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)

    def _run(self):
        made = []
        while not self._stop.wait(0.1):
            made.append(tcp_connect(self._ns, CHANNEL_IP["B"], CHANNEL_PORT))
        for conn in made:
            conn.close()


def foreigner(pair):
    """Connects to the backup from an address that is not in the pair file; is hung up on."""
    run("ip", "-n", pair.net.host["A"], "address", "add", "10.99.0.9/32", "dev", "chan0")
    run("ip", "-n", pair.net.host["B"], "route", "add", "10.99.0.9/32", "dev", "chan0")
    with contextlib.closing(tcp_socket(pair.net.host["A"], 20)) as conn:
        conn.bind(("10.99.0.9", 0))
        conn.connect((CHANNEL_IP["B"], CHANNEL_PORT))
        with contextlib.suppress(ConnectionResetError):
            equal(conn.recv(1), b"", "what a foreigner was told")
    pair.wait_said("B", r"10\.99\.0\.9 connected .* no host of the pair file", 20)


@everyday("a peer of another version is refused before there is a pair")
def test_peer_of_another_version(name):
    """Before there is a pair: the backup says so and waits for a better one."""
    with lab(name, captures=False) as pair:
        pair.start_side("B")
        pair.wait(lambda: pair.state("B") == "forming", "the backup's monitor")
        throw(pair, old_frame(999), half_close=False)
        pair.wait_said("B", r"version 999", 20)
        throw(pair, random.Random(3).randbytes(5000))
        pair.wait_said("B", r"does not speak vmft", 20)
        foreigner(pair)
        # Who says nothing keeps nobody out, and is not kept.
        with contextlib.closing(tcp_connect(pair.net.host["A"], CHANNEL_IP["B"],
                                            CHANNEL_PORT)) as conn:
            equal(conn.recv(1), b"", "what one who said nothing was told")
        pair.wait_said("B", r"did not say hello within", 20)
        with Silent(pair):
            pair.wait_said("B", r"too many connections", 20)
            pair.start_side("A")
            pair.wait(lambda: pair.paired("A") and pair.paired("B"), "the pair to form")
        for line in ("did not say hello within", "too many connections"):
            equal(len(re.findall(line, pair.side["B"].log())), 1, f"times B said /{line}/")


def hello_of(pair):
    """What the primary says first, to one that takes the backup's place."""
    with contextlib.closing(tcp_socket(pair.net.host["B"])) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((CHANNEL_IP["B"], CHANNEL_PORT))
        listener.listen(1)
        pair.start_side("A")
        conn, _ = listener.accept()
        with contextlib.closing(conn):
            said = b""
            while len(said) < 40 or len(said) < 40 + struct.unpack(">I", said[32:36])[0]:
                said += conn.recv(4096)
    return said


@everyday("a hello with a record that is not the arbiter's gets no backup")
def test_stranger_says_hello(name):
    """Somebody who knows all of a primary but the record it has at the arbiter gets no backup, and
    the backup wins no generation by what he says then."""
    with lab(name, captures=False) as pair:
        hello = hello_of(pair)
        pair.end_side("A")  # killed: its generation is on record, and has not ended
        record = f"{pair.prefix}.gen-1"
        check(record in os.listdir(pair.arbiter), "the primary has no record")
        with open(os.path.join(pair.arbiter, record), encoding="ascii") as file:
            token = file.read()[:32].encode()
        check(token in hello, "the hello does not have the record")
        pair.start_side("B")
        pair.wait(lambda: pair.state("B") == "forming", "the backup's monitor")
        digests = Digests()
        bad_frame = digests.sealed(struct.pack(">IHHQQQII", FRAME_MAGIC, 5, 77, 0, 1, 0, 0, 0))
        check(digests.sealed(hello) == hello, "the checksum is another")
        stolen = digests.sealed(hello.replace(token, b"0" * 32))
        throw(pair, stolen, half_close=False)
        pair.wait_said("B", r"a generation that belongs to another side at this host's arbiter", 20)
        throw(pair, stolen + bad_frame, half_close=False)
        pair.wait_said("B", r"damaged or misplaced frame", 20)
        # Of a generation that is not on record.
        throw(pair, digests.sealed(hello[:16] + (7).to_bytes(8, "big") + hello[24:]),
              half_close=False)
        pair.wait_said("B", r"another generation than this host's arbiter", 20)
        time.sleep(1)
        equal(pair.state("B"), "forming", "state of the backup")
        equal([name for name in os.listdir(pair.arbiter) if ".gen-" in name], [record],
              "generations on record")


def garbage_in_ring(name, offset, **pair_keys):
    """The guest goes on, on one side and visibly so, and the primary's QEMU does not crash.

    To lose the ring is to lose the backup, seen from the primary, and the primary, seen from
    the backup: either may win.
    Each field has one writer who stores it again with the next event, so the garbage is
    stored again and again until somebody has looked.
    """
    with lab(name, captures=False, pair=pair_keys) as pair:
        serving = Serving(pair)
        serving.start()
        before = len(pair.side["A"].log_lines())
        pair.side["B"].may_end = True
        with open(iface_path(pair.side["A"].qemu_pid()), "r+b", buffering=0) as memory:
            # As long as it takes to fill the ring.
            end = time.monotonic() + 150
            while pair.paired("A") and time.monotonic() < end:
                for _ in range(1000):
                    memory.seek(offset)
                    memory.write(struct.pack("<Q", 0xDEADBEEFDEADBEEF))
        pair.wait(lambda: "alone" in (pair.state("A"), pair.state("B")), "one side to go on", 30)
        check(pair.side["A"].qemu_runs(), "the primary's QEMU is gone")
        check(re.search("makes? no sense|not valid|not protected", "\n".join(
            pair.side["A"].log_lines()[before:])),
              f"the primary did not say so:\n{pair.side['A'].log()}")
        seen = len(serving.writer.acks())
        pair.wait(lambda: len(serving.writer.acks()) > seen + 5, "writes afterwards", 60)
        serving.finish()


@everyday("a guest that writes nonsense to the log's head is fenced")
def test_garbage_in_ring_head(name):
    garbage_in_ring(name, IFACE_LOG_HEAD)


@full("garbage-in-ring-head sees the same check of the other field; this takes a minute")
def test_garbage_in_ring_tail(name):
    # The agent looks there only when it runs out of room.
    garbage_in_ring(name, IFACE_LOG_TAIL, **{"log-bytes": 1 << 20})


def iface_path(pid):
    """Where a QEMU's shared memory can be opened."""
    directory = f"/proc/{pid}/fd"
    for number in os.listdir(directory):
        if os.readlink(f"{directory}/{number}").startswith(IFACE_MEMFD):
            return f"{directory}/{number}"
    check(False, "QEMU has no vmft-iface memory open")
    return None


@everyday("a VM that did not end in order is not started twice")
def test_arbiter_says_somebody_runs_it(name):
    """A VM whose generation did not end in order is not started a second time."""
    with lab(name, captures=False) as pair:
        pair.start()
        pair.wait(lambda: pair.paired("A"), "the pair to form")
        for side in pair.side.values():
            pair.faults.kill_host(side.name)
            os.truncate(side.log_path, 0)
            with open(side.console_path, "wb"):
                pass
        refused(pair, "A", ARBITER, r"generation 1 .*held|generation 2 .*held")


@everyday("a primary of an old generation gets no backup")
def test_stale_generation(name):
    """A primary whose generation is not the latest gets no backup."""
    with lab(name, captures=False) as pair:
        primary, backup = pair.side["A"], pair.side["B"]
        pair.start_side("A")
        pair.wait(lambda: pair.state("A") == "forming", "the primary's monitor")
        made, = pair.generations()
        check(made.endswith(".gen-1"), f"the primary's record is {made}")
        with open(os.path.join(pair.arbiter, made.replace(".gen-1", ".gen-2")), "w",
                  encoding="utf-8") as record:
            record.write("somebody else\n")
        pair.start_side("B")
        primary.may_end = True
        equal(primary.exit_code(60), PEER, "exit code of the stale primary")
        check("another generation" in primary.log(), f"the reason: {primary.log()}")
        equal(primary.console(), b"", "console of a guest that must not have run")
        check(backup.qemu_runs(), f"the backup did not stay: {backup.log()}")
        equal(pair.state("B"), "forming", "state of the backup")
