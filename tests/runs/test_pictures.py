import io
import logging

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from lightning_tx.runs import pictures
from lightning_tx.runs.pictures import drawn, picture
from tests.studies.studies import run

LOADS = [f"train/stats/decoder.{layer}.feed_forward/load/{entry}" for layer in (0, 1) for entry in range(3)]


class History:
    """A store as far as pictures ask it: every metric rises with its last digit."""

    def history(self, run_id, key):
        return [(step, int(key[-1]) / 4) for step in (1, 2, 3)]


@pytest.fixture
def own(monkeypatch):
    """Lets a test add pictures that are gone after it."""
    monkeypatch.setattr(pictures, "_pictures", [*pictures._pictures])


def test_a_stat_of_several_entries_is_one_picture_with_a_line_for_each():
    made = run({}, metrics=dict.fromkeys([*LOADS, "train/loss", "train/stats/decoder.0.feed_forward/entropy"], 0.5))
    ((name, content),) = drawn(made, History())
    assert name == "pictures/load.png"
    pixels = (255 * matplotlib.image.imread(io.BytesIO(content))[..., :3]).reshape(-1, 3)
    for colour, is_drawn in (
        ((31, 119, 180), True),
        ((255, 127, 14), True),
        ((44, 160, 44), True),
        ((214, 39, 40), False),
    ):
        assert (abs(pixels - np.array(colour)).max(axis=1) < 12).any() == is_drawn  # matplotlib's colours, in order


def test_a_run_without_such_stats_has_none():
    made = run({}, metrics={"train/loss": 1.0, "train/stats/decoder.0.feed_forward/entropy": 0.5})
    assert list(drawn(made, History())) == []


def test_one_function_adds_a_picture(own):
    @picture
    def loss(run, store):
        figure = Figure()
        figure.subplots().plot(*zip(*store.history(run.run_id, "train/loss/1"), strict=True))
        yield "loss", figure

    assert [name for name, _ in drawn(run({}), History())] == ["pictures/loss.png"]


def test_a_picture_that_fails_is_told_and_costs_nothing_else(own, caplog):
    @picture
    def broken(run, store):
        yield "half", Figure()
        raise ValueError("no such metric")

    @picture
    def whole(run, store):
        yield "whole", Figure()

    with caplog.at_level(logging.WARNING):
        assert [name for name, _ in drawn(run({}), History())] == ["pictures/half.png", "pictures/whole.png"]
    assert "The picture 'broken'" in caplog.text and "no such metric" in caplog.text
