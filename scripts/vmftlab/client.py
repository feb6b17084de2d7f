# SPDX-License-Identifier: GPL-2.0-or-later
"""The client's namespace: programs that run there, and connections from there to the guest."""

import subprocess

from .net import GUEST_IP, run, tcp_connect
from .watch import PATIENCE_S


class Client:
    """`processes` is the lab's list: the lab ends them when it closes."""

    def __init__(self, ns, processes):
        self.ns = ns
        self.processes = processes

    def command(self, *command):
        return ["ip", "netns", "exec", self.ns, *command]

    def run(self, *command, check=True, timeout=PATIENCE_S, **options):
        return run(*self.command(*command), check=check, timeout=timeout, **options)

    def start(self, *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        process = subprocess.Popen(self.command(*command), stdin=subprocess.DEVNULL,
                                   stdout=stdout, stderr=stderr, start_new_session=True)
        self.processes.append(process)
        return process

    def connect(self, port, timeout=60):
        return tcp_connect(self.ns, GUEST_IP, port, timeout)
