"""What `make` does before its work: it finds a Python, installs once, and trusts no environment that is not whole."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that the set-up needs, and a Python that is not supported."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    script(tmp_path / "old_python", "exit 1")
    return tmp_path


def script(path: Path, command: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def make_setup(checkout: Path, python: str = "./old_python", torch: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | {"TORCH": torch}
    return subprocess.run(
        ["make", "setup", f"PYTHON={python}"], cwd=checkout, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14", "4.0"])
def test_set_up_takes_the_pythons_that_the_package_supports(version: str) -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    (check,) = re.findall(r"^SUPPORTED = (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    with pytest.raises(SystemExit) as exit_:
        exec(check.replace("sys.version_info[:2]", str(tuple(map(int, version.split("."))))))
    assert (exit_.value.code == 0) == (version in SpecifierSet(requires))


@pytest.mark.parametrize("python", ["./old_python", "./missing_python", "./missing_python ./old_python"])
def test_set_up_names_the_python_it_needs_in_one_line(checkout: Path, python: str) -> None:
    done = make_setup(checkout, python)
    message, *rest = done.stderr.splitlines()
    assert done.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in message
    assert python in message
    assert all(line.startswith("make") for line in rest)
    assert not (checkout / ".venv").exists()


def test_set_up_installs_once_and_again_after_a_change(checkout: Path) -> None:
    fake_environment(checkout)
    assert make_setup(checkout).returncode == 0
    first = calls(checkout)
    assert make_setup(checkout).stdout == ""
    assert calls(checkout) == first
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert "done" in make_setup(checkout).stdout
    assert len(calls(checkout)) == 2 * len(first)


@pytest.mark.parametrize("spoil", ["interrupted", "moved"])
def test_set_up_starts_over_what_cannot_be_trusted(checkout: Path, spoil: str) -> None:
    fake_environment(checkout)
    assert make_setup(checkout).returncode == 0
    if spoil == "interrupted":
        (checkout / ".venv/.ready").unlink()
        (checkout / ".venv/.installing").touch()
    else:
        (checkout / ".venv/.ready").write_text("1 2\n/another/folder\n")
    # With no supported Python around it can only refuse; taking the environment as it is would have succeeded.
    assert "needs Python" in make_setup(checkout).stderr


def test_a_failed_installation_is_not_taken_for_a_finished_one(checkout: Path) -> None:
    fake_environment(checkout, pip_status=1)
    assert make_setup(checkout).returncode != 0
    assert (checkout / ".venv/.installing").exists()
    assert not (checkout / ".venv/.ready").exists()


def test_torch_selects_an_index_for_torch_alone(checkout: Path) -> None:
    fake_environment(checkout)
    assert make_setup(checkout, torch="cpu").returncode == 0
    with_index = [call for call in calls(checkout) if "--index-url" in call]
    assert len(with_index) == 1
    assert re.search(r"--no-deps --index-url https://download.pytorch.org/whl/cpu torch==[\d.]+$", with_index[0])
    assert "-c requirements.lock -e .[dev]" in calls(checkout)[-1]


def fake_environment(checkout: Path, pip_status: int = 0) -> None:
    """A .venv whose Python is supported and writes down what pip is asked for."""
    script(
        checkout / ".venv/bin/python",
        f'case "$1" in -m) echo "$@" >> calls.txt; exit {pip_status};; -V) echo Python 3.12.0;; esac',
    )


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls.txt").read_text().splitlines()
