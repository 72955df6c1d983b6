import math
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.feed_forward.base import FEED_FORWARD, FeedForward
from lightning_tx.components.feed_forward.experts import EXPERT, expert_of, problems_of_expert, router_logits
from lightning_tx.core.context import Context, Mean, Output
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.grouped_linear import GroupedLinear


@FEED_FORWARD.register("expert_choice")
class ExpertChoice(FeedForward):
    """``Σ p_e(x) · expert_e(x)`` over the experts that choose a token: each takes those of a document it likes best.

    The router's probabilities ``p`` are a softmax over all experts, in float32 at least. Of a document of n tokens an
    expert takes ``capacity_factor · n / num_experts``, rounded up, with the highest ``p_e``; so the load is even
    without a loss, and a token may be taken by several experts or by none. The paper's group of tokens that compete is
    a batch; here it is a document, so that a text comes out the same in any company.

    Later tokens decide about earlier ones, in training and in evaluation: a causal stack would be told of what it is
    to predict (the paper's section on limitations), and is refused.

    Stats: ``untaken``, the share of tokens that no expert took; ``router_entropy``, of ``p``, in nats.

    Source: Zhou et al. 2022, arXiv:2202.09368.

    Args:
        num_experts: experts (E).
        capacity_factor: experts of a token on average.
        expert: the feed-forward that an expert is: its name and options.
        d_ff: inner width of an expert; null for the model's.

    Raises:
        ConfigError: it stands in a causal stack, the expert cannot be one, or the capacity exceeds the experts.
    """

    sees_others: ClassVar[bool] = True

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        num_experts: Annotated[int, Field(gt=0)] = 8,
        capacity_factor: Annotated[float, Field(gt=0)] = 2.0,
        expert: dict[str, Any] = EXPERT,
        d_ff: Annotated[int, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__(dims, site)
        problems = problems_of_expert(expert)
        if site.causal:
            problems.append(
                "feed_forward.name: expert_choice lets later tokens decide about earlier ones, which a causal stack "
                "must not; take feed_forward=moe there. It is for model=encoder, or "
                "model.overrides: [{stack: encoder, feed_forward: {name: expert_choice}}]."
            )
        if capacity_factor > num_experts:
            problems.append(
                f"feed_forward.capacity_factor: {capacity_factor} experts a token are more than "
                f"feed_forward.num_experts = {num_experts}."
            )
        if problems:
            raise ConfigError(problems)
        self.key, self.num_experts, self.share = site.key, num_experts, capacity_factor / num_experts
        self.router = nn.Linear(dims.d_model, num_experts, bias=False)
        grouped = replace(site, make_linear=partial(GroupedLinear, num_experts))
        self.experts = expert_of(expert, replace(dims, d_ff=dims.d_ff if d_ff is None else d_ff), grouped)

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Map the states [B, T, D] to [B, T, D]."""
        length, documents_BT, real_BT = x_BTD.shape[1], ctx.mask.q_documents, ctx.token_mask_BT
        if real_BT is None:
            real_BT = torch.ones_like(x_BTD[..., 0], dtype=torch.bool)
        p_BTE = router_logits(self.router, x_BTD).softmax(dim=-1)
        chosen_BTE = self._chosen(p_BTE.detach(), real_BT, documents_BT)
        # What an expert can take of a row at most, known without looking at the tensors.
        room = length if documents_BT is not None else min(length, math.ceil(length * self.share))
        _, token_BRE = (p_BTE.detach() + 1).masked_fill(~chosen_BTE, 0).topk(room, dim=1)
        weight_BRE = (p_BTE * chosen_BTE).gather(1, token_BRE)
        first_B11 = torch.arange(x_BTD.shape[0], device=x_BTD.device)[:, None, None] * length
        token_N = (token_BRE + first_B11).permute(2, 0, 1).flatten()  # sorted by expert
        counts_E = torch.full((self.num_experts,), x_BTD.shape[0] * room, device=torch.device("cpu"))
        rows_ND = self.experts.map(x_BTD.flatten(0, 1).index_select(0, token_N), counts_E)
        weight_N1 = weight_BRE.permute(2, 0, 1).reshape(-1, 1).to(rows_ND.dtype)
        out_MD = rows_ND.new_zeros(x_BTD.shape[0] * length, x_BTD.shape[2]).index_add(0, token_N, rows_ND * weight_N1)
        untaken_BT, entropy_BT = real_BT & ~chosen_BTE.any(dim=-1), torch.special.entr(p_BTE.detach()).sum(dim=-1)
        stats = {
            f"{self.key}/untaken": Mean(untaken_BT.sum(), real_BT.sum()),
            f"{self.key}/router_entropy": Mean((entropy_BT * real_BT).sum(), real_BT.sum()),
        }
        return Output(out_MD.view_as(x_BTD), stats=stats)

    def idle_parameters(self) -> int:
        """Those of the experts that do not take a token, on average."""
        return round(sum(parameter.numel() for parameter in self.experts.parameters()) * (1 - self.share))

    def _chosen(self, p_BTE: Tensor, real_BT: Tensor, documents_BT: Tensor | None) -> Tensor:
        """Whether an expert takes a token, [B, T, E]; of two that it likes alike the earlier one."""
        liked_BTE = (p_BTE * 2**20).round()  # what tokens that are alike differ in by rounding must not decide
        order_BTE = liked_BTE.masked_fill(~real_BT[..., None], -1).argsort(dim=1, descending=True, stable=True)
        if documents_BT is None:
            rank_BTE, number_BT = order_BTE.argsort(dim=1), real_BT.sum(dim=1, keepdim=True)
        else:
            by_document = documents_BT[..., None].expand_as(order_BTE).gather(1, order_BTE).argsort(dim=1, stable=True)
            before_BT = torch.searchsorted(documents_BT.sort(dim=1).values, documents_BT.contiguous())
            rank_BTE = order_BTE.gather(1, by_document).argsort(dim=1) - before_BT[..., None]
            number_BT = torch.zeros_like(before_BT).scatter_add(1, before_BT, real_BT.long()).gather(1, before_BT)
        return (rank_BTE < (number_BT * self.share).ceil()[..., None]) & real_BT[..., None]
