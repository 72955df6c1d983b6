"""What mixtures of experts share: the feed-forward that an expert is, and a router's scores."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from lightning_tx.components.feed_forward.base import FEED_FORWARD, Plain
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import choices
from lightning_tx.kernels.autocast import without_autocast

#: The experts unless told; never changed.
EXPERT = {"name": "swiglu", "bias": False}


def expert_of(expert: dict[str, Any], dims: Dims, site: Site) -> Plain:
    """A feed-forward that can be an expert, or as many as the site's projections are grouped for."""
    return cast(Plain, FEED_FORWARD.create(expert, dims, site))


def problems_of_expert(expert: dict[str, Any]) -> list[str]:
    """What is wrong with the name and the options of an expert, one sentence each."""
    problems = FEED_FORWARD.problems(expert, "feed_forward.expert")
    if not problems and not issubclass(FEED_FORWARD.get(expert["name"]), Plain):
        able = [name for name in FEED_FORWARD.names() if issubclass(FEED_FORWARD.get(name), Plain)]
        problems = [f"feed_forward.expert.name: {expert['name']!r} cannot be an expert. Choices: {choices(able)}."]
    return problems


def router_logits(router: nn.Linear, x_BTD: Tensor) -> Tensor:
    """A router's scores of each expert, [B, T, E], in float32 at least."""
    # A rounded score can turn a choice around, so autocast stays out.
    with without_autocast(x_BTD.device):
        logits_BTE = router(x_BTD.to(next(router.parameters()).dtype))
    return logits_BTE.to(torch.promote_types(logits_BTE.dtype, torch.float32))
