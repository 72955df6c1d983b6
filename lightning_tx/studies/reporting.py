"""A study's report made and kept: what the command and Python ask for alike."""

from collections.abc import Mapping

import pandas as pd

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.measure import Direction
from lightning_tx.runs.volatile import VOLATILE
from lightning_tx.studies.export import to_csv, to_markdown
from lightning_tx.studies.metric import choose_metric
from lightning_tx.studies.page import update_page
from lightning_tx.studies.report import Report, build_report
from lightning_tx.tracking.errors import TrackingError
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study

#: Stands for the study that was opened last.
LATEST = "last"


def find_study(store: Store, name: str = LATEST) -> Study:
    """A study by its name; ``last`` for the one opened last.

    Raises:
        ConfigError: there is no such study; the message lists those there are.
    """
    if name != LATEST:
        return Study.get(store, name)
    studies = store.studies()
    if not studies:
        raise ConfigError("study: no study is recorded yet; a sweep (ltx train -m ...) makes one.")
    return Study.get(store, studies[0].study or studies[0].name)


def report_on(
    study: Study,
    metric: str | None = None,
    direction: Direction | None = None,
    baselines: Mapping[str, str] | None = None,
    *,
    save: bool = False,
) -> Report:
    """Compare the runs of a study.

    The report on the primary measure is the study's own: it is kept as ``report.md`` and two CSV files among its
    artifacts, and shown in the study's description. One on another metric or other baselines leaves that as it is,
    unless it is to take its place. A report that sees more seeds than those before it is counted, whatever it shows:
    what it finds is judged accordingly.

    Args:
        study: the study.
        metric: what is compared; None for the task's primary measure at the end of training.
        direction: whether less or more of it is better; None where it is known.
        baselines: by factor, the level that the others are compared with; the first for factors left out.
        save: whether it is kept as the study's own, whatever is compared.

    Raises:
        ConfigError: the study has no runs, no run has the metric, it is not known which way it is good, or a baseline
            does not exist.
    """
    runs = study.runs()
    if not runs:
        raise ConfigError(f"study: {study.name!r} has no runs.")
    report = build_report(
        study.name,
        runs,
        study.store.configs(runs),
        choose_metric(runs, metric, direction),
        baselines=baselines,
        volatile=VOLATILE,
        rows=study.rows(),
        margin=study.margin,
        looks=[num_seeds for num_seeds, _ in study.looks],
        may_switch=metric is None,
    )
    study.add_look(report.num_seeds)
    text = to_markdown(report)
    # Looking once more at what has not changed writes nothing; that it is kept is written last.
    if (save or is_own(metric, baselines)) and text != _kept(study):
        for name, content in to_csv(report).items():
            study.log_text(name, content)
        update_page(study, report)
        study.log_text(names.REPORT_FILE, text)
    return report


def _kept(study: Study) -> str | None:
    """The report that the study has of itself."""
    try:
        return study.store.artifact_path(study.run_id, names.REPORT_FILE).read_text(encoding="utf-8")
    except TrackingError:
        return None


def is_own(metric: str | None, baselines: Mapping[str, str] | None) -> bool:
    """Whether a report is what a study says of itself: on its primary measure, against the baselines as asked for."""
    return metric is None and not baselines


def table_of(study: Study) -> pd.DataFrame:
    """The runs of a study, a row each in the order in which they started.

    Columns are ``run_id``, ``name``, ``status``, ``seed``, what was chosen (``positions``, ``optimizer.lr``, ...: None
    where a run does not read it), and every metric's last value.
    """
    runs = study.runs()
    chosen = sorted({key for run in runs for key in run.choices})
    metrics = sorted({key for run in runs for key in run.metrics})
    return pd.DataFrame(
        [
            {"run_id": run.run_id, "name": run.name, "status": run.status, "seed": run.seed}
            | {key: run.choices.get(key) for key in chosen}
            | {key: run.metrics.get(key, float("nan")) for key in metrics}
            for run in runs
        ],
        columns=["run_id", "name", "status", "seed", *chosen, *metrics],
    )
