# SPDX-License-Identifier: GPL-2.0-or-later
"""A host of its own with /dev/kvm: a machine that QEMU emulates, and what scripts/kvm-host does with it.

It has a kernel, a clock, a disk and network cards of its own. Commands reach it by ssh, over a card
whose network ends in its QEMU. It is powered off for real by kill().
"""

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from .guest import image_build
from .process import read
from .programs import ROOT
from .story import EXIT_OK, guarded
from .watch import LabError, progress, tail

ME = "scripts/kvm-host"
SCRIPT = os.path.join(ROOT, "scripts", "kvm-host")
EXIT_NO_HOST = 125
RESULTS = os.path.join(ROOT, "build", "in-kvm-host")

MEMORY_MB = 4096
SMP = 2
BOOT_S = 300
POWER_OFF_S = 30
# Of pairs on such a host: an emulated processor may be busy for seconds with one guest's memory.
SILENCE_MS = 12000
READY, FAILED = "vmft-kvm-host: ready", "vmft-kvm-host: failed"
# Where the host sees what it was given: kvm-host-init.
GIVEN = "/mnt"
UP = "/run/vmft-kvm-host.up"
SPARE_MB = 64  # of the disk that it is given, for what the command writes to the tree besides images
TRIED = "/var/lib/vmft/tried"  # the builds of QEMU that passed vmft-qemu --self-test here
ALWAYS, OTHERS = ("bare", "tiny"), ("devices", "debian", "stock")
# Of the build, what only makes it, and what tests wrote.
NOT_TAKEN = ("*.p", "*.a", "*.o", "in-*", "test-logs", "demo-logs", "drill-logs", "meson-*",
             "test-results", "fuzz-*")


