"""A feed-forward that looks back is said in the contract, and conforms beside any partner."""

from pathlib import Path

import pytest

from lightning_tx.runs import plugin_files
from lightning_tx.runs.plugin_files import load_files
from lightning_tx.testing.suite import check_choice, check_combination, combined_subjects, failures

FILE = Path(__file__).parent / "token_shift.py"


@pytest.fixture(autouse=True)
def shift():
    load_files([FILE])
    yield
    plugin_files.forget()


def test_it_conforms() -> None:
    assert failures(check_choice("feed_forward", "token_shift", {"name": "token_shift"})) == []


def test_it_conforms_beside_patterns_and_convolutions() -> None:
    beside = {
        "feed_forward": {"token_shift": {"name": "token_shift"}},
        "pattern": {"local": {"name": "local"}},
        "attention": {"multi_head": {"name": "multi_head"}, "none": {"name": "none"}},
        "block": {"canon": {"name": "canon"}},
        "model": {"decoder": {"name": "decoder"}},
    }
    for subject in combined_subjects(beside):
        assert failures(check_combination(subject)) == []
