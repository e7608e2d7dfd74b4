#!/usr/bin/env python3
"""What a model costs on several ranks: measured on this machine, and on paper on others.

usage: ranks.py COMMAND [MODEL ...] [--make DEMO] [--ranks 1,2,4] [--tokens 32] [--repeats 5]
                [--namespaces] [--delay-us D] [--rate-gbit G]

COMMAND is a nibble that was built with NIBBLE_MPI=ON. Runs of all numbers of ranks and both cuts take turns;
the fastest of each counts. --make DEMO measures q4 models that are made here, with the tokenizer of that folder,
one of small and one of large weights. --namespaces (Linux, root, iproute2) gives every rank a network of its own,
so that messages go by TCP and an interface; --delay-us has each frame wait in a relay, --rate-gbit limits the
interfaces. The model on paper is

  time(R) = weights / memory rate + messages x steps x latency + bytes / link rate        for one token

with the weights of the rank that has most, the bytes that a rank gets, and ceil(log2(R)) steps a message. Memory rate,
latency and link rate are the least squares of the relative errors, none below 0, over all measurements whose
ranks have a processor each.
"""

import argparse
import array
import atexit
import heapq
import itertools
import json
import math
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_btl_vader_single_copy_mechanism="none",
                   PMIX_MCA_gds="hash")
CUTS = ("rows", "columns")

# Of configurations that Meta published with the weights: layers, hidden, feed-forward, vocabulary, heads of
# keys and values, and elements of all these.
SHAPES = {"Llama-3-8B": (32, 4096, 14336, 128256, 8, 1024), "Llama-3-70B": (80, 8192, 28672, 128256, 8, 1024)}
BITS = 5  # of a weight in nibble's q4: 32 codes, an f16 scale and an f16 min
HOSTS = (1, 2, 8, 32)
LINKS = (10, 100)  # Gbit/s


def weights_of(shape, hosts):
    """Bytes of a rank's weights. Keys and values are on several ranks where these are more than their heads."""
    layers, hidden, inner, vocabulary, heads, key_values = shape
    shared = layers * (2 * hidden * hidden + 3 * hidden * inner) + vocabulary * hidden
    repeated = layers * 2 * hidden * key_values
    return (shared / hosts + repeated / min(hosts, heads)) * BITS / 8


def steps_of(hosts):
    return math.ceil(math.log2(hosts))


def messages_of(shape, hosts, cut):
    """Messages of a token, and the bytes that a rank gets in them."""
    if hosts == 1:
        return 0, 0
    layers, hidden, inner, vocabulary, _, _ = shape
    others = (hosts - 1) / hosts
    messages, size = 4, 4 * (hidden + vocabulary) * others  # embedding, token (two), logits
    if cut == "rows":  # attention, its output, inner activations, theirs
        return messages + 4 * layers, size + 4 * layers * (3 * hidden + inner) * others
    whole, in_parts = 4 * hidden * (hosts - 1), 2 * 4 * hidden * others
    if whole <= in_parts + 32 * 1024:  # as rank_sums.hpp has it
        return messages + 2 * layers, size + 2 * layers * whole
    return messages + 4 * layers, size + 2 * layers * in_parts


def parts_on_paper(shape, hosts, cut, fit, link_gbit):
    """Seconds of a token: for weights, for messages and for bytes."""
    messages, size = messages_of(shape, hosts, cut)
    return (weights_of(shape, hosts) * fit[0], messages * steps_of(hosts) * fit[1], size / (link_gbit * 1e9 / 8))


def solve(rows, values):
    """x of rows x = values, as many as there are; nothing where that is no one x."""
    size = len(values)
    table = [list(row) + [value] for row, value in zip(rows, values)]
    for i in range(size):
        best = max(range(i, size), key=lambda k: abs(table[k][i]))
        if abs(table[best][i]) < 1e-12:
            return None
        table[i], table[best] = table[best], table[i]
        for k in range(size):
            if k != i:
                factor = table[k][i] / table[i][i]
                table[k] = [a - factor * b for a, b in zip(table[k], table[i])]
    return [table[i][size] / table[i][i] for i in range(size)]


