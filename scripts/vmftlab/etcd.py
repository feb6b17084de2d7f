# SPDX-License-Identifier: GPL-2.0-or-later
"""An etcd cluster as a lab's arbiter: three members, each in a namespace of its own.

      hostA arb0 ---- arbA              etc1 ---- 1  etcd1
                      switch (arbiter)  etc2 ---- 2  etcd2
      hostB arb0 ---- arbB              etc3 ---- 3  etcd3

Clients speak TLS and show a certificate; all are made here. The members' own are good for
clients too: etcd's JSON gateway is a client of the member it is part of.
"""

import base64
import os
import shutil
import signal
import subprocess

from .watch import LabError, tail
from .programs import built
from .net import run

HOST_IP = {"A": "10.98.0.1", "B": "10.98.0.2"}
MEMBER_IP = {1: "10.98.0.11", 2: "10.98.0.12", 3: "10.98.0.13"}
CLIENT_PORT, PEER_PORT = 2379, 2380
# Everything shares two busy processors: a leader is not to be given up for that.
HEARTBEAT_MS, ELECTION_MS = 200, 2000


class Certificates:
    """A CA of its own, and what it has signed, as PEM files in a directory."""

    def __init__(self, directory):
        self.dir = directory
        os.makedirs(directory)
        self.ca = self.path("ca.pem")
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-days", "7", "-subj", "/CN=vmft test CA", "-keyout", self.path("ca.key"),
                 "-out", self.ca)

    def path(self, name):
        return os.path.join(self.dir, name)

    def sign(self, name, *extensions):
        """Returns the paths of a new certificate and its key."""
        cert, key, request = (self.path(f"{name}.{kind}") for kind in ("pem", "key", "csr"))
        with open(self.path(f"{name}.ext"), "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in extensions)
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.path("ca.key"),
                 "-CAcreateserial", "-days", "7", "-extfile", self.path(f"{name}.ext"),
                 "-out", cert)
        return cert, key


class Member:
    """One of the cluster, with its data and its log."""

    def __init__(self, number, ns, directory):
        self.number = number
        self.name = f"etcd{number}"
        self.ns = ns
        self.url = f"https://{MEMBER_IP[number]}:{CLIENT_PORT}"
        self.peer = f"http://{MEMBER_IP[number]}:{PEER_PORT}"
        self.data = os.path.join(directory, f"{self.name}.etcd")
        self.log_path = os.path.join(directory, f"{self.name}.log")
        self.cert = self.key = None
        self.process = None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()


