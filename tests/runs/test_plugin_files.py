"""Components in single files: imported when listed, once, and refused with one sentence each."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_tx.components.norm.base import NORM
from lightning_tx.core.errors import ConfigError
from lightning_tx.groups import GROUPS
from lightning_tx.runs import plugin_files
from lightning_tx.runs.plugin_files import load_files

A_NORM = """
from lightning_tx import register
from lightning_tx.components.norm.base import Norm

@register("norm", "{name}")
class {cls}(Norm):
    '''A norm.'''

    def __init__(self, width: int, *, {option} = 1) -> None:
        super().__init__(width)
        self.size = {size}
"""


def norm(name: str = "mine", cls: str = "Mine", option: str = "size: int", size: str = "size") -> str:
    return A_NORM.format(name=name, cls=cls, option=option, size=size)


@pytest.fixture(autouse=True)
def _forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    plugin_files.forget()


def test_a_listed_file_registers_and_can_be_forgotten() -> None:
    Path("mine.py").write_text(norm())
    (file,) = load_files(["mine.py"])
    assert file.components == (("norm", "mine"),) and file.path == Path("mine.py").absolute()
    assert NORM.create({"name": "mine", "size": 3}, 8).size == 3
    assert plugin_files.files_of([("norm", "mine"), ("norm", "rmsnorm"), ("block", "mine")]) == {"norm": [file]}
    assert plugin_files.digests({"norm": [file]}) == {"norm": file.digest}
    assert [path.name for path in Path().iterdir()] == ["mine.py"]  # nothing compiled beside it
    plugin_files.forget()
    assert "mine" not in NORM.names() and "ltx_plugin_mine" not in sys.modules


def test_it_is_imported_once_and_again_when_it_has_changed() -> None:
    Path("mine.py").write_text(norm() + "\nimport builtins\n")
    (first,), (again,) = load_files(["mine.py"]), load_files([Path("mine.py").absolute()])
    assert again is first
    Path("mine.py").write_text(norm(name="ours", size="-size"))
    (changed,) = load_files(["mine.py"])
    assert changed.digest != first.digest and "mine" not in NORM.names()
    assert NORM.create({"name": "ours"}, 8).size == -1
    # The same content elsewhere, as the copy that a run keeps, is the same plugin.
    Path("kept").mkdir()
    Path("kept/mine.py").write_text(Path("mine.py").read_text())
    assert load_files(["kept/mine.py"]) == [changed]


def test_a_file_that_a_test_has_imported_by_its_name_may_be_listed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine_too.py").write_text(norm(name="mine_too"))
    monkeypatch.syspath_prepend(str(Path.cwd()))
    __import__("mine_too")
    assert load_files(["mine_too.py"])[0].components == (("norm", "mine_too"),)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (norm(name="rmsnorm"), ["norm/rmsnorm is claimed twice", "ltx_plugin_bad.Mine", "rmsnorm.RMSNorm"]),
        (norm(option="size"), ["norm/mine", "option 'size' has no type"]),
        (norm(option="**size").replace("*, ", "").replace(" = 1", ""), ["norm/mine", "takes **size"]),
        (norm().replace("*, ", ""), ["norm/mine", "takes (width, size) by position", "given (width)"]),
        (norm().replace("width: int, ", ""), ["norm/mine", "takes () by position"]),
        (norm().replace('"norm"', '"norms"'), ["no group 'norms'", "attention"]),
        ("import module_that_is_gone", ["does not import", "ModuleNotFoundError", "(line 1)"]),
        (norm() + "\n1 / 0", ["does not import", "ZeroDivisionError", "(line 13)"]),
        ("x = 1\ny = 1 / 0", ["does not import", "ZeroDivisionError", "(line 2)"]),
        ("def f(:\n", ["does not import", "SyntaxError", "line 1"]),
        ("raise SystemExit(0)", ["does not import", "SystemExit"]),
        ("x = 1", ["registers nothing", "@register"]),
    ],
)
def test_what_is_wrong_with_a_file_is_said_and_nothing_stays(source: str, words: list[str]) -> None:
    before = {group: GROUPS[group].names() for group in ("norm", "block")}
    Path("bad.py").write_text(source)
    with pytest.raises(ConfigError) as caught:
        load_files(["bad.py"])
    (problem,) = caught.value.problems
    assert problem.startswith("plugins: 'bad.py' ") and problem.endswith(".")
    assert all(word in problem for word in words), problem
    assert {group: GROUPS[group].names() for group in before} == before
    assert "ltx_plugin_bad" not in sys.modules
    Path("bad.py").write_text(norm())  # mended, it can be used at once
    load_files(["bad.py"])


def test_every_file_with_a_problem_is_named() -> None:
    Path("a.py").write_text(norm())
    Path("b.py").write_text(norm(cls="Other"))
    Path("notes.txt").write_text("")
    Path("sub").mkdir()
    Path("sub/a.py").write_text(norm(name="other"))
    with pytest.raises(ConfigError) as caught:
        load_files(["a.py", "b.py", "gone.py", "notes.txt", "sub/a.py", "sub"])
    twice, gone, notes, same_name, folder = caught.value.problems
    assert "'b.py'" in twice and "ltx_plugin_a.Mine" in twice and "ltx_plugin_b.Other" in twice
    assert "'gone.py' does not exist" in gone and str(Path.cwd()) in gone
    assert "'notes.txt' is no Python file" in notes and "'sub' is no Python file" in folder
    assert "'sub/a.py' has the name of another plugin file" in same_name and str(Path("a.py").absolute()) in same_name
