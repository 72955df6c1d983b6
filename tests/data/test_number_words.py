import re
from collections import Counter
from pathlib import Path

import num2words
import numpy as np
import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.base import DATA, Splits
from lightning_tx.data.number_words import NumberWords, draw, speller

Pair = tuple[str, str]


def sets(splits: Splits[Pair]) -> tuple[set[Pair], set[Pair], set[Pair]]:
    return set(splits.train), set(splits.validation), set(splits.test)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def default(cache: Path) -> Splits[Pair]:
    return NumberWords().load(cache)


def test_numbers_are_in_the_words_and_the_order_of_their_language(tmp_path: Path) -> None:
    splits = NumberWords(largest=999, size=None).load(tmp_path)
    words = dict([*splits.train, *splits.validation, *splits.test])
    assert words["zero"] == "null"
    assert words["twenty-one"] == "einundzwanzig"
    assert words["four hundred and twelve"] == "vierhundertzwölf"
    assert words["nine hundred and ninety-nine"] == "neunhundertneunundneunzig"
    assert len(words) == 1000


def test_pairs_are_what_the_library_says(tmp_path: Path) -> None:
    splits = NumberWords(source="fr", target="tr", largest=1999, size=None).load(tmp_path)
    expected = {(num2words.num2words(n, lang="fr"), num2words.num2words(n, lang="tr")) for n in range(2000)}
    assert set.union(*sets(splits)) == expected


@pytest.mark.parametrize("language", sorted(set(num2words.CONVERTER_CLASSES) - {"am"}))
def test_every_language_spells_as_the_library_does(language: str) -> None:
    assert NumberWords(source=language, target="en").problems() == []
    spell = speller("source", language, largest=999_999)
    for number in [0, 1, 7, 10, 99, 100, 101, 1000, 1999, 20_030, 100_000, 471_081, 999_999]:
        expected = num2words.CONVERTER_CLASSES[language].to_cardinal(number)
        assert spell(number).split() == expected.split()


def test_splits_are_of_different_numbers_and_of_the_sizes_asked_for(default: Splits[Pair]) -> None:
    train, validation, test = sets(default)
    assert len(train | validation | test) == len(default.train) + len(default.validation) + len(default.test) == 30_000
    assert len({source for source, _ in train | validation | test}) == 30_000
    assert 800 < len(validation) < 1000
    assert 800 < len(test) < 1000
    assert default.skipped == {}


def test_words_of_small_numbers_are_trained_on(tmp_path: Path) -> None:
    splits = NumberWords(largest=2000, size=None, validation_fraction=0.4, test_fraction=0.4).load(tmp_path)
    words = {num2words.num2words(number) for number in range(100)}
    assert words <= {source for source, _ in splits.train}


def test_a_number_stays_in_its_split_whatever_the_languages_and_the_size(default: Splits[Pair], cache: Path) -> None:
    other = NumberWords(source="de", target="fr", size=3000).load(cache)
    assert {source for source, _ in other.test} <= {target for _, target in default.test}
    assert {source for source, _ in other.validation} <= {target for _, target in default.validation}
    assert {source for source, _ in other.train} <= {target for _, target in default.train}


def test_the_first_part_of_a_split_is_a_fair_sample(default: Splits[Pair]) -> None:
    lengths = np.array([len(source) for source, _ in default.validation])
    assert abs(lengths[:300].mean() - lengths.mean()) < 3 * lengths.std() / 300**0.5


def test_short_numbers_are_drawn_first_and_digits_have_equal_shares() -> None:
    numbers = draw(999_999, 30_000).tolist()
    assert len(set(numbers)) == 30_000
    assert Counter(len(str(number)) for number in numbers) == {1: 10, 2: 90, 3: 900, 4: 9000, 5: 10_000, 6: 10_000}


@pytest.mark.parametrize("largest", [100, 119, 1000, 1234, 99_999])
def test_all_numbers_can_be_drawn(largest: int) -> None:
    assert sorted(draw(largest, largest + 1).tolist()) == list(range(largest + 1))


@pytest.mark.parametrize("largest", [2999, 999_999, 10**17])
@pytest.mark.parametrize("count", [1, 7, 100, 2500])
def test_numbers_that_are_drawn_differ_and_are_in_range(largest: int, count: int) -> None:
    numbers = draw(largest, count).tolist()
    assert len(numbers) == len(set(numbers)) == count
    assert min(numbers) >= 0
    assert max(numbers) <= largest
    assert set(numbers) <= set(draw(largest, count + 50).tolist())


