"""``ltx check``: what it prints, and what it exits with."""

import pytest

from lightning_tx.cli import main
from lightning_tx.components.norm.base import Norm
from tests.testing.planted import planted


class SharesABatch(Norm):
    """Divides by what the whole batch has in common."""

    def forward(self, x):
        return x / x.square().mean(dim=(0, -1), keepdim=True).sqrt()


class BuildsNowhere(Norm):
    """Cannot be made."""

    def __init__(self, width: int) -> None:
        raise RuntimeError("out of order")


def test_a_choice_that_conforms(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "attention/gqa"]) == 0
    first, *_, last = capsys.readouterr().out.strip().splitlines()
    assert first.startswith("attention/gqa ") and " passed " in first and "failed" not in first
    assert last.startswith("everything holds (")


def test_a_whole_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "schedule"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:2]] == [
        "schedule/constant",
        "schedule/cosine",
    ]


def test_failures_are_printed_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    with planted("norm", SharesABatch):
        assert main(["check", "norm/planted"]) == 1
    out = capsys.readouterr().out
    assert "failed" in out.splitlines()[0]
    assert "norm/planted violates 'rows_are_independent': A row's states do not depend on" in out
    assert "in evaluation the states of row 0 in a batch and alone differ by" in out
    assert "usually due to: a mean or a norm over the batch dimension" in out


def test_what_no_yaml_chooses_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_tx.testing.suite.check_choice", lambda *_, **__: [])
    with planted("norm", SharesABatch):
        assert main(["check", "norm"]) == 1
    assert (
        "norm/planted is registered, and no yaml chooses it: write conf/norm/planted.yaml." in capsys.readouterr().out
    )


def test_what_cannot_be_built_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with planted("norm", BuildsNowhere):
        assert main(["check", "norm/planted"]) == 1
    assert "RuntimeError: out of order" in capsys.readouterr().out


def test_what_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "norms"]) == 2
    assert main(["check", "norm/rmsnrm"]) == 2
    group, choice = capsys.readouterr().err.strip().splitlines()
    assert group.startswith("error: norms: there is no such group. Did you mean 'norm'?")
    assert choice.startswith("error: norm: there is no choice 'rmsnrm'. Did you mean 'rmsnorm'?")
