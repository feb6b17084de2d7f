#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""tapfds.py FD=WHAT ... -- COMMAND: runs a command with taps open as those descriptors.

WHAT is the name of a tap that exists, or the path of a macvtap's character device. "NAME,plain"
opens the tap without IFF_VNET_HDR: its frames have no virtio header.
"""

import fcntl
import os
import resource
import struct
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 2, 0x1000, 0x4000
FDS_MAX = 4096


def open_tap(what):
    if what.startswith("/"):
        return os.open(what, os.O_RDWR)
    name, plain, _ = what.partition(",plain")
    flags = IFF_TAP | IFF_NO_PI | (0 if plain else IFF_VNET_HDR)
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return fd


def main():
    at = sys.argv.index("--")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FDS_MAX, FDS_MAX))
    for word in sys.argv[1:at]:
        number, what = word.split("=", 1)
        fd = open_tap(what)
        os.dup2(fd, int(number), inheritable=True)
        if fd != int(number):
            os.close(fd)
    os.execvp(sys.argv[at + 1], sys.argv[at + 1:])


main()
