"""Who looks at whom, spelt out pair by pair; that the parts compute it is tested with the kernel."""

import itertools
from collections.abc import Callable

import pytest
import torch

from lightning_tx.components.pattern.fixed import Fixed
from lightning_tx.components.pattern.full import Full
from lightning_tx.components.pattern.global_local import GlobalLocal
from lightning_tx.components.pattern.local import Local
from lightning_tx.components.pattern.prefix import Prefix
from lightning_tx.components.pattern.strided import Strided
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.cache import Cache
from lightning_tx.kernels.masks import Mask
from lightning_tx.kernels.pattern import Pattern
from lightning_tx.model.build import build_model
from tests.model.configs import config, small_model, tokens

LENGTH = 20
CAUSAL: dict[str, tuple[Pattern, Callable[[int, int], bool]]] = {
    # Child et al. write these as sets of key indices for query i.
    "full": (Full(), lambda i, j: True),
    "local": (Local(window=4), lambda i, j: j in range(i - 3, i + 1)),
    "strided": (Strided(stride=4), lambda i, j: j in range(i - 3, i + 1) or j in range(i, -1, -4)),
    "fixed": (Fixed(block=4, summary=1), lambda i, j: j in range(i - i % 4, i + 1) or j in range(3, LENGTH, 4)),
    "global_local": (GlobalLocal(window=3, num_global=2), lambda i, j: j in range(i - 2, i + 1) or j < 2),
    "prefix": (Prefix(length=5), lambda i, j: True),
}


@pytest.mark.parametrize(("pattern", "looks_at"), CAUSAL.values(), ids=CAUSAL)
def test_who_looks_at_whom_in_a_decoder(pattern: Pattern, looks_at: Callable[[int, int], bool]) -> None:
    positions = torch.arange(LENGTH)[None]
    allowed = Mask(q_positions=positions, k_positions=positions, causal=True, pattern=pattern).dense()[0, 0]
    for i, j in itertools.product(range(LENGTH), repeat=2):
        assert bool(allowed[i, j]) == ((j <= i or j < pattern.prefix) and looks_at(i, j)), (i, j)


@pytest.mark.parametrize(("pattern", "looks_at"), CAUSAL.values(), ids=CAUSAL)
def test_in_an_encoder_looking_is_mutual(pattern: Pattern, looks_at: Callable[[int, int], bool]) -> None:
    positions = torch.arange(LENGTH)[None]
    allowed = Mask(q_positions=positions, k_positions=positions, causal=False, pattern=pattern).dense()[0, 0]
    for i, j in itertools.product(range(LENGTH), repeat=2):
        either = looks_at(max(i, j), min(i, j)) or looks_at(min(i, j), max(i, j))
        assert bool(allowed[i, j]) == either, (i, j)


def test_a_summary_fits_into_its_block() -> None:
    with pytest.raises(ConfigError, match=r"pattern\.summary: 5 is more than the 4 positions of pattern\.block"):
        Fixed(block=4, summary=5)


def test_a_local_cache_holds_the_window_and_decodes_as_without() -> None:
    model = small_model(pattern={"name": "local", "window": 3})
    whole, cache = tokens(2, 12), Cache()
    expected = model(whole).x
    for step in range(12):
        new = model(whole[:, step : step + 1], cache=cache).x
        torch.testing.assert_close(new[:, 0], expected[:, step], rtol=0, atol=1e-12)
    per_token = 2 * 2 * model.dims.num_heads * model.dims.head_dim * 8  # keys and values of two rows, in float64
    assert cache.num_bytes == len(model.stack.layers) * 3 * per_token


def test_padding_on_the_left_of_a_local_cache_changes_nothing() -> None:
    model = small_model(pattern={"name": "local", "window": 3})
    whole = tokens(1, 10)
    expected = model(whole).x
    padded, real = torch.cat([tokens(1, 4, seed=1), whole], dim=1), torch.arange(14)[None] >= 4
    cache = Cache()
    held = [model(padded[:, :9], token_mask_BT=real[:, :9], cache=cache).x[:, 4:]]
    held += [model(padded[:, t : t + 1], token_mask_BT=real[:, t : t + 1], cache=cache).x for t in range(9, 14)]
    torch.testing.assert_close(torch.cat(held, dim=1), expected, rtol=0, atol=1e-12)
    assert cache._layers["decoder.0.self_attention"]["k"].held.shape[2] == 3


def test_a_prefix_sees_itself_and_the_rest_its_past() -> None:
    model = small_model(pattern={"name": "prefix", "length": 4})
    assert model.seen_ahead == 4
    first = tokens(1, 9)
    for changed in range(9):
        second = first.clone()
        second[0, changed] += 1
        differs = (model(first).x != model(second).x).any(dim=-1)[0].tolist()
        assert differs == [t >= changed or (t < 4 and changed < 4) or changed < 4 for t in range(9)]


def test_a_prefix_needs_a_decoder_of_its_own() -> None:
    with pytest.raises(ConfigError, match="does not go with model=encoder_decoder: the first 16 tokens"):
        build_model(config("encoder_decoder", pattern="prefix"), device="meta")
    build_model(config("encoder", pattern="prefix"), device="meta")


class Blind(Pattern):
    def __call__(self, q_positions: torch.Tensor, k_positions: torch.Tensor) -> torch.Tensor:
        return (k_positions < q_positions) | (q_positions == 0)


def test_a_pattern_lets_every_token_look_at_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Full, "__call__", Blind.__call__)
    with pytest.raises(ConfigError, match="pattern: 'full' does not let the token at position 1 look at itself"):
        build_model(config(), device="meta")
