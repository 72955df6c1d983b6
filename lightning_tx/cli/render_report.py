"""A report on the terminal: combinations, effects with their intervals drawn, and the sentences."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lightning_tx.studies.formatting import amount, number
from lightning_tx.studies.layout import (
    combination_decimals,
    combinations_note,
    direction_words,
    effects_note,
    extent,
    in_noise,
    on_test,
    sections,
    speed,
    summary,
)
from lightning_tx.studies.report import Report
from lightning_tx.studies.statistics import BETTER, EQUIVALENT, WORSE, Effect
from lightning_tx.studies.wording import confidence, effect_decimals, ends_of

#: So many combinations, and so many sentences of one kind, are shown; the report's files have them all.
MOST_ROWS = 24
#: Characters of a drawn interval, at least and at most.
LEAST_BAR, MOST_BAR = 13, 31

PARAMETERS, SPEED = "parameters", "tokens/s"
BASELINE, BAR, NOISE, TEST = "baseline", "bar", "in sd", "on test"

_VERDICT_STYLES = {BETTER: "bold green", WORSE: "bold red", EQUIVALENT: "bold cyan"}
_OPEN_STYLE = "yellow"
_TITLE_STYLES = {"Depends": "bold magenta", "Settled": "bold green", "Not settled": "bold yellow"}
_TITLE_STYLES |= {"Not compared": "bold yellow", "Diverged or lost": "bold red"}
_TITLE_STYLES |= {"Caution": "bold red", "Missing runs": "bold red"}


def to_rich(report: Report) -> RenderableType:
    """The report as something rich can print; where the width is short it leaves out the least of its columns."""
    return _Screen(report)


class _Screen:
    def __init__(self, report: Report) -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self.report
        yield Text.assemble((report.study, "bold"), f"  {report.metric}, {direction_words(report)}")
        yield Text(summary(report), style="dim")
        if report.combinations:
            yield Text()
            yield _fitting_combinations(report, console, options)
            if note := combinations_note(report):
                yield Text(note, style="dim")
        if report.effects:
            yield Text()
            yield _fitting_effects(report, console, options)
            yield Text(effects_note(report), style="dim")
        for title, sentences in sections(report):
            yield Text()
            yield Text(title, style=_TITLE_STYLES.get(title, "bold"))
            yield from _bullets(sentences)


def _bullets(sentences: Sequence[str]) -> Iterable[RenderableType]:
    """The sentences as a list in which the lines of a long one hang under its first word."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    for sentence in sentences[:MOST_ROWS]:
        grid.add_row("-", Text(sentence))
    if len(sentences) > MOST_ROWS:
        grid.add_row("-", Text(f"and {len(sentences) - MOST_ROWS} more"))
    yield Padding(grid, (0, 0, 0, 1), expand=False)


def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
    return console.measure(table, options=options.update(max_width=1000)).maximum


def _fitting_combinations(report: Report, console: Console, options: ConsoleOptions) -> Table:
    known = []
    if any(row.parameters is not None for row in report.combinations):
        known.append(PARAMETERS)
    if any(row.tokens_per_second is not None for row in report.combinations):
        known.append(SPEED)
    for columns in (known, known[:1]):
        table = _combinations(report, columns)
        if _width(table, console, options) <= options.max_width:
            return table
    return _combinations(report, [])


def _fitting_effects(report: Report, console: Console, options: ConsoleOptions) -> Table:
    for columns in ([BASELINE, BAR, NOISE, TEST], [BASELINE, BAR, TEST], [BASELINE, BAR]):
        room = options.max_width - _width(_effects(report, columns, 0), console, options)
        if room >= LEAST_BAR:
            return _effects(report, columns, min(room, MOST_BAR))
    for columns in ([BASELINE, TEST], [BASELINE]):
        table = _effects(report, columns, 0)
        if _width(table, console, options) <= options.max_width:
            return table
    return _effects(report, [], 0)


def _table(title: str) -> Table:
    return Table(
        title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
    )


