from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from lightning_tx.core.errors import choices
from lightning_tx.core.group import Choice
from lightning_tx.core.measure import TEXT, Measure
from lightning_tx.data.base import Data, Splits
from lightning_tx.data.batch import BatchSize, PairBatch
from lightning_tx.data.bucketing import BucketedBatches
from lightning_tx.data.corpus import SplitName
from lightning_tx.data.pairs import PairCorpus, prepare_pairs, too_long
from lightning_tx.decoding.base import Decoding
from lightning_tx.decoding.greedy import Greedy
from lightning_tx.model.body import MODEL, Body
from lightning_tx.model.generation import generators
from lightning_tx.task.base import TASK, Loss, Task
from lightning_tx.task.cross_entropy import cross_entropy_sum, target_states_of
from lightning_tx.task.evaluator import Evaluator
from lightning_tx.task.translation_quality import TranslationQuality
from lightning_tx.tokenizer.sides import Tokenizers

#: For tokenizers of sacreBLEU's that need another library: sacreBLEU's extra, and a module of it.
_EXTRAS = {"ja-mecab": ("ja", "MeCab"), "ko-mecab": ("ko", "mecab_ko")}
#: Tokens that an output may have beyond the ratio, so that short sources are not cut off.
SPARE_TOKENS = 10


