# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices of strategy checkpoint, all of a machine at once: used over epochs by a guest that has
drivers for them, carried over a failover, and still right on the other host."""

import json
import os
import socket
import subprocess

from devices import DEVICES, DEVICES_KVM, MIB, Qmp, path_in, remove_sockets, socket_in, with_lines
from harness import Loaded, check, equal, everyday, full, ways
from vmftlab.net import GUEST_MAC
from vmftlab.load import GuestShell


def make_files(pair):
    """A second disk, and a CD with something to read, the same on both hosts."""
    cd = os.urandom(2 * MIB)
    for side in pair.side.values():
        with open(path_in(side, "second.raw"), "wb") as file:
            file.truncate(16 * MIB)
        with open(path_in(side, "cd.iso"), "wb") as file:
            file.write(cd)


def common_devices(side):
    """What both boards have, in libvirt's words."""
    return [
        "-S", "-no-shutdown", "-no-user-config",
        "-object", json.dumps({"qom-type": "rng-random", "id": "r0", "filename": "/dev/urandom"}),
        "-chardev", f"socket,id=mon0,path={socket_in(side, 'qmp')},server=on,wait=off",
        "-mon", "chardev=mon0,mode=control",
        "-monitor", f"unix:{socket_in(side, 'hmp')},server,nowait",
        "-chardev", f"socket,id=port0,path={socket_in(side, 'port')},server=on,wait=off",
        "-audiodev", '{"id":"audio1","driver":"none"}',
        "-vnc", f"unix:{socket_in(side, 'vnc')},audiodev=audio1", "-k", "en-us",
        "-watchdog-action", "reset",
        "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no,vhost=off",
        "-device", "vmgenid,guid=766d6674-0000-4000-8000-0000000a0104",
        "-device", "pvpanic",
        "-chardev", f"file,id=hvc0,path={path_in(side, 'hvc0')}",
    ]


def q35_devices(side):
    """As virt-install writes a machine with SCSI disks."""
    ports = [arg for number in range(8) for arg in ("-device", json.dumps(
        {"driver": "pcie-root-port", "port": 16 + number, "chassis": 1 + number,
         "id": f"pci.{1 + number}", "bus": "pcie.0", "addr": f"0x2.{hex(number)}",
         **({"multifunction": True} if number == 0 else {})}))]

    def device(driver, bus, **keys):
        return ["-device", json.dumps({"driver": driver, "bus": bus, "addr": "0x0", **keys})]

    def disk(node, path, read_only):
        return ["-blockdev", json.dumps({"driver": "file", "filename": path,
                                         "node-name": f"{node}-storage", "auto-read-only": True,
                                         "discard": "unmap"}),
                "-blockdev", json.dumps({"node-name": node, "read-only": read_only,
                                         "driver": "raw", "file": f"{node}-storage"})]

    return [
        *ports, *common_devices(side),
        *device("pcie-pci-bridge", "pci.8", id="pci.9"),
        *device("qemu-xhci", "pci.1", id="usb", p2=15, p3=15),
        *device("virtio-scsi-pci", "pci.2", id="scsi0"),
        *device("virtio-serial-pci", "pci.3", id="vser0"),
        *device("virtio-balloon-pci", "pci.4", id="balloon0"),
        *device("virtio-rng-pci", "pci.5", rng="r0"),
        *device("e1000e", "pci.6", netdev="n0", mac=GUEST_MAC, id="net0"),
        *disk("first", side.disk, False), *disk("second", path_in(side, "second.raw"), False),
        *disk("cd", path_in(side, "cd.iso"), True),
        "-device", '{"driver":"scsi-hd","bus":"scsi0.0","channel":0,"scsi-id":0,"lun":0,'
                   '"drive":"first","id":"scsi0-0-0-0","bootindex":1}',
        "-device", '{"driver":"ide-hd","bus":"ide.0","drive":"second","id":"sata0-0-0"}',
        "-device", '{"driver":"ide-cd","bus":"ide.1","drive":"cd","id":"sata0-0-1"}',
        "-device", '{"driver":"virtserialport","bus":"vser0.0","nr":1,"chardev":"port0",'
                   '"name":"vmft.test"}',
        "-device", '{"driver":"virtconsole","bus":"vser0.0","nr":2,"chardev":"hvc0","id":"hvc0"}',
        "-device", '{"driver":"usb-tablet","id":"input0","bus":"usb.0","port":"1"}',
        "-device", '{"driver":"virtio-vga","id":"video0","max_outputs":1,"bus":"pcie.0","addr":"0x1"}',
        "-device", '{"driver":"i6300esb","id":"watchdog0","bus":"pci.9","addr":"0x1"}',
    ]