def image_directory():
    """Of the host's image. It is made if there is none; ssh is installed if it is missing."""
    known = os.environ.get("VMFT_KVM_HOST_IMAGE")
    if known:
        return known
    done = subprocess.run([SCRIPT, "--image"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"scripts/kvm-host --image ended with {done.returncode}")
    return done.stdout.strip()


class Given:
    """What hosts are made of: their image, and a disk with the tree, its build, guest images and a key
    for ssh."""

    def __init__(self, directory, guests):
        self.image = image_directory()
        self.disk = os.path.join(directory, "given.raw")
        self.key = os.path.join(directory, "key")
        top = os.path.join(directory, "given")
        os.mkdir(top)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        shutil.copy(f"{self.key}.pub", os.path.join(top, "authorized_keys"))
        self._take_tree(os.path.join(top, "tree"))
        os.mkdir(os.path.join(top, "guests"))
        for name in guests:
            _copy(image_build(name), os.path.join(top, "guests", name))
        if os.path.isdir(TRIED):
            _copy(TRIED, os.path.join(top, "tried"))
        self._make_disk(top)
        shutil.rmtree(top)

    @staticmethod
    def _take_tree(target):
        leave_out = shutil.ignore_patterns(".git", "build-*", "__pycache__", "*.pyc")
        leave_out_of_build = shutil.ignore_patterns(*NOT_TAKEN)
        build = os.path.join(ROOT, "build")

        def ignore(directory, names):
            left = leave_out(directory, names)
            if directory == ROOT:
                left = {*left, "build"}
            return left
        shutil.copytree(ROOT, target, symlinks=True, ignore=ignore)
        shutil.copytree(build, os.path.join(target, "build"), symlinks=True,
                        ignore=leave_out_of_build)

    def _make_disk(self, top):
        used = int(subprocess.run(["du", "-sm", top], stdout=subprocess.PIPE, text=True,
                                  check=True).stdout.split()[0])
        with open(self.disk, "wb") as file:
            file.truncate((used + used // 8 + SPARE_MB) << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", "-d", top,
                        self.disk], check=True)


def _copy(source, target):
    """Keeps holes."""
    subprocess.run(["cp", "-a", "--sparse=always", "--reflink=auto", source, target], check=True)


class KvmHost:
    """One such host. `cards` are the names of taps in the network namespace `ns`, in the order of its
    own cards eth1, eth2, ...; `directory` is for its files."""

    def __init__(self, name, given, directory, memory=MEMORY_MB, smp=SMP, ns=None, cards=()):
        self.name = name
        self.given = given
        self.memory = memory
        self.smp = smp
        self.ns = ns
        self.cards = cards
        self.console_path = os.path.join(directory, f"{name}.console")
        self.said_path = os.path.join(directory, f"{name}.qemu")
        self.qmp_path = os.path.join(directory, f"{name}.qmp")
        self.process = None
        self.port = None  # on 127.0.0.1, of its sshd

    def start(self):
        command = ["ip", "netns", "exec", self.ns] if self.ns else []
        with open(self.said_path, "wb") as said:
            # Ctrl-C reaches this program only, which then ends the host.
            self.process = subprocess.Popen([*command, *self._qemu()], stdin=subprocess.DEVNULL,
                                            stdout=said, stderr=said, start_new_session=True)

    def _qemu(self):
        image = self.given.image
        words = ["root=/dev/vda", "rootfstype=ext4", "rw", "console=ttyS0", "quiet", "panic=-1",
                 "init=/usr/sbin/vmft-kvm-host", "net.ifnames=0", "mitigations=off", "nokaslr",
                 "random.trust_cpu=on", "audit=0",
                 # An emulated timer may be too late for Linux to take it for one.
                 "tsc=reliable", "no_timer_check",
                 f"vmft.host={self.name}", f"vmft.root={ROOT}"]
        args = ["qemu-system-x86_64", "-name", f"vmft-kvm-host-{self.name}", "-nodefaults",
                "-display", "none", "-no-reboot", "-machine", "q35", "-accel", "tcg,thread=multi",
                "-cpu", "max", "-smp", str(self.smp), "-m", str(self.memory),
                "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd",
                "-append", " ".join(words),
                "-drive", f"file={image}/disk.raw,if=virtio,format=raw,snapshot=on,cache=unsafe",
                "-drive", f"file={self.given.disk},if=virtio,format=raw,snapshot=on,cache=unsafe",
                "-serial", f"file:{self.console_path}",
                "-qmp", f"unix:{self.qmp_path},server=on,wait=off", "-device", "virtio-rng-pci",
                "-netdev", "user,id=ssh,restrict=on,hostfwd=tcp:127.0.0.1:0-:22",
                "-device", f"virtio-net-pci,netdev=ssh,mac={self._mac(255)}"]
        for number, tap in enumerate(self.cards):
            args += ["-netdev", f"tap,id=n{number},ifname={tap},script=no,downscript=no",
                     "-device", f"virtio-net-pci,netdev=n{number},mac={self._mac(number)}"]
        return args

    def _mac(self, number):
        """The hosts of one network have different names."""
        return f"52:54:00:{sum(self.name.encode()) % 256:02x}:00:{number:02x}"

    def console(self):
        return read(self.console_path).decode(errors="replace")

    def wait_up(self):
        begin = told = time.monotonic()
        while READY not in self.console():
            if self.process.poll() is not None or FAILED in self.console():
                raise LabError(f"host {self.name} does not come up; it said:\n"
                               f"{tail(self.console() or read(self.said_path).decode())}")
            if time.monotonic() - begin > BOOT_S:
                raise LabError(f"host {self.name} is not up after {BOOT_S} s; it said:\n"
                               f"{tail(self.console())}")
            if time.monotonic() - told > 5:
                told = time.monotonic()
                progress(f"host {self.name} boots ({told - begin:.0f} s)")
            time.sleep(0.1)
        self.port = self._ssh_port()

    def is_up(self):
        return self.port is not None and self.process.poll() is None

    def _ssh_port(self):
        """QEMU chose it."""
        shown = self._hmp("info usernet")
        for line in shown.splitlines():
            words = line.split()
            if words and words[0].startswith("TCP[HOST_FORWARD]"):
                return int(words[3])
        raise LabError(f"no port leads to host {self.name}: {shown}")

    def _hmp(self, line):
        with socket.socket(socket.AF_UNIX) as conn:
            conn.settimeout(60)
            conn.connect(self.qmp_path)
            file = conn.makefile("rw", encoding="utf-8")
            file.readline()  # the greeting
            for command in ({"execute": "qmp_capabilities"},
                            {"execute": "human-monitor-command",
                             "arguments": {"command-line": line}}):
                file.write(json.dumps(command) + "\n")
                file.flush()
                while "return" not in (answer := json.loads(file.readline())):
                    if "error" in answer:
                        raise LabError(f"host {self.name}: {answer}")
            return answer["return"]

    def reach(self, *words, **variables):
        """The command that runs a command on the host, in its tree."""
        inside = ["env", "-C", ROOT, "VMFT_PREPARED=1", f"VMFT_GUESTS={GIVEN}/guests",
                  f"VMFT_SILENCE_MS={SILENCE_MS}",
                  *(f"{name}={value}" for name, value in variables.items()), *words]
        enter = ["ip", "netns", "exec", self.ns] if self.ns else []
        settings = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null",
                    "LogLevel=ERROR")
        return [*enter, "ssh", "-F", "none", "-i", self.given.key, "-p", str(self.port),
                *(word for setting in settings for word in ("-o", setting)),
                "root@127.0.0.1", shlex.join(inside)]

    def run(self, *words, check=True):
        """Runs a command to its end; what it printed is part of the error, if there is one."""
        done = subprocess.run(self.reach(*words), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False)
        if check and done.returncode != 0:
            raise LabError(f"on host {self.name}: {shlex.join(words)}: exit {done.returncode}:\n"
                           f"{tail(done.stderr or done.stdout)}")
        return done

    def bring_back(self, directory):
        """The files of the tree that were written since the host came up."""
        os.makedirs(directory, exist_ok=True)
        script = f"find . -xdev -type f -newer {UP} -print0 | tar -c --null -T - --sparse"
        with subprocess.Popen(self.reach("sh", "-c", script), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE) as tar:
            subprocess.run(["tar", "-x", "--no-same-owner", "-C", directory], stdin=tar.stdout,
                           check=True)
        if tar.returncode != 0:
            raise LabError(f"host {self.name}: its results cannot be read")

    def power_off(self):
        """In order, as far as a host without services has one; kill() if it does not end."""
        subprocess.run(self.reach("sh", "-c", "sync; echo o >/proc/sysrq-trigger"),
                       stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=60)
        try:
            self.process.wait(POWER_OFF_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self):
        """As if its power had failed. Returns when that was, as time.monotonic_ns()."""
        when = time.monotonic_ns()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)
        return when


