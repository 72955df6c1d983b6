from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.core.group import Choice
from lightning_tx.core.measure import Measure
from lightning_tx.data.base import Data, Splits
from lightning_tx.data.batch import IGNORE, Batch, BatchSize
from lightning_tx.data.corpus import SPLIT_NAMES, Corpus, EncodedSplit, SplitName, prepare
from lightning_tx.data.masking import MASK, MaskedBatches, Masking, MaskingVocabulary
from lightning_tx.data.packing import PackedBatches
from lightning_tx.model.body import MODEL, Body
from lightning_tx.task.base import TASK, Loss, Task
from lightning_tx.task.cross_entropy import cross_entropy_sum, head_of, perplexity, states_of
from lightning_tx.task.evaluator import Evaluator
from lightning_tx.tokenizer.sides import Tokenizers

#: Tokens counted, or states projected to the vocabulary, at a time.
_COUNTED_TOKENS = 1 << 22
_PROJECTED_STATES = 1 << 10


@dataclass(frozen=True)
class MaskedCorpus:
    """A data set in tokens and what masking needs to know.

    Attributes:
        encoded: the three splits.
        vocabulary: tables over the vocabulary.
        commonest: id of the most frequent ordinary token of the training split.
    """

    encoded: Corpus
    vocabulary: MaskingVocabulary
    commonest: int


@TASK.register("masked_lm")
class MaskedLM(Task):
    """Guess hidden tokens from all those around them, over documents packed into full sequences.

    Metrics, over the chosen tokens: ``loss`` (mean negative log-likelihood, in nats), ``perplexity`` (its exponential;
    of a pseudo-likelihood, not comparable with a causal model's), ``accuracy`` (share guessed right) and
    ``unigram_accuracy`` (what always guessing the most frequent training token reaches on the same tokens).

    Every epoch hides other tokens. Evaluation hides the same ones each time, for one batch size.

    Source: Devlin et al. 2018, arXiv:1810.04805.

    Args:
        mask_fraction: share of each row's ordinary tokens that is to be guessed.
        whole_words: whether words are hidden whole, with all their tokens.
    """

    measures: Mapping[str, Measure] = {
        "loss": Measure("min"),
        "perplexity": Measure("min"),
        "accuracy": Measure("max"),
        "unigram_accuracy": Measure("max"),
    }
    primary = "loss"
    special_tokens = (MASK,)

    def __init__(self, *, mask_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15, whole_words: bool = False) -> None:
        self.mask_fraction = mask_fraction
        self.whole_words = whole_words

    def objective(self, *, max_seq_len: int, batch: BatchSize) -> str:
        """Which tokens are hidden in evaluation depends on how many, on words, and on how rows are cut and batched."""
        what = f"{'whole words' if self.whole_words else 'tokens'}, {self.mask_fraction} of a row"
        return f"masked_lm: hidden {what}, in batches of {batch.rows(max_seq_len)} rows of {max_seq_len}"

    def problems(self, model: Choice[Body], data: Choice[Data[Any]]) -> list[str]:
        """A masked language model needs single texts, and a model that sees both sides of a token."""
        problems = super().problems(model, data)
        if _sees_both_sides(model.name):
            return problems
        fitting = choices(filter(_sees_both_sides, MODEL.names()))
        return [
            *problems,
            f"model.name: {model.name!r} does not read one text from both sides, as task=masked_lm needs. "
            f"Choices: {fitting}.",
        ]

    def prepare(self, splits: Splits[str], tokenizers: Tokenizers, cache: Path) -> MaskedCorpus:
        """Every document encoded once, in memory-mapped arrays.

        Raises:
            ConfigError: a split has documents and no token that could be hidden, or the tokenizer has no ``<mask>``.
        """
        encoded = prepare(splits, tokenizers.target, cache)
        vocabulary = MaskingVocabulary.of(tokenizers.target)
        counts = {name: _ordinary_counts(encoded.split(name), vocabulary) for name in SPLIT_NAMES}
        bare = [name for name in SPLIT_NAMES if encoded.split(name).num_documents and not counts[name].any()]
        if bare:
            raise ConfigError(
                [f"data.name: the documents of the {name} split have no token that could be hidden." for name in bare]
            )
        return MaskedCorpus(encoded, vocabulary, int(counts["train"].argmax()))

    def train_batches(self, corpus: MaskedCorpus, *, max_seq_len: int, batch: BatchSize, seed: int) -> MaskedBatches:
        """Windows of ``max_seq_len`` tokens in random order, from another offset and with other gaps each epoch."""
        rows = batch.rows(max_seq_len)
        packed = PackedBatches(corpus.encoded.train, seq_len=max_seq_len, batch_size=rows, seed=seed, shuffle=True)
        return MaskedBatches(packed, self._masking(corpus), seed=seed, shuffle=True)

    def eval_batches(
        self, corpus: MaskedCorpus, split: SplitName, *, max_seq_len: int, batch: BatchSize
    ) -> MaskedBatches | None:
        """Consecutive windows over the whole split, always with the same gaps."""
        encoded = corpus.encoded.split(split)
        if encoded.num_documents == 0:
            return None
        packed = PackedBatches(encoded, seq_len=max_seq_len, batch_size=batch.rows(max_seq_len), shuffle=False)
        return MaskedBatches(packed, self._masking(corpus), shuffle=False)

    def loss(self, model: Body, batch: Batch) -> Loss:
        """Cross-entropy of the chosen tokens."""
        output = states_of(model, batch)
        return Loss(
            cross_entropy_sum(model, output.x, batch.targets_BT), batch.num_targets, output.losses, output.stats
        )

    def evaluator(self, corpus: MaskedCorpus, split: SplitName) -> "Guesses":
        """Likelihood and accuracy on a split, beside the accuracy of one and the same guess for all."""
        return Guesses(corpus.commonest)

    def _masking(self, corpus: MaskedCorpus) -> Masking:
        return Masking(corpus.vocabulary, self.mask_fraction, self.whole_words)


