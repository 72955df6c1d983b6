import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.group import Choice
from lightning_tx.core.measure import TEXT, Measure
from lightning_tx.data.base import Data, Splits
from lightning_tx.data.batch import Batch, BatchSize
from lightning_tx.data.corpus import Corpus, SplitName, prepare
from lightning_tx.data.packing import PackedBatches
from lightning_tx.model.body import Body
from lightning_tx.task.base import TASK, Loss, Task
from lightning_tx.task.cross_entropy import cross_entropy_sum, perplexity, states_of, without_seen
from lightning_tx.task.evaluator import Evaluator
from lightning_tx.tokenizer.sides import Tokenizers


@TASK.register("causal_lm")
class CausalLM(Task):
    """Predict each next token from those before it, over documents packed into full sequences.

    Metrics: ``loss`` (mean negative log-likelihood per token, in nats), ``perplexity`` (its exponential) and
    ``bits_per_byte`` (the same likelihood per byte of text, comparable between tokenizers).

    Source: Radford et al. 2019 (GPT-2).

    Args:
        label_smoothing: share of the target's probability that is spread evenly, in training only.
    """

    measures: Mapping[str, Measure] = {
        "loss": Measure("min"),
        "perplexity": Measure("min"),
        "bits_per_byte": Measure("min", TEXT),
    }
    primary = "loss"

    def __init__(self, *, label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def objective(self, *, max_seq_len: int, batch: BatchSize) -> str:
        """Every token is a target, once, however rows are cut."""
        return "causal_lm: each token from those before it"

    def problems(self, model: Choice[Body], data: Choice[Data[Any]]) -> list[str]:
        """A causal language model needs single texts, and a model that sees the past only."""
        problems = super().problems(model, data)
        body = model.component
        if body.causal and body.num_inputs == 1 and body.packs_documents and not body.pooled:
            return problems
        return [
            *problems,
            f"model.name: {model.name!r} does not continue one text from left to right, as task=causal_lm needs.",
        ]

    def prepare(self, splits: Splits[str], tokenizers: Tokenizers, cache: Path) -> Corpus:
        """Every document encoded once, in memory-mapped arrays."""
        return prepare(splits, tokenizers.target, cache)

    def train_batches(self, corpus: Corpus, *, max_seq_len: int, batch: BatchSize, seed: int) -> PackedBatches:
        """Windows of ``max_seq_len`` tokens in random order, from another offset each epoch."""
        rows = batch.rows(max_seq_len)
        return PackedBatches(corpus.train, seq_len=max_seq_len, batch_size=rows, seed=seed, shuffle=True)

    def eval_batches(
        self, corpus: Corpus, split: SplitName, *, max_seq_len: int, batch: BatchSize
    ) -> PackedBatches | None:
        """Consecutive windows over the whole split."""
        encoded = corpus.split(split)
        if encoded.num_documents == 0:
            return None
        return PackedBatches(encoded, seq_len=max_seq_len, batch_size=batch.rows(max_seq_len), shuffle=False)

    def loss(self, model: Body, batch: Batch) -> Loss:
        """Cross-entropy, smoothed if asked for, of the tokens that the model has not seen."""
        batch = without_seen(model, batch)
        output = states_of(model, batch)
        total = cross_entropy_sum(model, output.x, batch.targets_BT, self.label_smoothing)
        return Loss(total, batch.num_targets, output.losses, output.stats)

    def evaluator(self, corpus: Corpus, split: SplitName) -> Evaluator:
        """Loss, perplexity and bits per byte of a split."""
        return Likelihood(corpus.split(split).num_bytes)


class Likelihood(Evaluator):
    """Negative log-likelihood of a split, per token and per byte.

    Args:
        num_bytes: UTF-8 bytes of the split's text.
    """

    nats: Tensor
    targets: Tensor
    tokens: Tensor

    def __init__(self, num_bytes: int) -> None:
        super().__init__()
        self.num_bytes = num_bytes
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("targets", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, model: Body, batch: Batch) -> None:
        """Add the batch's targets."""
        self.tokens += batch.num_targets
        batch = without_seen(model, batch)
        self.nats += cross_entropy_sum(model, states_of(model, batch).x, batch.targets_BT)
        self.targets += batch.num_targets

    def compute(self) -> dict[str, float]:
        """The three numbers, over all targets seen; tokens of a prefix count in the bytes as if predicted as well.

        Raises:
            ConfigError: there is nothing to predict.
        """
        if self.targets == 0:
            raise ConfigError("data: a split has nothing to predict: all of its tokens lie in prefixes.")
        loss = float(self.nats) / int(self.targets)
        bits_per_byte = loss * int(self.tokens) / math.log(2) / self.num_bytes
        return {"loss": loss, "perplexity": perplexity(loss), "bits_per_byte": bits_per_byte}
