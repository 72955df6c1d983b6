"""A task of a plugin: sort texts into classes. Its data are pairs of a text and its label."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lightning_tx import register
from lightning_tx.core.context import Output
from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.core.group import Choice
from lightning_tx.core.measure import TEXT, Measure
from lightning_tx.data.base import Data, Splits
from lightning_tx.data.batch import BatchSize, TextBatch
from lightning_tx.data.corpus import Corpus, SplitName, prepare
from lightning_tx.data.pairs import side
from lightning_tx.data.texts import PaddedBatches
from lightning_tx.model.body import Body
from lightning_tx.model.heads.base import Head
from lightning_tx.model.heads.classifier import Classifier
from lightning_tx.model.sizes import Sizes
from lightning_tx.task.base import Loss, Task
from lightning_tx.task.evaluator import Evaluator
from lightning_tx.tokenizer.sides import Tokenizers


@dataclass(frozen=True)
class Labelled:
    """Encoded texts and their labels as numbers, by the name of a split."""

    texts: Corpus
    labels: Mapping[str, np.ndarray]


@register("task", "classification")
class Classification(Task):
    """Sort texts into the classes that the labels of the training split name."""

    measures = {"loss": Measure("min", TEXT), "accuracy": Measure("max", TEXT)}
    primary = "accuracy"
    texts_per_example = 2

    def objective(self, *, max_seq_len: int, batch: BatchSize) -> str:
        return f"classification: the label of a text, of which {max_seq_len} tokens are read"

    def problems(self, model: Choice[Body], data: Choice[Data[Any]]) -> list[str]:
        problems = super().problems(model, data)
        if model.component.num_inputs != 1:
            problems.append(f"model.name: {model.name!r} reads two texts, but task=classification has one.")
        return problems

    def num_classes(self, splits: Splits[tuple[str, str]]) -> int:
        return len(_names(splits))

    def head(self, body: Body, sizes: Sizes) -> Head:
        return Classifier(body.d_model, sizes.known("num_classes"))

    def tokenizer_texts(self, splits: Splits[tuple[str, str]]) -> tuple[list[str], ...]:
        return ([text for text, _ in splits.train],)

    def prepare(self, splits: Splits[tuple[str, str]], tokenizers: Tokenizers, cache: Path) -> Labelled:
        names, labels = _names(splits), {}
        for split in ("train", "validation", "test"):
            own = [label for _, label in getattr(splits, split)]
            unseen = set(own) - set(names)
            if unseen:
                raise ConfigError(
                    f"data.name: the {split} split has labels that none to train on has: {choices(unseen)}."
                )
            labels[split] = np.array([names.index(label) for label in own], np.int64)
        return Labelled(prepare(side(splits, 0), tokenizers.source, cache), labels)

    def train_batches(self, corpus: Labelled, *, max_seq_len: int, batch: BatchSize, seed: int) -> PaddedBatches:
        own = corpus.texts.train, corpus.labels["train"]
        return PaddedBatches(*own, max_seq_len=max_seq_len, batch=batch, seed=seed)

    def eval_batches(
        self, corpus: Labelled, split: SplitName, *, max_seq_len: int, batch: BatchSize
    ) -> PaddedBatches | None:
        own = corpus.texts.split(split), corpus.labels[split]
        if not len(own[1]):
            return None
        return PaddedBatches(*own, max_seq_len=max_seq_len, batch=batch, shuffle=False)

    def loss(self, model: Body, batch: TextBatch) -> Loss:
        output, logits_BC, total = _scored(model, batch)
        return Loss(total, torch.tensor(len(logits_BC), device=logits_BC.device), output.losses, output.stats)

    def evaluator(self, corpus: Labelled, split: SplitName) -> Evaluator:
        return Accuracy()


class Accuracy(Evaluator):
    """The share of labels that are told right, and their likelihood."""

    nats: Tensor
    right: Tensor
    targets: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("right", "targets"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, model: Body, batch: TextBatch) -> None:
        _, logits_BC, nats = _scored(model, batch)
        self.nats += nats
        self.right += (logits_BC.argmax(dim=-1) == batch.labels_B).sum()
        self.targets += len(logits_BC)

    def compute(self) -> dict[str, float]:
        targets = int(self.targets)
        return {"loss": float(self.nats) / targets, "accuracy": int(self.right) / targets}


def _scored(model: Body, batch: TextBatch) -> tuple[Output, Tensor, Tensor]:
    """What the model returns, scores [B, C], and the cross-entropy of the labels, summed."""
    head, labels = cast(Classifier, model.head), cast(Tensor, batch.labels_B)
    output = model(batch.tokens_BT, token_mask_BT=batch.token_mask_BT)
    logits_BC = head.logits(output.x, batch.token_mask_BT)
    return output, logits_BC, head.cross_entropy(logits_BC, labels)


def _names(splits: Splits[tuple[str, str]]) -> list[str]:
    return sorted({label for _, label in splits.train})
