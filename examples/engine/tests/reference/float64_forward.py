#!/usr/bin/env python3
"""Forward pass of llama, qwen2 and gpt2 in float64, on the standard library alone.

It shares no code, no language and no arithmetic with the engine, which is tested against it.

    float64_forward.py write FOLDER      writes the golden logits, random_*.json
    float64_forward.py check FOLDER      computes them again; exit 1 where one is off by more than 1e-12
    float64_forward.py logits CHECKPOINT TOKEN...
                                         prints the logits after the last of the tokens, as JSON;
                                         CHECKPOINT is a folder with config.json or metadata.json
                                         and model.safetensors (F32, F16 or BF16)

Golden files
    config    the flat keys of a model's metadata
    tensors   name (Hugging Face's), shape (row-major), center and step of every tensor
    tokens    the ids fed from position 0
    logits    [tokens, vocab_size], each row after the token of its position; 17 digits

Weights
    A test builds the weights from name, shape, center and step. All arithmetic is on unsigned 64-bit
    integers and wraps.

    state = FNV-1a of the name's bytes: 0xcbf29ce484222325; for each byte: xor it, then multiply by
            0x100000001b3
    For each element in row-major order (splitmix64):
        state += 0x9e3779b97f4a7c15
        z = state
        z = (z xor (z >> 30)) * 0xbf58476d1ce4e5b9
        z = (z xor (z >> 27)) * 0x94d049bb133111eb
        z = z xor (z >> 31)
        element = center + (integer(z >> 54) - 512) * step

    Matrices and biases have center 0 and step 2^-11, gains of norms center 1 and step 2^-10. So every
    element is exact in float16 and in float32, and no rounding stands between both sides.

Formulas
    RMSNorm    x / sqrt(mean(x^2) + rms_norm_eps) * gain
    LayerNorm  (x - mean(x)) / sqrt(mean((x - mean(x))^2) + layer_norm_epsilon) * gain + bias
    rotary     the pair (a, b) of index i turns by position * rope_theta^(-2 i / head_dim);
               rope_type 0 pairs elements 2 i and 2 i + 1, rope_type 2 elements i and i + head_dim / 2
    attention  softmax(q . k / sqrt(head_dim)) over all positions so far; query head h reads
               key and value head h // (num_heads / num_kv_heads)
    SwiGLU     down(silu(gate(x)) * up(x)), silu(z) = z / (1 + exp(-z))
    GELU       0.5 z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))), "gelu_new"
    Weights of llama and qwen2 are [outputs, inputs], those of gpt2's four products [inputs, outputs].
"""

import array
import json
import math
import operator
import pathlib
import struct
import sys

MASK = (1 << 64) - 1


def fnv1a(name):
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


def generated_elements(name, count, center, step):
    state = fnv1a(name)
    elements = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        z ^= z >> 31
        elements.append(center + ((z >> 54) - 512) * step)
    return elements


def rows_of(elements, columns):
    return [elements[i : i + columns] for i in range(0, len(elements), columns)]


def transposed(rows):
    return [list(column) for column in zip(*rows)]


def dot(a, b):
    return sum(map(operator.mul, a, b))


def product(rows, x, bias=None):
    """y = rows . x + bias; rows is [outputs, inputs]."""
    y = [dot(row, x) for row in rows]
    return [a + b for a, b in zip(y, bias)] if bias else y


def added(a, b):
    return list(map(operator.add, a, b))


def softmax(scores):
    largest = max(scores)
    powers = [math.exp(score - largest) for score in scores]
    total = math.fsum(powers)
    return [power / total for power in powers]


def rms_norm(x, gain, epsilon):
    factor = 1.0 / math.sqrt(math.fsum(v * v for v in x) / len(x) + epsilon)
    return [v * factor * g for v, g in zip(x, gain)]


def layer_norm(x, gain, bias, epsilon):
    mean = math.fsum(x) / len(x)
    variance = math.fsum((v - mean) ** 2 for v in x) / len(x)
    factor = 1.0 / math.sqrt(variance + epsilon)
    return [(v - mean) * factor * g + b for v, g, b in zip(x, gain, bias)]


def silu(z):
    return z / (1.0 + math.exp(-z)) if z >= 0 else z * math.exp(z) / (1.0 + math.exp(z))


def gelu(z):
    return 0.5 * z * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (z + 0.044715 * z**3)))


def rotated(head, position, theta, rope_type):
    """One head's vector, turned by its position."""
    half = len(head) // 2
    result = list(head)
    for i in range(half):
        first, second = (2 * i, 2 * i + 1) if rope_type == 0 else (i, i + half)
        angle = position * theta ** (-2.0 * i / len(head))
        cosine, sine = math.cos(angle), math.sin(angle)
        result[first] = head[first] * cosine - head[second] * sine
        result[second] = head[first] * sine + head[second] * cosine
    return result