def parse_arguments(words):
    parser = argparse.ArgumentParser(
        prog=ME, usage="%(prog)s [OPTION...] COMMAND...",
        description="Runs a command of this source tree on an emulated host that has /dev/kvm. The "
                    "command sees a copy of the tree and of its build. How long something takes "
                    "in there means nothing.")
    parser.add_argument("--guest", action="append", default=[], choices=(*ALWAYS, *OTHERS),
                        help="take this guest's image in, too; tiny and bare are always there, and "
                             "those that a word of the command names")
    parser.add_argument("--memory", type=int, default=MEMORY_MB, metavar="MIB",
                        help=f"of the host, default {MEMORY_MB}")
    parser.add_argument("--smp", type=int, default=SMP, metavar="N",
                        help=f"processors of the host, default {SMP}")
    parser.add_argument("--results", default=RESULTS, metavar="DIR",
                        help="where the files go that the command wrote in the tree, default "
                             "build/in-kvm-host")
    parser.add_argument("--image", action="store_true",
                        help="only make the host's image, and print its directory")
    # For the shell script, which would not install packages for a mistyped option.
    parser.add_argument("--usage-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if not options.command and not options.image:
        parser.error("no command")
    return options


def passed_on():
    """The variables that a command knows vmft by; where things are is another question in there."""
    here = ("VMFT_KVM_HOST", "VMFT_KVM_HOST_IMAGE", "VMFT_IMAGES", "VMFT_CACHE", "VMFT_APT",
            "VMFT_DEBIAN")
    return {name: value for name, value in os.environ.items()
            if name.startswith("VMFT_") and name not in here}


def run_command(options, directory):
    """Returns the command's exit status."""
    guests = {*ALWAYS, *options.guest, *(name for name in OTHERS if name in options.command)}
    begin = time.monotonic()
    progress("taking in the tree, its build and " + ", ".join(sorted(guests)))
    host = KvmHost("kvm", Given(directory, sorted(guests)), directory, options.memory, options.smp)
    try:
        host.start()
        host.wait_up()
        progress(f"host is up after {time.monotonic() - begin:.0f} s")
        done = subprocess.run(host.reach(*options.command, **passed_on()), check=False)
        host.bring_back(options.results)
        host.power_off()
    finally:
        host.kill()
    progress(f"{time.monotonic() - begin:.0f} s in all; files are in {options.results}")
    return done.returncode


def in_directory(options):
    with tempfile.TemporaryDirectory(prefix="vmft-kvm-host-") as directory:
        try:
            return run_command(options, directory)
        except (LabError, subprocess.SubprocessError) as error:
            print(f"{ME}: {error}", file=sys.stderr)
            return EXIT_NO_HOST


def main(words):
    options = parse_arguments(words)
    if options.usage_only:
        return EXIT_OK
    return guarded(ME, lambda: in_directory(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
