# SPDX-License-Identifier: GPL-2.0-or-later
"""What /proc says of processes, and how the laboratory ends them."""

import os
import signal


def read(path):
    """The bytes of a file; b"" if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def command_name(pid):
    return _read_proc(pid, "comm").strip()


def process_state(pid):
    """The state letter of a process, "" if it is gone. In /proc/PID/stat the process's name, which
    may contain any character, is in parentheses before it."""
    return _read_proc(pid, "stat").rpartition(")")[2].strip()[:1]


def mentioning(text):
    """The processes, except this one, that have the text in their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) != os.getpid() and text in _read_proc(pid, "cmdline"):
            found.append(int(pid))
    return found


def kill(pid):
    """SIGKILL; a process that has ended already is no error."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _read_proc(pid, name):
    try:
        return read(f"/proc/{pid}/{name}").decode(errors="replace")
    except ProcessLookupError:
        return ""
