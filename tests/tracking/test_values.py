import logging

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric_name

from lightning_tx.tracking.errors import TrackingError
from lightning_tx.tracking.values import MAX_PARAM, check_metric_name, cut, fit_params, flatten


def test_flatten_makes_dotted_keys_and_text():
    config = {
        "model": {"d_model": 32, "bias": False, "overrides": [{"layers": "1::2"}], "rope": {"base": 1e4}},
        "note": "plain text",
        "study": None,
        "empty": {},
        1: "a key that is no text",
    }
    assert flatten(config) == {
        "model.d_model": "32",
        "model.bias": "false",
        "model.overrides": '[{"layers": "1::2"}]',
        "model.rope.base": "10000.0",
        "note": "plain text",
        "study": "null",
        "empty": "{}",
        "1": "a key that is no text",
    }


def test_what_is_too_long_is_cut_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        fitted = fit_params({"short": "x", "long": "y" * (MAX_PARAM + 1), "fits": "z" * MAX_PARAM})
    assert fitted["fits"] == "z" * MAX_PARAM
    assert len(fitted["long"]) == MAX_PARAM
    assert fitted["long"].endswith("y...")
    [record] = caplog.records
    assert "'long' is cut from 6001 to 6000" in record.getMessage()


def test_refused_letters_in_parameter_names_are_replaced_with_a_warning(caplog):
    assert fit_params({"a@b(c)": "1"}) == {"a_b_c_": "1"}
    assert "'a@b(c)' is recorded as 'a_b_c_'" in caplog.text


@pytest.mark.parametrize(
    "key",
    ["train/loss", "val/bits per byte", "moe/layer-0.load_1", "", "/loss", "a//b", "../a", ".", "a/./b", "a@1", "p(x)"],
)
def test_metric_names_are_judged_as_mlflow_judges_them(key):
    try:
        _validate_metric_name(key)
    except MlflowException:
        with pytest.raises(TrackingError, match="metric "):
            check_metric_name(key)
    else:
        check_metric_name(key)


def test_a_metric_name_has_at_most_250_letters():
    check_metric_name("a" * 250)
    with pytest.raises(TrackingError, match="251 letters, 250 are allowed"):
        check_metric_name("a" * 251)


def test_cut():
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abc..."
