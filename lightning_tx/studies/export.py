"""A report as files: Markdown for people, tidy CSV for other programs."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from lightning_tx.core import names
from lightning_tx.studies.formatting import amount, number
from lightning_tx.studies.layout import (
    combination_decimals,
    combinations_note,
    direction_words,
    effects_note,
    in_noise,
    on_test,
    sections,
    speed,
    summary,
)
from lightning_tx.studies.report import Report
from lightning_tx.studies.statistics import Effect
from lightning_tx.studies.wording import effect_decimals

_FIGURES = ["mean", "spread", "num_seeds", "told_apart", "parameters", "tokens_per_second", "steady"]


def to_markdown(report: Report) -> str:
    """The whole report as Markdown, every combination and every missing run included."""
    title = f"# {report.study}"
    return _text([title, *_head(report), *_of_combinations(report), *_of_effects(report), *_sentences(report)])


def markdown_blocks(report: Report) -> list[str]:
    """The same in blocks, those that fewest readers can do without first: the table of combinations may be long."""
    blocks = [*_head(report), *_of_effects(report), *_sentences(report), *_of_combinations(report)]
    return list(filter(None, blocks))


def _head(report: Report) -> list[str]:
    return [f"{report.metric}, {direction_words(report)}. {summary(report)}."]


def _of_combinations(report: Report) -> list[str]:
    if not report.combinations:
        return []
    return ["## Combinations, best first", _combinations(report), combinations_note(report)]


def _of_effects(report: Report) -> list[str]:
    return ["## Effects against the baseline", _effects(report), effects_note(report)] if report.effects else []


def _sentences(report: Report) -> list[str]:
    return [
        block
        for title, sentences in sections(report)
        for block in (f"## {title}", "\n".join(f"- {_escaped(sentence)}" for sentence in sentences))
    ]


def _text(blocks: Iterable[str]) -> str:
    return "\n\n".join(filter(None, blocks)) + "\n"


def to_csv(report: Report) -> dict[str, str]:
    """Two tidy tables as CSV text by file name: one row per effect, and one per combination."""
    effects = [
        {"study": report.study, "metric": metric, "direction": report.direction, "look": report.look.number}
        | asdict(effect)
        | {"contexts": "; ".join(f"{name}={', '.join(levels)}" for name, levels in effect.contexts)}
        for metric, found in ((report.metric, report.effects), (report.test_metric, report.test_effects))
        for effect in found
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
        names.EFFECTS_FILE: _csv([*head, "look", *(field.name for field in fields(Effect))], effects),
        names.COMBINATIONS_FILE: _csv([*head, *_columns(report), *_FIGURES, "run_ids"], combinations),
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
                f"{'≈ ' if row.told_apart is False else ''}{number(row.mean, decimals)}",
                number(row.spread, decimals),
                str(row.num_seeds),
                amount(row.parameters),
                speed(row),
            ]
            for row in report.combinations
        ),
    )


def _effects(report: Report) -> str:
    return _table(
        ["factor", "level", "baseline", "verdict", "effect", "from", "to", "in sd", "on test", "pairs", "seeds"],
        4,
        (
            [
                *(effect.factor, effect.level, effect.baseline, effect.verdict),
                *(
                    number(end, effect_decimals(effect), signed=True)
                    for end in (effect.estimate, *(effect.ends or (None, None)))
                ),
                *(in_noise(effect), on_test(report, effect), str(effect.num_pairs), str(effect.num_seeds)),
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
