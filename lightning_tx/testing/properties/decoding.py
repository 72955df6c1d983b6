"""Decoding: what comes of a row is a function of its scores and its seed."""

from itertools import product
from typing import Any

import torch
from torch import Tensor

from lightning_tx.decoding.base import DECODING, Decoded
from lightning_tx.testing.baseline import Config
from lightning_tx.testing.component import Component
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import Violation
from lightning_tx.testing.values import generator_states, seeded
from lightning_tx.testing.variations import each_changed

EOS, VOCAB_SIZE = 2, 11
ROWS = [0, 1, 2, 3]


@holds(
    about="component",
    groups=("decoding",),
    usually="numbers drawn for the whole batch, where every row has a seed of its own, or a maximum over the batch.",
    kin="chance in decoding",
)
def rows_decode_by_themselves(subject: Component) -> None:
    """What comes of a row depends on its own scores and seed alone: not on the rows beside it, nor on their order."""
    for config in _configs(subject):
        together = dict(zip(ROWS, _decoded(config, ROWS), strict=True))
        for order in ([0], [3, 1], [2, 3, 0, 1], [1, 2, 3, 0, 1]):
            for row, own in zip(order, _decoded(config, order), strict=True):
                if not _same(own, together[row]):
                    raise Violation(
                        f"with {config} row {row} becomes {_told(together[row])} among the rows {ROWS}, and "
                        f"{_told(own)} among {order}."
                    )


@holds(
    about="component",
    groups=("decoding",),
    usually="torch.multinomial or torch.rand without generator=.",
    kin="chance in decoding",
)
def decoding_leaves_generators_alone(subject: Component) -> None:
    """Decoding draws nothing from the generators of the caller, and the same seeds give the same whatever they hold."""
    for config in _configs(subject):
        seen = []
        for seed in (0, 1):
            with seeded(seed):
                before = generator_states()
                seen.append(_decoded(config, ROWS))
                drawn = [name for name, state in generator_states().items() if (state != before[name]).any()]
            if drawn:
                raise Violation(f"with {config} it draws from the global generator of {', '.join(drawn)}.")
        for row, (one, two) in enumerate(zip(*seen, strict=True)):
            if not _same(one, two):
                raise Violation(f"with {config} and the same seed row {row} becomes {_told(one)}, then {_told(two)}.")


@holds(
    about="component",
    groups=("decoding",),
    usually="<eos> kept among the tokens, or a limit that counts one more, or the longest of all rows' limits.",
)
def decoding_keeps_its_limits(subject: Component) -> None:
    """No row has more tokens than its own limit, and one that did not end by <eos> is at the limit."""
    for config, limits in product(_configs(subject), ([1, 3, 9, 6], [1, 1, 1, 1], [7, 2, 1, 4])):
        for limit, each in zip(limits, _decoded(config, ROWS, limits), strict=True):
            # <eos> counts, and is not among the tokens.
            used = len(each.tokens) + each.finished
            if EOS in each.tokens or used > limit or (not each.finished and used != limit):
                raise Violation(f"with {config} and a limit of {limit} a row becomes {_told(each)}.")


@holds(
    about="component",
    groups=("decoding",),
    usually="a loop that goes on to the limit and cuts at <eos>, or never looks for it.",
)
def decoding_stops_at_eos(subject: Component) -> None:
    """A row ends where <eos> is all but certain, and the model is not asked once all rows have ended."""
    for config in _configs(subject):
        lengths = [2, 0, 4, 1]
        rows = _Rows(ROWS, lengths)
        ended = DECODING.create(config).generate(rows, max_new_tokens=[12] * 4, eos_id=EOS, seeds=[7, 8, 9, 10])
        for length, each in zip(lengths, ended, strict=True):
            if len(each.tokens) != length or not each.finished:
                raise Violation(f"with {config} and <eos> certain after {length} tokens a row becomes {_told(each)}.")
        if rows.steps > max(lengths):
            raise Violation(
                f"with {config} the model is asked for {rows.steps} more tokens; the longest row has {max(lengths)}."
            )


@holds(
    about="component",
    groups=("decoding",),
    tolerance="1e-6",
    usually="log-probabilities after temperature or cut-off, without that of <eos>, or divided by a length.",
)
def log_probabilities_are_the_models(subject: Component) -> None:
    """A result's log-probability is the sum over its tokens, and <eos>, under the model's own distribution."""
    for config in _configs(subject):
        for row, each in zip(ROWS, _decoded(config, ROWS), strict=True):
            tokens = [*each.tokens, *([EOS] if each.finished else [])]
            expected = sum(
                _scores((row, *tokens[:place])).log_softmax(dim=0)[token].item() for place, token in enumerate(tokens)
            )
            if not abs(each.log_probability - expected) <= 1e-6 * max(1.0, abs(expected)):
                raise Violation(
                    f"with {config} row {row} becomes {_told(each)} with the log-probability "
                    f"{each.log_probability:.7g}; the model's is {expected:.7g}."
                )


def _configs(subject: Component) -> list[Config]:
    return each_changed("decoding", subject.config, values=3)


class _Rows:
    """Scores that are a function of a row's number and the tokens so far.

    Args:
        rows: their numbers.
        lengths: after how many tokens ``<eos>`` is all but certain, and before that all but excluded; None for neither.
    """

    def __init__(self, rows: list[int], lengths: list[int] | None = None) -> None:
        self.keys = [(row,) for row in rows]
        self.lengths = lengths
        self.steps = 0
        self.logits_BV = self._all_scores()

    def step(self, tokens_BT: Tensor) -> Tensor:
        self.steps += tokens_BT.shape[1]
        self.keys = [(*key, *tokens) for key, tokens in zip(self.keys, tokens_BT.tolist(), strict=True)]
        self.logits_BV = self._all_scores()
        return self.logits_BV

    def select(self, rows: Tensor) -> None:
        self.keys = [self.keys[row] for row in rows.tolist()]

    reorder = select

    def _all_scores(self) -> Tensor:
        scores = torch.stack([_scores(key) for key in self.keys])
        if self.lengths is not None:
            ends = [len(key) - 1 >= self.lengths[key[0]] for key in self.keys]
            # Enough for a temperature of 10 and for beams, which look at less probable tokens too.
            scores[:, EOS] = torch.where(torch.tensor(ends), 1e4, -1e4)
        return scores


def _scores(key: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(hash(key) % 2**31)  # the hash of numbers is the same in every process
    return torch.randn(VOCAB_SIZE, generator=generator, dtype=torch.float64)


def _decoded(config: Any, rows: list[int], limits: list[int] | None = None) -> list[Decoded]:
    limits = [8] * len(rows) if limits is None else limits
    seeds = [100 + row for row in rows]
    return DECODING.create(config).generate(_Rows(rows), max_new_tokens=limits, eos_id=EOS, seeds=seeds)


def _same(one: Decoded, two: Decoded) -> bool:
    """Whether two results are the same, but for how sums were rounded."""
    close = abs(one.log_probability - two.log_probability) <= 1e-9 and abs(one.score - two.score) <= 1e-9
    return one.tokens == two.tokens and one.finished == two.finished and close


def _told(each: Decoded) -> str:
    return f"{each.tokens} ({'ended' if each.finished else 'cut'}, log-probability {each.log_probability:.5g})"
