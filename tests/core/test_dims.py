import pytest
from torch import nn

from lightning_tx.core.dims import Site, head_dim_of
from lightning_tx.core.errors import ConfigError


def test_head_dim_divides_the_width_among_heads() -> None:
    assert head_dim_of(128, 4, None) == 32


def test_a_given_head_dim_needs_no_division() -> None:
    assert head_dim_of(128, 5, 24) == 24


def test_heads_that_do_not_divide_are_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError) as raised:
        head_dim_of(12, 5, None)
    (problem,) = raised.value.problems
    assert problem.startswith("model.num_heads: 5 ")
    assert "model.d_model = 12" in problem
    assert "1, 2, 3, 4, 6, 12" in problem


def test_a_site_knows_its_place() -> None:
    site = Site(stack="decoder", role="cross_attention", causal=True, layer=3, depth=6, make_norm=nn.LayerNorm)
    assert site.key == "decoder.3.cross_attention"
    assert site.is_cross
