# SPDX-License-Identifier: GPL-2.0-or-later
"""The time line of a drill's report, as SVG: what clients saw above, what the sides did below.

Its size is bounded: what could not be seen apart is drawn once, and of all that falls
together the largest is what is drawn.
"""

import bisect
import math
from html import escape as _escape

PLOT_MIN, PLOT_MAX = 1000, 9600  # units of the drawing, a CSS pixel each
PER_SECOND = 12
GUTTER = 104
PAD = 16  # at both ends, so that a mark at the end is whole
LANE, LANES = 15, 5  # labels of faults
CHAR = 7.6  # width of a label's character, on the safe side
LATENCY_H, BAND_H, LINE_H, GAP, AXIS_H = 170, 24, 74, 30, 24
CELL = 2  # two points nearer than that are one; farther, while there are too many
POINTS_MAX = 40000
LINE_STEP = 2  # a line has that many units for its least and largest
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)
TICK_GAP = 90

# What a side is doing: by role and state of its monitor (docs/failover.md).
KINDS = (
    ("protected", "runs the guest, protected"),
    ("alone", "runs the guest, unprotected"),
    ("backup", "follows, may take over"),
    ("coming", "forms the pair, or is being attached"),
    ("deciding", "replays the rest, asks the arbiter, goes live"),
    ("final", "fenced or ended"),
    ("gone", "no monitor answers"),
)
STATES = {
    ("primary", "protected"): "protected", ("primary", "sealing"): "protected",
    ("primary", "lagging"): "protected", ("primary", "shipping"): "protected",
    ("primary", "alone"): "alone", ("primary", "attaching"): "alone",
    ("backup", "alone"): "alone", ("backup", "protected"): "backup",
    ("backup", "attaching"): "coming", ("backup", "sealing"): "coming",
}
ANY_ROLE = {"forming": "coming", "fenced": "final", "ended": "final", "diverged": "final"}

# Told apart by their pattern, too.
# In a drawing of its own, for one that is not shown lends none.
PATTERNS = """<svg class="patterns" width="0" height="0" aria-hidden="true"><defs>
<pattern id="p-alone" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect class="s-alone" width="8" height="8"/><rect class="ink" width="2" height="8"/></pattern>
<pattern id="p-coming" width="6" height="6" patternUnits="userSpaceOnUse">
<rect class="s-coming" width="6" height="6"/><circle class="ink" cx="3" cy="3" r="1.1"/></pattern>
<pattern id="p-deciding" width="5" height="8" patternUnits="userSpaceOnUse">
<rect class="s-deciding" width="5" height="8"/><rect class="ink" width="1.5" height="8"/></pattern>
<pattern id="p-final" width="8" height="8" patternUnits="userSpaceOnUse">
<rect class="s-final" width="8" height="8"/><path class="inkline" d="M0 0L8 8M8 0L0 8"/></pattern>
</defs></svg>"""
PATTERNED = ("alone", "coming", "deciding", "final")


