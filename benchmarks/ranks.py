#!/usr/bin/env python3
"""What a model costs on several ranks: measured on this machine, and on paper on others.

usage: ranks.py COMMAND MODEL [--ranks 1,2,4] [--tokens 64] [--prompt TEXT]

COMMAND is a nibble that was built with NIBBLE_MPI=ON. Each number of ranks runs three times; the fastest
counts. The model on paper is

  time(R) = weights / (R x memory rate) + messages x latency + bytes / link rate        for one token

with the memory rate taken from R = 1, and latency from the slope of what is left at the other R, as far as
this machine's processors hold R ranks; where they do not, ranks share them, which is said. Bytes are those
that a rank gets: (R - 1) / R of every activation, and for rank 0 of the logits.
"""

import argparse
import json
import os
import subprocess
import sys

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_btl_vader_single_copy_mechanism="none")

# Of configurations that Meta published with the weights: layers, hidden, feed-forward, vocabulary, heads of
# keys and values times their length.
SHAPES = {"Llama-3-8B": (32, 4096, 14336, 128256, 1024), "Llama-3-70B": (80, 8192, 28672, 128256, 1024)}
BITS = 4.5  # of a weight in q4_0: 32 codes and an f16 scale
HOSTS = (1, 2, 8, 32)
# One way, between processes of two hosts, by TCP: what the fit is extrapolated with.
NETWORK_LATENCY = 30e-6


def weights_of(shape):
    layers, hidden, inner, vocabulary, key_values = shape
    block = 2 * hidden * hidden + 2 * hidden * key_values + 3 * hidden * inner
    return (layers * block + vocabulary * hidden) * BITS / 8


def messages_of(shape, cut):
    """Messages of a token, and the bytes that a rank gets in them where ranks are many."""
    layers, hidden, inner, vocabulary, _ = shape
    if cut == "rows":  # attention, its output, inner activations, theirs; embedding, token, logits
        return 4 * layers + 4, 4 * (layers * (3 * hidden + inner) + hidden + vocabulary)
    raise ValueError(cut)


def seconds_on_paper(shape, hosts, memory_rate, latency, link_rate):
    if hosts == 1:
        return weights_of(shape) / memory_rate
    messages, size = messages_of(shape, "rows")
    return weights_of(shape) / (hosts * memory_rate) + messages * latency + size * (hosts - 1) / hosts / link_rate


def measure(command, model, ranks, tokens, prompt):
    words = [command, "run", model, "-p", prompt, "-n", str(tokens), "--json", "--threads", "1", "--mode", "int8"]
    best = None
    for _ in range(3):
        done = subprocess.run(["mpirun", "-n", str(ranks), *words], env=ENVIRONMENT, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        found = json.loads(done.stdout)
        if best is None or found["tokens_per_second"] > best["tokens_per_second"]:
            best = found
    return best


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("model")
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt", default="And God said")
    options = parser.parse_args()

    processors = len(os.sched_getaffinity(0))
    print(f"{processors} processors; {options.model}, int8, one thread a rank\n")
    print("| ranks | tokens/s | ms a token | weights a rank, MB | messages a token | bytes a token, sent by a rank |")
    print("|---|---|---|---|---|---|")
    points = []
    for ranks in (int(each) for each in options.ranks.split(",")):
        found = measure(options.command, options.model, ranks, options.tokens, options.prompt)
        runs = len(found["tokens"])  # the prompt is the first
        most = max(found["ranks"], key=lambda rank: rank["weight_bytes"])
        seconds = 1 / found["tokens_per_second"]
        messages = most["messages"] / runs
        print(f"| {ranks} | {found['tokens_per_second']:.1f} | {1e3 * seconds:.3f} | "
              f"{most['weight_bytes'] / 1e6:.2f} | {messages:.0f} | {most['message_bytes'] / runs:.0f} |")
        points.append((ranks, seconds, most["weight_bytes"], messages))

    memory_rate = points[0][2] / points[0][1]
    print(f"\nOne rank takes weights in at {memory_rate / 1e9:.2f} GB/s.")
    for ranks, seconds, weights, messages in points[1:]:
        latency = (seconds - weights / memory_rate) / messages
        shared = "" if ranks <= processors else f"; {ranks} ranks share {processors} processors"
        print(f"{ranks} ranks: {1e6 * latency:.1f} microseconds a message beside the weights{shared}.")

    rate = 40e9
    print(f"\nOn paper, q4, {rate / 1e9:.0f} GB/s of memory a host, {1e6 * NETWORK_LATENCY:.0f} microseconds a message;"
          " tokens/s:\n")
    print("| hosts | " + " | ".join(f"{name}, {link} Gbit/s" for name in SHAPES for link in (10, 100)) + " |")
    print("|---" * (1 + 2 * len(SHAPES)) + "|")
    for hosts in HOSTS:
        cells = [f"{1 / seconds_on_paper(shape, hosts, rate, NETWORK_LATENCY, link * 1e9 / 8):.1f}"
                 for shape in SHAPES.values() for link in (10, 100)]
        print(f"| {hosts} | " + " | ".join(cells) + " |")
    for name, shape in SHAPES.items():
        print(f"\n{name}: milliseconds a token, = weights, + messages, - bytes at 10 Gbit/s")
        messages, size = messages_of(shape, "rows")
        whole = weights_of(shape) / rate
        for hosts in HOSTS:
            parts = [whole / hosts] + ([messages * NETWORK_LATENCY, size * (hosts - 1) / hosts / 1.25e9] if hosts > 1
                                       else [0, 0])
            bar = "".join(sign * round(60 * part / whole) for sign, part in zip("=+-", parts))
            print(f"  {hosts:2} {1e3 * sum(parts):7.1f} {bar}")


main()
