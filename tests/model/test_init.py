import math

import pytest
import torch
from torch import nn

from lightning_tx import register
from lightning_tx.components.norm.base import NORM, Norm
from lightning_tx.core.errors import PluginError
from lightning_tx.model.build import build_model
from tests.model.configs import config

LARGE = {"d_model": 64, "d_ff": 256, "num_layers": 6, "vocab_size": 512, "linear_std": 0.02}


def values(seed: int = 0, **options: object) -> dict[str, torch.Tensor]:
    return build_model(config(**options), seed=seed).state_dict()  # type: ignore[arg-type]


def test_the_seed_decides() -> None:
    first, again, other = values(seed=3), values(seed=3), values(seed=4)
    assert all(torch.equal(again[name], value) for name, value in first.items())
    drawn = [name for name, value in first.items() if value.std() > 0]
    assert len(drawn) > 10
    assert not any(torch.equal(other[name], first[name]) for name in drawn)


def test_parameters_of_one_shape_differ() -> None:
    seen: set[float] = set()
    for name, value in values(sizes={"tie_embeddings": False}).items():
        if value.std() > 0:
            first = value.flatten()[0].item()
            assert first not in seen, name
            seen.add(first)


@pytest.mark.parametrize(
    "variant",
    [
        {"attention": {"num_kv_heads": 2}},
        {"attention": {"num_kv_heads": 1, "bias": True}},
        {"attention": "none"},
        {"positions": "learned"},
        {"norm": "rmsnorm"},
        {"feed_forward": "swiglu"},
        {"sizes": {"num_layers": 3}, "block": "post_norm"},
        {"adapter": {"name": "lora", "targets": ["q_proj", "down_proj"]}},
    ],
    ids=str,
)
def test_variants_agree_wherever_their_shapes_do(variant: dict) -> None:
    unscaled = {"block": "post_norm"}  # pre_norm scales by the number of sublayers, which a variant may change
    baseline, changed = values(**unscaled), values(**(unscaled | variant))
    shared = [name for name in baseline if name in changed and baseline[name].shape == changed[name].shape]
    assert len(shared) > 5
    assert "stack.layers.1.norms.feed_forward.weight" in shared
    for name in shared:
        assert torch.equal(baseline[name], changed[name]), name


def test_lora_changes_nothing_of_the_base() -> None:
    baseline, adapted = values(), values(adapter={"name": "lora", "targets": ["*_proj"]})
    assert all(torch.equal(adapted[name], baseline[name]) for name in baseline)
    assert {name.rpartition(".")[2] for name in adapted.keys() - baseline.keys()} == {"lora_A", "lora_B"}


def test_the_random_state_of_the_caller_stays() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build_model(config(adapter="lora"))
    assert torch.equal(torch.get_rng_state(), before)


def test_default_distributions() -> None:
    state = values(sizes=LARGE | {"linear_std": None, "tie_embeddings": False}, block="post_norm", positions="learned")
    expected = {
        "token_embedding.weight": 64**-0.5,
        "lm_head.weight": 64**-0.5,
        "stack.positions.embedding.weight": 0.02,
        "stack.layers.0.sublayers.self_attention.q_proj.weight": 64**-0.5,
        "stack.layers.5.sublayers.feed_forward.up_proj.weight": 64**-0.5,
        "stack.layers.5.sublayers.feed_forward.down_proj.weight": 256**-0.5,
    }
    for name, std in expected.items():
        assert state[name].std().item() == pytest.approx(std, rel=0.06), name
        assert abs(state[name].mean().item()) < 5 * std / state[name].numel() ** 0.5, name


def test_norms_and_biases_start_neutral() -> None:
    state = values(attention={"bias": True}, feed_forward={"bias": True}, sizes={"output_bias": True})
    for name, value in state.items():
        if name.endswith("bias"):
            assert not value.any(), name
        elif "norm" in name:
            assert (value == 1).all(), name


def test_chosen_standard_deviations() -> None:
    state = values(sizes=LARGE | {"embedding_std": 0.5}, block="post_norm")
    assert state["token_embedding.weight"].std().item() == pytest.approx(0.5, rel=0.05)
    assert state["stack.layers.0.sublayers.feed_forward.up_proj.weight"].std().item() == pytest.approx(0.02, rel=0.05)


def test_what_enters_the_stack_and_the_logits_have_variance_one() -> None:
    model = build_model(config(sizes=LARGE))
    assert model.embed(torch.arange(512)).std().item() == pytest.approx(1, rel=0.03)
    states = torch.nn.functional.layer_norm(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)), (64,))
    assert model.head.logits(states).std().item() == pytest.approx(1, rel=0.05)


def test_pre_norm_scales_what_it_writes_to_the_residual_stream_as_gpt2() -> None:
    pre, post = values(sizes=LARGE), values(sizes=LARGE, block="post_norm")
    gain = 1 / math.sqrt(2 * LARGE["num_layers"])
    for name, value in post.items():
        factor = gain if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
        torch.testing.assert_close(pre[name], value * factor, rtol=1e-6, atol=0)
    down = pre["stack.layers.3.sublayers.feed_forward.down_proj.weight"]
    assert down.std().item() == pytest.approx(0.02 / math.sqrt(12), rel=0.05)


@pytest.fixture
def silent_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's norm that does not declare how its parameter starts."""
    NORM.names()
    monkeypatch.setattr(NORM, "_classes", dict(NORM._classes))

    @register("norm", "silent")
    class SilentNorm(Norm):
        def __init__(self, width: int) -> None:
            super().__init__(width)
            self.gain = nn.Parameter(torch.ones(width))


@pytest.mark.usefixtures("silent_norm")
def test_a_parameter_without_a_scheme_is_refused() -> None:
    with pytest.raises(PluginError, match=r"SilentNorm .*'stack\..*\.gain'.*initial"):
        build_model(config(norm="silent"))
