# SPDX-License-Identifier: GPL-2.0-or-later
"""What a drill found, for a terminal, for programs, and as one page for a browser."""

import json as _json
import math

from .chart import (GUTTER, KINDS, PATTERNS, Chart, escape, legend_swatch, ms_text, origin,
                    seconds_text)

OUTCOMES = ("failover", "went-on", "waited", "nothing")
PRINTED = 1000  # units of the time line that a row of a printed page has
PROBLEMS_SHOWN = 20

# (key of the totals, what it is called, what it must be)
TOTALS = (
    ("lost", "writes lost", 0),
    ("double_live", "frames of two live sides", 0),
    ("output_before_ack", "output before its ack", 0),
    ("undetected_divergence", "undetected divergence", 0),
    ("linearizable", "linearizable", True),
    ("sanitizer_findings", "sanitizer findings", 0),
)

# What was looked at, so that a 0 above means something.
COUNTED = (
    ("judged_operations", "operations judged"),
    ("output_checked", "frames of output checked"),
    ("output_unmatched", "not to be found"),
    ("output_left_out", "left out"),
    ("broken_connections", "connections broken"),
    ("compared", "comparisons"),
)


# -- figures


def percentile(values, percent):
    """Nearest rank; None of nothing."""
    if not values:
        return None
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def _figures(values):
    return {"p50": percentile(values, 50), "p99": percentile(values, 99),
            "max": max(values, default=None)}


def _by_kind(result):
    found = {}
    for fault in result.get("faults") or ():
        found.setdefault(fault["kind"], []).append(fault)
    return dict(sorted(found.items()))


def _known(faults, name):
    return [fault[name] for fault in faults if fault.get(name) is not None]


def summarize(result):
    """Fills in totals["faults"] and totals["outage_ms"] from the faults. Returns the result."""
    kinds = _by_kind(result)
    totals = result.setdefault("totals", {})
    totals["faults"] = {kind: len(faults) for kind, faults in kinds.items()}
    totals["outage_ms"] = {
        **_figures(_known(result.get("faults") or (), "outage_ms")),
        "by_kind": {kind: {**_figures(outages), "n": len(outages)}
                    for kind, faults in kinds.items()
                    if (outages := _known(faults, "outage_ms"))}}
    return result


# -- for a terminal


def table(result):
    """Text of at most 100 columns."""
    form = "{:<22.22} {:>4} {:>8} {:>7} {:>6} {:>7}  {:>6} {:>6} {:>6}  {:>7} {:>8}"
    lines = [form.format("fault", "n", "failover", "went-on", "waited", "nothing", "outage",
                         "p99", "max", "again", "problems"),
             form.format("", "", "", "", "", "", "ms p50", "ms", "ms", "ms p50", "")]
    for kind, faults in _by_kind(result).items():
        outage = _figures(_known(faults, "outage_ms"))
        lines.append(form.format(
            kind, len(faults), *(_count(faults, outcome) or "." for outcome in OUTCOMES),
            *map(ms_text, outage.values()),
            ms_text(percentile(_known(faults, "protected_again_ms"), 50)),
            sum(len(fault.get("problems") or ()) for fault in faults) or "."))
    lines.append("")
    lines += _wrapped(_totals_text(result), "; ")
    problems = _problems(result)
    for text in problems[:PROBLEMS_SHOWN]:
        lines += _wrapped(f"problem: {text}".split())
    if len(problems) > PROBLEMS_SHOWN:
        lines.append(f"and {len(problems) - PROBLEMS_SHOWN} problems more")
    lines.append("PASSED" if result.get("ok") else "FAILED")
    return "\n".join(line.rstrip() for line in lines)


def _count(faults, outcome):
    return sum(fault.get("outcome") == outcome for fault in faults)


