# SPDX-License-Identifier: GPL-2.0-or-later
"""A build of QEMU that this host has not run before is tried on a small guest, once."""

import contextlib
import os
import shutil
import subprocess
import tempfile

import pytest

from harness import check, equal, everyday, full, lab, note
from test_upgrade import qemu_of
from vmftlab.programs import built

TRIED = "/var/lib/vmft/tried"
EXIT_QEMU = 4  # monitor/common/exit-codes.h


def self_test(qemu):
    done = subprocess.run([built("vmft-qemu"), "--self-test", qemu], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200,
                          check=False)
    note(done.stdout.strip())
    return done


def build_id(qemu):
    done = subprocess.run(["readelf", "-n", qemu], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split("Build ID: ")[1].split()[0]


def is_remembered(identity):
    try:
        with open(os.path.join(TRIED, identity), encoding="ascii") as file:
            return "passed" in file.read()
    except FileNotFoundError:
        return False


def forget(identity):
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(TRIED, identity))


@contextlib.contextmanager
def broken_build():
    """QEMU 7.2 with another build-id, and away from its modules: it has no TCG there."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "qemu-system-x86_64")
        original = qemu_of("bookworm")
        shutil.copy(original, path)
        identity = build_id(original)
        with open(path, "r+b") as file:
            at = file.read().find(bytes.fromhex(identity))
            file.seek(at)
            file.write(b"\xff")
        identity = "ff" + identity[2:]
        forget(identity)
        try:
            yield path, identity
        finally:
            forget(identity)


@everyday("a build of QEMU that does not work is refused before a VM runs on it")
@pytest.mark.timeout(300)
def test_self_test_fails(name):
    with broken_build() as (qemu, identity):
        done = self_test(qemu)
        equal(done.returncode, EXIT_QEMU, "exit code")
        check("did not pass on this host" in done.stdout, done.stdout)
        check(not is_remembered(identity), "it is remembered as one that passes")
        with lab(name, pair={"qemu": qemu}, captures=False) as pair:
            side = pair.start_side("B")
            side.may_end = True
            equal(side.exit_code(60), EXIT_QEMU, "exit code of a VM's start")
            check("did not pass on this host" in side.log(), side.log())


@everyday("a new build of QEMU is tried before a VM runs on it, and only once")
@pytest.mark.timeout(400)
def test_self_test_at_start(name):
    qemu = qemu_of("bookworm-backports")
    identity = build_id(qemu)
    forget(identity)
    with lab(name, pair={"qemu": qemu}, captures=False) as pair:
        pair.start_protected()
        # Both sides were started at about the same time.
        tried = [side.log().count("on a small guest") for side in pair.side.values()]
        equal(sum(tried), 1, "how often it was tried")
        check(is_remembered(identity), "it is not remembered")


@full("self-test-at-start tries one of them")
@pytest.mark.timeout(600)
def test_self_test_builds(name):
    for suite in ("bookworm", "bookworm-security", "bookworm-backports"):
        done = self_test(qemu_of(suite))
        equal(done.returncode, 0, f"exit code for {suite}")
    del name
