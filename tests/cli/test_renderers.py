import csv
import io

import pytest
from rich.console import Console

from lightning_tx.cli.render_diff import render_diff
from lightning_tx.cli.render_report import MOST_ROWS, to_rich
from lightning_tx.studies.export import to_csv, to_markdown
from tests.studies.studies import METRIC, run
from tests.studies.test_report import report_of, study


def printed(renderable, width=100):
    console = Console(width=width, file=io.StringIO(), legacy_windows=False)
    console.print(renderable)
    return console.file.getvalue()


def one_line(text):
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_terminal_shows_the_essentials_at_any_width(width):
    runs, configs = study()
    failed = run({"positions": "rope", "attention": "gqa"}, 3, None, status="FAILED")
    report = report_of([*runs, failed], configs)
    text = printed(to_rich(report), width)
    assert max(map(len, text.splitlines())) <= width
    flat = one_line(text)
    for sentence in (*report.settled, *report.unsettled, *report.differences):
        assert sentence in flat
    for words in ("better", "inconclusive", "95 % interval", "best/val/loss, lower is better"):
        assert words in flat
    assert "12 of 13 runs finished, 4 combinations, 3 seeds" in flat


def test_terminal_leaves_out_columns_where_it_is_narrow():
    report = report_of(*study())
    assert "tokens/s" in printed(to_rich(report), 100)
    assert "●" in printed(to_rich(report), 100)
    assert "tokens/s" not in printed(to_rich(report), 60)
    assert "●" not in printed(to_rich(report), 72)
    assert "in sd" in printed(to_rich(report), 140).partition("Effect:")[0]


def test_drawing_has_better_on_its_side():
    report = report_of(*study())
    row = next(line for line in printed(to_rich(report), 140).splitlines() if "●" in line and "rope" in line)
    assert row.index("●") < row.index("│")


def test_columns_without_a_number_are_left_out():
    runs = [run({"norm": norm}, seed, seed) for norm in ("none", "rmsnorm") for seed in (0, 1)]
    text = printed(to_rich(report_of(runs, {})))
    assert "parameters" not in text
    assert "tokens/s" not in text


def test_labels_are_no_markup():
    runs = [run({"feed_forward": label}, seed, seed + len(label)) for label in ("[moe]", "relu") for seed in (0, 1)]
    text = printed(to_rich(report_of(runs, {})))
    assert sum("[moe]" in line for line in text.partition("Effect:")[0].splitlines()) == 2


def test_long_lists_are_cut_on_the_terminal_only():
    runs = [run({"optimizer.lr": str(number)}, 0, number) for number in range(1, 41)]
    report = report_of(runs, {})
    assert f"and {40 - MOST_ROWS} more" in printed(to_rich(report))
    combinations = next(block for block in to_markdown(report).split("\n\n") if block.startswith("| "))
    assert len(combinations.splitlines()) == 2 + 40


def test_markdown_holds_tables_and_sentences():
    report = report_of(*study())
    text = to_markdown(report)
    assert text.startswith("# made-up\n\nbest/val/loss, lower is better. 12 of 12 runs finished")
    assert "| positions | rope | none | better | -0.2" in text
    assert f"- {report.settled[0]}" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len(lines) for lines in tables] == [2 + 4, 2 + 2]
    assert all(line.count("|") == lines[0].count("|") for lines in tables for line in lines)


def test_markdown_of_an_empty_study():
    assert "No run has finished" in to_markdown(report_of([], {}))
    assert "No run has finished" in printed(to_rich(report_of([], {})))


def test_markdown_escapes_what_would_break_a_table():
    runs = [run({"optimizer.lr": label}, 0, 1.0) for label in ("a|b", "c*d")]
    assert "| a\\|b |" in to_markdown(report_of(runs, {}))


def test_csv_is_tidy_and_exact():
    report = report_of(*study())
    tables = {name: list(csv.DictReader(io.StringIO(text))) for name, text in to_csv(report).items()}
    rope, gqa = tables["effects.csv"]
    assert (rope["factor"], rope["level"], rope["baseline"], rope["verdict"]) == ("positions", "rope", "none", "better")
    assert float(rope["estimate"]) == report.effects[0].estimate
    assert float(gqa["p_corrected"]) == report.effects[1].p_corrected
    assert rope["seeds_needed"] == "" and rope["contexts"] == "attention=mha, gqa"
    rows = tables["combinations.csv"]
    assert [row["positions"] for row in rows] == ["rope", "rope", "none", "none"]
    assert [float(row["mean"]) for row in rows] == [row.mean for row in report.combinations]
    assert len(rows[0]["run_ids"].split()) == 3


def test_csv_of_an_empty_study_has_headings():
    assert all(text.startswith("study,metric,direction") for text in to_csv(report_of([], {})).values())


def test_diff_of_two_runs():
    runs, configs = study()
    a, b = runs[0], runs[3]
    text = printed(render_diff(a, b, configs[a.run_id], configs[b.run_id], ["trainer.devices"]))
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert lines["attention.name"] == ["mha", "gqa"]
    assert lines["params/total"] == ["3,210,496", "3,022,080"]
    assert lines[METRIC] == ["2.004", "2.005"]
    assert "positions.name" not in lines
    assert "1 more key differs without bearing on results." in one_line(text)


def test_diff_of_equal_configs():
    a, b = run({"norm": "rmsnorm"}), run({"norm": "rmsnorm"})
    assert "The configs of the two runs are equal." in printed(render_diff(a, b, {"x": 1}, {"x": 1}))
