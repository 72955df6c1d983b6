"""The interface of the group ``pattern``."""

from torch import Tensor


class Pattern:
    """Who may look at whom by position, in self-attention; a causal stack further hides the future.

    A pattern is the truth elementwise. It is symmetric in an encoder and does not know about documents or padding:
    the mask adds those.
    """

    def __init__(self) -> None: ...

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """Whether the query may look at the key.

        Args:
            q_positions: [..., T, 1].
            k_positions: [..., 1, S].

        Returns:
            bool, [..., T, S]; None where everything is allowed.
        """
        raise NotImplementedError
