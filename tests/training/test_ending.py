"""The numbers that a run ends with: of its last weights, and of those it keeps."""

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_tx.core.errors import DivergedError
from lightning_tx.task.causal_lm import Likelihood
from lightning_tx.task.evaluator import Evaluator
from lightning_tx.training.checkpoint import LAST
from tests.training.small import Loader, small_model, train
from tests.training.test_averaging import Kill, Killed, Scripted, scripted

BATCHES = [2, 7, 1, 4, 5]


def total(model: nn.Module) -> float:
    return float(sum(parameter.detach().double().sum() for parameter in model.parameters()))


class Weighed(Evaluator):
    """Says what the weights are, with a file to show; counts how often it was asked."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.weight = 0, math.nan

    def update(self, model: nn.Module, batch: Any) -> None:
        self.weight = total(model)

    def compute(self) -> dict[str, float]:
        self.asked += 1
        return {"loss": self.weight}

    def files(self) -> dict[str, str]:
        return {"weight.txt": str(self.weight)}

    def timing(self) -> dict[str, float]:
        return {"seconds": 1.0}


class Weights(pl.Callback):
    """The weights' sum at each validation, by step."""

    def __init__(self) -> None:
        self.sums: dict[int, float] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.sums[trainer.global_step] = total(pl_module.model)


