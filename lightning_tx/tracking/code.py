"""Which code a run is the work of: a digest of the package's files, and the commit that they come from."""

import hashlib
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lightning_tx.core.package import PACKAGE, conf_dir

_DIGEST_CHARACTERS = 12
_GIT_TIMEOUT_SECONDS = 20
#: Characters of a patch; files that do not fit are named and left out.
MAX_PATCH = 1_000_000
#: Whatever the user's own settings of git are, a patch can be applied again.
_DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")


@dataclass(frozen=True)
class CodeState:
    """The code version: the commit that is checked out, and how the package's files differ from it.

    Attributes:
        commit: the whole hash.
        patch: what git applies to the commit to get the files as they are; empty where they are the commit's.
    """

    commit: str
    patch: str

    @property
    def dirty(self) -> bool:
        """Whether files differ from the commit."""
        return self.patch != ""


@cache
def code_digest() -> str:
    """12 hexadecimal characters over the package's Python files and configs; of the files as they are at first use."""
    return digest_of_code(PACKAGE, conf_dir())


@cache
def code_state() -> CodeState | None:
    """The commit that the package's own files come from, as it is at first use; see :func:`state_of`."""
    return state_of(PACKAGE, conf_dir())


def digest_of_code(package: Path, conf: Path) -> str:
    """12 hexadecimal characters over the ``.py`` files of one folder and the ``.yaml`` files of another."""
    sha = hashlib.sha256()
    for folder, pattern in ((package, "*.py"), (conf, "*.yaml")):
        for path in sorted(folder.rglob(pattern)):
            content = path.read_bytes()
            sha.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
            sha.update(content)
    return sha.hexdigest()[:_DIGEST_CHARACTERS]


def state_of(package: Path, conf: Path) -> CodeState | None:
    """The state of the repository that holds a package and its configs.

    None where the package's files are in no commit: an installed package (even one that lies inside of somebody's
    repository), a repository before its first commit, or a machine without git.
    """
    if _git(package, "ls-files", "--error-unmatch", "--", "__init__.py") is None:
        return None
    commit, top = _git(package, "rev-parse", "--verify", "HEAD"), _git(package, "rev-parse", "--show-toplevel")
    if commit is None or top is None:
        return None
    root = Path(top.strip())
    ours = ["--", str(package), str(conf)]
    changes = _git(root, *_DIFF, "HEAD", *ours) or ""
    pieces = re.split(r"^(?=diff --git )", changes, flags=re.MULTILINE)
    untracked = (_git(root, "ls-files", "--others", "--exclude-standard", "-z", *ours) or "").split("\0")
    # Compared with nothing, git says by its exit code that files differ.
    pieces += [_git(root, *_DIFF, "--no-index", "--", "/dev/null", path, success=1) or "" for path in untracked if path]
    return CodeState(commit.strip(), _bounded([piece for piece in pieces if piece]))


def _bounded(pieces: list[str]) -> str:
    """The diffs of as many files as fit, after the names of those that do not."""
    kept, left_out, length = [], [], 0
    for piece in pieces:
        if length + len(piece) > MAX_PATCH:
            left_out.append(piece.partition("\n")[0].removeprefix("diff --git "))
            continue
        length += len(piece)
        kept.append(piece)
    notes = [f"Left out, as a patch holds {MAX_PATCH:,} characters: {names}\n" for names in left_out]
    return "".join([*notes, *kept])


def _git(folder: Path, *arguments: str, success: int = 0) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_GIT_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == success else None
