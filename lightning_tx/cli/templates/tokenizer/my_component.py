from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from lightning_tx import register
from lightning_tx.tokenizer.base import UNK, TokenizerTrainer


@register("tokenizer", "my_component")
class MyComponent(TokenizerTrainer):
    """The most frequent words of the training split, each with the space before it; others become ``<unk>``.

    Args:
        num_words: how many words are known.
    """

    def __init__(self, *, num_words: Annotated[int, Field(gt=0)] = 2000) -> None:
        self.num_words = num_words

    def build(self, texts: Iterable[str]) -> Backend:
        """Count the words; of those that are equally frequent the first in the alphabet is kept."""
        words = pre_tokenizers.Split(" ", "merged_with_next")
        counts = Counter(word for text in texts for word, _ in words.pre_tokenize_str(text))
        kept = sorted(counts, key=lambda word: (-counts[word], word))[: self.num_words]
        backend = Backend(models.WordLevel(self.vocabulary(kept), unk_token=UNK))
        backend.pre_tokenizer, backend.decoder = words, decoders.Fuse()
        return backend
