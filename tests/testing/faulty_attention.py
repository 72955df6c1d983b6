"""Attention, positions, patterns and models with one fault each."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.components.pattern.base import Near, Pattern
from lightning_tx.components.positions.base import Positions
from lightning_tx.core.context import Context, KeyValueShape, Output
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.schemes import Normal, declare
from tests.testing.planted import Fault


class Grouped(MultiHeadAttention):
    """Two key heads for four query heads; the others are this and a fault."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site, num_kv_heads=2)

    def with_mask(self, x_BTD: Tensor, ctx: Context, **changes: object) -> Output:
        return super().forward(x_BTD, replace(ctx, mask=replace(ctx.mask, **changes)))  # type: ignore[arg-type]


class SeesOneAhead(Grouped):
    def forward(self, x_BTD, ctx):
        return self.with_mask(x_BTD, ctx, q_positions=ctx.mask.q_positions + 1, in_order=False)


class SeesTheFutureInItsCache(Grouped):
    def forward(self, x_BTD, ctx):
        return super().forward(x_BTD, ctx) if ctx.cache is None else self.with_mask(x_BTD, ctx, causal=False)


class LooksBack(Grouped):
    def forward(self, x_BTD, ctx):
        return self.with_mask(x_BTD, ctx, causal=True)


class SeesPadding(Grouped):
    def forward(self, x_BTD, ctx):
        return self.with_mask(x_BTD, ctx, k_token_mask=None)


class SeesOtherDocuments(Grouped):
    def forward(self, x_BTD, ctx):
        return self.with_mask(x_BTD, ctx, q_documents=None, k_documents=None)


class TilesItsKeyHeads(Grouped):
    def forward(self, x_BTD, ctx):
        if self.site.is_cross:
            return super().forward(x_BTD, ctx)
        held = self.keys_values(x_BTD, ctx.rotate)
        held = held if ctx.cache is None else ctx.cache.append(self.site.key, held)
        k, v = (each.repeat(1, 2, 1, 1) for each in self.expand(held))
        out = ctx.attend(self.site, self.queries(x_BTD, ctx.rotate), k, v, scale=self.scale)
        return Output(self.o_proj(out.transpose(1, 2).flatten(2)))


class SeesItselfAlone(Grouped):
    """Values of the own position in place of attention."""

    def forward(self, x_BTD, ctx):
        v = self.keys_values(x_BTD, ctx.rotate)["v"].repeat_interleave(2, dim=1)
        return Output(self.o_proj(v.transpose(1, 2).flatten(2)))


class ReadsItselfForTheSource(Grouped):
    def forward(self, x_BTD, ctx):
        if self.site.is_cross:
            v = self.keys_values(x_BTD, lambda x: x)["v"].repeat_interleave(2, dim=1)
            return Output(self.o_proj(v.transpose(1, 2).flatten(2)))
        return super().forward(x_BTD, ctx)


class CachesMoreThanItSays(Grouped):
    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.kv_shape = KeyValueShape(1, dims.head_dim, dims.head_dim)


class KeepsKeysBesideTheCache(Grouped):
    """Keys of its own, which do not follow when rows are chosen."""

    kept: Tensor | None = None

    def keys_values(self, source_BSD, rotate):
        held = super().keys_values(source_BSD, rotate)
        if self.training or self.site.is_cross:
            return held
        first = source_BSD[:1, 0]
        if self.kept is None or (source_BSD.shape[1] > 2 and self.kept.shape != first.shape):
            self.kept = first
        return held

    def forward(self, x_BTD, ctx):
        output = super().forward(x_BTD, ctx)
        if ctx.cache is None:
            return Output(output.x + x_BTD[:, :1])
        if ctx.mask.q_positions.shape[-1] == ctx.mask.k_positions.shape[-1]:
            self.first = x_BTD[:, :1]
        rows = torch.arange(x_BTD.shape[0]) % self.first.shape[0]
        return Output(output.x + self.first[rows])


