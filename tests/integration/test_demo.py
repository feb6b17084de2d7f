# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/demo, the README's first command, as a person runs it."""

import os
import subprocess

import pytest

from harness import LOGS, everyday, full, kvm
from vmftlab.guest import KVM, has_kvm
from vmftlab.programs import ROOT


def demo(name, *options):
    if "kvm" in options and not has_kvm():
        pytest.skip(f"no {KVM}")
    os.makedirs(os.path.join(LOGS, name), exist_ok=True)
    done = subprocess.run([os.path.join(ROOT, "scripts", "demo"), *options,
                           "--json", os.path.join(LOGS, name, "result.json")],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"it ended with {done.returncode}\n{done.stdout}", pytrace=False)


@everyday("the README's first command, with an image that is built on the spot")
def test_demo_tiny(name):
    demo(name)


@full("a whole Debian boots for minutes on TCG; demo-tiny does the same with a small one")
@pytest.mark.timeout(900)
def test_demo_debian(name):
    demo(name, "--image", "debian")


@everyday("the kernel of Debian 13 under lockstep, its modules and its programs")
def test_demo_tiny_trixie(name):
    demo(name, "--suite", "trixie")


@full("demo-tiny-trixie does the same with a small guest")
@pytest.mark.timeout(900)
def test_demo_debian_trixie(name):
    demo(name, "--suite", "trixie", "--image", "debian")


@full("reprotect does three failovers in a row; this does five")
@pytest.mark.timeout(600)
def test_chain_tiny(name):
    demo(name, "--chain", "5")


@full("a whole Debian boots for minutes on TCG")
@pytest.mark.timeout(900)
def test_chain_debian(name):
    demo(name, "--image", "debian", "--chain", "2")


@full("demo-tiny with two processors: what differs is under test in test_checkpoint.py")
@pytest.mark.timeout(400)
def test_demo_smp(name):
    demo(name, "--smp", "2")


@everyday("failover after failover of a guest on TCG, protected again in between")
def test_chain_bare(name):
    demo(name, "--image", "bare", "--chain", "3")


@kvm("bare")
@full("chain-bare does the same on TCG; KVM is under test in test_checkpoint.py")
@pytest.mark.timeout(600)
def test_chain_kvm(name):
    demo(name, "--accel", "kvm", "--smp", "2", "--chain", "3")


@kvm("tiny")
@full("kvm-smp2-short does one failover of this guest")
@pytest.mark.timeout(600)
def test_chain_tiny_kvm(name):
    demo(name, "--image", "tiny", "--accel", "kvm", "--smp", "2", "--chain", "3")


@kvm("debian")
@full("kvm-smp2-short does the same with a small guest")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("smp", (1, 2, 4))
def test_demo_debian_kvm(name, smp):
    demo(name, "--image", "debian", "--accel", "kvm", "--smp", str(smp))
