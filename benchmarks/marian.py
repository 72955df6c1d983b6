"""Translating with a trained run here and with transformers' MarianMTModel of the same sizes and weights."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import MarianConfig, MarianMTModel

from lightning_tx.decoding.base import DECODING
from lightning_tx.decoding.generate import generate
from lightning_tx.model.generation import right_padded
from lightning_tx.model.interop import marian
from lightning_tx.runs.loading import LoadedRun, load_run
from lightning_tx.tokenizer.base import Tokenizer

#: Decoding, beams, and the ratio that must be held.
SETTINGS = [("greedy", 1, 1.5), ("beam", 5, 1.5)]
MAX_NEW, ROWS = 100, 64


def marian_of(model: Any, tokenizer: Tokenizer, max_positions: int) -> Any:
    """Marian's model with the weights of ours: post-norm, biases, ReLU, sinusoidal positions, one embedding."""
    dims = model.dims
    theirs: Any = MarianMTModel(
        MarianConfig(
            vocab_size=model.token_embedding.num_embeddings,
            d_model=dims.d_model,
            encoder_layers=dims.encoder_layers,
            decoder_layers=dims.decoder_layers,
            encoder_attention_heads=dims.num_heads,
            decoder_attention_heads=dims.num_heads,
            encoder_ffn_dim=dims.d_ff,
            decoder_ffn_dim=dims.d_ff,
            activation_function="relu",
            scale_embedding=True,
            max_position_embeddings=max_positions,
            pad_token_id=tokenizer.pad_id,
            eos_token_id=tokenizer.eos_id,
            decoder_start_token_id=tokenizer.bos_id,
            forced_eos_token_id=None,
        )
    ).eval()
    with torch.no_grad():
        own = model.state_dict()
        for name, value in marian.renamed(theirs.state_dict()).items():
            if name in own:  # all but the bias of the output projection, which is zero
                value.copy_(own[name])
        nothing = torch.zeros(1, max_positions, dims.d_model)
        for stack in ("encoder", "decoder"):
            table = model.get_submodule(stack).positions.embed(nothing, torch.arange(max_positions)[None])[0]
            theirs.get_submodule(f"model.{stack}").embed_positions.weight.copy_(table)
    never = [tokenizer.bos_id, *range(model.vocab_size, model.token_embedding.num_embeddings)]
    theirs.generation_config.bad_words_ids = [[each] for each in {*never, tokenizer.pad_id}]
    return theirs


def compare(run: LoadedRun, sentences: list[str], repeats: int) -> bool:
    """Print the times and ratios of translating all sentences; returns whether the ratios are held."""
    tokenizer = run.tokenizers.target
    sources = [[*tokens, tokenizer.eos_id] for tokens in run.tokenizers.source.encode_batch(sentences)]
    theirs = marian_of(run.model, tokenizer, max(map(len, sources)) + MAX_NEW)
    special = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
    held = True
    for name, beams, wanted in SETTINGS:
        decoding = DECODING.create({"name": name})

        def ours(decoding: Any = decoding) -> list[list[int]]:
            return generate(run.model, sources, decoding, **special, max_new_tokens=MAX_NEW, batch_size=ROWS).sequences

        def by_marian(beams: int = beams) -> list[list[int]]:
            return [row for start in range(0, len(sources), ROWS) for row in _generated(start, beams)]

        def _generated(start: int, beams: int) -> list[list[int]]:
            tokens, mask = right_padded(sources[start : start + ROWS], tokenizer.pad_id, torch.device("cpu"))
            with torch.inference_mode():
                found: Tensor = theirs.generate(
                    tokens,
                    attention_mask=torch.ones_like(tokens) if mask is None else mask.long(),
                    num_beams=beams,
                    do_sample=False,
                    max_new_tokens=MAX_NEW,
                )
            return [_until_eos(row[1:], tokenizer) for row in found.tolist()]

        seconds: dict[str, list[float]] = {"ours": [], "marian": []}
        outputs: dict[str, list[list[int]]] = {}
        for _ in range(repeats):
            for side, translate in (("ours", ours), ("marian", by_marian)):
                seconds[side].append(_timed(translate, outputs, side))
        medians = {side: statistics.median(found) for side, found in seconds.items()}
        ratio = medians["marian"] / medians["ours"]
        same = sum(a == b for a, b in zip(outputs["ours"], outputs["marian"], strict=True))
        held &= ratio >= wanted
        print(
            f"translating {len(sources)} sentences, {name}: {medians['ours']:.1f} s here, {medians['marian']:.1f} s "
            f"with Marian's, ratio {ratio:.2f} (wanted {wanted}); {same} outputs are the same"
        )
    return held


def compare_run(run_id: str, root: Path, file: Path, limit: int, repeats: int) -> bool:
    """Compare on the first sentences of a file."""
    lines = file.read_text(encoding="utf-8").split("\n")[:limit]
    return compare(load_run(run_id, root=root), [line for line in lines if line], repeats)


def _timed(translate: Callable[[], list[list[int]]], outputs: dict[str, list[list[int]]], side: str) -> float:
    began = time.perf_counter()
    outputs[side] = translate()
    return time.perf_counter() - began


def _until_eos(row: list[int], tokenizer: Tokenizer) -> list[int]:
    ended = row.index(tokenizer.eos_id) if tokenizer.eos_id in row else len(row)
    return [token for token in row[:ended] if token != tokenizer.pad_id]