def attended(queries, keys, values, group):
    """queries [heads][head_dim]; keys and values [positions][kv heads][head_dim]; heads joined."""
    joined = []
    for h, query in enumerate(queries):
        source = h // group
        scale = 1.0 / math.sqrt(len(query))
        weights = softmax([dot(query, key[source]) * scale for key in keys])
        columns = zip(*(value[source] for value in values))
        joined += [dot(weights, column) for column in columns]
    return joined


class model:
    """Weights by Hugging Face's names, fed one token at a time; next(token) gives the logits after it.

    config holds the flat keys; elements(name) gives a tensor's elements, row-major, or None.
    """

    def __init__(self, config, elements):
        self.config = config
        self.architecture = config["architecture"]
        if self.architecture not in ("llama", "qwen2", "gpt2"):
            raise ValueError(f"architecture {self.architecture}: expected llama, qwen2 or gpt2")
        self.weights = {}
        for tensor in tensors_of(config):
            values = elements(tensor["name"])
            if values is None or len(values) != math.prod(tensor["shape"]):
                raise ValueError(f"{tensor['name']}: missing, or not of shape {tensor['shape']}")
            rows = rows_of(values, tensor["shape"][1]) if len(tensor["shape"]) == 2 else values
            if self.architecture == "gpt2" and tensor["name"].startswith("h.") and len(tensor["shape"]) == 2:
                rows = transposed(rows)
            self.weights[tensor["name"]] = rows
        self.reset()

    def reset(self):
        self.keys = [[] for _ in range(self.config["num_layers"])]
        self.values = [[] for _ in range(self.config["num_layers"])]

    def next(self, token):
        position = len(self.keys[0])
        if self.architecture == "gpt2":
            return self.next_of_gpt2(token, position)
        return self.next_of_llama(token, position)

    def next_of_llama(self, token, position):
        config, weights = self.config, self.weights
        head_dim = head_dim_of(config)
        epsilon = config["rms_norm_eps"]
        group = config["num_heads"] // config["num_kv_heads"]

        def turned(vector):
            return [
                rotated(head, position, config["rope_theta"], config["rope_type"])
                for head in rows_of(vector, head_dim)
            ]

        x = weights["model.embed_tokens.weight"][token]
        for layer in range(config["num_layers"]):

            def projected(name, vector):
                name = f"model.layers.{layer}.{name}"
                return product(weights[name + ".weight"], vector, weights.get(name + ".bias"))

            h = rms_norm(x, weights[f"model.layers.{layer}.input_layernorm.weight"], epsilon)
            queries = turned(projected("self_attn.q_proj", h))
            self.keys[layer].append(turned(projected("self_attn.k_proj", h)))
            self.values[layer].append(rows_of(projected("self_attn.v_proj", h), head_dim))
            joined = attended(queries, self.keys[layer], self.values[layer], group)
            x = added(x, projected("self_attn.o_proj", joined))
            h = rms_norm(x, weights[f"model.layers.{layer}.post_attention_layernorm.weight"], epsilon)
            gate, up = projected("mlp.gate_proj", h), projected("mlp.up_proj", h)
            x = added(x, projected("mlp.down_proj", [silu(a) * b for a, b in zip(gate, up)]))
        x = rms_norm(x, weights["model.norm.weight"], epsilon)
        head = weights.get("lm_head.weight") or weights["model.embed_tokens.weight"]
        return product(head, x)

    def next_of_gpt2(self, token, position):
        config, weights = self.config, self.weights
        hidden, epsilon = config["hidden_size"], config["layer_norm_epsilon"]
        head_dim = head_dim_of(config)

        def normed(name, vector):
            return layer_norm(vector, weights[name + ".weight"], weights[name + ".bias"], epsilon)

        x = added(weights["wte.weight"][token], weights["wpe.weight"][position])
        for layer in range(config["num_layers"]):

            def projected(name, vector):
                name = f"h.{layer}.{name}"
                return product(weights[name + ".weight"], vector, weights[name + ".bias"])

            fused = projected("attn.c_attn", normed(f"h.{layer}.ln_1", x))
            query, key, value = rows_of(fused, hidden)
            self.keys[layer].append(rows_of(key, head_dim))
            self.values[layer].append(rows_of(value, head_dim))
            joined = attended(rows_of(query, head_dim), self.keys[layer], self.values[layer], 1)
            x = added(x, projected("attn.c_proj", joined))
            h = projected("mlp.c_fc", normed(f"h.{layer}.ln_2", x))
            x = added(x, projected("mlp.c_proj", [gelu(z) for z in h]))
        head = weights.get("lm_head.weight") or weights["wte.weight"]
        return product(head, normed("ln_f", x))


