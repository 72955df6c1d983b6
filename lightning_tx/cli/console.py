"""The terminal."""

import os

from rich.console import Console

#: Where output goes to no terminal, lines are this long.
FILE_WIDTH = 100


def console() -> Console:
    """The terminal that output goes to."""
    is_terminal = Console().is_terminal
    width = None if is_terminal or "COLUMNS" in os.environ else FILE_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False)
