"""A trained tokenizer, and the base of the components that train one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

from tokenizers import Tokenizer as Backend

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.files import replaced
from lightning_tx.core.group import Group
from lightning_tx.data.storage import digest_of_texts

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"

#: The special tokens of every tokenizer, in the order of their ids from 0 on.
SPECIAL_TOKENS = (PAD, BOS, EOS, UNK)


class Tokenizer:
    """Maps text to token ids and back. Does not change after it was made.

    Special tokens are added by id where they belong; text that reads like one, such as ``"<eos>"``, is encoded as the
    characters it consists of.

    Args:
        serialized: the content of a ``tokenizer.json`` of the Hugging Face library.

    Raises:
        ConfigError: the content is not a tokenizer's, or it lacks one of ``SPECIAL_TOKENS``.
    """

    def __init__(self, serialized: str) -> None:
        try:
            self._backend = Backend.from_str(serialized)
        except Exception as error:  # the library raises nothing more precise
            raise ConfigError(f"tokenizer: this is not the content of a {names.TOKENIZER_FILE}: {error}.") from error
        # Not part of the file: without it the text "<eos>" would become the special token.
        self._backend.encode_special_tokens = True
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = map(self.id_of, SPECIAL_TOKENS)
        self.vocab_size = self._backend.get_vocab_size()
        #: The content of the file ``tokenizer.json``.
        self.serialized = serialized
        #: 32 hexadecimal characters over that content.
        self.digest = digest_of_texts([serialized])

    def knows(self, token: str) -> bool:
        """Whether the vocabulary has a token."""
        return self._backend.token_to_id(token) is not None

    def id_of(self, token: str) -> int:
        """The id of a token that has to be there, such as a special token.

        Raises:
            ConfigError: the vocabulary has no such token.
        """
        token_id = self._backend.token_to_id(token)
        if token_id is None:
            raise ConfigError(f"tokenizer: its vocabulary has no token {token!r}.")
        return token_id

    def encode(self, text: str) -> list[int]:
        """The token ids of a text; no special tokens are added."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, computed in parallel."""
        return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids. Special tokens, and ids beyond the vocabulary, have no text and are left out."""
        return self._backend.decode(ids, skip_special_tokens=True)

    def save(self, path: Path) -> None:
        """Write the tokenizer to the file ``path``, which is replaced in one step if it exists."""
        with replaced(path) as partial:
            partial.write_text(self.serialized, encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            ConfigError: there is no such file, or it is not a tokenizer's.
        """
        try:
            serialized = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"tokenizer: '{path}' cannot be read: {error}.") from error
        return cls(serialized)

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.serialized,)


class TokenizerTrainer(ABC):
    """Base of the group ``tokenizer``: the recipe by which a tokenizer is made from training text.

    Attributes:
        of_base: whether it stands for whatever the run to start from has.
        lossless: whether text without unknown tokens comes back from its ids exactly; one that changes case or white
            space says False.
    """

    of_base: ClassVar[bool] = False
    lossless: ClassVar[bool] = True
    #: In the order of their ids from 0 on.
    special_tokens: tuple[str, ...] = SPECIAL_TOKENS

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """Make the tokenizer. The same texts in the same order give the same one.

        Args:
            texts: text of the training split alone.
        """
        backend = self.build(texts)
        backend.add_special_tokens(list(self.special_tokens))
        return Tokenizer(backend.to_str())

    @abstractmethod
    def build(self, texts: Iterable[str]) -> Backend:
        """The library's tokenizer for the texts. Its vocabulary starts with ``special_tokens``, in their order."""

    def vocabulary(self, tokens: Iterable[str]) -> dict[str, int]:
        """The ids of a vocabulary that consists of the special tokens followed by ``tokens``."""
        return {token: number for number, token in enumerate([*self.special_tokens, *tokens])}


TOKENIZER = Group("tokenizer", TokenizerTrainer, __package__)
