"""Designs: pure functions from levels and seeds to rows."""

import itertools

import pytest

from lightning_tx.core.errors import ConfigError, PluginError
from lightning_tx.runs.plugin_files import forget, load_files
from lightning_tx.studies import design as designs
from lightning_tx.studies.design import Row, design, grid


@pytest.fixture
def added(monkeypatch):
    """A table of designs of the test's own."""
    monkeypatch.setattr(designs, "_designs", dict(designs._designs))
    return designs._designs


def test_the_grid_is_every_combination_with_every_seed() -> None:
    factors = {"positions": ["none", "rope", "alibi"], "attention": ["mha", "gqa"]}
    rows = grid(factors, ["0", "1"])
    expected = set(itertools.product(*factors.values(), ["0", "1"]))
    assert {(*row.arm.values(), row.seed) for row in rows} == expected and len(rows) == 12
    assert rows[0] == Row({"positions": "none", "attention": "mha"}, "0")  # the baseline comes first
    assert all(list(row.arm) == list(factors) for row in rows)


def test_without_factors_there_is_a_row_for_each_seed() -> None:
    assert grid({}, [3, 4]) == [Row({}, 3), Row({}, 4)]


def test_one_function_adds_a_design(added) -> None:
    @design
    def baseline_only(factors, seeds):
        return [Row({key: levels[0] for key, levels in factors.items()}, seed) for seed in seeds]

    assert designs.get("baseline_only") is baseline_only and designs.names() == ["baseline_only", "grid"]
    assert baseline_only({"norm": ["rmsnorm", "layernorm"]}, [0]) == [Row({"norm": "rmsnorm"}, 0)]


def test_an_unknown_design_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"design: there is no design 'grids'\. Did you mean 'grid'\? Designs: grid"):
        designs.get("grids")


def test_a_taken_name_is_refused(added) -> None:
    def grid(factors, seeds):
        return []

    with pytest.raises(
        PluginError, match=r"design=grid is claimed by lightning_tx\.studies\.design and by .*test_design"
    ):
        design(grid)


def test_a_plugin_file_that_is_imported_again_brings_its_design_again(added, tmp_path) -> None:
    file = tmp_path / "first_only.py"
    text = """
from lightning_tx import register
from lightning_tx.components.norm.base import Norm
from lightning_tx.studies.design import Row, design

@register("norm", "nothing_{number}")
class Nothing(Norm):
    def forward(self, x):
        return x

@design
def first_only(factors, seeds):
    return [Row({{key: levels[0] for key, levels in factors.items()}}, seeds[{number}])]
"""
    try:
        for number in (0, 1):
            file.write_text(text.format(number=number), encoding="utf-8")
            load_files([file])
            assert designs.get("first_only")({"norm": ["none", "rmsnorm"]}, [7, 8]) == [
                Row({"norm": "none"}, 7 + number)
            ]
    finally:
        forget()
