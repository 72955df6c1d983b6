from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lightning_tx.decoding.base import DECODING, Decoded, Decoding, Generating
from lightning_tx.decoding.scores import top

NOTHING = float("-inf")


@DECODING.register("beam")
class Beam(Decoding):
    """Keeps the ``num_beams`` most probable beginnings of each row, and returns the best of its finished sequences.

    A sequence is ranked by ``log p / length^length_penalty``, its length counted with ``<eos>`` and without the
    prompt. One that ends among the ``num_beams`` best continuations is finished; ``num_beams`` of those are kept. A
    row is done when no running sequence, taken at its present length, ranks before the worst of them. At a row's
    limit what still runs counts as it stands.

    Source: Wu et al. 2016, arXiv:1609.08144 (there the penalty is ``((5 + length) / 6)^alpha``).

    Args:
        num_beams: beginnings kept a row; 1 is greedy.
        length_penalty: 0 ranks by probability alone, which favours short sequences; 1 by the mean a token.
    """

    def __init__(
        self,
        *,
        num_beams: Annotated[int, Field(gt=0)] = 5,
        length_penalty: Annotated[float, Field(ge=-10, le=10)] = 1.0,
    ) -> None:
        self.num_beams = num_beams
        self.length_penalty = length_penalty

    def generate(
        self, generation: Generating, *, max_new_tokens: Sequence[int], eos_id: int, seeds: Sequence[int]
    ) -> list[Decoded]:
        """Extend all beams by a token, keep the best; a row leaves as soon as it is done."""
        logits, device = generation.logits_BV, generation.logits_BV.device
        dtype = torch.promote_types(logits.dtype, torch.float32)
        num_rows, width = len(logits), max(max_new_tokens)
        rows = list(range(num_rows))
        limits = torch.tensor(max_new_tokens, device=device)
        running = _Sequences.empty(num_rows, 1, width, dtype, device)
        running.scores.zero_()
        finished = _Sequences.empty(num_rows, self.num_beams, width, dtype, device)
        results: dict[int, Decoded] = {}
        for length in range(1, width + 1):
            beams = running.scores.shape[1]
            candidates, parents = self._extended(running, logits, length)
            by_eos = candidates.tokens[:, :, length - 1] == eos_id
            at_limit = limits <= length
            finished = self._with_ended(finished, candidates, by_eos | at_limit[:, None], length)
            order = candidates.scores.masked_fill(by_eos, NOTHING).topk(self.num_beams, dim=1)
            running = candidates.take(order.indices)
            running.scores = order.values
            hopeless = order.values[:, 0] / length**self.length_penalty <= finished.scores[:, -1]
            done = (at_limit | hopeless).tolist()
            for place in (place for place, is_done in enumerate(done) if is_done):
                results[rows[place]] = self._result(finished, place, eos_id)
            if len(results) == num_rows:
                break
            first_beams = torch.arange(len(rows), device=device)[:, None] * beams
            sources = first_beams + parents.gather(1, order.indices)
            if any(done):
                places = torch.tensor([place for place, is_done in enumerate(done) if not is_done], device=device)
                rows = [rows[place] for place in places.tolist()]
                running, finished = running.of_rows(places), finished.of_rows(places)
                limits, sources = limits[places], sources[places]
            if any(done) or beams != self.num_beams:
                generation.select(sources.flatten())
            else:
                generation.reorder(sources.flatten())
            logits = generation.step(running.tokens[:, :, length - 1].reshape(-1, 1))
        return [results[row] for row in range(num_rows)]

    def _extended(self, running: "_Sequences", logits: Tensor, length: int) -> tuple["_Sequences", Tensor]:
        """The best continuations, twice as many as beams so that enough remain when all beams end, best first.

        Returns:
            Sequences [B, 2 · num_beams] with log-probabilities as scores, and the beam each comes from.
        """
        num_rows, beams = running.scores.shape
        # The best of all beams are among the best of each.
        values, ids = top(logits.log_softmax(dim=-1), min(2 * self.num_beams, logits.shape[1]))
        values = values.view(num_rows, beams, -1)
        scores = (running.scores[:, :, None] + values).flatten(1)
        missing = max(0, 2 * self.num_beams - scores.shape[1])  # a vocabulary may hold fewer
        scores, ids = F.pad(scores, (0, missing), value=NOTHING), F.pad(ids.view(num_rows, -1), (0, missing))
        best = scores.topk(2 * self.num_beams, dim=1)
        parents = (best.indices // values.shape[2]).clamp(max=beams - 1)
        candidates = running.take(parents)
        candidates.scores = best.values
        candidates.tokens[:, :, length - 1] = ids.gather(1, best.indices)
        candidates.lengths.fill_(length)
        return candidates, parents

    def _with_ended(self, finished: "_Sequences", candidates: "_Sequences", ended: Tensor, length: int) -> "_Sequences":
        """The best of what was finished before and of the candidates that end now and are among the best beams."""
        ended[:, self.num_beams :] = False
        if not ended.any():
            return finished
        scores = (candidates.scores / length**self.length_penalty).masked_fill(~ended, NOTHING)
        both = _Sequences(
            torch.cat([finished.tokens, candidates.tokens], dim=1),
            torch.cat([finished.lengths, candidates.lengths], dim=1),
            torch.cat([finished.scores, scores], dim=1),
        )
        return both.take(both.scores.topk(self.num_beams, dim=1).indices)

    def _result(self, finished: "_Sequences", place: int, eos_id: int) -> Decoded:
        length, score = int(finished.lengths[place, 0]), float(finished.scores[place, 0])
        tokens = finished.tokens[place, 0, :length].tolist()
        by_eos = tokens[-1] == eos_id
        return Decoded(tokens[:-1] if by_eos else tokens, score * length**self.length_penalty, score, by_eos)


@dataclass
class _Sequences:
    """Sequences of each row, best first.

    Attributes:
        tokens: [B, N, longest].
        lengths: [B, N], tokens that count.
        scores: [B, N]; minus infinity where there is no sequence.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor

    @staticmethod
    def empty(rows: int, number: int, longest: int, dtype: torch.dtype, device: torch.device) -> "_Sequences":
        return _Sequences(
            torch.zeros(rows, number, longest, dtype=torch.long, device=device),
            torch.zeros(rows, number, dtype=torch.long, device=device),
            torch.full((rows, number), NOTHING, dtype=dtype, device=device),
        )

    def take(self, index: Tensor) -> "_Sequences":
        """Sequences by number [B, M]."""
        tokens = self.tokens.gather(1, index[:, :, None].expand(-1, -1, self.tokens.shape[2]))
        return _Sequences(tokens, self.lengths.gather(1, index), self.scores.gather(1, index))

    def of_rows(self, rows: Tensor) -> "_Sequences":
        return _Sequences(self.tokens[rows], self.lengths[rows], self.scores[rows])
