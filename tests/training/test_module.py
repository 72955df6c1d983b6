"""The optimisation that the framework runs, against a loop written by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn

from lightning_tx.data.batch import IGNORE
from lightning_tx.optimizer.base import OPTIMIZER
from lightning_tx.optimizer.groups import decay_groups
from lightning_tx.schedule.base import SCHEDULE
from lightning_tx.task.causal_lm import CausalLM, Likelihood
from lightning_tx.training.module import TrainingModule
from lightning_tx.training.stream import Stream
from tests.training.small import Loader, small_model, train


class Recorder:
    """A logger's face, and everything it was told."""

    def __init__(self):
        self.points = []

    def log_metrics(self, values, step):
        self.points.append((step, values))


@pytest.fixture
def recorder(monkeypatch):
    told = Recorder()
    monkeypatch.setattr(
        TrainingModule,
        "record",
        lambda self, values: (self.latest.update(values), told.log_metrics(values, self.global_step)),
    )
    return told


def by_hand(model, sizes, steps, accumulate, clip=1.0):
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], betas=(0.9, 0.98), eps=1e-9
    )
    schedule = SCHEDULE.create({"name": "cosine", "warmup_steps": 2}, 0.01, steps, 16)
    loader, index, losses, norms = Loader(sizes), 0, [], []
    for step in range(1, steps + 1):
        logits, targets = [], []
        for _ in range(accumulate):
            loader.epoch, number = divmod(index, len(sizes))
            batch = loader.batch(number)
            logits.append(model.head.logits(model(batch.tokens_BT).x).flatten(0, 1))
            targets.append(batch.targets_BT.flatten())
            index += 1
        loss = F.cross_entropy(torch.cat(logits), torch.cat(targets), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip).item())
        for group in optimizer.param_groups:
            group["lr"] = schedule(step)
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


@pytest.mark.parametrize("accumulate", [1, 3])
def test_training_is_what_a_loop_by_hand_does(tmp_path, recorder, accumulate) -> None:
    """Batches of unequal size: the mean goes over all targets of the window, not over its batches."""
    sizes = [2, 7, 1, 4, 5]
    ours, theirs = small_model(), small_model()
    train(ours, sizes, tmp_path, accumulate=accumulate, log_every=1)
    # The best weights, which are loaded at the end, are those of the last validation here.
    losses, norms = by_hand(theirs, sizes, 6, accumulate)
    points = [values for _, values in recorder.points if "train/loss" in values]
    assert [point["train/loss"] for point in points] == pytest.approx(losses, rel=1e-5)
    assert [point["train/grad_norm"] for point in points] == pytest.approx(norms, rel=1e-4)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=2e-5, msg=name)


def test_a_point_of_the_curve_is_the_mean_over_all_targets_since_the_last(tmp_path, recorder) -> None:
    model = small_model()
    train(model, [2, 7, 1, 4, 5, 6], tmp_path, log_every=3)
    coarse = [values["train/loss"] for _, values in recorder.points if "train/loss" in values]
    recorder.points.clear()
    train(small_model(), [2, 7, 1, 4, 5, 6], tmp_path / "fine", log_every=1)
    fine = [values["train/loss"] for _, values in recorder.points if "train/loss" in values]
    counts = [int(batch.num_targets) for batch in Loader([2, 7, 1, 4, 5, 6])]
    for part, value in zip((slice(0, 3), slice(3, 6)), coarse, strict=True):
        mean = sum(a * b for a, b in zip(fine[part], counts[part], strict=True)) / sum(counts[part])
        assert value == pytest.approx(mean, rel=1e-6)


def test_validation_follows_the_last_step_too(tmp_path, recorder) -> None:
    train(small_model(), [2, 3], tmp_path, max_steps=5, val_every=3)
    assert [step for step, values in recorder.points if "val/loss" in values] == [3, 5]


def test_likelihood_is_the_mean_over_targets_and_the_sum_over_bytes() -> None:
    model = small_model().eval()
    batches = list(Loader([2, 5, 1]))
    metric = Likelihood(num_bytes=1234)
    with torch.no_grad():
        for batch in batches:
            metric.update(model, batch)
        losses = []
        for batch in batches:
            logits = model.head.logits(model(batch.tokens_BT).x).double().log_softmax(-1)
            rows, columns = (batch.targets_BT != IGNORE).nonzero(as_tuple=True)
            losses += (-logits[rows, columns, batch.targets_BT[rows, columns]]).tolist()
    result = metric.compute()
    mean = sum(losses) / len(losses)
    assert result["loss"] == pytest.approx(mean, rel=1e-6)
    assert result["perplexity"] == pytest.approx(torch.tensor(mean).exp().item(), rel=1e-5)
    assert result["bits_per_byte"] == pytest.approx(sum(losses) / torch.tensor(2.0).log().item() / 1234, rel=1e-5)


