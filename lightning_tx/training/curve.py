"""The training curve: averages between two points, and the speed of training."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_tx.core.context import Mean
from lightning_tx.task.base import Loss


class Curve:
    """Averages since the last point, kept on the device so that no step waits for a number.

    Its state is part of a checkpoint: a run that resumes between two points draws the same curve.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._stats: dict[str, Mean] = {}
        self._steps = 0

    def add(self, loss: Loss) -> None:
        """Take in one batch."""
        count = loss.count.detach()
        self._add("targets", count)
        self._add("loss", loss.sum.detach())
        for name, (value, _) in loss.auxiliary.items():
            self._add(f"auxiliary/{name}", value.detach() * count)

    @property
    def targets(self) -> float:
        """How many targets were taken in since the last point."""
        return float(self._sums.get("targets", 0))

    def step(self, gradient_norm: Tensor, stats: Mapping[str, Mean]) -> None:
        """Take in one step: the norm of its gradient, and the stats of its batches."""
        self._steps += 1
        self._add("grad_norm", gradient_norm.detach())
        gather(self._stats, stats)

    def point(self) -> dict[str, float]:
        """The averages since the last point; starts the next one.

        They are taken over targets, those of stats over what each one counts and that of the gradient norm over steps.
        A stat that is a vector gives a number for each entry, under ``name/0``, ``name/1``, ….
        """
        sums = _numbers(self._sums)
        targets = sums.pop("targets")
        norm = sums.pop("grad_norm") / self._steps
        stats = _numbers({f"stats/{name}": mean.value for name, mean in self._stats.items()})
        self._sums, self._stats, self._steps = {}, {}, 0
        means = {name: value / targets for name, value in sums.items()} if targets else {}
        return means | stats | {"grad_norm": norm, "targets": targets}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        stats = {name: tuple(mean) for name, mean in self._stats.items()}
        return {"sums": dict(self._sums), "stats": stats, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was made."""
        self._sums, self._steps = dict(state["sums"]), state["steps"]
        self._stats = {name: Mean(*parts) for name, parts in state["stats"].items()}

    def _add(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value


def gather(into: dict[str, Mean], stats: Mapping[str, Mean]) -> None:
    """Add stats to those of the same names."""
    for name, mean in stats.items():
        into[name] = into[name].plus(mean) if name in into else mean


def _numbers(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars and vectors by name as plain numbers, fetched from their device at once."""
    if not values:
        return {}
    numbers = iter(torch.cat([value.double().flatten() for value in values.values()]).tolist())
    names = (
        name if value.ndim == 0 else f"{name}/{entry}"
        for name, value in values.items()
        for entry in range(value.numel())
    )
    return dict(zip(names, numbers, strict=True))


class Stopwatch:
    """Seconds of training proper: paused while the model is validated or saved.

    Args:
        seconds: what it shows at first.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def start(self) -> None:
        """Run."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Pause."""
        self._seconds, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """Seconds it has run so far."""
        return self._seconds + (0.0 if self._since is None else time.perf_counter() - self._since)
