from typing import Any

import pytest
import torch

from lightning_tx.training.device import device_name
from lightning_tx.training.precision import MIN_WIDTH, choose_common_precision, choose_precision


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this machine look like another one."""

    def become(*, cpu: bool = False, cuda: bool | None = None, mps: bool = False) -> None:
        """Whether CPU and GPU multiply bfloat16; ``cuda=None`` for no GPU."""
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bool(cuda))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return become


@pytest.mark.parametrize("asked", [32, "bf16-mixed"])
def test_what_is_asked_for_is_done(machine: Any, asked: Any) -> None:
    machine(cpu=asked == 32)
    assert choose_precision(asked, "cpu", 8) == (asked, "as asked for")


@pytest.mark.parametrize(
    ("hardware", "accelerator", "expected"),
    [
        ({"cpu": True}, "auto", ("bf16-mixed", "this CPU multiplies bfloat16")),
        ({"cpu": True}, "cpu", ("bf16-mixed", "this CPU multiplies bfloat16")),
        ({}, "auto", (32, "this CPU multiplies no bfloat16")),
        ({"cuda": True}, "auto", ("bf16-mixed", "this GPU multiplies bfloat16")),
        ({"cuda": True}, "cuda", ("bf16-mixed", "this GPU multiplies bfloat16")),
        ({"cuda": False, "cpu": True}, "auto", (32, "this GPU multiplies no bfloat16")),
        ({"cuda": True}, "cpu", (32, "this CPU multiplies no bfloat16")),
        ({"mps": True, "cpu": True}, "auto", (32, "on MPS")),
        ({"mps": True, "cpu": True}, "cpu", ("bf16-mixed", "this CPU multiplies bfloat16")),
    ],
)
def test_it_is_what_the_device_in_use_is_good_at(
    machine: Any, hardware: dict[str, bool], accelerator: str, expected: tuple[Any, str]
) -> None:
    machine(**hardware)
    assert choose_precision("auto", accelerator, MIN_WIDTH) == expected


def test_narrow_models_gain_nothing(machine: Any) -> None:
    machine(cpu=True)
    precision, reason = choose_precision("auto", "cpu", MIN_WIDTH - 1)
    assert precision == 32 and f"d_model {MIN_WIDTH - 1}" in reason


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([("cpu", MIN_WIDTH), ("cpu", 4 * MIN_WIDTH)], ("bf16-mixed", "this CPU multiplies bfloat16")),
        ([("cpu", MIN_WIDTH), ("cpu", 16)], (32, "d_model 16 is too narrow for bfloat16 to pay")),
        ([("cpu", MIN_WIDTH), ("auto", MIN_WIDTH)], (32, "this GPU multiplies no bfloat16")),
    ],
)
def test_several_models_have_one_precision_that_suits_all(machine: Any, models: Any, expected: Any) -> None:
    machine(cpu=True, cuda=False)
    assert choose_common_precision(models) == expected


@pytest.mark.parametrize(
    ("hardware", "accelerator", "name"),
    [
        ({}, "auto", "cpu"),
        ({"cuda": True}, "auto", "Some GPU"),
        ({"cuda": True}, "cuda", "Some GPU"),
        ({"cuda": True}, "cpu", "cpu"),
        ({"mps": True}, "auto", "mps"),
        ({"mps": True}, "cpu", "cpu"),
    ],
)
def test_a_device_has_a_name(machine: Any, monkeypatch: Any, hardware: Any, accelerator: str, name: str) -> None:
    machine(**hardware)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    assert device_name(accelerator) == name


def test_on_this_machine_it_chooses_one_of_the_two() -> None:
    precision, reason = choose_precision("auto", "auto", 512)
    assert precision in (32, "bf16-mixed") and reason
