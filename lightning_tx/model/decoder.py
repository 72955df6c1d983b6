from lightning_tx.core.registry import register
from lightning_tx.model.single_stack import SingleStack


@register("model", "decoder")
class Decoder(SingleStack):
    """Decoder-only: each token sees itself and those before it, as in GPT.

    Source: Radford et al. 2018 (GPT); Radford et al. 2019 (GPT-2).
    """

    name = "decoder"
    causal = True
