"""Two runs side by side on the terminal: what differs in their configs, and what came of it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightning_tx.core import names
from lightning_tx.studies.confounds import differences
from lightning_tx.studies.keys import ABSENT, label_of

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

#: The metrics that sum a run up; those of single steps are left to the plots.
SUMMARIES = (names.BEST, names.TEST, names.PARAMETERS)


def render_diff(
    run_a: "RunRecord",
    run_b: "RunRecord",
    config_a: Mapping[str, Any],
    config_b: Mapping[str, Any],
    volatile: Iterable[str] = (),
) -> RenderableType:
    """What ``ltx diff`` prints: the differing keys of two configs, then code, status and results of both runs.

    Args:
        run_a: a run.
        run_b: another.
        config_a: the resolved config of the first.
        config_b: that of the second.
        volatile: keys to pass over, each with everything below it (paths, devices, workers, logging).
    """
    volatile = tuple(volatile)
    found = differences(config_a, config_b, volatile)
    passed_over = len(differences(config_a, config_b)) - len(found)
    parts: list[RenderableType] = []
    if found:
        parts.append(_table(run_a, run_b, "Configs", [(key, label_of(a), label_of(b)) for key, a, b in found]))
    else:
        parts.append(Text("The configs of the two runs are equal."))
    if passed_over:
        subject = "1 more key differs" if passed_over == 1 else f"{passed_over} more keys differ"
        parts.append(Text(f"{subject} without bearing on results.", style="dim"))
    parts += [Text(), _table(run_a, run_b, "Runs", _facts(run_a, run_b))]
    return Group(*parts)


def _facts(run_a: "RunRecord", run_b: "RunRecord") -> list[tuple[str, str, str]]:
    code = [run.tags.get(names.GIT_COMMIT, ABSENT)[:10] for run in (run_a, run_b)]
    rows = [("status", run_a.status, run_b.status), ("code", code[0], code[1])]
    shown = sorted(
        name
        for name in run_a.metrics.keys() | run_b.metrics.keys()
        if name.startswith(SUMMARIES) or name == names.TOKENS_PER_SECOND
    )
    return rows + [(name, _metric(run_a, name), _metric(run_b, name)) for name in shown]


def _metric(run: "RunRecord", name: str) -> str:
    if name not in run.metrics:
        return ABSENT
    value = run.metrics[name]
    return f"{value:,.0f}" if value == round(value, 0) else f"{value:.6g}"


def _table(run_a: "RunRecord", run_b: "RunRecord", title: str, rows: Iterable[tuple[str, str, str]]) -> Table:
    table = Table(
        title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
    )
    table.add_column("", overflow="fold")
    for run in (run_a, run_b):
        table.add_column(Text(f"{run.name or 'run'}\n{run.run_id[:8]}"), overflow="fold")
    for row in rows:
        different = row[1] != row[2]
        table.add_row(*(Text(cell, style="" if different else "dim") for cell in row))
    return table
