"""``ltx check``: what it prints, and what it exits with."""

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lightning_tx.cli import main
from lightning_tx.components.norm.base import Norm
from lightning_tx.runs import plugin_files
from lightning_tx.testing.draws import NUMBER, drawn_subjects
from lightning_tx.testing.process import differing, settings
from tests.testing.planted import planted


class SharesABatch(Norm):
    """Divides by what the whole batch has in common."""

    def forward(self, x):
        return x / x.square().mean(dim=(0, -1), keepdim=True).sqrt()


class BuildsNowhere(Norm):
    """Cannot be made."""

    def __init__(self, width: int) -> None:
        raise RuntimeError("out of order")


class EndsTheProcess(Norm):
    """Ends."""

    def forward(self, x):
        os._exit(3)


class NeedsAnOption(Norm):
    """Scales every vector.

    Args:
        eps: added to the mean square.
    """

    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__(width)


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


PLUGIN = '''
import os, sys, time
import torch
from torch import nn

from lightning_tx import register
from lightning_tx.components.norm.base import Norm

IMPORT


@register("norm", "tried")
class Tried(Norm):
    """Scales every vector to a mean square of one."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        BUILD

    def forward(self, x):
        RUN
        return x * (x.square().mean(dim=-1, keepdim=True) + 1e-5).rsqrt()
'''


def check_plugin(tmp_path: Path, *options: str, at_import: str = "", build: str = "pass", run: str = "pass") -> int:
    """The exit code of a check of a norm that does something it should not."""
    file = tmp_path / "tried.py"
    file.write_text(PLUGIN.replace("IMPORT", at_import).replace("BUILD", build).replace("RUN", run), encoding="utf-8")
    try:
        return main(["check", "norm/tried", f"plugins=[{file}]", "--quick", *options])
    finally:
        plugin_files.forget()


@pytest.mark.parametrize(
    ("at_import", "says"),
    [
        ("sys.exit(3)", "does not import: SystemExit: 3 (line "),
        ("os._exit(0)", "ends the process (exit 0) when it is imported"),
        ("time.sleep(60)", "hangs: nothing came of it in 2 s when it is imported"),
        (
            "torch.set_default_dtype(torch.float64)",
            "changes the default dtype (torch.set_default_dtype) when",
        ),
        ("os.environ['TRIED'] = '1'", "changes the environment (TRIED) when it is imported"),
        ("torch.manual_seed(0)", "changes PyTorch's generator when it is imported"),
    ],
)
def test_a_plugin_that_harms_the_process_when_imported_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], at_import: str, says: str
) -> None:
    before = settings()
    assert check_plugin(tmp_path, "--timeout", "2", at_import=at_import) == 1
    assert says in capsys.readouterr().out
    assert differing(before, settings()) == []


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("os._exit(0)", "it ends the process (exit 0) while"),
        ("os.kill(os.getpid(), 9)", "it is ended by the system (SIGKILL) while"),
        ("time.sleep(60)", "it hangs: nothing came of it in 2 s while"),
        ("sys.exit('enough')", "SystemExit: enough"),
    ],
)
def test_a_plugin_that_ends_the_process_when_it_runs_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, says: str
) -> None:
    assert check_plugin(tmp_path, "--timeout", "2", run=code) == 1
    assert says in capsys.readouterr().out


def test_what_ends_one_check_ends_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    with planted("norm", EndsTheProcess):
        assert main(["check", "norm", "--quick"]) == 1
    lines = capsys.readouterr().out.splitlines()
    passed = [line.split()[0] for line in lines if " passed " in line and "failed" not in line]
    assert passed == ["norm/dynamic_tanh", "norm/layernorm", "norm/none", "norm/rmsnorm"]


def test_what_is_printed_when_imported_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_plugin(tmp_path, at_import="print('hello')") == 0
    out = capsys.readouterr().out
    assert "prints when it is imported: 'hello'" in out and "\nhello" not in out
    assert "note: norm/tried is registered, and no yaml chooses it: write conf/norm/tried.yaml." in out


def test_an_error_is_said_with_the_line_that_raised_it_and_no_other_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_plugin(tmp_path, run="x = x + torch.ones(7)") == 1
    out = capsys.readouterr().out
    assert f"raised at:      {tmp_path / 'tried.py'}:" in out and ", in forward: x = x + torch.ones(7)\n" in out
    (report,) = [each for each in out.split("\n\n") if "raised at:" in each]
    assert "RuntimeError: The size of tensor a (16) must match" in report and "usually due to" not in report
    assert "as well:        in " in report


def test_an_option_without_default_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with planted("norm", NeedsAnOption):
        assert main(["check", "norm/planted"]) == 1
    assert "It cannot be checked without: eps has no default." in capsys.readouterr().out


def test_the_summary_says_what_was_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_plugin(tmp_path, "--junit", str(tmp_path / "results.xml")) == 0
    out = capsys.readouterr().out
    asked = out[out.index("not asked:") :]
    assert "compiles_in_one_graph" in asked and "left out by --quick" in asked
    assert "a test against a reference" in asked
    (suite,) = ElementTree.parse(tmp_path / "results.xml").getroot()
    assert suite.get("name") == "norm/tried" and suite.get("failures") == "0"
    assert {"causality", "norms_are_finite"} <= {case.get("name") for case in suite}


def test_another_seed_draws_other_models() -> None:
    config = {"name": "rmsnorm"}
    first, again, other = (
        [subject.place for subject in drawn_subjects("norm", "rmsnorm", config, seed=seed)] for seed in (0, 0, 1)
    )
    assert first == again != other
    assert len(first) == NUMBER
    assert {"decoder", "encoder", "encoder_decoder"} == set(
        re.findall(r"^model=(\w+)", "\n".join(map(str, first)), re.M)
    )
