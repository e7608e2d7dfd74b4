#!/usr/bin/env python3
"""Turns what nibble_benchmarks --benchmark_out=FILE.json found into a table of ratios and a picture.

usage: roofline.py FILE.json [--svg OUT.svg] [--title TEXT]

Prints each row of the speed table of nibble's design with what was reached. Where a benchmark was
repeated, its fastest run counts. The picture is a roofline: what each kernel computes a second over
what it computes a byte, under what memory and arithmetic allow, on one thread.
"""

import argparse
import json
import math
import re
import sys
from html import escape

NAME = re.compile(r"^(?P<who>\w+)/(?P<work>\w+)/(?P<rest>.*?)/threads:(?P<threads>\d+)")
FOUR_BIT = ("q4_0", "q4_1", "q4_k")
LARGEST = "4096x4096"
BEYOND_CACHES = "32768x4096"
NOISE = 0.05


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", help="JSON that nibble_benchmarks wrote")
    parser.add_argument("--svg", help="picture to write")
    parser.add_argument("--title", help="what the picture says of machine and instruction set")
    return parser.parse_args()


class Results:
    """Benchmarks by name without "/threads:N", and by number of threads; the fastest of each."""

    def __init__(self, document):
        self.context = document["context"]
        self.by_name = {}
        self.failed = []
        for entry in document["benchmarks"]:
            if entry.get("run_type", "iteration") != "iteration":
                continue
            match = NAME.match(entry["name"])
            if match is None:
                continue
            if entry.get("error_occurred"):
                self.failed.append((entry["name"], entry.get("error_message", "")))
                continue
            key = (f"{match['who']}/{match['work']}/{match['rest']}", int(match["threads"]))
            if self.seconds_of(entry) < self.seconds_of(self.by_name.get(key)):
                self.by_name[key] = entry
        self.all_threads = max((threads for _, threads in self.by_name), default=1)

    @staticmethod
    def seconds_of(entry):
        """Time of an iteration, of the kind that the benchmark's rates are of."""
        if entry is None:
            return math.inf
        return entry["real_time" if "real_time" in entry["name"] else "cpu_time"]

    def figure(self, name, figure, threads=1):
        return self.by_name.get((name, threads), {}).get(figure)

    def best(self, pattern, figure, threads=1):
        """The largest figure among benchmarks whose name matches, and that name."""
        found = [(entry[figure], name) for (name, at), entry in self.by_name.items()
                 if at == threads and figure in entry and re.fullmatch(pattern, name)]
        return max(found, default=(None, None))

    def seconds(self, name):
        entry = self.by_name.get((name, 1))
        unit = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
        return None if entry is None else entry["cpu_time"] * unit[entry["time_unit"]]


def short(name):
    """A benchmark's name as a table shows it."""
    return re.sub(r"/matmul/|/decode/", " ", name).replace(f"/{LARGEST}", "") if name else "?"


