import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.models.mixtral.configuration_mixtral import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from lightning_tx.components.feed_forward.moe import MixtureOfExperts
from lightning_tx.core.context import Mean
from lightning_tx.core.errors import ConfigError, PluginError
from lightning_tx.testing.places import DIMS, context, site
from lightning_tx.testing.values import randomise

KEY = "decoder.0.feed_forward"
MASK = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]]).bool()


def moe(**options: Any) -> MixtureOfExperts:
    layer = MixtureOfExperts(DIMS, site("feed_forward"), **{"num_experts": 5} | options).double()
    randomise(layer)
    return layer.eval()


def states(batch: int = 2, length: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(batch, length, DIMS.d_model, generator=generator, dtype=torch.float64)


def router(layer: MixtureOfExperts, x: Tensor) -> tuple[Tensor, Tensor]:
    logits = x @ layer.router.weight.T
    return logits, torch.exp(logits) / torch.exp(logits).sum(-1, keepdim=True)


def expert(layer: Any, which: int, x: Tensor) -> Tensor:
    weights = {name: value[which] for name, value in layer.experts.named_parameters()}
    up = weights["up_proj.weight"] @ x + weights.get("up_proj.bias", 0)
    if "gate_proj.weight" in weights:
        gate = weights["gate_proj.weight"] @ x + weights.get("gate_proj.bias", 0)
        inner = gate / (1 + torch.exp(-gate)) * up
    else:
        inner = up.clamp_min(0)
    return weights["down_proj.weight"] @ inner + weights.get("down_proj.bias", 0)


def one_by_one(layer: MixtureOfExperts, x: Tensor, mask: Tensor | None = None, factor: float = math.inf) -> Tensor:
    """Token by token; an expert is full when it has taken its part of the row's tokens."""
    out = torch.zeros_like(x)
    _, probabilities = router(layer, x)
    for row in range(x.shape[0]):
        real = range(x.shape[1]) if mask is None else mask[row].nonzero()[:, 0].tolist()
        room = [factor * layer.top_k * len(real) / layer.num_experts] * layer.num_experts
        room = [left if math.isinf(left) else math.ceil(left) for left in room]
        for place in real:
            chosen = sorted(range(layer.num_experts), key=lambda e: -probabilities[row, place, e])[: layer.top_k]
            scale = sum(probabilities[row, place, e] for e in chosen) if layer.normalise else 1.0
            for e in chosen:
                if room[e] > 0:
                    room[e] -= 1
                    out[row, place] += probabilities[row, place, e] / scale * expert(layer, e, x[row, place])
    return out


@pytest.mark.parametrize("kind", [{"name": "relu", "bias": True}, {"name": "swiglu"}])
@pytest.mark.parametrize(("top_k", "normalise"), [(1, False), (2, False), (2, True), (5, True)])
def test_against_a_loop_over_tokens_and_experts(kind: dict, top_k: int, normalise: bool) -> None:
    layer, x = moe(expert=kind, top_k=top_k, normalise=normalise), states().requires_grad_()
    expected, found = one_by_one(layer, x), layer(x, context(7)).x
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    weights, inputs = torch.randn_like(found), [x, *layer.parameters()]
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_against_mixtral() -> None:
    config = MixtralConfig(
        hidden_size=DIMS.d_model, intermediate_size=DIMS.d_ff, num_local_experts=8, num_experts_per_tok=2
    )
    ours, theirs = moe(num_experts=8, normalise=True), MixtralSparseMoeBlock(config).double().eval()
    with torch.no_grad():
        theirs.gate.weight.copy_(ours.router.weight)
        parts = [ours.experts.gate_proj.weight, ours.experts.up_proj.weight]  # pyright: ignore[reportAttributeAccessIssue]
        theirs.experts.gate_up_proj.copy_(torch.cat(parts, dim=1))
        theirs.experts.down_proj.copy_(ours.experts.down_proj.weight)
        torch.testing.assert_close(ours(states(), context(7)).x, theirs(states()), rtol=0, atol=1e-5)


def test_shared_experts_see_every_token() -> None:
    layer, x = moe(num_shared_experts=2, d_ff=6), states()
    assert layer.shared is not None and layer.shared.up_proj.weight.shape == (12, DIMS.d_model)
    alone = one_by_one(layer, x)
    torch.testing.assert_close(layer(x, context(7)).x - alone, layer.shared(x, context(7)).x, rtol=0, atol=1e-11)


@pytest.mark.parametrize("top_k", [1, 2])
def test_the_router_learns_from_the_task_alone(top_k: int) -> None:
    layer = moe(top_k=top_k, load_balance=0.0, z_loss=0.0)
    output = layer(states(), context(7))
    assert output.losses == {}
    output.x.square().sum().backward()
    assert layer.router.weight.grad is not None and layer.router.weight.grad.any(dim=1).sum() > 1


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.25])
def test_capacity_against_a_loop_over_the_row(factor: float, mask: Tensor | None) -> None:
    layer, x = moe(capacity_factor=factor), states()
    ctx = context(7, token_mask=mask)
    full = one_by_one(layer, x, mask)
    assert torch.allclose(layer(x, ctx).x, full, rtol=0, atol=1e-11)  # none in evaluation
    output, expected = layer.train()(x, ctx), one_by_one(layer, x, mask, factor)
    torch.testing.assert_close(output.x, expected, rtol=0, atol=1e-11)
    assert not torch.equal(expected, full)
    dropped = output.stats[f"{KEY}/dropped"]
    assert 0 < dropped.sum < dropped.count == (14 if mask is None else 11) * 2