class Used:
    """The devices in use, by a guest and by those who have the host's ends."""

    def __init__(self, pair):
        self.pair = pair
        self.shell = GuestShell(pair)
        self.qmp = Qmp(socket_in(pair.side["A"], "qmp"))
        self.second = None  # the name of the second disk
        self.place = 0  # where the tablet is

    def start(self):
        run = self.shell.run
        # 16 MiB; which name it has depends on the order of the drivers.
        self.second = run("grep -lx 32768 /sys/block/sd?/size").split("/")[3]
        # What the tablet sends is counted.
        run("for e in /sys/class/input/event*; do grep -qi tablet $e/device/name && "
            "echo /dev/input/${e##*/} >/tablet; done")
        check("event" in run("cat /tablet"), "the guest has no tablet")
        run("mkdir -p /tmp; echo 0 >/tmp/n; : >/tmp/moves; : >/tmp/cd")
        run("(cat $(cat /tablet) >>/tmp/moves) & true")
        self.start_port()
        # Numbers to the second disk, each flushed, and the last one in memory as well.
        run(f"(n=0; while true; do n=$((n+1)); echo $n | dd of=/dev/{self.second} bs=512 count=1 "
            "conv=sync,fsync 2>/dev/null; echo $n >/tmp/n.new; mv /tmp/n.new /tmp/n; done) & true")
        run("(while true; do dd if=/dev/sr0 bs=64k count=32 2>/dev/null | sha256sum >>/tmp/cd; "
            "echo 3 >/proc/sys/vm/drop_caches; sleep 1; done) & true")
        run("watchdog -t 1 -T 8 -F /dev/watchdog0 >/dev/null 2>&1 & echo $! >/tmp/dog; true")

    def start_port(self):
        # Only one process may have the port open, and it reads nothing while nobody is at the other end.
        self.shell.run("mkdir -p /tmp; (exec 3<>$(ls /dev/vport*p1); "
                       "(while true; do cat <&3; usleep 200000; done >>/tmp/heard) & "
                       "while true; do echo ping >&3; sleep 1; done) & true")

    def number(self):
        return int(self.shell.run("cat /tmp/n").split()[-1])

    def moves(self):
        return int(self.shell.run("wc -c </tmp/moves").split()[-1])

    def move(self, x):
        self.qmp.do("input-send-event", events=[
            {"type": "abs", "data": {"axis": "x", "value": x}},
            {"type": "abs", "data": {"axis": "y", "value": x}}])

    def hvc(self, side):
        with open(path_in(self.pair.side[side], "hvc0"), "rb") as file:
            return file.read()

    def ports_are_right(self, what, side):
        """The serial port in both directions, and the virtio console."""
        shell = self.shell
        with socket.socket(socket.AF_UNIX) as port:
            port.settimeout(30)
            port.connect(socket_in(self.pair.side[side], "port"))
            port.sendall(f"hello {what}\n".encode())
            self.pair.wait(lambda: f"hello {what}" in shell.run("cat /tmp/heard"),
                           f"the serial port to be heard {what}")
            check(b"ping" in port.recv(4096), f"the guest did not write to its serial port {what}")
        shell.run(f"echo 'hvc {what}' >/dev/hvc0")
        self.pair.wait(lambda: f"hvc {what}".encode() in self.hvc(side),
                       f"the virtio console to be written {what}")

    def tablet_is_right(self, what):
        moved = self.moves()
        # To new places: QEMU makes one event of two that the guest has not read (hid_pointer_sync()), and
        # Linux reports none that ends where the tablet was.
        for _ in range(2):
            self.place += 1500
            self.move(self.place)
        self.pair.wait(lambda: self.moves() > moved, f"the tablet to be heard {what}")

    def is_right(self, what, side):
        """All of it works, on the side that is live."""
        shell = self.shell
        before = self.number()
        self.pair.wait(lambda: self.number() > before + 3, f"the second disk to be written {what}")
        number = self.number()
        stored = int(shell.run(f"dd if=/dev/{self.second} bs=512 count=1 iflag=direct 2>/dev/null "
                               "| tr -d '\\0'").split()[0])
        check(stored >= number, f"the second disk has {stored} after {number} was flushed, {what}")
        self.tablet_is_right(what)
        self.ports_are_right(what, side)
        sums = self.pair.wait(lambda: set(shell.run("cut -d' ' -f1 /tmp/cd").split()),
                              f"the CD to be read {what}")
        equal(len(sums), 1, f"different contents of the CD {what}")
        screen = path_in(self.pair.side[side], "screen.ppm")
        shell.run(f"echo 'screen {what}' >/dev/tty1")
        self.qmp.do("screendump", filename=screen)
        with open(screen, "rb") as file:
            check(len(set(file.read())) > 1, f"the screen is empty {what}")

    def balloon(self, mib):
        self.qmp.do("balloon", value=mib * MIB)
        self.pair.wait(lambda: abs(self.qmp.do("query-balloon")["actual"] - mib * MIB) < 8 * MIB,
                       f"a balloon that leaves {mib} MiB")

    def refusals(self):
        self.qmp.refused("device_add", driver="usb-mouse", id="m1")
        self.qmp.refused("device_del", id="input0")
        self.qmp.refused("qom-set", path="/machine", property="graphics", value=False)
        self.qmp.refused("migrate", uri="exec:cat")
        check("vmft" in self.qmp.human("savevm a"), "savevm was not refused")
        check("running" in self.qmp.human("info status"), "info status did not answer")


