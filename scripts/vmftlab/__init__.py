# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts, a switch and a client made of network namespaces, for demo, drill, bench and tests.

net        namespaces, links, sockets inside a namespace
pcap       what was on the wire
control    a monitor's control socket
guest      the guest, and the QEMU command line that makes it
side       a host with its QEMU and its monitor
watch      what a pair does, and how to wait for it
client     the guest's client
labfaults  what is done to the hosts
lab        all of these as one pair, which is started and removed
load       what the client does to the guest
faults     the kinds of faults that a drill does
drill      scripts/drill
demo       the story that scripts/demo tells
"""
