from lightning_tx.core.registry import register
from lightning_tx.model.single_stack import SingleStack


@register("model", "encoder")
class Encoder(SingleStack):
    """Encoder-only: each token sees all others, as in BERT.

    Source: Devlin et al. 2018, arXiv:1810.04805.
    """

    name = "encoder"
    causal = False
