"""A report as files: Markdown for people, tidy CSV for other programs."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from lightning_tx.ablation.formatting import amount, number
from lightning_tx.ablation.layout import (
    combination_decimals,
    direction_words,
    effects_note,
    sections,
    summary,
)
from lightning_tx.ablation.report import Report
from lightning_tx.ablation.statistics import Effect
from lightning_tx.ablation.wording import effect_decimals, more_seeds

EFFECTS_FILE = "effects.csv"
COMBINATIONS_FILE = "combinations.csv"

_FIGURES = ["mean", "spread", "num_seeds", "parameters", "tokens_per_second"]


def to_markdown(report: Report) -> str:
    """The whole report as Markdown, every combination and every missing run included."""
    blocks = [f"# {report.study}", f"{report.metric}, {direction_words(report)}. {summary(report)}."]
    if report.combinations:
        blocks += ["## Combinations, best first", _combinations(report)]
    if report.effects:
        blocks += ["## Effects against the baseline", _effects(report), effects_note(report)]
    for title, sentences in sections(report):
        blocks += [f"## {title}", "\n".join(f"- {_escaped(sentence)}" for sentence in sentences)]
    return "\n\n".join(blocks) + "\n"


def to_csv(report: Report) -> dict[str, str]:
    """Two tidy tables as CSV text by file name: one row per effect, and one per combination."""
    effects = [
        {"study": report.study, "metric": report.metric, "direction": report.direction, **asdict(effect)}
        for effect in report.effects
    ]
    combinations = [
        {"study": report.study, "metric": report.metric, "direction": report.direction}
        | row.levels
        | asdict(row)
        | {"run_ids": " ".join(row.run_ids)}
        for row in report.combinations
    ]
    head = ["study", "metric", "direction"]
    return {
        EFFECTS_FILE: _csv([*head, *(field.name for field in fields(Effect))], effects),
        COMBINATIONS_FILE: _csv([*head, *_columns(report), *_FIGURES, "run_ids"], combinations),
    }


def _columns(report: Report) -> list[str]:
    return list(report.combinations[0].levels) if report.combinations else [factor.name for factor in report.factors]


def _combinations(report: Report) -> str:
    decimals = combination_decimals(report)
    return _table(
        [*_columns(report), report.metric, "sd", "seeds", "parameters", "tokens/s"],
        len(_columns(report)),
        (
            [
                *row.levels.values(),
                *(number(value, decimals) for value in (row.mean, row.spread)),
                str(row.num_seeds),
                *(amount(value) for value in (row.parameters, row.tokens_per_second)),
            ]
            for row in report.combinations
        ),
    )


def _effects(report: Report) -> str:
    decimals = effect_decimals(report.effects)
    return _table(
        ["factor", "level", "baseline", "verdict", "effect", "from", "to", "pairs", "more seeds"],
        4,
        (
            [
                *(effect.factor, effect.level, effect.baseline, effect.verdict),
                *(number(end, decimals, signed=True) for end in (effect.estimate, effect.low, effect.high)),
                *(str(effect.num_pairs), more_seeds(effect)),
            ]
            for effect in report.effects
        ),
    )


def _table(head: Sequence[str], num_words: int, rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first columns are words and whose others are numbers, set to the right."""
    rule = ["---"] * num_words + ["---:"] * (len(head) - num_words)
    lines = [[_escaped(cell) for cell in head], rule, *([_escaped(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(text: str) -> str:
    for sign in ("\\", "|", "*", "<"):
        text = text.replace(sign, "\\" + sign)
    return text


def _csv(head: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, head, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
