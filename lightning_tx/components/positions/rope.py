from lightning_tx.components.positions.base import POSITIONS
from lightning_tx.components.positions.rotary import Rotary


@POSITIONS.register("rope")
class Rope(Rotary):
    """Rotary positions: pairs of query and key dimensions turn by an angle proportional to the position.

    Pair i of K dimensions turns by ``position · base^(-2i/K)``, so that a score depends on the distance alone.

    Source: Su et al. 2021, arXiv:2104.09864; a fraction of the head as in GPT-NeoX, Black et al. 2022,
    arXiv:2204.06745.

    Raises:
        ConfigError: ``head_dim`` is odd, or the dimensions that turn are no even number.
    """
