"""The interface of the group ``pattern``; it stands in the core, because the kernels read it."""

from lightning_tx.core.group import Group
from lightning_tx.kernels.pattern import Columns, Near, Part, Pattern, Residues, SameBlock

__all__ = ["Columns", "Near", "Part", "Pattern", "Residues", "SameBlock"]


PATTERN = Group("pattern", Pattern, __package__)
