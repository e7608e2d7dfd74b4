#!/usr/bin/env python3
"""Changes one line of the library at a time and tells which changes the tests notice.

    tests/mutants/mutate.py --mutants 20 --seed 1

Lines of include/nibble/{core,codec,file,format} are drawn at random. In each a comparison is turned, a
check dropped, a sign changed, a constant moved by one, or the like. The folder's test program is then
built and run in a copy of the tree; the tree itself is not touched. A table says what became of each
mutant. The exit status is 1 where one is alive that equivalent.txt does not list.
"""

import argparse
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).resolve().parent / "equivalent.txt"
# The program of each folder, of which every test is to notice what is wrong there.
PROGRAMS = {name: f"test_{name}" for name in ("core", "codec", "file", "format")}

# What is found in code, and what takes its place.
SWAPS = [
    (r" < ", " <= "), (r" <= ", " < "), (r" > ", " >= "), (r" >= ", " > "),
    (r" == ", " != "), (r" != ", " == "),
    (r" && ", " || "), (r" \|\| ", " && "), (r"(?<![\w!])!(?=[\w(:])", ""),
    (r" \+ ", " - "), (r" - ", " + "), (r" \+= ", " -= "), (r" -= ", " += "),
    (r" << ", " >> "), (r" >> ", " << "), (r" & ", " | "), (r" \| ", " & "),
    (r"\+\+", "--"), (r"--", "++"), (r"\bstd::min\b", "std::max"), (r"\bstd::max\b", "std::min"),
    (r"\btrue\b", "false"), (r"\bfalse\b", "true"), (r"\bcontinue;", "break;"),
]
NUMBER = re.compile(r"(?<![\w.'])(0x[0-9A-Fa-f]+|0|[1-9]\d*)(?=[uUlL]*(?![\w.']))")
STATEMENT = re.compile(r"^\s*(?:\+\+|--)?[a-z_][\w.>\-\[\]]*(?:\(.*\)|\s[-+|&]?=\s.*)?;$")
SKIPPED = re.compile(r"^\s*(?:#|///?|template\b|using\b|namespace\b|static_assert\b|class\b|struct\b"
                     r"|enum\b|friend\b|public:|private:|case\b.*:$|\}|$)")


def masked(line):
    """The line with its strings, characters and comment replaced, at the same length."""
    line = re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])+\'', lambda found: "~" * len(found[0]), line)
    comment = line.find("//")
    return line if comment < 0 else line[:comment] + "~" * (len(line) - comment)


