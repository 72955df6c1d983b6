import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAP = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")


def test_every_file_on_the_map_exists():
    files = re.findall(r"`(lightning_tx/[\w/.]+)`", MAP)
    assert len(files) > 30
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_every_package_is_on_a_floor_of_the_map_and_in_contributing():
    packages = {path.parent.name for path in (ROOT / "lightning_tx").glob("*/__init__.py")}
    (floors,) = re.findall(r"```text\n(.*?)```", MAP, re.DOTALL)
    assert packages == set(re.findall(r"(\w+)/  ", floors + "  ")) | set(re.findall(r"(\w+)/\n", floors)) - {"interop"}
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [name for name in packages - {"testing"} if f"`{name}" not in contributing] == []