def least_squares(rows, values):
    """x, none below 0, with the least squares of the relative errors of rows x = values; and those errors."""
    count = len(rows[0])
    scales = [max(abs(row[i]) / value for row, value in zip(rows, values)) or 1 for i in range(count)]
    scaled = [[row[i] / scales[i] / value for i in range(count)] for row, value in zip(rows, values)]
    best = None
    for used in itertools.chain.from_iterable(itertools.combinations(range(count), n) for n in range(1, count + 1)):
        normal = [[sum(row[i] * row[k] for row in scaled) for k in used] for i in used]
        found = solve(normal, [sum(row[i] for row in scaled) for i in used])
        if found is None or min(found) < 0:
            continue
        x = [0.0] * count
        for i, value in zip(used, found):
            x[i] = value
        errors = [sum(a * b for a, b in zip(row, x)) - 1 for row in scaled]
        residual = sum(error * error for error in errors)
        if best is None or residual < best[0]:
            best = residual, [value / scale for value, scale in zip(x, scales)], errors
    return best[1], best[2]


def make_model(command, demo, path, layers, hidden, inner):
    """A random Llama in q4, with a demo's tokenizer; its path."""
    folder = f"{path}-f32"
    shutil.copytree(demo, folder)
    config = json.load(open(f"{demo}/config.json"))
    heads, vocabulary = hidden // 64, config["vocab_size"]
    config.update(hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
                  num_key_value_heads=heads, head_dim=64, max_position_embeddings=4096, eos_token_id=vocabulary - 1)
    json.dump(config, open(f"{folder}/config.json", "w"))
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name in ("q", "k", "v", "o"):
            shapes[f"{at}self_attn.{name}_proj.weight"] = (hidden, hidden)
        shapes[f"{at}mlp.gate_proj.weight"] = shapes[f"{at}mlp.up_proj.weight"] = (inner, hidden)
        shapes[f"{at}mlp.down_proj.weight"] = (hidden, inner)
        shapes[f"{at}input_layernorm.weight"] = shapes[f"{at}post_attention_layernorm.weight"] = (hidden,)
    generator = random.Random(1)
    pool = array.array("f", (generator.gauss(0, 0.05) for _ in range(1_000_003)))
    header, place = {}, 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    with open(f"{folder}/model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            start = generator.randrange(len(pool))
            values = pool[start:] + pool[:start] if len(shape) == 2 else array.array("f", [1.0] * shape[0])
            left = math.prod(shape)
            while left > 0:
                out.write(values[:left].tobytes())
                left -= len(values)
    subprocess.run([command, "pack", folder, "-o", path, "--encoding", "q4"], check=True, capture_output=True)
    shutil.rmtree(folder)
    return path


class networks:
    """A network for every rank, joined by a bridge, or where frames are to wait by a relay beside it."""

    AGENT = """#!/bin/sh
# agent [-x ...] HOST COMMAND: runs the command in the network of that address.
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec ip netns exec nibble-rank-${host##*.} /bin/sh -c "$*"
"""

    def __init__(self, ranks, delay_us, rate_gbit, folder):
        self.names = [f"nibble-rank-{rank}" for rank in range(1, ranks + 1)]
        self.agent = f"{folder}/agent"
        with open(self.agent, "w") as out:
            out.write(self.AGENT)
        os.chmod(self.agent, 0o755)
        atexit.register(self.remove)
        self.ip("link add nibble-bridge type bridge")
        self.ip("addr add 10.77.0.254/24 dev nibble-bridge")
        self.ip("link set nibble-bridge up")
        taps = []
        for rank, name in enumerate(self.names, 1):
            self.ip(f"netns add {name}")
            self.ip(f"link add nibble-{rank} type veth peer name eth0 netns {name}")
            self.ip(f"link set nibble-{rank} master nibble-bridge up")
            self.ip(f"-n {name} link set lo up")
            self.up(name, "eth0", f"10.77.0.{rank}")
            if delay_us is not None:
                taps.append(self.tap(f"nibble-tap-{rank}"))
                self.ip(f"link set nibble-tap-{rank} netns {name}")
                self.up(name, f"nibble-tap-{rank}", f"10.78.0.{rank}")
            if rate_gbit is not None:
                device = "eth0" if delay_us is None else f"nibble-tap-{rank}"
                subprocess.run(f"tc -n {name} qdisc add dev {device} root tbf rate {rate_gbit}gbit burst 256kb latency"
                               " 50ms".split(), check=True)
        self.subnet = "10.77.0.0/24" if delay_us is None else "10.78.0.0/24"
        if taps:
            threading.Thread(target=relay, args=(taps, delay_us * 1e-6), daemon=True).start()

    def ip(self, words):
        subprocess.run(["ip", *words.split()], check=True)

    def up(self, name, device, address):
        self.ip(f"-n {name} addr add {address}/24 dev {device}")
        self.ip(f"-n {name} link set {device} up")

    def tap(self, name):
        import fcntl
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x0002 | 0x1000))  # TUNSETIFF: a tap
        return device

    def launcher(self, ranks):
        hosts = ",".join(f"10.77.0.{rank}" for rank in range(1, ranks + 1))
        return ["mpirun", "-x", "PMIX_MCA_gds", "--mca", "plm_rsh_agent", self.agent, "-H", hosts, "--mca", "btl",
                "tcp,self", "--mca", "btl_tcp_if_include", self.subnet, "--mca", "oob_tcp_if_include", "10.77.0.0/24"]

    def remove(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", "nibble-bridge"], stderr=subprocess.DEVNULL)


def relay(taps, delay):
    """Passes every frame on to the tap that its address was seen on, after a delay."""
    places, waiting, number = {}, [], itertools.count()
    poll = select.poll()
    for device in taps:
        poll.register(device, select.POLLIN)
    while True:
        wait = None if not waiting else max(0.0, waiting[0][0] - time.monotonic())
        # A wait of milliseconds would be far longer than what frames are to wait.
        for device, _ in poll.poll(None if wait is None else 0):
            try:
                frame = os.read(device, 70000)
            except OSError:
                return  # its network was removed
            places[frame[6:12]] = device
            to = places.get(frame[:6])
            for other in [to] if to is not None else [each for each in taps if each != device]:
                heapq.heappush(waiting, (time.monotonic() + delay, next(number), other, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, device, frame = heapq.heappop(waiting)
            try:
                os.write(device, frame)
            except OSError:
                pass  # a network that is not up yet, or no more


def run(launcher, command, model, ranks, cut, tokens):
    words = [command, "run", model, "-p", "And God said", "-n", str(tokens), "--json", "--threads", "1", "--mode", "int8",
             "--cut", cut]
    done = subprocess.run([*launcher, *words], env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    found = json.loads(done.stdout)
    most = max(found["ranks"], key=lambda rank: rank["weight_bytes"])
    runs = len(found["tokens"])  # the prompt is the first
    return {"ranks": ranks, "cut": cut, "seconds": 1 / found["tokens_per_second"], "weights": most["weight_bytes"],
            "messages": most["messages"] / runs, "bytes": max(each["message_bytes"] for each in found["ranks"]) / runs}


def measure(options, models, link):
    turns = [(model, ranks, cut) for model in models for ranks in options.ranks
             for cut in (CUTS if ranks > 1 else CUTS[:1])]
    best = {}
    for _ in range(options.repeats):
        for turn in turns:
            model, ranks, cut = turn
            launcher = link.launcher(ranks) if link and ranks > 1 else ["mpirun", "-n", str(ranks)]
            found = run(launcher, options.command, model, ranks, cut, options.tokens)
            if turn not in best or found["seconds"] < best[turn]["seconds"]:
                best[turn] = found
    return [best[turn] for turn in turns]


def print_paper(fit):
    for cut in CUTS:
        print(f"\nOn paper, cut by {cut}; tokens/s:\n")
        print("| hosts | " + " | ".join(f"{name}, {link} Gbit/s" for name in SHAPES for link in LINKS) + " |")
        print("|---" * (1 + len(LINKS) * len(SHAPES)) + "|")
        for hosts in HOSTS:
            cells = [f"{1 / sum(parts_on_paper(shape, hosts, cut, fit, link)):.1f}"
                     for shape in SHAPES.values() for link in LINKS]
            print(f"| {hosts} | " + " | ".join(cells) + " |")
    print("\nWhere doubling the hosts makes a token less than a fifth faster:\n")
    for name, shape in SHAPES.items():
        for cut, link in itertools.product(CUTS, LINKS):
            hosts = 1
            while hosts < 4096 and sum(parts_on_paper(shape, hosts, cut, fit, link)) > 1.25 * sum(
                    parts_on_paper(shape, 2 * hosts, cut, fit, link)):
                hosts *= 2
            print(f"  {name}, {cut}, {link} Gbit/s: beyond {hosts} hosts")
    for name, shape in SHAPES.items():
        print(f"\n{name}: milliseconds a token, = weights, + messages, - bytes at 10 Gbit/s")
        whole = weights_of(shape, 1) * fit[0]
        for hosts in HOSTS:
            for cut in CUTS if hosts > 1 else ("",):
                parts = parts_on_paper(shape, hosts, cut, fit, 10)
                bar = "".join(sign * round(60 * part / whole) for sign, part in zip("=+-", parts))
                print(f"  {hosts:2} {cut:7} {1e3 * sum(parts):7.1f} {bar}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--make", metavar="DEMO")
    parser.add_argument("--ranks", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2, 4])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--namespaces", action="store_true")
    parser.add_argument("--delay-us", type=float)
    parser.add_argument("--rate-gbit", type=float)
    options = parser.parse_args()

    processors = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        models = list(options.models)
        if options.make:
            models += [make_model(options.command, options.make, f"{folder}/small.apr", 8, 512, 1536),
                       make_model(options.command, options.make, f"{folder}/large.apr", 2, 2048, 5632)]
        if not models:
            parser.error("no MODEL, and no --make")
        link = None
        if options.namespaces:
            link = networks(max(options.ranks), options.delay_us, options.rate_gbit, folder)
        points = measure(options, models, link)

    between = "one host's memory"
    if options.namespaces:
        between = "TCP between namespaces"
        between += f", {options.delay_us:.0f} microseconds' wait" if options.delay_us is not None else ""
        between += f", {options.rate_gbit:g} Gbit/s" if options.rate_gbit is not None else ""
    print(f"{processors} processors, messages by {between}; int8, one thread a rank\n")
    print("| ranks | cut | tokens/s | ms a token | weights a rank, MB | messages a token | bytes a token, sent by a rank |"
          " ms by the fit |")
    print("|---|---|---|---|---|---|---|---|")
    fitted = [point for point in points if point["ranks"] <= processors]
    terms = lambda point: (point["weights"], point["messages"] * steps_of(point["ranks"]), point["bytes"])
    fit, errors = least_squares([terms(point) for point in fitted], [point["seconds"] for point in fitted])
    for point in points:
        by_fit = 1e3 * sum(a * b for a, b in zip(terms(point), fit))
        said = f"{by_fit:.3f}" if point in fitted else f"({by_fit:.3f})"
        print(f"| {point['ranks']} | {point['cut'] if point['ranks'] > 1 else ''} | {1 / point['seconds']:.1f} | "
              f"{1e3 * point['seconds']:.3f} | {point['weights'] / 1e6:.2f} | {point['messages']:.0f} | "
              f"{point['bytes']:.0f} | {said} |")
    if len(fitted) < len(points):
        print(f"\nWhere ranks are more than processors, they share these, and nothing is fitted to it.")
    rates = [f"{1 / fit[0] / 1e9:.2f} GB/s of weights" if fit[0] else "weights at no cost",
             f"{1e6 * fit[1]:.1f} microseconds a message",
             f"{8 / fit[2] / 1e9:.2f} Gbit/s" if fit[2] else "no cost of bytes that can be told"]
    print(f"\nFitted: {', '.join(rates)}; off by at most {100 * max(map(abs, errors)):.0f} %.")
    print_paper(fit)


main()
