# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults that a drill does to a protected pair: one class for each kind.

A drill starts a fault, and the fault shows that it really happened: what it reports is read from the
kernel or from processes. The fault lasts for a while, or until one side went on; then the drill
heals it. Each kind names the outcomes that are right.

fault      the class that every kind extends, and the outcomes
processes  faults to QEMU and the monitor
links      faults to the channel, the heartbeat path and the client's link
arbiter    faults to the arbiter
resources  faults to disk space, memory, processor time, consoles and clocks
kinds      the table of all kinds, and lists of them
"""
