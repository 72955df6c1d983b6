"""Every property, grouped by theme; importing this package puts all on the list, in the order they are checked."""

from lightning_tx.testing.properties import (  # noqa: F401, I001
    construction,
    purity,
    shapes,
    visibility,
    rows,
    caching,
    order,
    options,
    gradients,
    losses,
    state,
    precision,
    attention,
    patterns,
    cost,
    layers,
    adapters,
    components,
    data,
    tokenizers,
    tasks,
    optimizers,
    schedules,
    decoding,
)
from lightning_tx.testing.property import PROPERTIES as PROPERTIES
