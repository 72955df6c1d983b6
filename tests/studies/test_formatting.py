import pytest

from lightning_tx.studies.formatting import amount, decimals_for, listed, number, percent, probability


@pytest.mark.parametrize(
    ("margins", "values", "decimals"),
    [
        ([0.0187], [], 3),  # 0.019
        ([0.0096], [], 3),  # 0.010
        ([0.0012, 3.0], [], 4),  # the narrowest decides: 0.0012
        ([42.0], [], 0),
        ([4000.0], [], 0),
        ([0.0, None], [2.05, 0.1], 3),  # no margin: four digits of the values
        ([], [31234.5], 0),
        ([], [], 0),
        ([], [0.0], 0),
    ],
)
def test_uncertainty_decides_the_digits(margins, values, decimals):
    assert decimals_for(margins, values) == decimals


@pytest.mark.parametrize(
    ("value", "decimals", "signed", "text"),
    [
        (-0.0001, 2, True, "0.00"),
        (-0.0001, 2, False, "0.00"),
        (0.005, 3, True, "+0.005"),
        (1234.5678, 1, False, "1234.6"),
        (1.5e-9, 10, False, "1.50e-09"),
        (0.0, 10, True, "0"),
        (None, 3, False, ""),
    ],
)
def test_number(value, decimals, signed, text):
    assert number(value, decimals, signed) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3_210_496, "3.21 M"),
        (19_410.2, "19.4 k"),
        (812, "812"),
        (999.7, "1.00 k"),
        (999_949, "1.00 M"),
        (99_960, "100 k"),
        (8_030_261_248, "8.03 B"),
        (405_853_388_800, "406 B"),
        (0.25, "0.25"),
        (0, "0"),
        (None, ""),
    ],
)
def test_amount(value, text):
    assert amount(value) == text


def test_words():
    assert percent(94.1, 100) == "-5.9 %"
    assert percent(130, 100) == "+30 %"
    assert probability(0.00004) == "p < 0.001"
    assert probability(0.0312) == "p = 0.031"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
