"""Where the package's own files lie."""

from pathlib import Path

#: The folder of the package's Python files.
PACKAGE = Path(__file__).parents[1]


def conf_dir() -> Path:
    """The folder of our own configs: inside the package once installed, beside it in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"
