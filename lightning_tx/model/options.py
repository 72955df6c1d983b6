"""The options that every topology takes."""

from typing import Annotated, Any, TypedDict

from pydantic import Field

_Size = Annotated[int, Field(gt=0)]
_Positive = Annotated[float, Field(gt=0)]


class ModelOptions(TypedDict, total=False):
    """Sizes, the embeddings and how values start.

    Args:
        d_model: width of the residual stream.
        num_heads: attention heads.
        head_dim: width of a head; null for ``d_model / num_heads``.
        d_ff: inner width of the feed-forward; null for ``4 · d_model``.
        max_seq_len: longest sequence it is trained on, in tokens; source and target each.
        dropout: probability for embeddings and residual branches.
        vocab_size: entries of the vocabulary, the target's where there are two; null for the tokenizer's.
        vocab_multiple: rows of the embedding are padded to a multiple of this.
        tie_embeddings: whether the output projection shares the embedding's weight, the target's where there are two.
        output_bias: whether the output projection has a bias.
        logit_cap: bound on the scores of a language model, ``cap · tanh(score / cap)``; null for none. Gemma 2: 30.
        embedding_scale: factor on the embedding; null for ``sqrt(d_model)``.
        embedding_norm: whether the embedded tokens, positions added, pass a norm before the first layer, as in BERT.
        embedding_std: the embedding's standard deviation at the start; null for ``d_model^-0.5``.
        linear_std: that of linear layers; null for ``1 / sqrt(inputs)``.
        share_layers: how many layers of a stack have parameters of their own; the others repeat them in turn, layer i
            those of layer i modulo this number, which divides the depth. 1 for one that all share, as in ALBERT; null
            for all their own. State that no gradient moves stays each layer's own, and so does its place in the cache.
        overrides: other components for some layers or sites.
    """

    d_model: Annotated[_Size, Field(default=128)]
    num_heads: Annotated[_Size, Field(default=4)]
    head_dim: Annotated[_Size | None, Field(default=None)]
    d_ff: Annotated[_Size | None, Field(default=None)]
    max_seq_len: Annotated[_Size, Field(default=128)]
    dropout: Annotated[float, Field(default=0.0, ge=0, lt=1)]
    vocab_size: Annotated[_Size | None, Field(default=None)]
    vocab_multiple: Annotated[_Size, Field(default=64)]
    tie_embeddings: Annotated[bool, Field(default=True)]
    output_bias: Annotated[bool, Field(default=False)]
    logit_cap: Annotated[_Positive | None, Field(default=None)]
    embedding_scale: Annotated[_Positive | None, Field(default=None)]
    embedding_norm: Annotated[bool, Field(default=False)]
    embedding_std: Annotated[_Positive | None, Field(default=None)]
    linear_std: Annotated[_Positive | None, Field(default=None)]
    share_layers: Annotated[_Size | None, Field(default=None)]
    overrides: Annotated[list[dict[str, Any]], Field(default=[])]