def design_rows(results):
    """Rows of the speed table: what, reached, to reach, of what, whether less is better."""
    rows = []

    def add(what, reached, to_reach, of, unit="x", less_is_better=False):
        rows.append((what, reached, to_reach, unit, of, less_is_better))

    def ratio(part, whole):
        return None if part is None or not whole else part / whole

    def decode(fmt, size):
        return results.figure(f"nibble/decode/{fmt}/to_f32/{size}", "items_per_second")

    def matmul(fmt, mode, m):
        return results.figure(f"nibble/matmul/{fmt}/{mode}/{LARGEST}/M:{m}", "FLOP")

    write_rate = results.figure("machine/write/past_caches", "bytes_per_second")
    for fmt, peer, to_reach in (("q4", "q4_1", 6.0), ("q8", "q8_0", 2.0)):
        peer_rate = results.figure(f"ggml/decode/{peer}/to_f32/1x4096", "items_per_second")
        add(f"decode {fmt}, in L1", ratio(decode(fmt, "1x4096"), peer_rate), to_reach, f"ggml {peer}")
        values = decode(fmt, "4096x4096")
        add(f"decode {fmt}, out of cache", ratio(values and 4.0 * values, write_rate), 0.9,
            "writing past the caches")

    four_bit = rf"ggml/matmul/({'|'.join(FOUR_BIT)})/\w+/{LARGEST}/M:"
    best, best_name = results.best(four_bit + "1", "FLOP")
    for mode, to_reach in (("int8", 1.2), ("int16", 1.0)):
        add(f"matmul q4 M = 1, {mode}", ratio(matmul("q4", mode, 1), best), to_reach, short(best_name))
        add(f"matmul q4 M = 1, {mode}, repacked", ratio(matmul("q4", f"{mode}_repacked", 1), best),
            to_reach, short(best_name))
    threads = results.all_threads
    read_rate = results.figure("machine/read/memory", "bytes_per_second", threads)
    for fmt in ("q4", "q8"):
        rate, name = results.best(rf"nibble/matmul/{fmt}/\w+/{BEYOND_CACHES}/M:1", "bytes_per_second",
                                  threads)
        mode = name.split("/")[3] if name else "?"
        add(f"matmul {fmt} M = 1, out of cache, {threads} threads ({mode})", ratio(rate, read_rate), 0.9,
            "reading memory")
    add("matmul q4 M = 1, exact",
        ratio(matmul("q4", "exact", 1),
              results.figure(f"ggml/matmul/q4_1/plain/{LARGEST}/M:1", "FLOP")), 0.75, "ggml q4_1")
    sgemm = results.figure(f"openblas/matmul/f32/sgemm/{LARGEST}/M:512", "FLOP")
    for fmt in ("q4", "q8"):
        add(f"matmul {fmt} M = 512, exact", ratio(matmul(fmt, "exact", 512), sgemm), 1.0,
            "OpenBLAS sgemm")
    best, best_name = results.best(rf"ggml/matmul/\w+/\w+/{LARGEST}/M:512", "FLOP")
    add("matmul q4 M = 512, int8", ratio(matmul("q4", "int8", 512), best), 1.3, short(best_name))

    for fmt in ("q4", "q8"):
        for mode in ("exact", "int16", "int8"):
            speeds = [matmul(fmt, mode, m) for m in (1, 2, 4, 8, 16)]
            if None in speeds:
                continue
            steps = [(after / before, m) for before, after, m in zip(speeds, speeds[1:], (2, 4, 8, 16))]
            least, at = min(steps)
            add(f"M = 1 .. 16, {fmt} {mode}: least step", least, 1.0 - NOISE,
                f"GFLOP/s of half as many, at M = {at}")

    for fmt, rule, to_reach in (("q8", "min/max", 1000.0), ("q4", "scale search", 150.0)):
        rate = results.figure(f"nibble/pack/{fmt}/best/1024x1024", "bytes_per_second")
        add(f"pack {fmt}, {rule}", rate and rate / 1e6, to_reach, "f32 input", "MB/s")
    for container, fmt, to_reach in (("apr", "q4", 50.0), ("safetensors", "f32", 200.0)):
        seconds = results.seconds(f"nibble/open/{container}/{fmt}/100000")
        add(f"open 100,000 tensors, {container}", seconds and seconds * 1e3, to_reach, "", "ms", True)
        tenth = results.seconds(f"nibble/open/{container}/{fmt}/10000")
        add(f"open ten times as many, {container}", ratio(seconds, tenth), 11.0, "10,000 tensors", "x",
            True)
    return rows


def print_table(results):
    rows = [("work, one thread unless said", "reached", "to reach", "", "of")]
    for what, reached, to_reach, unit, of, less_is_better in design_rows(results):
        if reached is None:
            found, verdict = "-", "not measured"
        else:
            found = f"{reached:.2f} {unit}" if unit == "x" else f"{reached:.0f} {unit}"
            verdict = "yes" if (reached <= to_reach if less_is_better else reached >= to_reach) else "no"
        goal = f"{to_reach:.2f} {unit}" if unit == "x" else f"{to_reach:.0f} {unit}"
        rows.append((what, found, goal, verdict, of))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        print(f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}"
              f"  {row[3]:<{widths[3]}}  {row[4]}".rstrip())
    for name, message in results.failed:
        print(f"FAILED: {name}: {message}")


