"""How good translations are: likelihood, and outputs compared with references."""

import json
import math
from collections.abc import Callable, Sequence
from statistics import fmean, harmonic_mean

import torch
from torch import Tensor

from lightning_tx.core import names
from lightning_tx.data.batch import PairBatch
from lightning_tx.decoding.base import Decoding
from lightning_tx.decoding.generate import Generated, generate
from lightning_tx.model.body import Body
from lightning_tx.task.cross_entropy import cross_entropy_sum, perplexity, target_states_of
from lightning_tx.task.evaluator import Evaluator
from lightning_tx.tokenizer.base import Tokenizer

#: Scores of outputs.
_SCORES = ("bleu", "chrf", "exact_match")
#: Sentences in the table of the best, and in that of the worst.
TABLE_ROWS = 20


class TranslationQuality(Evaluator):
    """Likelihood of the references, and BLEU, chrF and exact matches of the outputs.

    A model whose likelihood is no number writes nothing, and its outputs have no scores.

    Outputs are compared as text, decoded from their tokens. BLEU and chrF are sacreBLEU's, in its defaults but for
    the tokenizer; they are between 0 and 100.

    Args:
        pairs: the first sentences of the split as text; those are decoded.
        tokenizer: of the targets.
        decoding: how outputs are written.
        max_new_tokens: longest output for a source of so many tokens, given the model's ``max_seq_len``.
        tokenize: sacreBLEU's name of a tokenizer.
    """

    nats: Tensor
    targets: Tensor

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        tokenizer: Tokenizer,
        decoding: Decoding,
        *,
        max_new_tokens: Callable[[int, int], int],
        tokenize: str,
    ) -> None:
        super().__init__()
        self.pairs, self.tokenizer, self.decoding = pairs, tokenizer, decoding
        self.max_new_tokens, self.tokenize = max_new_tokens, tokenize
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("targets", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.outputs: dict[int, str] = {}
        self._batches: list[Generated] = []

    def update(self, model: Body, batch: PairBatch) -> None:
        """Add a batch: its likelihood, and outputs for those of its sources that are to be decoded."""
        nats = cross_entropy_sum(model, target_states_of(model, batch).x, batch.targets_BT)
        self.nats += nats
        self.targets += batch.num_targets
        rows = (batch.examples_B < len(self.pairs)).nonzero()[:, 0]
        if len(rows) and nats.isfinite():
            examples = batch.examples_B[rows].tolist()
            self.outputs |= zip(examples, self._written(model, _sources(batch, rows), examples), strict=True)

    def compute(self) -> dict[str, float]:
        """The numbers over all that was seen.

        Returns:
            ``loss``, ``perplexity``, ``bleu``, ``chrf``, ``exact_match``.
        """
        loss = float(self.nats) / int(self.targets)
        if not math.isfinite(loss):
            return {"loss": loss, "perplexity": perplexity(loss)} | dict.fromkeys(_SCORES, math.nan)
        outputs, references = self._compared()
        bleu, chrf = self._scorers()
        return {
            "loss": loss,
            "perplexity": perplexity(loss),
            "bleu": bleu.corpus_score(outputs, [references]).score,
            "chrf": chrf.corpus_score(outputs, [references]).score,
            "exact_match": sum(map(str.__eq__, outputs, references)) / len(outputs),
        }

    def reset(self) -> None:
        """Forget what was seen."""
        super().reset()
        self.outputs, self._batches = {}, []

    def timing(self) -> dict[str, float]:
        """What the outputs took: means over the batches, and the largest cache; nothing where none was written.

        Returns:
            ``seconds_to_first_token``, ``seconds_per_token`` (of a step for a whole batch), ``tokens_per_second`` and
            ``cache_bytes``.
        """
        if not self._batches:
            return {}
        return {
            "seconds_to_first_token": fmean(batch.seconds_to_first_token for batch in self._batches),
            "seconds_per_token": fmean(batch.seconds_per_token for batch in self._batches),
            "tokens_per_second": harmonic_mean(
                [batch.tokens_per_second for batch in self._batches], [batch.num_tokens for batch in self._batches]
            ),
            "cache_bytes": max(batch.cache_bytes for batch in self._batches),
        }

    def files(self) -> dict[str, str | bytes]:
        """Sources, outputs and references a line each, the scores with their signatures, and the best and worst.

        Nothing where no outputs were written.
        """
        if not self.outputs:
            return {}
        outputs, references = self._compared()
        sources = [_line(self.pairs[example][0]) for example in sorted(self.outputs)]
        bleu, chrf = self._scorers()
        scores = {
            name: {"score": scorer.corpus_score(outputs, [references]).score, "signature": str(scorer.get_signature())}
            for name, scorer in (("bleu", bleu), ("chrf", chrf))
        }
        return {
            names.SOURCES_FILE: _lines(sources),
            names.OUTPUTS_FILE: _lines(outputs),
            names.REFERENCES_FILE: _lines(references),
            names.SCORES_FILE: json.dumps(scores, indent=2) + "\n",
            names.SENTENCES_FILE: self._table(sources, outputs, references),
        }

    def _written(self, model: Body, sources: list[list[int]], examples: list[int]) -> list[str]:
        tokenizer = self.tokenizer
        generated = generate(
            model,
            sources,
            self.decoding,
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
            max_new_tokens=[self.max_new_tokens(len(source), model.max_seq_len) for source in sources],
            batch_size=len(sources),
            numbers=examples,
        )
        self._batches.append(generated)
        return [_line(tokenizer.decode(sequence)) for sequence in generated.sequences]

    def _compared(self) -> tuple[list[str], list[str]]:
        """Outputs and references in the split's order."""
        examples = sorted(self.outputs)
        return [self.outputs[example] for example in examples], [_line(self.pairs[example][1]) for example in examples]

    def _scorers(self):
        # Imported here: it takes a second, and most commands score nothing.
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        return BLEU(tokenize=self.tokenize, force=True), CHRF()

    def _table(self, sources: list[str], outputs: list[str], references: list[str]) -> str:
        from sacrebleu.metrics.bleu import BLEU

        scorer = BLEU(tokenize=self.tokenize, effective_order=True)
        scores = [
            scorer.sentence_score(output, [reference]).score
            for output, reference in zip(outputs, references, strict=True)
        ]
        best_first = sorted(range(len(scores)), key=lambda place: -scores[place])
        parts = []
        for title, places in (("Best", best_first[:TABLE_ROWS]), ("Worst", best_first[::-1][:TABLE_ROWS])):
            rows = [
                f"| {scores[place]:.1f} | {_cell(sources[place])} | {_cell(outputs[place])} | "
                f"{_cell(references[place])} |"
                for place in places
            ]
            head = ["| BLEU | source | output | reference |", "|---|---|---|---|"]
            parts.append("\n".join([f"## {title} by sentence BLEU", "", *head, *rows]))
        return "\n\n".join([*parts, f"Sentence BLEU: {scorer.get_signature()}\n"])


def _sources(batch: PairBatch, rows: Tensor) -> list[list[int]]:
    """The sources of some rows as lists, without padding."""
    sources = batch.source_BS[rows].tolist()
    if batch.source_token_mask_BS is None:
        return sources
    lengths = batch.source_token_mask_BS[rows].sum(dim=1).tolist()
    return [source[:length] for source, length in zip(sources, lengths, strict=True)]


def _line(text: str) -> str:
    """On one line, whatever ends lines: the files of a split are read line by line."""
    return " ".join(text.splitlines())


def _lines(texts: list[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