class Poison(pl.Callback):
    """Makes a weight nan before a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(pl_module.model.parameters())[0, 0] = math.nan


def judged(losses: list[float], folder: Path, *callbacks: pl.Callback, whole: bool, **options: Any) -> Any:
    """A run of four validations with these losses, tested by a metric that says what the weights are."""
    evaluators: dict[str, Evaluator] = {"val": Scripted(losses), "test": Weighed()}
    if whole:
        evaluators["validation"] = Weighed()
    settings = {"max_steps": 8, "val_every": 2} | options
    tested = list(Loader([2]))
    return train(small_model(), BATCHES, folder, evaluators=evaluators, callbacks=callbacks, test=tested, **settings)


@pytest.mark.parametrize("whole", [False, True])
def test_the_last_weights_and_the_best_ones_are_judged_apart(tmp_path: Path, whole: bool) -> None:
    weights = Weights()
    module = judged([3, 1, 2, 2.5], tmp_path, weights, whole=whole)
    last, best = weights.sums[8], weights.sums[4]
    latest = module.latest
    assert last != best
    assert (latest["last/step"], latest["best/step"]) == (8, 4)
    assert (latest["last/loss"], latest["best/loss"]) == ((last, best) if whole else (2.5, 1))
    assert (latest["last_test/loss"], latest["test/loss"]) == (last, best)
    assert module.evaluators["test"].asked == 2
    # What a metric has to show is kept of the weights that are kept.
    kept = {"test/weight.txt": str(best)} | ({"best/weight.txt": str(best)} if whole else {})
    assert module.files == kept and latest["decoding/test/seconds"] == 1
    assert total(module.model) == best


@pytest.mark.parametrize("whole", [False, True])
def test_weights_that_are_both_last_and_best_are_judged_once(tmp_path: Path, whole: bool) -> None:
    weights = Weights()
    module = judged([3, 2.5, 2, 1], tmp_path, weights, whole=whole)
    latest = module.latest
    assert latest["last/loss"] == latest["best/loss"] == (weights.sums[8] if whole else 1)
    assert latest["last_test/loss"] == latest["test/loss"] == weights.sums[8]
    assert module.evaluators["test"].asked == 1
    assert not whole or module.evaluators["validation"].asked == 1
    assert "test/weight.txt" in module.files


def test_averaged_weights_are_what_a_run_ends_with(tmp_path: Path) -> None:
    weights = Weights()
    module = judged([3, 1, 2, 2.5], tmp_path, weights, whole=True, average=2)
    mean = (weights.sums[6] + weights.sums[8]) / 2
    for name in ("last/loss", "best/loss", "last_test/loss", "test/loss"):
        assert module.latest[name] == pytest.approx(mean, rel=1e-5), name
    assert module.latest["last/step"] == 8 and "best/step" not in module.latest
    assert module.evaluators["test"].asked == module.evaluators["validation"].asked == 1


def test_training_that_ends_early_says_after_how_many_steps(tmp_path: Path) -> None:
    module = judged([3, 4, 5, 6], tmp_path, whole=False, patience=2)
    assert module.latest["last/step"] == 6 and module.latest["last/loss"] == 5 and module.latest["best/loss"] == 3


def test_the_last_validations_are_averaged_when_asked(tmp_path: Path) -> None:
    assert scripted([8, 4, 2, 1], tmp_path / "a", max_steps=8, final_validations=3).latest["last/loss"] == 7 / 3
    assert scripted([8, 4], tmp_path / "b", max_steps=4, final_validations=3).latest["last/loss"] == 6
    assert scripted([8, 4, 2, 1], tmp_path / "c", max_steps=8).latest["last/loss"] == 1


@pytest.mark.parametrize("kill", [5, 7])
def test_a_resumed_run_knows_the_validations_before(tmp_path: Path, kill: int) -> None:
    options = {"max_steps": 8, "final_validations": 3, "checkpoint_every": 1}
    with pytest.raises(Killed):
        scripted([8, 4, 2, 1], tmp_path, Kill(kill), **options)
    assert (tmp_path / LAST).exists()
    module = scripted([8, 4, 2, 1], tmp_path, said=kill // 2, **options)
    assert module.latest["last/loss"] == 7 / 3


@pytest.mark.parametrize("step", [0, 1, 3, 7])
@pytest.mark.parametrize("log_every", [1, 3, 100])
def test_a_run_whose_weights_are_no_numbers_ends_at_that_step(tmp_path: Path, step: int, log_every: int) -> None:
    options: dict[str, Any] = {"max_steps": 8, "val_every": 4, "checkpoint_every": 2, "log_every": log_every}
    with pytest.raises(DivergedError, match=rf"diverged at step {step + 1}: .*no numbers") as raised:
        train(small_model(), BATCHES, tmp_path, callbacks=[Poison(step)], **options)
    kept = step // 2 * 2
    assert str(raised.value).endswith(
        f"Its state at step {kept} is kept." if kept else "No state was kept before that."
    )
    if kept:
        whole = train(small_model(), BATCHES, tmp_path / "whole", **options)
        # What was kept is sound: without the accident it comes to where an unbroken run does.
        resumed = train(small_model(), BATCHES, tmp_path, **options)
        assert resumed.latest["last/loss"] == whole.latest["last/loss"]


def test_weights_that_break_at_the_last_step_are_not_judged(tmp_path: Path) -> None:
    class Last(Poison):
        on_train_batch_start = pl.Callback.on_train_batch_start

        def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            with torch.no_grad():
                next(pl_module.model.parameters())[0, 0] = math.inf

    with pytest.raises(DivergedError, match="diverged at step 8"):
        train(small_model(), BATCHES, tmp_path, callbacks=[Last(0)], max_steps=8, val_every=8)


def test_a_gradient_that_overflows_and_leaves_the_weights_whole_is_no_end(tmp_path: Path) -> None:
    class Overflow(pl.Callback):
        def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
            if trainer.global_step == 2:
                for parameter in pl_module.model.parameters():
                    parameter.grad.fill_(1e30)  # finite, and its norm is not

    module = train(small_model(), BATCHES, tmp_path, callbacks=[Overflow()], max_steps=8, val_every=4, log_every=1)
    assert math.isfinite(module.latest["last/loss"])


def test_the_targets_of_a_loss_are_counted(tmp_path: Path) -> None:
    evaluators: dict[str, Evaluator] = {"val": Likelihood(100), "test": Likelihood(100)}
    tested = list(Loader([4]))
    module = train(small_model(), BATCHES, tmp_path, evaluators=evaluators, test=tested)
    validated = sum(int(batch.num_targets) for batch in Loader([2, 3]))
    assert module.targets == {"val": validated, "test": int(tested[0].num_targets)}
    assert scripted([1, 2], tmp_path / "other", max_steps=4).targets == {}


class TestCosts:
    #: Of steps 1 to 6 with two forward passes each.
    OPTIONS = {"accumulate": 2, "max_steps": 6, "val_every": 4, "log_every": 4}

    @staticmethod
    def seen(number: int) -> tuple[int, int]:
        """Targets, and tokens, of the first batches."""
        loader, targets, tokens = Loader(BATCHES), 0, 0
        for index in range(number):
            loader.epoch, place = divmod(index, len(BATCHES))
            batch = loader.batch(place)
            targets, tokens = targets + int(batch.num_targets), tokens + batch.tokens_BT.numel()
        return targets, tokens

    def test_they_are_those_of_the_whole_training(self, tmp_path: Path) -> None:
        module = train(small_model(), BATCHES, tmp_path, **self.OPTIONS)
        assert (module.latest["train/tokens"], module.latest["train/positions"]) == self.seen(12)
        assert 0 < module.latest["time/train_seconds"] < 60

    def test_training_that_ends_between_two_points_of_the_curve_counts_to_its_end(self, tmp_path: Path) -> None:
        module = scripted([1.0] * 10, tmp_path, patience=2, log_every=5)
        assert (module.latest["train/tokens"], module.latest["train/positions"]) == self.seen(6)

    @pytest.mark.parametrize("kill", [2, 5])
    def test_a_resumed_run_counts_what_is_in_its_weights(self, tmp_path: Path, kill: int, monkeypatch: Any) -> None:
        clock = iter(range(10_000))
        monkeypatch.setattr("lightning_tx.training.curve.time.perf_counter", lambda: float(next(clock)))
        whole = train(small_model(), BATCHES, tmp_path / "whole", checkpoint_every=2, **self.OPTIONS)
        with pytest.raises(Killed):
            train(small_model(), BATCHES, tmp_path, callbacks=[Kill(kill)], checkpoint_every=2, **self.OPTIONS)
        rest = train(small_model(), BATCHES, tmp_path, checkpoint_every=2, **self.OPTIONS)
        for name in ("train/tokens", "train/positions"):
            assert rest.latest[name] == whole.latest[name] == self.seen(12)[name == "train/positions"]
        # The clock ticks whenever it is read; most of it was read in the part before.
        seconds = whole.latest["time/train_seconds"]
        assert abs(rest.latest["time/train_seconds"] - seconds) <= 3 and seconds > 5

    def test_validation_takes_no_training_time(self, tmp_path: Path, monkeypatch: Any) -> None:
        now = [0.0]
        monkeypatch.setattr("lightning_tx.training.curve.time.perf_counter", lambda: now[0])

        class Clock(pl.Callback):
            def on_train_batch_end(self, *_: Any) -> None:
                now[0] += 1

            def on_validation_batch_end(self, *_: Any) -> None:
                now[0] += 100

        module = train(small_model(), BATCHES, tmp_path, callbacks=[Clock()], max_steps=5, val_every=2)
        assert module.latest["time/train_seconds"] == 5
