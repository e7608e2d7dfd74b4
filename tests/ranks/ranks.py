"""nibble run on several ranks: the tokens of one rank, only its rows' bytes, and an end to every failure.

usage: ranks.py COMMAND MPIRUN DEMO_MODEL SHARED FOLDER
"""

import array
import atexit
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

command, mpirun, demo, shared, folder = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_plm="isolated",
                   OMPI_MCA_btl_vader_single_copy_mechanism="none")
LONGEST = 120  # a run of one rank, on a machine that others use
failures = 0


def check(holds, what):
    global failures
    if not holds:
        failures += 1
        print("failed:", what)


def words(model, count, *more):
    prompt = [] if "-p" in more else ["-p", "And God said"]
    return ["run", model, *prompt, "-n", str(count), "--json", "--threads", "1", *more]


def run(arguments, limit=LONGEST):
    started = time.monotonic()
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=limit)
    return done, time.monotonic() - started


def alone(model, count, *more):
    done, _ = run([command, *words(model, count, *more)])
    if done.returncode != 0:
        raise SystemExit(f"{model} does not run at all: {done.stderr}")
    return json.loads(done.stdout)


def spread(ranks, model, count, *more):
    done, _ = run([mpirun, "-n", str(ranks), command, *words(model, count, *more)])
    if done.returncode != 0:
        raise SystemExit(f"{model} does not run on {ranks} ranks: {done.stderr}")
    return json.loads(done.stdout)


def same_tokens(model, ranks, *more, count=24, shares=None):
    expected = alone(model, count, *more)
    found = spread(ranks, model, count, *more, *(["--shares", shares] if shares else []))
    what = f"{model} {more} on {ranks} ranks, shares {shares}"
    check(found["tokens"] == expected["tokens"] and found["text"] == expected["text"], what)
    check(len(found["ranks"]) == ranks, what + ": an account of every rank")
    return expected["tokens"], found["ranks"]


def large_model(path):
    """A Llama of 8 million weights with the demo's tokenizer: large beside a system's pages."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(demo, path)
    config = json.load(open(f"{demo}/config.json"))
    hidden, inner, layers, heads, vocabulary = 512, 2048, 2, 8, config["vocab_size"]
    config.update(hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
                  num_attention_heads=heads, num_key_value_heads=heads, head_dim=hidden // heads,
                  max_position_embeddings=4096, eos_token_id=vocabulary - 1)
    json.dump(config, open(f"{path}/config.json", "w"))
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name in ("q", "k", "v", "o"):
            shapes[f"{at}self_attn.{name}_proj.weight"] = (hidden, hidden)
        shapes[f"{at}mlp.gate_proj.weight"] = shapes[f"{at}mlp.up_proj.weight"] = (inner, hidden)
        shapes[f"{at}mlp.down_proj.weight"] = (hidden, inner)
        shapes[f"{at}input_layernorm.weight"] = shapes[f"{at}post_attention_layernorm.weight"] = (hidden,)
    generator = random.Random(1)
    pool = array.array("f", (generator.gauss(0, 0.05) for _ in range(100_003)))
    header, data = {}, bytearray()
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        start = generator.randrange(len(pool))
        values = (pool[start:] + pool * (count // len(pool) + 1))[:count]
        if len(shape) == 1:
            values = array.array("f", [1.0] * count)
        begin = len(data)
        data += values.tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    with open(f"{path}/model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)
    return path


def packed(model, name, encoding):
    path = f"{folder}/{name}"
    subprocess.run([command, "pack", model, "-o", path, "--encoding", encoding, "--force"], check=True,
                   capture_output=True)
    return path


def process_of_rank(parent, rank, limit=30):
    """The process of a rank that mpirun started, once it has its model open."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        for name in os.listdir("/proc"):
            try:
                status = open(f"/proc/{name}/stat").read().rsplit(")", 1)[1].split()
                if int(status[1]) != parent:
                    continue
                variables = open(f"/proc/{name}/environ", "rb").read().split(b"\0")
                maps = open(f"/proc/{name}/maps").read()
            except (OSError, IndexError, ValueError):
                continue
            if f"OMPI_COMM_WORLD_RANK={rank}".encode() in variables and "model.safetensors" in maps:
                return int(name)
        time.sleep(0.05)
    raise SystemExit(f"rank {rank} did not start")


q4 = packed(demo, "demo-q4.apr", "q4")
q8 = packed(demo, "demo-q8.gguf", "q8_0")
for ranks in (1, 2, 3, 4):
    same_tokens(demo, ranks)
for ranks, shares in ((2, None), (3, "1,2,3"), (2, "3,1")):
    same_tokens(q4, ranks, "--mode", "int8", shares=shares)
same_tokens(q8, 2, "--temperature", "1.5", "--top-p", "0.9", "--seed", "7")

# A cut by columns: its sums round otherwise, but alike in every run, and take two messages a block less.
for model, ranks, *more in ((demo, 2), (demo, 3, "--shares", "1,2,3"), (q8, 2, "--mode", "int8", "--temperature", "1.5")):
    first, second = (spread(ranks, model, 24, *more, "--cut", "columns") for _ in range(2))
    check(first["tokens"] == second["tokens"], f"{model} {more} by columns on {ranks} ranks, twice")
    rows = spread(ranks, model, 24, *more, "--cut", "rows")
    if len(rows["tokens"]) == len(first["tokens"]):
        saved = [a["messages"] - b["messages"] for a, b in zip(rows["ranks"], first["ranks"])]
        layers = json.load(open(f"{demo}/config.json"))["num_hidden_layers"]
        # A run of the prompt, and one of each token but the last.
        check(saved == ranks * [2 * layers * len(rows["tokens"])], f"{model} {more}: messages saved, {saved}")
    check(sum(rank["weight_bytes"] for rank in first["ranks"]) == sum(rank["weight_bytes"] for rank in rows["ranks"]),
          f"{model} {more}: the weights of both cuts")