def test_later_tokens_never_take_the_place_of_earlier_ones() -> None:
    layer = moe(capacity_factor=0.5).train()
    x = states(1)
    first = layer(x, context(7)).x
    changed = torch.cat([x[:, :4], x[:, 4:].flip(-1)], dim=1)
    torch.testing.assert_close(layer(changed, context(7)).x[:, :4], first[:, :4], rtol=0, atol=1e-14)


@pytest.mark.parametrize("mask", [None, MASK])
def test_the_auxiliary_losses_against_their_formulas(mask: Tensor | None) -> None:
    layer, x = moe(), states()
    real = x.flatten(0, 1) if mask is None else x[mask]
    logits, p = router(layer, real)
    chosen = torch.zeros(5, dtype=torch.float64)
    for token in p:
        for e in token.argsort(descending=True)[:2]:
            chosen[e] += 1 / (2 * len(real))
    output = layer(x, context(7, token_mask=mask))
    assert {name: weight for name, (_, weight) in output.losses.items()} == {
        f"{KEY}/load_balance": 0.01,
        f"{KEY}/z_loss": 0.001,
    }
    balance = 5 * sum(chosen[e] * p[:, e].mean() for e in range(5))
    z_loss = (torch.log(torch.exp(logits).sum(-1)) ** 2).mean()
    assert output.losses[f"{KEY}/load_balance"][0].item() == pytest.approx(balance.item(), rel=1e-12)
    assert output.losses[f"{KEY}/z_loss"][0].item() == pytest.approx(z_loss.item(), rel=1e-12)
    assert output.stats[f"{KEY}/load"].value.tolist() == pytest.approx(chosen.tolist())
    entropy = -(p * p.log()).sum(-1).mean().item()
    assert output.stats[f"{KEY}/router_entropy"].value.item() == pytest.approx(entropy)


@pytest.mark.parametrize("capacity_factor", [None, 1.0])
def test_padding_changes_nothing_but_itself(capacity_factor: float | None) -> None:
    layer = moe(capacity_factor=capacity_factor).train()
    x = states()
    noise = torch.where(MASK[..., None], x, 100 * torch.randn_like(x)).requires_grad_()
    padded, clean = layer(noise, context(7, token_mask=MASK)), layer(x, context(7, token_mask=MASK))
    alone = layer(x[1:, :4], context(4)).x
    torch.testing.assert_close(padded.x[1:, :4], alone, rtol=0, atol=1e-13)
    torch.testing.assert_close((padded.losses, padded.stats), (clean.losses, clean.stats), rtol=0, atol=1e-13)
    sum(value for value, _ in padded.losses.values()).backward()
    assert noise.grad is not None and not noise.grad[~MASK].any() and noise.grad[MASK].any()


def test_nothing_but_padding_is_no_error() -> None:
    output = moe().train()(states(), context(7, token_mask=torch.zeros(2, 7, dtype=torch.bool)))
    assert not output.x.any() and all(value.item() == 0 for value, _ in output.losses.values())


