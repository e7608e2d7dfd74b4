#!/usr/bin/env python3
"""Measures what packing costs models: perplexity and divergence from f32, as the tables in
examples/nibble/README.md have them.

    measure_accuracy.py COMMAND MODEL=CALIBRATION.json:EVALUATION.json ... [--encodings q4,q8]

COMMAND is the built `nibble`. A model is packed in every encoding: as it comes, with the best scales, with
the importance of columns, and calibrated. --target-bits adds files whose encodings are chosen tensor by
tensor, as fast without a text and otherwise measured with one. What calibration and --measure see (lists of
token ids, alone or as "calibration") is to be apart from the text that is scored ("evaluation"). Where
CALIBRATION.json is left out, as in MODEL=:EVALUATION.json, it is text that the model itself makes up.
--llama-quantize adds what that program of llama.cpp packs as the same type. Prints a Markdown table a model; an encoding that no matrix has rows for is left out.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ENCODINGS = ("q1_0,q2_0,tq2_0,q2_k,q3_k,q4_0,apr_q4,q4_k,nvfp4,q4,q5_0,q5_k,q5_1,q6_k,q8_0,apr_q8,q8")
# What llama-quantize calls them where it has them.
GGML_TYPES = {"q2_k": "Q2_K", "q3_k": "Q3_K", "q4_0": "Q4_0", "q4_k": "Q4_K", "q4": "Q4_1", "q5_0": "Q5_0",
              "q5_k": "Q5_K", "q5_1": "Q5_1", "q6_k": "Q6_K", "q8_0": "Q8_0", "tq2_0": "TQ2_0"}
OWN_TEXTS = 48
OWN_TOKENS = 240
MEASURED_TEXTS = 16


def ended_well(*arguments):
    done = subprocess.run([str(each) for each in arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(each) for each in arguments)}\n{done.stderr}")
    return done.stdout


class Measuring:
    """One model, the texts, and a folder for what is packed."""

    def __init__(self, options, model, calibration, evaluation, folder):
        self.options = options
        self.model = model
        self.evaluation = evaluation
        self.folder = pathlib.Path(folder)
        self.calibration = self.written("calibration.json", texts_in(calibration) if calibration
                                        else [self.own_text(seed) for seed in range(1, OWN_TEXTS + 1)])
        # Measuring takes a pass for every matrix.
        self.measured = self.written("measured.json", texts_in(self.calibration)[:MEASURED_TEXTS])
        self.importance = self.folder / "importance.gguf"
        self.run("importance", model, "--tokens", self.calibration, "-o", self.importance)
        # GPT-2's matrices lie [inputs, outputs]; elsewhere no tensor has such a name.
        self.shape_options = []
        for glob in ("*.c_attn.weight", "*.c_proj.weight", "*.c_fc.weight"):
            if any(pathlib.PurePath(each["name"]).match(glob) for each in self.tensors_of(model)):
                self.shape_options += ["--transpose", glob]
        self.plain_perplexity = None

    def run(self, *arguments):
        return json.loads(ended_well(self.options.command, *arguments, "-j", "--threads",
                                     self.options.threads))

    def written(self, name, texts):
        path = self.folder / name
        path.write_text(json.dumps(texts), encoding="utf-8")
        return path

    def own_text(self, seed):
        said = self.run("run", self.model, "-p", "", "-n", OWN_TOKENS, "--temperature", 1, "--seed", seed)
        return said["prompt_tokens"] + said["tokens"]

    def tensors_of(self, path):
        return json.loads(ended_well(self.options.command, "inspect", path, "-j"))["tensors"]

    def score(self, path):
        found = self.run("perplexity", path, "--tokens", self.evaluation, "--against", self.model)
        self.plain_perplexity = found["against"]["perplexity"]
        return f"{found['perplexity']:.4f}, {found['against']['divergence']['mean']:.5f}"

    def packed(self, *options):
        """Path, and what pack said of it."""
        path = self.folder / "packed.apr"
        return path, self.run("pack", self.model, "-o", path, *self.shape_options, *options)

    def matrix_bits(self, path):
        matrices = [each for each in self.tensors_of(path) if len(each["shape"]) > 1]
        return 8.0 * sum(each["bytes"] for each in matrices) / sum(each["elements"] for each in matrices)

    def row_of(self, encoding):
        """What a row has to say, or nothing where all matrices fall back on another encoding."""
        path, said = self.packed("-e", encoding)
        if encoding not in said["encodings"]:
            return None
        bits = self.matrix_bits(path)
        row = [self.score(path)]
        path, _ = self.packed("-e", encoding, "--search", "best")
        row.append(self.score(path))
        path, _ = self.packed("-e", encoding, "--search", "best", "--importance", self.importance)
        row.append(self.score(path))
        path, said = self.packed("-e", encoding, "--search", "calibrated", "--tokens", self.calibration)
        row.append(self.score(path) if said["calibration"]["calibrated"] > 0 else "")
        if self.options.llama_quantize:
            row.append(self.by_llama_quantize(encoding))
        return encoding, bits, row

    def row_of_plan(self, target_bits):
        """Encodings chosen tensor by tensor: as "fast" without a text, otherwise with what calibration sees."""
        target = ["--target-bits", target_bits]
        measure = target + ["--measure", self.measured]
        path, _ = self.packed(*target)
        bits = self.matrix_bits(path)
        row = [self.score(path)]
        path, _ = self.packed(*measure, "--search", "best")
        row.append(self.score(path))
        path, _ = self.packed(*measure, "--search", "best", "--importance", self.importance)
        row.append(self.score(path))
        path, _ = self.packed(*measure, "--search", "calibrated", "--tokens", self.calibration)
        row.append(self.score(path))
        if self.options.llama_quantize:
            row.append("")
        return f"--target-bits {target_bits}", bits, row

    def by_llama_quantize(self, encoding):
        if encoding not in GGML_TYPES:
            return ""
        plain = self.folder / "plain.gguf"
        if not plain.exists():
            self.run("convert", self.model, "-o", plain)
        packed = self.folder / "packed.gguf"
        ended_well(self.options.llama_quantize, "--pure", plain, packed, GGML_TYPES[encoding])
        return self.score(packed)

    def table(self):
        names = ["fast", "best", "importance", "calibrated"]
        if self.options.llama_quantize:
            names.append("llama-quantize")
        rows = []
        for encoding in self.options.encodings.split(","):
            rows.append(self.row_of(encoding))
            print(pathlib.Path(self.model).name, rows[-1], file=sys.stderr, flush=True)
        for bits in self.options.target_bits:
            rows.append(self.row_of_plan(bits))
            print(pathlib.Path(self.model).name, rows[-1], file=sys.stderr, flush=True)
        lines = [f"| encoding | bits a weight | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
        for encoding, bits, row in sorted((row for row in rows if row), key=lambda row: row[1]):
            lines.append(f"| {encoding} | {bits:.2f} | {' | '.join(row)} |")
        title = f"{pathlib.Path(self.model).name}: f32 {self.plain_perplexity:.4f}"
        return title + "\n\n" + "\n".join(lines) + "\n"


def texts_in(path):
    document = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    return document["calibration"] if isinstance(document, dict) else document


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command")
    parser.add_argument("models", nargs="+", metavar="MODEL=CALIBRATION.json:EVALUATION.json")
    parser.add_argument("--encodings", default=ENCODINGS)
    parser.add_argument("--target-bits", action="append", default=[], metavar="BITS")
    parser.add_argument("--llama-quantize", metavar="PROGRAM")
    parser.add_argument("--threads", default="2")
    options = parser.parse_args()
    for each in options.models:
        model, texts = each.split("=", 1)
        calibration, evaluation = texts.split(":", 1)
        with tempfile.TemporaryDirectory() as folder:
            print(Measuring(options, model, calibration, evaluation, folder).table(), flush=True)


if __name__ == "__main__":
    main()
