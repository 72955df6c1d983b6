from lightning_tx.components.positions.base import POSITIONS, Positions


@POSITIONS.register("none")
class NoPositions(Positions):
    """No information on positions; a causal decoder can still infer some from its mask.

    Source: Haviv et al. 2022, arXiv:2203.16634.
    """

    tells_order = False
