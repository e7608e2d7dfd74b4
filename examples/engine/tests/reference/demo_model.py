#!/usr/bin/env python3
"""What the demo's model must say, computed by float64_forward.py from its stored weights.

    demo_model.py write MODEL ORACLE     MODEL is examples/demo/model, ORACLE data/demo_model.json
    demo_model.py check MODEL ORACLE     computes it again; exit 1 where a token differs, or a figure
                                         by more than 1e-9

ORACLE
    greedy      four prompts, their ids, the 32 most likely tokens one after the other, their text, and
                least_gap, the smallest distance between the largest two logits on the way
    evaluation  sequences of ids, each scored from its second token on; their mean negative
                log-likelihood (natural logarithm) and perplexity
    logits      ids and the logits after the last of them

The tokenizer here is byte-level BPE as tokenizer.json describes it. Its pre-tokenizer knows ASCII
letters and digits alone, which is all that these texts hold.
"""

import json
import math
import pathlib
import re
import sys

import float64_forward

PROMPTS = ["In the beginning", "And the LORD said unto Moses", "And Jesus answered", "And it came to pass"]
TOKENS = 32

# Mark 5, one of the chapters held apart from training.
HELD_OUT = """And they came over unto the other side of the sea, into the country of the Gadarenes.
And when he was come out of the ship, immediately there met him out of the tombs a man with an unclean spirit,
Who had his dwelling among the tombs; and no man could bind him, no, not with chains:
Because that he had been often bound with fetters and chains, and the chains had been plucked asunder by him, \
and the fetters broken in pieces: neither could any man tame him.
"""

LOGITS_AFTER = "And God said, Let there be"


class byte_level_bpe:
    pattern = re.compile(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII
    )

    def __init__(self, path):
        record = json.loads(path.read_text())
        self.ids = record["model"]["vocab"]
        self.pieces = {number: piece for piece, number in self.ids.items()}
        self.special = {token["id"] for token in record["added_tokens"]}
        self.ranks = {tuple(pair.split(" ")): rank for rank, pair in enumerate(record["model"]["merges"])}
        printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printed]
        self.letters = {byte: chr(byte) for byte in printed}
        self.letters.update({byte: chr(256 + index) for index, byte in enumerate(others)})
        self.bytes = {letter: byte for byte, letter in self.letters.items()}

    def encode(self, text):
        assert text.isascii()
        ids = []
        for word in self.pattern.findall(text):
            pieces = [self.letters[byte] for byte in word.encode()]
            while len(pieces) > 1:
                ranks = [self.ranks.get(pair, math.inf) for pair in zip(pieces, pieces[1:])]
                lowest = min(ranks)
                if lowest == math.inf:
                    break
                at = ranks.index(lowest)
                pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
            ids += [self.ids[piece] for piece in pieces]
        return ids

    def decode(self, ids):
        letters = "".join(self.pieces[number] for number in ids if number not in self.special)
        return bytes(self.bytes[letter] for letter in letters).decode()


def fed(model, ids):
    """The logits after each of the ids, from position 0."""
    model.reset()
    return [model.next(number) for number in ids]


def greedy(model, tokenizer, prompt):
    prompt_tokens = tokenizer.encode(prompt)
    logits = fed(model, prompt_tokens)[-1]
    tokens, least_gap = [], math.inf
    for _ in range(TOKENS):
        second, first = sorted(range(len(logits)), key=logits.__getitem__)[-2:]
        least_gap = min(least_gap, logits[first] - logits[second])
        tokens.append(first)
        logits = model.next(first)
    return {
        "prompt": prompt,
        "prompt_tokens": prompt_tokens,
        "tokens": tokens,
        "text": tokenizer.decode(tokens),
        "least_gap": least_gap,
    }


def negative_log_likelihoods(model, ids):
    losses = []
    for logits, following in zip(fed(model, ids[:-1]), ids[1:]):
        largest = max(logits)
        total = math.fsum(math.exp(value - largest) for value in logits)
        losses.append(largest + math.log(total) - logits[following])
    return losses


def oracle(folder):
    model = float64_forward.load(folder)
    tokenizer = byte_level_bpe(folder / "tokenizer.json")
    beginning = json.loads((folder / "config.json").read_text())["bos_token_id"]
    sequence = [beginning] + tokenizer.encode(HELD_OUT)
    losses = negative_log_likelihoods(model, sequence)
    mean = math.fsum(losses) / len(losses)
    tokens = tokenizer.encode(LOGITS_AFTER)
    return {
        "reference": "float64 forward pass on the stored weights (reference/float64_forward.py), temperature 0",
        "greedy": [greedy(model, tokenizer, prompt) for prompt in PROMPTS],
        "evaluation": {
            "sequences": [sequence],
            "scored_tokens": len(losses),
            "mean_nll": mean,
            "perplexity": math.exp(mean),
        },
        "logits": {"tokens": tokens, "values": fed(model, tokens)[-1]},
    }


def parted(value):
    """The floats of a record, and the record without them."""
    if isinstance(value, float):
        return [value], None
    if isinstance(value, (list, dict)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        floats, rest = [], []
        for key, item in items:
            inner, other = parted(item)
            floats += inner
            rest.append((key, other))
        return floats, rest
    return [], value


def main(arguments):
    if len(arguments) != 3 or arguments[0] not in ("write", "check"):
        print(__doc__, file=sys.stderr)
        return 2
    record = oracle(pathlib.Path(arguments[1]))
    path = pathlib.Path(arguments[2])
    if arguments[0] == "write":
        path.write_text(json.dumps(record) + "\n")
        return 0
    floats, rest = parted(record)
    stored_floats, stored_rest = parted(json.loads(path.read_text()))
    if stored_rest != rest:
        print("tokens or texts differ")
        return 1
    difference = max(abs(a - b) for a, b in zip(stored_floats, floats, strict=True))
    print(f"largest difference {difference:.3g}")
    return 0 if difference <= 1e-9 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
