import pytest

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.measure import TEXT, Measure, to_text
from lightning_tx.studies.metric import Metric, choose_metric, on_test
from tests.studies.studies import run

MEASURES = to_text({"loss": Measure("min"), "exact_match": Measure("max", TEXT)})


def made(metric="last/loss", **metrics):
    values = {name.replace("__", "/"): value for name, value in metrics.items()} or {"last/loss": 1.0}
    return run({}, 0, None, metrics=values, tags={names.METRIC: metric, names.MEASURES: MEASURES})


def test_the_runs_name_their_metric():
    assert choose_metric([made()]).name == "last/loss"


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("test/exact_match", "max"),
        ("last_test/exact_match", "max"),
        ("best/loss", "min"),
        ("train/tokens_per_second", "max"),
        ("time/train_seconds", "min"),
        ("params/total", "min"),
    ],
)
def test_every_metric_keeps_its_own_direction(name, direction):
    run_ = made(**{name.replace("/", "__"): 1.0})
    assert choose_metric([run_], name).direction == direction
    with pytest.raises(ConfigError, match="is better, always"):
        choose_metric([run_], name, "min" if direction == "max" else "max")


def test_a_metric_that_nobody_declared_needs_a_direction():
    run_ = made(mine__score=1.0)
    with pytest.raises(ConfigError, match="Add --maximise or --minimise"):
        choose_metric([run_], "mine/score")
    assert choose_metric([run_], "mine/score", "max").direction == "max"


def test_runs_of_before_measures_were_recorded_have_the_direction_of_their_primary_metric():
    old = run({}, 0, None, metrics={"best/bleu": 1.0, "test/bleu": 1.0, "test/loss": 1.0})
    old.tags.update({names.METRIC: "best/bleu", names.DIRECTION: "max"})
    assert choose_metric([old]).direction == choose_metric([old], "test/bleu").direction == "max"
    with pytest.raises(ConfigError):
        choose_metric([old], "test/loss")


def test_runs_that_name_different_metrics_are_compared_by_one_that_all_have():
    both = made("best/loss", best__loss=1.0, last__loss=1.0)
    chosen = choose_metric([both, made()])
    assert chosen.name == "last/loss" and "all of them have last/loss" in chosen.remark
    with pytest.raises(ConfigError, match="none of which all of them have"):
        choose_metric([made("best/loss", best__loss=1.0), made()])


def test_a_metric_that_no_run_has():
    with pytest.raises(ConfigError, match=r"metric: none of the 1 finished runs has 'last/los'\. Did you mean"):
        choose_metric([made()], "last/los")


def test_the_same_on_the_test_split():
    measure = Measure("min")
    names = {name: on_test(Metric(name, "min", measure)) for name in ("last/loss", "best/loss", "val/loss")}
    assert [found and found.name for found in names.values()] == ["last_test/loss", "test/loss", None]
    assert names["last/loss"].measure.needs == ("test_data", "tokenizer", "objective", "test_targets")
    assert on_test(Metric("last/loss", "min", None)).measure is None
