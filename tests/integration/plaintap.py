#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""plaintap.py FD TAP COMMAND...: runs a command with a tap open as FD, without IFF_VNET_HDR."""

import fcntl
import os
import struct
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000


def main():
    number, tap, *command = sys.argv[1:]
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", tap.encode(), IFF_TAP | IFF_NO_PI))
    os.dup2(fd, int(number), inheritable=True)
    os.execvp(command[0], command)


main()
