# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that meson calls tests (units, simulation, fuzz harnesses), in each build there is, and
those that it calls benchmarks: the long runs of the simulation."""

import json
import os
import subprocess

import pytest

from marks import everyday, full

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILDS = {"gcc": "build", "asan": "build-asan", "tsan": "build-tsan"}

# A program that is not started by threads of its own has nothing for ThreadSanitizer to see.
THREADED = ("unit",)


def programs_of(build, kind):
    """Names and time limits, as meson knows them; kind is "tests" or "benchmarks". A build that is
    not there has none."""
    path = os.path.join(ROOT, BUILDS[build])
    if not os.path.exists(os.path.join(path, "build.ninja")):
        return {}
    done = subprocess.run(["meson", "introspect", f"--{kind}", path], check=True,
                          stdout=subprocess.PIPE, text=True)
    return {program["name"]: program["timeout"] for program in json.loads(done.stdout)}


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
        for program, limit in programs_of(build, "tests").items():
            yield parameters(build, program, limit, suite_of(build, program))


def parameters(build, program, limit, suite):
    # meson ends a program that is over its limit, so pytest's limit is longer.
    return pytest.param(build, program, id=f"{build}-{program}",
                        marks=(suite, pytest.mark.timeout(limit + 30)))


def long_runs():
    """With gcc's build alone: sanitizers would make hours of them, and find nothing that the same
    programs do not show in a short run."""
    suite = full("the same simulation runs every day, for a few seconds")
    return [parameters("gcc", program, limit, suite)
            for program, limit in programs_of("gcc", "benchmarks").items()]


def run(build, program, *options):
    done = subprocess.run(["meson", "test", "-C", BUILDS[build], "--no-rebuild", "--print-errorlogs",
                           "--logbase", f"testlog-{program}", *options, program], cwd=ROOT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{program} failed\n{done.stdout}", pytrace=False)


@pytest.mark.parametrize("build, program", all_programs())
def test_program(build, program):
    run(build, program)


@pytest.mark.parametrize("build, program", long_runs())
def test_benchmark(build, program):
    run(build, program, "--benchmark")