def survive(pair, make, without=(), used=Used):
    with_lines(pair, make, without)
    try:
        make_files(pair)
        use_all(pair, used)
    finally:
        remove_sockets(pair)


def use_all(pair, kind):
    loaded = Loaded(pair).start()
    used = kind(pair)
    # What libvirt says after a start with -S.
    used.qmp.do("cont")
    used.start()
    used.is_right("before", "A")
    used.balloon(300)
    used.refusals()
    epochs = pair.status("A")["epochs"]
    pair.wait(lambda: pair.status("A")["epochs"] > epochs + 20, "epochs with all of it in use")
    number, moves = used.number(), used.moves()
    pair.faults.kill_qemu("A")
    pair.wait_state("B", "alone")
    loaded.settle("after the failover")
    used.qmp = Qmp(socket_in(pair.side["B"], "qmp"))
    check(used.number() >= number, "the second disk's counter went back")
    check(used.moves() >= moves, "the tablet's moves went back")
    used.is_right("after", "B")
    check(abs(used.qmp.do("query-balloon")["actual"] - 300 * MIB) < 8 * MIB,
          "the balloon has another size after the failover")
    used.balloon(400)
    used.refusals()
    loaded.verify()
    # The watchdog was fed over the failover; it bites when it is not.
    shell = used.shell
    ready = pair.side["B"].console().count(b"vmft-guest: ready")
    shell.run("kill -9 $(cat /tmp/dog)")
    pair.wait(lambda: pair.side["B"].console().count(b"vmft-guest: ready") > ready,
              "the watchdog to reset the guest")
    panic = GuestShell(pair)
    panic.send("echo c >/proc/sysrq-trigger")
    pair.wait(lambda: used.qmp.do("query-status")["status"] == "guest-panicked",
              "QEMU to see the guest's panic")


@everyday("devices of a q35 machine, as virt-install writes it, over a failover", DEVICES)
@ways(DEVICES, DEVICES_KVM)
def test_devices_q35(name, way):
    with way.lab(name, machine="q35") as pair:
        survive(pair, q35_devices)


# Proxmox says -nodefaults; without it the board has a floppy drive, a parallel port and a CD.
WITH_DEFAULTS = ("-nodefaults",)


