# SPDX-License-Identifier: GPL-2.0-or-later
"""What clients do to the guest: writes that are recorded, pings, downloads, disk work."""

import hashlib
import http.client
import json
import os
import socket
import subprocess
import threading
import time

from .watch import PATIENCE_S, LabError
from .programs import built
from .net import GUEST_IP

SHELL_PORT = 7778


class Writer:
    """vmft-load: writes, and records each write the guest acknowledged."""

    program = "vmft-load"

    def __init__(self, lab, protocol="kv", connections=1, interval_ms=0, name="writes"):
        self.lab = lab
        self.protocol = protocol
        self.record = os.path.join(lab.dir, f"{name}.record")
        self.until = os.path.join(lab.dir, f"{name}.until")
        self.command = [built("vmft-load"), "--host", GUEST_IP,
                        "--protocol", protocol, "--json", "--record", self.record,
                        "--until-file", self.until, "--connections", str(connections),
                        "--interval-ms", str(interval_ms)]
        self.process = None
        self.report = None
        self._seen = []  # lines of the record
        self._seen_bytes = 0

    def start(self):
        self.process = self.lab.client.start(*self.command, stdout=subprocess.PIPE,
                                             stderr=subprocess.PIPE)

    def stop(self):
        if self.report:
            return
        with open(self.until, "w", encoding="utf-8"):
            pass
        self._end()

    def _end(self):
        out, said = self.process.communicate(timeout=60)
        if self.process.returncode != 0:
            raise LabError(f"{self.program} ended with {self.process.returncode}: "
                           f"{said.decode().strip()}")
        self.report = json.loads(out)

    def progress(self):
        """Writes acknowledged so far; an error if vmft-load ended by itself."""
        if self.process.poll() is not None:
            self._end()
            raise LabError(f"{self.program} ended before it was told to")
        return len(self._lines())

    def acks(self):
        """When each write was acknowledged: CLOCK_MONOTONIC in ns, oldest first."""
        return sorted(int(line.split()[1]) for line in self._lines())

    def last_ack(self):
        """When the write recorded last was acknowledged; 0 before the first."""
        lines = self._lines()
        return int(lines[-1].split()[1]) if lines else 0

    def pairs(self):
        """Key and value of each acknowledged write."""
        return [tuple(line.split()[2:4]) for line in self._lines()]

    def stored(self):
        """How many values verify() should find."""
        return len(self._lines())

    def _lines(self):
        """All so far. It is asked for often, and a long run's record is long."""
        try:
            with open(self.record, "rb") as file:
                file.seek(self._seen_bytes)
                new = file.read()
        except FileNotFoundError:
            return []
        # The last line may be about to be written.
        new = new[:new.rfind(b"\n") + 1]
        self._seen_bytes += len(new)
        self._seen += new.decode().splitlines()
        return self._seen

    def verify(self):
        """Reads every acknowledged write back; returns (verified, lost)."""
        done = self.lab.client.run(self.command[0], "--host", GUEST_IP, "--protocol",
                                   self.protocol, "--json", "--verify", self.record, check=False,
                                   timeout=PATIENCE_S + len(self._lines()) // 20)
        if done.returncode not in (0, 1):
            raise LabError(f"vmft-load --verify ended with {done.returncode}: "
                           f"{done.stderr.strip()}")
        answer = json.loads(done.stdout)
        return answer["verified"], answer["lost"]


class Pings:
    """Many pings, one each 10 ms at least; bounded, should nobody stop it."""

    def __init__(self, lab, size=56):
        self.lab = lab
        self.size = size
        self.process = None
        self.output = os.path.join(lab.dir, "ping.txt")

    def start(self):
        with open(self.output, "wb") as output:
            self.process = self.lab.client.start("ping", "-n", "-i", "0.01", "-c", "30000",
                                                 "-s", str(self.size), GUEST_IP, stdout=output)

    def progress(self):
        """Replies so far."""
        with open(self.output, "rb") as file:
            return file.read().count(b"icmp_seq=")

    def stop(self):
        self.process.kill()
        self.process.wait()


class Downloads:
    """/big again and again; each whole one must hash to what the guest says it is."""

    def __init__(self, lab, sha256):
        self.lab = lab
        self.sha256 = sha256
        self.good = 0
        self.bad = []
        self.bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def progress(self):
        return self.bytes

    def stop(self):
        self._stop.set()
        self._thread.join(90)

    def _run(self):
        while not self._stop.is_set():
            try:
                self._check(self._get())
            except (OSError, http.client.HTTPException) as error:
                # Connections outlive a failover; one that broke is a finding.
                if not self._stop.is_set():
                    self.bad.append(f"connection: {error!r}")
                    time.sleep(0.5)

    def _get(self):
        conn = http.client.HTTPConnection(GUEST_IP)
        conn.sock = self.lab.client.connect(80, timeout=90)
        digest = hashlib.sha256()
        try:
            conn.request("GET", "/big")
            answer = conn.getresponse()
            while chunk := answer.read1(65536):
                digest.update(chunk)
                self.bytes += len(chunk)
                if self._stop.is_set():
                    return None
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
        finally:
            conn.close()
        return digest.hexdigest()

    def _check(self, got):
        if got is None:
            return
        if got == self.sha256:
            self.good += 1
        else:
            self.bad.append(f"/big has SHA-256 {got}, the guest's file {self.sha256}")


class GuestShell:
    """The tiny guest's open shell: one connection, commands and their output."""

    END = "-- vmft end"

    def __init__(self, lab):
        self.sock = lab.client.connect(SHELL_PORT)
        self.file = self.sock.makefile("r", encoding="utf-8", errors="replace")

    def send(self, command):
        self.sock.sendall(f"{command}\n".encode())

    def run(self, command):
        self.send(f"{command}; echo '{self.END}'")
        lines = []
        for line in self.file:
            if line.strip() == self.END:
                return "".join(lines)
            lines.append(line)
        raise LabError(f"guest shell: connection ended during: {command}")

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


class DiskWork:
    """dd with fsync in the guest, over and over, until the connection goes."""

    SCRIPT = ("n=0; while true; do dd if=/dev/urandom of=/mnt/dd bs=16k count=8 conv=fsync "
              "2>/dev/null || echo failed; n=$((n + 1)); echo dd $n; done")

    def __init__(self, lab):
        self.shell = GuestShell(lab)
        self.done = 0
        self.failed = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.shell.sock.settimeout(None)
        self.shell.send(self.SCRIPT)
        self._thread.start()

    def progress(self):
        return self.done

    def stop(self):
        self._stopping = True
        self.shell.close()
        self._thread.join(30)

    def _run(self):
        try:
            for line in self.shell.file:
                if line.startswith("dd "):
                    self.done = int(line.split()[1])
                elif line.strip():
                    self.failed += 1
        except OSError:
            if not self._stopping:
                self.failed += 1


class Load:
    """Several things at once, and whether each part moves."""

    def __init__(self, lab, writer):
        self.lab = lab
        self.writer = writer
        self.writers = [writer]
        self.parts = {}

    def start(self):
        for part in self.parts.values():
            part.start()
        self.writer.start()

    def progress(self):
        counts = {name: part.progress() for name, part in self.parts.items()}
        counts["writes"] = self.writer.progress()
        return counts

    def wait_progress(self, what):
        """Until every part has moved, seen from now on, and writes ten times at least."""
        before = self.progress()

        def moved():
            now = self.progress()
            return (all(now[name] > before[name] for name in now)
                    and now["writes"] >= before["writes"] + 10)
        try:
            self.lab.wait(moved, f"the load to move {what}")
        except LabError as error:
            raise LabError(f"{error}; load {before} -> {self.progress()}") from error

    def stop(self):
        for part in self.parts.values():
            part.stop()
        self.writer.stop()


class Workload(Load):
    """All of it, for a guest with the services of the tiny one."""

    def __init__(self, lab, network=True, disk=True, connections=2):
        super().__init__(lab, Writer(lab, connections=connections))
        self._downloads = self._disk = None
        self._network = network
        self._want_disk = disk

    def start(self):
        if self._network:
            shell = GuestShell(self.lab)
            sha256 = shell.run("sha256sum /www/big").split()[0]
            shell.close()
            self._downloads = self.parts["downloads"] = Downloads(self.lab, sha256)
            self.parts["pings"] = Pings(self.lab)
        if self._want_disk:
            self._disk = self.parts["disk"] = DiskWork(self.lab)
        super().start()

    def faults(self):
        """What clients saw go wrong, as text; empty when all is well."""
        found = list(self._downloads.bad) if self._downloads else []
        if self._disk and self._disk.failed:
            found.append(f"{self._disk.failed} times dd failed")
        return "; ".join(found)
