"""The keys of a config that are no group and hold no options."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from lightning_tx.core.schema import LARGEST, STRICT

Text = Annotated[str, Field(min_length=1)]


class InitFrom(BaseModel):
    """The run that a run starts from; the name of it alone stands for a mapping with nothing else.

    Attributes:
        run: its id, the beginning of it, ``last`` or ``best:STUDY``.
        adapter: what becomes of the adapter that it was trained with (:mod:`lightning_tx.runs.starting`).
    """

    model_config = STRICT

    run: Text
    adapter: Literal["merge", "continue"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"run": value}
        if isinstance(value, Mapping | cls):
            return value
        if isinstance(value, int | float):  # the id of a run may be all digits
            raise ValueError(f"should be text, which it is in quotes: init_from='\"{value}\"'")
        raise ValueError("should be the name of a run, or a mapping of run and adapter")


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
    init_from: InitFrom | None = None
    plugins: list[str] = Field(default_factory=list)
