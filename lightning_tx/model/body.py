"""The interface of the group ``model``: a body, which maps token ids to states, and becomes a model by its head."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, ClassVar, Self, cast

import torch
from torch import nn

from lightning_tx.core.group import Group
from lightning_tx.model.heads.base import Head
from lightning_tx.model.heads.language_model import LanguageModelHead
from lightning_tx.model.init import initialise
from lightning_tx.model.sizes import Sizes

if TYPE_CHECKING:
    from lightning_tx.model.stack import LayerStack


class Body(nn.Module):
    """Maps token ids to states; with the head that a task puts on it, it is a model.

    A component writes ``forward``, which returns an :class:`lightning_tx.core.context.Output` and takes

    - of one input: ``tokens_BT``, and ``token_mask_BT``, True at real tokens or None where there is no padding; where
      ``packs_documents``, ``positions_BT`` and ``documents_BT`` as well, which are None where a row is one document;
    - of two inputs: ``source_BS`` and ``tokens_BT``, ``source_token_mask_BS``, ``token_mask_BT`` and ``padding_last``,
      which says that the padding of the second follows its real tokens.

    States at padding are unspecified, and no other state depends on what stands there. A body that can continue rows of
    tokens has the methods of :class:`lightning_tx.model.generation.Generator` as well.

    Its constructor sets ``d_model`` and ``max_seq_len``. Where it has stacks of layers, the components come from
    ``parts``; what it does not ask for there has no influence on a run.

    Attributes:
        num_inputs: how many sequences of token ids ``forward`` takes.
        causal: whether a state depends on no later token of its sequence.
        pooled: whether there is one state an example, [B, D], instead of one a token, [B, T, D].
        packs_documents: whether a row may hold several documents.
        d_model: width of the states (D).
        max_seq_len: longest sequence it is trained on, in tokens; source and target each.
        seen_ahead: leading tokens of each document that, though ``causal``, are seen by those before them, and that
            are therefore not to be predicted.
        linear_std: standard deviation of linear layers at the start; None for ``1 / sqrt(inputs)`` of each.
        embedding_std: that of embeddings; None for ``d_model^-0.5``.
    """

    num_inputs: ClassVar[int] = 1
    causal: ClassVar[bool]
    pooled: ClassVar[bool] = False
    packs_documents: ClassVar[bool] = False
    d_model: int
    max_seq_len: int
    seen_ahead: int = 0
    linear_std: float | None = None
    embedding_std: float | None = None
    _head: str | None = None

    @property
    def stacks(self) -> Mapping[str, "LayerStack"]:
        """The stacks of layers by the names of their modules, the one next to the output last; none by default."""
        return {}

    @property
    def head(self) -> Head:
        """The head, under whose name it stands in the model."""
        assert self._head is not None, "the body has no head yet"
        return cast(Head, self.get_submodule(self._head))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def attach(self, head: Head) -> Self:
        """Put a head on the body, which makes it a model; returns it."""
        self.add_module(head.name, head)
        self._head = head.name
        return self

    def language_model_head(self, sizes: Sizes) -> LanguageModelHead:
        """A head that predicts tokens, for tasks that ask for one: a projection of its own unless told otherwise.

        Raises:
            ConfigError: the size of the vocabulary is not known.
        """
        return LanguageModelHead(self.d_model, sizes.known("vocab_size"))

    def initialise(self, seed: int, only: Collection[nn.Parameter] | None = None) -> None:
        """Fill every parameter, or these, as a function of the seed and its name."""
        std = self.d_model**-0.5 if self.embedding_std is None else self.embedding_std
        initialise(self, seed=seed, linear_std=self.linear_std, embedding_std=std, only=only)


def language_model(body: Body, sizes: Sizes) -> Head:
    """The head of a language model, as the body makes it."""
    return body.language_model_head(sizes)


MODEL = Group("model", Body, __package__, gives=("parts", "sizes"))
