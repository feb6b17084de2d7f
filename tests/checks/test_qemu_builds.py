# SPDX-License-Identifier: GPL-2.0-or-later
"""Each QEMU package that Debian offers: vmft accepts or refuses the binary, as it is known.

The packages are downloaded, unpacked and read, not installed, and nothing of them is run. A build
that a new package brings is found here before anybody's host has it.
"""

import glob
import os
import re
import subprocess
import sys

import pytest

from marks import everyday
from vmftlab.programs import ROOT, built

PACKAGE = "qemu-system-x86"
FILE = "./usr/bin/qemu-system-x86_64"
SUITES = ("bookworm", "trixie")
POCKETS = ("updates", "security", "backports")
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                     "vmft", "qemu")

# The series that are accepted, with places of theirs that a person has compared with the source:
# (offset, bytes). A build of any other series is refused.
TIMERS = {"timers_state.cpu_ticks_offset": "8/8", "timers_state.cpu_clock_offset": "56/8",
          "timers_state.vm_clock_warp_start": "48/8", "timers_state.icount_warp_timer": "88/8"}
ACCEPTED = {
    "7.2": {**TIMERS, "replay_state.data_kind": "28/4", "replay_state.has_unread_data": "32/4",
            "replay_state.block_request_id": "48/8", "PFlashCFI01.wcycle": "848/1",
            "PFlashCFI01.flash_cmd": "850/0"},
    "10.0": {**TIMERS, "replay_state.data_kind": "32/4", "replay_state.has_unread_data": "36/1",
             "replay_state.block_request_id": "48/8", "PFlashCFI01.wcycle": "840/1",
             "PFlashCFI01.flash_cmd": "842/0"},
}
EXIT_QEMU = 4


def note(text):
    print(f"    {text}", file=sys.stderr, flush=True)


def run(*command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, **options)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}",
                    pytrace=False)
    return done.stdout


def offered():
    """{version of the package: apt's environment}."""
    found = {}
    for suite in SUITES:
        config = run(os.path.join(ROOT, "guest-tools", "apt-suite"), suite, *POCKETS).strip()
        apt = {**os.environ, "APT_CONFIG": config}
        rows = [line.split("|") for line in run("apt-cache", "madison", PACKAGE, env=apt).splitlines()]
        for _, version, archive in rows:
            if archive.split()[-1] == "Packages":
                found.setdefault(version.strip(), apt)
    return found


def binary_of(version, apt):
    """The path of the package's emulator."""
    target = os.path.join(CACHE, version)
    if os.path.exists(target):
        return target
    note(f"... fetching {PACKAGE} {version}")
    made = f"{target}.{os.getpid()}"
    os.makedirs(f"{made}.deb")
    try:
        run("apt-get", "-q", "download", f"{PACKAGE}={version}", env=apt, cwd=f"{made}.deb")
        (package,) = glob.glob(f"{made}.deb/*.deb")
        with open(made, "wb") as file, \
             subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package],
                              stdout=subprocess.PIPE) as unpacked:
            subprocess.run(["tar", "-xO", FILE], stdin=unpacked.stdout, stdout=file, check=True)
        os.rename(made, target)
    finally:
        run("rm", "-rf", made, f"{made}.deb")
    return target


def forget_others(versions):
    """Packages that are offered no more."""
    for path in glob.glob(os.path.join(CACHE, "*")):
        if re.sub(r"\.\d+(\.deb)?$", "", os.path.basename(path)) not in versions and \
           os.path.basename(path) not in versions:
            run("rm", "-rf", path)


def version_in(path):
    """What the emulator would answer to --version."""
    with open(path, "rb") as file:
        found = set(re.findall(rb"QEMU emulator version ([0-9.]+)", file.read()))
    assert len(found) == 1, f"{path} says {found}"
    return found.pop().decode()


def places_of(version, path):
    """(series, {member: offset/bytes}) of an accepted build, (None, the reason) of a refused one."""
    done = subprocess.run([built("../tests/vmft-qemu-inspect"), version, path],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode == EXIT_QEMU:
        return None, done.stderr.strip()
    assert done.returncode == 0, f"vmft-qemu-inspect: exit {done.returncode}: {done.stderr}"
    rows = [line.split() for line in done.stdout.splitlines()]
    return rows[0][1], {row[1]: row[2] for row in rows if row[0] == "place"}


@everyday("a QEMU build that Debian offers and vmft does not accept, or reads wrongly")
@pytest.mark.timeout(600)
def test_qemu_builds():
    os.makedirs(CACHE, exist_ok=True)
    packages = offered()
    forget_others(packages)
    seen = set()
    for package, apt in packages.items():
        path = binary_of(package, apt)
        version = version_in(path)
        series = ".".join(version.split(".")[:2])
        found, places = places_of(version, path)
        if found is None:
            note(f"{PACKAGE} {package}: QEMU {version} is refused: {places}")
            assert series not in ACCEPTED, f"{package} is refused: {places}"
            assert places == f"vmft does not know QEMU {version}"
            continue
        note(f"{PACKAGE} {package}: QEMU {version} is accepted, places read")
        assert found == series and series in ACCEPTED, f"{package} was taken for a QEMU {found}"
        wrong = {name: (places.get(name), right) for name, right in ACCEPTED[series].items()
                 if places.get(name) != right}
        assert not wrong, f"{package}: places found, and those known: {wrong}"
        seen.add(series)
    assert seen == set(ACCEPTED), f"apt offers no build of {set(ACCEPTED) - seen}"