def test_label_smoothing_spares_ignored_targets_and_evaluation() -> None:
    model, batch = small_model().eval(), Loader([4]).batch(0)
    with torch.no_grad():
        smoothed = CausalLM(label_smoothing=0.1).loss(model, batch)
        logits = model.head.logits(model(batch.tokens_BT).x).double().log_softmax(-1)
    kept = batch.targets_BT != IGNORE
    nll = -logits[kept].gather(1, batch.targets_BT[kept][:, None]).sum()
    uniform = -logits[kept].mean(-1).sum()
    assert smoothed.sum.item() == pytest.approx((0.9 * nll + 0.1 * uniform).item(), rel=1e-5)
    assert smoothed.count.item() == kept.sum().item()


def test_biases_and_gains_do_not_decay() -> None:
    model = small_model(norm={"name": "layernorm"}, attention={"name": "multi_head", "bias": True})
    decayed, spared = decay_groups(model, 0.1)
    assert {p.ndim for p in spared["params"]} == {1} and spared["weight_decay"] == 0
    assert {p.ndim for p in decayed["params"]} == {2} and decayed["weight_decay"] == 0.1
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("parts", "spared", "decayed"),
    [
        (
            {"feed_forward": {"name": "moe", "num_experts": 2, "expert": {"name": "gelu", "bias": True}}},
            ["experts.up_proj.bias", "experts.down_proj.bias"],
            ["experts.up_proj.weight", "router.weight"],
        ),
        (
            {"feed_forward": {"name": "moe"}, "adapter": {"name": "dora", "targets": ["up_proj", "q_proj"]}},
            ["experts.up_proj.lora_magnitude", "q_proj.lora_magnitude"],
            ["experts.up_proj.lora_B.weight", "experts.up_proj.lora_A.weight", "q_proj.lora_B", "q_proj.lora_A"],
        ),
        ({"adapter": {"name": "prefix"}}, [], ["prefix_k", "prefix_v"]),
        ({"adapter": {"name": "bottleneck"}}, ["up.bias"], ["up.weight"]),
        ({"positions": "t5_relative"}, [], ["embedding.weight"]),
    ],
)
def test_what_decays_is_told_by_the_role_of_a_parameter(parts, spared, decayed) -> None:
    model = small_model(**parts)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {
        bool(group["weight_decay"]): [names[id(p)] for p in group["params"]] for group in decay_groups(model, 0.1)
    }
    for wanted, decays in ((spared, False), (decayed, True)):
        for ending in wanted:
            assert any(name.endswith(ending) for name in groups.get(decays, [])), ending
            assert not any(name.endswith(ending) for name in groups.get(not decays, [])), ending


def test_frozen_parameters_are_not_handed_to_the_optimizer() -> None:
    model = small_model(adapter={"name": "lora", "rank": 2})
    names = {id(p): name for name, p in model.named_parameters()}
    trained = {names[id(p)] for group in decay_groups(model, 0.1) for p in group["params"]}
    assert trained == {name for name in names.values() if "lora_" in name}


@pytest.mark.parametrize("start", [0, 1, 5, 7, 11])
def test_a_stream_entered_later_is_the_rest_of_the_whole(start) -> None:
    def tokens(first, count):
        stream = Stream(Loader([1, 2, 3]))
        stream.start = first
        return [batch.tokens_BT for batch, _ in zip(stream, range(count), strict=False)]

    whole, rest = tokens(0, 14), tokens(start, 14 - start)
    assert all(torch.equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


class WithoutTargets(CausalLM):
    """Batches whose numbers are chosen have no target."""

    def __init__(self, empty: set[int]) -> None:
        super().__init__()
        self.empty, self.seen = empty, -1

    def loss(self, model: Any, batch: Any) -> Any:
        self.seen += 1
        if self.seen in self.empty:
            batch = replace(batch, targets_BT=torch.full_like(batch.targets_BT, IGNORE))
        return super().loss(model, batch)


def test_a_window_without_a_target_leaves_the_weights_as_they_are(tmp_path) -> None:
    class Watch(pl.Callback):
        def __init__(self) -> None:
            self.weights: list[Any] = []

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self.weights.append([parameter.detach().clone() for parameter in pl_module.model.parameters()])

    watch = Watch()
    module = train(
        small_model(), [3, 4, 5, 6], tmp_path, task=WithoutTargets({2}), callbacks=[watch], max_steps=4, log_every=1
    )
    _, second, third, fourth = watch.weights
    assert all(torch.equal(a, b) for a, b in zip(second, third, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(third, fourth, strict=True))
    assert all(bool(weight.isfinite().all()) for weight in fourth) and math.isfinite(module.latest["train/loss"])


@pytest.mark.parametrize("empty", [0, 1])
def test_a_batch_without_a_target_takes_no_part_in_its_window(tmp_path, empty) -> None:
    model, by_hand, sizes = small_model(), small_model(), [3, 4]
    train(model, sizes, tmp_path, task=WithoutTargets({empty}), max_steps=1, accumulate=2)
    optimizer = OPTIMIZER.create({"name": "adamw", "lr": 0.01, "weight_decay": 0.1}, by_hand)
    loss = CausalLM().loss(by_hand, Loader(sizes).batch(1 - empty))
    (loss.sum / loss.count).backward()
    nn.utils.clip_grad_norm_(by_hand.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = SCHEDULE.create({"name": "cosine", "warmup_steps": 2}, 0.01, 1, 16)(1)
    optimizer.step()
    for name, value in by_hand.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
