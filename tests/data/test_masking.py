from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.base import Splits
from lightning_tx.data.batch import IGNORE, Batch
from lightning_tx.data.corpus import EncodedSplit, prepare
from lightning_tx.data.masking import MASK, MaskedBatches, Masking, MaskingVocabulary
from lightning_tx.data.packing import PackedBatches
from lightning_tx.tokenizer.base import SPECIAL_TOKENS, Tokenizer, TokenizerTrainer
from lightning_tx.tokenizer.bpe import Bpe
from lightning_tx.tokenizer.byte import Byte
from lightning_tx.tokenizer.character import Character

#: Token ids: 0 to 4 special (4 the mask), 5 to 49 begin a word, 50 to 99 continue one.
MASK_ID, NUM_TOKENS = 4, 100
IDS = np.arange(NUM_TOKENS)
VOCABULARY = MaskingVocabulary(MASK_ID, IDS[5:], IDS < 5, IDS >= 50, IDS >= 5)


def trained(trainer: TokenizerTrainer, *texts: str) -> Tokenizer:
    trainer.special_tokens = (*SPECIAL_TOKENS, MASK)
    return trainer.train(texts)


def random_tokens(rows: int, length: int, seed: int = 0) -> np.ndarray:
    """Rows of tokens of which some are special and none is a mask."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(5, NUM_TOKENS, (rows, length))
    return np.where(generator.random((rows, length)) < 0.05, generator.integers(0, 4, (rows, length)), tokens)


def masked(tokens: np.ndarray, *, fraction: float = 0.15, whole_words: bool = False, seed: int = 0) -> Batch:
    batch = Batch(torch.from_numpy(tokens), torch.from_numpy(np.roll(tokens, -1)))
    return Masking(VOCABULARY, fraction, whole_words)(batch, np.random.default_rng(seed))


def words(tokens: np.ndarray) -> list[list[tuple[int, int]]]:
    """Places of the tokens of each word, found one token at a time."""
    found: list[list[tuple[int, int]]] = []
    for row, ids in enumerate(tokens.tolist()):
        for column, token in enumerate(ids):
            if token < 5:
                continue
            if column and token >= 50 and ids[column - 1] >= 5:
                found[-1].append((row, column))
            else:
                found.append([(row, column)])
    return found


@pytest.mark.parametrize("whole_words", [False, True])
def test_shares_are_those_of_bert(whole_words: bool) -> None:
    tokens = random_tokens(400, 256)
    batch = masked(tokens, whole_words=whole_words)
    chosen = (batch.targets_BT != IGNORE).numpy()
    num_ordinary, num_chosen = (tokens >= 5).sum(), chosen.sum()
    assert num_chosen / num_ordinary == pytest.approx(0.15, abs=0.002)
    was, now = tokens[chosen], batch.tokens_BT.numpy()[chosen]
    # A replacement is one of the 95 ordinary tokens, the original among them.
    tolerance = 4 * 0.5 / num_chosen**0.5
    assert (now == MASK_ID).mean() == pytest.approx(0.8, abs=tolerance)
    assert ((now != MASK_ID) & (now != was)).mean() == pytest.approx(0.1 * 94 / 95, abs=tolerance)
    assert (now == was).mean() == pytest.approx(0.1 + 0.1 / 95, abs=tolerance)


def test_random_tokens_are_ordinary_ones_and_all_of_them() -> None:
    batch = masked(random_tokens(400, 256), fraction=0.5)
    chosen = batch.targets_BT != IGNORE
    now = batch.tokens_BT[chosen]
    replaced = now[(now != MASK_ID) & (now != batch.targets_BT[chosen])]
    counts = np.bincount(replaced.numpy(), minlength=NUM_TOKENS)
    assert counts[:5].sum() == 0
    expected = counts.sum() / 95
    # Chi-squared with 94 degrees of freedom: above 146 in one case of two thousand.
    assert ((counts[5:] - expected) ** 2 / expected).sum() < 146


@pytest.mark.parametrize("whole_words", [False, True])
def test_only_chosen_places_change_and_only_they_have_a_target(whole_words: bool) -> None:
    tokens = random_tokens(50, 64)
    before = tokens.copy()
    batch = masked(tokens, whole_words=whole_words)
    chosen = (batch.targets_BT != IGNORE).numpy()
    assert np.array_equal(batch.targets_BT.numpy()[chosen], tokens[chosen])
    assert np.array_equal(batch.tokens_BT.numpy()[~chosen], tokens[~chosen])
    assert (tokens[chosen] >= 5).all()
    assert np.array_equal(tokens, before)


@pytest.mark.parametrize("fraction", [0.01, 0.15, 0.5, 0.99])
def test_a_row_has_the_share_of_its_own_ordinary_tokens(fraction: float) -> None:
    tokens = random_tokens(60, 40)
    tokens[10, 7:] = 0
    tokens[20, 1:] = 0
    tokens[30] = 0
    chosen = (masked(tokens, fraction=fraction).targets_BT != IGNORE).numpy().sum(axis=1)
    ordinary = (tokens >= 5).sum(axis=1)
    assert np.array_equal(chosen, np.maximum(np.ceil(fraction * ordinary + 0.5) - 1, ordinary > 0))


@pytest.mark.parametrize("fraction", [0.05, 0.15, 0.5])
def test_whole_words_are_chosen_whole_and_as_close_to_the_fraction_as_they_allow(fraction: float) -> None:
    tokens = random_tokens(60, 60)
    chosen = (masked(tokens, fraction=fraction, whole_words=True).targets_BT != IGNORE).numpy()
    longest = np.zeros(60, int)
    for word in words(tokens):
        assert len({bool(chosen[place]) for place in word}) == 1
        longest[word[0][0]] = max(longest[word[0][0]], len(word))
    assert max(longest) > 4
    ordinary = (tokens >= 5).sum(axis=1)
    assert (abs(chosen.sum(axis=1) - fraction * ordinary) <= np.maximum(longest / 2, longest * (fraction < 0.1))).all()


@pytest.mark.parametrize("whole_words", [False, True])
def test_every_place_is_chosen_about_equally_often(whole_words: bool) -> None:
    tokens = np.repeat(random_tokens(1, 512), 2000, axis=0)
    rate = (masked(tokens, whole_words=whole_words).targets_BT != IGNORE).numpy().mean(axis=0)
    ordinary = tokens[0] >= 5
    assert rate[~ordinary].max(initial=0) == 0
    # The standard deviation of a rate is 0.008; long words are a little rarer, since what is left may not hold them.
    assert np.abs(rate[ordinary] - 0.15).max() < 0.035


def test_rows_without_ordinary_tokens_are_left_alone() -> None:
    batch = masked(np.zeros((3, 5), np.int64))
    assert (batch.targets_BT == IGNORE).all()
    assert (batch.tokens_BT == 0).all()


def test_what_else_a_batch_holds_stays() -> None:
    tokens = torch.from_numpy(random_tokens(2, 8))
    batch = Batch(tokens, tokens, torch.ones(2, 8), torch.zeros(2, 8), tokens != 0)
    made = Masking(VOCABULARY, 0.5, False)(batch, np.random.default_rng(0))
    for field in fields(Batch)[2:]:
        assert getattr(made, field.name) is getattr(batch, field.name)


def pieces_by_word(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of a text as masking sees them, separated where they start."""
    ids = tokenizer.encode(text)
    starts = MaskingVocabulary.of(tokenizer).word_starts(np.array([ids]))[0]
    places = [*np.flatnonzero(starts).tolist(), len(ids)]
    return [tokenizer.decode(ids[a:b]) for a, b in pairwise(places)]


