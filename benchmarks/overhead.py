"""What the framework costs: the same model and batches trained through everything, and in a bare loop.

Both take turns in one process, so that what else the machine does hits both alike. Printed is the ratio of median
step times, bare over full: 1.0 would be no overhead.

    python benchmarks/overhead.py
"""

import argparse
import statistics
import tempfile
import time
from typing import Any

import pytorch_lightning as pl
import torch

from lightning_tx.cli.compose import compose
from lightning_tx.runs.assembly import assemble
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.materials import materials_of
from lightning_tx.runs.store import open_store
from lightning_tx.tracking.logger import MetricLogger
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.training.fit import fit
from lightning_tx.training.options import TrainerOptions

#: Name, overrides, and the ratio that must be held.
SETTINGS = [
    (
        "step of about 10 ms",
        ["tokenizer=bpe_512", "model.d_model=64", "model.num_layers=2", "trainer.batch_size=3"],
        0.85,
    ),
    ("step of about 50 ms", ["model.d_model=128", "model.num_layers=4", "trainer.batch_size=4"], 0.95),
]
WARMUP = 10


class StepTimes(pl.Callback):
    """Seconds from the start of one step to the start of the next."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Note the time."""
        self.starts.append(time.perf_counter())


def full(config: dict[str, Any], number: int) -> list[float]:
    """Step times of a tracked run with checkpoints and logging, as ``ltx train`` does it."""
    parsed = RunConfig.parse({**config, "seed": number})
    parts = assemble(parsed, materials_of(parsed))
    times = StepTimes()
    with TrackedRun(
        open_store(config), name=f"overhead-{number}", identity=str(number), config=config, choices={}
    ) as run:
        fit(
            parts.module,
            TrainerOptions(**config["trainer"]),
            train=parts.train,
            validation=[next(iter(parts.validation))],
            test=None,
            folder=run.folder,
            precision=32,
            logger=MetricLogger(run),
            before_save=run.flush,
            callbacks=[times],
        )
    return [after - before for before, after in zip(times.starts, times.starts[1:], strict=False)][WARMUP:]


def bare(config: dict[str, Any], number: int) -> list[float]:
    """Step times of a loop as one would write it by hand."""
    max_steps = config["trainer"]["max_steps"]
    parsed = RunConfig.parse({**config, "seed": number})
    parts = assemble(parsed, materials_of(parsed))
    model, task = parts.model, parts.module.task
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9, fused=True)
    seconds = []
    began = time.perf_counter()
    for step, batch in enumerate(parts.train):
        if step == max_steps:
            break
        found = task.loss(model, batch)
        optimizer.zero_grad()
        (found.sum / found.count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        now = time.perf_counter()
        seconds.append(now - began)
        began = now
    return seconds[WARMUP:]


def main() -> int:
    """Measure every setting; the exit code is 1 where a ratio is not held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="steps of each turn (default: 60)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each side (default: 5)")
    arguments = parser.parse_args()
    missed = 0
    for name, overrides, wanted in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            steps = [f"trainer.max_steps={arguments.steps}", f"trainer.val_every={arguments.steps}"]
            steps += [f"trainer.checkpoint_every={arguments.steps}", f"root={folder}"]
            config = compose([*overrides, *steps])
            ours: list[float] = []
            theirs: list[float] = []
            for turn in range(arguments.turns):
                theirs += bare(config, turn)
                ours += full(config, turn)
        ratio = statistics.median(theirs) / statistics.median(ours)
        missed += ratio < wanted
        print(
            f"{name}: bare {1e3 * statistics.median(theirs):.1f} ms, full {1e3 * statistics.median(ours):.1f} ms, "
            f"ratio {ratio:.3f} (wanted {wanted})"
        )
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
