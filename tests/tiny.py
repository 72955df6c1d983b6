"""Runs of a second, for tests of what surrounds a model."""

from pathlib import Path
from typing import Any

from lightning_tx.cli.compose import compose
from lightning_tx.core.errors import ConfigError
from lightning_tx.runs.config import RunConfig

TEXT = "".join(f"{number} and {number + 1} make {2 * number + 1}.\n" for number in range(600))

#: The smallest run there is: one layer of width 16 on bytes.
TINY = [
    "data=text_file",
    "data.test_fraction=0.05",
    "tokenizer=byte",
    "model.d_model=16",
    "model.num_heads=2",
    "model.num_layers=1",
    "model.max_seq_len=16",
    "trainer.batch_size=4",
    "trainer.max_steps=12",
    "trainer.val_every=6",
    "trainer.checkpoint_every=4",
    "trainer.log_every=2",
    "trainer.accelerator=cpu",
    "schedule.warmup_steps=2",
]


def tiny_overrides(root: Path, text: Path, *more: str) -> list[str]:
    """The command line of a tiny run."""
    return [*TINY, f"root={root}", f"data.path={text}", *more]


def tiny_config(root: Path, text: Path, *more: str) -> dict[str, Any]:
    """The config of a tiny run."""
    return compose(tiny_overrides(root, text, *more))


def problems_of_run(config: dict[str, Any]) -> list[str]:
    """Every problem of a whole config."""
    try:
        RunConfig.parse(config)
    except ConfigError as error:
        return error.problems
    return []
