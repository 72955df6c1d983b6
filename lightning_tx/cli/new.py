"""``ltx new``: the files of a component of your own, which train and conform as they are."""

import argparse
import keyword
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.groups import GROUPS

TEMPLATES = Path(__file__).parent / "templates"
#: Templates of what is no registry group, and the group that it belongs to.
INSIDE = {"metric": "task", "mixer": "attention"}
#: Why there is no template, and what to do instead.
WITHOUT = {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("group", metavar="GROUP", help=f"what it is: {choices(groups())}")
    parser.add_argument("name", metavar="NAME", help="what it is called in configs, as rotary_2d")
    parser.add_argument("--package", action="store_true", help="a pip package instead of a file in this folder")


def run(arguments: argparse.Namespace) -> int:
    """Write the files and say what to do next.

    Raises:
        ConfigError: the group or the name cannot be, or a file exists; nothing is written then.
    """
    template, name = str(arguments.group), str(arguments.name)
    _check_group(template)
    group = INSIDE.get(template, template)
    _check_word(name)
    files = package_files if arguments.package else plain_files
    written = files(template, name)
    there = [path for path in written if Path(path).exists()]
    if there:
        raise ConfigError(f"NAME: {', '.join(map(repr, there))} exists already; nothing was written.")
    _check_free(template, group, name)
    for path, text in written.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    print("Wrote " + ", ".join(written))
    print(_advice(arguments.package, group, name), end="")
    return 0


def groups() -> list[str]:
    """What can be written."""
    return sorted(path.name for path in TEMPLATES.iterdir() if path.name != "package")


def plain_files(template: str, name: str) -> dict[str, str]:
    """The content of each file of a component beside the user's configs, by path."""
    group = INSIDE.get(template, template)
    return {
        f"{name}.py": _filled(f"{template}/my_component.py", name),
        f"conf/{group}/{name}.yaml": _filled(f"{template}/my_component.yaml", name),
        f"test_{name}.py": _filled(f"{template}/test_my_component.py", name),
    }


def package_files(template: str, name: str) -> dict[str, str]:
    """The content of each file of a pip package with one component, by path."""
    group, package = INSIDE.get(template, template), f"ltx_{name}"
    component, config, test = plain_files(template, name).values()
    facts = {"my_package": package, "my_group": group}
    return {
        f"{package}/pyproject.toml": _filled("package/pyproject.toml", name, facts),
        f"{package}/README.md": _filled("package/README.md", name, facts),
        f"{package}/{package}/__init__.py": _filled("package/my_package.py", name, facts),
        f"{package}/{package}/{name}.py": component,
        f"{package}/{package}/conf/{group}/{name}.yaml": config,
        f"{package}/tests/test_{name}.py": test.replace(f"from {name} import", f"from {package}.{name} import"),
    }


def class_name(name: str) -> str:
    """``gated_unit`` as ``GatedUnit``."""
    return "".join(part.capitalize() for part in name.split("_"))


def _filled(template: str, name: str, facts: dict[str, str] | None = None) -> str:
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    for word, value in {**(facts or {}), "my_component": name, "MyComponent": class_name(name)}.items():
        text = text.replace(word, value)
    return text


def _check_group(group: str) -> None:
    if group in WITHOUT:
        raise ConfigError(f"GROUP: {group!r} has no template: {WITHOUT[group]}. Choices: {choices(groups())}.")
    if group not in groups():
        raise ConfigError(
            f"GROUP: there is no group {group!r}.{nearest(group, groups())} Choices: {choices(groups())}."
        )


def _check_word(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        words = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").lower()
        better = f" Perhaps {words!r}?" if re.fullmatch(r"[a-z][a-z0-9_]*", words) and words != name else ""
        raise ConfigError(f"NAME: {name!r} is no name of lower-case letters, digits and underscores.{better}")


def _check_free(template: str, group: str, name: str) -> None:
    from lightning_tx.cli.compose import labels_in
    from lightning_tx.cli.plugins import plugins_of
    from lightning_tx.cli.session import hydra_session

    with plugins_of(()), hydra_session():
        taken = sorted({*labels_in(group), *GROUPS[group].names()})
    if name in taken:
        raise ConfigError(f"NAME: {group}={name} exists already. Taken: {', '.join(taken)}.")
    text = (TEMPLATES / template / "my_component.py").read_text(encoding="utf-8")
    if re.search(rf"\b{class_name(name)}\b", text):
        raise ConfigError(f"NAME: the class of {name!r} would be called {class_name(name)}, which its file imports.")
    if name in sys.stdlib_module_names or find_spec(name) is not None:
        raise ConfigError(f"NAME: {name!r} is the name of an installed module, which the file would hide.")


def _advice(package: bool, group: str, name: str) -> str:
    if package:
        return (
            f"Use it:   pip install -e ./ltx_{name}; ltx train experiment=smoke {group}={name}\n"
            f"Make it yours: the formula in ltx_{name}/ltx_{name}/{name}.py, the same naively in its test\n"
            f"Test it:  pytest ltx_{name} (the formula, and the contract; pip install pytest)\n"
        )
    return (
        f"Use it:   ltx train experiment=smoke 'plugins=[{name}.py]' {group}={name}\n"
        f"Make it yours: the formula in {name}.py, the same naively in test_{name}.py\n"
        f"Test it:  pytest test_{name}.py (the formula, and the contract; pip install pytest)\n"
    )
