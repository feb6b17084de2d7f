# SPDX-License-Identifier: GPL-2.0-or-later
"""The stock guest of the tests: how it is protected, its clients, and what its kernel must not say.

A Debian as its installer leaves it, which boots from its disk: guest-tools/README.md. The clients are
the guest's own programs, which run in the client's namespace.
"""

import contextlib
import os
import re
import subprocess
from collections import namedtuple

from harness import Way, check, equal
from vmftlab.guest import READY
from vmftlab.net import GUEST_IP

BOOT_S = 1200
# Code and variables in one flash, which the guest only reads.
FIRMWARE = "/usr/share/ovmf/OVMF.fd"
RELEASE = {"bookworm": "12.", "trixie": "13."}
CLIENTS, TRANSACTIONS = 3, 300
SCRIPT = r"""
\set n :n + 1
\set aid random(1, 100000)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT INTO kept (client, n) VALUES (:client_id, :n);
END;
"""
# Of the kernel's log. Not in it: "read-back delay ... skipped", which Linux says of a clock that it could
# not compare because the host had other work. It says so under QEMU alone too.
COMPLAINTS = re.compile(r".*(?:(?i:rcu.*stall|soft lockup|hard lockup|blocked for more than|unstable|"
                        r"skewed|time jumped|clock.*backwards|hrtimer: interrupt took|NETDEV WATCHDOG|"
                        r"EXT4-fs (?:error|warning)|I/O error|lost interrupt)|BUG:|WARNING:|Oops).*")
# What Linux says, under QEMU alone too, of each machine with several processors of QEMU's default model.
# It says so by the model, before the second processor runs.
BY_MODEL = re.compile("TSCs unsynchronized|switching default tracing clock")


class Stock(Way):
    """`uefi`: the guest is booted by UEFI firmware in flash; else by the board's BIOS."""

    def __init__(self, prefix, strategy, uefi=False, **options):
        super().__init__(prefix, strategy, image="stock", pair={"strategy": strategy}, **options)
        self.uefi = uefi

    @contextlib.contextmanager
    def lab(self, name, **more):
        with super().lab(name, **more) as pair:
            if self.uefi:
                for side in pair.side:
                    pair.edit[side] = lambda args: [
                        *args, "-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}"]
            yield pair


def boot(pair):
    """Until the guest serves and is protected. It boots for a minute or more."""
    pair.start()
    pair.wait(lambda: pair.paired("A") and pair.paired("B"), "the pair to form")
    wait_boot(pair, 1)


def wait_boot(pair, number):
    """Until the guest, on A, has come up for that many times."""
    pair.wait(lambda: pair.side["A"].console().count(READY.encode()) >= number,
              f"boot {number} of the guest", BOOT_S)
    pair.wait_following()


