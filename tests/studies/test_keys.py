import pytest

from lightning_tx.studies.keys import ABSENT, below, fingerprint, flatten, label_of, one_spelling, value_at


def test_flatten_numbers_lists_and_keeps_empty_containers():
    config = {"model": {"depth": 2, "overrides": [{"layers": "1::2"}, 3]}, "empty": {}, "none": None, "list": []}
    assert flatten(config) == {
        "model.depth": 2,
        "model.overrides.0.layers": "1::2",
        "model.overrides.1": 3,
        "empty": {},
        "none": None,
        "list": [],
    }
    assert flatten({}) == {}


def test_below_takes_a_key_and_what_lies_under_it_only():
    is_volatile = below(["trainer.devices", "tracking"])
    assert is_volatile("tracking")
    assert is_volatile("tracking.uri")
    assert is_volatile("trainer.devices")
    assert not is_volatile("tracking_mode")
    assert not is_volatile("trainer")
    assert not below([])("anything")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [(1, 1.0, True), (1, True, False), (0, False, False), (0, None, False), ("1", 1, False), ([], {}, False)],
)
def test_fingerprint(a, b, same):
    assert (fingerprint({"key": a}, "key") == fingerprint({"key": b}, "key")) is same


def test_fingerprint_of_what_is_not_there():
    assert fingerprint({}, "key") != fingerprint({"key": None}, "key")
    assert fingerprint({"key": float("nan")}, "key") == fingerprint({"key": float("nan")}, "key")


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (0.001, "0.001"),
        (8, "8"),
        ("gqa", "gqa"),
        ([0.9, 0.98], "[0.9, 0.98]"),
        ([], "[]"),
        ({"name": "gelu", "bias": False}, "{name: gelu, bias: false}"),
        (123456789012345678, "123456789012345678"),
    ],
)
def test_labels_are_spelled_as_in_yaml(value, label):
    assert label_of(value) == label


@pytest.mark.parametrize(
    ("texts", "label"),
    [
        (("1e-3", "0.001", "0.0010"), "0.001"),
        (("False", "false", "FALSE"), "false"),
        (("null", "NULL"), "null"),
        (("[0.9,0.98]", "[0.9, 0.980]", "[ 0.9 ,9.8e-1]"), "[0.9, 0.98]"),
        (("[[1,2],[True]]",), "[[1, 2], [true]]"),
        (("[]", "[ ]"), "[]"),
        (("1::2",), "1::2"),
        (("10000", "10_000", "1e4"), "10000"),
        (("123456789012345678",), "123456789012345678"),
        (("123456789012345679",), "123456789012345679"),
        (("nan",), "nan"),
        (("12e4567",), "12e4567"),
    ],
)
def test_one_spelling_for_one_value(texts, label):
    assert {one_spelling(text) for text in texts} == {label}


def test_value_under_a_dotted_key():
    config = {"attention": {"num_kv_heads": None, "norm": {"eps": 1e-5}}}
    assert value_at(config, "attention.norm.eps") == 1e-5
    assert value_at(config, "attention.num_kv_heads") is None
    assert value_at(config, "attention.bias") == value_at(config, "attention.num_kv_heads.x") == ABSENT
