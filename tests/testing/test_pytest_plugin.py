"""A third party's test file of two lines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.testing import conformance

FILE = '''
from torch import nn

from lightning_tx.components.feed_forward.base import FeedForward
from lightning_tx.core.context import Output
from lightning_tx import register
from lightning_tx.testing import conformance


@register("feed_forward", "reglu")
class ReGLU(FeedForward):
    """``W2 (relu(Wg x) · W1 x)``: a gated unit."""

    def __init__(self, dims, site):
        super().__init__(dims, site)
        self.gate_proj = nn.Linear(dims.d_model, dims.d_ff, bias=False)
        self.up_proj = nn.Linear(dims.d_model, dims.d_ff, bias=False)
        self.down_proj = nn.Linear(dims.d_ff, dims.d_model, bias=False)

    def forward(self, x_BTD, ctx):
        hidden = self.gate_proj(x_BTD).relu() * self.up_proj(x_BTD)
        return Output(self.down_proj(hidden - HIDDEN))


test_conforms = conformance("feed_forward/reglu")
'''

test_conforms = conformance("norm/rmsnorm", eps=1e-3)


def test_a_test_has_a_case_for_each_property_and_topology() -> None:
    (marker,) = (mark for mark in test_conforms.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    named = {str(each.id) for each in marker.args[1]}
    assert {
        "causality-decoder",
        "causality-encoder_decoder",
        "norm_is_of_the_last_dimension-rmsnorm-eps=0.001",
    } <= named


def test_what_is_not_registered_is_refused_when_the_test_is_written() -> None:
    with pytest.raises(ConfigError, match=r"there is no norm 'rmsnrm'\. Did you mean 'rmsnorm'"):
        conformance("norm/rmsnrm")
    with pytest.raises(ConfigError, match=r"norm\.epsilon: unknown key"):
        conformance("norm/rmsnorm", epsilon=1)


@pytest.mark.parametrize(("hidden", "fails"), [("0", False), ("hidden.mean(dim=1, keepdim=True)", True)])
def test_a_plugin_is_tested_in_two_lines(tmp_path: Path, hidden: str, fails: bool) -> None:
    (tmp_path / "test_reglu.py").write_text(FILE.replace("HIDDEN", hidden), encoding="utf-8")
    options = [
        "-q",
        "-p",
        "lightning_tx.testing.plugin",
        "-p",
        "no:cacheprovider",
        "-k",
        "causality or gradients or padding",
    ]
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_reglu.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == (1 if fails else 0), ran.stdout + ran.stderr
    assert ("feed_forward/reglu violates 'causality'" in ran.stdout) == fails
    assert "Traceback" not in ran.stdout and "conformance_property.run" not in ran.stdout


def test_the_plugin_imports_nothing_that_takes_time() -> None:
    script = (
        "import sys, lightning_tx.testing.plugin; assert 'torch' not in sys.modules and 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
