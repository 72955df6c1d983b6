"""Every problem of a config, found before anything trains.

A config is data: nested plain values, one key a group with ``name`` and the component's options, plus ``trainer``,
``seed``, ``root``, ``study``, ``margin``, ``init_from`` and ``plugins``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning_tx.core import registry
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.core.margin import Margin
from lightning_tx.model.build import build_model, check_model
from lightning_tx.model.parts import GROUPS as PARTS
from lightning_tx.runs import plugins
from lightning_tx.runs.assembly import schedule_of
from lightning_tx.runs.starting import start_weights
from lightning_tx.runs.store import open_store
from lightning_tx.training.options import TrainerOptions

#: Groups every training run needs besides the model's own.
RUNNING = ("task", "data", "tokenizer", "optimizer", "schedule", "decoding", "tracking")
PLAIN = ("trainer", "seed", "root", "study", "margin", "init_from", "plugins")


def check(config: Mapping[str, Any]) -> list[str]:
    """Every problem of a config, as sentences; nothing is trained and nothing is recorded.

    Imports the plugin files that it lists. Where one of them cannot be used, that is all that is said.
    """
    try:
        plugins.load(config)
    except ConfigError as error:
        return error.problems
    known = {*registry.GROUPS, *PLAIN}
    problems = [
        f"{key}: unknown key.{nearest(key, known)} Keys: {choices(known)}." for key in config if key not in known
    ]
    missing = list(_missing(config))
    problems += [f"{key}: missing; set it as {key}=VALUE." for key in missing]
    for group in RUNNING:
        if group not in config:
            problems.append(f"{group}: missing. Choices: {choices(registry.names(group))}.")
        else:
            problems += registry.check(group, config[group])
    problems += check_model(config)
    problems += registry.problems_of(TrainerOptions, config.get("trainer", {}), "trainer")
    seed = config.get("seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        problems.append(f"seed: {seed!r} should be a whole number from 0.")
    return problems + _check_fit(config, unsound={problem.partition(":")[0].partition(".")[0] for problem in problems})


def _check_fit(config: Mapping[str, Any], unsound: set[str]) -> list[str]:
    """Problems that show when parts meet; those that concern an unsound part show once it is mended."""
    # Sizes of vocabularies are known once the tokenizer is trained; any will do to see whether the parts fit.
    attempts: list[tuple[Sequence[str], Callable[[], Any]]] = [
        (["data"], lambda: _refuse(registry.create("data", config["data"]).problems())),
        (["task", "model", "data"], lambda: _refuse(registry.create("task", config["task"]).problems(config))),
        (["optimizer", "schedule", "trainer"], lambda: schedule_of(config, d_model=1)),
        (["trainer"], lambda: TrainerOptions(**config["trainer"]).batch),
        (["trainer", "task"], lambda: _refuse(_problems_of_final_validations(config))),
        ([], lambda: Margin.parse(config["margin"]) if config.get("margin") is not None else None),
        (["tokenizer"], lambda: registry.create("tokenizer", config["tokenizer"])),
        (["decoding"], lambda: registry.create("decoding", config["decoding"])),
        (["tracking"], lambda: registry.create("tracking", config["tracking"])),
        (["tracking", "root"], lambda: start_weights(config, open_store(config)) if config.get("init_from") else None),
        (
            [*PARTS, "model", "adapter"],
            lambda: build_model(config, vocab_size=None if config["model"].get("vocab_size") else 64, device="meta"),
        ),
    ]
    problems: list[str] = []
    for needed, attempt in attempts:
        if unsound.isdisjoint(needed):
            try:
                attempt()
            except ConfigError as error:
                problems += error.problems
    return problems


def _problems_of_final_validations(config: Mapping[str, Any]) -> list[str]:
    options, name = TrainerOptions(**config["trainer"]), config["task"]["name"]
    count = options.final_validations
    if count == 1:
        return []
    problem = f"trainer.final_validations: {count} validations have no mean that counts"
    if options.average is not None:
        return [f"{problem} where the run ends with averaged weights (trainer.average={options.average}); set it to 1."]
    if registry.get("task", name).decodes:
        return [f"{problem} where the whole split is decoded at the end of training (task={name}); set it to 1."]
    return []


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)


def _missing(config: Any, where: str = "") -> list[str]:
    if isinstance(config, Mapping):
        return [key for name, value in config.items() for key in _missing(value, f"{where}.{name}" if where else name)]
    return [where] if config == "???" else []
