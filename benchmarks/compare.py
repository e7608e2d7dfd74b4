#!/usr/bin/env python3
"""Holds nibble against its peers: every row of the speed table of nibble's design, from one file.

usage: compare.py RESULTS.json [--run FOLDER [--rounds N] [--filter REGEX]] [--against OLD.json]

With --run the programs in FOLDER (nibble_benchmarks, and a peer_NAME for each ggml) are run first, in
turns, and RESULTS.json is written. Prints each row with the peer, both speeds, their ratio and what is to
be reached; the fastest round counts. With --against it also lists what got slower than it was in OLD.json.

Exit code: 0 where every target is reached and nothing got slower, 1 where not, or where a result is wrong.
"""

import argparse
import json
import os
import re
import subprocess
import sys

from roofline import NOISE, Results

LARGEST = "4096x4096"
UP_PROJECTION = "14336x4096"
FOUR_BITS = "(?:q4_0|q4_1|q4_k|iq4_nl)"
PEER = r"(?!nibble|machine|openblas)\w+"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", help="JSON to read, or to write with --run")
    parser.add_argument("--run", metavar="FOLDER", help="folder with nibble_benchmarks and peer_*")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every program, 3 unless given")
    parser.add_argument("--filter", default=needed(), help="benchmarks to run; those of the table unless given")
    parser.add_argument("--min-time", default="0.1", help="seconds a benchmark is run for at least")
    parser.add_argument("--against", metavar="OLD.json", help="results of an earlier state of nibble")
    return parser.parse_args()


