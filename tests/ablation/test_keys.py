import pytest

from lightning_tx.ablation.keys import below, fingerprint, flatten, label_of, one_spelling


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
    ("value", "label"), [(True, "true"), (False, "false"), (None, "null"), (0.001, "0.001"), (8, "8"), ("gqa", "gqa")]
)
def test_labels_are_spelled_as_in_yaml(value, label):
    assert label_of(value) == label


def test_numbers_have_one_spelling():
    assert one_spelling("1e-3") == one_spelling("0.001") == one_spelling("0.0010")
    assert one_spelling("1::2") == "1::2"
    assert one_spelling("10000") == "10000"
