# SPDX-License-Identifier: GPL-2.0-or-later
"""vmft check, protect and unprotect: an ordinary domain of libvirt becomes a protected one, and back."""

import os
import re
import subprocess
import time

import pytest

from harness import Loaded, check, equal, everyday, full, keep_logs, note
from vmftlab.libvirt import IMAGES, LibvirtLab
from vmftlab.net import CHANNEL_IP
from vmftlab.programs import built

QEMU = "/usr/bin/qemu-system-x86_64"
EXIT_CONFIG, EXIT_UNPROTECTED, EXIT_ADDRESS, EXIT_ALONE = 2, 3, 6, 14  # monitor/common/exit-codes.h
SSHD = """ListenAddress {address}
Port 22
HostKey {keys}/host
AuthorizedKeysFile {keys}/user.pub
PidFile {directory}/sshd.pid
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
SetEnv PATH={programs}:/usr/sbin:/usr/bin:/sbin:/bin
"""
SSH = """StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR"""


class OrdinaryLab(LibvirtLab):
    """The domain is defined on host A only, with the distribution's QEMU. Host B has neither its image
    nor a pair file. A reaches B through ssh, as root."""

    def write_pair(self, path=None, **changes):
        return path

    def define(self, side):
        if side.name == "A":
            super().define(side)
        else:
            os.unlink(side.disk)

    def xml(self):
        return super().xml().replace(built("vmft-qemu"), QEMU)

    def open(self):
        super().open()
        self.keys = os.path.join(self.dir, "keys")
        os.mkdir(self.keys)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                            f"{self.keys}/{name}"], check=True)
        for name in self.side:
            self.run_sshd(name)

    def run_sshd(self, name):
        """Each host takes root of the other; its own /etc is an overlay."""
        side = self.side[name]
        config = os.path.join(side.dir, "sshd_config")
        with open(config, "w", encoding="ascii") as file:
            file.write(SSHD.format(address=CHANNEL_IP[name], keys=self.keys, directory=side.dir,
                                   programs=os.path.dirname(built("vmft"))))
        side.enter("sh", "-c", f"mkdir -p /run/sshd && echo '{SSH}' >/etc/ssh/ssh_config.d/lab.conf")
        side.enter("/usr/sbin/sshd", "-f", config)

    def uri(self, name):
        return f"qemu+ssh://root@{CHANNEL_IP[name]}/system?keyfile={self.keys}/user"

    def vmft_on(self, name, *words, timeout=200):
        """A command of an admin's; returns what it printed, and its exit code."""
        began = time.monotonic()
        done = self.side[name].enter(built("vmft"), *words, check=False, timeout=timeout)
        note(f"vmft {words[0]}: {time.monotonic() - began:.1f} s")
        return done.stdout + done.stderr, done.returncode

    def start(self):
        """One command does all of it."""
        said, code = self.vmft_on("A", "protect", *self.asked())
        equal(code, 0, f"exit code of protect: {said}")

    def asked(self):
        return [self.prefix, "--backup", self.uri("B"), "--arbiter", f"file:{self.arbiter}"]


class Ordinary:
    def __init__(self, name, **options):
        self.name = name
        self.lab = OrdinaryLab(**options)

    def __enter__(self):
        began = time.monotonic()
        self.lab.open()
        note(f"two hosts with libvirt: {time.monotonic() - began:.1f} s")
        return self.lab

    def __exit__(self, kind, error, trace):
        if kind:
            keep_logs(self.lab, self.name)
        self.lab.close()


def emulator(pair, name):
    xml = pair.side[name].virsh("dumpxml", "--inactive", pair.prefix).stdout
    return re.search("<emulator>(.*)</emulator>", xml)[1]


