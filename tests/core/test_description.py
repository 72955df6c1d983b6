from typing import Annotated, TypedDict, Unpack

import pytest
from pydantic import Field

from lightning_tx.core.description import description, source, summary


class Shared(TypedDict, total=False):
    """Two options.

    Args:
        rate: how fast,
            on two lines.
        limit: how far.
    """

    rate: Annotated[float, Field(default=0.5)]
    limit: Annotated[int, Field(default=1)]


class Base:
    """Base.

    Args:
        width: from the framework.
        rate: not what is told, as the shared options are nearer to those who take them.
        bias: whether there is one.
    """

    def __init__(self, width: int, *, bias: bool = False) -> None: ...


class Inherits(Base):
    """It takes what its base takes.

    Source: Author et al. 2020,
    arXiv:2001.00001.
    """


class Raises(Base):
    """It raises.

    Raises:
        ConfigError: always.
    """


class Shares(Base):
    """It has options of both kinds.

    Args:
        own: its own.
        limit: how far it goes.

    Raises:
        ConfigError: never.
    """

    def __init__(self, width: int, *, own: int = 3, **options: Unpack[Shared]) -> None: ...


INHERITS = """It takes what its base takes.

Source: Author et al. 2020,
arXiv:2001.00001.

Args:
    bias: whether there is one."""

RAISES = """It raises.

Args:
    bias: whether there is one.

Raises:
    ConfigError: always."""

SHARES = """It has options of both kinds.

Args:
    own: its own.
    limit: how far it goes.
    rate: how fast,
        on two lines.

Raises:
    ConfigError: never."""


@pytest.mark.parametrize(("cls", "expected"), [(Inherits, INHERITS), (Raises, RAISES), (Shares, SHARES)])
def test_options_are_explained_wherever_they_come_from(cls: type, expected: str) -> None:
    assert description(cls) == expected


def test_a_docstring_that_explains_all_stays_as_it_is() -> None:
    assert description(Base).startswith("Base.\n\nArgs:\n    width: from the framework.\n")
    assert description(object) == (object.__doc__ or "").strip()


def test_the_docstring_tells_summary_and_source() -> None:
    assert summary(Inherits) == "It takes what its base takes."
    assert source(Inherits) == "Author et al. 2020, arXiv:2001.00001."
    assert source(object) == ""
