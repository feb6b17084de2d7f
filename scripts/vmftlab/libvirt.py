# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab whose two hosts run libvirt: each has a libvirtd, and the VM is a domain of both.

A host is a PID and a mount namespace in the host's network namespace. Of the machine's file system
it has its own /run, /etc (an overlay), /var/lib/libvirt, /var/log/libvirt and /var/cache/libvirt. So
everything on a host dies at once when its first process is killed, and what was written to /etc and
/var is there when the host starts again. libvirtd runs with its defaults: QEMU is libvirt-qemu's
process, without capabilities, in QEMU's sandbox.
"""

import os
import shutil
import signal
import subprocess
import time

from .lab import Lab
from .net import CHANNEL_IP, CHANNEL_PORT, GUEST_MAC, HEARTBEAT_IP, HEARTBEAT_PORT, run
from .process import command_name, read
from .programs import built
from .side import Side
from .watch import LabError

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
IMAGES = "/var/lib/libvirt/images"
# Where a host keeps what survives a restart, and what of it is mounted where.
OWN = {"lib": "/var/lib/libvirt", "log": "/var/log/libvirt", "cache": "/var/cache/libvirt"}
START_S = 60

# $1: the host's directory; $2: OWN as words; $3: the host's name. It is process 1 of the host, so it
# waits for processes that have lost their parents, too.
INIT = """
set -e
hostname "$3"
mount --make-rprivate /
mount -t overlay overlay -o lowerdir=/etc,upperdir=$1/etc,workdir=$1/work /etc
mount -t tmpfs -o mode=755 tmpfs /run
for own in $2; do
	mkdir -p "${own#*=}"
	mount --bind "$1/${own%%=*}" "${own#*=}"
done
mkdir -p /run/vmft
chown libvirt-qemu:libvirt-qemu /run/vmft
virtlogd -d
libvirtd -d
touch "$1/up"
while :; do
	sleep 1000000 &
	wait