@everyday("an ordinary domain is protected by one command")
@pytest.mark.timeout(600)
def test_protect(name):
    """Checked, protected, its host dies, nothing is lost; then unprotected on the other host."""
    with Ordinary(name, machine="pc") as pair:
        a, b = pair.side["A"], pair.side["B"]
        said, code = pair.vmft_on("A", "check", *pair.asked())
        equal(code, 0, f"exit code of check: {said}")
        a.virsh("start", pair.prefix)
        said, code = pair.vmft_on("A", "protect", *pair.asked())
        equal(code, EXIT_ALONE, f"exit code of protect while the domain runs: {said}")
        check("--restart now" in said, said)
        equal(a.domain_state(), "running (booted)", "virsh on A")
        a.virsh("destroy", pair.prefix)
        loaded = Loaded(pair).start()
        for name_of_host in pair.side:
            equal(emulator(pair, name_of_host), os.path.realpath(built("vmft-qemu")), "the emulator")
        check(a.domain_state().startswith("running"), a.domain_state())
        check(b.domain_state().startswith("paused"), b.domain_state())
        a.power_off()
        pair.wait_domain("B", "running")
        loaded.settle("after the death of host A")
        a.boot()
        pair.run_sshd("A")
        pair.start_domain("A")
        pair.wait_attached("B", "A")
        loaded.settle("after host A came back")
        said, code = pair.vmft_on("B", "unprotect", pair.prefix)
        equal(code, EXIT_CONFIG, f"exit code of unprotect without --backup: {said}")
        said, code = pair.vmft_on("B", "unprotect", pair.prefix, "--backup", pair.uri("A"))
        equal(code, 0, f"exit code of unprotect: {said}")
        equal(emulator(pair, "B"), QEMU, "the emulator on B")
        check(not a.domain_state() and not a.qemu_runs(), "host A still has the domain")
        check(b.domain_state().startswith("running"), b.domain_state())
        for side in (a, b):
            check(not os.path.exists(side.pair_path()), f"host {side.name} has a pair file")
        loaded.settle("without a backup")
        loaded.verify()


def fails(pair, what, text, *words):
    """check says that this failed, and what to do."""
    said, code = pair.vmft_on("A", "check", *pair.asked(), *words)
    equal(code, EXIT_UNPROTECTED, f"exit code of check: {said}")
    found = [line for line in said.splitlines() if line.startswith("FAIL") and what in line]
    check(found and text in found[0], f"no line of {what} with {text!r}: {said}")
    note(found[0])


@full("protect: all conditions are met; which of them can fail is in the unit tests, too")
@pytest.mark.timeout(600)
def test_check_refused(name):
    """Each condition fails once, as an admin meets it."""
    with Ordinary(name, machine="pc") as pair:
        b = pair.side["B"]
        said, code = pair.vmft_on("A", "check", "nobody", "--backup", pair.uri("B"))
        equal((code, "nobody" in said), (EXIT_ADDRESS, True), f"check of no domain: {said}")
        said, code = pair.vmft_on("A", "check", pair.prefix, "--backup", "qemu:///system")
        equal(code, EXIT_CONFIG, f"check with the domain's own host: {said}")
        fails(pair, "channel on this host", "--channel", "--channel", "10.1.2.3:7700,10.99.0.2:7700")
        fails(pair, "arbiter on this host", "No such file", "--arbiter", "file:/nowhere")
        b.enter("sh", "-c", f"truncate -s 1M {IMAGES}/{pair.prefix}.raw")
        fails(pair, "disk vda", "as long")
        b.enter("rm", f"{IMAGES}/{pair.prefix}.raw")
        b.enter("sh", "-c", f"echo other >>{IMAGES}/initrd")
        fails(pair, "machine", "initrd")
        b.enter("ip", "link", "set", "br0", "name", "br9")
        fails(pair, "bridge br0 on 10.99.0.2", "make it")
        b.enter("ip", "link", "set", "br9", "name", "br0")
        os.makedirs(os.path.join(pair.dir, "other"))
        b.enter("mount", "--bind", os.path.join(pair.dir, "other"), pair.arbiter)
        fails(pair, "one arbiter", "another directory")
        b.enter("pkill", "-x", "libvirtd")
        said, code = pair.vmft_on("A", "check", *pair.asked())
        equal(code, EXIT_ADDRESS, f"check without a libvirtd: {said}")
