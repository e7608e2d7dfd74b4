#!/usr/bin/env python3
"""What packing changes: relative RMSE of every packed encoding, fast and best, beside what ggml and its forks
make of the same values in the same type without importance.

usage: packing_error.py FOLDER [--rows 256|4096]

FOLDER has nibble_benchmarks, and a peer_NAME for each ggml. The values are a matrix of 4096 columns: N(0,
0.02), heavy tails, and one outlier in 32. Prints a Markdown table of each.

Exit code: 0 where `best` errs no more than every peer, 1 where not.
"""

import argparse
import json
import os
import re
import subprocess
import sys

# The types that hold the same codes under the same scales.
TYPES = {"q4": "q4_1", "apr_q4": "q4_0"}
DISTRIBUTIONS = {"normal": "N(0, 0.02)", "heavy_tailed": "0.02 times Student's t of 3",
                 "one_outlier": "one outlier in 32"}


def measured(program, rows):
    """What a program says: its name to its figures."""
    done = subprocess.run([program, f"--benchmark_filter=/packing_error/.*/{rows}x4096",
                           "--benchmark_format=json", "--benchmark_min_time=0.01"],
                          check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)["benchmarks"] if done.stdout.strip() else []
    return {re.sub(r"/threads:.*", "", each["name"]): each for each in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="with nibble_benchmarks and peer_*")
    parser.add_argument("--rows", type=int, choices=[256, 4096], default=4096)
    arguments = parser.parse_args()
    programs = sorted(name for name in os.listdir(arguments.folder)
                      if name == "nibble_benchmarks" or name.startswith("peer_"))
    figures = {}
    for name in programs:
        figures.update(measured(os.path.join(arguments.folder, name), arguments.rows))
    peers = [name[len("peer_"):] for name in programs if name.startswith("peer_")]
    encodings = list(dict.fromkeys(name.split("/")[2] for name in figures if name.startswith("nibble/")))
    if not encodings:
        sys.exit(f"{arguments.folder}: there is no nibble_benchmarks")

    is_worse = False
    for distribution, title in DISTRIBUTIONS.items():
        print(f"\n{title}, {arguments.rows} x 4096\n")
        print("| encoding | fast | best | " + "".join(f"{peer} | " for peer in peers) + "fast, MB/s |")
        print("|---|---|---|" + "---|" * len(peers) + "---|")
        place = f"{distribution}/{arguments.rows}x4096"
        for encoding in encodings:
            fast = figures[f"nibble/packing_error/{encoding}/fast/{place}"]
            best = figures[f"nibble/packing_error/{encoding}/best/{place}"]
            cells = [f"{each['relative_error']:.6f}" for each in (fast, best)]
            for peer in peers:
                other = figures.get(f"{peer}/packing_error/{TYPES.get(encoding, encoding)}/{place}")
                if other is None:
                    cells.append("")
                    continue
                worse = best["relative_error"] > other["relative_error"] * (1 + 1e-6)
                is_worse = is_worse or worse
                cells.append(f"{other['relative_error']:.6f}" + (" less" if worse else ""))
            cells.append(f"{fast['bytes_per_second'] / 1e6:.0f}")
            print(f"| {encoding} | " + " | ".join(cells) + " |")
    sys.exit(1 if is_worse else 0)


if __name__ == "__main__":
    main()
