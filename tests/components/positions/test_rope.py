from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPTNeoXConfig
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding, apply_rotary_pos_emb

from lightning_tx.components.positions.rope import Rope
from lightning_tx.core.errors import ConfigError
from lightning_tx.testing.places import dims, site
from tests.components.positions.llama import turned_by_llama

B, H, T, K = 2, 3, 10, 8
POSITIONS = torch.stack([torch.arange(T), torch.arange(T) + 100])


def rope(**options: Any) -> Rope:
    return Rope(dims(head_dim=K), site("positions"), **options)


def random(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(B, H, T, K, generator=torch.Generator().manual_seed(0), dtype=dtype)


def as_complex_numbers(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Dimensions 2i and 2i + 1 as one complex number, turned by position · base^(-2i/K)."""
    frequencies = base ** (-torch.arange(K // 2, dtype=torch.float64) * 2 / K)
    turn = torch.polar(torch.ones(()).double(), positions[:, None, :, None] * frequencies)
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turn).flatten(-2)


@pytest.mark.parametrize("base", [10_000.0, 500_000.0, 3.0])
def test_interleaved_pairs_turn_as_complex_numbers(base: float) -> None:
    x = random()
    found = rope(base=base, pairing="interleaved").rotate(x, POSITIONS)
    torch.testing.assert_close(found, as_complex_numbers(x, POSITIONS, base), rtol=0, atol=1e-12)


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_half_pairs_turn_as_in_llama(base: float) -> None:
    x = random(torch.float32)
    expected = turned_by_llama(x, POSITIONS, rope_type="default", rope_theta=base)
    torch.testing.assert_close(rope(base=base).rotate(x, POSITIONS), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75, 1.0])
def test_a_fraction_of_the_head_turns_as_in_gpt_neox(fraction: float) -> None:
    x = random(torch.float32)
    config = GPTNeoXConfig(
        hidden_size=H * K,
        num_attention_heads=H,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": fraction},
    )
    cos, sin = GPTNeoXRotaryEmbedding(config)(x, POSITIONS)
    expected, _ = apply_rotary_pos_emb(x, x, cos, sin)
    torch.testing.assert_close(rope(fraction=fraction).rotate(x, POSITIONS), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("pairing", ["half", "interleaved"])
def test_the_rest_of_the_head_stays(pairing: str) -> None:
    x = random()
    found = rope(pairing=pairing, fraction=0.5).rotate(x, POSITIONS)
    assert torch.equal(found[..., K // 2 :], x[..., K // 2 :])
    expected = rope(pairing=pairing).rotate(x[..., : K // 2], POSITIONS)
    assert torch.equal(found[..., : K // 2], expected)


def test_the_pairings_differ_by_a_permutation() -> None:
    x = random()
    order = torch.arange(K).view(2, K // 2).T.flatten()  # 0, K/2, 1, K/2 + 1, …
    half, interleaved = rope().rotate(x, POSITIONS), rope(pairing="interleaved").rotate(x[..., order], POSITIONS)
    torch.testing.assert_close(half[..., order], interleaved, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pairing", ["half", "interleaved"])
def test_scores_depend_on_the_distance_alone(pairing: str) -> None:
    component = rope(pairing=pairing)
    q, k = torch.randn(2, 1, 1, 1, K, dtype=torch.float64)
    q, k = q.expand(1, 1, T, K), k.expand(1, 1, T, K)

    def scores(shift: int) -> Tensor:
        positions = torch.arange(T)[None] + shift
        return component.rotate(q, positions)[0, 0] @ component.rotate(k, positions)[0, 0].T

    near = scores(0)
    for distance in range(1 - T, T):
        diagonal = near.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-12)
    torch.testing.assert_close(scores(1000), near, rtol=0, atol=1e-9)
    assert near.std() > 0.01


def test_position_zero_changes_nothing_and_lengths_stay() -> None:
    x = random()
    torch.testing.assert_close(rope().rotate(x, torch.zeros(1, T).long()), x, rtol=0, atol=0)
    torch.testing.assert_close(rope().rotate(x, POSITIONS).norm(dim=-1), x.norm(dim=-1))


def test_other_widths_turn_too() -> None:
    x = random()[..., :4]
    turned = rope(pairing="interleaved").rotate(x, POSITIONS)
    frequencies = 10_000 ** (-torch.tensor([0.0, 0.0, 2.0, 2.0]).double() / 4)
    swapped = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
    angles = POSITIONS[:, None, :, None] * frequencies
    torch.testing.assert_close(turned, x * angles.cos() + swapped * angles.sin(), rtol=0, atol=1e-12)


def test_one_rotation_serves_several_widths_and_precisions() -> None:
    component = rope()
    rotate = component.rotation(POSITIONS)
    for x in (random(), random()[..., :4], random().bfloat16(), random()):
        assert torch.equal(rotate(x), component.rotate(x, POSITIONS))


def test_low_precision_rounds_only_the_result() -> None:
    x = random().bfloat16()
    far = POSITIONS + 3000
    found, exact = rope().rotate(x, far), rope().rotate(x.double(), far)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=2e-3)


def test_an_odd_head_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.head_dim: 5 is odd"):
        Rope(dims(head_dim=5), site("positions"))


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.375])
def test_a_fraction_that_splits_a_pair_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match=rf"^positions\.fraction: {fraction} of 8 dimensions is "):
        rope(fraction=fraction)
