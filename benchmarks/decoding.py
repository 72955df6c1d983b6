"""What a generated token costs: greedy decoding here and by transformers, with the same weights.

A decoder of GPT-2's form with 4 layers, d_model 256, 4 heads and a vocabulary of 10,000, random weights, fp32,
continues prompts of 16 tokens by 64. Both sides take turns in one process, so that what else the machine does hits
both alike, and must produce the same tokens. Printed are median times and their ratio, theirs over ours.

With a run of transformer_tiny_multi30k and a file of sentences, translating is compared with Marian's model too:

    python benchmarks/decoding.py
    python benchmarks/decoding.py --run RUN --root multirun --sentences multi30k/tok/val.en
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from lightning_tx.decoding.base import DECODING
from lightning_tx.decoding.generate import generate
from lightning_tx.model.body import Body
from lightning_tx.model.build import build_model
from lightning_tx.model.interop import gpt2

LAYERS, WIDTH, HEADS, VOCABULARY = 4, 256, 4, 10_000
PROMPT, NEW = 16, 64
#: Rows side by side, and the ratio that must be held.
SETTINGS = [(1, 2.3), (32, 1.6)]
PAD, BOS, EOS = 0, 1, 2


def models() -> tuple[Body, Any]:
    """The same model twice."""
    torch.manual_seed(0)
    theirs: Any = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=PROMPT + NEW,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            activation_function="gelu",
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.mul_(3.0)  # away from a distribution that is flat
        theirs.transformer.wte.weight[: EOS + 1].zero_()  # the special tokens are never the best
    ours = build_model(gpt2.config(theirs.config.to_dict())).eval()
    ours.load_state_dict(gpt2.weights(theirs.state_dict()))
    return ours, theirs


def timed(run: Callable[[], list[list[int]]]) -> tuple[float, list[list[int]]]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--run", help="id of a run to translate with, beside MarianMTModel")
    parser.add_argument("--root", type=Path, default=Path("multirun"), help="where that run was recorded")
    parser.add_argument("--sentences", type=Path, help="file of sentences, one a line; the first 1,000 are translated")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ours, theirs = models()
    greedy = DECODING.create({"name": "greedy"})
    special: dict[str, Any] = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD}
    missed = 0
    for rows, wanted in SETTINGS:
        prompts = torch.randint(3, VOCABULARY, (rows, PROMPT), generator=torch.Generator().manual_seed(rows))

        def our_tokens(prompts: Tensor = prompts) -> list[list[int]]:
            return generate(ours, prompts.tolist(), greedy, **special, max_new_tokens=NEW).sequences

        def their_tokens(prompts: Tensor = prompts) -> list[list[int]]:
            with torch.inference_mode():
                found = theirs.generate(
                    prompts,
                    attention_mask=torch.ones_like(prompts),
                    max_new_tokens=NEW,
                    do_sample=False,
                    use_cache=True,
                )
            return found[:, PROMPT:].tolist()

        seconds: tuple[list[float], list[float]] = ([], [])
        for repeat in range(arguments.repeats + 1):
            (our_time, our_result), (their_time, their_result) = timed(our_tokens), timed(their_tokens)
            if our_result != their_result:
                raise SystemExit(f"batch {rows}: the tokens differ")
            if repeat:  # the first is a warm-up
                seconds[0].append(our_time)
                seconds[1].append(their_time)
        our_median, their_median = map(statistics.median, seconds)
        ratio = their_median / our_median
        missed += ratio < wanted
        print(
            f"batch {rows:3}: {1e3 * our_median / NEW:6.2f} ms a step here, {1e3 * their_median / NEW:6.2f} ms there,"
            f" ratio {ratio:.2f} (wanted {wanted}), {len(set(map(tuple, our_result)))} different continuations"
        )
    if arguments.run is not None:
        # Beside this file, which is run as a script.
        from marian import compare_run

        missed += not compare_run(arguments.run, arguments.root, arguments.sentences, 1000, 3)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
