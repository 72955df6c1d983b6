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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from lightning_tx.core import registry
from lightning_tx.decoding.generate import generate
from lightning_tx.model.build import build_model
from lightning_tx.model.language_model import LanguageModel

LAYERS, WIDTH, HEADS, VOCABULARY = 4, 256, 4, 10_000
PROMPT, NEW = 16, 64
#: Rows side by side, and the ratio that must be held.
SETTINGS = [(1, 2.3), (32, 1.6)]
PAD, BOS, EOS = 0, 1, 2


def models() -> tuple[LanguageModel, Any]:
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
    sizes = {"d_model": WIDTH, "num_heads": HEADS, "num_layers": LAYERS, "max_seq_len": PROMPT + NEW}
    ours = build_model(
        {
            "model": {"name": "decoder", **sizes, "vocab_size": VOCABULARY, "embedding_scale": 1.0},
            "positions": {"name": "learned"},
            "attention": {"name": "multi_head", "bias": True},
            "pattern": {"name": "full"},
            "norm": {"name": "layernorm"},
            "block": {"name": "pre_norm"},
            "feed_forward": {"name": "gelu", "bias": True},
        }
    ).eval()
    own = dict(ours.named_parameters())
    with torch.no_grad():
        for name, value in renamed(theirs):
            own[name][: len(value)].copy_(value)
    return ours, theirs


def renamed(theirs: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Their parameters by our names; their matrices are [inputs, outputs]."""
    weights = dict(theirs.named_parameters())
    yield "token_embedding.weight", weights["transformer.wte.weight"]
    yield "stack.positions.embedding.weight", weights["transformer.wpe.weight"]
    for kind in ("weight", "bias"):
        yield f"stack.final_norm.{kind}", weights[f"transformer.ln_f.{kind}"]
        for layer in range(LAYERS):
            their, our = f"transformer.h.{layer}", f"stack.layers.{layer}"
            attention, feed_forward = f"{our}.sublayers.self_attention", f"{our}.sublayers.feed_forward"
            yield f"{our}.norms.self_attention.{kind}", weights[f"{their}.ln_1.{kind}"]
            yield f"{our}.norms.feed_forward.{kind}", weights[f"{their}.ln_2.{kind}"]
            projections = weights[f"{their}.attn.c_attn.{kind}"].chunk(3, dim=-1)
            for name, value in zip("qkv", projections, strict=True):
                yield f"{attention}.{name}_proj.{kind}", outputs_first(value)
            yield f"{attention}.o_proj.{kind}", outputs_first(weights[f"{their}.attn.c_proj.{kind}"])
            yield f"{feed_forward}.up_proj.{kind}", outputs_first(weights[f"{their}.mlp.c_fc.{kind}"])
            yield f"{feed_forward}.down_proj.{kind}", outputs_first(weights[f"{their}.mlp.c_proj.{kind}"])


def outputs_first(value: Tensor) -> Tensor:
    return value.mT if value.ndim == 2 else value


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
    greedy = registry.create("decoding", {"name": "greedy"})
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