def _combinations(report: Report, columns: Sequence[str]) -> Table:
    """The means; ``columns`` are those of parameters and speed to show."""
    table = _table("Combinations, best first")
    names = list(report.combinations[0].levels)
    for name in names:
        table.add_column(Text(name), overflow="fold")
    replicated = any(row.spread is not None for row in report.combinations)
    for title in [report.metric, *(["sd"] if replicated else []), "seeds", *columns]:
        table.add_column(Text(title), justify="right", no_wrap=True)
    decimals = combination_decimals(report)
    for row in report.combinations[:MOST_ROWS]:
        sizes = {PARAMETERS: amount(row.parameters), SPEED: speed(row)}
        spread = "" if row.spread is None else f"±{number(row.spread, decimals)}"
        mark = "≈" if row.told_apart is False else " "
        cells = [*(row.levels[name] for name in names), f"{mark}{number(row.mean, decimals)}"]
        cells += [*([spread] if replicated else []), str(row.num_seeds), *(sizes[column] for column in columns)]
        table.add_row(*map(Text, cells))
    if len(report.combinations) > MOST_ROWS:
        table.caption = f"and {len(report.combinations) - MOST_ROWS} more"
        table.caption_justify = "left"
    return table


def _effects(report: Report, columns: Sequence[str], bar: int) -> Table:
    """The effects; ``columns`` are those to show besides; the drawing is ``bar`` characters wide."""
    with_interval = any(effect.ends for effect in report.effects)
    with_bar = BAR in columns and with_interval
    with_noise = NOISE in columns and any(map(in_noise, report.effects))
    with_test = TEST in columns and bool(report.test_effects)
    table = _table("Effects against the baseline")
    with_baseline = BASELINE in columns
    for title in ("factor", "level", *([BASELINE] if with_baseline else [])):
        table.add_column(title, overflow="fold")
    table.add_column("effect", justify="right", no_wrap=True)
    if with_interval:
        title = f"{confidence(report.look)} interval" if report.look.number == 1 else confidence(report.look)
        table.add_column(title, justify="center", no_wrap=True)
    if with_bar:
        left, right = ("better", "worse") if report.direction == "min" else ("worse", "better")
        table.add_column(f"{left}{right:>{bar - len(left)}}" if bar else "", no_wrap=True, header_style="dim")
    for title, shown in ((NOISE, with_noise), (TEST, with_test)):
        if shown:
            table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    ends = extent(report.effects)
    for place, effect in enumerate(report.effects):
        first = place == 0 or report.effects[place - 1].factor != effect.factor
        if first and place:
            table.add_section()
        style = _VERDICT_STYLES.get(effect.verdict, _OPEN_STYLE)
        cells = [effect.factor if first else "", effect.level, *([effect.baseline] if with_baseline else [])]
        cells += [number(effect.estimate, effect_decimals(effect), signed=True)]
        table.add_row(
            # Text, not str: a level such as [local] is no markup.
            *map(Text, cells),
            *([ends_of(effect, " .. ")] if with_interval else []),
            *([Text(_drawn(effect, *ends, bar), style=style)] if with_bar else []),
            *([in_noise(effect)] if with_noise else []),
            *([on_test(report, effect)] if with_test else []),
            Text(effect.verdict, style=style),
        )
    return table


def _drawn(effect: Effect, low: float, high: float, width: int) -> str:
    """The interval as a line, the estimate as a dot, zero as a stroke, between the two ends of the scale."""

    def column(value: float) -> int:
        return round((value - low) / (high - low) * (width - 1)) if high > low else 0

    if not width:
        return ""
    signs = [" "] * width
    signs[column(0.0)] = "│"
    if effect.ends and effect.estimate is not None:
        for place in range(column(effect.ends[0]), column(effect.ends[1]) + 1):
            signs[place] = "─" if signs[place] == " " else "┼"
        signs[column(effect.estimate)] = "●"
    return "".join(signs)
