from lightning_tx.model.body import MODEL
from lightning_tx.model.single_stack import SingleStack


@MODEL.register("encoder")
class Encoder(SingleStack):
    """Encoder-only: each token sees all others, as in BERT.

    Source: Devlin et al. 2018, arXiv:1810.04805.
    """

    name = "encoder"
    causal = False
