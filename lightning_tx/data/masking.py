"""Tokens hidden from a model that is to guess them: BERT's masking, on packed batches."""

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.data.epochs import Epochs
from lightning_tx.data.packing import PackedBatches
from lightning_tx.tokenizer.base import Tokenizer

#: The special token that stands where a token was hidden.
MASK = "<mask>"
#: Of the chosen tokens so many are hidden, and so many replaced by a random one; the rest stays.
MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1

#: Keeps the random numbers of masking apart from those of the order, which has the same seed and epoch.
_STREAM = 0x6D61736B
#: What a piece of a character decodes to.
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class MaskingVocabulary:
    """What masking has to know of each token, as tables over the vocabulary.

    A word is a run of letters, digits and the marks on them, with the space before it where that is in its token;
    every token without any of them is a word of its own. Bytes that are part of a character count as letters. Text
    without spaces between words, such as Japanese, makes long words.

    Attributes:
        mask_id: the token that hides others.
        ordinary: ids of all tokens but the special ones, int64, ascending.
        special_V: whether a token is special, bool.
        begins_inside_V: whether a token starts with a letter or digit, so that it may continue a word, bool.
        ends_inside_V: whether a token ends with one, so that its word may go on, bool.
    """

    mask_id: int
    ordinary: np.ndarray
    special_V: np.ndarray
    begins_inside_V: np.ndarray
    ends_inside_V: np.ndarray

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "MaskingVocabulary":
        """Look every token up once.

        Raises:
            ConfigError: the tokenizer has no token ``<mask>``.
        """
        special_V = np.zeros(tokenizer.vocab_size, np.bool_)
        added = json.loads(tokenizer.serialized)["added_tokens"]
        special_V[[token["id"] for token in added if token["special"]]] = True
        texts = [tokenizer.decode([token]) for token in range(tokenizer.vocab_size)]
        return cls(
            tokenizer.id_of(MASK),
            np.flatnonzero(~special_V),
            special_V,
            np.array([_is_inside_word(text[:1]) for text in texts]),
            np.array([_is_inside_word(text[-1:]) for text in texts]),
        )

    def word_starts(self, tokens_BT: np.ndarray) -> np.ndarray:
        """Where words start, bool [B, T]: special tokens and the first token of a row always do."""
        starts_BT = np.ones(tokens_BT.shape, np.bool_)
        goes_on = self.ends_inside_V[tokens_BT[:, :-1]] & self.begins_inside_V[tokens_BT[:, 1:]]
        starts_BT[:, 1:] = ~goes_on
        return starts_BT


@dataclass(frozen=True)
class Masking:
    """Chooses tokens, makes them the targets, and hides most of them.

    Of a row's ordinary tokens ``fraction`` is chosen, as an exact count and not by independent draws: tokens, or whole
    words, are taken in random order until their number comes closest to the fraction, at least one of them. (In short
    rows this makes long words a little rarer.) Of the chosen tokens, each drawn by itself, 80 % become ``<mask>``,
    10 % a random ordinary token, 10 % stay as they are. Special tokens are never chosen.

    Source: Devlin et al. 2018, arXiv:1810.04805, section 3.1 and appendix A.1; whole words as in its code of 2019,
    https://github.com/google-research/bert

    Attributes:
        vocabulary: tables over the vocabulary.
        fraction: share of a row's ordinary tokens that is chosen.
        whole_words: whether all tokens of a word are chosen, or none of them.
    """

    vocabulary: MaskingVocabulary
    fraction: float
    whole_words: bool

    def __call__(self, batch: Batch, generator: np.random.Generator) -> Batch:
        """The batch with tokens hidden; ``targets_BT`` holds the chosen tokens, and ``IGNORE`` elsewhere."""
        tokens_BT = batch.tokens_BT.numpy()
        chosen = np.flatnonzero(self.choose(tokens_BT, generator))
        flat = tokens_BT.reshape(-1)
        targets, hidden = np.full_like(flat, IGNORE), flat.copy()
        targets[chosen] = flat[chosen]
        lot = generator.random(len(chosen))
        hidden[chosen[lot < MASKED_SHARE]] = self.vocabulary.mask_id
        replaced = chosen[(lot >= MASKED_SHARE) & (lot < MASKED_SHARE + RANDOM_SHARE)]
        hidden[replaced] = generator.choice(self.vocabulary.ordinary, len(replaced))
        shape = tokens_BT.shape
        return replace(
            batch,
            tokens_BT=torch.from_numpy(hidden.reshape(shape)),
            targets_BT=torch.from_numpy(targets.reshape(shape)),
        )

    def choose(self, tokens_BT: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Which tokens are to be guessed, bool [B, T]."""
        num_rows, length = tokens_BT.shape
        starts_BT = self.vocabulary.word_starts(tokens_BT) if self.whole_words else np.ones_like(tokens_BT, np.bool_)
        places = np.flatnonzero(~self.vocabulary.special_V[tokens_BT])
        chosen = np.zeros(num_rows * length, np.bool_)
        if len(places) == 0:
            return chosen.reshape(num_rows, length)
        # Units are what is chosen as one, tokens or words: a number for each place, a row and a size for each unit.
        starts = starts_BT.reshape(-1)[places]
        unit = np.cumsum(starts) - 1
        sizes = np.bincount(unit)
        rows = places[starts] // length
        # Row by row in random order; then how many tokens of its row a unit brings the count to.
        order = np.argsort(rows + generator.random(len(rows)))
        rows, sizes = rows[order], sizes[order]
        totals = np.bincount(rows, sizes, minlength=num_rows)
        count = np.cumsum(sizes) - (np.cumsum(totals) - totals)[rows]
        # A unit is taken where the count with it is closer to the fraction than without it.
        taken = (count - sizes / 2 < self.fraction * totals[rows]) | (count == sizes)
        is_taken = np.empty_like(taken)
        is_taken[order] = taken
        chosen[places[is_taken[unit]]] = True
        return chosen.reshape(num_rows, length)


class MaskedBatches(Epochs[Batch]):
    """Packed batches with tokens hidden.

    Which tokens are hidden is a function of (seed, epoch, number of the batch), so that every epoch hides others and
    a run that resumes sees what it would have seen. In evaluation it is a function of the number of the batch alone.

    Args:
        batches: what to hide tokens in.
        masking: how to.
        seed: of the masking; not negative.
        shuffle: True for training, False for evaluation, as in ``batches``.
    """

    def __init__(self, batches: PackedBatches, masking: Masking, *, seed: int = 0, shuffle: bool = True) -> None:
        super().__init__()
        self._batches = batches
        self._masking = masking
        self._seed = seed
        self._shuffle = shuffle

    def __len__(self) -> int:
        """Batches in an epoch, wherever it is entered."""
        return len(self._batches)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, of the batches beneath as well."""
        super().set_epoch(epoch, start)
        self._batches.set_epoch(epoch, start)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the chosen epoch."""
        drawn_by = [self._seed, self._epoch] if self._shuffle else [0, 0]
        for number, batch in enumerate(self._batches, start=self._start):
            yield self._masking(batch, np.random.default_rng([_STREAM, *drawn_by, number]))


def _is_inside_word(character: str) -> bool:
    return character != "" and (character == _REPLACEMENT or unicodedata.category(character)[0] in "LNM")