def head_dim_of(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_heads"]


def tensors_of(config):
    """Name, shape, center and step of every tensor that the config asks for."""
    tensors = []

    def add(name, *shape):
        gain = len(shape) == 1 and name.endswith("weight")
        center, step = (1.0, 2.0**-10) if gain else (0.0, 2.0**-11)
        tensors.append({"name": name, "shape": list(shape), "center": center, "step": step})

    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    vocabulary, layers = config["vocab_size"], range(config["num_layers"])
    if config["architecture"] == "gpt2":

        def add_with_bias(name, *shape):
            add(name + ".weight", *shape)
            add(name + ".bias", shape[-1])

        add("wte.weight", vocabulary, hidden)
        add("wpe.weight", config["max_position_embeddings"], hidden)
        for layer in layers:
            add_with_bias(f"h.{layer}.ln_1", hidden)
            add_with_bias(f"h.{layer}.attn.c_attn", hidden, 3 * hidden)
            add_with_bias(f"h.{layer}.attn.c_proj", hidden, hidden)
            add_with_bias(f"h.{layer}.ln_2", hidden)
            add_with_bias(f"h.{layer}.mlp.c_fc", hidden, intermediate)
            add_with_bias(f"h.{layer}.mlp.c_proj", intermediate, hidden)
        add_with_bias("ln_f", hidden)
    else:
        queries = config["num_heads"] * head_dim_of(config)
        keys = config["num_kv_heads"] * head_dim_of(config)
        add("model.embed_tokens.weight", vocabulary, hidden)
        for layer in layers:
            prefix = f"model.layers.{layer}."
            add(prefix + "input_layernorm.weight", hidden)
            for name, outputs in (("q", queries), ("k", keys), ("v", keys)):
                add(f"{prefix}self_attn.{name}_proj.weight", outputs, hidden)
                if config["architecture"] == "qwen2":
                    add(f"{prefix}self_attn.{name}_proj.bias", outputs)
            add(prefix + "self_attn.o_proj.weight", hidden, queries)
            add(prefix + "post_attention_layernorm.weight", hidden)
            add(prefix + "mlp.gate_proj.weight", intermediate, hidden)
            add(prefix + "mlp.up_proj.weight", intermediate, hidden)
            add(prefix + "mlp.down_proj.weight", hidden, intermediate)
        add("model.norm.weight", hidden)
    if not config["tie_word_embeddings"]:
        add("lm_head.weight", vocabulary, hidden)
    return tensors


# Odd sizes; rows that are no whole block; head_dim unlike hidden_size / num_heads; groups of 1, 2 and 3.
# Epsilons are large enough to be seen, thetas small enough to turn within a few positions.
RANDOM_MODELS = {
    "random_llama_adjacent": {
        "config": {
            "architecture": "llama",
            "hidden_size": 40,
            "num_layers": 2,
            "num_heads": 4,
            "num_kv_heads": 2,
            "vocab_size": 67,
            "intermediate_size": 52,
            "max_position_embeddings": 32,
            "rope_theta": 100.0,
            "rope_type": 0,
            "rms_norm_eps": 0.001,
            "tie_word_embeddings": False,
        },
        "tokens": [3, 66, 0, 41, 41, 17, 58, 9, 3, 22, 65, 1],
    },
    "random_llama_halves": {
        "config": {
            "architecture": "llama",
            "hidden_size": 36,
            "num_layers": 3,
            "num_heads": 6,
            "num_kv_heads": 2,
            "head_dim": 10,
            "vocab_size": 61,
            "intermediate_size": 49,
            "max_position_embeddings": 32,
            "rope_theta": 500.0,
            "rope_type": 2,
            "rms_norm_eps": 0.002,
            "tie_word_embeddings": True,
        },
        "tokens": [60, 5, 33, 0, 5, 12, 47, 29, 29, 8, 54, 2],
    },
    "random_qwen2": {
        "config": {
            "architecture": "qwen2",
            "hidden_size": 42,
            "num_layers": 2,
            "num_heads": 3,
            "num_kv_heads": 1,
            "vocab_size": 71,
            "intermediate_size": 57,
            "max_position_embeddings": 32,
            "rope_theta": 1000.0,
            "rope_type": 2,
            "rms_norm_eps": 0.0005,
            "tie_word_embeddings": False,
        },
        "tokens": [11, 70, 28, 28, 0, 63, 35, 7, 52, 11, 44, 19],
    },
    "random_gpt2": {
        "config": {
            "architecture": "gpt2",
            "hidden_size": 39,
            "num_layers": 2,
            "num_heads": 3,
            "num_kv_heads": 3,
            "vocab_size": 73,
            "intermediate_size": 101,
            "max_position_embeddings": 24,
            "layer_norm_epsilon": 0.001,
            "tie_word_embeddings": True,
        },
        "tokens": [72, 15, 0, 15, 38, 61, 4, 27, 50, 50, 9, 33],
    },
}


def golden(name):
    config, tokens = RANDOM_MODELS[name]["config"], RANDOM_MODELS[name]["tokens"]
    tensors = tensors_of(config)
    rules = {tensor["name"]: tensor for tensor in tensors}

    def elements(tensor_name):
        rule = rules[tensor_name]
        return generated_elements(tensor_name, math.prod(rule["shape"]), rule["center"], rule["step"])

    reference = model(config, elements)
    logits = [reference.next(token) for token in tokens]
    return {"config": config, "tensors": tensors, "tokens": tokens, "logits": logits}


def golden_text(record):
    """JSON with one tensor and one position a line."""
    lines = ['{"config": ' + json.dumps(record["config"]) + ","]
    lines.append(' "tensors": [\n  ' + ",\n  ".join(map(json.dumps, record["tensors"])) + "],")
    lines.append(' "tokens": ' + json.dumps(record["tokens"]) + ",")
    rows = ("[" + ", ".join(f"{v:.17g}" for v in row) + "]" for row in record["logits"])
    lines.append(' "logits": [\n  ' + ",\n  ".join(rows) + "]}")
    return "\n".join(lines) + "\n"


def flat_config(folder):
    """The flat keys, from metadata.json or from Hugging Face's config.json."""
    if (folder / "metadata.json").exists():
        return json.loads((folder / "metadata.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "gpt2":
        return {
            "architecture": "gpt2",
            "hidden_size": config["n_embd"],
            "num_layers": config["n_layer"],
            "num_heads": config["n_head"],
            "num_kv_heads": config["n_head"],
            "vocab_size": config["vocab_size"],
            "intermediate_size": config.get("n_inner") or 4 * config["n_embd"],
            "max_position_embeddings": config["n_positions"],
            "layer_norm_epsilon": config["layer_norm_epsilon"],
            "tie_word_embeddings": config.get("tie_word_embeddings", True),
        }
    return {
        "architecture": config["model_type"],
        "hidden_size": config["hidden_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "num_kv_heads": config["num_key_value_heads"],
        "head_dim": config.get("head_dim"),
        "vocab_size": config["vocab_size"],
        "intermediate_size": config["intermediate_size"],
        "max_position_embeddings": config["max_position_embeddings"],
        "rope_theta": config["rope_theta"],
        "rope_type": 2,
        "rms_norm_eps": config["rms_norm_eps"],
        "tie_word_embeddings": config.get("tie_word_embeddings", False),
    }


def load(folder):
    """The model of a checkpoint folder."""
    folder = pathlib.Path(folder)
    data = (folder / "model.safetensors").read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_bytes])

    def elements(name):
        entry = header.get(name)
        if entry is None:
            return None
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            halves = struct.unpack(f"<{(end - begin) // 2}H", data[begin:end])
            widened = array.array("I", (half << 16 for half in halves)).tobytes()
            return list(struct.unpack(f"={len(halves)}f", widened))
        code, size = {"F32": ("f", 4), "F16": ("e", 2)}[entry["dtype"]]
        return list(struct.unpack(f"<{(end - begin) // size}{code}", data[begin:end]))

    return model(flat_config(folder), elements)


def main(arguments):
    if len(arguments) >= 3 and arguments[0] == "logits":
        reference = load(arguments[1])
        logits = [reference.next(int(token)) for token in arguments[2:]][-1]
        print(json.dumps(logits))
        return 0
    if len(arguments) != 2 or arguments[0] not in ("write", "check"):
        print(__doc__, file=sys.stderr)
        return 2
    folder = pathlib.Path(arguments[1])
    status = 0
    for name in RANDOM_MODELS:
        record = golden(name)
        path = folder / (name + ".json")
        if arguments[0] == "write":
            path.write_text(golden_text(record))
            continue
        stored = json.loads(path.read_text())
        same = all(stored[key] == record[key] for key in ("config", "tensors", "tokens"))
        difference = max(
            abs(a - b)
            for stored_row, row in zip(stored["logits"], record["logits"], strict=True)
            for a, b in zip(stored_row, row, strict=True)
        )
        print(f"{name}: largest difference {difference:.3g}")
        if not same or not difference <= 1e-12:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