TEXT = "It's naïve (Ünï) to say\n  x_1 = 3.14 costs 25€."


CHARACTER_WORDS = ["It", "'", "s", " ", "naïve", " ", "(", "Ünï", ")", " ", "to", " ", "say", "\n", " ", " ", "x", "_"]


def test_words_of_byte_pairs_have_the_space_before_them_where_their_token_has_it() -> None:
    tokenizer = trained(Bpe(vocab_size=400, min_frequency=1), TEXT)
    expected = ["It", "'s", " naïve", " (", "Ünï", ")", " to", " say", "\n ", " x", "_", "1", " =", " 3", ".", "14"]
    assert pieces_by_word(tokenizer, TEXT)[:16] == expected
    # With few merges words are of several tokens.
    tokenizer = trained(Bpe(vocab_size=270, min_frequency=1), "to to to say to say")
    assert pieces_by_word(tokenizer, "It to say saying 1984") == ["It", " to", " say", " saying", " ", "1984"]


def test_words_of_characters_are_letters_and_digits() -> None:
    words_of_characters = pieces_by_word(trained(Character(), TEXT), TEXT)
    assert words_of_characters[:18] == CHARACTER_WORDS
    assert words_of_characters[-3:] == ["25", "€", "."]


def test_words_of_bytes_hold_letters_of_several_bytes() -> None:
    assert pieces_by_word(trained(Byte()), TEXT)[:18] == CHARACTER_WORDS


