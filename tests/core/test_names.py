"""The names of metrics, tags and artifacts stand in one module alone."""

import ast
import re
from collections.abc import Iterator

import pytest

from lightning_tx.core import names
from lightning_tx.core.package import PACKAGE

HOME = PACKAGE / "core" / "names.py"
NAMES = {name: value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
#: Single words, as ``study``, are too common to be looked for.
MARKED = sorted({value for value in NAMES.values() if not value.isalnum()}, key=len, reverse=True)
#: A marked name wherever it stands; one that ends in a mark begins others, as ``ltx.`` would.
PATTERN = re.compile("|".join(rf"(?<![\w./]){re.escape(value)}" + r"\b" * value[-1].isalnum() for value in MARKED))

#: Templates are the user's code.
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != HOME and "templates" not in path.parts]


def texts(source: str) -> Iterator[str]:
    """The literals of a file's code, those inside f-strings too; documentation is none."""
    tree = ast.parse(source)
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def repeated(source: str) -> list[str]:
    return [text for text in texts(source) if PATTERN.search(text)]


@pytest.mark.parametrize(
    "source",
    [
        "x = 'last/loss'",
        "x = f'best/{name}'",
        "x = {'params/total': 1}",
        "x = run.tags['ltx.metric']",
        "x = f'ltx.other_data.{digest}'",
        "x = root / 'mlflow.db'",
        "x = f'no mlflow.db in {root}'",
        "x = 'ablation.seed'",
        "x = key.endswith('.plugin_digest')",
    ],
)
def test_a_literal_is_seen(source: str) -> None:
    assert repeated(source)


@pytest.mark.parametrize(
    "source", ["'''Writes last/loss.'''", "x = 'lightning_tx.core'", "x = 'fastest/slowest'", "x = 'the last'"]
)
def test_other_text_is_passed_over(source: str) -> None:
    assert not repeated(source)


def test_no_file_repeats_a_name() -> None:
    found = [
        (file, text)
        for path in FILES
        for file in [path.relative_to(PACKAGE).as_posix()]
        for text in repeated(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "import these from lightning_tx.core.names"


def test_every_name_is_used_and_stands_once() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in [HOME, *FILES])
    assert [name for name in NAMES if len(re.findall(rf"\b{name}\b", code)) < 2] == []
    assert len(set(NAMES.values())) == len(NAMES)


def test_what_was_recorded_keeps_its_name() -> None:
    """Runs of years ago are read by these: a change would make them unreadable."""
    assert {name: NAMES[name] for name in ("KIND", "STUDY", "IDENTITY", "METRIC", "FACTS", "ABLATION", "SEED")} == {
        "KIND": "ltx.kind",
        "STUDY": "ltx.study",
        "IDENTITY": "ltx.identity",
        "METRIC": "ltx.metric",
        "FACTS": "facts.",
        "ABLATION": "ablation.",
        "SEED": "ablation.seed",
    }
    assert names.PLACES == ("val/", "last/", "best/", "last_test/", "test/")