# Where the system maps single pages: of other files it may map 2 MiB for each that is touched.
maps_pages = os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK)
large = large_model(f"/dev/shm/nibble-ranks-{os.getpid()}" if maps_pages else f"{folder}/large")
atexit.register(shutil.rmtree, large, True)
if not maps_pages:
    print("passed by: there is no /dev/shm, where the bytes that a rank touches can be told")
_, accounts = same_tokens(large, 2, count=4, shares="3,1")
whole = os.path.getsize(f"{large}/model.safetensors")
check(sum(rank["weight_bytes"] for rank in accounts) <= whole, "ranks share the weights")
for rank, share in zip(accounts, (0.75, 0.25)):
    # The system maps up to 16 pages around one that is touched, at both ends of some 20 parts.
    least, most = rank["weight_bytes"], share * whole + 2 * 20 * 65536
    check(abs(least / whole - share) < 0.02, f"weights of a share of {share}: {rank}")
    check(not maps_pages or 0.9 * least <= rank["touched_file_bytes"] <= most, f"bytes that a share of {share} touches: {rank}")

# A prompt so long that its sums are taken in parts; no two logits are near enough for rounding to tell.
long_prompt = ["-p", "And God said, Let there be light: and there was light. " * 3, "--cut", "columns"]
first, second = (spread(3, large, 4, *long_prompt) for _ in range(2))
check(first["tokens"] == second["tokens"], "a long prompt by columns, twice")
check(first["tokens"] == alone(large, 4, *long_prompt[:2])["tokens"], "a long prompt by columns, and one rank")

for name, prompt in (("stories260K", None), ("kjv-qwen2", None), ("kjv-gpt2", None)):
    if not os.path.isdir(f"{shared}/models/{name}"):
        print(f"passed by: {shared}/models/{name} is not there")
        continue
    for ranks in (2, 3, 4):
        same_tokens(f"{shared}/models/{name}", ranks, count=16)
    same_tokens(packed(f"{shared}/models/{name}", f"{name}.apr", "q4"), 3, "--mode", "int8", count=16)

# What starting ranks takes here, which is not what ending them takes.
_, start_seconds = run([mpirun, "-n", "3", command, *words(large, 1)])
limit = 10 + start_seconds


def fails(code, texts, first, second, what):
    done, took = run([mpirun, "-n", "1", command, *first, ":", "-n", "1", command, *second], limit + LONGEST)
    check(done.returncode == code, f"{what}: exit code {done.returncode}, {code} is expected: {done.stderr}")
    check(took < limit, f"{what}: {took:.1f} s of at most {limit:.1f}")
    for text in texts:
        check(text in done.stderr, f"{what}: '{text}' in {done.stderr}")
    check(done.stderr.count("nibble: ") == 1, f"{what}: one message in {done.stderr}")


missing = f"{folder}/missing.apr"
fails(4, ["rank 1 of 2", missing], words(q4, 8), words(missing, 8), "a file that one rank lacks")
fails(4, ["rank 0 of 2", missing], words(missing, 8), words(q4, 8), "a file that rank 0 lacks")
other = packed(demo, "demo-other.apr", "q8")
fails(3, ["rank 1 of 2", other, "rank 0"], words(q4, 8), words(other, 8), "ranks with different files")
fails(3, ["rank 1 of 2", "options"], words(q4, 8), words(q4, 8, "--mode", "int8"), "different modes")
fails(3, ["rank 1 of 2", "options"], words(q4, 8, "--cut", "rows"), words(q4, 8, "--cut", "columns"), "different cuts")
broken = f"{folder}/broken.apr"
data = bytearray(open(q4, "rb").read())
open(broken, "wb").write(data[: len(data) // 2])
fails(3, ["rank 1 of 2", broken], words(q4, 8), words(broken, 8), "half a file")
three = words(q4, 8, "--shares", "1,1,1")
fails(2, ["--shares 1,1,1", "2 numbers"], three, three, "shares of other ranks")
done, _ = run([command, *words(q4, 8, "--shares", "1,1")])
check(done.returncode == 2 and "mpirun" in done.stderr, f"shares without ranks: {done.stderr}")
done, _ = run([command, *words(q4, 8, "--cut", "columns")])
check(done.returncode == 2 and "--cut columns: mpirun" in done.stderr, f"a cut without ranks: {done.stderr}")

for killed in (0, 1, 2):
    # Without --json, so that tokens flow until the run is ended.
    running = subprocess.Popen([mpirun, "-n", "3", command, "run", large, "-p", "And God said", "-n", "4000",
                                "--threads", "1"], env=environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    process = process_of_rank(running.pid, killed)
    time.sleep(1)
    os.kill(process, signal.SIGKILL)
    started = time.monotonic()
    try:
        _, said = running.communicate(timeout=limit + LONGEST)
    except subprocess.TimeoutExpired:
        running.kill()
        raise SystemExit(f"rank {killed} was killed, and the others hang")
    took = time.monotonic() - started
    check(running.returncode != 0 and took < limit, f"rank {killed} killed: {running.returncode} after {took:.1f} s")
    for text in (f"rank {killed}, process {process}", large):
        check(text in said, f"rank {killed} killed: '{text}' in {said}")
print("ranks:", "all as one" if failures == 0 else f"{failures} failed")
sys.exit(failures != 0)
