# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be said of the source without running it."""

import os
import re
import subprocess

import pytest

from marks import everyday

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LINES_MAX = 600
HEAD_LINES = 40
LONG_BECAUSE = f"This file has more than {LINES_MAX} lines because"
# clang-tidy runs on so many parts of the sources, so that parts can run side by side.
TIDY_PARTS = 4


def files(*patterns):
    done = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, check=True,
                          stdout=subprocess.PIPE, text=True)
    return [path for path in done.stdout.split() if os.path.exists(os.path.join(ROOT, path))]


def scripts(*interpreters):
    """The files whose first line names one of these."""
    found = []
    for path in files():
        with open(os.path.join(ROOT, path), "rb") as file:
            words = file.readline(80).decode(errors="replace").replace("/", " ").split()
        # shellcheck knows no busybox.
        if words[:1] == ["#!"] and words[-1] in interpreters and "busybox" not in words:
            found.append(path)
    return found


def only_with(command, version):
    """The checkers find more, or lay out otherwise, with each release of theirs: the source is kept
    to those of Debian 12, and tests of it cannot run where another is installed."""
    done = subprocess.run([*command, "--version"], stdin=subprocess.DEVNULL, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = re.search(r"(?:version:? |pylint |Cppcheck )(\d[\d.]*)", done.stdout)
    if not found or not f"{found[1]}.".startswith(f"{version}."):
        pytest.skip(f"{command[-1]} is not {version}, Debian 12's, which the source is kept to")


def silent(*command):
    """Runs a command that must find nothing."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{command[0]} ended with {done.returncode}\n{done.stdout}", pytrace=False)


@everyday("one layout of C, whoever wrote it")
def test_format():
    only_with(["clang-format"], "14")
    silent("clang-format", "--dry-run", "-Werror", *files("*.c", "*.h"))


def head(path):
    """The first lines of a file as one line, without the signs of comments."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        words = " ".join(line for line, _ in zip(file, range(HEAD_LINES))).split()
    return " ".join(word for word in words if word not in ("*", "#", "/*", "*/"))


@everyday("a file that is longer than people read at once says why")
def test_length():
    unsaid = []
    for path in files(":!*.svg", ":!*.golden"):
        with open(os.path.join(ROOT, path), "rb") as file:
            lines = file.read().count(b"\n")
        if lines > LINES_MAX and LONG_BECAUSE not in head(path):
            unsaid.append(f"{path}: {lines} lines")
    assert not unsaid


@everyday("faults of C that need the flow of a function")
def test_cppcheck():
    only_with(["cppcheck"], "2.10")
    # Programs that are about to exit leave freeing to the kernel.
    silent("cppcheck", "--quiet", "--enable=warning,performance,portability", "--error-exitcode=1",
           "--suppress=missingIncludeSystem", "--suppress=memleak:guest-tools/*",
           "--suppress=resourceLeak:guest-tools/*", "--inline-suppr",
           "monitor", "logging-channel", "guest-tools")


@everyday("faults of shell scripts")
def test_shellcheck():
    only_with(["shellcheck"], "0.9")
    silent("shellcheck", "-x", "-S", "warning", *scripts("bash", "sh"))


@everyday("faults of Python; which checks and why: .pylintrc")
@pytest.mark.timeout(600)
def test_pylint():
    only_with(["/usr/bin/python3", "-m", "pylint"], "2.16")
    silent("/usr/bin/python3", "-m", "pylint", "--rcfile", ".pylintrc",
           *files("*.py"))


# Which checks, and why not the others: .clang-tidy. The build says how each file is compiled.
@everyday("faults of C that need the types; which checks and why: .clang-tidy")
@pytest.mark.parametrize("part", range(1, TIDY_PARTS + 1))
@pytest.mark.timeout(600)
def test_clang_tidy(part):
    only_with(["clang-tidy"], "14")
    silent("clang-tidy", "--quiet", "-p", "build",
           *files("monitor/*.c", "logging-channel/*.c")[part - 1::TIDY_PARTS])