def _totals_text(result):
    totals = result.get("totals") or {}
    outage = totals.get("outage_ms") or {}
    return [f"{len(result.get('faults') or ())} faults", f"{totals.get('operations', 0)} operations",
            *(f"{name} {_value(totals.get(key))}" for key, name, _ in TOTALS),
            *(f"{totals[key]} {name}" for key, name in COUNTED if key in totals),
            f"outage p50 {ms_text(outage.get('p50'))} p99 {ms_text(outage.get('p99'))} "
            f"max {ms_text(outage.get('max'))} ms"]


def _value(value):
    if value is None:
        return "not checked"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _problems(result):
    found = list(result.get("problems") or ())
    for number, fault in enumerate(result.get("faults") or (), 1):
        found += [text if text.startswith("fault ") else f"fault {number}, {fault['kind']}: {text}"
                  for text in fault.get("problems") or ()]
    return found


def _wrapped(parts, between=" ", width=100):
    """Lines of what is not to be broken, if it need not be."""
    lines = [""]
    for part in parts:
        for piece in (part[at:at + width - 2] for at in range(0, len(part), width - 2)):
            joined = f"{lines[-1]}{between}{piece}" if lines[-1] else piece
            if len(joined) > width:
                lines.append(f"  {piece}")
            else:
                lines[-1] = joined
    return lines


# -- for programs

# Of the totals, also at the top. So the faults one by one have another name there.
TOP = ("faults", "lost", "double_live", "output_before_ack", "undetected_divergence", "outage_ms")
ORDER = ("ok", "problems", *TOP, "totals", "vm", "strategy", "accel", "smp", "image", "seed", "machine",
         "began", "seconds")
LISTS = ("each_fault", "samples", "ops")


