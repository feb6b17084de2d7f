# SPDX-License-Identifier: GPL-2.0-or-later
"""UEFI firmware in flash. The variables that a guest has set are on the other host after a failover, in
memory and in the image: the guest finds them again after its next reset."""

import json
import os

from devices import DEVICES, DEVICES_KVM, path_in, with_lines
from harness import Loaded, check, equal, full, ways
from vmftlab.load import GuestShell
from vmftlab.net import GUEST_MAC

CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"
NAMES = "/sys/firmware/efi/efivars"
GUID = "766d6674-0000-4000-8000-000000000001"
# Non-volatile, seen by the firmware and by the operating system.
ATTRIBUTES = r"\007\000\000\000"


def node(name, path, read_only, image_format="raw"):
    """As libvirt writes an image."""
    return ["-blockdev", json.dumps({"driver": "file", "filename": path,
                                     "node-name": f"{name}-storage", "auto-read-only": True,
                                     "discard": "unmap"}),
            "-blockdev", json.dumps({"node-name": f"{name}-format", "read-only": read_only,
                                     "driver": image_format, "file": f"{name}-storage"})]


def libvirt_line(side):
    return [*node("pflash0", CODE, True), *node("pflash1", path_in(side, "vars.fd"), False),
            "-drive", f"file={side.disk},if=virtio,format=raw",
            "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=n0,mac={GUEST_MAC}"]


def proxmox_line(side):
    return ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}",
            "-drive", f"if=pflash,unit=1,id=drive-efidisk0,format=raw,file={path_in(side, 'vars.fd')},"
                      f"size={os.path.getsize(VARIABLES)}",
            "-drive", f"file={side.disk},if=virtio,format=raw",
            "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=n0,mac={GUEST_MAC}"]


class Variables:
    """UEFI variables of the guest."""

    def __init__(self, pair):
        self.pair = pair
        self.shell = GuestShell(pair)
        self.shell.run(f"mount -t efivarfs efivarfs {NAMES}; mkdir -p /tmp")

    def set(self, name, value):
        """A new variable: one that is there is protected by efivarfs."""
        self.shell.run(f"printf '{ATTRIBUTES}%s' {value} >{NAMES}/{name}-{GUID}")
        equal(self.get(name), value, f"the variable {name}")

    def get(self, name):
        return self.shell.run(f"dd if={NAMES}/{name}-{GUID} bs=1 skip=4 2>/dev/null; echo").strip()

    def go_on(self):
        """Sets one variable after the other, and notes the last that is set."""
        self.shell.run(f"(n=0; while true; do n=$((n+1)); printf '{ATTRIBUTES}%s' $n "
                       f">{NAMES}/Number$n-{GUID} || exit; echo $n >/tmp/number.new; "
                       "mv /tmp/number.new /tmp/number; sleep 1; done) >/dev/null 2>&1 & true")
        self.wait_for(3)

    def number(self):
        return int(self.shell.run("cat /tmp/number 2>/dev/null || echo 0"))

    def wait_for(self, number):
        self.pair.wait(lambda: self.number() >= number, f"variable {number} to be set")

    def all_there(self, number, what):
        for each in range(1, number + 1):
            equal(self.get(f"Number{each}"), str(each), f"the variable Number{each} {what}")


def reboot(pair, side):
    """Resets the guest and waits for it."""
    ready = pair.side[side].console().count(b"vmft-guest: ready")
    GuestShell(pair).send("reboot -f")
    pair.wait(lambda: pair.side[side].console().count(b"vmft-guest: ready") > ready,
              "the guest after its reset", 180)


def keep_variables(pair, make):
    """Variables before, during and after two failovers, each followed by a reset of the guest."""
    with_lines(pair, make)
    for side in pair.side.values():
        with open(VARIABLES, "rb") as template, open(path_in(side, "vars.fd"), "wb") as file:
            file.write(template.read())
    loaded = Loaded(pair).start()
    variables = Variables(pair)
    check("SecureBoot" in variables.shell.run(f"ls {NAMES}"), "the guest was not booted by UEFI")
    variables.go_on()
    number = variables.number()
    pair.faults.kill_qemu("A")
    pair.wait_state("B", "alone")
    loaded.settle("after the failover")
    loaded.verify()
    variables.all_there(number, "after the failover")
    variables.wait_for(number + 2)
    number = variables.number()
    reboot(pair, "B")
    variables = Variables(pair)
    variables.all_there(number, "after the guest's reset")
    # The image of the host that died is behind; the attach makes it equal.
    pair.start_backup("A")
    pair.wait_state("B", "protected")
    variables.set("Last", "value")
    pair.faults.kill_qemu("B")
    pair.wait_state("A", "alone")
    equal(variables.get("Last"), "value", "the variable Last after the second failover")
    reboot(pair, "A")
    variables = Variables(pair)
    variables.all_there(number, "in the end")
    equal(variables.get("Last"), "value", "the variable Last in the end")


@full("the firmware hangs now and then before it starts Linux on TCG, under plain QEMU too")
@ways(DEVICES, DEVICES_KVM)
def test_flash_libvirt(name, way):
    with way.lab(name, machine="q35,pflash0=pflash0-format,pflash1=pflash1-format") as pair:
        keep_variables(pair, libvirt_line)


@full("the same by -drive if=pflash, as Proxmox writes it")
@ways(DEVICES, DEVICES_KVM)
def test_flash_proxmox(name, way):
    with way.lab(name, machine="pc") as pair:
        keep_variables(pair, proxmox_line)