@pytest.mark.parametrize("trainer", [Bpe(vocab_size=300), Byte(), Character()], ids=lambda each: type(each).__name__)
def test_the_tables_know_the_special_tokens(trainer: TokenizerTrainer) -> None:
    tokenizer = trained(trainer, "some text and more text")
    vocabulary = MaskingVocabulary.of(tokenizer)
    assert vocabulary.mask_id == 4
    assert np.flatnonzero(vocabulary.special_V).tolist() == [0, 1, 2, 3, 4]
    assert vocabulary.ordinary.tolist() == list(range(5, tokenizer.vocab_size))
    assert not (vocabulary.begins_inside_V | vocabulary.ends_inside_V)[:5].any()


def test_a_tokenizer_without_a_mask() -> None:
    with pytest.raises(ConfigError, match=r"^tokenizer: its vocabulary has no token '<mask>'\.$"):
        MaskingVocabulary.of(Byte().train([]))


def test_what_reads_like_a_mask_is_text(tmp_path: Path) -> None:
    tokenizer = trained(Byte())
    corpus = prepare(Splits(["a <mask> b"], [], []), tokenizer, tmp_path)
    assert 4 not in corpus.train.tokens


def split(num_tokens: int = 2007) -> EncodedSplit:
    tokens = random_tokens(1, num_tokens)[0].astype(np.uint16)
    tokens[::37] = 1
    return EncodedSplit(tokens, np.arange(0, num_tokens, 37), num_tokens, 0)


def batches(*, shuffle: bool, seed: int = 3) -> MaskedBatches:
    packed = PackedBatches(split(), seq_len=16, batch_size=4, seed=seed, shuffle=shuffle)
    return MaskedBatches(packed, Masking(VOCABULARY, 0.15, False), seed=seed, shuffle=shuffle)


def listed(loader: MaskedBatches) -> list[tuple[list, list]]:
    return [(batch.tokens_BT.tolist(), batch.targets_BT.tolist()) for batch in loader]


def test_entered_in_the_middle_an_epoch_goes_on_as_if_unbroken() -> None:
    whole = batches(shuffle=True)
    whole.set_epoch(2)
    expected = listed(whole)
    assert len(expected) == len(whole)
    for start in range(len(expected) + 1):
        resumed = batches(shuffle=True)
        resumed.set_epoch(2, start=start)
        assert listed(resumed) == expected[start:]
    assert listed(whole) == expected


def test_seeds_epochs_and_batches_have_other_gaps() -> None:
    same = np.tile(np.arange(5, 21, dtype=np.uint16), 30)
    places = set()
    for seed in (0, 1):
        packed = PackedBatches(EncodedSplit(same, np.array([0]), 0, 0), seq_len=16, batch_size=4, shuffle=False)
        loader = MaskedBatches(packed, Masking(VOCABULARY, 0.15, False), seed=seed)
        for epoch in (0, 1):
            loader.set_epoch(epoch)
            made = [tuple((batch.targets_BT != IGNORE).flatten().tolist()) for batch in loader]
            places.update(made[:7])
    assert len(places) == 2 * 2 * 7


def test_evaluation_has_the_same_gaps_in_every_epoch_and_for_every_seed() -> None:
    first, second = batches(shuffle=False, seed=0), batches(shuffle=False, seed=5)
    expected = listed(first)
    second.set_epoch(4)
    assert listed(second) == expected
    second.set_epoch(7, start=3)
    assert listed(second) == expected[3:]


def test_padding_is_never_chosen() -> None:
    *_, last = batches(shuffle=False)
    assert last.token_mask_BT is not None
    assert (last.targets_BT[~last.token_mask_BT] == IGNORE).all()
    assert (last.tokens_BT[~last.token_mask_BT] == 0).all()


def test_there_is_no_such_batch() -> None:
    with pytest.raises(ValueError, match="There is no batch"):
        batches(shuffle=True).set_epoch(0, 1000)
