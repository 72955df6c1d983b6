"""A store that may not be written is left as it is, and one sentence says so."""

import ctypes
import os
import sys
from pathlib import Path

import pytest

from tests.faults import processes
from tests.tiny import tiny_overrides

_VERSION = 0x20080522
_IGNORE_PERMISSIONS = 1  # CAP_DAC_OVERRIDE


def obey_permissions() -> None:
    """Let this process be refused what a file's mode forbids, even where it is root's."""
    if os.geteuid() != 0:
        return
    library = ctypes.CDLL(None, use_errno=True)
    head, sets = (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()
    assert library.capget(head, sets) == 0
    for index in range(3):
        sets[index] &= ~(1 << _IGNORE_PERMISSIONS)
    assert library.capset(head, sets) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="root is held to permissions by means of Linux")
@pytest.mark.parametrize(
    ("closed", "words"),
    [
        (("mlflow.db",), ("mlflow.db cannot be written", "Make the file and its folder writable")),
        (("mlflow.db.lock",), ("cannot be locked", "mlflow.db.lock writable")),
        ((".",), ("cannot be written: Permission denied", "Make it writable")),
    ],
)
def test_a_store_that_may_not_be_written(root: Path, text: Path, tmp_path: Path, closed, words) -> None:
    output = tmp_path / "output"
    (root / "mlflow.db.lock").touch()
    before = (root / "mlflow.db").read_bytes()
    for name in closed:
        (root / name).chmod(0o555)
    try:
        command = ["train", *tiny_overrides(root, text, "tokenizer=bpe", "tokenizer.vocab_size=270"), "study=closed"]
        assert processes.ltx(command, output, obey_permissions) == 1
    finally:
        for name in closed:
            (root / name).chmod(0o755)
    said = output.read_text()
    assert all(word in said for word in words) and said.count("\n") == 1, said
    assert (root / "mlflow.db").read_bytes() == before and not (root / "runs").exists()
