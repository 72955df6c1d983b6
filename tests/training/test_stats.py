"""What is watched in training, and what learns from it without a gradient."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_tx.core.context import Mean, Output
from lightning_tx.core.errors import PluginError
from lightning_tx.data.batch import Batch
from lightning_tx.model.body import Body
from lightning_tx.task.base import Loss
from lightning_tx.task.causal_lm import CausalLM
from lightning_tx.training.curve import Curve
from lightning_tx.training.module import TrainingModule
from tests.training.small import Loader, small_model, train

KEYS = ("decoder.0.feed_forward", "decoder.1.feed_forward")
SIZES = [2, 7, 1, 4, 5]


def moe(**options: Any) -> Body:
    return small_model(feed_forward={"name": "moe", "num_experts": 4, "bias_rate": 0.05, **options})


def biases(net: Body) -> list[Tensor]:
    return [value for name, value in net.state_dict().items() if name.endswith("balance_bias")]


class Steps(pl.Callback):
    """The biases before every batch."""

    def __init__(self) -> None:
        self.biases: list[list[Tensor]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, TrainingModule)
        self.biases.append([bias.clone() for bias in biases(pl_module.model)])  # pyright: ignore[reportArgumentType]


class Watched(CausalLM):
    """Keeps what the model returned to each training batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Mapping[str, Mean]] = []

    def loss(self, net: Any, batch: Batch) -> Loss:
        found = super().loss(net, batch)
        self.seen.append(found.stats)
        return found


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_bias_moves_once_a_step_by_the_counts_of_all_its_batches(tmp_path: Path, accumulate: int) -> None:
    task, steps = Watched(), Steps()
    train(moe(), SIZES, tmp_path, task=task, callbacks=[steps], accumulate=accumulate)
    assert len(steps.biases) == len(task.seen) == 6 * accumulate
    expected = [torch.zeros(4), torch.zeros(4)]
    for batch, held in enumerate(steps.biases):
        torch.testing.assert_close(held, expected, rtol=0, atol=1e-6)
        if (batch + 1) % accumulate == 0:
            window = task.seen[batch + 1 - accumulate : batch + 1]
            for layer, key in enumerate(KEYS):
                counts = sum((stats[f"{key}/load"].sum for stats in window), start=torch.zeros(4)).double()
                expected[layer] = expected[layer] + 0.05 * (counts.mean() - counts).sign().float()
    assert all(bias.any() for bias in expected)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_that_resumes_ends_with_the_same_biases(tmp_path: Path, accumulate: int) -> None:
    options: dict[str, Any] = {"accumulate": accumulate, "val_every": 6}
    whole, broken, resumed = moe(), moe(), moe()
    train(whole, SIZES, tmp_path / "whole", **options)

    class Crash(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 4 and trainer.fit_loop.epoch_loop.batch_idx % accumulate == accumulate - 1:
                raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(broken, SIZES, tmp_path / "broken", callbacks=[Crash()], checkpoint_every=2, **options)
    train(resumed, SIZES, tmp_path / "broken", checkpoint_every=2, **options)
    assert all(bias.any() for bias in biases(whole))
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_nothing_moves_in_validation(tmp_path: Path) -> None:
    often, seldom = Steps(), Steps()
    train(moe(), SIZES, tmp_path / "often", callbacks=[often], val_every=1)
    train(moe(), SIZES, tmp_path / "seldom", callbacks=[seldom], val_every=6)
    torch.testing.assert_close(often.biases, seldom.biases, rtol=0, atol=0)


def test_a_task_that_keeps_the_stats_to_itself_is_named(tmp_path: Path) -> None:
    class Closed(CausalLM):
        def loss(self, net: Any, batch: Batch) -> Loss:
            found = super().loss(net, batch)
            return Loss(found.sum, found.count)

    with pytest.raises(PluginError, match="bias_rate"):
        train(moe(), SIZES, tmp_path, task=Closed())


def test_each_experts_load_is_a_number_of_its_own(tmp_path: Path) -> None:
    task = Watched()
    module = train(moe(capacity_factor=1.0), SIZES, tmp_path, task=task, log_every=3)
    assert len(task.seen) == 6
    for key in KEYS:
        counts = sum((stats[f"{key}/load"].sum for stats in task.seen[3:]), start=torch.zeros(4)).double()
        logged = [module.latest[f"train/stats/{key}/load/{expert}"] for expert in range(4)]
        assert logged == pytest.approx((counts / counts.sum()).tolist()) and sum(logged) == pytest.approx(1)
        dropped = [stats[f"{key}/dropped"] for stats in task.seen[3:]]
        expected = sum(int(mean.sum) for mean in dropped) / sum(int(mean.count) for mean in dropped)
        assert module.latest[f"train/stats/{key}/dropped"] == pytest.approx(expected) != 0
        assert 0 < module.latest[f"train/stats/{key}/router_entropy"] < 1.4
        for loss in ("load_balance", "z_loss"):
            assert module.latest[f"train/auxiliary/{key}/{loss}"] > 0


def test_the_objective_has_the_auxiliary_losses_with_their_weights() -> None:
    net, batch = moe(load_balance=0.5, z_loss=0.25), Loader([4]).batch(0)
    found = CausalLM().loss(net, batch)
    output: Output = net(batch.tokens_BT)
    expected = found.sum
    for key in KEYS:
        balance, z_loss = (output.losses[f"{key}/{name}"][0] for name in ("load_balance", "z_loss"))
        expected = expected + batch.num_targets * (0.5 * balance + 0.25 * z_loss)
    torch.testing.assert_close(found.total(), expected)


def mean(values: list[float], count: int) -> Mean:
    return Mean(torch.tensor(values) if len(values) > 1 else torch.tensor(values[0]), torch.tensor(count))


def test_stats_are_means_over_what_they_count_and_not_over_targets() -> None:
    curve = Curve()
    for sums, count, targets in (([2.0, 6.0], 8, 1), ([1.0, 1.0], 2, 99)):
        curve.add(Loss(torch.tensor(1.0), torch.tensor(targets)))
        curve.step(torch.tensor(1.0), {"a/load": mean(sums, count), "a/entropy": mean(sums[:1], count)})
    restored = Curve()
    restored.load_state_dict(curve.state_dict())
    for each in (curve, restored):
        point = each.point()
        assert point["stats/a/load/0"] == point["stats/a/entropy"] == pytest.approx(0.3)
        assert point["stats/a/load/1"] == pytest.approx(0.7)
