"""The figures of a report, as content of PNG files."""

import io

from lightning_tx.studies.layout import direction_words
from lightning_tx.studies.report import Report
from lightning_tx.studies.statistics import BETTER, EQUIVALENT, WORSE

DOTS_PER_INCH = 120
#: More effects make a figure that nobody reads.
MOST_EFFECTS = 60
_COLOURS = {BETTER: "tab:green", WORSE: "tab:red", EQUIVALENT: "tab:blue"}


def effects_figure(report: Report) -> bytes | None:
    """Every effect with its interval against its baseline, the first on top; None where there is none to draw."""
    estimates = {effect: effect.estimate for effect in report.effects if effect.estimate is not None}
    effects = list(estimates)[:MOST_EFFECTS]
    if not effects:
        return None
    from matplotlib.figure import Figure  # takes a while to import

    figure = Figure(figsize=(7, 1.2 + 0.32 * len(effects)))
    panel = figure.subplots()
    for place, effect in enumerate(effects):
        colour = _COLOURS.get(effect.verdict, "tab:gray")
        if effect.ends:
            panel.plot(effect.ends, (place, place), color=colour, linewidth=2)
        panel.plot([estimates[effect]], [place], "o", color=colour, markersize=5)
    panel.axvline(0, color="black", linewidth=0.8)
    panel.set_yticks(range(len(effects)), [f"{effect.factor}: {effect.level}" for effect in effects], fontsize=8)
    panel.set_ylim(len(effects) - 0.5, -0.5)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(axis="x", alpha=0.3)
    panel.set_xlabel(f"change of {report.metric} against the baseline ({direction_words(report)})", fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
    return content.getvalue()
