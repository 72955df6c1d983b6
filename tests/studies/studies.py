"""Made-up studies for the tests of this folder."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count, product
from typing import Any

import numpy as np
import pandas as pd

from lightning_tx.tracking.records import RunRecord

METRIC = "best/val/loss"
_numbers = count(1)


def run(
    choices: Mapping[str, str],
    seed: int | None = 0,
    value: float | None = 1.0,
    *,
    status: str = "FINISHED",
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> RunRecord:
    """A run that started after all runs made before it."""
    number = next(_numbers)
    found = dict(metrics or {})
    if value is not None:
        found[METRIC] = value
    return RunRecord(
        run_id=f"{number:032x}",
        name=f"run-{number}",
        study="made-up",
        identity=f"{number:016x}",
        status=status,
        choices=dict(choices),
        seed=seed,
        params=dict(params or {}),
        metrics=found,
        tags=dict(tags or {}),
        start_time=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
        end_time=None,
    )


def grid(levels: Mapping[str, Iterable[str]], seeds: Iterable[int]) -> list[dict[str, Any]]:
    """The rows of a full factorial, without values."""
    names = list(levels)
    return [
        dict(zip(names, cell, strict=True)) | {"seed": seed}
        for cell, seed in product(product(*levels.values()), list(seeds))
    ]


def table(rows: list[dict[str, Any]], values: Iterable[float]) -> pd.DataFrame:
    return pd.DataFrame(rows).assign(value=list(values))


def noisy(
    levels: Mapping[str, Iterable[str]],
    num_seeds: int,
    effects: Mapping[tuple[str, str], float] | None = None,
    noise: float = 1.0,
    blocks: float = 3.0,
    seed: int = 0,
) -> pd.DataFrame:
    """A full factorial with additive effects by (factor, level), seeds that shift all runs alike, and noise."""
    rows = grid(levels, range(num_seeds))
    random = np.random.default_rng(seed)
    shifts = random.normal(0, blocks, num_seeds)
    known = effects or {}
    means = [sum(known.get((name, row[name]), 0.0) for name in levels) + shifts[row["seed"]] for row in rows]
    return table(rows, np.array(means) + random.normal(0, noise, len(rows)))
