import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_tx.components.feed_forward.expert_choice import ExpertChoice
from lightning_tx.core.context import Context
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.count import count_parameters
from lightning_tx.testing.places import DIMS, context, site
from lightning_tx.testing.values import randomise
from tests.model.configs import small_model

B, T, D = 3, 11, DIMS.d_model
DOCUMENTS = torch.tensor([[0] * 4 + [1] * 7, [3] * 11, [5, 5, 6] + [7] * 8])
REAL = torch.arange(T)[None] >= torch.tensor([[0], [3], [1]])


def layer(**options: Any) -> ExpertChoice:
    built = ExpertChoice(DIMS, site("feed_forward", causal=False, stack="encoder"), **options).double()
    randomise(built)
    return built


def told(documents: Tensor | None, real: Tensor | None) -> Context:
    plain = context(T, causal=False, token_mask=real)
    return replace(plain, mask=replace(plain.mask, q_documents=documents, k_documents=documents))


def naive(built: ExpertChoice, x: Tensor, factor: float, documents: Tensor | None, real: Tensor | None) -> Tensor:
    """Document by document and expert by expert, over lists."""
    out = torch.zeros_like(x)
    experts, p = built.num_experts, built.router(x).softmax(-1)
    gate, up, down = (getattr(built.experts, f"{name}_proj").weight for name in ("gate", "up", "down"))
    for row in range(B):
        known = [0] * T if documents is None else documents[row].tolist()
        for document in set(known):
            own = [t for t in range(T) if known[t] == document and (real is None or bool(real[row, t]))]
            for e in range(experts):
                best = sorted(own, key=lambda t: (-p[row, t, e].item(), t))[: math.ceil(len(own) * factor / experts)]
                for t in best:
                    y = torch.nn.functional.silu(gate[e] @ x[row, t]) * (up[e] @ x[row, t])
                    out[row, t] += p[row, t, e] * (down[e] @ y)
    return out


@pytest.mark.parametrize("documents", [None, DOCUMENTS])
@pytest.mark.parametrize("real", [None, REAL])
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0])
def test_experts_choose_among_the_tokens_of_a_document(
    factor: float, documents: Tensor | None, real: Tensor | None
) -> None:
    built = layer(num_experts=4, capacity_factor=factor)
    x = torch.randn(B, T, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = built(x, told(documents, real)).x
    shown = torch.ones(B, T, dtype=torch.bool) if real is None else real
    torch.testing.assert_close(found[shown], naive(built, x, factor, documents, real)[shown], rtol=0, atol=1e-12)


def test_the_share_of_tokens_that_nobody_takes_is_told() -> None:
    built = layer(num_experts=4, capacity_factor=1.0)
    x = torch.randn(B, T, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    output = built(x, told(None, REAL))
    untaken = output.stats["encoder.0.feed_forward/untaken"]
    assert untaken.count == REAL.sum() and untaken.sum == (output.x[REAL] == 0).all(-1).sum() > 0


def test_what_a_token_costs() -> None:
    parts = {"feed_forward": {"name": "expert_choice", "num_experts": 4, "capacity_factor": 1.0}}
    model = small_model("encoder", **parts)
    counts = count_parameters(model)
    experts = [module.experts for module in model.modules() if isinstance(module, ExpertChoice)]
    idle = sum(parameter.numel() for each in experts for parameter in each.parameters()) * 3 // 4
    assert counts.total - counts.active == idle > 0


@pytest.mark.parametrize(
    ("options", "causal", "message"),
    [
        ({}, True, r"feed_forward.name: expert_choice lets later tokens decide .* feed_forward=moe"),
        ({"num_experts": 2, "capacity_factor": 3.0}, False, r"feed_forward.capacity_factor: 3.0 experts a token"),
        ({"expert": {"name": "moe"}}, False, r"feed_forward.expert.name: 'moe' cannot be an expert"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], causal: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExpertChoice(DIMS, site("feed_forward", causal=causal), **options)
