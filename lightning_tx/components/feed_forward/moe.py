from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.feed_forward.base import FEED_FORWARD, FeedForward, Plain
from lightning_tx.components.feed_forward.experts import EXPERT, expert_of, problems_of_expert, router_logits
from lightning_tx.core.context import Context, Mean, Output
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError, PluginError
from lightning_tx.kernels.grouped_linear import GroupedLinear
from lightning_tx.kernels.grouping import Grouping


@FEED_FORWARD.register("moe")
class MixtureOfExperts(FeedForward):
    """``Σ p_e(x) · expert_e(x)`` over the ``top_k`` experts that a router finds likeliest for each token.

    The router's probabilities ``p`` are a softmax over all experts, taken in float32 at least and before the choice,
    so that their weight is learned for one expert a token too. Padding goes to no expert and counts nowhere.

    Losses: ``load_balance``, ``E · Σ f_e · mean p_e``, where ``f_e`` is the share of the choices that fell on expert e:
    1 where all are even; ``z_loss``, the mean of ``logsumexp(logits)²``. Stats: ``load``, the share of the choices of
    each expert; ``dropped``, the share of them beyond its capacity; ``router_entropy``, of ``p``, in nats.

    Source: Shazeer et al. 2017, arXiv:1701.06538; balance and capacity: Fedus et al. 2021, arXiv:2101.03961; z-loss:
    Zoph et al. 2022, arXiv:2202.08906; shared experts: Dai et al. 2024, arXiv:2401.06066; balance without a loss: Wang
    et al. 2024, arXiv:2408.15664.

    Args:
        num_experts: experts to choose from (E).
        top_k: experts of each token.
        num_shared_experts: experts of every token besides, as one of that many times the width.
        expert: the feed-forward that an expert is: its name and options.
        d_ff: inner width of an expert; null for the model's.
        normalise: whether the weights of a token's experts are scaled to a sum of 1, as in Mixtral. Otherwise they are
            the probabilities themselves, whatever ``top_k``: a study of ``top_k`` then changes one thing.
        capacity_factor: in training an expert takes at most ``capacity_factor · top_k · tokens / num_experts`` tokens
            of a row, rounded up, the first ones; the others pass it by. Null for no limit; there is none in evaluation.
        load_balance: weight of the balance loss.
        z_loss: weight of the z-loss.
        bias_rate: what is added to, or taken from, an expert's score at each step if it got too few or too many tokens.
            The score decides who is chosen, not with what weight. 0 for no such bias.
    """

    balance_bias: Tensor | None

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        num_experts: Annotated[int, Field(gt=0)] = 8,
        top_k: Annotated[int, Field(gt=0)] = 2,
        num_shared_experts: Annotated[int, Field(ge=0)] = 0,
        expert: dict[str, Any] = EXPERT,
        d_ff: Annotated[int, Field(gt=0)] | None = None,
        normalise: bool = False,
        capacity_factor: Annotated[float, Field(gt=0, le=1000)] | None = None,
        load_balance: Annotated[float, Field(ge=0)] = 0.01,
        z_loss: Annotated[float, Field(ge=0)] = 0.001,
        bias_rate: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__(dims, site)
        problems = problems_of_expert(expert)
        if top_k > num_experts:
            problems.append(
                f"feed_forward.top_k: {top_k} is more than feed_forward.num_experts = {num_experts}. "
                f"Choices: 1 to {num_experts}."
            )
        if normalise and top_k == 1:
            problems.append(
                "feed_forward.normalise: true gives a single expert (feed_forward.top_k = 1) the weight 1, from which "
                "the router learns nothing. Choices: false."
            )
        if problems:
            raise ConfigError(problems)
        self.key, self.num_experts, self.top_k, self.normalise = site.key, num_experts, top_k, normalise
        self.capacity_factor, self.bias_rate = capacity_factor, bias_rate
        self.trains_as_evaluated = capacity_factor is None
        self.weights = {"load_balance": load_balance, "z_loss": z_loss}
        self.router = nn.Linear(dims.d_model, num_experts, bias=False)
        width = dims.d_ff if d_ff is None else d_ff
        grouped = replace(site, make_linear=partial(GroupedLinear, num_experts))
        self.experts = expert_of(expert, replace(dims, d_ff=width), grouped)
        self.shared: Plain | None = None
        if num_shared_experts:
            self.shared = expert_of(expert, replace(dims, d_ff=num_shared_experts * width), site)
        self.register_buffer("balance_bias", torch.zeros(num_experts) if bias_rate else None)

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        """Map the states [B, T, D] to [B, T, D]."""
        logits_BTE = router_logits(self.router, x_BTD)
        p_BTE = logits_BTE.softmax(dim=-1)
        choice_BTk = self._choose(p_BTE)
        if self.normalise:
            weights_BTk = logits_BTE.gather(-1, choice_BTk).softmax(dim=-1)
        else:
            weights_BTk = p_BTE.gather(-1, choice_BTk)
        chosen_BTE = torch.zeros_like(p_BTE, dtype=torch.long).scatter(-1, choice_BTk, 1)
        real_BT = ctx.token_mask_BT
        if real_BT is not None:
            chosen_BTE = chosen_BTE * real_BT[..., None]
        taken_BTE = self._within_capacity(chosen_BTE)
        goes_BTk = taken_BTE.gather(-1, choice_BTk).bool()
        grouping = Grouping.of(choice_BTk.where(goes_BTk, self.num_experts).flatten(0, 1), self.num_experts)
        rows_RD = self.experts.map(grouping.spread(x_BTD.flatten(0, 1)), grouping.counts_E)
        out_BTD = grouping.combine(rows_RD, weights_BTk.flatten(0, 1)).view(x_BTD.shape)
        if self.shared is not None:
            out_BTD = out_BTD + self.shared.map(x_BTD)
        return self._output(out_BTD, logits_BTE, p_BTE, chosen_BTE, taken_BTE, real_BT)

    def after_step(self, stats: Mapping[str, Mean]) -> None:
        """Make experts that got too few tokens likelier to be chosen, and the others less.

        Raises:
            PluginError: the stats hold no load: the task keeps what the model has returned to itself.
        """
        if self.balance_bias is None:
            return
        if f"{self.key}/load" not in stats:
            raise PluginError(
                f"{self.key}: feed_forward.bias_rate needs to know each expert's load, but the task's loss leaves out "
                "the stats that the model returns."
            )
        counts_E = stats[f"{self.key}/load"].sum.double()
        self.balance_bias += self.bias_rate * (counts_E.mean() - counts_E).sign()

    def idle_parameters(self) -> int:
        """Those of the experts that were not chosen."""
        of_one_expert = sum(parameter.numel() for parameter in self.experts.parameters()) // self.num_experts
        return of_one_expert * (self.num_experts - self.top_k)

    def _choose(self, p_BTE: Tensor) -> Tensor:
        scores_BTE = p_BTE.detach()
        if self.balance_bias is not None:
            scores_BTE = scores_BTE + self.balance_bias
        return scores_BTE.topk(self.top_k, dim=-1).indices

    def _within_capacity(self, chosen_BTE: Tensor) -> Tensor:
        """Those of the choices that an expert has room for. Who came first in the row stays, whatever comes later."""
        if self.capacity_factor is None or not self.training:
            return chosen_BTE
        choices_B = chosen_BTE.sum(dim=(1, 2))
        capacity_B = (choices_B * (self.capacity_factor / self.num_experts)).ceil()
        return chosen_BTE * (chosen_BTE.cumsum(dim=1) <= capacity_B[:, None, None])

    def _output(
        self,
        out_BTD: Tensor,
        logits_BTE: Tensor,
        p_BTE: Tensor,
        chosen_BTE: Tensor,
        taken_BTE: Tensor,
        real_BT: Tensor | None,
    ) -> Output:
        p_NE, z_N = p_BTE.flatten(0, 1), logits_BTE.logsumexp(dim=-1).flatten()
        counts_E = chosen_BTE.sum(dim=(0, 1))
        num_choices = counts_E.sum()
        num_tokens = num_choices // self.top_k
        if real_BT is not None:
            real_N = real_BT.flatten()
            p_NE, z_N = p_NE * real_N[:, None], z_N * real_N
        losses = {
            "load_balance": self.num_experts
            * (counts_E * p_NE.sum(dim=0)).sum()
            / (num_choices * num_tokens).clamp_min(1),
            "z_loss": (z_N**2).sum() / num_tokens.clamp_min(1),
        }
        stats = {
            "load": Mean(counts_E, num_choices),
            "router_entropy": Mean(torch.special.entr(p_NE.detach()).sum(), num_tokens),
        }
        if self.capacity_factor is not None:
            stats["dropped"] = Mean(num_choices - taken_BTE.sum(), num_choices)
        return Output(
            out_BTD,
            {f"{self.key}/{name}": (losses[name], weight) for name, weight in self.weights.items() if weight},
            {f"{self.key}/{name}": value for name, value in stats.items()},
        )
