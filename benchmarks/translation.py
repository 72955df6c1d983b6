"""What translation costs to train: the step, the batches, the preparation, against a loop written by hand.

The step is that of the 4+4-layer model with d_model 128 and a vocabulary of 10,000 on batches of 8,192 tokens of
Multi30k. By hand: the same model in float32 with PyTorch's dropout, all logits at once and PyTorch's cross-entropy. All
variants take turns on the same batches in one process, so that what else the machine does hits all alike.

    python benchmarks/translation.py /path/to/multi30k
"""

import argparse
import contextlib
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.cli.compose import compose
from lightning_tx.data.batch import IGNORE, BatchSize, PairBatch
from lightning_tx.data.pairs import PairCorpus
from lightning_tx.kernels.dropout import Dropout
from lightning_tx.model.build import build_model
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.materials import Materials, cache_folder, forget, materials_of
from lightning_tx.task.base import TASK
from lightning_tx.task.translation import Translation

TOKENS = 8192
#: Variant and the ratio to the loop by hand that must be held.
WANTED = {"precision 32": 1.5, "bf16-mixed": 2.2}
MAX_WASTE, MAX_PREPARING, MAX_REOPENING, MIN_LOADER = 0.08, 15.0, 1.0, 20.0


class Trained:
    """A model, its optimizer, and how its loss is computed."""

    def __init__(self, model: nn.Module, loss: Callable[[PairBatch], Tensor], *, bfloat16: bool = False) -> None:
        self.model, self.loss, self.bfloat16 = model, loss, bfloat16
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9, fused=True)
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def step(self, batch: PairBatch) -> None:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if self.bfloat16 else contextlib.nullcontext():
            loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - began)
        self.losses.append(float(loss.detach()))


def variants(model: Any, task: Translation) -> dict[str, Trained]:
    """The same model three times."""

    def of_task(own: nn.Module) -> Callable[[PairBatch], Tensor]:
        def loss(batch: PairBatch) -> Tensor:
            found = task.loss(own, batch)
            return found.sum / found.count

        return loss

    by_hand = copy.deepcopy(model)
    use_torch_dropout(by_hand)

    def plain(batch: PairBatch) -> Tensor:
        states = by_hand(batch.source_BS, batch.tokens_BT, source_token_mask_BS=batch.source_token_mask_BS).x
        logits, targets = by_hand.head.logits(states).flatten(0, 1), batch.targets_BT.flatten()
        return F.cross_entropy(logits, targets, ignore_index=IGNORE, label_smoothing=task.label_smoothing)

    single, mixed = copy.deepcopy(model), copy.deepcopy(model)
    return {
        "by hand": Trained(by_hand, plain),
        "precision 32": Trained(single, of_task(single)),
        "bf16-mixed": Trained(mixed, of_task(mixed), bfloat16=True),
    }


def use_torch_dropout(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, Dropout):
            setattr(module, name, nn.Dropout(child.p))
        else:
            use_torch_dropout(child)


def measure_step(config: dict[str, Any], materials: Materials, corpus: PairCorpus, steps: int) -> tuple[bool, float]:
    """Print the ratios; returns whether they hold, and target tokens per second of the fastest variant."""
    task = TASK.create(config["task"])
    batches = list(task.train_batches(corpus, max_seq_len=128, batch=BatchSize(tokens=TOKENS), seed=0))[:steps]
    exact = variants(
        build_model({**config, "model": {**config["model"], "dropout": 0.0}}, **asdict(materials.sizes)), task
    )
    for each in exact.values():
        each.step(batches[0])
    first = {name: each.losses[0] for name, each in exact.items()}
    close = abs(first["precision 32"] - first["by hand"]) < 1e-4 and abs(first["bf16-mixed"] - first["by hand"]) < 2e-2
    shown = ", ".join(f"{name} {loss:.5f}" for name, loss in first.items())
    print(f"loss of the first batch without dropout: {shown} (wanted within 1e-4 and 2e-2)")
    running = variants(build_model(config, **asdict(materials.sizes)), task)
    for batch in batches:
        for each in running.values():
            each.step(batch)
    medians = {name: statistics.median(each.seconds[1:]) for name, each in running.items()}
    held = close
    for name, wanted in WANTED.items():
        ratio = medians["by hand"] / medians[name]
        held &= ratio >= wanted
        print(
            f"step, {name}: {1e3 * medians[name]:.0f} ms, by hand {1e3 * medians['by hand']:.0f} ms, "
            f"ratio {ratio:.2f} (wanted {wanted})"
        )
    tokens = sum(int(batch.num_targets) for batch in batches[1:])
    return held, tokens / sum(running["bf16-mixed"].seconds[1:])


def measure_data(config: dict[str, Any], speed: float) -> bool:
    """Print what preparing and batching cost; returns whether the limits hold."""
    with tempfile.TemporaryDirectory() as folder:
        parsed = RunConfig.parse({**config, "root": folder})
        seconds = []
        for _ in range(2):
            forget()
            began = time.perf_counter()
            materials = materials_of(parsed)
            task = parsed.task.create()
            corpus = task.prepare(materials.splits, materials.tokenizers, cache_folder(parsed.root))
            seconds.append(time.perf_counter() - began)
        loader = task.train_batches(corpus, max_seq_len=128, batch=BatchSize(tokens=TOKENS), seed=0)
        began = time.perf_counter()
        batches = list(loader)
        rate = sum(int(batch.num_targets) for batch in batches) / (time.perf_counter() - began)
    slots = sum(batch.source_BS.numel() + batch.tokens_BT.numel() for batch in batches)
    pairs = corpus.split("train")
    real = len(pairs.source.tokens) + len(pairs.target.tokens) - 2 * pairs.num_pairs
    waste = 1 - real / slots
    print(f"preparing Multi30k: {seconds[0]:.1f} s once, {seconds[1]:.2f} s from cache (wanted 15 and 1)")
    print(f"padding: {100 * waste:.1f} % of all tokens (wanted at most 8 %)")
    print(f"loader alone: {rate / speed:.0f} times what training consumes (wanted 20)")
    return (
        seconds[0] <= MAX_PREPARING
        and seconds[1] <= MAX_REOPENING
        and waste <= MAX_WASTE
        and rate / speed >= MIN_LOADER
    )


def main() -> int:
    """Measure; the exit code is 1 where a figure is not held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("multi30k", type=Path, help="folder with train.en, train.de, val.en and val.de")
    parser.add_argument("--steps", type=int, default=25, help="steps of each variant (default: 25)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        overrides = ["experiment=transformer_tiny_multi30k", f"data.path={arguments.multi30k}", f"root={folder}"]
        config = compose(overrides)
        parsed = RunConfig.parse(config)
        materials = materials_of(parsed)
        corpus = parsed.task.create().prepare(materials.splits, materials.tokenizers, cache_folder(parsed.root))
        step_held, speed = measure_step(config, materials, corpus, arguments.steps)
    return int(not (step_held & measure_data(config, speed)))


if __name__ == "__main__":
    raise SystemExit(main())
