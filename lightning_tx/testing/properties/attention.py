"""Attention is the softmax over what the mask allows."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_tx.components.attention.base import Attention
from lightning_tx.core.context import Context
from lightning_tx.kernels.scores import Scores
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import require_close, seeded

EXACT = 1e-9


@holds(
    tolerance=f"{EXACT:g}",
    groups=("attention", "pattern", "positions"),
    usually="key heads tiled instead of repeated next to each other, a bias or a scale left out, or a mask ignored.",
)
def attention_is_the_dense_softmax(subject: Subject) -> None:
    """Attention computes softmax(q kᵀ · scale + bias) v from its own queries, keys and values, head h with key head
    h // (H / G), over what mask and pattern allow, with what it says of its scores and outputs.
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


@holds(
    groups=("attention",),
    usually="a scale of d_model / num_heads, which is not the width of a head where model.head_dim is set.",
)
def scale_is_of_the_heads_width(subject: Subject) -> None:
    """The scale of the scores depends on the width of a head alone, not on that of the states."""
    scales = {}
    for d_model in (16, 32):
        model = replace(subject, sizes={"d_model": d_model, "head_dim": 8}).build(device=torch.device("meta"))
        for module in model.modules():
            if isinstance(module, Attention) and isinstance(module.scale, float):
                scales.setdefault(module.site.key, {})[d_model] = module.scale
    if not scales:
        raise NotApplicable("there is no scale")
    for key, found in scales.items():
        if len(set(found.values())) > 1:
            raise Violation(
                f"{key}: heads of width 8 have the scale {found[16]:.4g} where d_model is 16, and {found[32]:.4g} "
                "where it is 32."
            )


@holds(
    groups=("attention",),
    usually="num_heads written where there are num_kv_heads, or the width of a key for that of a value.",
)
def kv_shape_is_that_of_its_keys(subject: Subject) -> None:
    """kv_shape says how many key heads there are, and how wide keys and values are; prefixes are made by it."""
    found = [module for module in subject.model.modules() if isinstance(module, Attention)]
    if not found:
        raise NotApplicable("there is no attention with keys and values")
    for module in found:
        source = torch.ones(1, 3, subject.model.d_model, dtype=torch.float64, device=subject.device)
        with torch.no_grad():
            k, v = module.expand(module.keys_values(source, _unchanged))
        shape, own = module.kv_shape, (k.shape[1], k.shape[-1], v.shape[-1])
        if shape is None or (shape.num_heads, shape.key_width, shape.value_width) != own:
            heads, key_width, value_width = own
            raise Violation(
                f"{module.site.key} has {heads} heads of keys of width {key_width} and values of width {value_width}; "
                f"kv_shape is {shape}."
            )


@holds(
    in_combinations=True,
    usually="a division by a length or a sum that is 0 where nothing is seen: 0 / 0.",
)
def what_sees_nothing_is_finite(subject: Subject) -> None:
    """Queries that may look at nothing, as padding or beside a source that is all padding, have finite states."""
    if not subject.has_attention:
        raise NotApplicable("there is no attention")
    model = subject.copy().train()
    mask = torch.ones_like(subject.ids, dtype=torch.bool)
    mask[0, :5], mask[1] = False, False
    rows: dict[str, Tensor] = {"token_mask_BT": mask}
    if subject.has_source:
        source_mask = torch.ones_like(subject.source, dtype=torch.bool)
        source_mask[2] = False
        rows |= {"source_BS": subject.source, "source_token_mask_BS": source_mask}
    with seeded(0):
        x = subject.run(subject.ids, model=model, **rows).x
    blind = (~x.isfinite().flatten(1).all(dim=1)).nonzero()[:, 0].tolist()
    if blind:
        what = {0: "padding on the left", 1: "nothing but padding", 2: "a source of nothing but padding"}
        raise Violation(f"a row with {what[blind[0]]} has states that are not finite.")


def _dense(module: Attention, x_BTD: Tensor, ctx: Context) -> Tensor:
    if module.site.is_cross:
        assert ctx.memory is not None
        source, bias, real = ctx.memory.x_BSD, None, ctx.memory.token_mask_BS
        turn_queries = turn_keys = _unchanged
        if module.cross_positions and ctx.rotate_memory is not None:
            turn_queries, turn_keys = ctx.rotate, ctx.rotate_memory
            bias = ctx.bias(ctx.mask.q_positions[:, :, None], ctx.memory.positions[:, None, :])
        allowed = torch.ones(1, 1, 1, source.shape[1], dtype=torch.bool, device=x_BTD.device)
        allowed = allowed if real is None else real[:, None, None]
    else:
        source, turn_queries, turn_keys = x_BTD, ctx.rotate, ctx.rotate
        own = ctx.mask.within(module.site.pattern)
        bias = ctx.bias(own.q_positions[:, :, None], own.k_positions[:, None, :])
        allowed = own.dense()
    q_BHTK = module.queries(x_BTD, turn_queries)
    if module.site.is_cross:
        k_BGSK, v_BGSK = module.expand(module.keys_values(source, turn_keys))
    else:
        k_BGSK, v_BGSK, _ = module.own(x_BTD, ctx)
    if q_BHTK.shape[1] % k_BGSK.shape[1]:
        raise Violation(f"{k_BGSK.shape[1]} key heads for {q_BHTK.shape[1]} query heads.")
    num_heads, between = q_BHTK.shape[1], module.scores() or Scores()
    scores = between.changed(q_BHTK @ _repeated(k_BGSK, num_heads).mT * module.scale)
    scores = scores if bias is None else scores + _repeated(bias, num_heads)
    scores = scores.masked_fill(~allowed, float("-inf"))
    if between.sinks is not None:
        sinks = between.sinks[:, None, None].expand_as(scores[..., :1])
        scores = torch.cat([scores, sinks], dim=-1)
    weights = scores.softmax(dim=-1).nan_to_num()[..., : k_BGSK.shape[2]]
    out_BHTK = module.outputs(weights @ _repeated(v_BGSK, num_heads), x_BTD)
    return module.o_proj(out_BHTK.transpose(1, 2).flatten(2))


def _repeated(x: Tensor, num_heads: int) -> Tensor:
    """As many heads, each repeated next to itself."""
    own = torch.arange(num_heads, device=x.device) // (num_heads // x.shape[-3])
    return x.index_select(-3, own)


def _unchanged(x: Tensor) -> Tensor:
    return x
