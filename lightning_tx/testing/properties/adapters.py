"""What is trained on a frozen base."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_tx.components.adapter.base import ADAPTER, Adapter
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.adapters import Adapters
from lightning_tx.testing.properties.gradients import UNSEEN, objective, unread
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import NO_ADAPTER, Subject
from lightning_tx.testing.values import GENTLE, gap, randomise, require_close, seeded

EXACT = 1e-9


@holds(
    groups=("adapter",),
    tolerance="1e-12",
    usually="both factors of the update drawn at random, where one has to start at zero.",
)
def adapter_starts_as_its_base(subject: Subject) -> None:
    """Before it is trained an adapted model computes what its base computes, unless it says otherwise."""
    adapter, model, _ = _adapted(subject)
    if not adapter.starts_as_base:
        raise NotApplicable("it changes the model from the start, and says so")
    base = _base(subject)
    expected = base.head.logits(subject.states(subject.ids, model=base))
    found = model.head.logits(subject.states(subject.ids, model=model))
    require_close(found, expected, 1e-12, "the logits of the adapted model before training and of its base")


@holds(
    groups=("adapter",),
    in_combinations=True,
    usually="requires_grad_(False) left out, or called late.",
)
def adapter_alone_is_trained(subject: Subject) -> None:
    """No parameter of the base is trained or moved by a step; what is trained moves, and the adapter saves it."""
    adapter, model, base = _adapted(subject)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    saved = set(adapter.state_dict(model))
    if not saved and set(trained.values()) == base:
        raise NotApplicable("it adapts nothing")
    own = [name for name, parameter in trained.items() if parameter in base]
    if own:
        raise Violation(f"the base's own {_names(own)} are trained.")
    if set(trained) - saved:
        raise Violation(f"{_names(set(trained) - saved)} are trained and not saved.")
    randomise(model, std=GENTLE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
    with seeded(0):
        objective(model, subject.run(subject.ids, model=model).x).backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    read = {name for name in trained if not name.startswith(unread(subject)) and not UNSEEN.search(name)}
    if not read <= moved <= set(trained):
        wrong = moved - set(trained), read - moved
        raise Violation(f"a training step moved {_names(wrong[0])} besides, and did not move {_names(wrong[1])}.")


@holds(
    groups=("adapter",),
    in_combinations=True,
    tolerance=f"{EXACT:g}",
    usually="the scale left out of the merged weight, or factors multiplied in the wrong order.",
)
def merged_is_wrapped(subject: Subject) -> None:
    """Merged into its base it computes the same with the base's parameters, or it is refused with a ConfigError."""
    adapter, model, _ = _adapted(subject)
    randomise(model)
    expected = model.head.logits(subject.states(subject.ids, model=model))
    own = set(adapter.state_dict(model)) - set(_base(subject).state_dict())
    try:
        merged: Any = adapter.merge(model)
    except ConfigError as error:
        raise NotApplicable(f"merging is refused: {error}") from error
    found = merged.head.logits(subject.states(subject.ids, model=merged))
    require_close(found, expected, EXACT, "the logits merged and wrapped")
    left = own & set(merged.state_dict())
    if left:
        raise Violation(f"merged, the model still has {_names(left)}.")


@holds(
    groups=("adapter",),
    tolerance=f"{EXACT:g}",
    usually="a parameter or buffer that state_dict leaves out, or an adapter that changes nothing.",
)
def adapter_state_is_enough(subject: Subject) -> None:
    """What the adapter saves, loaded into a freshly adapted base, makes the model it was saved from."""
    adapter, model, _ = _adapted(subject)
    if not adapter.state_dict(model):
        raise NotApplicable("it saves nothing")
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for value in adapter.state_dict(model).values():
            if value.is_floating_point():
                value += 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
    expected = model.head.logits(subject.states(subject.ids, model=model))
    plain = _base(subject)
    if gap(expected, plain.head.logits(subject.states(subject.ids, model=plain))) < 1e-6:
        raise Violation("with random values it still computes what the base computes.")
    again, fresh, _ = _adapted(subject)
    _, unexpected = fresh.load_state_dict(adapter.state_dict(model), strict=False)
    if unexpected:
        raise Violation(f"{_names(unexpected)} do not fit a freshly adapted model.")
    found = fresh.head.logits(subject.states(subject.ids, model=fresh))
    require_close(found, expected, EXACT, f"a base with the saved {type(again).__name__} and the model saved from")


@holds(
    groups=("adapter",),
    tolerance="1e-12",
    usually="a hook that wrap() registers on the base's own modules, or a parameter of the base that it writes.",
)
def adapter_leaves_its_base(subject: Subject) -> None:
    """Taken out of use an adapter leaves the base as it was, in evaluation and in training."""
    if subject.component("adapter").wrap is Adapter.wrap:
        raise NotApplicable("it replaces no modules that could be put back")
    base: Any = _base(subject)
    expected = {mode: _logits(subject, base.train(mode)) for mode in (False, True)}
    hooks = _hooks(base)
    adapters = Adapters(base)
    try:
        adapters.add("own", subject.config()["adapter"])
    except ConfigError as error:
        raise NotApplicable(f"it does not go on a model that has its head: {error}") from error
    adapters.use("own")
    adapters.use(None)
    if _hooks(base) != hooks:
        raise Violation(
            f"{_names(set(_hooks(base)) - set(hooks)) or 'modules'} of the base keep a hook of the adapter's."
        )
    for mode, logits in expected.items():
        found = _logits(subject, base.train(mode))
        require_close(found, logits, 1e-12, f"the logits of the base {'in training ' if mode else ''}after and before")


@holds(
    groups=("adapter",),
    usually="parameters made without the base's dtype and device: make them by weight.new_zeros(…).",
)
def adapter_fits_a_bfloat16_base(subject: Subject) -> None:
    """On a base in bfloat16 its parameters are in bfloat16, and the model runs in it."""
    base: Any = _base(subject).bfloat16()
    adapter: Adapter = ADAPTER.create(subject.config()["adapter"])
    own = set(base.parameters())
    model: Any = adapter.apply(base)
    model.initialise(0)
    states = subject.states(subject.ids, model=model.eval())
    others = [name for name, each in model.named_parameters() if each not in own and each.dtype != torch.bfloat16]
    if others or states.dtype != torch.bfloat16:
        raise Violation(f"{_names(others)} have another dtype; the states are {states.dtype}.")
    if not states.isfinite().all():
        raise Violation("states that are not finite.")


def _logits(subject: Subject, model: Any) -> Tensor:
    with seeded(0):
        return model.head.logits(subject.states(subject.ids, model=model)).detach()


def _hooks(model: nn.Module) -> dict[str, int]:
    """How many hooks every module has that has any."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    counts = {name: sum(len(getattr(module, kind)) for kind in kinds) for name, module in model.named_modules()}
    return {name: count for name, count in counts.items() if count}


def _base(subject: Subject) -> Any:
    """The model without adapter, as initialised, in float64."""
    return replace(subject, parts={**subject.parts, "adapter": NO_ADAPTER}).build().double().eval()


def _adapted(subject: Subject) -> tuple[Adapter, Any, set[nn.Parameter]]:
    """The adapter, the initialised model with it, and the parameters that were there before."""
    adapter: Adapter = ADAPTER.create(subject.config()["adapter"])
    base = _base(subject).float()
    own = set(base.parameters())
    model: Any = adapter.apply(base)
    model.initialise(0)
    return adapter, model.double().eval(), own


def _names(names: Collection[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
    return (", ".join(shown[:4]) or "nothing") + more
