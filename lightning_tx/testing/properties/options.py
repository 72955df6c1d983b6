"""Options do what they are called."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_tx.components.adapter.extension import Extension
from lightning_tx.components.pattern.base import PATTERN
from lightning_tx.core.context import Output, Sublayer
from lightning_tx.core.errors import ConfigError
from lightning_tx.testing.baseline import TOPOLOGIES
from lightning_tx.testing.declared import dropout_keeps_the_mean as keeps_the_mean
from lightning_tx.testing.declared import noise_options
from lightning_tx.testing.property import holds
from lightning_tx.testing.results import NotApplicable, Violation
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.values import randomise, seeded, tensors_of
from lightning_tx.testing.variations import variations

#: Groups whose components stand in a model.
IN_MODELS = ("positions", "attention", "pattern", "norm", "block", "feed_forward", "adapter")
DROPPING = ("attention", "feed_forward", "adapter")
#: How many other values of an option are tried.
TRIED = 10
#: What some options need to show: many dimensions that turn, and texts that are long.
WIDE = {"num_heads": 2, "head_dim": 64, "max_seq_len": 4096}
#: Copies of a row that a mean over dropped values is taken of.
COPIES = 512


@holds(
    groups=IN_MODELS,
    once=True,
    usually="an option that is declared and documented, and that the constructor never uses.",
)
def every_option_changes_something(subject: Subject) -> None:
    """Another value of an option makes another model: other parameters, states, losses or stats."""
    config = subject.parts[subject.group]
    names = sorted({name.rpartition(".")[2] for name, module in subject.model.named_modules() if _is_leaf(module)})
    noise = noise_options(subject.component(subject.group))
    tried = {name: values for name, values in variations(subject.group, config, names).items() if name not in noise}
    if not tried:
        raise NotApplicable("it has no options")
    without = {name: values for name, values in tried.items() if _is_same(subject, name, values)}
    # What matters only beside another option, or in another model, is looked for there.
    for name, values in list(without.items()):
        if any(_is_same(other, name, values) is False for other in _elsewhere(subject, name, tried)):
            del without[name]
    if without:
        name, values = next(iter(without.items()))
        raise Violation(f"{name} = {', '.join(map(repr, values[:4]))}: the model is the same with each.")


@holds(usually="an option called dropout that is stored and not used.", groups=IN_MODELS)
def dropout_in_training(subject: Subject) -> None:
    """In training its own dropout drops."""
    model = _dropping(subject, 0.5)
    with seeded(0):
        first = subject.states(subject.ids, model=model)
        second = subject.states(subject.ids, model=model)
    if torch.equal(first, second):
        raise Violation("with a probability of 0.5 two training passes give the same.")


@holds(usually="a probability written into the code instead of the option's.", groups=DROPPING)
def dropout_follows_its_probability(subject: Subject) -> None:
    """The larger the probability of its dropout, the wider its values scatter in training."""
    spread = {p: _scatter(subject, p)[0] for p in (0.1, 0.5)}
    if not spread[0.5] > 1.5 * spread[0.1]:
        raise Violation(
            f"over {COPIES} copies of a row its values scatter by {spread[0.1]:.2g} with dropout 0.1, "
            f"and by {spread[0.5]:.2g} with 0.5."
        )


@holds(
    tolerance="a quarter",
    usually="values that are dropped without dividing the others by 1 - p.",
    groups=DROPPING,
)
def dropout_keeps_the_mean(subject: Subject) -> None:
    """On average over what is dropped its values in training are those of evaluation."""
    if not keeps_the_mean(subject.model.modules()):
        raise NotApplicable("it says that what its dropout leaves has another mean")
    _, share, error = _scatter(subject, 0.5)
    if not abs(share - 1) < 0.25 + 4 * error:
        raise Violation(f"with dropout 0.5 the mean in training is {share:.2g} of the value in evaluation.")


def _is_leaf(module: nn.Module) -> bool:
    return not list(module.children()) and bool(list(module.parameters()))


def _is_same(subject: Subject, name: str, values: list[Any]) -> bool | None:
    """Whether the model is the same with each value of an option; None where none of them goes with it."""
    plain, found = list(_observed(subject)), None
    for value in values[:TRIED]:
        parts = {**subject.parts, subject.group: {**subject.parts[subject.group], name: value}}
        try:
            other = list(_observed(replace(subject, parts=parts)))
        except ConfigError:
            continue
        found = True
        if not _same(plain, other):
            return False
    return found


def _elsewhere(subject: Subject, name: str, tried: dict[str, list[Any]]) -> Iterator[Subject]:
    """A model of wider heads and longer texts, other topologies, and the component with another option changed."""
    config = subject.parts[subject.group]
    yield replace(subject, sizes=WIDE)
    for other, values in tried.items():
        for value in values[:2] if other != name else ():
            parts = {**subject.parts, subject.group: {**config, other: value}}
            if _builds(candidate := replace(subject, parts=parts)):
                yield candidate
    if subject.topology["name"] in TOPOLOGIES:
        others = [replace(subject, topology={"name": each}) for each in TOPOLOGIES if each != subject.topology["name"]]
        yield from filter(_builds, others)


def _builds(subject: Subject) -> bool:
    try:
        subject.states(subject.ids)
    except ConfigError:
        return False
    return True


def _observed(subject: Subject) -> Iterator[Any]:
    """What can be seen of a model: its values at the start, what is trained, states, losses, stats and counts."""
    if subject.group == "pattern":
        # At its own size: on a dozen tokens many sizes are alike.
        pattern = PATTERN.create(subject.parts["pattern"])
        at = torch.arange(0, 4096, 1)
        yield pattern.reach, pattern.prefix
        yield pattern(at[-8:, None], at[None]), pattern(at[:2, None], at[None])
        return
    start = subject.build()
    yield {name: value.clone() for name, value in tensors_of(start).items()}
    yield {name for name, parameter in start.named_parameters() if parameter.requires_grad}
    yield [module.idle_parameters() for module in start.modules() if isinstance(module, Sublayer)]
    model = subject.model
    yield subject.states(subject.ids)
    for rows in _far(subject):
        yield subject.states(subject.ids, **rows)
    training = subject.copy().train()
    with seeded(0), torch.no_grad():
        output: Output = subject.run(subject.ids, model=training)
    yield output.x, output.losses, {name: tuple(mean) for name, mean in output.stats.items()}
    for module in training.modules():
        if isinstance(module, Sublayer):
            module.after_step(output.stats)
    yield dict(training.named_buffers())
    yield len(list(model.modules()))


def _far(subject: Subject) -> Iterator[dict[str, Tensor]]:
    if subject.body.packs_documents and all(positions.max_positions is None for positions in subject.positions):
        at = torch.arange(subject.length, device=subject.device)[None]
        for step in (7, 1000):
            yield {"positions_BT": at * step}


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape == second.shape and torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return type(first) is type(second) and first == second


def _dropping(subject: Subject, probability: float) -> Any:
    """The model in training, with a probability for the dropout of the component in question alone."""
    config = subject.parts[subject.group]
    own = noise_options(subject.component(subject.group))
    if not own:
        raise NotApplicable("it has no dropout of its own")
    model = _with(subject, {**config, **dict.fromkeys(own, probability)})
    return randomise(model.double()).train()


def _with(subject: Subject, config: dict[str, Any]) -> Any:
    return subject.build_of({**subject.config(), subject.group: config})


def _scatter(subject: Subject, probability: float) -> tuple[float, float, float]:
    """How far the values of the component's modules scatter over copies of a row in training, and the share of the
    evaluation's value that their mean is, with its standard error.
    """
    model = _dropping(subject, probability)
    outputs: list[Tensor] = []

    def watch(module: nn.Module, inputs: Any, output: Any) -> None:
        if not outputs:
            outputs.append(output.x if isinstance(output, Output) else output)

    watched = [module for module in model.modules() if _is_of_group(subject.group, module)]
    if not watched:
        raise NotApplicable("it puts no module of its own there")
    handle = watched[0].register_forward_hook(watch)
    ids = subject.ids[:1, :4].expand(COPIES, -1)
    with seeded(0):
        subject.states(ids, model=model)
    (found,) = outputs
    outputs.clear()
    subject.states(ids[:1], model=model.eval())
    expected = outputs[0][0]
    handle.remove()
    mean = found.mean(dim=0)
    weight = expected / expected.square().sum()
    shares = (found * weight).flatten(1).sum(dim=1)
    scatter = (found - mean).square().mean().sqrt() / expected.square().mean().sqrt()
    return scatter.item(), shares.mean().item(), (shares.std() / COPIES**0.5).item()


def _is_of_group(group: str, module: nn.Module) -> bool:
    if group == "adapter":
        return isinstance(module, Extension)
    role = getattr(getattr(module, "site", None), "role", "feed_forward")
    return isinstance(module, Sublayer) and ((role == "feed_forward") == (group == "feed_forward"))
