"""Curves of the stats that have several entries, such as the load of every expert."""

import math
import re
from collections import defaultdict
from pathlib import Path

from lightning_tx.tracking.store import Store

#: ``train/stats/<where>/<stat>/<entry>``
ENTRY = re.compile(r"train/stats/(?P<where>.+)/(?P<stat>[^/]+)/(?P<entry>\d+)")


def draw_stats(store: Store, run_id: str, folder: Path) -> list[Path]:
    """Draw each recorded stat that is a vector: one file a stat, one panel a place, one line an entry.

    Args:
        store: where the run is recorded, everything sent.
        run_id: the run.
        folder: where the files go.
    """
    stats: dict[str, dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    for key in store.run(run_id).metrics:
        found = ENTRY.fullmatch(key)
        if found:
            stats[found["stat"]][found["where"]][int(found["entry"])] = key
    return [_draw(store, run_id, stat, places, folder / f"{stat}.png") for stat, places in stats.items()]


def _draw(store: Store, run_id: str, stat: str, places: dict[str, dict[int, str]], path: Path) -> Path:
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
    figure.savefig(path, dpi=120)
    return path
