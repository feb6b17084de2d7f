# SPDX-License-Identifier: GPL-2.0-or-later
"""vmft drill: a fault done on purpose to a VM, by the command an administrator has."""

import json
import os
import re
import subprocess
import time

from harness import BOTH, LOCKSTEP, Loaded, check, equal, everyday, full, lab, paired, ways
from vmftlab.net import GUEST_IP
from vmftlab.programs import built

HTTP = f"{GUEST_IP}:80"


def run_drill(pair, *words):
    """From where the guest's clients are: that is where the outage is to be seen."""
    return pair.client.run(built("vmft"), "drill", "--yes", "--seconds", "1", "--probe", HTTP, *words,
                           check=False, timeout=180)


@everyday("the user's drill command", LOCKSTEP)
@ways(*BOTH)
def test_vmft_drill(name, way):
    with way.lab(name) as pair:
        loaded = Loaded(pair, network=False, disk=False).start()
        report = os.path.join(pair.dir, "drill.json")
        begun = time.monotonic()
        done = run_drill(pair, "--peer", "sleep 1000", pair.side["A"].control)
        equal(done.returncode, 1, f"exit status with a --peer that does not end ({done.stderr})")
        check("within 10 s: sleep 1000" in done.stderr, done.stderr)
        check(time.monotonic() - begun < 20, "the drill waited for its --peer command")
        paired(pair, "A", "state of A, to which nothing was done")
        peer = f"{built('vmft')} --json status {pair.side['B'].control}"
        pair.side["A"].may_end = True
        done = run_drill(pair, "--peer", peer, "--json", report, pair.side["A"].control)
        equal(done.returncode, 0, f"exit status ({done.stderr.strip()})")
        check(not pair.side["A"].qemu_runs(), "the primary's QEMU still runs")
        equal(pair.state("B"), "alone", "state of B")
        with open(report, encoding="utf-8") as file:
            result = json.load(file)
        check(result["verified"] and result["carried_on"], f"the report says {result}")
        check(result["outage_ms"] > 0 and result["peer_live_ms"] > 0, f"no outage in {result}")
        check("outage" in done.stdout and "after the fault" in done.stdout, done.stdout)
        loaded.settle("after the drill")
        loaded.verify()


@everyday("the drill waits for a backup that lags, and does nothing after the backup is lost",
          LOCKSTEP)
def test_vmft_drill_waits(name):
    """The pair is looked at twice: before the question, and after the probes, just before the fault."""
    with lab(name, pair={"silence-ms": "60000", "stall-ms": "300000"}) as pair:
        loaded = Loaded(pair, network=False, disk=False).start()
        qemu = pair.status("A")["guest_pid"]
        pair.faults.stop_qemu("B")
        pair.wait_state("A", "lagging")
        begun = time.monotonic()
        done = run_drill(pair, "--wait", "1", pair.side["A"].control)
        equal(done.returncode, 1, f"exit status while the backup lags ({done.stderr.strip()})")
        check(time.monotonic() - begun >= 1, "the drill did not wait")
        check("has not caught up in the time given (--wait)" in done.stderr, done.stderr)

        drill = pair.client.start(built("vmft"), "drill", "--yes", "--seconds", "6", "--probe", HTTP,
                                  pair.side["A"].control, stderr=subprocess.PIPE)
        said = drill.stderr.readline().decode()
        check(re.search("the backup lags by [0-9]+ ms; waiting up to 30 s", said), said)
        check(drill.poll() is None, "the drill ended while the backup lagged")
        pair.faults.cont_host("B")
        pair.wait_state("A", "protected")
        time.sleep(1)  # it probes for 6 s
        pair.side["B"].may_end = True
        pair.faults.kill_host("B")
        _, errors = drill.communicate(timeout=60)
        equal(drill.returncode, 1, f"exit status after the backup was lost ({errors.decode()})")
        check("not protected, a fault would cost it" in errors.decode(), errors.decode())
        equal(pair.status("A")["guest_pid"], qemu, "the guest's process")
        check(pair.side["A"].qemu_runs(), "it was killed all the same")
        loaded.settle("after the refusals")
        loaded.verify()


@full("vmft-drill kills; to stop is the same path with one more wait")
def test_vmft_drill_stop(name):
    """Stopped and let go on: the command waits until that side knows that it has lost."""
    with lab(name) as pair:
        loaded = Loaded(pair, network=False, disk=False).start()
        for side in pair.side.values():
            side.may_end = True
        done = run_drill(pair, "--fault", "stop-host", pair.side["A"].control)
        equal(done.returncode, 0, f"exit status ({done.stderr.strip()})")
        equal(pair.state("A"), "fenced", "state of A")
        check("fenced" in done.stdout, f"the report does not say so: {done.stdout}")
        # The backup of then is the one to drill now, and it is alone.
        before = pair.status("B")["guest_pid"]
        done = run_drill(pair, pair.side["B"].control)
        equal(done.returncode, 1, "exit status where the fault would cost the guest")
        check("not protected" in done.stderr, done.stderr)
        equal(pair.status("B")["guest_pid"], before, "the guest's process")
        check(pair.side["B"].qemu_runs(), "it was killed all the same")
        loaded.settle("after the refusal")
        loaded.verify()