def json(result):
    """The verdict first, the long lists last, an entry of those on each line."""
    totals = result.get("totals") or {}
    shown = {name: value for name, value in result.items() if name != "faults"}
    shown |= {name: totals[name] for name in TOP if name in totals}
    if "faults" in result:
        shown["each_fault"] = result["faults"]
    result = shown
    names = [name for name in ORDER if name in result]
    names += [name for name in result if name not in ORDER + LISTS]
    parts = [f"  {_json.dumps(name)}: "
             + _json.dumps(result[name], indent=2, allow_nan=False).replace("\n", "\n  ")
             for name in names]
    for name in LISTS:
        if name in result:
            rows = ",\n".join(f"    {_json.dumps(row, allow_nan=False)}" for row in result[name])
            parts.append(f'  {_json.dumps(name)}: [{chr(10) + rows + chr(10) + "  " if rows else ""}]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


# -- for a browser


def html(result):
    """One page that needs nothing else. It is XML as well."""
    chart = Chart(result)
    title = f"Drill of {result.get('vm')}: {'passed' if result.get('ok') else 'FAILED'}"
    return "".join([
        '<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="en">\n<head>\n'
        '<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n',
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>{PATTERNS}\n",
        _head(result), _problem_list(result), _tiles(result), _kinds(result),
        _time_line(chart), _fault_list(result), "</body>\n</html>\n"])


def _head(result):
    ok = bool(result.get("ok"))
    facts = [("strategy", result.get("strategy")), ("processors", result.get("smp")),
             ("accelerator", result.get("accel")), ("image", result.get("image")),
             ("seed", result.get("seed")), ("began", result.get("began")),
             ("took", seconds_text(round(result.get("seconds") or 0, 1))),
             ("machine", result.get("machine"))]
    return (f'<header><h1>Drill of {escape(result.get("vm"))} '
            f'<span class="verdict {"pass" if ok else "fail"}">'
            f'{"✔ PASSED" if ok else "✘ FAILED"}</span></h1>\n<p class="facts">'
            + "".join(f"<span><b>{name}</b> {escape(value)}</span> " for name, value in facts
                      if value is not None) + "</p></header>\n")


def _problem_list(result):
    problems = _problems(result)
    if not problems:
        return ""
    rows = "".join(f"<li>{escape(text)}</li>" for text in problems)
    return f'<section class="problems"><h2>Problems</h2><ul>{rows}</ul></section>\n'


def _tiles(result):
    totals = result.get("totals") or {}
    outage = totals.get("outage_ms") or {}
    tiles = [("faults", str(len(result.get("faults") or ())), ""),
             ("operations checked", f"{totals.get('operations', 0):,}".replace(",", " "), ""),
             ("frames of output checked",
              f"{totals.get('output_checked', 0):,}".replace(",", " "), "")]
    for key, name, wanted in TOTALS:
        value = totals.get(key)
        kind = "" if value is None else "good" if value == wanted else "bad"
        tiles.append((name, ("✘ " if kind == "bad" else "") + _value(value), kind))
    for name, text in (("p50", "outage, median"), ("p99", "outage, 99th percentile"),
                       ("max", "outage, longest")):
        value = outage.get(name)
        tiles.append((text, f"{ms_text(value)} ms" if value is not None else "-", ""))
    return '<section class="tiles">' + "".join(
        f'<div class="tile {kind}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value, kind in tiles) + "</section>\n"


def _kinds(result):
    heads = ("fault", "n", "failover", "went on", "waited", "nothing", "outage p50", "p99", "max",
             "protected again p50", "max", "problems")
    rows = []
    for kind, faults in _by_kind(result).items():
        outage = _figures(_known(faults, "outage_ms"))
        again = _figures(_known(faults, "protected_again_ms"))
        problems = sum(len(fault.get("problems") or ()) for fault in faults)
        cells = [len(faults), *(_count(faults, outcome) or "·" for outcome in OUTCOMES),
                 *map(ms_text, outage.values()), ms_text(again["p50"]), ms_text(again["max"])]
        rows.append(f"<tr><th scope='row'>{escape(kind)}</th>"
                    + "".join(f"<td>{cell}</td>" for cell in cells)
                    + f'<td class="{"bad" if problems else ""}">{problems or "·"}</td></tr>')
    return ('<section><h2>By kind of fault</h2><p class="note">Outage: the longest time in which '
            'no client had an answer. Protected again: from the fault until the guest had a '
            'backup once more. All in ms.</p><div class="scroll"><table class="kinds"><thead><tr>'
            + "".join(f"<th scope='col'>{head}</th>" for head in heads)
            + f'</tr></thead><tbody>{"".join(rows)}</tbody></table></div></section>\n')


def _time_line(chart):
    swatches = "".join(f"<li>{legend_swatch(kind)} {escape(text)}</li>" for kind, text in KINDS)
    legend = ('<ul class="legend">'
              '<li><svg class="swatch" width="26" height="14" aria-hidden="true">'
              '<path class="point" d="M7 9h0M13 5h0M19 8h0"/></svg> an operation</li>'
              '<li><svg class="swatch" width="26" height="14" aria-hidden="true">'
              '<path class="lost" d="M10 4l6 6m0-6l-6 6"/></svg> one without an answer</li>'
              '<li><svg class="swatch" width="26" height="14" aria-hidden="true">'
              '<rect class="outage" width="26" height="14"/><path class="outage-edge" d="M0 1h26"/>'
              '</svg> outage</li>'
              '<li><svg class="swatch" width="26" height="14" aria-hidden="true">'
              '<path class="fault" d="M4 0V14"/><rect class="lasting" x="4" y="1" width="20" '
              'height="6"/></svg> fault, and how long it lasted</li>'
              '<li><svg class="swatch" width="26" height="14" aria-hidden="true">'
              '<path class="line l-A" d="M0 7H26"/></svg> side A</li>'
              '<li><svg class="swatch" width="26" height="14" aria-hidden="true">'
              '<path class="line l-B" d="M0 7H26"/></svg> side B</li></ul>'
              f'<ul class="legend">{swatches}</ul>')
    size = f'width="{chart.width}" height="{chart.height}" viewBox="0 0 {chart.width} {chart.height}"'
    namespace = 'xmlns="http://www.w3.org/2000/svg"'
    side = (f'<svg {namespace} class="gutter" width="{GUTTER}" height="{chart.height}" '
            f'viewBox="0 0 {GUTTER} {chart.height}">{chart.gutter()}</svg>')
    return ('<section><h2>Time line</h2><p class="note">Latency is on a logarithmic scale; of '
            'operations that fall together the slowest is drawn. Marks, bands and outages say '
            f'more when pointed at.</p>{legend}<div class="timeline">{side}'
            f'<div class="scroll" tabindex="0"><svg {namespace} {size} role="img" '
            f'aria-label="Client latency, states of both sides, lag and log position over time">'
            f'<g id="time-line">{chart.marks()}</g></svg></div></div>'
            f'{_printed(chart, side, namespace)}</section>\n')


def _printed(chart, side, namespace):
    """Paper does not scroll: there the time line comes in rows."""
    rows = []
    for begin in range(0, math.ceil(chart.width), PRINTED):
        wide = min(PRINTED, chart.width - begin)
        if wide < 40 and begin:
            continue
        rows.append(f'<div class="row">{side}<svg {namespace} '
                    f'style="width:{wide / (PRINTED + GUTTER):.2%}" '
                    f'viewBox="{begin} 0 {wide} {chart.height}">'
                    f'<use href="#time-line"/></svg></div>')
    return f'<div class="printed">{"".join(rows)}</div>'


def _fault_list(result):
    start = origin(result)
    rows = "".join(_fault_row(number, fault, start)
                   for number, fault in enumerate(result.get("faults") or (), 1))
    heads = ("", "at", "fault", "victim", "lasted", "outcome", "outage ms", "protected again ms",
             "evidence that it happened", "expected")
    return ('<section><h2>All faults</h2><table class="faults"><thead><tr>'
            + "".join(f"<th scope='col'>{head}</th>" for head in heads)
            + f"</tr></thead><tbody>{rows}</tbody></table></section>\n")


def _fault_row(number, fault, start):
    until = fault.get("until_ns")
    lasted = f"{max(until - fault['at_ns'], 0) / 1e9:.1f} s" if until else "-"
    problems = "".join(f'<li>{escape(text)}</li>' for text in fault.get("problems") or ())
    cells = (("at", seconds_text(round((fault["at_ns"] - start) / 1e9, 1))),
             ("fault", fault["kind"]), ("victim", fault["victim"]), ("lasted", lasted),
             ("outcome", fault.get("outcome")), ("outage ms", ms_text(fault.get("outage_ms"))),
             ("again after ms", ms_text(fault.get("protected_again_ms"))),
             ("evidence", fault.get("verified") or "none"), ("expected", fault.get("expected")))
    row = "".join(f'<td data-name="{name}">{escape(value)}</td>' for name, value in cells)
    more = (f'<tr class="bad"><td></td><td colspan="9"><ul>{problems}</ul></td></tr>'
            if problems else "")
    return (f'<tr id="fault-{number}"{" class=" + chr(34) + "bad" + chr(34) if problems else ""}>'
            f"<th scope='row'>{number}</th>{row}</tr>{more}")


CSS = """
:root { color-scheme: light dark;
  --bg: #ffffff; --panel: #f5f7f9; --ink: #1a2027; --soft: #59636e; --rule: #d5dae0;
  --grid: #e4e8ec; --point: #1f5fbf; --lost: #b3261e; --good: #1a7f46; --bad: #b3261e;
  --bad-bg: #fdeceb; --outage: #f4b6b1; --fault: #5b3fa8; --lasting: #a995e0;
  --l-a: #0b6bcb; --l-b: #b3541e;
  --protected: #14784f; --alone: #f0b429; --backup: #bcd3f2; --coming: #dccbf0;
  --deciding: #f2a48f; --final: #b9c0c7; --gone: #ffffff; --pattern: rgba(0,0,0,.38);
  --on-protected: #ffffff; --on-other: #17202a; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #14181d; --panel: #1d232a; --ink: #e4e8ec; --soft: #9aa5b1; --rule: #38414b;
  --grid: #2a323a; --point: #6fb1ff; --lost: #ff8a80; --good: #5fd08f; --bad: #ff8a80;
  --bad-bg: #3b2222; --outage: #7a3733; --fault: #b9a4f5; --lasting: #6f5bb0;
  --l-a: #6fb1ff; --l-b: #f0a068;
  --protected: #2e9e6e; --alone: #c98f12; --backup: #34567f; --coming: #5a4680;
  --deciding: #9c4a36; --final: #59636e; --gone: #14181d; --pattern: rgba(0,0,0,.42);
  --on-protected: #08140e; --on-other: #ffffff; } }
@media print { :root { color-scheme: light;
  --bg: #ffffff; --panel: #ffffff; --ink: #000000; --soft: #444444; --rule: #bbbbbb;
  --grid: #dddddd; --point: #1f5fbf; --lost: #b3261e; --good: #1a7f46; --bad: #b3261e;
  --bad-bg: #fdeceb; --outage: #f4b6b1; --fault: #5b3fa8; --lasting: #a995e0;
  --l-a: #0b6bcb; --l-b: #b3541e;
  --protected: #14784f; --alone: #f0b429; --backup: #bcd3f2; --coming: #dccbf0;
  --deciding: #f2a48f; --final: #b9c0c7; --gone: #ffffff; --pattern: rgba(0,0,0,.38);
  --on-protected: #ffffff; --on-other: #17202a; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 20px; max-width: 1480px; background: var(--bg); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 28px 0 6px; }
.verdict { display: inline-block; padding: 2px 12px; border-radius: 6px; font-size: 17px;
  vertical-align: 2px; white-space: nowrap; border: 2px solid; }
.pass { color: var(--good); } .fail { color: var(--bad); background: var(--bad-bg); }
.facts { margin: 0; color: var(--soft); } .facts span { margin-right: 16px; }
.facts b { font-weight: 600; }
.note { color: var(--soft); margin: 0 0 8px; max-width: 75em; }
.problems { border: 2px solid var(--bad); border-radius: 8px; background: var(--bad-bg);
  padding: 8px 16px; margin-top: 16px; overflow-wrap: anywhere; }
.problems h2 { margin: 0; color: var(--bad); } .problems ul { margin: 4px 0; padding-left: 20px; }
.tiles { display: grid; gap: 10px; margin: 18px 0 0;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.tile { background: var(--panel); border: 1px solid var(--rule); border-radius: 8px;
  padding: 8px 12px; }
.tile b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.tile.good b { color: var(--good); } .tile.bad b { color: var(--bad); }
.tile.bad { border: 2px solid var(--bad); background: var(--bad-bg); }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 9px; border-bottom: 1px solid var(--rule); text-align: left;
  vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--rule);
  vertical-align: bottom; }
.kinds td, .kinds thead th:not(:first-child) { text-align: right; }
.kinds tbody th { white-space: nowrap; }
td.bad { color: var(--bad); font-weight: 700; }
.faults { width: 100%; } .faults td { overflow-wrap: break-word; }
.faults td:nth-of-type(-n+7) { white-space: nowrap; }
.faults td:nth-of-type(6), .faults td:nth-of-type(7) { text-align: right; }
.faults td[colspan] { white-space: normal; overflow-wrap: anywhere; }
.faults tr.bad td, .faults tr.bad th { background: var(--bad-bg); }
.faults tr.bad + tr.bad ul { margin: 0; padding-left: 18px; color: var(--bad); }
.faults tr:target td, .faults tr:target th { background: var(--panel);
  box-shadow: inset 0 2px var(--fault), inset 0 -2px var(--fault); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 4px 0;
  padding: 0; font-size: 13px; color: var(--soft); }
.swatch { vertical-align: -2px; }
.timeline { display: flex; border: 1px solid var(--rule); border-radius: 8px; margin-top: 8px;
  background: var(--bg); padding-top: 8px; }
.timeline .scroll { flex: 1 1 auto; min-width: 0; padding-bottom: 6px; }
.timeline svg { display: block; flex: none; }
.printed { display: none; } .patterns { position: absolute; }
text { font: 11px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
.tick { fill: var(--soft); font-variant-numeric: tabular-nums; }
.name { font-weight: 600; }
.grid { stroke: var(--grid); fill: none; shape-rendering: crispEdges; }
.point { stroke: var(--point); stroke-width: 2.2; stroke-linecap: round; fill: none; }
.lost { stroke: var(--lost); stroke-width: 1.8; fill: none; }
.outage { fill: var(--outage); fill-opacity: .75; }
.outage-edge { stroke: var(--lost); stroke-width: 2; }
.fault { stroke: var(--fault); stroke-width: 1; stroke-dasharray: 4 3; fill: none; }
.fault.bad { stroke: var(--bad); stroke-width: 2; stroke-dasharray: none; }
.mark { fill: var(--fault); font-weight: 600; paint-order: stroke; stroke: var(--bg); stroke-width: 3px;
  stroke-linejoin: round; } .mark.bad { fill: var(--bad); }
.lasting { fill: var(--lasting); } .touch { fill: transparent; }
.line { fill: none; stroke-width: 1.4; stroke-linejoin: round; }
.l-A { stroke: var(--l-a); } .l-B { stroke: var(--l-b); stroke-dasharray: 5 3; }
.band { stroke: var(--bg); stroke-width: .6; }
.s-protected { fill: var(--protected); } .s-alone { fill: var(--alone); }
.s-backup { fill: var(--backup); } .s-coming { fill: var(--coming); }
.s-deciding { fill: var(--deciding); } .s-final { fill: var(--final); }
.band.s-gone { fill: var(--gone); stroke: var(--soft); stroke-dasharray: 3 3; stroke-width: 1; }
.ink { fill: var(--pattern); } .inkline { stroke: var(--pattern); fill: none; }
.state { fill: var(--on-other); } .t-protected { fill: var(--on-protected); }
.t-gone { fill: var(--soft); }
@media screen and (max-width: 1040px) {
  body { padding: 12px; }
  .faults, .faults tbody { display: block; } .faults thead { display: none; }
  .faults tr { display: grid; gap: 2px 10px;
    grid-template-columns: repeat(auto-fill, minmax(96px, 1fr));
    border: 1px solid var(--rule); border-radius: 8px; padding: 6px 10px; margin-bottom: 8px; }
  .faults tr.bad + tr.bad { margin-top: -8px; } .faults tr.bad { background: var(--bad-bg); }
  .faults th, .faults td, .faults td:nth-of-type(-n+7) { display: block; border: 0; padding: 0;
    text-align: left; white-space: normal; }
  .faults th, .faults td:nth-of-type(n+8), .faults td[colspan] { grid-column: 1 / -1; }
  .faults td[data-name]::before { content: attr(data-name); display: block; font-size: 11px;
    color: var(--soft); }
}
@media print {
  body { padding: 0; font-size: 11px; max-width: none; }
  h2, .note, .legend { break-after: avoid; }
  .timeline { display: none; } .printed { display: block; }
  .row { display: flex; break-inside: avoid; margin-bottom: 6px; }
  .row svg { height: auto; flex: none; } .row .gutter { width: 9.42%; }
  .legend { font-size: 11px; } table { font-size: 10px; } tr, .tile { break-inside: avoid; }
  .faults td:nth-of-type(-n+7) { white-space: normal; }
}
"""
