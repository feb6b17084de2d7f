# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that meson calls tests: units, simulation, fuzz harnesses, in each build there is."""

import json
import os
import subprocess

import pytest

from marks import everyday, full

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILDS = {"gcc": "build", "asan": "build-asan", "tsan": "build-tsan"}

# A program that is not started by threads of its own has nothing for ThreadSanitizer to see.
THREADED = ("unit",)


def tests_of(build):
    """Names and time limits, as meson knows them. A build that is not there has none."""
    path = os.path.join(ROOT, BUILDS[build])
    if not os.path.exists(os.path.join(path, "build.ninja")):
        return {}
    done = subprocess.run(["meson", "introspect", "--tests", path], check=True,
                          stdout=subprocess.PIPE, text=True)
    return {test["name"]: test["timeout"] for test in json.loads(done.stdout)}


def suite_of(build, program):
    if build == "gcc":
        return everyday("the program itself")
    if build == "tsan":
        return (everyday("races of threads") if program in THREADED
                else full("the program has one thread"))
    if program.startswith("simulation"):
        return full("gcc's build runs the model; this looks for bad accesses of the model itself")
    return everyday("bad accesses and undefined behaviour")


def all_programs():
    for build in BUILDS:
        for program, limit in tests_of(build).items():
            # meson ends a program that is over its limit.
            yield pytest.param(build, program, id=f"{build}-{program}",
                               marks=(suite_of(build, program), pytest.mark.timeout(limit + 30)))


@pytest.mark.parametrize("build, program", all_programs())
def test_program(build, program):
    done = subprocess.run(["meson", "test", "-C", BUILDS[build], "--no-rebuild", "--print-errorlogs",
                           "--logbase", f"testlog-{program}", program], cwd=ROOT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{program} failed\n{done.stdout}", pytrace=False)
