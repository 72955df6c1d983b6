"""The training curve: averages between two points, and the speed of training."""

import time
from typing import Any

import torch
from torch import Tensor

from lightning_tx.tasks.base import Loss


class Curve:
    """Averages since the last point, kept on the device so that no step waits for a number.

    Its state is part of a checkpoint: a run that resumes between two points draws the same curve.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, loss: Loss) -> None:
        """Take in one batch."""
        count = loss.count.detach()
        self._add("targets", count)
        self._add("loss", loss.sum.detach())
        for name, (value, _) in loss.auxiliary.items():
            self._add(f"auxiliary/{name}", value.detach() * count)
        for name, value in loss.stats.items():
            self._add(f"stats/{name}", value.detach() * count)

    def step(self, gradient_norm: Tensor) -> None:
        """Take in the norm of one step's gradient."""
        self._steps += 1
        self._add("grad_norm", gradient_norm.detach())

    def point(self) -> dict[str, float]:
        """The averages over targets (over steps for the gradient norm) since the last point; starts the next one."""
        names = list(self._sums)
        sums = dict(zip(names, torch.stack([self._sums[name].double() for name in names]).tolist(), strict=True))
        targets = sums.pop("targets")
        norm = sums.pop("grad_norm") / self._steps
        self._sums, self._steps = {}, 0
        return {name: value / targets for name, value in sums.items()} | {"grad_norm": norm, "targets": targets}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"sums": dict(self._sums), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was made."""
        self._sums, self._steps = dict(state["sums"]), state["steps"]

    def _add(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value


class Stopwatch:
    """Seconds of training proper: paused while the model is validated or saved."""

    def __init__(self) -> None:
        self._seconds = 0.0
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
