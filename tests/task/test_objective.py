"""What a task says that it measures, and on what."""

from typing import Any

import pytest

from lightning_tx.core.measure import TARGETS, TEXT, Measure
from lightning_tx.data.batch import BatchSize
from lightning_tx.task.base import TASK

#: Where rows are cut and batched otherwise, masked_lm hides other tokens.
SIZES = {"max_seq_len": 64, "batch": BatchSize(sequences=8)}


def objective(task: str, *, sizes: dict[str, Any] = SIZES, **options: Any) -> str:
    return TASK.create({"name": task, **options}).objective(**sizes)


@pytest.mark.parametrize(
    ("task", "options"),
    [("causal_lm", {"label_smoothing": 0.3}), ("translation", {"label_smoothing": 0.3, "select_by": "loss"})],
)
def test_what_matters_in_training_only_is_no_part_of_it(task: str, options: dict[str, Any]) -> None:
    assert objective(task, **options) == objective(task)
    other = {"max_seq_len": 16, "batch": BatchSize(tokens=100)}
    assert objective(task, sizes=other) == objective(task)


def test_masked_lm_names_whatever_decides_which_tokens_are_hidden() -> None:
    variants = [
        objective("masked_lm"),
        objective("masked_lm", mask_fraction=0.3),
        objective("masked_lm", whole_words=True),
        objective("masked_lm", sizes={"max_seq_len": 64, "batch": BatchSize(sequences=4)}),
        objective("masked_lm", sizes={"max_seq_len": 32, "batch": BatchSize(sequences=8)}),
    ]
    assert len(set(variants)) == len(variants)
    # As many rows, counted in tokens.
    assert objective("masked_lm", sizes={"max_seq_len": 64, "batch": BatchSize(tokens=512)}) == variants[0]


def test_bleu_depends_on_its_tokenizer() -> None:
    assert objective("translation", bleu_tokenize="char") != objective("translation")


@pytest.mark.parametrize("task", ["causal_lm", "masked_lm", "translation"])
def test_it_is_one_line_that_begins_with_the_task(task: str) -> None:
    assert objective(task).startswith(f"{task}: ") and "\n" not in objective(task)


def test_each_task_says_which_way_is_good_and_what_values_need() -> None:
    found = {task: TASK.create({"name": task}).measures for task in ("causal_lm", "masked_lm", "translation")}
    low, high = Measure("min", TARGETS), Measure("max", TARGETS)
    assert found == {
        "causal_lm": {"loss": low, "perplexity": low, "bits_per_byte": Measure("min", TEXT)},
        "masked_lm": {"loss": low, "perplexity": low, "accuracy": high, "unigram_accuracy": high},
        "translation": {
            "loss": low,
            "perplexity": low,
            "bleu": Measure("max", ("validation_data", "objective")),
            "chrf": Measure("max", TEXT),
            "exact_match": Measure("max", TEXT),
        },
    }