def run_programs(arguments):
    """Runs every program in turn and writes what all rounds gave, as one file."""
    programs = sorted(name for name in os.listdir(arguments.run)
                      if name == "nibble_benchmarks" or name.startswith("peer_"))
    if "nibble_benchmarks" not in programs:
        sys.exit(f"{arguments.run}: there is no nibble_benchmarks")
    merged = {"context": {}, "benchmarks": []}
    for turn in range(arguments.rounds):
        for name in programs:
            part = f"{arguments.results}.part"
            print(f"round {turn + 1} of {arguments.rounds}: {name}", file=sys.stderr, flush=True)
            subprocess.run([os.path.join(arguments.run, name), f"--benchmark_filter={arguments.filter}",
                            f"--benchmark_min_time={arguments.min_time}", f"--benchmark_out={part}",
                            "--benchmark_out_format=json"], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            if os.path.getsize(part) != 0:
                with open(part, encoding="utf-8") as file:
                    document = json.load(file)
                merged["context"] = merged["context"] or document["context"]
                merged["benchmarks"] += document["benchmarks"]
            os.remove(part)
    with open(arguments.results, "w", encoding="utf-8") as file:
        json.dump(merged, file, indent=1)


class NoResults(Results):
    """Nothing was measured; keeps what is asked for, as expressions."""

    def __init__(self):
        super().__init__({"context": {}, "benchmarks": []})
        self.asked = []

    def figure(self, name, figure, threads=1):
        self.asked.append(name)

    def best(self, pattern, figure, threads=1):
        self.asked.append(pattern)
        return None, None

    def seconds(self, name):
        self.asked.append(name)


def needed():
    """Matches the benchmarks that the table reads, and some of nibble's: in POSIX's extended expressions,
    which Google Benchmark takes, nothing is excluded."""
    nothing = NoResults()
    fill(Table(nothing))
    either = "|".join(dict.fromkeys(nothing.asked)).replace(PEER, r"\w+")
    for python, posix in (("(?:", "("), (r"\w", "[a-z0-9_]"), (r"\d", "[0-9]")):
        either = either.replace(python, posix)
    return f"^({either})/"


class Table:
    """Rows: what, the peer, its figure, nibble's figure, unit, ratio, what is to be reached, and whether
    that is an upper bound."""

    def __init__(self, results):
        self.results = results
        self.rows = []

    def best(self, pattern, figure="FLOP", threads=1):
        return self.results.best(pattern, figure, threads)

    def add(self, what, mine, peer, target, figure="FLOP", threads=1, unit="GFLOP/s"):
        """The best of nibble's benchmarks that match against the best of the peers'."""
        reached, _ = self.best(f"nibble/{mine}", figure, threads)
        fastest, name = self.best(peer, figure, threads)
        self.add_figures(what, name, fastest, reached, target, unit)

    def add_figures(self, what, name, fastest, reached, target, unit, scale=1e-9, is_upper=False):
        ratio = None if reached is None or not fastest else reached / fastest
        self.rows.append((what, name, fastest and fastest * scale, reached and reached * scale, unit, ratio,
                          target, is_upper))


def fill(table):
    """The speed table."""
    results = table.results
    both = results.all_threads
    plain = rf"{PEER}/matmul/{FOUR_BITS}/plain/"
    any_form = rf"{PEER}/matmul/{FOUR_BITS}(?:_r\d+)?/\w+/"

    def at(shape, m):
        return f"{shape}/M:{m}"

    one = at(LARGEST, 1)
    table.add("M = 1, q4 in place", f"matmul/q4/int8/{one}", plain + one, 1.2)
    table.add("M = 1, q4_k in place", f"matmul/q4_k/int8/{one}", plain + one, 1.1)
    table.add("M = 1, 4 bits, rows interleaved", f"matmul/q4(?:_k)?/int8_repacked/{one}", any_form + one, 1.1)
    for encoding in ("q4", "q4_k", "q8"):
        in_place = results.figure(f"nibble/matmul/{encoding}/int8/{one}", "FLOP_per_byte")
        repacked = results.figure(f"nibble/matmul/{encoding}/int8_repacked/{one}", "FLOP_per_byte")
        bits = [flop and 2.0 * 8.0 / flop for flop in (in_place, repacked)]
        table.add_figures(f"bits a weight, {encoding} repacked", f"nibble {encoding}", *bits, 17 / 16, "bits",
                          1.0, True)
    for shape in ("1536x576", "4864x896"):
        table.add(f"M = 1, K = {shape.split('x')[1]}, q4 in place", f"matmul/q4/int8/{at(shape, 1)}",
                  plain + at(shape, 1), 1.2)
    for encoding in ("q6_k", "q5_k", "q3_k", "q2_k"):
        table.add(f"M = 1, {encoding} in place", f"matmul/{encoding}/int8/{one}",
                  rf"{PEER}/matmul/{encoding}/plain/{one}", 1.1)
        table.add(f"M = 1, {encoding}, interleaved", f"matmul/{encoding}/int8(?:_repacked)?/{one}",
                  rf"{PEER}/matmul/{encoding}(?:_r\d+)?/\w+/{one}", 1.1)
    for encoding in ("q8", "q8_0"):
        table.add(f"M = 1, {encoding}, int8", f"matmul/{encoding}/int8(?:_repacked)?/{one}",
                  rf"{PEER}/matmul/q8_0(?:_r\d+)?/\w+/{one}", 1.0)
        in_place, name = table.best(f"nibble/matmul/{encoding}/int8/{one}")
        table.add_figures(f"M = 1, {encoding}, repacked", name, in_place,
                          table.best(f"nibble/matmul/{encoding}/int8_repacked/{one}")[0], 1.0 - NOISE,
                          "GFLOP/s")
    for encoding in ("bf16", "f16"):
        table.add(f"M = 1, {encoding}", rf"matmul/{encoding}/\w+/{one}",
                  rf"{PEER}/matmul/{encoding}(?:_r\d+)?/\w+/{one}", 1.0)
    for m in (4, 16):
        table.add(f"M = {m}, 4 bits, interleaved", rf"matmul/q4(?:_k)?/int8(?:_repacked)?/{at(LARGEST, m)}",
                  any_form + at(LARGEST, m), 1.2)
        table.add(f"M = {m}, q6_k", rf"matmul/q6_k/int8(?:_repacked)?/{at(LARGEST, m)}",
                  rf"{PEER}/matmul/q6_k(?:_r\d+)?/\w+/{at(LARGEST, m)}", 1.1)
    for m in (64, 128, 512):
        table.add(f"M = {m}, int8, q4", rf"matmul/q4/int8(?:_repacked)?/{at(LARGEST, m)}",
                  any_form + at(LARGEST, m), 1.1)
        table.add(f"M = {m}, int8, q6_k", rf"matmul/q6_k/int8(?:_repacked)?/{at(LARGEST, m)}",
                  rf"{PEER}/matmul/q6_k(?:_r\d+)?/\w+/{at(LARGEST, m)}", 1.1)
    many = at(LARGEST, 512)
    table.add("M = 512, bf16", rf"matmul/bf16/\w+/{many}", rf"{PEER}/matmul/bf16(?:_r\d+)?/\w+/{many}", 1.0)
    for encoding in ("q4", "q8"):
        table.add(f"M = 512, exact, {encoding}", f"matmul/{encoding}/exact/{many}",
                  f"openblas/matmul/f32/sgemm/{many}", 1.0)

    # Past the caches: as fast as the fastest peer, or nine tenths of what plain reading reaches.
    up = at(UP_PROJECTION, 1)
    reading = results.figure("machine/read/memory", "bytes_per_second", both)
    for encoding, peers in (("q4", FOUR_BITS), ("q6_k", "q6_k"), ("q8", "q8_0")):
        rate, name = table.best(rf"nibble/matmul/{encoding}/int8(?:_repacked)?/{up}", "bytes_per_second", both)
        flop, _ = table.best(rf"nibble/matmul/{encoding}/int8(?:_repacked)?/{up}", "FLOP", both)
        fastest, peer = table.best(rf"{PEER}/matmul/{peers}(?:_r\d+)?/\w+/{up}", "FLOP", both)
        what = f"M = 1, {both} cores, {UP_PROJECTION}, {encoding}"
        against_peer = flop / fastest if flop and fastest else 0.0
        against_memory = rate / (0.9 * reading) if rate and reading else 0.0
        if against_memory > against_peer or fastest is None:
            table.add_figures(what, "reading memory", reading, rate, 0.9, "GB/s")
        else:
            table.add_figures(what, peer, fastest, flop, 1.0, "GFLOP/s")
    for threads in sorted({1, both}):
        reading = results.figure("machine/read/memory", "bytes_per_second", threads)
        for form in ("q4/int8", "q4/int8_repacked", "q4_r8/int8"):
            rate = results.figure(f"nibble/token/{form}/smollm-135m", "bytes_per_second", threads)
            what = f"a token of SmolLM-135M, {form.replace('/', ' ')}, {threads} cores"
            table.add_figures(what, "reading memory", reading, rate, 0.8, "GB/s")

    writing = results.figure("machine/write/past_caches", "bytes_per_second")
    for encoding, peer, target in (("q4", "q4_1", 6.0), ("q8", "q8_0", 2.0)):
        table.add(f"decode {encoding}, in L1", f"decode/{encoding}/to_f32/1x4096",
                  rf"{PEER}/decode/{peer}/to_f32/1x4096", target, "items_per_second", 1, "G elements/s")
        values = results.figure(f"nibble/decode/{encoding}/to_f32/4096x4096", "items_per_second")
        table.add_figures(f"decode {encoding}, out of cache", "writing past the caches", writing,
                          values and 4.0 * values, 0.85, "GB/s")
    for encoding in ("q4", "q8"):
        for mode in ("exact", "int16", "int8"):
            speeds = [results.figure(f"nibble/matmul/{encoding}/{mode}/{LARGEST}/M:{m}", "FLOP")
                      for m in (1, 2, 4, 8, 16)]
            if None in speeds:
                continue
            after, before = min(zip(speeds[1:], speeds), key=lambda pair: pair[0] / pair[1])
            table.add_figures(f"M = 1 .. 16, {encoding} {mode}: least step", "half as many rows", before, after,
                              1.0 - NOISE, "GFLOP/s")
    for encoding, target in (("q8", 300.0), ("q4", 150.0), ("q4_k", 150.0), ("q6_k", 150.0)):
        rate = results.figure(f"nibble/pack/{encoding}/best/1024x1024", "bytes_per_second")
        table.add_figures(f"pack {encoding}", "what is asked for", target * 1e6, rate, 1.0, "MB/s", 1e-6)
    for container, encoding, target in (("apr", "q4", 0.050), ("safetensors", "f32", 0.100)):
        seconds = results.seconds(f"nibble/open/{container}/{encoding}/100000")
        table.add_figures(f"open 100,000 tensors, {container}", "what is asked for", target, seconds, 1.0, "ms",
                          1e3, True)


def print_table(rows):
    """Prints the rows; whether all that were measured reach their target, and all were measured."""
    lines = [("work, one core unless said", "peer", "its", "today", "", "ratio", "target", "")]
    is_fine = True
    for what, name, fastest, reached, unit, ratio, target, is_upper in rows:
        number = lambda value: "-" if value is None else f"{value:.3g}"
        if ratio is None:
            verdict = "not measured"
        else:
            verdict = "yes" if (ratio <= target if is_upper else ratio >= target) else "NO"
        is_fine &= verdict == "yes"
        goal = f"{'<= ' if is_upper else ''}{target:.2f}"
        lines.append((what, short_name(name), number(fastest), number(reached), unit,
                      "-" if ratio is None else f"{ratio:.2f}", goal, verdict))
    widths = [max(len(line[i]) for line in lines) for i in range(8)]
    for line in lines:
        cells = [f"{cell:<{width}}" if i in (0, 1, 4, 7) else f"{cell:>{width}}"
                 for i, (cell, width) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())
    return is_fine


def short_name(name):
    """A benchmark's name as the table shows it: who, type, form."""
    if name is None:
        return "-"
    parts = name.split("/")
    return " ".join([parts[0], *parts[2:4]]) if len(parts) > 4 else name


def print_slower(new, old):
    """Lists benchmarks of nibble that are slower than they were; whether there are none."""
    slower = []
    for (name, threads), entry in old.by_name.items():
        now = new.by_name.get((name, threads))
        if now is None or not name.startswith("nibble/"):
            continue
        ratio = Results.seconds_of(entry) / Results.seconds_of(now)
        if ratio < 1.0 - 2.0 * NOISE:
            slower.append((ratio, f"{name}, {threads} threads"))
    for ratio, name in sorted(slower):
        print(f"slower: {ratio:.2f} of what it was: {name}")
    return not slower


def main():
    arguments = parse_arguments()
    if arguments.run:
        run_programs(arguments)
    with open(arguments.results, encoding="utf-8") as file:
        results = Results(json.load(file))
    table = Table(results)
    fill(table)
    is_fine = print_table(table.rows)
    for name, message in results.failed:
        print(f"FAILED: {name}: {message}")
    if arguments.against:
        with open(arguments.against, encoding="utf-8") as file:
            is_fine &= print_slower(results, Results(json.load(file)))
    sys.exit(0 if is_fine and not results.failed else 1)


if __name__ == "__main__":
    main()
