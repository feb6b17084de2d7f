# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts, a switch and a client made of network namespaces, for demo and tests.

net      namespaces, links, sockets inside a namespace
pcap     what was on the wire
control  a monitor's control socket
lab      the hosts with their QEMU and monitor, and the faults
load     what the client does to the guest
demo     the story scripts/demo tells
"""
