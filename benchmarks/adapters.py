"""What a step of LoRA costs: against peft's LoRA on the same model, and in memory against training everything.

Both train rank 8 on the q, k and v projections of the same decoder, with the same weights, batches, loss and
optimizer; only the layers that carry the update differ. They take turns in one process, so that what else the machine
does hits both alike. Printed is the ratio of median step times, peft's over ours: above 1.0 ours is faster.

Memory counts what a step holds at once: parameters, gradients and the optimizer's two moments, exactly; and the
tensors that autograd keeps for the backward pass, each storage once, parameters left out.

    python benchmarks/adapters.py
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from lightning_tx.model.build import build_model

RANK, ALPHA, TARGETS = 8, 16, ["q_proj", "k_proj", "v_proj"]
PARTS = {
    "positions": {"name": "rope"},
    "attention": {"name": "multi_head"},
    "pattern": {"name": "full"},
    "norm": {"name": "rmsnorm"},
    "block": {"name": "pre_norm"},
    "feed_forward": {"name": "swiglu"},
}
LORA = {"name": "lora", "rank": RANK, "alpha": float(ALPHA), "targets": TARGETS}
#: Name, the model's sizes, rows and tokens of a batch.
SETTINGS = [
    ("d_model 128, 4 layers", {"d_model": 128, "num_heads": 4, "num_layers": 4, "vocab_size": 4096}, (16, 64)),
    ("d_model 256, 4 layers", {"d_model": 256, "num_heads": 8, "num_layers": 4, "vocab_size": 8192}, (16, 128)),
]

Step = Callable[[], None]


def trainer(model: Any, tokens_BT: Tensor) -> Step:
    """One step of training a model to predict each token from those before it."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step() -> None:
        loss_of(model, tokens_BT).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def loss_of(model: Any, tokens_BT: Tensor) -> Tensor:
    states_ND = model(tokens_BT[:, :-1]).x.flatten(0, 1)
    return model.head.cross_entropy(states_ND, tokens_BT[:, 1:].flatten()) / len(states_ND)


def with_peft(base: nn.Module) -> nn.Module:
    """The base with peft's LoRA instead of ours, everything else frozen."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, lora_dropout=0.0, bias="none")
    return inject_adapter_in_model(config, copy.deepcopy(base))


def interleaved(steps: dict[str, Step], turns: int) -> dict[str, float]:
    """The median seconds of each, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(turns + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def bytes_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def memory(model: Any, tokens_BT: Tensor) -> tuple[int, int]:
    """Bytes of parameters, gradients and moments; and of what one forward pass keeps for its backward pass."""
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(model, tokens_BT)
    # While the graph lives no storage is reused, so that each counts once.
    del loss
    return bytes_of(parameters) + 3 * bytes_of(trained), sum(kept.values())


def main() -> int:
    """Measure every setting; the exit code is 1 where a wish is not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=30, help="steps of each side (default: 30)")
    arguments = parser.parse_args()
    missed = 0
    for name, sizes, shape in SETTINGS:
        config = {"model": {"name": "decoder", "max_seq_len": shape[1], **sizes}, **PARTS}
        tokens_BT = torch.randint(sizes["vocab_size"], shape, generator=torch.Generator().manual_seed(0))
        full, ours = build_model(config), build_model({**config, "adapter": LORA})
        theirs = with_peft(full)
        steps = {"ours": trainer(ours, tokens_BT), "peft": trainer(theirs, tokens_BT), "full": trainer(full, tokens_BT)}
        times = interleaved(steps, arguments.turns)
        ratio = times["peft"] / times["ours"]
        print(
            f"{name}, {shape[0]} x {shape[1]} tokens: peft {1e3 * times['peft']:.1f} ms, ours "
            f"{1e3 * times['ours']:.1f} ms, ratio {ratio:.3f} (wanted 1.0); all parameters {1e3 * times['full']:.1f} ms"
        )
        held = {side: memory(model, tokens_BT) for side, model in (("ours", ours), ("peft", theirs), ("full", full))}
        for side, (state, kept) in held.items():
            share = sum(held[side]) / sum(held["full"])
            print(f"  {side}: state {state / 2**20:.1f} MiB, kept {kept / 2**20:.1f} MiB, {share:.2f} of full training")
        missed += ratio < 1.0 or sum(held["ours"]) >= sum(held["full"])
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
