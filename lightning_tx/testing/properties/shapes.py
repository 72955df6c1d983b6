"""Shapes, dtypes and devices."""

from functools import partial

import torch
from torch import Tensor

from lightning_tx.core.errors import ConfigError
from lightning_tx.testing.baseline import MAX_SEQ_LEN, VOCAB_SIZE
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import random_tokens


@holds(
    in_combinations=True,
    usually="a tensor made without dtype= and device=, which then has those of the default (float32, cpu).",
)
def shape_dtype_device(subject: Subject) -> None:
    """States are [B, T, D], or [B, D] of a body that pools them, and logits follow them; both in the parameters' dtype
    on their device, finite, at every length up to max_seq_len.
    """
    for length in (1, subject.ids.shape[1], MAX_SEQ_LEN):
        ids = random_tokens(2, length, vocab_size=VOCAB_SIZE, seed=length, device=subject.device)
        with torch.no_grad():
            output = subject.run(ids)
            shape = _shape(subject, 2, length)
            _require(output.x, shape, subject, f"the states of {length} tokens")
            head = subject.model.head
            _require(head.logits(output.x), [*shape[:-1], head.out_features], subject, "the logits")
        for name, (value, weight) in output.losses.items():
            if value.shape != () or not isinstance(weight, float | int):
                raise Violation(f"the loss {name!r} is {value!r} with weight {weight!r}: both are single numbers.")


@holds(usually="a dtype written into the code of a layer, or a buffer or a tensor made in forward of another dtype.")
def every_layer_keeps_the_dtype(subject: Subject) -> None:
    """No layer, and in float64 no part of one, hands on another floating dtype than its parameters have."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        model, wrong = subject.copy().to(dtype), []
        for module in model.modules():
            module.register_forward_hook(partial(_watch, dtype, wrong))
        try:
            subject.states(subject.ids, model=model)
        except RuntimeError as error:
            if "dtype" not in str(error) and "type" not in str(error):
                raise
            raise Violation(f"parameters in {dtype} meet another dtype: {error}") from error
        if wrong:
            raise Violation(f"{wrong[0]} from parameters in {dtype}.")


@holds(usually="max_positions not set by positions that end, or a table indexed beyond its end.")
def past_the_training_length(subject: Subject) -> None:
    """Past max_seq_len it goes on, or is refused with a ConfigError where positions end."""
    ids = random_tokens(1, 2 * MAX_SEQ_LEN, vocab_size=VOCAB_SIZE, seed=0, device=subject.device)
    limits = [positions.max_positions for positions in subject.positions]
    try:
        states = subject.states(ids)
    except ConfigError:
        if all(limit is None for limit in limits):
            raise
        return
    if any(limit is not None and limit < ids.shape[1] for limit in limits):
        raise Violation(f"{ids.shape[1]} tokens were taken, but there are {limits[0]} positions.")
    _require(states, _shape(subject, 1, ids.shape[1]), subject, "the states")


@holds(usually="torch.arange, zeros or tensor without device=; these go wrong on a GPU.")
def makes_tensors_on_the_device_of_its_inputs(subject: Subject) -> None:
    """A forward pass mixes no devices: it runs on the meta device, where every tensor of another one shows."""
    model = subject.copy().to("meta")
    try:
        subject.run(
            subject.ids.to("meta"),
            model=model,
            **({"source_BS": subject.source.to("meta")} if subject.has_source else {}),
        )
    except (NotImplementedError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        if "same device" in reason or "on device" in reason:
            raise Violation(reason) from error
        raise NotApplicable(f"it reads values, or the meta device cannot run it: {reason}") from error


def _watch(dtype: torch.dtype, wrong: list[str], module: torch.nn.Module, inputs: object, output: object) -> None:
    x = output if isinstance(output, Tensor) else getattr(output, "x", None)
    if dtype != torch.float64 and x is output:
        return  # inside of a sublayer a router may well choose in more digits
    if isinstance(x, Tensor) and x.is_floating_point() and x.dtype != dtype:
        wrong.append(f"{type(module).__name__} returns {x.dtype}")


def _shape(subject: Subject, rows: int, length: int) -> list[int]:
    width = subject.model.d_model
    return [rows, width] if subject.body.pooled else [rows, length, width]


def _require(x: Tensor, shape: list[int], subject: Subject, what: str) -> None:
    expected = next(subject.model.parameters())
    if list(x.shape) != shape:
        raise Violation(f"{what} have shape {list(x.shape)} instead of {shape}.")
    if x.dtype != expected.dtype or x.device != expected.device:
        raise Violation(
            f"{what} are {x.dtype} on {x.device}; the parameters are {expected.dtype} on {expected.device}."
        )
    if not x.isfinite().all():
        raise Violation(f"{what} hold values that are not finite.")