done
"""

QEMU_CONF = """security_driver = "none"
cgroup_controllers = []
"""


class Host(Side):
    """A host with libvirt. `domain` is the VM's name."""

    def __init__(self, name, ns, directory, host, domain):
        super().__init__(name, ns, directory, host)
        self.domain = domain
        self.init = None  # the process that the host's namespaces end with
        self.files = os.path.join(self.dir, "files")
        self._make_files()

    def _make_files(self):
        """A file system of its own, because /etc's overlay cannot be on one."""
        os.mkdir(self.files)
        run("mount", "-t", "tmpfs", "-o", "mode=755,size=2g", "tmpfs", self.files)
        for name in ("etc", "work", "etc/vmft", "etc/libvirt", *OWN):
            os.mkdir(os.path.join(self.files, name))
        os.makedirs(os.path.join(self.files, "lib", "images"))
        for name in ("passwd", "group"):
            shutil.copy2(f"/etc/{name}", os.path.join(self.files, "etc"))
        # The package libvirt-daemon-system makes these.
        run("groupadd", "-f", "-g", "987", "-P", self.files, "libvirt-qemu")
        if b"\nlibvirt-qemu:" not in read("/etc/passwd"):
            run("useradd", "-P", self.files, "-u", "987", "-g", "987", "-M", "-d",
                "/var/lib/libvirt", "-s", "/usr/sbin/nologin", "libvirt-qemu")
        with open(os.path.join(self.files, "etc/libvirt/qemu.conf"), "w", encoding="ascii") as file:
            file.write(QEMU_CONF)
        self.disk = os.path.join(self.files, "lib", "images", f"{self.domain}.raw")
        self.console_path = os.path.join(self.files, "log", f"{self.domain}.console")
        self.log_path = os.path.join(self.files, "log", "qemu", f"{self.domain}.log")

    def boot(self):
        """Starts the host and its libvirtd."""
        up = os.path.join(self.files, "up")
        if os.path.exists(up):
            os.unlink(up)
        with open(os.path.join(self.dir, "init.log"), "ab") as log:
            self.init = subprocess.Popen(
                ["ip", "netns", "exec", self.ns, "unshare", "--mount", "--pid", "--uts", "--fork",
                 "--mount-proc", "--kill-child", "sh", "-c", INIT, "init", self.files,
                 " ".join(f"{name}={path}" for name, path in OWN.items()), self.host],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._wait(lambda: os.path.exists(up), "start")
        self._wait(lambda: self.virsh("version", check=False).returncode == 0, "run libvirtd")
        self.control = f"/proc/{self.first_pid()}/root/run/vmft/{self.domain}.{self.host}.sock"

    def _wait(self, predicate, what):
        end = time.monotonic() + START_S
        while not predicate():
            if self.init.poll() is not None or time.monotonic() > end:
                said = read(os.path.join(self.dir, "init.log")).decode(errors="replace")
                raise LabError(f"host {self.name} does not {what}:\n{said}")
            time.sleep(0.05)

    def first_pid(self):
        """The host's process 1, as this machine numbers it: unshare's only child."""
        return int(read(f"/proc/{self.init.pid}/task/{self.init.pid}/children").split()[0])

    def pair_path(self):
        """What is mounted as /etc must not be changed below the overlay."""
        runs = self.init and self.init.poll() is None
        etc = f"/proc/{self.first_pid()}/root/etc" if runs else os.path.join(self.files, "etc")
        return os.path.join(etc, "vmft", f"{self.domain}.conf")

    def power_off(self):
        """All processes of the host are killed at once."""
        if self.init and self.init.poll() is None:
            os.kill(self.first_pid(), signal.SIGKILL)
            self.init.wait(30)

    def remove(self):
        self.power_off()
        super().remove()
        run("umount", "-l", self.files, check=False)

    # -- commands on the host

    def _inside(self):
        return ("nsenter", "-t", str(self.first_pid()), "-m", "-n", "-p", "-u")

    def enter(self, *command, check=True, timeout=120):
        return run(*self._inside(), *command, check=check, timeout=timeout)

    def start(self, *command):
        """A process on the host, which the caller waits for."""
        return subprocess.Popen([*self._inside(), *command], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def virsh(self, *words, check=True, timeout=120):
        """stdout and stderr are those of virsh, as an admin of this host has it."""
        return self.enter("virsh", "-q", "-c", "qemu:///system", *words, check=check,
                          timeout=timeout)

    def domain_state(self):
        """"running (unpaused)"; "" if libvirtd does not answer."""
        return self.virsh("domstate", "--reason", self.domain, check=False).stdout.strip()

    def restart_libvirtd(self):
        """kill -9: libvirtd gets no chance to tell QEMU."""
        pid = read(f"/proc/{self.first_pid()}/root/run/libvirtd.pid").decode().strip()
        self.enter("kill", "-9", pid)
        self._wait(lambda: self.virsh("version", check=False).returncode != 0, "lose libvirtd")
        self.enter("libvirtd", "-d")
        self._wait(lambda: self.virsh("version", check=False).returncode == 0, "run libvirtd")

    # -- what runs on it

    def qemu_pids(self):
        done = run("ip", "netns", "pids", self.ns, check=False)
        return [int(pid) for pid in done.stdout.split()
                if command_name(pid).startswith("qemu-system")]

    def qemu_pid(self):
        return self.qemu_pids()[0]

    def qemu_runs(self):
        return bool(self.qemu_pids())


class LibvirtLab(Lab):
    """`devices` is more XML for the domain's devices. Both hosts have the same XML."""

    # What libvirt has of its own has sockets in it.
    not_kept = (*Lab.not_kept, "cache", "lib")

    def __init__(self, devices="", pair=None, **options):
        self.devices = devices
        super().__init__(hosts={"A": "alpha", "B": "beta"},
                         pair={"start": "alone", "uuid": UUID, **(pair or {})}, **options)

    def _make_side(self, name, ns):
        return Host(name, ns, self.dir, self.hosts[name], self.prefix)

    def open(self):
        super().open()
        # What libvirt-qemu reads and writes.
        os.chmod(self.dir, 0o711)
        os.chmod(self.arbiter, 0o777)
        for side in self.side.values():
            os.chmod(side.dir, 0o711)
            self.guest.copy_disk(side.disk)
            for name in ("vmlinuz", "initrd"):
                shutil.copy(os.path.join(self.guest.image_dir, name),
                            os.path.join(side.files, "lib", "images"))
            side.boot()
            self.define(side)

    def write_pair(self, path=None, **changes):
        """On each host, where vmft-qemu finds it by the domain's name. The control sockets are where
        they are by default."""
        keys = {"name": self.prefix, "arbiter": f"file:{self.arbiter}", **self.pair_keys,
                **{key.replace("_", "-"): value for key, value in changes.items()}}
        lines = ["[pair]", *(f"{key} = {value}" for key, value in keys.items() if value)]
        for side in self.side.values():
            lines += [f"[{side.section}]", f"channel = {CHANNEL_IP[side.name]}:{CHANNEL_PORT}"]
            if self.heartbeat:
                lines.append(f"heartbeat = {HEARTBEAT_IP[side.name]}:{HEARTBEAT_PORT}")
        for side in self.side.values():
            path = side.pair_path()
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        return path

    def define(self, side):
        path = os.path.join(side.dir, "domain.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.xml())
        side.virsh("define", path)

    def xml(self):
        guest = self.guest
        words = " ".join([*guest.append.split(),
                          *read(f"{guest.image_dir}/cmdline").decode().split()])
        if guest.smp > 1:
            words += " nohz=off highres=off"  # see Guest
        return f"""<domain type='{"kvm" if guest.accel == "kvm" else "qemu"}'>
  <name>{self.prefix}</name><uuid>{UUID}</uuid>
  <memory unit='MiB'>{guest.memory}</memory><vcpu>{guest.smp}</vcpu>
  <os>
    <type arch='x86_64' machine='{guest.machine}'>hvm</type>
    <kernel>{IMAGES}/vmlinuz</kernel><initrd>{IMAGES}/initrd</initrd><cmdline>{words}</cmdline>
  </os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <emulator>{built("vmft-qemu")}</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/>
      <source file='{IMAGES}/{self.prefix}.raw'/><target dev='vda' bus='virtio'/></disk>
    <interface type='bridge'><source bridge='br0'/><mac address='{GUEST_MAC}'/>
      <model type='virtio'/></interface>
    <serial type='file'><source path='/var/log/libvirt/{self.prefix}.console'/>
      <target port='0'/></serial>
    {self.devices}
  </devices>
</domain>
"""

    # -- start

    def start_domain(self, name):
        """virsh start; returns how long it took."""
        began = time.monotonic()
        self.side[name].virsh("start", self.prefix)
        return time.monotonic() - began

    def start(self):
        """The host that is started first is the primary: the VM is new."""
        self.start_domain("A")
        self.wait(lambda: self.peek("A"), "the primary's monitor")
        self.start_domain("B")
        self.wait(lambda: self.peek("B"), "the backup's monitor")

    def wait_domain(self, name, state, timeout=60):
        """Until virsh says that the domain is in that state."""
        def says_so():
            time.sleep(0.1)  # virsh is a process of its own each time
            return self.side[name].domain_state().startswith(state)

        self.wait(says_so, f"virsh on {name} to say {state}", timeout)

    def declare_dead(self, name):
        """A person says, on a host, that the VM runs nowhere."""
        return self.side[name].enter(built("vmft"), "declare-dead", "--yes", self.prefix).stdout

    def end_side(self, name):
        """The host is switched off, and on again."""
        self.side[name].power_off()
        self.side[name].boot()