def pc_devices(side):
    """As Proxmox writes a machine: -drive, a PCI bridge, an I/O thread; the first disk is IDE."""
    return [
        *common_devices(side), "-id", "104",
        "-object", "iothread,id=io0",
        "-device", "pci-bridge,id=pci.1,chassis_nr=1,bus=pci.0,addr=0x1e",
        "-device", "piix3-usb-uhci,id=uhci,bus=pci.0,addr=0x1.0x2",
        "-device", "usb-tablet,id=tablet,bus=uhci.0,port=1",
        "-device", "VGA,id=vga,bus=pci.0,addr=0x2",
        "-device", "virtio-serial,id=vser0,bus=pci.0,addr=0x8",
        "-device", "virtserialport,chardev=port0,name=vmft.test,nr=1",
        "-device", "virtconsole,chardev=hvc0,nr=2",
        "-device", "virtio-balloon-pci,id=balloon0,bus=pci.0,addr=0x3,free-page-reporting=on",
        "-device", "virtio-scsi-pci,id=scsihw0,bus=pci.1,addr=0x1,iothread=io0",
        "-drive", f"file={side.disk},if=ide,index=0,media=disk,format=raw,cache=none,aio=native",
        "-drive", f"file={path_in(side, 'second.raw')},if=none,id=drive-scsi0,format=raw",
        "-device", "scsi-hd,bus=scsihw0.0,channel=0,scsi-id=0,lun=0,drive=drive-scsi0,id=scsi0",
        "-drive", f"file={path_in(side, 'cd.iso')},if=none,id=drive-ide2,media=cdrom",
        "-device", "ide-cd,bus=ide.1,unit=0,drive=drive-ide2,id=ide2",
        "-device", f"e1000,netdev=n0,mac={GUEST_MAC},bus=pci.0,addr=0x12,id=net0",
        "-device", "i6300esb,bus=pci.0,addr=0x13",
    ]


@everyday("devices of a pc machine, as Proxmox writes it, over a failover", DEVICES)
@ways(DEVICES, DEVICES_KVM)
def test_devices_pc(name, way):
    with way.lab(name, machine="pc") as pair:
        survive(pair, pc_devices, without=WITH_DEFAULTS)


# --- what else a machine of some years ago has: more cards, older controllers, sound, QXL -----------

BRIDGE_SCRIPT = """#!/bin/sh
ip link set "$1" up master br0
"""
QEMU = os.environ.get("VMFT_QEMU", "qemu-system-x86_64")


def has_qxl():
    """Debian has QXL and SPICE in a package of their own since 13."""
    return subprocess.run([QEMU, "-device", "qxl-vga,help"], stdin=subprocess.DEVNULL,
                          capture_output=True, check=False).returncode == 0


def other_devices(side):
    """As libvirt writes a machine whose system is old; the display is QXL with SPICE if there is one."""
    def card(number, model):
        return ["-netdev", f"tap,id=m{number},ifname=tap{number},script={path_in(side, 'up.sh')},"
                           "downscript=no,vhost=off",
                "-device", f"{model},netdev=m{number},id=more{number},"
                           f"mac={GUEST_MAC[:-2]}{number + 0x80:x},bus=pci.0,addr={hex(0x10 + number)}"]

    if has_qxl():
        display = ["-spice", f"unix=on,addr={socket_in(side, 'spice')},disable-ticketing=on,"
                             "image-compression=off,seamless-migration=on",
                   "-device", "qxl-vga,id=video0,max_outputs=1,ram_size=67108864,vram_size=67108864,"
                              "vram64_size_mb=0,vgamem_mb=16,bus=pci.0,addr=0x2"]
    else:
        display = ["-device", "cirrus-vga,id=video0,bus=pci.0,addr=0x2"]
    return [
        *common_devices(side), *display,
        "-device", f"e1000-82545em,netdev=n0,mac={GUEST_MAC},bus=pci.0,addr=0x3,id=net0",
        *card(1, "rtl8139"), *card(2, "e1000-82544gc"), *card(3, "vmxnet3"),
        "-device", "ich9-usb-ehci1,id=usb,bus=pci.0,addr=0x5.0x7",
        "-device", "ich9-usb-uhci1,masterbus=usb.0,firstport=0,bus=pci.0,multifunction=on,addr=0x5",
        "-device", "ich9-usb-uhci2,masterbus=usb.0,firstport=2,bus=pci.0,addr=0x5.0x1",
        "-device", "ich9-usb-uhci3,masterbus=usb.0,firstport=4,bus=pci.0,addr=0x5.0x2",
        "-device", "usb-ehci,id=input,bus=pci.0,addr=0x6",
        "-device", "usb-tablet,bus=usb.0,port=1", "-device", "usb-mouse,bus=usb.0,port=3",
        "-device", "usb-kbd,bus=input.0",
        "-device", "intel-hda,id=sound0,bus=pci.0,addr=0x7",
        "-device", "hda-duplex,bus=sound0.0,cad=0,audiodev=audio1",
        "-device", "ich9-intel-hda,id=sound1,bus=pci.0,addr=0x8",
        "-device", "hda-micro,bus=sound1.0,cad=0,audiodev=audio1",
        "-device", "AC97,audiodev=audio1,bus=pci.0,addr=0x9",
        "-device", "virtio-serial-pci-non-transitional,id=vser0,bus=pci.0,addr=0xa",
        "-device", "virtserialport,bus=vser0.0,chardev=port0,name=vmft.test,nr=1",
        "-device", "virtconsole,bus=vser0.0,chardev=hvc0,nr=2",
        "-device", "virtio-balloon-pci-transitional,id=balloon0,bus=pci.0,addr=0xb",
        "-device", "virtio-scsi-pci,id=scsi0,bus=pci.0,addr=0xc",
        "-drive", f"file={side.disk},if=virtio,format=raw",
        "-device", "lsi,id=lsi0,bus=pci.0,addr=0xd",
        "-drive", f"file={path_in(side, 'second.raw')},if=none,id=second,format=raw",
        "-device", "scsi-hd,bus=lsi0.0,scsi-id=0,drive=second",
        "-drive", f"file={path_in(side, 'cd.iso')},if=none,id=cd,media=cdrom",
        "-device", "scsi-cd,bus=scsi0.0,drive=cd",
        "-device", "i6300esb,bus=pci.0,addr=0xf",
    ]


