"""What stands in the place of an attention and is none of queries and keys: recurrences and convolutions."""

from typing import ClassVar

from lightning_tx.core.context import Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError


class Mixer(Sublayer):
    """Base of the choices that go through the tokens in order instead of looking at all of them.

    A component writes ``forward``. What it knows of earlier tokens it asks of the context, which keeps it in a cache:
    ``ctx.recent`` for the inputs just before, ``ctx.state`` and ``ctx.keep`` for a state. Documents begin where
    ``ctx.mask.starts`` says, padding is where ``ctx.token_mask_BT`` is False. It tells the order of tokens by
    itself, so it reads no positions, and it has no keys that a pattern could hide.

    Raises:
        ConfigError: it stands where there is no past, or a pattern restricts its place.
    """

    attends: ClassVar[bool] = False
    tells_order: ClassVar[bool] = True

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__()
        self.site = site
        problems = []
        if site.is_cross:
            problems.append("attention.name: this choice goes through its own tokens and cannot read an encoder's.")
        elif not site.causal:
            problems.append(
                "attention.name: this choice goes from the first token to the last and cannot see both ways."
            )
        if problems:
            problems = [
                f"{problem} It is for the self-attention of a causal stack: take model=decoder, or "
                "model.overrides: [{stack: decoder, site: self_attention, attention: {name: …}}]."
                for problem in problems
            ]
        elif site.pattern is not None and not site.pattern.is_full:
            problems.append("pattern.name: this attention looks at no keys that a pattern could hide. Choices: full.")
        if problems:
            raise ConfigError(problems)