class Clients:
    def __init__(self, pair):
        self.pair = pair
        self.dir = os.path.join(pair.dir, "client")
        os.mkdir(self.dir)

    def program(self, name, *options):
        client = os.path.join(self.pair.guest.image_dir, "client")
        return [f"{client}/ld.so", "--library-path", f"{client}/lib", f"{client}/{name}", *options]

    def run(self, *command):
        return self.pair.client.run(*command, timeout=600).stdout

    def ssh(self, command, check_end=True):
        """What the command prints, as root. Without check_end it may end with the connection. A guest that
        has just come up on a busy machine may take a minute to begin a session."""
        client = os.path.join(self.pair.guest.image_dir, "client")
        return self.pair.client.run(
            *self.program("ssh", "-F", "none", "-i", f"{client}/key", "-o", "BatchMode=yes",
                          "-o", f"UserKnownHostsFile={client}/known_hosts",
                          "-o", "ServerAliveInterval=60", f"root@{GUEST_IP}", command),
            check=check_end, timeout=600).stdout

    def boot_id(self):
        return self.ssh("cat /proc/sys/kernel/random/boot_id").strip()

    def booted_by(self, way):
        """It is the release, and was booted by the firmware, that the way asks for."""
        says = self.ssh("cat /etc/debian_version; cat /sys/class/dmi/id/product_name; ls /sys/firmware")
        check(says.startswith(RELEASE[way.options["suite"]]), f"the guest is another release: {says}")
        check(("Q35" in says) == (way.options.get("machine") == "q35"), f"another board: {says}")
        equal("efi" in says.split(), way.uefi, f"whether UEFI booted the guest ({says})")

    def postgres(self, name, *options):
        return ["env", "PGDATABASE=postgres",
                *self.program(name, "-h", GUEST_IP, "-U", "postgres", *options)]

    def sql(self, text):
        return self.run(*self.postgres("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", text)).split()

    def healthy(self, what):
        """The kernel has complained of nothing since the boot, and no service has failed by itself."""
        said = self.ssh("dmesg")
        with open(os.path.join(self.dir, "dmesg"), "w", encoding="utf-8") as file:
            file.write(said)
        check("Linux version" in said, f"the guest's dmesg is not whole {what}")
        equal([line for line in COMPLAINTS.findall(said) if not BY_MODEL.search(line)], [],
              f"what the guest's kernel complains of {what}")
        failed = [line.split()[0] for line in
                  self.ssh("systemctl --failed --plain --no-legend").splitlines()]
        # On a busy machine a service may take longer than systemd waits for it: no fault of vmft's.
        faults = [unit for unit in failed
                  if "Result=timeout" not in self.ssh(f"systemctl show -p Result {unit}")]
        equal(faults, [], f"services that have failed {what}")


# A line of pgbench's log, with the times in seconds, as time.time() has them.
Transaction = namedtuple("Transaction", "client number begin end")


class Pgbench:
    """Each transaction adds a row with the client's number and the transaction's number. pgbench writes
    down each transaction that the guest has acknowledged."""

    def __init__(self, clients):
        self.clients = clients
        self.dir = clients.dir
        self.process = None

    def start(self):
        clients = self.clients
        clients.run(*clients.postgres("pgbench", "-i", "-q", "-I", "dtGvp"))
        clients.sql("CREATE TABLE kept (client int, n int, PRIMARY KEY (client, n))")
        with open(f"{self.dir}/script", "w", encoding="ascii") as file:
            file.write(SCRIPT)
        with open(f"{self.dir}/said", "w", encoding="utf-8") as said:
            self.process = clients.pair.client.start(
                *clients.postgres("pgbench", "-n", "-f", f"{self.dir}/script", "-D", "n=0",
                                  "-c", str(CLIENTS), "-t", str(TRANSACTIONS), "-l",
                                  f"--log-prefix={self.dir}/log"), stdout=said, stderr=said)

    def rows(self):
        return int(self.clients.sql("SELECT count(*) FROM kept")[0])

    def wait_rows(self, count, what):
        self.clients.pair.wait(lambda: self.rows() >= count, what)
        check(self.process.poll() is None, f"pgbench was done too early: {what}")

    def end(self):
        """Until all transactions are done. A client whose connection was reset would end early, because
        pgbench makes no second one."""
        try:
            code = self.process.wait(900)
        except subprocess.TimeoutExpired:
            code = "no end"
        with open(f"{self.dir}/said", encoding="utf-8") as said:
            words = said.read()
        equal(code, 0, f"what pgbench ended with ({words.strip()})")
        check("aborted" not in words, words)

    def acknowledged(self):
        found = []
        for name in os.listdir(self.dir):
            if name.startswith("log"):
                with open(f"{self.dir}/{name}", encoding="ascii") as file:
                    for words in map(str.split, file):
                        end = int(words[4]) + int(words[5]) / 1e6
                        found.append(Transaction(int(words[0]), int(words[1]),
                                                 end - int(words[2]) / 1e6, end))
        return found

    def all_there(self):
        """Each row that was acknowledged is in the table, once, and no other."""
        rows = self.clients.sql("SELECT client, n FROM kept ORDER BY client, n")
        equal([tuple(map(int, row.split("|"))) for row in rows],
              [(client, n + 1) for client in range(CLIENTS) for n in range(TRANSACTIONS)],
              "rows of the table")
