"""What Hydra finds of lightning_tx: it takes sweepers from the package ``hydra_plugins`` alone, where plugins meet."""

from lightning_tx.cli.sweeper import RowSweeper


class Rows(RowSweeper):
    """The sweeper that ``conf/hydra/sweeper/rows.yaml`` names."""