# The picture. Colours say who and in which mode, labels say which encoding; both hold on white and on
# black.
STYLE = """
  svg { color-scheme: light dark; }
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 15px; font-weight: 600; }
  .faint { fill: #59636e; }
  .back { fill: #ffffff; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .roof { stroke: #1f2328; stroke-width: 2; fill: none; }
  .cache { stroke: #1f2328; stroke-width: 1.5; stroke-dasharray: 5 4; fill: none; }
  .lead { stroke-width: 1; fill: none; opacity: 0.45; }
  .line { stroke-width: 1.8; fill: none; }
  circle { stroke: none; }
  .of { stroke: none; }
  @LIGHT@
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .faint { fill: #9198a1; } .back { fill: #0d1117; } .grid { stroke: #30363d; }
    .roof, .cache { stroke: #e6edf3; }
    @DARK@
  }
"""
# Name and colours on light and on dark.
GROUPS = [("nibble, exact", "#0969da", "#58a6ff"), ("nibble, int16", "#8250df", "#bc8cff"),
          ("nibble, int8", "#1a7f37", "#3fb950"), ("ggml", "#bc4c00", "#f0883e"),
          ("OpenBLAS", "#59636e", "#9198a1")]
MODES = {"exact": 0, "int16": 1, "int8": 2}
DECODES = {"1x4096": "in L1", "4096x4096": "out of cache"}


def style():
    def colours(which):
        return " ".join(f".c{i} {{ stroke: {group[which]}; }} "
                        f".c{i} circle, .c{i} .of {{ fill: {group[which]}; }}"
                        for i, group in enumerate(GROUPS))

    return STYLE.replace("@LIGHT@", colours(1)).replace("@DARK@", colours(2))


def series_of(results):
    """(label, colour, [(FLOP a byte, FLOP a second)]) of each kernel on one thread, by rising M."""
    series = {}
    for (name, threads), entry in results.by_name.items():
        if threads != 1 or "FLOP_per_byte" not in entry:
            continue
        parts = name.split("/")
        who, work, fmt, variant, shape = parts[:5]
        if work == "decode":
            if variant != "to_f32":
                continue
            label, colour = f"decode {fmt}, {DECODES[shape]}", 0 if who == "nibble" else 3
            label = label if who == "nibble" else f"ggml {label}"
        elif work == "matmul" and shape == LARGEST:
            if who == "nibble":
                label, colour = f"{fmt} {variant.replace('_', ', ')}", MODES.get(variant.split("_")[0], 0)
            elif who == "ggml":
                label, colour = f"ggml {fmt}" + ("" if variant == "plain" else f", {variant}"), 3
            else:
                label, colour = "OpenBLAS f32", 4
        else:
            continue
        series.setdefault((label, colour), []).append((entry["FLOP_per_byte"], entry["FLOP"]))
    return [(label, colour, sorted(points)) for (label, colour), points in series.items()]


