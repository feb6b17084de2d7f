# SPDX-License-Identifier: GPL-2.0-or-later
"""vmft on Debian 13: built with its compiler and libraries, with its own QEMU 10.0.

scripts/in-debian runs scripts/demo and scripts/test on a fresh system of that release, where they
install what they need, as on a fresh machine. The first of these tests makes that system and builds
vmft in it. What the demos and tests in there wrote is in build/in-trixie.
"""

import os
import subprocess

import pytest

from harness import check, full, note
from vmftlab.programs import ROOT

SUITE = "trixie"
SERIES = "10.0"
RUNS = {
    "demo": ("demo",),
    "chain": ("demo", "--chain", "2"),
    "checkpoint": ("demo", "--strategy", "checkpoint", "--smp", "2"),
    "divergence": ("test", "divergence"),
    "output-rule": ("test", "output-rule"),
}
SHOWN = 60


def inside(*command):
    done = subprocess.run([os.path.join(ROOT, "scripts", "in-debian"), SUITE, *command],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        words = "\n".join(done.stdout.splitlines()[-SHOWN:])
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}\n{words}", pytrace=False)
    return done.stdout


@full("the everyday suite runs these on the machine's own release, and reads the QEMU of both")
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.timeout(2400)
def test_trixie(run):
    script, *options = RUNS[run]
    inside(f"scripts/{script}", *options)
    version = inside("qemu-system-x86_64", "--version").splitlines()[0]
    note(version)
    check(f"version {SERIES}." in version, f"the QEMU in there is no {SERIES}: {version}")
