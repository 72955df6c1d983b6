"""The pictures that a finished run keeps: a list, to which one function adds one.

    from lightning_tx.runs.pictures import picture

    @picture
    def grad_norm(run: RunRecord, store: Store) -> Iterator[tuple[str, Figure]]:
        figure = Figure()
        figure.subplots().plot(*zip(*store.history(run.run_id, "train/grad_norm")))
        yield "grad_norm", figure

A plugin's picture is drawn like the project's own. What it draws is kept as ``pictures/NAME.png``; a picture that does
not apply to a run yields nothing.
"""

import io
import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from lightning_tx.core import names
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


class Picture(Protocol):
    """Draws figures of a finished run, everything of which was sent to the store, each with its name."""

    __name__: str

    def __call__(self, run: RunRecord, store: Store) -> Iterator[tuple[str, "Figure"]]: ...


DOTS_PER_INCH = 120

#: ``train/stats/<where>/<stat>/<entry>``
ENTRY = re.compile(rf"{names.STATS}(?P<where>.+)/(?P<stat>[^/]+)/(?P<entry>\d+)")

_pictures: list[Picture] = []


def picture(draw: Picture) -> Picture:
    """Add a picture to those that every run is asked for."""
    _pictures.append(draw)
    return draw


def drawn(run: RunRecord, store: Store) -> Iterator[tuple[str, bytes]]:
    """The pictures of a finished run as artifacts: name, and content of a PNG file.

    A picture that fails is warned about and left out: what was trained is not lost for it.
    """
    for draw in _pictures:
        try:
            for name, figure in draw(run, store):
                content = io.BytesIO()
                figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
                yield f"{names.PICTURES_FOLDER}/{name}.png", content.getvalue()
        except Exception:
            log.warning("The picture %r of run %s could not be drawn.", draw.__name__, run.run_id, exc_info=True)


@picture
def learning_curve(run: RunRecord, store: Store) -> Iterator[tuple[str, "Figure"]]:
    """The primary measure at each validation, and what training says of it, over steps."""
    measure = run.tags.get(names.METRIC, "").partition("/")[2]
    keys = [f"{place}{measure}" for place in (names.TRAIN, names.VALIDATION)]
    curves = [key for key in keys if key in run.metrics]
    if not curves:
        return
    from matplotlib.figure import Figure  # takes a while to import

    figure = Figure(figsize=(6.4, 4))
    panel = figure.subplots()
    for key in curves:
        steps, values = zip(*store.history(run.run_id, key), strict=True)
        panel.plot(steps, values, linewidth=1.5, marker="o" if len(steps) < 30 else None, markersize=3, label=key)
    panel.set_xlabel("step")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    yield "learning_curve", figure


@picture
def stats(run: RunRecord, store: Store) -> Iterator[tuple[str, "Figure"]]:
    """Each recorded stat with several entries, such as the load of every expert: a panel a place, a line an entry."""
    found: dict[str, dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    for key in run.metrics:
        match = ENTRY.fullmatch(key)
        if match:
            found[match["stat"]][match["where"]][int(match["entry"])] = key
    for stat, places in found.items():
        yield stat, _panels(store, run.run_id, stat, places)


def _panels(store: Store, run_id: str, stat: str, places: dict[str, dict[int, str]]) -> "Figure":
    from matplotlib.figure import Figure  # takes a second to import

    columns = min(4, len(places))
    rows = math.ceil(len(places) / columns)
    figure = Figure(figsize=(3.2 * columns + 1, 2.4 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel, (where, entries) in zip(panels.flat, sorted(places.items()), strict=False):
        for entry, key in sorted(entries.items()):
            steps, values = zip(*store.history(run_id, key), strict=True)
            panel.plot(steps, values, linewidth=1.5, label=str(entry))
        panel.set_title(where, fontsize=9)
        panel.grid(alpha=0.3)
    for panel in panels.flat[len(places) :]:
        panel.set_axis_off()
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel(stat, fontsize=9)
    return figure
