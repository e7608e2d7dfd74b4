"""compare.py on made-up results: ratios, targets, exit codes, what got slower.

usage: compare.py SOURCE FOLDER
"""

import json
import os
import subprocess
import sys

source, folder = sys.argv[1:]
os.makedirs(folder, exist_ok=True)


def results(name, speeds, error=None):
    """A file of benchmarks, each of one second and so many operations."""
    benchmarks = [{"name": f"{key}/threads:1", "run_type": "iteration", "cpu_time": 1e9 / value,
                   "real_time": 1e9 / value, "time_unit": "ns", "FLOP": value * 1e9} for key, value in speeds]
    if error is not None:
        benchmarks[error].update(error_occurred=True, error_message="not the product")
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"context": {}, "benchmarks": benchmarks}, file)
    return path


def compare(*arguments):
    run = subprocess.run([sys.executable, os.path.join(source, "benchmarks", "compare.py"), *arguments],
                         capture_output=True, text=True)
    assert run.stderr == "", run.stderr
    return run.returncode, run.stdout


def row(text, what):
    return next(line for line in text.splitlines() if line.startswith(what + "  "))


mine = "nibble/matmul/q4/int8/4096x4096/M:1"
speeds = [(mine, 120.0), ("fork/matmul/q4_0/plain/4096x4096/M:1", 90.0),
          ("ggml/matmul/q4_k/plain/4096x4096/M:1", 100.0), ("fork/matmul/q4_0_r8/plain/4096x4096/M:1", 150.0)]
now = results("now.json", speeds)
code, text = compare(now)
assert code == 1, "most rows are not measured"
in_place = row(text, "M = 1, q4 in place").split()
assert in_place[-3:] == ["1.20", "1.20", "yes"] and "ggml q4_k plain" in row(text, "M = 1, q4 in place"), in_place
assert "not measured" in row(text, "M = 1, q6_k in place")
slow = results("slow.json", [(mine, 119.0), *speeds[1:]])
assert row(compare(slow)[1], "M = 1, q4 in place").split()[-1] == "NO"
assert "slower" not in compare(now, "--against", slow)[1]
slower = results("slower.json", [(mine, 80.0), *speeds[1:]])
assert "slower: 0.67 of what it was: " + mine in compare(slower, "--against", now)[1]
wrong = results("wrong.json", speeds, error=0)
assert f"FAILED: {mine}" in compare(wrong)[1] and compare(wrong)[0] == 1
# The faster of two rounds counts.
rounds = results("rounds.json", [(mine, 60.0), *speeds])
assert row(compare(rounds)[1], "M = 1, q4 in place").split()[-1] == "yes"
print("compare.py prints what it should")
