#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""table.py RESULTS TABLE: writes the results of scripts/test --all as docs/tests.md."""

import json
import sys
import time

HEAD = """# All tests, and how they ended last

`scripts/test --all` wrote this on {date}, {processors}: {passed} passed, {failed} failed, {cannot} could
not run there, {hours:.1f} hours of tests. `scripts/test` runs those of the everyday suite.
The last column says what only this test finds (everyday), or what the everyday suite has instead (all).

| test | suite | result | seconds | why |
|---|---|---|---|---|
"""


def processors():
    with open("/proc/cpuinfo", encoding="ascii") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return f"on {len(models)} x {models[0]}"


def main():
    results, table = sys.argv[1:]
    with open(results, encoding="utf-8") as file:
        records = {record["name"]: record for record in map(json.loads, file)}
    if not records:
        sys.exit(f"{results}: no results")
    outcomes = [record["outcome"] for record in records.values()]
    text = HEAD.format(date=time.strftime("%Y-%m-%d"), processors=processors(),
                       passed=outcomes.count("passed"), failed=outcomes.count("failed"),
                       cannot=outcomes.count("cannot run here"),
                       hours=sum(record["seconds"] for record in records.values()) / 3600)
    for name, record in sorted(records.items()):
        outcome = f"{record['outcome']}: {record['why']}" if record["why"] else record["outcome"]
        cells = (f"`{name}`", record["suite"], outcome, str(record["seconds"]), record["reason"])
        text += f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"
    with open(table, "w", encoding="utf-8") as file:
        file.write(text)


main()