def closing(text, start):
    """Where the parenthesis that opens at `start` closes, or -1."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    return -1


def mutants_of(line, previous):
    """All lines that one change makes of this one."""
    code = masked(line).rstrip()
    if SKIPPED.match(code):
        return []
    made = []
    for pattern, other in SWAPS:
        for found in re.finditer(pattern, code):
            made.append(line[:found.start()] + other + line[found.end():])
    for found in NUMBER.finditer(code):
        moved = int(found[0], 0) + 1
        text = f"0x{moved:X}" if found[0].startswith("0x") else str(moved)
        made.append(line[:found.start()] + text + line[found.end():])
    check = re.search(r"\bif (\()", code)
    if check and closing(code, check.start(1)) > 0:
        made.append(line[:check.start(1)] + "(false)" + line[closing(code, check.start(1)) + 1:])
    if STATEMENT.match(code) and not code.lstrip().startswith("return") and previous[-1:] in ("", ";", "{", "}"):
        made.append(re.sub(r"\S.*", ";", line, count=1))
    return [mutant for mutant in made if mutant != line]


def candidates(tree, folders):
    """(file, number, mutants) of every line that can be changed."""
    found = []
    for folder in folders:
        for path in sorted((tree / "include/nibble" / folder).rglob("*.hpp")):
            if "windows" in path.parts:
                continue  # is not compiled here
            lines = path.read_text().splitlines()
            previous = ""
            for number, line in enumerate(lines):
                mutants = mutants_of(line, previous)
                if mutants:
                    found.append((folder, path.relative_to(tree), number, mutants))
                if line.strip():
                    previous = masked(line).rstrip().rstrip("~").rstrip()
    return found


def known_equivalents():
    """(file, line, mutant) of the mutants that nobody can tell from the original."""
    known = set()
    for line in EQUIVALENT.read_text().splitlines() if EQUIVALENT.exists() else []:
        parts = [part.strip() for part in line.split(" => ")]
        if len(parts) >= 3 and not line.startswith("#"):
            known.add(tuple(parts[:3]))
    return known


class Workshop:
    """A copy of the tree, with a build folder beside it."""

    def __init__(self, folder, options):
        self.tree = folder / "tree"
        self.build = folder / "build"
        self.options = options
        if not self.tree.exists():
            names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TREE, check=True,
                                   capture_output=True, text=True).stdout.splitlines()
            for name in names:
                if (TREE / name).is_file():
                    (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(TREE / name, self.tree / name)
        self.environment = dict(os.environ, NIBBLE_SHARED=str(TREE.parent / "shared"))
        command = ["cmake", "-S", str(self.tree), "-B", str(self.build), "-DCMAKE_BUILD_TYPE=Debug",
                   f"-DCMAKE_CXX_FLAGS=-O0 -g0 -w {options.flags}", "-DNIBBLE_BUILD_TESTS=ON", "-DNIBBLE_BUILD_EXAMPLES=OFF"]
        if options.compiler:
            command.append(f"-DCMAKE_CXX_COMPILER={options.compiler}")
        if shutil.which("ninja"):
            command += ["-G", "Ninja"]
        if shutil.which("ccache"):
            command.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def builds(self, program):
        command = ["cmake", "--build", str(self.build), "--target", program, "--parallel",
                   str(self.options.jobs)]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    @staticmethod
    def bound_memory():
        most = 4 << 30
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def verdict(self, program):
        """Of a program that is built: alive, or how it noticed."""
        try:
            with tempfile.TemporaryDirectory(prefix="nibble-mutant-") as temporary:
                status = subprocess.run([str(self.build / "bin" / program), "--abort"],
                                        env=dict(self.environment, TMPDIR=temporary), cwd=temporary,
                                        timeout=self.options.limit,
                                        preexec_fn=self.bound_memory, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL).returncode
        except subprocess.TimeoutExpired:
            return "noticed: no end"
        return "alive" if status == 0 else "noticed" if status > 0 else f"noticed: signal {-status}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=20, help="how many (20)")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn (1)")
    parser.add_argument("--folders", nargs="+", default=list(PROGRAMS), choices=list(PROGRAMS))
    parser.add_argument("--then", nargs="*", default=[], metavar="PROGRAM",
                        help="programs that see what the folder's own left alive: test_library test_crafted")
    parser.add_argument("--match", default="", help="only lines whose FILE:LINE or text has this in it")
    parser.add_argument("--limit", type=float, default=120, help="seconds that a program may run (120)")
    parser.add_argument("--minutes", type=float, default=1e9, help="no new mutant after so many minutes")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at once")
    parser.add_argument("--compiler", help="that CMake is given")
    parser.add_argument("--flags", default="-mavx2 -mfma -mf16c", help="more flags (-mavx2 -mfma -mf16c)")
    parser.add_argument("--work", help="a folder to keep; without it one is made and removed")
    parser.add_argument("--list", action="store_true", help="say what would be changed, and stop")
    options = parser.parse_args()

    chooser = random.Random(options.seed)
    lines = [one for one in candidates(TREE, options.folders)
             if options.match in f"{one[1]}:{one[2] + 1} " + "".join(one[3])]
    chooser.shuffle(lines)
    drawn = [(folder, path, number, chooser.choice(mutants)) for folder, path, number, mutants in lines]
    if options.list:
        for _, path, number, mutant in drawn[:options.mutants]:
            print(f"{path}:{number + 1}: {mutant.strip()}")
        return 0

    folder = Path(options.work or tempfile.mkdtemp(prefix="nibble-mutants-"))
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    rows = []
    try:
        workshop = Workshop(folder, options)
        for program in [PROGRAMS[name] for name in options.folders] + options.then:
            verdict = workshop.verdict(program) if workshop.builds(program) else "does not build"
            if verdict != "alive":
                print(f"{program}, before anything is changed: {verdict} (--limit is {options.limit:g} s)",
                      file=sys.stderr)
                return 2
        known = known_equivalents()
        for name, path, number, mutant in drawn:
            if len(rows) == options.mutants or time.monotonic() - started > 60 * options.minutes:
                break
            file = workshop.tree / path
            original = file.read_text()
            text = original.splitlines()
            line, text[number] = text[number], mutant
            since = time.monotonic()
            try:
                file.write_text("\n".join(text) + "\n")
                if not workshop.builds(PROGRAMS[name]):
                    continue  # it is noticed by the compiler, or was no C++
                verdict = workshop.verdict(PROGRAMS[name])
                for program in options.then:
                    if verdict == "alive":
                        verdict = workshop.verdict(program) if workshop.builds(program) else "noticed"
            finally:
                file.write_text(original)
            if verdict == "alive" and (str(path), line.strip(), mutant.strip()) in known:
                verdict = "equivalent"
            rows.append((f"{path}:{number + 1}".removeprefix("include/nibble/"), line.strip(), mutant.strip(),
                         verdict, round(time.monotonic() - since)))
            print(f"{len(rows):3} {verdict:18} {rows[-1][0]}\n      - {line.strip()}\n      + {mutant.strip()}",
                  flush=True)
    finally:
        if not options.work:
            shutil.rmtree(folder, ignore_errors=True)

    print("\n| where | instead of | stands | | s |\n|---|---|---|---|---|")
    for where, line, mutant, verdict, seconds in rows:
        cells = [f"`{text}`".replace("|", "\\|") for text in (line, mutant)]
        print(f"| {where} | {cells[0]} | {cells[1]} | {verdict} | {seconds} |")
    alive = sum(row[3] == "alive" for row in rows)
    equivalent = sum(row[3] == "equivalent" for row in rows)
    print(f"\nseed {options.seed}: {len(rows)} mutants, {len(rows) - alive - equivalent} noticed, "
          f"{equivalent} equivalent, {alive} alive")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
