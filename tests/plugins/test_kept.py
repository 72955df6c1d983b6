"""What layers keep of earlier tokens is said in the contract, and conforms beside any partner."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lightning_tx.kernels.cache import Cache
from lightning_tx.runs import plugin_files
from lightning_tx.runs.plugin_files import load_files
from lightning_tx.testing.suite import check_choice, check_combination, combined_subjects, failures
from tests.model.configs import small_model, tokens

#: The group of each component.
KEPT = {"token_shift": "feed_forward", "unrotated_keys": "attention"}


@pytest.fixture(autouse=True)
def plugins() -> Iterator[None]:
    load_files([Path(__file__).parent / f"{name}.py" for name in KEPT])
    yield
    plugin_files.forget()


@pytest.mark.parametrize(("name", "group"), KEPT.items())
def test_it_conforms(name: str, group: str) -> None:
    assert failures(check_choice(group, name, {"name": name})) == []


def test_they_conform_beside_windows_and_convolutions() -> None:
    beside = {
        "feed_forward": {"token_shift": {"name": "token_shift"}},
        "pattern": {"local": {"name": "local"}},
        "attention": {name: {"name": name} for name in ("unrotated_keys", "multi_head", "none")},
        "block": {"canon": {"name": "canon"}},
        "model": {"decoder": {"name": "decoder"}},
    }
    for subject in combined_subjects(beside):
        assert failures(check_combination(subject)) == []


@pytest.mark.parametrize("pattern", ["full", "local"])
def test_keys_that_are_turned_on_use_take_half_of_a_cache(pattern: str) -> None:
    sizes = []
    for name in ("multi_head", "unrotated_keys"):
        model, cache = small_model(attention={"name": name}, pattern=pattern), Cache()
        with torch.no_grad():
            model.advance(tokens(2, 6), token_mask_BT=None, cache=cache, memory=None)
        sizes.append(cache.num_bytes)
    assert sizes[0] == 2 * sizes[1]
