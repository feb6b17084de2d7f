# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest of a lab: its image, its machine, and the QEMU command line that makes it."""

import fcntl
import os
import subprocess
import tempfile
import time

from .net import GUEST_MAC, run
from .process import read
from .programs import ROOT
from .watch import LabError, progress

MEMORY_MB = {"tiny": 256, "devices": 512, "debian": 512, "stock": 768, "bare": 256}
# The bare guest finds no devices by ACPI, and has drivers for these devices only.
BARE_MACHINE = "microvm,rtc=on,isa-serial=on,pit=on,pic=on"
# From the package qemu-system-data: this firmware only starts a kernel.
QBOOT = "/usr/share/qemu/qboot.rom"
# What each guest writes to its console when its services answer.
READY = "vmft-guest: ready"
KVM = "/dev/kvm"
KVM_GET_API_VERSION, KVM_API_VERSION = 0xAE00, 12
SMP_MAX = 8  # the most processors that vmft protects
# In which a Linux guest boots wherever KVM runs its kernel natively.
NATIVE_BOOT_S = 30


class Guest:
    """`append` is added to the guest's command line; the bare guest takes the first of two words.
    `memory` is in MiB. `suite` is the Debian release that the image is made of, None for that of this
    machine; it may be set until build(). image_dir is known after build()."""

    def __init__(self, image, accel, smp, append, machine):
        self.image = image
        self.suite = None
        self.image_dir = None
        self.memory = MEMORY_MB[image]
        self.machine = machine or (BARE_MACHINE if image == "bare" else "pc")
        self.accel = accel
        self.smp = smp
        self.append = append

    def build(self):
        self.image_dir = image_build(self.image, self.suite)

    def __str__(self):
        return f"{self.image} guest" + (f" of Debian {self.suite}" if self.suite else "")

    @property
    def bare(self):
        return self.image == "bare"

    @property
    def disk_image(self):
        return os.path.join(self.image_dir, "disk.raw")

    def disk_bytes(self):
        return os.path.getsize(self.disk_image)

    def copy_disk(self, path):
        run("cp", "--sparse=always", "--reflink=auto", self.disk_image, path)

    def strategy_keys(self):
        """Keys of the pair file. `auto` chooses lockstep for one processor on TCG, and lockstep
        cannot protect the bare guest's board."""
        cannot = self.bare and self.accel == "tcg" and self.smp == 1
        return {"strategy": "checkpoint"} if cannot else {}

    def args(self, side, name, memory=None, disk=None):
        """QEMU's arguments on a host. `name` is the VM's."""
        drive = (f"file={disk or side.disk},if={'none,id=d0' if self.bare else 'virtio'},"
                 f"format=raw,cache=writeback")
        return ["-name", name, "-nodefaults", "-display", "none",
                "-machine", self.machine, *self._processor_args(),
                "-m", str(memory or self.memory), *self._kernel_args(),
                "-serial", f"file:{side.console_path}",
                *(["-serial", f"file:{side.pipe}"] if side.pipe else []),
                "-drive", drive,
                *(["-device", "virtio-blk-device,drive=d0"] if self.bare else []),
                "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
                "-device", f"virtio-net-{'device' if self.bare else 'pci'},netdev=n0,"
                           f"mac={GUEST_MAC}"]

    def _processor_args(self):
        if self.smp == 1:
            return ["-accel", self.accel]
        return ["-accel", "tcg,thread=multi" if self.accel == "tcg" else self.accel,
                "-smp", str(self.smp)]

    def _kernel_args(self):
        if self.image == "stock":
            return []  # its disk has a boot loader
        image = self.image_dir
        words = [*self.append.split(), *read(f"{image}/cmdline").decode().split()]
        if self.bare:
            return ["-bios", QBOOT, "-kernel", f"{image}/bare.elf",
                    "-append", " ".join([*words, f"aps={self.smp - 1}"])]
        if self.smp > 1 and self.accel == "tcg":
            # On a busy host, about one boot in some hundred hangs where Linux changes from ticks to
            # one-shot timers. It does so without vmft too: docs/qemu.md.
            words += ["nohz=off", "highres=off"]
        return ["-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd",
                "-append", " ".join(words)]


def has_kvm():
    try:
        with open(KVM, "r+b", buffering=0) as kvm:
            return fcntl.ioctl(kvm, KVM_GET_API_VERSION) == KVM_API_VERSION
    except OSError:
        return False


def linux_runs_on_kvm():
    """Whether this machine's KVM boots the tiny guest. A KVM that emulates the guest's kernel, as one
    inside of a virtual machine may, does not in any useful time. The answer is remembered until the
    machine boots again."""
    if not has_kvm():
        return False
    boot = read("/proc/sys/kernel/random/boot_id").decode().strip()
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = os.path.join(cache, "vmft", "kvm-runs-linux")
    known = read(path).decode().split()
    if known[:1] == [boot]:
        return known[1] == "yes"
    runs = _tiny_boots_on_kvm()
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{boot} {'yes' if runs else 'no'}\n")
    return runs


def _tiny_boots_on_kvm():
    progress(f"trying whether {KVM} runs a Linux guest, at most {NATIVE_BOOT_S} s")
    image = image_build("tiny")
    with tempfile.TemporaryDirectory() as directory:
        console = os.path.join(directory, "console")
        with subprocess.Popen(
                ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "kvm",
                 "-m", str(MEMORY_MB["tiny"]), "-no-reboot", "-serial", f"file:{console}",
                 "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd", "-snapshot",
                 "-drive", f"file={image}/disk.raw,if=virtio,format=raw",
                 "-nic", "user,model=virtio-net-pci,restrict=on",
                 "-append", read(f"{image}/cmdline").decode().strip()],
                stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as qemu:
            end = time.monotonic() + NATIVE_BOOT_S
            while time.monotonic() < end and qemu.poll() is None:
                if READY.encode() in read(console):
                    break
                time.sleep(0.1)
            qemu.kill()
        return READY.encode() in read(console)


def image_build(name, suite=None):
    """The directory of a guest image; builds the image if there is none."""
    command = [os.path.join(ROOT, "guest-tools", "build")]
    if os.geteuid() == 0:
        command.append("--install")
    if suite:
        command += ["--suite", suite]
    done = subprocess.run([*command, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"guest-tools/build {name} ended with {done.returncode}")
    return done.stdout.strip()
