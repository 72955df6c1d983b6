from lightning_tx.components.positions.rotary import Base, Fraction, Pairing, Rotary
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.registry import register


@register("positions", "rope")
class Rope(Rotary):
    """Rotary positions: pairs of query and key dimensions turn by an angle proportional to the position.

    Pair i of K dimensions turns by ``position · base^(-2i/K)``, so that a score depends on the distance alone.

    Source: Su et al. 2021, arXiv:2104.09864; a fraction of the head as in GPT-NeoX, Black et al. 2022,
    arXiv:2204.06745.

    Args:
        base: the slowest pair turns once in about ``2π · base`` positions.
        pairing: which dimensions form a pair: ``half`` (i and i + K/2, as Hugging Face stores weights) or
            ``interleaved`` (2i and 2i + 1, as Meta stores them).
        fraction: share of a head's dimensions that turn, the first ones; K is their number.

    Raises:
        ConfigError: ``head_dim`` is odd, or the dimensions that turn are no even number.
    """

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        base: Base = 10_000.0,
        pairing: Pairing = "half",
        fraction: Fraction = 1.0,
    ) -> None:
        super().__init__(dims, site, base=base, pairing=pairing, fraction=fraction)
