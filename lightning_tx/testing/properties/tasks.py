"""Tasks: the objective is that of the targets, and metrics are those of the split, however it is batched."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from lightning_tx.data.batch import IGNORE, Batch, BatchSize
from lightning_tx.testing.component import Component
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.task_setup import LENGTH, num_rows, padded, rows_of, same, setup_of, with_targets
from lightning_tx.testing.values import seeded

TOLERANCE = 1e-9


@holds(about="component", groups=("task",), usually="primary not set, or not among its measures.")
def task_says_what_is_better(subject: Component) -> None:
    """A task says of its measures whether less or more is better, and its evaluators give those and no others."""
    setup = setup_of(subject)
    task = setup.task
    directions = {name: measure.direction for name, measure in task.measures.items()}
    if task.primary not in directions or not set(directions.values()) <= {"min", "max"}:
        raise Violation(f"primary is {task.primary!r}, measures are {directions!r}.")
    seen = setup.metrics(setup.batches)
    if set(seen) != set(directions):
        raise Violation(f"its evaluator gives {sorted(seen)}; its measures are {sorted(directions)}.")
    unusable = {name: type(value).__name__ for name, value in seen.items() if not isinstance(value, int | float)}
    if unusable:
        raise Violation(f"its evaluator gives no plain numbers: {unusable}.")


@holds(
    about="component",
    groups=("task",),
    tolerance="1e-9",
    usually="a count or a sum over all places, instead of those that have a target.",
    kin="places without a target",
)
def a_loss_counts_targets(subject: Component) -> None:
    """A loss counts the places with a target, and no others add to it: two halves of the targets make the whole."""
    setup = setup_of(subject)
    for batch in setup.batches:
        whole = setup.loss(batch)
        targets = getattr(batch, "targets_BT", None)
        if targets is None:
            raise NotApplicable("its batches have no targets_BT")
        wanted = int((targets != IGNORE).sum())
        if int(whole.count) != wanted:
            raise Violation(f"{wanted} places have a target, and the loss counts {int(whole.count)}.")
        if not isinstance(batch, Batch):
            continue  # what is padding is told by its targets, so that none can be taken out
        chosen = torch.rand(targets.shape, generator=torch.Generator().manual_seed(0)) < 0.5
        halves = [setup.loss(with_targets(batch, chosen)), setup.loss(with_targets(batch, ~chosen))]
        counts, sums = [int(half.count) for half in halves], [float(half.sum) for half in halves]
        if sum(counts) != wanted:
            raise Violation(f"{wanted} targets in two halves are counted as {counts[0]} and {counts[1]}.")
        _require(sum(sums), float(whole.sum), "the sum of the loss over both halves of the targets", "over all")


@holds(
    about="component",
    groups=("task",),
    tolerance="1e-9",
    usually="a mean over the batch, or something that is normalised over all of its rows.",
)
def a_batch_is_its_rows(subject: Component) -> None:
    """The loss of a batch, a sum and a count, is that of its rows by themselves."""
    setup = setup_of(subject)
    for batch in setup.batches:
        rows = [setup.loss(rows_of(batch, [row])) for row in range(num_rows(batch))]
        whole = setup.loss(batch)
        if sum(int(row.count) for row in rows) != int(whole.count):
            raise Violation(f"a batch counts {int(whole.count)} targets, its rows {[int(row.count) for row in rows]}.")
        _require(
            sum(float(row.sum) for row in rows), float(whole.sum), "the sum of the loss row by row", "of the batch"
        )


@holds(
    about="component",
    groups=("task",),
    tolerance="1e-9",
    usually="a token mask that is not handed to the model, or a sum or a count over padding.",
    kin="places without a target",
)
def padding_changes_nothing(subject: Component) -> None:
    """More padding behind the rows changes neither the loss, nor its auxiliary losses, nor any metric."""
    setup = setup_of(subject)
    longer = [padded(batch, 3) for batch in setup.batches]
    for batch, more in zip(setup.batches, longer, strict=True):
        plain, other = setup.loss(batch), setup.loss(more)
        if int(plain.count) != int(other.count):
            raise Violation(f"the loss counts {int(plain.count)} targets, and with padding {int(other.count)}.")
        _require(float(other.sum), float(plain.sum), "the sum of the loss with padding", "without")
        for name, (value, _) in plain.auxiliary.items():
            _require(
                float(other.auxiliary[name][0]), float(value), f"the auxiliary loss {name} with padding", "without"
            )
    _require_metrics(setup.metrics(longer), setup.metrics(setup.batches), "with padding", "without")


@holds(
    about="component",
    groups=("task",),
    tolerance="1e-9",
    usually="a mean of the batches' means: sum up over all batches, and divide in compute.",
)
def metrics_do_not_depend_on_batches(subject: Component) -> None:
    """A split has the same metrics row by row, in any order, as in batches; after a reset nothing is left of it."""
    setup = setup_of(subject)
    whole = setup.metrics(setup.batches)
    rows = [rows_of(batch, [row]) for batch in reversed(setup.batches) for row in reversed(range(num_rows(batch)))]
    _require_metrics(setup.metrics(rows), whole, "row by row from the last", "in batches")
    evaluator = setup.evaluator()
    for batch in [*setup.batches, None, *setup.batches]:
        if batch is None:
            evaluator.reset()
        else:
            evaluator.update(setup.model, batch)
    _require_metrics(evaluator.compute(), whole, "after something else and a reset", "at first")


@holds(
    about="component",
    groups=("task",),
    usually="a last batch that is left out, or windows that overlap.",
)
def every_target_is_evaluated_once(subject: Component) -> None:
    """Batches of any size hold the same targets, each of them once."""
    setup = setup_of(subject)
    seen = {}
    for size in (BatchSize(sequences=1), BatchSize(sequences=3), BatchSize(tokens=5 * LENGTH)):
        objective = setup.task.objective(max_seq_len=LENGTH, batch=size)
        targets = [target for batch in setup.eval_batches(size) for target in _targets(batch)]
        seen.setdefault(objective, {})[str(size)] = sorted(targets)
    for by_size in seen.values():
        first = next(iter(by_size.values()))
        for size, targets in by_size.items():
            if targets != first:
                raise Violation(
                    f"in batches of {size} a split has {len(targets)} targets, not {len(first)}, or others."
                )


@holds(
    about="component",
    groups=("task",),
    usually="an order drawn from a global generator, or one that the last epoch leaves behind.",
)
def order_is_a_function_of_seed_and_epoch(subject: Component) -> None:
    """Batches to train on follow from seed and epoch, whatever came before; one may start behind the first of them."""
    setup = setup_of(subject)

    def epoch(loader: Any, number: int, start: int = 0, seed: int = 0) -> list[Any]:
        with seeded(seed):
            loader.set_epoch(number, start)
            return list(loader)

    loader, other = setup.train_batches(seed=3), setup.train_batches(seed=3)
    first, second = epoch(loader, 0), epoch(loader, 1)
    if len(first) != len(loader):
        raise Violation(f"an epoch has {len(first)} batches, and says that it has {len(loader)}.")
    for again, what in (
        (epoch(loader, 0, seed=1), "epoch 0 asked again"),
        (epoch(other, 0, seed=2), "epoch 0 of another loader of the same seed"),
        ([*first[:2], *epoch(loader, 0, start=2)], "epoch 0 entered behind two batches"),
    ):
        if not _all_same(first, again):
            raise Violation(f"{what} has other batches.")
    for one, what in ((second, "epoch 1 after epoch 0"), (epoch(setup.train_batches(seed=4), 0), "another seed")):
        if len(first) > 1 and _all_same(first, one):
            raise Violation(f"{what} has the same batches in the same order.")


@holds(
    about="component",
    groups=("task",),
    tolerance="1e-9",
    usually="a Loss without the losses and stats of the model's output, or with a weight of its own.",
)
def a_loss_has_the_models_auxiliary_losses(subject: Component) -> None:
    """The auxiliary losses of the model's output are in the loss with their weights, for each target; stats are too."""
    setup = setup_of(subject)
    outputs: list[Any] = []
    hook = setup.model.register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        loss = setup.loss(setup.batches[0])
    finally:
        hook.remove()
    missing = sorted({name for output in outputs for name in output.losses} - set(loss.auxiliary))
    missing += sorted({name for output in outputs for name in output.stats} - set(loss.stats))
    if missing or not outputs:
        raise Violation(f"of what the model returned, the loss lacks {', '.join(missing) or 'everything'}.")
    if len(outputs) == 1:
        for name, (value, weight) in outputs[0].losses.items():
            own, own_weight = loss.auxiliary[name]
            if own_weight != weight:
                raise Violation(f"{name} has the weight {weight:g} in the model, and {own_weight:g} in the loss.")
            _require(float(own), float(value), f"the auxiliary loss {name}", "what the model returned")
    extra = sum(float(value) * weight for value, weight in loss.auxiliary.values()) * int(loss.count)
    _require(float(loss.total()), float(loss.sum) + extra, "the total", "objective and weighted auxiliary losses")


def _targets(batch: Any) -> list[int]:
    """The tokens to predict, or the numbers of the examples where there are none."""
    if hasattr(batch, "targets_BT"):
        return batch.targets_BT[batch.targets_BT != IGNORE].tolist()
    if hasattr(batch, "examples_B"):
        return batch.examples_B.tolist()
    raise NotApplicable("its batches have neither targets_BT nor examples_B")


def _all_same(batches: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(batches) == len(others) and all(same(*pair) for pair in zip(batches, others, strict=True))


def _require(seen: float, expected: float, what: str, of: str) -> None:
    if seen != expected and not abs(seen - expected) <= TOLERANCE * max(1.0, abs(expected)):
        raise Violation(f"{what} is {seen:.10g}, and {of} {expected:.10g}.")


def _require_metrics(seen: dict[str, float], expected: dict[str, float], how: str, otherwise: str) -> None:
    for name, value in expected.items():
        if not (math.isnan(value) and math.isnan(seen[name])):
            _require(seen[name], value, f"the metric {name} {how}", otherwise)