class Others(Used):
    """The devices of other_devices() that Used does not know."""

    SOUND = ("", "1", "2")  # what follows /dev/dsp

    def start(self):
        super().start()
        run = self.shell.run
        check(run("ls /dev/dsp /dev/dsp1 /dev/dsp2").count("/dev/dsp") == 3, "a sound card is missing")
        for number in self.SOUND:
            run(f"cat /dev/zero >/dev/dsp{number} & true")
        for what in ("keyboard", "mouse"):
            run(f"for e in /sys/class/input/event*; do grep -qi 'USB {what}' $e/device/name && "
                f"(cat /dev/input/${{e##*/}} >>/tmp/{what}) & done; true")
        run("echo 1 >/proc/sys/net/ipv4/conf/all/arp_filter; "
            "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore")
        for number in (1, 2, 3):
            run(f"ip link set eth{number} up; ip addr add 10.7.0.{10 + number}/24 dev eth{number}")

    def played(self, card):
        """How many frames the card has read."""
        status = self.shell.run(f"cat /proc/asound/card{card}/pcm0p/sub0/status")
        check("RUNNING" in status, f"sound card {card}: {status}")
        return int(status.split("hw_ptr", 1)[1].split()[1])

    def heard(self, what):
        return int(self.shell.run(f"wc -c </tmp/{what}").split()[0])

    def is_right(self, what, side):
        super().is_right(what, side)
        for number in (1, 2, 3):
            said = self.shell.run(f"ping -I eth{number} -c 5 -W 2 10.7.0.1 2>&1")
            check("0% packet loss" in said or "20% packet loss" in said,
                  f"the card eth{number} {what}: {said}")
        for card in (0, 1, 2):
            played = self.played(card)
            self.pair.wait(lambda card=card, played=played: self.played(card) > played,
                           f"sound card {card} to play {what}")
        keys, moves = self.heard("keyboard"), self.heard("mouse")
        self.qmp.do("send-key", keys=[{"type": "qcode", "data": "a"}])
        self.qmp.do("input-send-event", events=[
            {"type": "rel", "data": {"axis": "x", "value": 5}},
            {"type": "rel", "data": {"axis": "y", "value": 5}}])
        self.pair.wait(lambda: self.heard("keyboard") > keys, f"the keyboard to be heard {what}")
        self.pair.wait(lambda: self.heard("mouse") > moves, f"the mouse to be heard {what}")


@full("the devices of newer machines; these are older controllers, cards, sound, and QXL with SPICE")
@ways(DEVICES)
def test_devices_older(name, way):
    with way.lab(name, machine="pc") as pair:
        for side in pair.side.values():
            with open(path_in(side, "up.sh"), "w", encoding="ascii") as file:
                file.write(BRIDGE_SCRIPT)
            os.chmod(path_in(side, "up.sh"), 0o755)
        survive(pair, other_devices, used=Others)
