# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of guests under KVM on a machine whose own KVM cannot run them.

Such a test runs on a host of scripts/kvm-host, which is a machine with a KVM of its own. The host is
booted for the first of these tests and used for those after it; a test that failed leaves a host that
may not be as it was, so the next test gets another one.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

from vmftlab.guest import has_kvm, linux_runs_on_kvm
from vmftlab.kvmhost import Given, KvmHost
from vmftlab.programs import ROOT

# Of its pytest and the lab in there.
SLOWER = 4
BOOT_S = 300
SHOWN = 60
GUESTS = ("bare", "tiny")


def inside():
    """Whether this is such a host already."""
    return bool(os.environ.get("VMFT_PREPARED"))


def image_on_kvm(item):
    """The image of the guest that a test runs under KVM; None if it runs none."""
    mark = item.get_closest_marker("kvm")
    if mark:
        return mark.args[0]
    params = item.callspec.params if hasattr(item, "callspec") else {}
    options = getattr(params.get("way"), "options", {})
    return options.get("image", "tiny") if options.get("accel") == "kvm" else None


def possible(item):
    """Whether a test may have to run on such a host."""
    image = image_on_kvm(item)
    if image is None or inside():
        return False
    if image != "bare" or item.config.getoption("--nested"):
        return True
    # On a machine without KVM they would make the everyday suite long.
    return not has_kvm() and item.config.getoption("--suite") != "everyday"


def wanted(item):
    """Whether it has to: the machine's own KVM is tried, if there is one."""
    if not possible(item):
        return False
    bare = image_on_kvm(item) == "bare"
    return bare or item.config.getoption("--nested") or not linux_runs_on_kvm()


class Nested:
    """The host of this process."""

    def __init__(self):
        self.directory = None
        self.host = None
        self.guests = set()

    def run(self, item, logs):
        """Runs the test on the host and fails as it fails there."""
        name = item.vmft["name"]
        host = self._host_with(image_on_kvm(item))
        # Not scripts/test, which would collect all tests.
        done = subprocess.run(host.reach("/usr/bin/python3", "-m", "pytest", f"--only={name}",
                                         os.path.relpath(item.path, ROOT)), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        lines = done.stdout.splitlines()
        if any(line.startswith(f"ok {name} ") for line in lines) and done.returncode == 0:
            # Its notes are this test's.
            for line in filter(re.compile("    [^ .]").match, lines):
                print(line, file=sys.stderr)
            return
        host.bring_back(self.directory.name + "/back")
        there = os.path.join(self.directory.name, "back", "build", "test-logs", name)
        if os.path.isdir(there):
            shutil.copytree(there, logs, dirs_exist_ok=True)
        self.close()
        words = "\n".join(lines[-SHOWN:])
        pytest.fail(f"on a host with KVM it ended with {done.returncode}\n{words}", pytrace=False)

    def _host_with(self, image):
        if self.host and image not in self.guests:
            self.close()
        if not self.host:
            self.guests = {*GUESTS, image}
            self.directory = tempfile.TemporaryDirectory(prefix="vmft-nested-")
            self.host = KvmHost("kvm", Given(self.directory.name, sorted(self.guests)),
                                self.directory.name)
            self.host.start()
            self.host.wait_up()
        return self.host

    def close(self):
        if self.host:
            self.host.kill()
            self.host = None
        if self.directory:
            self.directory.cleanup()
            self.directory = None
