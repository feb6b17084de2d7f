#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""table.py RESULTS TABLE [NAMES]: puts the results of scripts/test --all into docs/tests.md.

A test that has no new result keeps its row. NAMES is a file with the name of each test there is: of
one that has no result the table says so, and the row of one that is neither there nor in RESULTS is
removed (the programs of the sanitizers' builds are not in NAMES)."""

import json
import os
import sys

HEAD = """# All tests, and how each ended last

`scripts/test --all` writes this, also when it is interrupted; tests/table.py puts in the results of other
runs. {passed} passed, {failed} failed, {cannot} could
not run on the machine, {missing} have no result yet; together {hours:.1f} hours of one processor's time. It begins
with the tests that have no result or the oldest. `scripts/test` runs those of the everyday suite.
The last column says what only this test finds (everyday), or what the everyday suite has instead (all).

| test | suite | result | seconds | when | commit | why |
|---|---|---|---|---|---|---|
"""
COLUMNS = ("name", "suite", "outcome", "seconds", "date", "commit", "reason")
NEVER = "no result yet"


def read_table(path):
    """The rows there are, by the name of the test."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")]
                for line in file if line.startswith("| `")]
    rows = [dict(zip(COLUMNS, row)) for row in rows if len(row) == len(COLUMNS)]
    for row in rows:
        row["name"] = row["name"].strip("`")
    return {row["name"]: row for row in rows}


def read_records(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        records = {record["name"]: record for record in map(json.loads, file)}
    for record in records.values():
        if record["why"]:
            record["outcome"] += f": {record['why']}"
    return records


def head_of(rows):
    outcomes = [row["outcome"].split(":")[0] for row in rows]
    seconds = sum(float(row["seconds"] or 0) for row in rows)
    return HEAD.format(passed=outcomes.count("passed"), failed=outcomes.count("failed"),
                       cannot=outcomes.count("cannot run here"), missing=outcomes.count(NEVER),
                       hours=seconds / 3600)


def line_of(row):
    cells = [str(row[column]).replace("|", "/").replace("\n", " ") for column in COLUMNS]
    cells[0] = f"`{cells[0]}`"
    return f"| {' | '.join(cells)} |\n"


def main():
    results, table, *names = sys.argv[1:]
    records = read_records(results)
    rows = {**read_table(table), **records}
    if names:
        with open(names[0], encoding="utf-8") as file:
            known = {*file.read().split(), *records}
        rows = {name: rows.get(name, {**dict.fromkeys(COLUMNS, ""), "name": name, "outcome": NEVER})
                for name in known}
    if not rows:
        sys.exit(f"{results}: no results")
    with open(f"{table}.new", "w", encoding="utf-8") as file:
        file.write(head_of(rows.values()))
        file.writelines(line_of(row) for _, row in sorted(rows.items()))
    os.rename(f"{table}.new", table)


if __name__ == "__main__":
    main()