class Guesses(Evaluator):
    """How well chosen tokens are guessed.

    Args:
        commonest: id of the token that the unigram model always guesses.
    """

    nats: Tensor
    targets: Tensor
    right: Tensor
    unigram_right: Tensor

    def __init__(self, commonest: int) -> None:
        super().__init__()
        self.commonest = commonest
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("targets", "right", "unigram_right"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, model: Body, batch: Batch) -> None:
        """Add the batch's targets."""
        states_BTD = states_of(model, batch).x
        chosen_BT = batch.targets_BT != IGNORE
        targets = batch.targets_BT[chosen_BT]
        self.nats += cross_entropy_sum(model, states_BTD, batch.targets_BT)
        self.targets += len(targets)
        self.unigram_right += (targets == self.commonest).sum()
        for states, wanted in zip(
            states_BTD[chosen_BT].split(_PROJECTED_STATES), targets.split(_PROJECTED_STATES), strict=True
        ):
            self.right += (head_of(model).logits(states).argmax(-1) == wanted).sum()

    def compute(self) -> dict[str, float]:
        """The four numbers, over all targets seen."""
        targets = int(self.targets)
        loss = float(self.nats) / targets
        return {
            "loss": loss,
            "perplexity": perplexity(loss),
            "accuracy": int(self.right) / targets,
            "unigram_accuracy": int(self.unigram_right) / targets,
        }


def _sees_both_sides(model: str) -> bool:
    cls = MODEL.get(model)
    return not cls.causal and cls.num_inputs == 1 and cls.packs_documents and not cls.pooled


def _ordinary_counts(split: EncodedSplit, vocabulary: MaskingVocabulary) -> np.ndarray:
    """How often each token occurs in a split, int64 [V]; 0 for special tokens."""
    counts = np.zeros(len(vocabulary.special_V), np.int64)
    for start in range(0, len(split.tokens), _COUNTED_TOKENS):
        counts += np.bincount(split.tokens[start : start + _COUNTED_TOKENS], minlength=len(counts))
    counts[vocabulary.special_V] = 0
    return counts
