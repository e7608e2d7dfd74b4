#!/usr/bin/env python3
"""Measures what packing costs models: perplexity and divergence from f32, as a table of
examples/nibble/README.md has them for one model.

    measure_accuracy.py COMMAND MODEL=CALIBRATION.json:EVALUATION.json ... [--encodings q4,q8]

COMMAND is the built `nibble`. A model is packed plainly, with the best scales, with the importance of
columns, and calibrated; the text that calibration sees (lists of token ids, alone or as "calibration")
is to be apart from the text that is scored ("evaluation"). Prints a Markdown table a model.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ENCODINGS = "q2_k,q3_k,q4_0,apr_q4,q4_k,q4,q5_0,q5_1,q5_k,q6_k,q8_0,q8"


def run(*arguments):
    done = subprocess.run([str(each) for each in arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(each) for each in arguments)}\n{done.stderr}")
    return json.loads(done.stdout)


def measure(command, model, calibration, evaluation, encodings, threads):
    def score(path):
        found = run(command, "perplexity", path, "--tokens", evaluation, "--against", model, "-j",
                    "--threads", threads)
        return found["perplexity"], found["against"]["divergence"]["mean"], found["against"]["perplexity"]

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        importance = folder / "importance.gguf"
        run(command, "importance", model, "--tokens", calibration, "-o", importance, "-j",
            "--threads", threads)
        ways = [
            ("fast", []),
            ("best", ["--search", "best"]),
            ("importance", ["--search", "best", "--importance", importance]),
            ("calibrated", ["--search", "calibrated", "--tokens", calibration]),
        ]
        rows = []
        plain = None
        for encoding in encodings:
            row = []
            bits = None
            for name, options in ways:
                packed = folder / "packed.apr"
                # GPT-2's matrices lie [inputs, outputs]; elsewhere no tensor has such a name.
                transposed = []
                for glob in ("*.c_attn.weight", "*.c_proj.weight", "*.c_fc.weight"):
                    if has_tensor(command, model, glob):
                        transposed += ["--transpose", glob]
                report = run(command, "pack", model, "-o", packed, "-e", encoding, *options, *transposed,
                             "-j", "--threads", threads)
                bits = matrix_bits(command, packed)
                perplexity, divergence, plain = score(packed)
                row.append(f"{perplexity:.4f}, {divergence:.5f}")
            print(f"{encoding} {bits:.2f} {row}", file=sys.stderr, flush=True)
            rows.append((encoding, bits, row))
    print(f"{pathlib.Path(model).name}: f32 {plain:.4f}\n")
    print("| encoding | bits a weight | " + " | ".join(name for name, _ in ways) + " |")
    print("|---|---|" + "---|" * len(ways))
    for encoding, bits, row in rows:
        print(f"| {encoding} | {bits:.2f} | " + " | ".join(row) + " |")
    print()


def tensors_of(command, path):
    return run(command, "inspect", path, "-j")["tensors"]


def has_tensor(command, path, glob):
    return any(pathlib.PurePath(each["name"]).match(glob) for each in tensors_of(command, path))


def matrix_bits(command, path):
    matrices = [each for each in tensors_of(command, path) if len(each["shape"]) > 1]
    return 8.0 * sum(each["bytes"] for each in matrices) / sum(each["elements"] for each in matrices)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command")
    parser.add_argument("models", nargs="+", metavar="MODEL=CALIBRATION.json:EVALUATION.json")
    parser.add_argument("--encodings", default=ENCODINGS)
    parser.add_argument("--threads", default="2")
    options = parser.parse_args()
    for each in options.models:
        model, texts = each.split("=", 1)
        calibration, evaluation = texts.split(":", 1)
        measure(options.command, model, calibration, evaluation, options.encodings.split(","),
                options.threads)


if __name__ == "__main__":
    main()
