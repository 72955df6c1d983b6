"""The weights that a run ends with, and when it ends."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import nn

from lightning_tx.core import names
from lightning_tx.core.measure import Measure
from lightning_tx.model.weights import load_mean, save_weights, write_tensors
from lightning_tx.task.causal_lm import CausalLM, Likelihood
from lightning_tx.task.evaluator import Evaluator
from lightning_tx.training.checkpoint import BEST, LAST, SNAPSHOTS, snapshots
from tests.training.small import small_model, train

BATCHES = [2, 7, 1, 4, 5]


class Scripted(Evaluator):
    """Says what it is told to say, one value a validation."""

    full_state_update = False

    def __init__(self, values: Sequence[float], said: int = 0) -> None:
        super().__init__()
        self.values, self.said = values, said

    def update(self, *_: Any) -> None:
        pass

    def compute(self) -> dict[str, float]:
        self.said += 1
        return {"loss": self.values[self.said - 1]}


class Steps(pl.Callback):
    """Which steps were validated at, and what the weights were."""

    def __init__(self) -> None:
        self.validated: list[int] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.validated.append(trainer.global_step)
        self.weights.append({name: value.clone() for name, value in pl_module.model.named_parameters()})


class Killed(Exception):
    """Stands for whatever ends a process."""


class Kill(pl.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise Killed


class Greater(CausalLM):
    measures = {"loss": Measure("max")}


def scripted(values: Sequence[float], folder: Path, *callbacks: pl.Callback, said: int = 0, **options: Any) -> Any:
    """A run whose n-th validation has the n-th value."""
    settings = {"max_steps": 20, "val_every": 2} | options
    return train(
        small_model(), BATCHES, folder, evaluators={"val": Scripted(values, said)}, callbacks=callbacks, **settings
    )


def mean(weights: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([each[name].double() for each in weights]).mean(dim=0) for name in weights[0]}


def check_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value.double(), rtol=1e-6, atol=1e-7, msg=name)


class TestMean:
    @pytest.mark.parametrize("count", [1, 3])
    def test_it_is_that_of_every_weight(self, tmp_path: Path, count: int) -> None:
        models = [small_model() for _ in range(count)]
        for number, model in enumerate(models):
            for parameter in model.parameters():
                nn.init.normal_(parameter, std=number + 1.0)
            save_weights(model, tmp_path / f"{number}.safetensors")
        found = small_model()
        load_mean(found, [tmp_path / f"{number}.safetensors" for number in range(count)])
        check_equal(dict(found.named_parameters()), mean([dict(model.named_parameters()) for model in models]))

    def test_tied_weights_stay_tied(self, tmp_path: Path) -> None:
        model = small_model()
        save_weights(model, tmp_path / "one.safetensors")
        load_mean(model, [tmp_path / "one.safetensors"] * 2)
        lm_head: Any = model.lm_head
        assert lm_head.weight is model.token_embedding.weight

    def test_it_is_taken_in_fp32(self, tmp_path: Path) -> None:
        """In bf16 the sum of 1 and 1/256 is 1, and 1 + 1/256 · 2 would be lost on the way."""
        model = nn.Linear(1, 1, bias=False).bfloat16()
        paths = []
        for number, value in enumerate([1.0, 1 / 256, 1 / 256, 2 - 2 / 256]):
            nn.init.constant_(model.weight, value)
            paths.append(tmp_path / f"{number}.safetensors")
            write_tensors(model.state_dict(), paths[-1])
        wide = nn.Linear(1, 1, bias=False)
        load_mean(wide, paths)
        values = [load_file(path)["weight"].item() for path in paths]
        assert wide.weight.item() == sum(values) / 4


class TestAveraging:
    def test_a_run_ends_with_the_mean_of_its_last_validations(self, tmp_path: Path) -> None:
        steps = Steps()
        module = train(small_model(), BATCHES, tmp_path, callbacks=[steps], max_steps=9, val_every=2, average=3)
        assert steps.validated == [2, 4, 6, 8, 9]
        expected = mean(steps.weights[-3:])
        check_equal(dict(module.model.named_parameters()), expected)
        final = load_file(tmp_path / names.WEIGHTS_FILE)
        check_equal(final, {name: value for name, value in expected.items() if name in final})
        assert set(expected) - set(final) == set()

    def test_no_more_are_kept_than_are_averaged(self, tmp_path: Path) -> None:
        train(small_model(), BATCHES, tmp_path, max_steps=9, val_every=2, average=3)
        assert [path.stem for path in snapshots(tmp_path)] == ["000000006", "000000008", "000000009"]
        assert len(list((tmp_path / SNAPSHOTS).iterdir())) == 3

    def test_fewer_validations_than_asked_for_are_all_averaged(self, tmp_path: Path) -> None:
        steps = Steps()
        module = train(small_model(), BATCHES, tmp_path, callbacks=[steps], max_steps=4, val_every=2, average=10)
        assert steps.validated == [2, 4]
        check_equal(dict(module.model.named_parameters()), mean(steps.weights))

    def test_the_mean_is_judged_by_itself(self, tmp_path: Path) -> None:
        """Its loss is neither that of the best validation nor of the last."""
        evaluators: dict[str, Evaluator] = {"val": Likelihood(100), "validation": Likelihood(100)}
        module = train(small_model(), BATCHES, tmp_path, evaluators=evaluators, max_steps=6, val_every=2, average=3)
        again: dict[str, Evaluator] = {"val": Likelihood(100), "validation": Likelihood(100)}
        alone = train(small_model(), BATCHES, tmp_path / "alone", evaluators=again, max_steps=6, val_every=2)
        assert alone.latest["best/loss"] == pytest.approx(min(alone.latest["val/loss"], alone.latest["best/loss"]))
        assert module.latest["val/loss"] == pytest.approx(alone.latest["val/loss"], rel=1e-6)
        assert module.latest["best/loss"] != pytest.approx(alone.latest["best/loss"], rel=1e-6)
        assert "best/step" in alone.latest and "best/step" not in module.latest
        # What is compared is the mean too.
        assert module.latest["last/loss"] == module.latest["best/loss"] and module.latest["last/step"] == 6

    def test_without_it_a_run_ends_with_the_best_and_keeps_no_others(self, tmp_path: Path) -> None:
        steps = Steps()
        module = scripted([3.0, 1.0, 2.0, 1.0], tmp_path, steps, max_steps=8)
        check_equal(dict(module.model.named_parameters()), steps.weights[1])
        assert module.latest["best/loss"] == 1.0 and module.latest["best/step"] == 4
        assert not (tmp_path / SNAPSHOTS).exists() and (tmp_path / BEST).exists()

    def test_the_weights_it_keeps_change_no_number(self, tmp_path: Path) -> None:
        modules, steps = {}, Steps()
        for keep in ("best", "last", "none"):
            steps = Steps()
            modules[keep] = scripted([3.0, 1.0, 2.0, 1.5], tmp_path / keep, steps, max_steps=8, keep=keep)
        for keep, number in (("best", 1), ("last", 3), ("none", 1)):
            check_equal(dict(modules[keep].model.named_parameters()), steps.weights[number])
            judged = {name: value for name, value in modules[keep].latest.items() if name.startswith(("last", "best"))}
            assert judged["best/step"] == 4 and judged["last/step"] == 8
            assert judged == {name: modules["best"].latest[name] for name in judged}
        kept = {keep: (tmp_path / keep / names.WEIGHTS_FILE).exists() for keep in modules}
        assert kept == {"best": True, "last": True, "none": False}
        final = load_file(tmp_path / "last" / names.WEIGHTS_FILE)
        check_equal(final, {name: value for name, value in steps.weights[3].items() if name in final})

    @pytest.mark.parametrize("kill", [3, 5, 7])
    def test_a_resumed_run_averages_what_an_unbroken_one_does(self, tmp_path: Path, kill: int) -> None:
        options: dict[str, Any] = {"max_steps": 8, "val_every": 2, "average": 2, "checkpoint_every": 1}
        whole = train(small_model(), BATCHES, tmp_path / "whole", **options)
        with pytest.raises(Killed):
            train(small_model(), BATCHES, tmp_path / "broken", callbacks=[Kill(kill)], **options)
        rest = train(small_model(), BATCHES, tmp_path / "broken", **options)
        for name, value in whole.model.named_parameters():
            assert torch.equal(rest.model.get_parameter(name), value), name


class TestPatience:
    def test_training_ends_after_so_many_validations_without_gain(self, tmp_path: Path) -> None:
        steps = Steps()
        module = scripted([5, 4, 4.5, 3, 3, 3.1, 9, 9, 9, 9], tmp_path, steps, patience=3)
        assert steps.validated == [2, 4, 6, 8, 10, 12, 14]
        check_equal(dict(module.model.named_parameters()), steps.weights[3])
        assert module.latest["best/step"] == 8

    def test_a_gain_starts_the_count_again(self, tmp_path: Path) -> None:
        steps = Steps()
        scripted([5, 6, 4, 6, 3, 6, 2, 6, 1, 6], tmp_path, steps, patience=2)
        assert steps.validated == list(range(2, 21, 2))

    def test_without_it_training_goes_on(self, tmp_path: Path) -> None:
        steps = Steps()
        scripted([1.0] * 10, tmp_path, steps)
        assert steps.validated == list(range(2, 21, 2))

    def test_where_more_is_better_less_is_no_gain(self, tmp_path: Path) -> None:
        steps = Steps()
        settings: dict[str, Any] = {"max_steps": 20, "val_every": 2, "patience": 2}
        evaluators: dict[str, Evaluator] = {"val": Scripted([1, 2, 3, 2, 1, 0])}
        module = train(
            small_model(), BATCHES, tmp_path, task=Greater(), evaluators=evaluators, callbacks=[steps], **settings
        )
        assert steps.validated == [2, 4, 6, 8, 10] and module.latest["best/loss"] == 3

    def test_a_metric_that_is_no_number_is_no_gain(self, tmp_path: Path) -> None:
        steps = Steps()
        scripted([5, float("nan"), float("nan"), 1], tmp_path, steps, patience=2)
        assert steps.validated == [2, 4, 6]

    def test_a_first_metric_that_is_no_number_is_bettered_by_any(self, tmp_path: Path) -> None:
        module = scripted([float("nan"), 7, 8], tmp_path, max_steps=6)
        assert module.latest["best/loss"] == 7 and module.latest["best/step"] == 4

    def test_it_counts_validations_not_forward_passes(self, tmp_path: Path) -> None:
        steps = Steps()
        scripted([1.0] * 10, tmp_path, steps, patience=2, accumulate=3)
        assert steps.validated == [2, 4, 6]

    @pytest.mark.parametrize("kill", [5, 6, 7, 9])
    def test_a_resumed_run_keeps_its_count(self, tmp_path: Path, kill: int) -> None:
        """Validations at 2, 4, 6, 8 and 10; the best at 4, so that training ends at 10, wherever it was broken."""
        values = [5, 1, 2, 2, 2, 2, 2, 2, 2, 2]
        with pytest.raises(Killed):
            scripted(values, tmp_path, Kill(kill), patience=3, checkpoint_every=1)
        assert (tmp_path / LAST).exists()
        rest = Steps()
        # The state is that before step ``kill``, when half as many validations were behind it.
        module = scripted(values, tmp_path, rest, said=kill // 2, patience=3, checkpoint_every=1)
        assert rest.validated == list(range(2 * (kill // 2) + 2, 11, 2))
        assert module.latest["best/loss"] == 1 and module.latest["best/step"] == 4

    def test_the_weights_of_the_last_validations_are_averaged_when_it_ends_early(self, tmp_path: Path) -> None:
        steps = Steps()
        module = scripted([1.0] * 10, tmp_path, steps, patience=2, average=2)
        assert steps.validated == [2, 4, 6]
        check_equal(dict(module.model.named_parameters()), mean(steps.weights[-2:]))
