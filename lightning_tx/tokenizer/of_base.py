"""The tokenizer of the run that a run starts from."""

from collections.abc import Iterable

from tokenizers import Tokenizer as Backend

from lightning_tx.core.errors import ConfigError
from lightning_tx.tokenizer.base import TOKENIZER, TokenizerTrainer


@TOKENIZER.register("base")
class OfBase(TokenizerTrainer):
    """The tokenizer of the run in ``init_from``, so that the rows of its weights stand for the tokens they stood for.

    What that run chose is recorded in its place.
    """

    of_base = True

    def build(self, texts: Iterable[str]) -> Backend:
        """Nothing is trained.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("tokenizer: base is trained by another run; name it: init_from=RUN.")
