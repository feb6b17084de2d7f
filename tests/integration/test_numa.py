# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest memory in several objects, as the nodes of NUMA have it: all of it is on the other host after an
attach and a failover."""

import json

from harness import CHECKPOINT, Loaded, check, equal, everyday, ways
from vmftlab.load import GuestShell

NODE_MIB = 192
# More than the first node has left.
FILE_MIB = 140


def with_nodes(pair):
    """Two nodes, one in libvirt's words and one in Proxmox's, with room for more."""
    first = {"qom-type": "memory-backend-memfd", "id": "ram-node0", "size": NODE_MIB << 20,
             "share": True, "host-nodes": [0], "policy": "bind"}

    def edit(args):
        args = list(args)
        args[args.index("-m") + 1] = f"{2 * NODE_MIB},slots=4,maxmem=1G"
        return args + ["-object", json.dumps(first),
                       "-numa", "node,nodeid=0,cpus=0,memdev=ram-node0",
                       "-object", f"memory-backend-ram,id=ram-node1,size={NODE_MIB}M",
                       "-numa", "node,nodeid=1,cpus=1,memdev=ram-node1"]

    for name in pair.side:
        pair.edit[name] = edit


def used_of_node(shell, node):
    """KiB."""
    return int(shell.run(f"sed -n 's/.*MemUsed: *//p' /sys/devices/system/node/node{node}/meminfo")
               .split()[0])


@everyday("memory in several objects, of which one would be left out or taken for the other")
@ways(CHECKPOINT)
def test_numa(name, way):
    with way.lab(name) as pair:
        with_nodes(pair)
        loaded = Loaded(pair).start()
        shell = GuestShell(pair)
        before = used_of_node(shell, 1)
        shell.sock.settimeout(120)
        # The number shifts what follows: no two pages are alike.
        shell.run("mkdir -p /tmp; mount -t tmpfs -o size=90% tmpfs /tmp; "
                  "head -c 1048576 /dev/urandom >/tmp/part; n=0; "
                  f"while [ $n -lt {FILE_MIB} ]; do n=$((n+1)); echo $n; cat /tmp/part; done >/tmp/file")
        check(used_of_node(shell, 1) > before + (16 << 10), "the second node was not used")
        digest = shell.run("sha256sum </tmp/file")
        pair.faults.kill_qemu("A")
        pair.wait_state("B", "alone")
        loaded.settle("after the failover")
        equal(shell.run("sha256sum </tmp/file"), digest, "the file after the failover")
        loaded.verify()
        pair.start_backup("A")
        pair.wait_state("B", "protected")
        pair.faults.kill_qemu("B")
        pair.wait_state("A", "alone")
        equal(shell.run("sha256sum </tmp/file"), digest, "the file after the second failover")