def test_bfloat16_rounds_the_products_and_not_the_choice() -> None:
    layer, x = moe().float(), states().float()
    exact = layer(x, context(7))
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x, context(7))
    assert found.x.dtype == torch.bfloat16
    assert torch.equal(found.stats[f"{KEY}/load"].sum, exact.stats[f"{KEY}/load"].sum)
    torch.testing.assert_close(found.losses, exact.losses, rtol=0, atol=0)
    torch.testing.assert_close(found.x.float(), exact.x, rtol=0.05, atol=0.3)


@pytest.mark.parametrize("options", [{}, {"capacity_factor": 1.0, "num_shared_experts": 1, "bias_rate": 0.1}])
def test_compiles_without_graph_breaks(options: dict[str, Any]) -> None:
    torch._dynamo.reset()
    layer = moe(**options).train()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    for seed in (1, 2):
        x = torch.randn(2, 7, DIMS.d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        ctx = context(7, token_mask=MASK)
        torch.testing.assert_close(compiled(x, ctx).x, layer(x, ctx).x, rtol=0, atol=1e-12)


class TestBalanceWithoutALoss:
    def test_the_bias_decides_who_is_chosen_and_not_with_what_weight(self) -> None:
        layer, x = moe(bias_rate=0.1, top_k=1), states()
        _, p = router(layer, x)
        assert layer.balance_bias is not None
        layer.balance_bias[3] = 10.0
        expected = torch.stack([torch.stack([expert(layer, 3, token) for token in row]) for row in x])
        torch.testing.assert_close(layer(x, context(7)).x, expected * p[..., 3:4], rtol=0, atol=1e-11)

    def test_it_moves_by_the_sign_of_what_an_expert_lacks(self) -> None:
        layer = moe(bias_rate=0.1)
        layer.after_step({f"{KEY}/load": Mean(torch.tensor([4, 2, 1, 2, 1]), torch.tensor(10))})
        assert layer.balance_bias is not None
        assert layer.balance_bias.tolist() == pytest.approx([-0.1, 0.0, 0.1, 0.0, 0.1])
        assert "balance_bias" in layer.state_dict() and "balance_bias" not in moe().state_dict()

    def test_nothing_moves_in_forward_even_where_it_runs_twice(self) -> None:
        layer, x = moe(bias_rate=0.1).train(), states().requires_grad_()
        before = {name: value.clone() for name, value in layer.state_dict().items()}
        output: Any = checkpoint(lambda x: layer(x, context(7)).x, x, use_reentrant=False)
        output.sum().backward()
        torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)
        layer.after_step(layer(x, context(7)).stats)
        assert not torch.equal(layer.state_dict()["balance_bias"], before["balance_bias"])

    def test_it_evens_the_load(self) -> None:
        layer, x = moe(bias_rate=0.02, top_k=1).train(), states(8, 16) + 0.5
        loads = []
        for _ in range(60):
            stats = layer(x, context(16)).stats
            loads.append(stats[f"{KEY}/load"].value)
            layer.after_step(stats)
        assert loads[0].max() > 0.35 and loads[-1].max() < 0.25

    def test_a_task_that_keeps_the_stats_is_told(self) -> None:
        moe().after_step({})
        with pytest.raises(PluginError, match=f"{KEY}: feed_forward.bias_rate needs"):
            moe(bias_rate=0.1).after_step({})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_k": 9, "num_experts": 8}, ["feed_forward.top_k: 9 is more", "num_experts = 8", "1 to 8"]),
        ({"top_k": 1, "normalise": True}, ["feed_forward.normalise: true", "top_k = 1"]),
        ({"expert": {"name": "moe"}}, ["feed_forward.expert.name: 'moe' cannot be an expert", "geglu", "gelu", "relu"]),
        ({"expert": {"name": "none"}}, ["feed_forward.expert.name: 'none' cannot be an expert"]),
        ({"expert": {"name": "swigloo"}}, ["feed_forward.expert.name: there is no feed_forward 'swigloo'"]),
        ({"expert": {"name": "relu", "bais": True}}, ["feed_forward.expert.bais: unknown key. Did you mean 'bias'"]),
        ({"expert": {}}, ["feed_forward.expert.name: missing"]),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        moe(**options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_all_bad_options_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        moe(top_k=9, expert={"name": "moe"})
    assert len(caught.value.problems) == 2