class Turned(Positions):
    """Rotary positions; the others are this and a fault."""

    def at(self, positions_BT: Tensor) -> Tensor:
        return positions_BT

    def dtype(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(x.dtype, torch.float32)

    def rotate(self, x_BHTK: Tensor, positions_BT: Tensor) -> Tensor:
        dtype, width = self.dtype(x_BHTK), x_BHTK.shape[-1]
        speed = 100.0 ** -(torch.arange(0, width, 2, device=x_BHTK.device) / width)
        angle = self.at(positions_BT)[:, None, :, None].to(dtype) * speed.to(dtype)
        first, second = x_BHTK.to(dtype).chunk(2, dim=-1)
        turned = [first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()]
        return torch.cat(turned, dim=-1).to(x_BHTK.dtype)


class CountsFromTheChunk(Turned):
    def at(self, positions_BT):
        return torch.arange(positions_BT.shape[1], device=positions_BT.device).expand_as(positions_BT)


class CountsPadding(Turned):
    """Its position is the place in the row."""

    def embed(self, x_BTD, positions_BT):
        place = torch.arange(x_BTD.shape[1], device=x_BTD.device, dtype=x_BTD.dtype)
        return x_BTD * (1 + place[:, None])


class TurnsInBfloat16(Turned):
    def dtype(self, x: Tensor) -> torch.dtype:
        return x.dtype


class DoesNothing(Positions):
    """Nothing."""


class SaysTooLittle(Turned):
    tells_order = False


class TurnsInPlace(Turned):
    def rotate(self, x_BHTK, positions_BT):
        return x_BHTK.mul_(1 + positions_BT[:, None, :, None])


class BiasOfTheBlock(Positions):
    """A bias that counts keys from the first that it is asked for."""

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return (q_positions - k_positions + k_positions[..., :1]).double()[..., None, :, :].expand(-1, 4, -1, -1)


class SaysItIsRelative(Positions):
    """A bias that is a share of the query's position, as FIRE's, which the class does not say."""

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return ((q_positions - k_positions) / (q_positions + 1.0).double())[..., None, :, :].expand(-1, 4, -1, -1)


class EndsSilently(Positions):
    """A table whose length it does not tell."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.table = nn.Embedding(dims.max_seq_len, dims.d_model)
        declare(self.table, weight=Normal(0.02))

    def embed(self, x_BTD, positions_BT):
        return x_BTD + self.table(positions_BT)


class Window(Pattern):
    """The last three and the next three; the others are this and a fault."""

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return (q_positions - k_positions).abs() < 3


class BlindToItself(Window):
    def __call__(self, q_positions, k_positions):
        return super().__call__(q_positions, k_positions) & (q_positions != k_positions)


class AllowsNothing(Window):
    def __call__(self, q_positions, k_positions):
        return super().__call__(q_positions, k_positions) & (q_positions % 5 != 4)


class ReachesTooFar(Window):
    reach = 2


class ForgetsAPart(Window):
    def parts(self):
        return (Near(2),)


class CountsFromItsOwnBlock(Window):
    def __call__(self, q_positions, k_positions):
        return (
            super().__call__(q_positions, k_positions)
            & (k_positions >= k_positions[..., :1] + 0 * q_positions)
            & ((k_positions - k_positions[..., :1]) % 4 != 3)
        )


class ClaimsParts(Window):
    def parts(self):
        return ()


FAULTS = [
    Fault("causality", "attention", SeesOneAhead, says="token 0 moves"),
    Fault("causality", "attention", SeesOneAhead, topology="encoder_decoder"),
    Fault("cached_in_chunks", "attention", SeesTheFutureInItsCache),
    Fault("padding_on_the_left", "attention", SeesPadding, says="7 tokens with 5 of padding"),
    Fault("padding_on_the_right", "attention", SeesPadding, topology="encoder"),
    Fault("packed_documents", "attention", SeesOtherDocuments, says="document"),
    Fault("packed_documents", "attention", SeesOtherDocuments, topology="encoder"),
    Fault("attention_is_the_dense_softmax", "attention", TilesItsKeyHeads),
    Fault("attention_is_the_dense_softmax", "attention", SeesPadding, topology="encoder"),
    Fault("sees_what_the_pattern_allows", "attention", SeesItselfAlone, says="may depend on token 0, and does not"),
    Fault("sees_the_source", "attention", ReadsItselfForTheSource, topology="encoder_decoder"),
    Fault("cache_size", "attention", CachesMoreThanItSays),
    Fault("cached_rows_can_be_chosen", "attention", KeepsKeysBesideTheCache),
    Fault("cached_token_by_token", "positions", CountsFromTheChunk),
    Fault("cached_in_chunks", "positions", CountsFromTheChunk),
    Fault("padding_on_the_left", "positions", CountsPadding),
    Fault("cached_with_padding", "positions", CountsPadding),
    Fault("packed_documents", "positions", CountsPadding),
    Fault("bfloat16_at_far_positions", "positions", TurnsInBfloat16),
    Fault("positions_matter", "positions", DoesNothing),
    Fault("positions_matter", "positions", SaysTooLittle),
    Fault("order_shows_by_positions_alone", "positions", DoesNothing, topology="encoder"),
    Fault("inputs_unchanged", "positions", TurnsInPlace, says="rotate"),
    Fault("bias_is_elementwise", "positions", BiasOfTheBlock),
    Fault("relative_bias_ignores_shifts", "positions", SaysItIsRelative, says="100 positions further on"),
    Fault("past_the_training_length", "positions", EndsSilently),
    Fault("a_query_sees_itself", "pattern", BlindToItself),
    Fault("a_query_sees_itself", "pattern", AllowsNothing, says="[4, 9, 14, 19, 24] see nothing"),
    Fault("parts_are_the_pattern", "pattern", ReachesTooFar, says="reach is 2, and a query looks at a key 2 positions"),
    Fault("parts_are_the_pattern", "pattern", ForgetsAPart, says="query 0 and key 2: the pattern says True"),
    Fault("symmetric_in_an_encoder", "attention", LooksBack, topology="encoder", says="token 1 sees token 0"),
    Fault("pattern_is_elementwise", "pattern", CountsFromItsOwnBlock),
    Fault("sparse_takes_no_dense_memory", "pattern", ClaimsParts, says="4001"),
    Fault("cache_keeps_the_window_alone", "pattern", Window, says="bytes"),
]
HONEST = [("attention", Grouped), ("positions", Turned), ("pattern", Window)]
