"""Where the package's own files lie, and where runs write."""

import os
from pathlib import Path

from lightning_tx.core.errors import ConfigError

#: The folder of the package's Python files.
PACKAGE = Path(__file__).parents[1]
#: The variable with the folder of everything that runs write.
ROOT = "LTX_ROOT"


def conf_dir() -> Path:
    """The folder of our own configs: inside the package once installed, beside it in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def default_root() -> str:
    """The folder of everything that runs write where nobody names one: ``$LTX_ROOT``, else ``multirun``.

    Raises:
        ConfigError: the variable is set, but empty.
    """
    root = os.environ.get(ROOT, "multirun")
    if root == "":
        raise ConfigError(f"{ROOT}: it is set, but empty; set it to the folder for what runs write, or unset it.")
    return root
