"""Every component of the project is named by a test of its own group, which holds it against something independent."""

import re
from pathlib import Path

import pytest

from lightning_tx.groups import GROUPS

TESTS = Path(__file__).parent
#: Where the tests of groups lie that are not components of models.
FOLDERS = {
    "task": "task",
    "tokenizer": "tokenizer",
    "optimizer": "training",
    "schedule": "training",
    "model": "model",
    "data": "data",
    "decoding": "decoding",
}
#: Nothing to hold against anything: the part is left out, or the whole is a part of every test.
PLAIN = {"none", "full"}

COMPONENTS = [
    (name, component)
    for name, group in GROUPS.items()
    for component in group.names()
    if component not in group.foreign()
]


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_a_component_has_a_reference_test(group, name):
    if name in PLAIN:
        return
    own = GROUPS[group].get(name).__name__
    folder = TESTS / FOLDERS.get(group, f"components/{group}")
    words = re.compile(rf"\b({re.escape(name)}|{own})\b")
    tests = [
        path for path in folder.rglob("test_*.py") if words.search(f"{path.stem} {path.read_text(encoding='utf-8')}")
    ]
    assert tests, f"no test in {folder.relative_to(TESTS.parent)} names {group}/{name} ({own})"
