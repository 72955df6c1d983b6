import pytest
import torch
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention

from lightning_tx.components.positions.t5_relative import T5Relative
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Normal
from lightning_tx.testing.places import DIMS, site


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 20), (4, 1000)])
@pytest.mark.parametrize("causal", [True, False])
def test_the_bias_is_that_of_t5(num_buckets: int, max_distance: int, causal: bool) -> None:
    component = T5Relative(
        DIMS, site("positions", causal=causal), num_buckets=num_buckets, max_distance=max_distance
    ).double()
    config = T5Config(
        num_heads=DIMS.num_heads,
        relative_attention_num_buckets=num_buckets,
        relative_attention_max_distance=max_distance,
        is_decoder=causal,
    )
    reference = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double()
    reference.relative_attention_bias.weight = component.embedding.weight
    length = 1200
    positions = torch.arange(length)[None]
    found = component.bias(positions[:, -3:, None], positions[:, None, :])
    assert torch.equal(found, reference.compute_bias(length, length)[:, :, -3:])
    found = component.bias(positions[:, :3, None], positions[:, None, :])
    assert torch.equal(found, reference.compute_bias(length, length)[:, :, :3])


def test_its_spread_at_the_start() -> None:
    assert T5Relative(DIMS, site("positions")).embedding.initial == {"weight": Normal(DIMS.d_model**-0.5)}
    assert T5Relative(DIMS, site("positions"), std=0.3).embedding.initial == {"weight": Normal(0.3)}


def test_the_buckets_must_reach_beyond_the_exact_ones() -> None:
    T5Relative(DIMS, site("positions", causal=False), max_distance=9)
    with pytest.raises(ConfigError, match=r"^positions\.max_distance: 9 is not above 16,"):
        T5Relative(DIMS, site("positions", causal=True), max_distance=9)
