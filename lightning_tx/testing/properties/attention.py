"""Attention is the softmax over what the mask allows."""

from typing import Any

import torch
from torch import Tensor

from lightning_tx.components.attention.base import Attention
from lightning_tx.core.context import Context
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import require_close

EXACT = 1e-9


@holds(
    tolerance=f"{EXACT:g}",
    groups=("attention", "pattern", "positions"),
    usually="key heads tiled instead of repeated next to each other, a bias or a scale left out, or a mask ignored.",
)
def attention_is_the_dense_softmax(subject: Subject) -> None:
    """Attention computes softmax(q kᵀ · scale + bias) v from its own queries, keys and values, head h with key head
    h // (H / G), over what mask and pattern allow.
    """
    calls: list[tuple[Attention, Tensor, Context, Tensor]] = []

    def watch(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append((module, inputs[0], inputs[1], output.x))

    model = subject.copy()
    for module in model.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(watch)
    mask = torch.ones_like(subject.ids, dtype=torch.bool)
    mask[1, -4:] = False
    subject.states(subject.ids, model=model, token_mask_BT=mask)
    if not calls:
        raise NotApplicable("there is no attention with queries and keys")
    with torch.no_grad():
        for module, x_BTD, ctx, found in calls:
            what = f"{type(module).__name__} ({module.site.key}) and the dense softmax"
            real = torch.ones_like(found[..., 0], dtype=torch.bool) if ctx.token_mask_BT is None else ctx.token_mask_BT
            require_close(found[real], _dense(module, x_BTD, ctx)[real], EXACT, what)


def _dense(module: Attention, x_BTD: Tensor, ctx: Context) -> Tensor:
    if module.site.is_cross:
        assert ctx.memory is not None
        source, rotate, bias = ctx.memory.x_BSD, _unchanged, None
        real = ctx.memory.token_mask_BS
        allowed = torch.ones(1, 1, 1, source.shape[1], dtype=torch.bool, device=x_BTD.device)
        allowed = allowed if real is None else real[:, None, None]
    else:
        source, rotate = x_BTD, ctx.rotate
        own = ctx.mask.within(module.site.pattern)
        bias = ctx.bias(own.q_positions[:, :, None], own.k_positions[:, None, :])
        allowed = own.dense()
    q_BHTK = module.queries(x_BTD, rotate)
    k_BGSK, v_BGSK = module.expand(module.keys_values(source, rotate))
    if q_BHTK.shape[1] % k_BGSK.shape[1]:
        raise Violation(f"{k_BGSK.shape[1]} key heads for {q_BHTK.shape[1]} query heads.")
    heads = torch.arange(q_BHTK.shape[1], device=x_BTD.device) // (q_BHTK.shape[1] // k_BGSK.shape[1])
    scores = q_BHTK @ k_BGSK[:, heads].mT * module.scale
    scores = scores if bias is None else scores + bias
    weights = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1).nan_to_num()
    return module.o_proj((weights @ v_BGSK[:, heads]).transpose(1, 2).flatten(2))


def _unchanged(x: Tensor) -> Tensor:
    return x