class Etcd:
    """The cluster of an open lab, which from then on has it as its arbiter."""

    def __init__(self, lab):
        self.lab = lab
        self.dir = os.path.join(lab.dir, "etcd")
        self.certificates = Certificates(os.path.join(self.dir, "pem"))
        self.switch = lab.net.add_namespace("arbiter", switch=True)
        self.member = {}
        for side, ns in lab.net.host.items():
            lab.net.plug(ns, "arb0", f"{HOST_IP[side]}/24", self.switch, f"arb{side}")
        for number, address in MEMBER_IP.items():
            ns = lab.net.add_namespace(f"etcd{number}")
            lab.net.plug(ns, "eth0", f"{address}/24", self.switch, f"etc{number}")
            self._add_member(number, ns, address)
        self.cert, self.key = self.certificates.sign("vmft", "extendedKeyUsage=clientAuth")
        self.spec = "etcd:" + ",".join(member.url for member in self.member.values())
        self.start(*self.member)
        lab.pair_keys.update({"arbiter": self.spec, "arbiter-ca": self.certificates.ca,
                              "arbiter-cert": self.cert, "arbiter-key": self.key})
        lab.write_pair()
        self.wait_quorum()

    def _add_member(self, number, ns, address):
        member = self.member[number] = Member(number, ns, self.dir)
        member.cert, member.key = self.certificates.sign(
            member.name, f"subjectAltName=IP:{address}",
            "extendedKeyUsage=serverAuth,clientAuth")

    def start(self, *numbers):
        for number in numbers:
            member = self.member[number]
            with open(member.log_path, "ab") as log:
                member.process = subprocess.Popen(self._command(member), stdin=subprocess.DEVNULL,
                                                  stdout=log, stderr=log, start_new_session=True)
            self.lab.processes.append(member.process)

    def _command(self, member):
        cluster = ",".join(f"{m.name}={m.peer}" for m in self.member.values())
        return ["ip", "netns", "exec", member.ns, "etcd", "--name", member.name,
                "--data-dir", member.data, "--logger", "zap", "--log-outputs", "stderr",
                "--listen-client-urls", f"https://0.0.0.0:{CLIENT_PORT}",
                "--advertise-client-urls", member.url,
                "--listen-peer-urls", member.peer, "--initial-advertise-peer-urls", member.peer,
                "--initial-cluster", cluster, "--initial-cluster-token", self.lab.prefix,
                "--cert-file", member.cert, "--key-file", member.key,
                "--trusted-ca-file", self.certificates.ca, "--client-cert-auth",
                "--heartbeat-interval", str(HEARTBEAT_MS), "--election-timeout", str(ELECTION_MS)]

    def kill(self, *numbers):
        for number in numbers:
            process = self.member[number].process
            process.kill()
            if process.wait(10) != -signal.SIGKILL:
                raise LabError(f"etcd{number} was not killed but ended before")

    def rebuild(self, number):
        """A member that has lost its data, and comes back as a cluster of its own."""
        member = self.member[number]
        shutil.rmtree(member.data)
        others = self.member
        self.member = {number: member}
        self.start(number)
        self.member = others

    def wait_quorum(self):
        """Until somebody who asks for the first time is answered."""
        self.lab.wait(self._answers, "the etcd cluster to answer")

    def _answers(self):
        for member in self.member.values():
            if member.process.poll() not in (None, -signal.SIGKILL):
                raise LabError(f"{member.name} ended; it said:\n{tail(member.log())}")
        with Asker(self) as asker:
            return asker.opened

    def also_at(self, number, address):
        """A member at an address that its certificate does not name."""
        run("ip", "-n", self.member[number].ns, "addr", "add", f"{address}/24", "dev", "eth0")

    def cut(self, side):
        """Takes a host off the arbiter's network."""
        self._set_link(side, False)

    def mend(self, side):
        self._set_link(side, True)

    def _set_link(self, side, up):
        self.lab.net.set_port(self.switch, f"arb{side}", up)
        ns = self.lab.net.host[side]
        self.lab.wait(lambda: self.lab.net.has_link(ns, "arb0") == up,
                      f"{side}'s link to the arbiter to be {'up' if up else 'down'}", 10)

    def forget(self, generation):
        """Removes a record, which nobody is told to do."""
        key = _base64(f"vmft/{self.lab.prefix}/gen/{generation:020d}")
        run("ip", "netns", "exec", self.lab.net.host["B"], "curl", "-fsS", "--cacert",
            self.certificates.ca, "--cert", self.cert, "--key", self.key, "-d",
            f'{{"key":"{key}"}}', f"{self.member[1].url}/v3/kv/deleterange")


class Asker:
    """tests/integration/arbiter-ask.c on a host of the lab: the backend, without a monitor."""

    def __init__(self, etcd, side="A", **changes):
        words = {"spec": etcd.spec, "vm": etcd.lab.prefix, "ca": etcd.certificates.ca,
                 "cert": etcd.cert, "key": etcd.key, **changes}
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", etcd.lab.net.host[side],
             built("../tests/vmft-arbiter-ask"), *words.values()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        etcd.lab.processes.append(self.process)
        self.said = self._line()
        self.opened = self.said == "open"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def _line(self):
        return self.process.stdout.readline().rstrip("\n")

    def tell(self, question):
        """Without waiting for the answer."""
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()

    def answer(self):
        line = self._line()
        if not line:
            raise LabError(f"vmft-arbiter-ask ended with {self.process.wait(10)}")
        return line

    def ask(self, *words):
        self.tell("|".join(map(str, words)))
        return self.answer()


def _base64(text):
    return base64.b64encode(text.encode()).decode()


def _openssl(*words):
    run("openssl", *words)
