"""``ltx evaluate``: a recorded run's score on a split of its data."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_tx.cli.console import console
from lightning_tx.cli.recorded import add_run_arguments, loaded_run, overridden, replace_file
from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError

if TYPE_CHECKING:
    from lightning_tx.runs.evaluation import Evaluation
    from lightning_tx.tracking.records import RunRecord

#: What may differ from the run's own config.
OVERRIDABLE = ("data", "decoding", "trainer.batch_size", "trainer.batch_tokens", "plugins")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--split", choices=["validation", "test"], default="validation", help="what to score (default: validation)"
    )
    parser.add_argument("--other-data", action="store_true", help="score data that the run was not trained on as well")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="also write the outputs and scores there")
    add_run_arguments(parser, "OVERRIDE", "decoding=beam, data.path=..., trainer.batch_tokens=..., as for ltx train")


def run(arguments: argparse.Namespace) -> int:
    """Score the run, print the numbers, and add them to its record."""
    from lightning_tx.runs.evaluation import evaluate, record

    if arguments.output is not None and arguments.output.exists() and not arguments.output.is_dir():
        raise ConfigError(f"--output: '{arguments.output}' is a file, but several files are written.")
    store, loaded = loaded_run(arguments)
    config = overridden(loaded.config, arguments.words, OVERRIDABLE)
    cache = store.root / "cache"
    evaluation = evaluate(loaded, config, arguments.split, cache=cache, other_data=arguments.other_data)
    if not evaluation.own_data:
        print("These are not the data that the run was trained on; what is recorded says so.", file=sys.stderr)
    folder, step = record(store, loaded.record.run_id, evaluation)
    _print(loaded.record, evaluation)
    if arguments.output is not None:
        _write(arguments.output, evaluation)
    print(f"Recorded as {names.EVALUATE_FOLDER}/{evaluation.name}/..., step {step}, with files in {folder}.")
    return 0


def _print(run: "RunRecord", evaluation: "Evaluation") -> None:
    from rich.markup import escape
    from rich.table import Table

    scores = json.loads(evaluation.files.get(names.SCORES_FILE, "{}"))
    table = Table(box=None, pad_edge=False)
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("", overflow="fold")
    for name, value in evaluation.numbers.items():
        table.add_row(name, f"{value:,.4f}", escape(scores.get(name, {}).get("signature", "")))
    for name, value in evaluation.timing.items():
        table.add_row(name, f"{value:,.4f}" if name.startswith("seconds") else f"{value:,.0f}")
    out = console()
    out.print(f"{run.name} ({run.run_id}), {evaluation.name}, {evaluation.examples:,} examples", markup=False)
    out.print(table)


def _write(folder: Path, evaluation: "Evaluation") -> None:
    from lightning_tx.runs.evaluation import facts

    content = json.dumps(facts(evaluation), indent=2, default=str, ensure_ascii=False) + "\n"
    for name, file in {**evaluation.files, names.EVALUATION_FILE: content}.items():
        replace_file(folder / name, file)
