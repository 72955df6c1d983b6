"""Options without effect or with another one, sizes that only fit one model, and positions that end."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_tx.components.adapter.base import Adapter
from lightning_tx.components.adapter.lora import Lora
from lightning_tx.components.adapter.low_rank import LowRankLinear
from lightning_tx.components.attention.multi_head import MultiHeadAttention
from lightning_tx.components.block.pre_norm import PreNorm
from lightning_tx.components.norm.base import Norm
from lightning_tx.components.pattern.base import Columns, Near, Pattern
from lightning_tx.components.positions.base import Positions
from lightning_tx.components.positions.rope import Rope
from lightning_tx.core.context import Context, KeyValueShape, Output
from lightning_tx.core.dims import Dims, Site
from tests.testing.faulty_layers import Honest
from tests.testing.planted import Fault


class IgnoresItsOption(Honest):
    def __init__(self, dims: Dims, site: Site, *, sharpness: float = 1.0, widen: bool = False) -> None:
        super().__init__(dims, site)
        self.sharpness, self.widen = sharpness, widen

    def inner(self, x: Tensor) -> Tensor:
        return super().inner(x * (2 if self.widen else 1))


class DropsATenth(Honest):
    def __init__(self, dims: Dims, site: Site, *, dropout: float = 0.0) -> None:
        super().__init__(dims, site)
        self.dropout = dropout

    def inner(self, x: Tensor) -> Tensor:
        return F.dropout(super().inner(x), 0.1, self.training and self.dropout > 0)


class DropsWithoutRescaling(DropsATenth):
    def inner(self, x: Tensor) -> Tensor:
        hidden = Honest.inner(self, x)
        keep = torch.rand_like(hidden) >= self.dropout if self.training and self.dropout else 1
        return hidden * keep


class TurnsItsValues(MultiHeadAttention):
    """Values are turned as keys are, and never back."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site, num_kv_heads=2)

    def keys_values(self, source_BSD, rotate):
        held = super().keys_values(source_BSD, rotate)
        return {**held, "v": rotate(held["v"])}


class ScalesByItsShare(TurnsItsValues):
    """Its scale is that of heads that share the states among them."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.scale = (dims.num_heads / dims.d_model) ** 0.5

    def keys_values(self, source_BSD, rotate):
        return MultiHeadAttention.keys_values(self, source_BSD, rotate)


class MiscountsItsHeads(ScalesByItsShare):
    """Says that it has as many key heads as query heads."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.kv_shape = KeyValueShape(dims.num_heads, dims.head_dim, dims.head_dim)


class DividesByItsLength(nn.Module):
    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x / x.norm(dim=-1, keepdim=True))


class NormalisesNothing(ScalesByItsShare):
    """Divides what it saw by its length, which is 0 where it saw nothing."""

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.o_proj = DividesByItsLength(self.o_proj)


class Wraps(Rope):
    """Positions go round after a thousand."""

    def rotation(self, positions_BT):
        return super().rotation(positions_BT % 1000)

    def rotate(self, x_BHTK, positions_BT):
        return super().rotate(x_BHTK, positions_BT % 1000)


class CountsFromTheFirst(Rope):
    """Angles of the first position and those that would follow it."""

    def rotation(self, positions_BT):
        return super().rotation(self.counted(positions_BT))

    def rotate(self, x_BHTK, positions_BT):
        return super().rotate(x_BHTK, self.counted(positions_BT))

    def counted(self, positions_BT: Tensor) -> Tensor:
        return positions_BT[:, :1] + torch.arange(positions_BT.shape[1], device=positions_BT.device)


class StopsAtItsTable(Positions):
    """Vectors of positions, of which the last one stands for all that follow."""

    def embed(self, x_BTD, positions_BT):
        at = positions_BT.clamp(max=40)[..., None]
        return x_BTD + torch.sin(at * torch.linspace(0.1, 1, x_BTD.shape[-1], dtype=x_BTD.dtype, device=x_BTD.device))


class HalfOfAll(Pattern):
    """Calls every second key a part."""

    def __call__(self, q_positions, k_positions):
        return ((q_positions - k_positions).abs() < 2) | (k_positions % 2 == 0)

    def parts(self):
        return Near(2), Columns(lambda at: at % 2 == 0)


class LosesLosses(PreNorm):
    """Returns the states alone."""

    def forward(self, x_BTD: Tensor, ctx: Context) -> Output:
        return Output(super().forward(x_BTD, ctx).x)


class RootOfASquare(Norm):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.weight = nn.Parameter(torch.ones(width))
        self.initial = {}

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.square().mean(dim=-1, keepdim=True).sqrt() + 1e-6) * self.weight


class LeavesAHook(Lora):
    """Hooks the base's layers and leaves them hooked."""

    def wrap(self, model: nn.Module) -> dict[str, nn.Module]:
        for name, module in model.named_modules():
            if name.endswith("q_proj"):
                module.register_forward_pre_hook(lambda module, inputs: (inputs[0] * (1 + 0.05 * module.training),))
        return super().wrap(model)


class IsInFloat32(LowRankLinear):
    def extend(self, rank: int, scale: float, dropout: float) -> None:
        super().extend(rank, scale, dropout)
        self.lora_A = nn.Parameter(self.lora_A.float())


class FitsFloat32(Adapter):
    """Its parameters are in float32 whatever the base's are."""

    def wrap(self, model: nn.Module) -> dict[str, nn.Module]:
        return {
            name: IsInFloat32.of(module, 2, 1.0, 0.0)
            for name, module in model.named_modules()
            if name.endswith("q_proj")
        }


FAULTS = [
    Fault("every_option_changes_something", "feed_forward", IgnoresItsOption, says="sharpness"),
    Fault("dropout_follows_its_probability", "feed_forward", DropsATenth),
    Fault("dropout_keeps_the_mean", "feed_forward", DropsWithoutRescaling, says="0.5"),
    Fault("shift_moves_nothing", "attention", TurnsItsValues),
    Fault("shift_moves_nothing", "positions", Wraps, says="far from each other"),
    Fault("far_positions_are_told_apart", "positions", Wraps, says="positions 0 and 1000 are turned alike"),
    Fault("far_positions_are_told_apart", "positions", StopsAtItsTable, says="positions 40 and 41 are embedded alike"),
    Fault("rotation_is_elementwise", "positions", CountsFromTheFirst, says="position 9"),
    Fault("scale_is_of_the_heads_width", "attention", ScalesByItsShare, says="where d_model is 16"),
    Fault("kv_shape_is_that_of_its_keys", "attention", MiscountsItsHeads, says="has 2 heads"),
    Fault("what_sees_nothing_is_finite", "attention", NormalisesNothing, says="padding"),
    Fault("what_sees_nothing_is_finite", "attention", NormalisesNothing, topology="encoder_decoder"),
    Fault("parts_are_cheap", "pattern", HalfOfAll, says="Columns has 50%"),
    Fault("losses_reach_the_model", "block", LosesLosses, says="load"),
    Fault("norms_are_finite", "norm", RootOfASquare, says="zeros"),
    Fault("adapter_leaves_its_base", "adapter", LeavesAHook, says="q_proj"),
    Fault("adapter_fits_a_bfloat16_base", "adapter", FitsFloat32),
]
