"""What the commands do, for Python: each function takes plain configs and names, and returns results."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pandas as pd

from lightning_tx.core.measure import Direction
from lightning_tx.decoding.base import DECODING
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.evaluation import Evaluation, SplitToScore, record
from lightning_tx.runs.evaluation import evaluate as evaluate_run
from lightning_tx.runs.finding import LAST, find_run
from lightning_tx.runs.loading import load_from
from lightning_tx.runs.materials import cache_folder
from lightning_tx.runs.store import open_store, recorded_at
from lightning_tx.runs.train import train as train_run
from lightning_tx.runs.writing import write
from lightning_tx.studies.report import Report
from lightning_tx.studies.reporting import LATEST, find_study, report_on, table_of
from lightning_tx.studies.sweep import Asked, check_with_data, labels_of, notes_of
from lightning_tx.studies.sweep import sweep as sweep
from lightning_tx.tracking.errors import RunFinished
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.study import Study


class Place(TypedDict, total=False):
    """Where runs are recorded.

    Args:
        root: the folder of everything that runs write; left out for ``$LTX_ROOT``, else ``multirun``.
        uri: the tracking store; left out for the database below the root.
        experiment_name: MLflow's experiment; left out for ``lightning_tx``.
    """

    root: str | Path
    uri: str
    experiment_name: str


def train(
    config: Mapping[str, Any],
    *,
    name: str = "run",
    callbacks: Sequence[Any] = (),
    say: Callable[[str], None] = lambda _: None,
) -> RunRecord:
    """Train one run and record it; a run that has finished before is not trained again.

    >>> run = train(compose(["positions=rope", "trainer.max_steps=100"]))
    >>> run.metrics["last/loss"]

    Args:
        config: a plain config, as :func:`lightning_tx.compose` gives it; its ``study`` must exist, if it names one.
        name: the run's name in the UI.
        callbacks: further Lightning callbacks.
        say: told what was chosen where the config leaves a choice.

    Raises:
        ConfigError: with every problem of the config; then nothing was trained and nothing recorded.
        RunBusy: another process trains this run.
    """
    parsed, labels = RunConfig.parse(config), labels_of([config])[0]
    asked = [Asked(parsed, name, labels)]
    check_with_data(asked)
    for note in notes_of(asked):
        say(f"note: {note}")
    store = open_store(parsed.raw)
    study = Study.get(store, parsed.study) if parsed.study else None
    try:
        return train_run(parsed, name=name, labels=labels, store=store, study=study, callbacks=callbacks, say=say)
    except RunFinished as finished:
        return finished.record


def evaluate(
    run: str = LAST,
    split: SplitToScore = "validation",
    *,
    changes: Mapping[str, Any] | None = None,
    other_data: bool = False,
    plugins: Sequence[str | Path] = (),
    **place: Unpack[Place],
) -> Evaluation:
    """Score a recorded run on a split, and add the numbers to its record.

    Args:
        run: an id, its beginning, ``last`` or ``best:STUDY``.
        split: what it is scored on.
        changes: groups of its config that are to be others: ``{"decoding": {"name": "beam", "num_beams": 8}}``.
        other_data: whether data that it was not trained on will do.
        plugins: the plugin files that may be imported for it.
        place: where it is recorded.

    Raises:
        ConfigError: there is no such run, or what was asked for cannot be done.
    """
    store = recorded_at(**place)
    loaded = load_from(store, find_run(store, run).run_id, plugins=plugins)
    config = {**loaded.config, **(changes or {})}
    evaluation = evaluate_run(loaded, config, split, cache=cache_folder(store.root), other_data=other_data)
    record(store, loaded.record.run_id, evaluation)
    return evaluation


def generate(
    texts: Sequence[str],
    run: str = LAST,
    *,
    decoding: Mapping[str, Any] | None = None,
    max_new_tokens: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    plugins: Sequence[str | Path] = (),
    **place: Unpack[Place],
) -> list[str]:
    """What a recorded run writes: the translation of each text, or its continuation.

    Args:
        texts: sources or prompts.
        run: an id, its beginning, ``last`` or ``best:STUDY``.
        decoding: the strategy, as ``{"name": "beam", "num_beams": 8}``; None for the run's own.
        max_new_tokens: longest output, in tokens; None for what the task and the positions allow.
        batch_size: texts decoded side by side.
        seed: of the random numbers.
        plugins: the plugin files that may be imported for it.
        place: where it is recorded.

    Raises:
        ConfigError: there is no such run, its model does not generate, or texts are too long.
    """
    store = recorded_at(**place)
    loaded = load_from(store, find_run(store, run).run_id, plugins=plugins)
    strategy = DECODING.create(decoding or loaded.config["decoding"])
    named = {f"texts[{index}]": text for index, text in enumerate(texts)}
    options: Any = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "seed": seed}
    return write(loaded, named, strategy, **options)[0]


def report(
    study: str = LATEST,
    *,
    metric: str | None = None,
    direction: Direction | None = None,
    baselines: Mapping[str, str] | None = None,
    save: bool = False,
    **place: Unpack[Place],
) -> Report:
    """The effects that a study found; see :func:`lightning_tx.studies.reporting.report_on`.

    Args:
        study: its name; ``last`` for the one opened last.
        metric: what is compared; None for the task's primary measure at the end of training.
        direction: whether less or more of it is better; None where it is known.
        baselines: by factor, the level that the others are compared with.
        save: whether it is kept as the study's own though it is on another metric or other baselines.
        place: where it is recorded.

    Raises:
        ConfigError: there is no such study, or what was asked for cannot be compared.
    """
    return report_on(find_study(recorded_at(**place), study), metric, direction, baselines, save=save)


def load_study(study: str = LATEST, **place: Unpack[Place]) -> pd.DataFrame:
    """The runs of a study as a table; see :func:`lightning_tx.studies.reporting.table_of`.

    Raises:
        ConfigError: there is no such study.
    """
    return table_of(find_study(recorded_at(**place), study))
