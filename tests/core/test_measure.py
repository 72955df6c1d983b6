import pytest

from lightning_tx.core.measure import COSTS, TARGETS, TEXT, Measure, from_text, measure_of, to_text

MEASURES = {"loss": Measure("min"), "bleu": Measure("max", TEXT)}


@pytest.mark.parametrize("prefix", ["val/", "last/", "best/"])
def test_a_metric_has_the_measure_of_its_name(prefix: str) -> None:
    assert measure_of(f"{prefix}loss", MEASURES) == Measure("min", TARGETS)
    assert measure_of(f"{prefix}bleu", MEASURES) == MEASURES["bleu"]


@pytest.mark.parametrize("prefix", ["test/", "last_test/"])
def test_on_the_test_split_its_facts_are_what_counts(prefix: str) -> None:
    assert measure_of(f"{prefix}loss", MEASURES) == Measure(
        "min", ("test_data", "tokenizer", "objective", "test_targets")
    )
    assert measure_of(f"{prefix}bleu", MEASURES) == Measure("max", ("test_data",))


def test_costs_need_no_task() -> None:
    assert measure_of("flops/total", {}) == COSTS["flops/total"]


@pytest.mark.parametrize("metric", ["last/step", "loss", "train/loss", "last/", "other/loss", ""])
def test_of_what_nobody_declared_nothing_is_known(metric: str) -> None:
    assert measure_of(metric, MEASURES) is None


def test_they_survive_as_text() -> None:
    assert from_text(to_text(MEASURES)) == MEASURES
