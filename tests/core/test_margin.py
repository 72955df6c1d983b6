import math
from typing import Any

import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.margin import Margin


@pytest.mark.parametrize(
    ("text", "value", "relative"),
    [("0.01", 0.01, False), (2, 2.0, False), (1e-5, 1e-5, False), ("1%", 0.01, True), (" 99.5 % ", 0.995, True)],
)
def test_it_is_a_number_or_a_percentage(text: Any, value: float, relative: bool) -> None:
    margin = Margin.parse(text)
    assert margin.value == pytest.approx(value) and margin.relative == relative
    assert Margin.parse(margin.text) == margin


@pytest.mark.parametrize(
    "text", [0, 0.0, "0%", -1, "-1%", "nan", math.nan, "inf", math.inf, "nan%", "1kg", "%", "", "100%", "1e3%", True]
)
def test_what_is_no_size_of_a_difference_is_refused(text: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Margin.parse(text)
    (problem,) = caught.value.problems
    assert problem.startswith(f"margin: {text!r} ") and "0.01" in problem and "1%" in problem


def test_its_size_is_in_the_unit_of_the_metric() -> None:
    assert Margin.parse("0.5").size(reference=-8) == 0.5
    assert Margin.parse("25%").size(reference=-8) == 2
