"""Every property, grouped by theme; importing this package puts all on the list, in the order they are checked."""

from lightning_tx.testing.properties import (  # noqa: F401, I001
    construction,
    shapes,
    purity,
    visibility,
    rows,
    caching,
    order,
    gradients,
    losses,
    state,
    precision,
    attention,
    patterns,
    layers,
    adapters,
    components,
)
from lightning_tx.testing.property import PROPERTIES as PROPERTIES