def escape(text):
    """For text and attributes; also without what XML does not allow at all."""
    return _escape("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(text)))


def seconds_text(seconds):
    """As on a clock from a minute on."""
    if seconds < 60:
        return f"{seconds:g} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def ms_text(ms):
    if ms is None:
        return "-"
    return f"{ms:.0f}" if ms >= 10 else f"{ms:.1f}"


def origin(result):
    """The time all others are counted from, in ns."""
    times = [entry["at_ns"] for name in ("samples", "faults") for entry in result.get(name) or ()]
    times += [op["at_ns"] - op["ms"] * 1e6 for op in result.get("ops") or ()]
    return min(times, default=0)


def state_kind(status):
    if not status:
        return "gone"
    role, state = status.get("role"), status.get("state")
    return STATES.get((role, state)) or ANY_ROLE.get(state) or "deciding"


class Chart:
    """All positions of one drawing. `marks()` is the drawing, `gutter()` what stands beside."""

    def __init__(self, result):
        self.faults = result.get("faults") or []
        self.samples = result.get("samples") or []
        self.ops = result.get("ops") or []
        self.start = origin(result)
        ends = [entry["at_ns"] for entry in (*self.samples, *self.faults, *self.ops)]
        ends += [fault["until_ns"] for fault in self.faults if fault.get("until_ns")]
        self.seconds = max((max(ends, default=0) - self.start) / 1e9,
                           0 if ends else result.get("seconds") or 0, 0.001)
        self.plot = round(min(max(self.seconds * PER_SECOND, PLOT_MIN), PLOT_MAX))
        self.width = self.plot + 2 * PAD
        self._lay_out()

    def _lay_out(self):
        self.labels, lanes = self._label_lanes()
        self.latency_y = lanes * LANE + 22
        self.bands_y = self.latency_y + LATENCY_H + GAP
        self.lag_y = self.bands_y + 2 * (BAND_H + 4) + GAP - 8
        self.log_y = self.lag_y + LINE_H + GAP
        self.axis_y = self.log_y + LINE_H
        self.height = self.axis_y + AXIS_H
        worst = max((op["ms"] for op in self.ops), default=1)
        best = min((op["ms"] for op in self.ops), default=1)
        self.low = max(math.floor(math.log10(max(best, 0.01))), -2)
        self.high = max(math.ceil(math.log10(max(worst * 1.1, 0.01))), self.low + 2)

    def x(self, at_ns):
        return round(PAD + (at_ns - self.start) / 1e9 / self.seconds * self.plot, 1)

    def _latency(self, ms):
        part = (math.log10(max(ms, 10 ** self.low)) - self.low) / (self.high - self.low)
        return round(self.latency_y + LATENCY_H * (1 - min(part, 1)), 1)

    def _label_lanes(self):
        """Where each fault's label goes, and how many lanes that takes. One that has no room
        is its number only, and if even that has none it is on its line's tooltip."""
        ends = [0.0] * LANES
        placed = []
        for number, fault in enumerate(self.faults, 1):
            x = self.x(fault["at_ns"])
            for text in (f"{number} {fault['kind']} {fault['victim']}", str(number)):
                wide = len(text) * CHAR + 8
                # At the right edge a label stands before its line.
                left = min(x, self.width - wide)
                lane = next((at for at, end in enumerate(ends) if left >= end), None)
                if lane is not None:
                    ends[lane] = left + wide
                    placed.append((lane, left, text))
                    break
            else:
                placed.append(None)
        return placed, max((place[0] + 1 for place in placed if place), default=1)

    # -- what moves with the time

    def marks(self):
        return "\n".join([*self._grid(), *self._outages(), *self._points(),
                          *self._bands(), *self._lag(), *self._log(), *self._faults()])

    def _ticks(self):
        step = next((tick for tick in TICKS if tick / self.seconds * self.plot >= TICK_GAP),
                    TICKS[-1])
        return [number * step for number in range(int(self.seconds / step) + 1)]

    def _grid(self):
        right = PAD + self.plot
        lines = [f'<path class="grid" d="M{PAD} {self._latency(10 ** power)}H{right}"/>'
                 for power in range(self.low, self.high + 1)]
        for y in (self.lag_y, self.lag_y + LINE_H, self.log_y, self.axis_y):
            lines.append(f'<path class="grid" d="M{PAD} {y}H{right}"/>')
        for second in self._ticks():
            x = self.x(self.start + second * 1e9)
            lines.append(f'<path class="grid" d="M{x} {self.latency_y}V{self.axis_y + 5}"/>'
                         f'<text class="tick" x="{x}" y="{self.axis_y + 18}" '
                         f'text-anchor="middle">{seconds_text(round(second, 3))}</text>')
        return lines

    def _outages(self):
        shapes = []
        returns = sorted(op["at_ns"] for op in self.ops if op["ok"])
        for number, fault in enumerate(self.faults, 1):
            ms = fault.get("outage_ms")
            if not ms:
                continue
            begin, end = outage_span(returns, fault["at_ns"], ms)
            x = self.x(begin)
            wide = round(max(self.x(end) - x, 1), 1)
            shapes.append(f'<g><title>fault {number}: no answer for {ms_text(ms)} ms</title>'
                          f'<rect class="outage" x="{x}" y="{self.latency_y}" width="{wide}" '
                          f'height="{LATENCY_H}"/><path class="outage-edge" '
                          f'd="M{x} {self.latency_y}h{wide}"/></g>')
        return shapes

    def _points(self):
        """A point for each cell that something is in: its slowest. So a maximum stays."""
        placed = [(self.x(op["at_ns"]), self._latency(op["ms"]), bool(op["ok"]))
                  for op in self.ops]
        size = CELL
        cells = _slowest(placed, size)
        while sum(map(len, cells.values())) > POINTS_MAX:
            size *= 1.5
            cells = _slowest(placed, size)
        shapes = []
        if cells[True]:
            path = "".join(f"M{x:g} {y:g}h0" for x, y in sorted(cells[True].values()))
            shapes.append(f'<path class="point" d="{path}"/>')
        if cells[False]:
            path = "".join(f"M{x - 3:g} {y - 3:g}l6 6m0-6l-6 6"
                           for x, y in sorted(cells[False].values()))
            shapes.append(f'<path class="lost" d="{path}"><title>no answer: may have happened '
                          f'or not</title></path>')
        return shapes

    def _runs(self, side):
        """(begin, end, status): how long the side was seen in one state."""
        runs = []
        for at, sample in enumerate(self.samples):
            status = sample.get(side)
            end = (self.samples[at + 1]["at_ns"] if at + 1 < len(self.samples)
                   else sample["at_ns"])
            same = runs and _shown_state(runs[-1][2]) == _shown_state(status)
            if same:
                runs[-1][1] = end
            else:
                runs.append([sample["at_ns"], end, status])
        return runs

    def _bands(self):
        shapes = []
        for row, side in enumerate("AB"):
            y = self.bands_y + row * (BAND_H + 4)
            for begin, end, status in self._runs(side):
                kind = state_kind(status)
                x = self.x(begin)
                wide = round(max(self.x(end) - x, 0.8), 1)
                fill = f' fill="url(#p-{kind})"' if kind in PATTERNED else ""
                name = "" if fill else f" s-{kind}"
                span = (f"{seconds_text(round((begin - self.start) / 1e9, 1))} to "
                        f"{seconds_text(round((end - self.start) / 1e9, 1))}")
                shapes.append(f'<g><title>{escape(f"{side}: {_state_text(status)}, {span}")}'
                              f'</title><rect class="band{name}" x="{x}" y="{y}" '
                              f'width="{wide}" height="{BAND_H}"{fill}/>'
                              f'{self._band_label(status, kind, x, y, wide)}</g>')
        return shapes

    @staticmethod
    def _band_label(status, kind, x, y, wide):
        text = _band_text(status, kind)
        if wide < len(text) * CHAR + 10:
            return ""
        plate = ""
        if kind in PATTERNED:
            plate = (f'<rect class="plate s-{kind}" x="{x + 3:.1f}" y="{y + 4}" '
                     f'width="{len(text) * CHAR + 4:.1f}" height="{BAND_H - 8}" rx="2"/>')
        return (f'{plate}<text class="state t-{kind}" x="{x + 5:.1f}" y="{y + BAND_H // 2 + 4}">'
                f'{escape(text)}</text>')

    def _lag(self):
        return self._lines("lag_ms", self.lag_y, lambda side, status:
                           status.get("role") == "primary")

    def _log(self):
        return self._lines("log_head", self.log_y, lambda side, status: True)

    def top(self, name):
        return _round_up(max((status[name] for sample in self.samples for side in "AB"
                              if (status := sample.get(side)) and status.get(name)), default=0))

    def _lines(self, name, y, wanted):
        top = self.top(name) or 1
        shapes = []
        for side in "AB":
            pieces, last = [], None
            for column in _columns(self.samples, side, name, wanted, self.x):
                if column is None:
                    last = None
                    continue
                for x, value in column:
                    at = round(y + LINE_H * (1 - value / top), 1)
                    pieces.append(f"{'L' if last else 'M'}{x:g} {at:g}")
                    last = True
            if pieces:
                shapes.append(f'<path class="line l-{side}" d="{"".join(pieces)}"/>')
        return shapes

    def _faults(self):
        shapes, labels = [], []
        for number, (fault, place) in enumerate(zip(self.faults, self.labels), 1):
            x = self.x(fault["at_ns"])
            bad = " bad" if fault.get("problems") else ""
            until = fault.get("until_ns")
            parts = [f'<title>{escape(fault_title(number, fault, self.start))}</title>']
            if until and until > fault["at_ns"]:
                wide = round(max(self.x(until) - x, 2), 1)
                parts.append(f'<rect class="lasting" x="{x}" y="{self.latency_y - 8}" '
                             f'width="{wide}" height="6"/>')
            parts.append(f'<rect class="touch" x="{x - 3:.1f}" y="{self.latency_y}" width="6" '
                         f'height="{LATENCY_H}"/>')
            top = self.latency_y - 8
            if place:
                lane, left, text = place
                text_y = lane * LANE + 11
                if left >= x - 1:
                    top = text_y - 8
                    left = x + 3
                labels.append(f'<a href="#fault-{number}"><text class="mark{bad}" x="{left:g}" '
                              f'y="{text_y}">{escape(text)}{parts[0]}</text></a>')
            parts.append(f'<path class="fault{bad}" d="M{x} {top}V{self.axis_y}"/>')
            shapes.append(f'<a href="#fault-{number}">{"".join(parts)}</a>')
        # On top of the lines of others.
        return shapes + labels

    # -- what stands beside

    def gutter(self):
        right = GUTTER - 4
        text = [_side_text(2, self.latency_y - 4, "latency", "name"),
                _side_text(2, self.bands_y + 16, "side A", "name"),
                _side_text(2, self.bands_y + BAND_H + 20, "side B", "name"),
                _side_text(2, self.lag_y + LINE_H // 2 + 4, "lag", "name"),
                _side_text(2, self.log_y + LINE_H // 2 + 4, "log position", "name")]
        for power in range(self.low, self.high + 1):
            text.append(_side_text(right, self._latency(10 ** power) + 4, _unit_ms(10 ** power)))
        for name, y, unit in (("lag_ms", self.lag_y, _unit_ms), ("log_head", self.log_y, _si)):
            text.append(_side_text(right, y + 4, unit(self.top(name))))
            text.append(_side_text(right, y + LINE_H + 4, "0"))
        return "".join(text)


def outage_span(returns, at_ns, ms):
    """Where the gap of that length is among the answers: it begins before the fault as a rule.
    If it is not among them it begins with the fault."""
    length = ms * 1e6
    first = max(bisect.bisect_right(returns, at_ns) - 1, 0)
    last = bisect.bisect_left(returns, at_ns + length + 2e9)
    near = returns[first:last + 1]
    best = min(((abs(after - before - length), before, after)
                for before, after in zip(near, near[1:])), default=None)
    if best and best[0] <= 0.02 * length + 1e6:
        return best[1:]
    return at_ns, at_ns + length


def fault_title(number, fault, start):
    outage = fault.get("outage_ms")
    lines = [f"{number}. {fault['kind']} at {fault['victim']}, "
             f"{seconds_text(round((fault['at_ns'] - start) / 1e9, 1))}",
             f"verified: {fault.get('verified') or 'nothing'}",
             f"expected: {fault.get('expected') or '-'}; outcome: {fault.get('outcome')}"]
    if outage is not None:
        lines.append(f"outage: {ms_text(outage)} ms")
    return "\n".join([*lines, *(f"PROBLEM: {text}" for text in fault.get("problems") or ())])


def legend_swatch(kind):
    fill = f' fill="url(#p-{kind})"' if kind in PATTERNED else ""
    name = "" if fill else f" s-{kind}"
    return (f'<svg class="swatch" width="26" height="14" aria-hidden="true">'
            f'<rect class="band{name}" width="26" height="14"{fill}/></svg>')


def _slowest(placed, size):
    """By whether it was answered: the highest point of each cell."""
    cells = {True: {}, False: {}}
    for x, y, ok in placed:
        cell = int(x // size), int(y // size)
        kept = cells[ok]
        if cell not in kept or kept[cell][1] > y:
            kept[cell] = (x, y)
    return cells


def _shown_state(status):
    return (status.get("role"), status.get("state"), status.get("generation")) if status else None


def _state_text(status):
    if not status:
        return "no monitor answers"
    return f"{status.get('role')}, {status.get('state')}, generation {status.get('generation')}"


def _band_text(status, kind):
    """Both sides of a pair are called protected: what they do is not the same."""
    if not status:
        return "gone"
    if kind == "backup":
        return "backup"
    return f"live, {status['state']}" if kind in ("protected", "alone") else str(status["state"])


def _columns(samples, side, name, wanted, x_of):
    """Of each column of the drawing the least and the largest; None where there is nothing."""
    column, kept = None, []
    for sample in samples:
        status = sample.get(side)
        value = status.get(name) if status and wanted(side, status) else None
        x = x_of(sample["at_ns"])
        if value is None or x // LINE_STEP != column:
            yield from _column(kept)
            kept = []
        if value is None:
            yield None
            column = None
            continue
        column = x // LINE_STEP
        kept.append((x, value))
    yield from _column(kept)


def _column(kept):
    if not kept:
        return
    yield sorted({min(kept, key=lambda pair: pair[1]), max(kept, key=lambda pair: pair[1])})


def _round_up(value):
    if value <= 0:
        return 0
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def _si(value):
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def _unit_ms(ms):
    if ms >= 1000:
        return f"{ms / 1000:g} s"
    return f"{ms:g} ms" if ms >= 1 else f"{ms * 1000:g} µs"


def _side_text(x, y, text, name="tick"):
    anchor = "" if name == "name" else ' text-anchor="end"'
    return f'<text class="{name}" x="{x}" y="{y}"{anchor}>{escape(text)}</text>'
