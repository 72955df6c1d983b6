"""The project's files agree with the code: dependencies with imports, pins with dependencies, the wheel with conf/."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lightning_tx

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_is_told_once() -> None:
    assert PROJECT["version"] == lightning_tx.__version__


def test_the_wheel_carries_the_configuration() -> None:
    builder = WheelBuilder(str(ROOT))
    carried = {file.distribution_path: file.path for file in builder.recurse_included_files()}
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert Path(carried[f"lightning_tx/{path.relative_to(ROOT).as_posix()}"]) == path
    # Hydra takes a sweeper from its own package of plugins alone.
    assert {name for name in carried if not name.startswith("lightning_tx/")} == {"hydra_plugins/lightning_tx.py"}


def test_nothing_private_to_hydra_is_used() -> None:
    files = [
        *(ROOT / "lightning_tx").rglob("*.py"),
        *(ROOT / "hydra_plugins").rglob("*.py"),
        *ROOT.rglob("conf/**/*.yaml"),
    ]
    assert len(files) > 200
    assert [path for path in files if "hydra._internal" in path.read_text(encoding="utf-8")] == []


def test_dependencies_are_what_the_code_imports() -> None:
    distributions = packages_distributions()
    imported = {
        canonicalize_name(name)
        for path in (ROOT / "lightning_tx").rglob("*.py")
        for module in modules_imported_by(path)
        if module not in sys.stdlib_module_names and module != "lightning_tx"
        for name in distributions.get(module, [module])
    }
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    # Imported where it is used; with two libraries that it is built on.
    extra = {canonicalize_name(Requirement(line).name) for line in PROJECT["optional-dependencies"]["hf"]}
    extra |= {"huggingface-hub", "pyarrow"}
    extra |= {"pytest"}  # by those who write tests with lightning_tx.testing
    # What `import mlflow` is spread over; and what files that ltx new writes are yet to be called.
    assert declared | extra == imported - {"mlflow-skinny", "mlflow-tracing", "my-component", "my-package"}


def modules_imported_by(path: Path) -> set[str]:
    """The top-level names of the modules that a file imports absolutely."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level and node.module}
    return {name.partition(".")[0] for name in plain | from_}


def test_the_lock_pins_every_dependency_for_anyone() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = {canonicalize_name(pin.name): pin for pin in map(Requirement, re.findall(r"^\w.*", lock, re.MULTILINE))}
    assert not re.search(r"://|file:|@|^[./-]|\+", lock, re.MULTILINE), "a place or a local build is named in the lock"
    for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]:
        requirement = Requirement(line)
        (pin,) = pins[canonicalize_name(requirement.name)].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), line
