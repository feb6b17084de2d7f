# SPDX-License-Identifier: GPL-2.0-or-later
"""The report of a drill: figures, and a page that is well-formed, closed and not too large."""

import html.parser
import json
import re
import unittest
from xml.etree import ElementTree

from drill_sample import SAMPLES, sample
from vmftlab.drill import chart as drillchart, report as drillreport

PAGE_MAX = 2 << 20
VOID = {"meta"}
SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert(1)</script>&\"'\x00\x1b\u2028]]>"


class Closed(html.parser.HTMLParser):
    """Every element that is opened is closed, in order; links stay on the page."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.errors = []
        self.links = []
        self.ids = set()

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(tag, attrs)

    def handle_startendtag(self, tag, attrs):
        self._attributes(tag, attrs)

    def _attributes(self, tag, attrs):
        if tag in ("script", "link", "img", "iframe", "object", "embed", "base"):
            self.errors.append(tag)
        for name, value in attrs:
            if name.startswith("on"):
                self.errors.append(name)
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)
            if name == "id":
                if value in self.ids:
                    self.errors.append(f"two of {value}")
                self.ids.add(value)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.errors.append(f"</{tag}>")


class Page(unittest.TestCase):
    def parse(self, text):
        closed = Closed()
        closed.feed(text)
        closed.close()
        self.assertEqual((closed.errors, closed.open), ([], []))
        for link in closed.links:
            self.assertTrue(link.startswith("#") and link[1:] in closed.ids, link)
        self.assertEqual(re.findall(r"@import|url\((?!#)", text), [])
        self.assertEqual([found for found in re.findall(r"[a-z]+://[^\"' <]+", text)
                          if not found.startswith("http://www.w3.org/")], [])
        return ElementTree.fromstring(text)

    def test_each_sample(self):
        for name, options in SAMPLES.items():
            with self.subTest(name):
                result = sample(**options)
                text = drillreport.html(result)
                self.assertLess(len(text.encode()), PAGE_MAX)
                root = self.parse(text)
                titles = [title.text for title in root.iter(f"{SVG}title")]
                for number, fault in enumerate(result["faults"], 1):
                    self.assertTrue(any(title.startswith(f"{number}. {fault['kind']}")
                                        and fault["verified"] in title for title in titles), number)
                self.assertIn("FAILED" if options.get("bad") else "PASSED", text)

    def test_a_soak_is_more_than_it_draws(self):
        result = sample(**SAMPLES["soak"])
        self.assertGreater(len(result["ops"]), 45000)
        self.assertEqual(len(result["faults"]), 100)

    def test_a_longer_one_is_not_larger(self):
        """Three times as long and as many operations: of those hardly more is drawn."""
        result = sample(faults=100, per_fault=54, rate=28)
        self.assertGreater(len(result["ops"]), 130000)
        self.assertLess(len(drillreport.html(result).encode()), PAGE_MAX)

    def test_nothing_happened(self):
        self.parse(drillreport.html(drillreport.summarize({"vm": "x", "ok": False})))
        result = {"vm": "x", "ok": True, "faults": [], "samples": [], "ops": [], "problems": []}
        self.parse(drillreport.html(drillreport.summarize(result)))

    def test_everything_is_escaped(self):
        result = sample(faults=2, rate=5)
        result.update({name: NASTY for name in ("vm", "strategy", "accel", "image", "seed",
                                                "machine", "began", "smp")})
        result["problems"] = [NASTY]
        for fault in result["faults"]:
            fault.update({name: NASTY for name in ("kind", "victim", "verified", "expected",
                                                   "outcome")}, problems=[NASTY])
        for one in result["samples"]:
            one["A"] = {"role": NASTY, "state": NASTY, "generation": NASTY}
        result["totals"]["lost"] = NASTY
        text = drillreport.html(drillreport.summarize(result))
        root = self.parse(text)
        self.assertNotIn("<script", text)
        self.assertIn("<script>alert(1)</script>&\"'", "".join(root.itertext()))

    def test_a_side_that_is_gone(self):
        second = 10**9
        status = {"role": "primary", "state": "alone", "generation": 1, "lag_ms": None,
                  "log_head": 0}
        root = self.parse(drillreport.html(drillreport.summarize({
            "vm": "x", "ok": True, "faults": [], "ops": [],
            "samples": [{"at_ns": n * second, "A": status, "B": None} for n in range(5)]})))
        titles = [title.text for title in root.iter(f"{SVG}title")]
        self.assertIn("A: primary, alone, generation 1, 0 s to 4 s", titles)
        self.assertIn("B: no monitor answers, 0 s to 4 s", titles)

    def test_states_differ_without_colour(self):
        """What is not plain has a pattern; of the plain ones each says its name when it can."""
        text = drillreport.html(sample())
        for kind in drillchart.PATTERNED:
            self.assertIn(f'fill="url(#p-{kind})"', text)
            self.assertIn(f'id="p-{kind}"', text)
        for kind, words in drillchart.KINDS:
            self.assertIn(words, text, kind)


class TimeLine(unittest.TestCase):
    def test_a_maximum_is_never_thinned_out(self):
        second = 10**9
        ops = [{"at_ns": second + n * 1000, "ms": 1 + n % 7 / 10, "ok": True}
               for n in range(20000)]
        ops[7777]["ms"] = 4321.0
        chart = drillchart.Chart({"ops": ops})
        drawn = re.findall(r"M[\d.]+ ([\d.]+)h0", "".join(chart._points()))
        self.assertLess(len(drawn), 2000)
        self.assertEqual(min(map(float, drawn)), chart._latency(4321.0))

    def test_unanswered_are_marked_apart(self):
        ops = [{"at_ns": 10**9, "ms": 5.0, "ok": True}, {"at_ns": 2 * 10**9, "ms": 9.0, "ok": False}]
        points = drillchart.Chart({"ops": ops})._points()
        self.assertEqual(len(points), 2)
        self.assertIn('class="lost"', points[1])

    def test_an_outage_is_where_its_gap_is(self):
        ms = 10**6
        returns = [0, 10 * ms, 20 * ms, 520 * ms, 530 * ms]
        self.assertEqual(drillchart.outage_span(returns, 25 * ms, 500), (20 * ms, 520 * ms))
        self.assertEqual(drillchart.outage_span(returns, 25 * ms, 90), (25 * ms, 115 * ms))
        self.assertEqual(drillchart.outage_span([], 25 * ms, 90), (25 * ms, 115 * ms))

    def test_labels_do_not_overlap(self):
        chart = drillchart.Chart(sample(**SAMPLES["soak"]))
        ends = {}
        shown = [place for place in chart.labels if place]
        self.assertGreater(len(shown), 95)
        for lane, left, text in shown:
            self.assertGreaterEqual(left, ends.get(lane, 0))
            ends[lane] = left + len(text) * drillchart.CHAR
            self.assertLessEqual(ends[lane], chart.width)

    def test_kinds_of_states(self):
        for role, state, kind in (("primary", "protected", "protected"),
                                  ("backup", "protected", "backup"),
                                  ("primary", "alone", "alone"), ("backup", "alone", "alone"),
                                  ("primary", "attaching", "alone"),
                                  ("backup", "attaching", "coming"),
                                  ("backup", "waiting-arbiter", "deciding"),
                                  ("primary", "fenced", "final")):
            self.assertEqual(drillchart.state_kind({"role": role, "state": state}), kind)
        self.assertEqual(drillchart.state_kind(None), "gone")


class Figures(unittest.TestCase):
    def test_percentile(self):
        self.assertIsNone(drillreport.percentile([], 50))
        self.assertEqual(drillreport.percentile([3, 1, 2], 50), 2)
        self.assertEqual(drillreport.percentile(range(1, 101), 99), 99)
        self.assertEqual(drillreport.percentile([5], 99), 5)

    def test_summarize(self):
        def fault(kind, outage):
            return {"kind": kind, "outage_ms": outage, "outcome": "failover", "problems": []}
        totals = drillreport.summarize({"faults": [
            fault("a", 10.0), fault("a", 30.0), fault("b", 20.0), fault("c", None)]})["totals"]
        self.assertEqual(totals["faults"], {"a": 2, "b": 1, "c": 1})
        self.assertEqual(totals["outage_ms"], {
            "p50": 20.0, "p99": 30.0, "max": 30.0,
            "by_kind": {"a": {"p50": 10.0, "p99": 30.0, "max": 30.0, "n": 2},
                        "b": {"p50": 20.0, "p99": 20.0, "max": 20.0, "n": 1}}})

    def test_table(self):
        for options in SAMPLES.values():
            result = sample(**options)
            text = drillreport.table(result)
            lines = text.splitlines()
            self.assertLessEqual(max(map(len, lines)), 100)
            for kind in {fault["kind"] for fault in result["faults"]}:
                self.assertEqual(sum(line.split()[:1] == [kind] for line in lines), 1, kind)
            self.assertEqual(lines[-1], "FAILED" if options.get("bad") else "PASSED")
        self.assertIn("problem: fault 5, cut-channel: fenced", drillreport.table(sample(bad=True)))

    def test_table_of_long_words(self):
        text = drillreport.table(drillreport.summarize({"ok": False, "problems": ["x" * 250]}))
        self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_json(self):
        result = sample(faults=3)
        text = drillreport.json(result)
        read = json.loads(text)
        self.assertEqual(read.pop("each_fault"), result["faults"])
        self.assertEqual(list(read)[:9], ["ok", "problems", *drillreport.TOP, "totals"])
        for name in drillreport.TOP:
            self.assertEqual(read.pop(name), result["totals"][name])
        del result["faults"]
        self.assertEqual(read, result)
        self.assertEqual(json.loads(drillreport.json({"ok": True, "ops": []})),
                         {"ok": True, "ops": []})


if __name__ == "__main__":
    unittest.main()