def test_drawn_numbers_have_no_pattern() -> None:
    numbers = draw(999_999, 30_000)
    long = numbers[numbers >= 100_000]
    for digit in (1, 10, 100, 1000, 10_000):
        counts = np.bincount(long // digit % 10, minlength=10)
        # Chi-squared with 9 degrees of freedom: above 27.9 in one case of a thousand.
        assert ((counts - 1000) ** 2 / 1000).sum() < 27.9
    assert abs(np.corrcoef(long[:-1], long[1:])[0, 1]) < 0.04


def test_the_draw_is_the_same_everywhere() -> None:
    assert draw(999_999, 30_000)[:6].tolist() == [4582, 88_131, 3245, 86_933, 719_000, 66_414]


def test_what_was_spelled_is_kept(cache: Path, default: Splits[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumberWords, "_write", lambda *_: pytest.fail("spelled again"))
    assert NumberWords().load(cache).digest == default.digest
    monkeypatch.undo()
    files = {path.name for path in (cache / "number_words").glob("*.json")}
    NumberWords(size=500).load(cache)
    assert len(list((cache / "number_words").glob("*.json"))) == len(files) + 1


class Rounding:
    """Spells numbers from 500 on without their last digit, and with white space that does not belong there."""

    def to_cardinal(self, number: int) -> str:
        return f" about\u00a0 {number // 10 * 10} " if number >= 500 else f"{number}"


def test_of_numbers_spelled_alike_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(num2words.CONVERTER_CLASSES, "rounding", Rounding())
    splits = NumberWords(source="rounding", target="en", largest=999, size=None, test_fraction=0.0).load(tmp_path)
    sources = [source for source, _ in [*splits.train, *splits.validation]]
    assert len(sources) == len(set(sources)) == 550
    assert splits.skipped == {"spelled_alike": 450}
    assert "about 500" in sources
    assert "leaves out 450 numbers that 'rounding' spells like others" in caplog.text
    # In the target language two numbers may be alike.
    splits = NumberWords(source="en", target="rounding", largest=999, size=None, test_fraction=0.0).load(tmp_path)
    assert len(splits.train) + len(splits.validation) == 1000


def test_a_language_that_is_unknown() -> None:
    (problem,) = NumberWords(source="fr_BEL").problems()
    assert problem.startswith(
        "data.source: num2words does not spell 'fr_BEL'. Did you mean 'fr_BE'? Choices: am, ar, az"
    )
    assert problem.endswith(", uk, vi.")


def test_a_language_that_cannot_spell_so_large_a_number() -> None:
    (problem,) = NumberWords(target="en_IN", largest=10**11).problems()
    assert re.match(r"^data\.target: num2words cannot spell 10000000000 in 'en_IN' \(OverflowError: .*\)\.$", problem)


def test_a_language_whose_converter_fails() -> None:
    (problem,) = NumberWords(source="am").problems()
    assert problem.startswith("data.source: num2words cannot spell 1100 in 'am' (TypeError: ")


class Fragile:
    """Fails at one number that nobody would look at first."""

    def to_cardinal(self, number: int) -> str:
        return {number: "x" for number in range(1000) if number != 417}[number]


def test_a_number_that_cannot_be_spelled_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(num2words.CONVERTER_CLASSES, "fragile", Fragile())
    data = NumberWords(target="fragile", largest=999, size=None)
    assert data.problems() == []
    with pytest.raises(
        ConfigError, match=r"^data.target: num2words cannot spell 417 in 'fragile' \(KeyError: 417\)\.$"
    ):
        data.load(tmp_path)
    assert list(tmp_path.rglob("*.json")) == []


def test_more_numbers_than_there_are() -> None:
    (problem,) = NumberWords(largest=999).problems()
    assert problem == (
        "data.size: 30000 numbers cannot be drawn from 0 to data.largest 999, which are 1000; null takes all of them."
    )


def test_more_numbers_than_anyone_can_wait_for() -> None:
    (problem,) = NumberWords(largest=10**9, size=None).problems()
    assert problem == "data.size: 1000000001 numbers are too many to spell; the most is 2000000."


def test_all_problems_are_told_at_once_and_loading_raises_them(tmp_path: Path) -> None:
    data = NumberWords(source="xx", target="yy", largest=10**9, size=None, validation_fraction=0.5, test_fraction=0.5)
    problems = data.problems()
    keys = ["data.validation_fraction", "data.size", "data.source", "data.target"]
    assert [problem.partition(":")[0] for problem in problems] == keys
    with pytest.raises(ConfigError) as caught:
        data.load(tmp_path)
    assert caught.value.problems == problems


@pytest.mark.parametrize("size", [30, 101])
def test_too_few_numbers_for_the_splits(tmp_path: Path, size: int) -> None:
    with pytest.raises(ConfigError, match=rf"^data.size: {size} numbers are too few to split with"):
        NumberWords(largest=100_000, size=size, validation_fraction=0.001).load(tmp_path)


def test_options_are_checked() -> None:
    config = {"name": "number_words", "largest": 99, "size": 0, "source": 1, "validation_fraction": 0}
    keys = ["data.source", "data.largest", "data.size", "data.validation_fraction"]
    assert [problem.partition(":")[0] for problem in DATA.problems(config)] == keys
    assert DATA.get("number_words").texts_per_example == 2
