import numpy as np
import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schema import checked
from lightning_tx.data.batch import BatchSize
from lightning_tx.training.options import TrainerOptions


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, BatchSize(sequences=32)),
        ({"batch_size": 7}, BatchSize(sequences=7)),
        ({"batch_size": None, "batch_tokens": 4096}, BatchSize(tokens=4096)),
    ],
)
def test_a_batch_is_a_number_of_sequences_or_of_tokens(options: dict[str, int | None], expected: BatchSize) -> None:
    assert TrainerOptions(**options).batch == expected  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("options", [{"batch_tokens": 100}, {"batch_size": None}])
def test_it_is_one_of_the_two(options: dict[str, int | None]) -> None:
    size, tokens = options.get("batch_size", 32), options.get("batch_tokens")
    with pytest.raises(ConfigError) as raised:
        _ = TrainerOptions(**options).batch  # pyright: ignore[reportArgumentType]
    (problem,) = raised.value.problems
    assert problem == (
        f"trainer.batch_size: {size} and trainer.batch_tokens: {tokens}; set one of them and the other to null."
    )


@pytest.mark.parametrize(
    ("key", "value"), [("average", 1), ("average", True), ("patience", 0), ("batch_tokens", 0), ("precision", 16)]
)
def test_values_out_of_range_are_refused_by_name(key: str, value: object) -> None:
    _, (problem,) = checked(TrainerOptions, {key: value}, "trainer")
    assert problem.startswith(f"trainer.{key}: ")


def test_the_rows_of_a_batch() -> None:
    by_tokens, by_rows = BatchSize(tokens=100), BatchSize(sequences=8)
    assert [int(by_tokens.rows(length)) for length in (1, 7, 50, 51, 100, 101, 5000)] == [100, 14, 2, 1, 1, 1, 1]
    assert by_tokens.rows(np.array([1, 60, 30])).tolist() == [100, 1, 3]
    assert int(by_rows.rows(1000)) == 8 and by_rows.rows(np.array([1, 1000])).tolist() == [8, 8]
