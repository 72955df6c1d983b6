import subprocess
from pathlib import Path

import pytest

from lightning_tx.core.package import PACKAGE, conf_dir
from lightning_tx.tracking import code
from lightning_tx.tracking.code import code_digest, digest_of_code, state_of


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package, its configs and a file that is neither; no repository yet."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("package/__init__.py", "package/part/one.py", "conf/group/choice.yaml", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    return tmp_path


def commit(folder: Path, *files: str) -> None:
    git(folder, "init", "-q")
    git(folder, "add", *(files or ["."]))
    git(folder, "commit", "-q", "-m", "a")


def state(folder: Path) -> code.CodeState | None:
    return state_of(folder / "package", folder / "conf")


def test_a_package_that_is_in_no_commit_has_no_state(checkout: Path) -> None:
    assert state(checkout) is None
    git(checkout, "init", "-q")
    assert state(checkout) is None
    git(checkout, "add", ".")
    assert state(checkout) is None


def test_a_package_installed_inside_of_a_repository_is_not_its_code(checkout: Path) -> None:
    commit(checkout, "notes.txt")
    assert state(checkout) is None


def test_the_commit_is_that_of_the_package_wherever_one_works(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(checkout)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "a").write_text("1")
    commit(elsewhere)
    monkeypatch.chdir(elsewhere)
    found = state(checkout)
    assert found == code.CodeState(git(checkout, "rev-parse", "HEAD").strip(), "") and not found.dirty


def test_what_differs_from_the_commit_is_a_patch_that_restores_it(checkout: Path) -> None:
    commit(checkout)
    git(checkout, "config", "color.ui", "always")
    git(checkout, "config", "diff.noprefix", "true")
    (checkout / "package" / "part" / "one.py").write_text("changed\n")
    (checkout / "conf" / "group" / "choice.yaml").unlink()
    (checkout / "package" / "new.py").write_text("ünew\n", encoding="utf-8")
    (checkout / "notes.txt").write_text("no code\n")
    found = state(checkout)
    assert found is not None and found.dirty and "no code" not in found.patch
    clone = checkout / "clone"
    git(checkout, "clone", "-q", ".", "clone")
    (checkout / "code.patch").write_text(found.patch, encoding="utf-8")
    git(clone, "apply", str(checkout / "code.patch"))
    assert (clone / "package" / "part" / "one.py").read_text() == "changed\n"
    assert (clone / "package" / "new.py").read_text(encoding="utf-8") == "ünew\n"
    assert not (clone / "conf" / "group" / "choice.yaml").exists()


def test_files_that_are_no_code_leave_it_clean(checkout: Path) -> None:
    commit(checkout)
    (checkout / "notes.txt").write_text("changed\n")
    (checkout / "more.txt").write_text("new\n")
    found = state(checkout)
    assert found is not None and not found.dirty


def test_a_patch_is_bounded_and_says_what_it_lacks(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(checkout)
    (checkout / "package" / "large.py").write_text("x" * 5000)
    (checkout / "package" / "part" / "one.py").write_text("changed\n")
    monkeypatch.setattr(code, "MAX_PATCH", 2000)
    found = state(checkout)
    assert found is not None
    first, rest = found.patch.split("\n", 1)
    assert first.startswith("Left out") and "package/large.py" in first and len(rest) <= 2000
    git(checkout, "checkout", "-q", "package")
    (checkout / "code.patch").write_text(found.patch)
    git(checkout, "apply", "code.patch")
    assert (checkout / "package" / "part" / "one.py").read_text() == "changed\n"


def test_without_git_nothing_is_claimed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(checkout)
    monkeypatch.setenv("PATH", str(checkout))
    assert state(checkout) is None


def test_the_digest_sees_every_file_of_the_code_and_no_other(checkout: Path) -> None:
    def digest() -> str:
        return digest_of_code(checkout / "package", checkout / "conf")

    found = [digest()]
    (checkout / "package" / "__pycache__").mkdir()
    (checkout / "package" / "__pycache__" / "one.pyc").write_text("x")
    assert digest() == found[0]
    (checkout / "package" / "part" / "one.py").write_text("changed\n")
    found.append(digest())
    (checkout / "package" / "part" / "one.py").rename(checkout / "package" / "part" / "two.py")
    found.append(digest())
    (checkout / "conf" / "group" / "choice.yaml").write_text("changed: 1\n")
    found.append(digest())
    (checkout / "package" / "empty.py").write_text("")
    found.append(digest())
    assert len(set(found)) == len(found)


def test_it_is_looked_up_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_digest() == digest_of_code(PACKAGE, conf_dir()) and len(code_digest()) == 12
    monkeypatch.setattr(code, "digest_of_code", lambda *_: "other")
    assert code_digest() != "other"
