"""A study in the MLflow UI: its description, its figures, and the table and the curves of its runs."""

from collections.abc import Sequence

from lightning_tx.core import names
from lightning_tx.runs.volatile import VOLATILE
from lightning_tx.studies.export import markdown_blocks
from lightning_tx.studies.factors import find_factors
from lightning_tx.studies.figures import effects_figure
from lightning_tx.studies.report import Report
from lightning_tx.tracking.client import translated
from lightning_tx.tracking.description import describe
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.search import latest
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from lightning_tx.tracking.view import View, address, share

#: Runs whose metrics the view of all runs shows.
_LATEST = 500
#: Metrics that every view shows besides the results.
EXTRA = (names.TOTAL_PARAMETERS, names.TOKENS_PER_SECOND)


def update_page(study: Study, report: Report) -> None:
    """Write the report into the study's description, and draw its figures."""
    key = share_study(study.store, study.name, study.runs())
    table, charts = (address(study.store, key, charts=each) for each in (False, True))
    links = f"[All runs]({table}) and their [curves]({charts})"
    describe(study.store, study.run_id, [links, *markdown_blocks(report)], whole=names.REPORT_FILE)
    figure = effects_figure(report)
    if figure is not None:
        study.store.log_content(study.run_id, f"{names.FIGURES_FOLDER}/effects.png", figure)


def share_study(store: Store, study: str, runs: Sequence[RunRecord]) -> str:
    """Keep a study's view: what it varies, the seed and the metrics as columns; returns the key of the view."""
    varied = [key for factor in find_factors(runs, ignored=VOLATILE) for key in factor.name.split(" + ")]
    primary = runs[0].tags.get(names.METRIC) if runs else None
    primary = primary or f"{names.LAST}loss"
    name = primary.partition("/")[2]
    view = View(
        tags={names.STUDY: study, names.KIND: names.RUN},
        params=(*(f"{names.ABLATION}{key}" for key in varied), names.SEED),
        metrics=(primary, f"{names.LAST_TEST}{name}", f"{names.BEST}{name}", *EXTRA),
        ascending=not runs or runs[0].tags.get(names.DIRECTION) != "max",
        curves=_curves(name),
    )
    return share(store, study, view)


def share_all(store: Store) -> str:
    """Keep the view of all runs, with the primary metrics of the latest ones; returns the key of the view.

    The metric of most of them becomes the primary one of the whole experiment, by which the UI draws charts at first.
    """
    with translated(store.uri):
        runs = latest(store.client, store.experiment_id, {names.KIND: names.RUN}, _LATEST)
    primaries = [run.tags[names.METRIC] for run in runs if names.METRIC in run.tags] or [f"{names.LAST}loss"]
    ordered = sorted(dict.fromkeys(primaries), key=primaries.count, reverse=True)
    first = ordered[0]
    store.set_experiment_tag(names.PRIMARY_METRIC, f"{names.VALIDATION}{first.partition('/')[2]}")
    view = View(
        tags={names.KIND: names.RUN},
        params=(names.SEED,),
        metrics=(*ordered, *EXTRA),
        shown_tags=(names.STUDY,),
        ascending=None,
        curves=tuple(dict.fromkeys(curve for name in ordered for curve in _curves(name.partition("/")[2]))),
    )
    return share(store, "", view)


def _curves(name: str) -> tuple[str, ...]:
    """What is drawn over steps: the primary measure and the loss on validation, and the loss in training."""
    return tuple(dict.fromkeys([f"{names.VALIDATION}{name}", f"{names.VALIDATION}loss", f"{names.TRAIN}loss"]))
