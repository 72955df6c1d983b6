"""The keys of a config that are no group and hold no options."""

from typing import Annotated

from pydantic import BaseModel, Field

from lightning_tx.core.schema import LARGEST, STRICT

Text = Annotated[str, Field(min_length=1)]


class Values(BaseModel):
    """What a run starts from and where it is kept.

    Attributes:
        seed: of everything that is drawn.
        root: the folder of everything that runs write.
        study: the study that the run belongs to; null for none.
        margin: of the study: the difference that matters, as 0.01 or 1%; null for none.
        init_from: the run whose weights it starts from; null to start afresh.
        plugins: files whose components can be chosen.
    """

    model_config = STRICT

    seed: Annotated[int, Field(ge=0, le=LARGEST)]
    root: Text
    study: Text | None = None
    margin: str | float | None = None
    init_from: Text | None = None
    plugins: list[str] = Field(default_factory=list)