@TASK.register("translation")
class Translation(Task):
    """Write the second text of a pair, given the first.

    Metrics: ``bleu`` and ``chrf`` of whole splits as the ``sacrebleu`` command prints them, ``exact_match`` (share of
    outputs equal to their reference), ``loss`` (mean negative log-likelihood per target token, in nats) and
    ``perplexity``. While it trains, greedy outputs of the first ``validation_sentences`` are scored; the weights that
    a run ends with are scored on the whole of validation and test, with the outputs of ``decoding``.

    Source: Vaswani et al. 2017, arXiv:1706.03762; Papineni et al. 2002 (BLEU); Popović 2015 (chrF); Post 2018,
    arXiv:1804.08771 (sacreBLEU).

    Args:
        label_smoothing: share of the target's probability that is spread evenly, in training only.
        joint_vocabulary: whether one tokenizer serves both sides; else each side has its own.
        validation_sentences: how many sentences are decoded at each validation; null for all.
        max_length_ratio: outputs end at this many times the source's tokens, and ten more.
        bleu_tokenize: sacreBLEU's tokenizer; ``none`` for text that is tokenised already.
        select_by: the metric that decides which checkpoint is best and which variant is better. BLEU needs outputs of
            four words and more; for shorter ones take another.
    """

    measures: Mapping[str, Measure] = {
        "loss": Measure("min"),
        "perplexity": Measure("min"),
        "bleu": Measure("max", (*TEXT, "objective")),
        "chrf": Measure("max", TEXT),
        "exact_match": Measure("max", TEXT),
    }
    texts_per_example = 2
    decodes = True

    def __init__(
        self,
        *,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        joint_vocabulary: bool = True,
        validation_sentences: Annotated[int, Field(gt=0)] | None = 200,
        max_length_ratio: Annotated[float, Field(gt=0)] = 2.0,
        bleu_tokenize: Literal["13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab"] = "13a",
        select_by: Literal["bleu", "chrf", "exact_match", "loss"] = "bleu",
    ) -> None:
        self.primary = select_by
        self.label_smoothing = label_smoothing
        self.joint_vocabulary = joint_vocabulary
        self.validation_sentences = validation_sentences
        self.max_length_ratio = max_length_ratio
        self.bleu_tokenize = bleu_tokenize

    def objective(self, *, max_seq_len: int, batch: BatchSize) -> str:
        """Each token of the second text; BLEU depends on its tokenizer too."""
        return f"translation: the second text from the first, BLEU on tokens {self.bleu_tokenize}"

    def problems(self, model: Choice[Body], data: Choice[Data[Any]]) -> list[str]:
        """Translation needs pairs, a model with a source and a target, and embeddings that fit the vocabularies."""
        problems = super().problems(model, data)
        if model.component.num_inputs != 2:
            problems.append(
                f"model.name: {model.name!r} reads one text, but task=translation has a source and a target."
            )
        elif model.name not in generators():
            fitting = choices(name for name in generators() if MODEL.get(name).num_inputs == 2)
            problems.append(
                f"model.name: {model.name!r} does not generate text, as task=translation needs. Choices: {fitting}."
            )
        elif not self.joint_vocabulary and model.options.get("share_embeddings"):
            problems.append(
                "model.share_embeddings: true needs one vocabulary for both sides; "
                "set it to false, or task.joint_vocabulary to true."
            )
        extra, module = _EXTRAS.get(self.bleu_tokenize, ("", ""))
        if module and find_spec(module) is None:
            problems.append(
                f"task.bleu_tokenize: {self.bleu_tokenize!r} needs a library that is not installed: "
                f"pip install 'sacrebleu[{extra}]'. Choices without it: 13a, none, intl, char, zh."
            )
        return problems

    def tokenizer_texts(self, splits: Splits[tuple[str, str]]) -> tuple[Sequence[str], ...]:
        """Both sides of every pair in one, or sources and targets apart."""
        if self.joint_vocabulary:
            return ([text for pair in splits.train for text in pair],)
        return [source for source, _ in splits.train], [target for _, target in splits.train]

    def prepare(self, splits: Splits[tuple[str, str]], tokenizers: Tokenizers, cache: Path) -> PairCorpus:
        """Every text encoded once, in memory-mapped arrays."""
        return prepare_pairs(splits, tokenizers, cache)

    def counts(self, corpus: PairCorpus, *, max_seq_len: int) -> dict[str, int]:
        """Pairs to train on, and those whose tokens are more than the model takes."""
        long = {name: too_long(corpus.split(name), max_seq_len) for name in ("train", "validation", "test")}
        return {
            "train_pairs": int(np.count_nonzero(~long["train"])),
            "train_skipped_by_max_seq_len": int(np.count_nonzero(long["train"])),
            "validation_cut_to_max_seq_len": int(np.count_nonzero(long["validation"])),
            "test_cut_to_max_seq_len": int(np.count_nonzero(long["test"])),
        }

    def train_batches(self, corpus: PairCorpus, *, max_seq_len: int, batch: BatchSize, seed: int) -> BucketedBatches:
        """Pairs of about equal length, other ones together in each epoch."""
        return BucketedBatches(corpus.split("train"), max_seq_len=max_seq_len, batch=batch, seed=seed)

    def eval_batches(
        self, corpus: PairCorpus, split: SplitName, *, max_seq_len: int, batch: BatchSize
    ) -> BucketedBatches | None:
        """Every pair of the split, the longest first."""
        pairs = corpus.split(split)
        if pairs.num_pairs == 0:
            return None
        return BucketedBatches(pairs, max_seq_len=max_seq_len, batch=batch, shuffle=False)

    def loss(self, model: Body, batch: PairBatch) -> Loss:
        """Cross-entropy, smoothed if asked for."""
        output = target_states_of(model, batch)
        total = cross_entropy_sum(model, output.x, batch.targets_BT, self.label_smoothing)
        return Loss(total, batch.num_targets, output.losses, output.stats)

    def evaluator(self, corpus: PairCorpus, split: SplitName) -> Evaluator:
        """Loss over all of the split, quality of greedy outputs for its first sentences."""
        return self._quality(corpus, split, Greedy(), self.validation_sentences)

    def final_evaluator(self, corpus: PairCorpus, split: SplitName, decoding: Decoding) -> Evaluator:
        """Loss and quality over all of the split."""
        return self._quality(corpus, split, decoding, None)

    def num_positions(self, batch: PairBatch) -> int:
        """The mean of both sides, as the cost of a token is counted with one on either side."""
        return (batch.source_BS.numel() + batch.tokens_BT.numel()) // 2

    def max_new_tokens(self, length: int, max_seq_len: int) -> int:
        """``max_length_ratio`` times the source's tokens, and ten more."""
        return int(self.max_length_ratio * length) + SPARE_TOKENS

    def _quality(self, corpus: PairCorpus, split: SplitName, decoding: Decoding, sentences: int | None) -> Evaluator:
        return TranslationQuality(
            corpus.pairs(split)[:sentences],
            corpus.tokenizer,
            decoding,
            max_new_tokens=self.max_new_tokens,
            tokenize=self.bleu_tokenize,
        )