def spread(wanted, least, low, high):
    """Places as near to `wanted` (sorted) as may be, at least `least` apart, within low .. high."""
    least = min(least, (high - low) / max(len(wanted) - 1, 1))
    pools = []  # Neighbours that push each other stand around the mean of what they want.
    for i, place in enumerate(wanted):
        pools.append((place - i * least, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (before, many), (after, more) = pools[-2:]
            pools[-2:] = [((before * many + after * more) / (many + more), many + more)]
    places = [mean for mean, count in pools for _ in range(count)]
    last = high - max(len(wanted) - 1, 0) * least
    return [min(max(place, low), last) + i * least for i, place in enumerate(places)]


def picture(results, title):
    read_rate = results.figure("machine/read/memory", "bytes_per_second")
    cache_rate = results.figure("machine/read/8MiB", "bytes_per_second")
    peak = results.figure("machine/multiply_add/f32", "FLOP")
    if not read_rate or not peak:
        sys.exit("roofline.py: a picture needs machine/read/memory and machine/multiply_add/f32")
    series = series_of(results)
    left_labels = sorted((s for s in series if s[0].startswith(("decode", "ggml decode"))),
                         key=lambda s: -s[2][0][1])
    right_labels = sorted((s for s in series if s not in left_labels), key=lambda s: -s[2][-1][1])

    points = [point for _, _, all_points in series for point in all_points]
    x_low, x_high = 0.25, max([x for x, _ in points] + [512.0]) * 1.15
    y_low = min([y for _, y in points] + [peak / 50.0]) / 1.6
    y_high = max([y for _, y in points] + [peak]) * 1.6
    width = 1160
    height = max(640, 140 + 15 * max(len(left_labels), len(right_labels)))
    left, right, top, bottom = 275, 940, 112, height - 62

    def x_of(value):
        return left + (right - left) * math.log(value / x_low) / math.log(x_high / x_low)

    def y_of(value):
        return bottom - (bottom - top) * math.log(value / y_low) / math.log(y_high / y_low)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
           f'aria-label="Roofline of nibble, ggml and OpenBLAS kernels">',
           f"<style>{style()}</style>", f'<rect class="back" width="{width}" height="{height}"/>',
           f'<text class="title" x="24" y="28">{escape(title)}</text>']
    x = 24
    used = {colour for _, colour, _ in series}
    for colour, (name, _, _) in enumerate(GROUPS):
        if colour not in used:
            continue
        out.append(f'<g class="c{colour}"><circle cx="{x + 5}" cy="48" r="5"/>'
                   f'<text class="of" x="{x + 15}" y="52">{name}</text></g>')
        x += 40 + 7 * len(name)
    out.append('<text class="faint" x="24" y="72">matmul with 4096 x 4096, from M = 1 on the left '
               "to 512 on the right; a decoded value counts as 2 FLOP</text>")

    decade = 10 ** math.floor(math.log10(y_low))
    while decade <= y_high:
        for factor in (1, 2, 5):
            value = decade * factor
            if y_low <= value <= y_high:
                y = y_of(value)
                out.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
                           f'<text class="faint" x="{left + 4}" y="{y - 3:.1f}">{value / 1e9:g}</text>')
        decade *= 10
    power = math.ceil(math.log2(x_low))
    while 2 ** power <= x_high:
        x = x_of(2 ** power)
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
                   f'<text class="faint" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">'
                   f"{2.0 ** power:g}</text>")
        power += 1
    out.append(f'<text class="faint" x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">'
               "FLOP a byte of weights, inputs and outputs</text>")
    out.append(f'<text class="faint" x="{left + 4}" y="{top - 8}">GFLOP/s</text>')

    def add_roof(rate, css, label):
        start = max(x_low, y_low / rate)
        knee = peak / rate
        out.append(f'<path class="{css}" d="M{x_of(start):.1f},{y_of(start * rate):.1f} '
                   f'L{x_of(knee):.1f},{y_of(peak):.1f} L{x_of(x_high):.1f},{y_of(peak):.1f}"/>')
        at = start * (knee / start) ** 0.62
        slope = math.degrees(math.atan2(y_of(knee * rate) - y_of(start * rate), x_of(knee) - x_of(start)))
        x, y = x_of(at), y_of(at * rate) - 6
        out.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" '
                   f'transform="rotate({slope:.1f} {x:.1f} {y:.1f})">{label} {rate / 1e9:.1f} GB/s</text>')

    add_roof(read_rate, "roof", "memory")
    if cache_rate and cache_rate > 1.15 * read_rate:
        add_roof(cache_rate, "cache", "8 MiB in cache")
    out.append(f'<text x="{right - 6}" y="{y_of(peak) - 6:.1f}" text-anchor="end">'
               f"f32 multiply-add {peak / 1e9:.0f} GFLOP/s</text>")

    for _, colour, points in series:
        out.append(f'<g class="c{colour}">')
        if len(points) > 1:
            path = " L".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
            out.append(f'<path class="line" d="M{path}"/>')
        out.extend(f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3"/>' for x, y in points)
        out.append("</g>")
    for labels, at_end, text_x, anchor, edge in ((left_labels, 0, left - 26, "end", left - 22),
                                                 (right_labels, -1, right + 26, "start", right + 22)):
        places = spread([y_of(points[at_end][1]) for _, _, points in labels], 14.5, top + 4, bottom)
        for (label, colour, points), place in zip(labels, places):
            x, y = x_of(points[at_end][0]), y_of(points[at_end][1])
            speed = f"{points[at_end][1] / 1e9:.3g}"
            out.append(f'<g class="c{colour}"><path class="lead" d="M{x:.1f},{y:.1f} L{edge},{place:.1f}"/>'
                       f'<text class="of" x="{text_x}" y="{place + 4:.1f}" text-anchor="{anchor}">'
                       f"{escape(label)} {speed}</text></g>")
    out.append("</svg>\n")
    return "\n".join(out)


def main():
    arguments = parse_arguments()
    with open(arguments.results, encoding="utf-8") as file:
        results = Results(json.load(file))
    print_table(results)
    if arguments.svg:
        title = arguments.title or "What one thread computes a second, and what it could"
        with open(arguments.svg, "w", encoding="utf-8") as file:
            file.write(picture(results, title))


if __name__ == "__main__":
    main()
