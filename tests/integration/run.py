#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""run.py [--list] [--jobs N] [NAME...]: hands its arguments to pytest. scripts/test replaces it."""

import argparse
import os

HERE = os.path.dirname(os.path.abspath(__file__))
PYTEST = ["/usr/bin/python3", "-m", "pytest"]


def main():
    parser = argparse.ArgumentParser(prog="run.py")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("name", nargs="*")
    options = parser.parse_args()
    os.chdir(os.path.dirname(os.path.dirname(HERE)))
    if options.list:
        command = [*PYTEST, "-p", "no:terminal", "-o", "addopts=", "--list-names", HERE]
    else:
        jobs = ["-n", str(options.jobs)] if options.jobs > 1 else []
        command = [*PYTEST, *jobs, *(f"--only={name}" for name in options.name), HERE]
    os.execv(command[0], command)


main()
