"""A run's config: parsed once, checked as a whole, and from then on an object that cannot be wrong.

A config as it is composed, written and recorded is plain data: one key a group with ``name`` and the component's
options, ``trainer`` and ``tracking`` with options, and ``seed``, ``root``, ``study``, ``margin``, ``init_from`` and
``plugins``. :meth:`RunConfig.parse` turns it into what everything else takes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from lightning_tx.core.errors import ConfigError, choices, naming, nearest
from lightning_tx.core.group import Choice, Group
from lightning_tx.core.margin import Margin
from lightning_tx.core.schema import checked, schema, shown
from lightning_tx.data.base import DATA, Data
from lightning_tx.decoding.base import DECODING, Decoding
from lightning_tx.groups import GROUPS
from lightning_tx.model.body import Body, language_model
from lightning_tx.model.build import assembled
from lightning_tx.model.config import PARTS, ModelConfig, adapter_of
from lightning_tx.model.parts import Parts
from lightning_tx.model.sizes import Sizes
from lightning_tx.optimizer.base import OPTIMIZER
from lightning_tx.runs import plugins
from lightning_tx.runs.starting import Start, find_start
from lightning_tx.runs.store import get_store
from lightning_tx.runs.values import InitFrom, Values
from lightning_tx.schedule.base import SCHEDULE, Schedule
from lightning_tx.task.base import TASK, Task, problems_of
from lightning_tx.tokenizer.base import TOKENIZER, TokenizerTrainer
from lightning_tx.tracking.options import TrackingOptions
from lightning_tx.training.options import TrainerOptions


@dataclass(frozen=True)
class RunConfig:
    """What one run is, checked: every part can be built, and they go together.

    Attributes:
        root: the folder of everything that runs write, absolute.
        init_from: the run whose weights it starts from; None to start afresh.
        raw: the plain values that were parsed, as they are recorded.
        d_model: width of the model's states.
        max_seq_len: longest sequence that the model is trained on, in tokens.
        unread: what has no influence on the run: groups, and options as ``model.num_heads``. It is learnt by building
            the model without memory. Patterns, and positions that only turn queries and keys or add a bias, are read
            by attention alone; norms where a block or an attention makes one; decoding where the task decodes.
        unread_overrides: the same for ``model.overrides``: (index, group).
    """

    model: ModelConfig
    task: Choice[Task]
    data: Choice[Data]
    tokenizer: Choice[TokenizerTrainer]
    optimizer: Choice[Any]
    schedule: Choice[Schedule]
    decoding: Choice[Decoding]
    tracking: TrackingOptions
    trainer: TrainerOptions
    seed: int
    root: Path
    study: str | None
    margin: Any
    init_from: Start | None
    d_model: int
    max_seq_len: int
    raw: Mapping[str, Any]
    unread: frozenset[str]
    unread_overrides: frozenset[tuple[int, str]]

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """Check a config as a whole; imports the plugin files that it lists, trains and records nothing.

        Raises:
            ConfigError: with every problem. Where a plugin file cannot be used, that is all that is said.
        """
        plugins.load(raw)
        parts, problems = _parsed(raw)
        unsound = {problem.partition(":")[0].partition(".")[0] for problem in problems}
        built = Parts(parts["model"], watch=True) if "model" in parts else None
        problems += _problems_together(parts, raw, unsound)
        model = None
        if built is not None and unsound.isdisjoint(MODEL_KEYS):
            try:
                model = _build(parts, built)
            except ConfigError as error:
                problems += error.problems
        if problems or built is None or model is None:
            raise ConfigError(problems)
        values: Values = parts.pop("values")
        start, tokenizer = parts["init_from"], parts["tokenizer"]
        return cls(
            **parts,
            seed=values.seed,
            root=Path(values.root).absolute(),
            study=values.study,
            margin=values.margin,
            d_model=model.d_model,
            max_seq_len=model.max_seq_len,
            raw={
                **raw,
                "init_from": start and start.plain,
                "tokenizer": {"name": tokenizer.name, **tokenizer.options},
            },
            unread=frozenset(_unread(parts, built)),
            unread_overrides=frozenset(
                (index, group)
                for index, override in enumerate(parts["model"].overrides)
                for group in override.choices
                if not built.reads(group, index)
            ),
        )

    def in_study(self, name: str) -> Self:
        """The same run as one of a study."""
        return replace(self, study=name, raw={**self.raw, "study": name})

    @property
    def choices(self) -> dict[str, Choice[Any]]:
        """The choice of every group, by the group's name."""
        own = {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "model": self.model.model,
            "adapter": self.model.adapter,
            **self.model.parts,
        }
        return {group: own[group] for group in GROUPS}

    def all_choices(self) -> list[Choice[Any]]:
        """Every choice that was made, those of ``model.overrides`` included."""
        others = [choice for override in self.model.overrides for choice in override.choices.values()]
        return [*self.choices.values(), *others]

    def reads(self, key: str) -> bool:
        """Whether a choice or an option has any influence: ``pattern``, ``pattern.window``, ``model.num_heads``."""
        return key not in self.unread and key.partition(".")[0] not in self.unread

    def read_only(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Those of some labels, by group or option, that have any influence."""
        return {key: label for key, label in labels.items() if self.reads(key)}

    def why_unread(self, key: str) -> str:
        """Why a choice or an option has no influence, as the end of a sentence."""
        if key.partition(".")[0] == "decoding":
            return f"task={self.task.name} decodes nothing"
        read = {group: self.model.parts[group].name for group in _READERS if self.reads(group)}
        names = {"model": self.model.model.name, **read}
        return f"nothing in {', '.join(f'{group}={name}' for group, name in names.items())} does"


#: The parts that read others.
_READERS = ("attention", "block", "feed_forward")
#: The groups whose problems keep a model from being parsed.
MODEL_KEYS = ("model", *PARTS, "adapter")
#: Keys that are no group and hold no options.
VALUES = tuple(Values.model_fields)


def unread_problems(configs: Sequence[RunConfig], varied: Iterable[str]) -> list[str]:
    """What is varied over runs though none of them reads it, one sentence each."""
    return [
        f"{key}: it is varied, but no run reads it; {configs[0].why_unread(key)}."
        for key in varied
        if not any(config.reads(key) for config in configs)
    ]


def schedule_of(schedule: Choice[Schedule], optimizer: Choice[Any], max_steps: int, d_model: int) -> Schedule:
    """The schedule of a run, for a model of a width.

    Raises:
        ConfigError: the schedule does not fit the optimizer or the number of steps.
    """
    try:
        return schedule.create(optimizer.options.get("lr"), max_steps, d_model)
    except ConfigError as error:
        raise ConfigError(naming(error.problems, schedule=schedule.name)) from error


def _parsed(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Each part by itself, by the names of the attributes of :class:`RunConfig`; and the problems of the others."""
    known = {*GROUPS, "trainer", "tracking", *VALUES}
    problems = [
        f"{key}: unknown key.{_homes(key, raw) or nearest(key, known)} Keys: {choices(known)}."
        for key in raw
        if key not in known
    ]
    problems += [f"{key}: missing; set it as {key}=VALUE." for key in _missing(raw)]
    parts: dict[str, Any] = {}

    def attempt(name: str, parse: Callable[[], Any]) -> None:
        try:
            parts[name] = parse()
        except ConfigError as error:
            problems.extend(error.problems)

    for group in (TASK, DATA, TOKENIZER, OPTIMIZER, SCHEDULE, DECODING):
        attempt(group.name, lambda group=group: _choice(group, raw))
    attempt("model", lambda: ModelConfig.parse(raw))
    for name, options in (("trainer", TrainerOptions), ("tracking", TrackingOptions)):
        parts[name], wrong = checked(options, raw.get(name, {}), name)
        problems += wrong
    parts["values"], wrong = checked(Values, {key: raw[key] for key in VALUES if key in raw}, "")
    return parts, [*problems, *wrong]


def _homes(key: str, raw: Mapping[str, Any]) -> str:
    """A suggestion where an unknown key is an option of what was chosen, or else of what could be; or nothing."""
    homes = [name for name, values in raw.items() if isinstance(values, Mapping) and key in values and key != "name"]
    if not homes:
        homes = [name for name, group in GROUPS.items() if key in _options(group)]
    return f" Did you mean {' or '.join(repr(f'{name}.{key}') for name in homes)}?" if homes else ""


def _options(group: Group[Any]) -> set[str]:
    return {option for name in group.names() for option in schema(group.get(name)).model_fields}


def _choice(group: Group[Any], raw: Mapping[str, Any]) -> Choice[Any]:
    if group.name not in raw:
        raise ConfigError(f"{group.name}: missing. Choices: {choices(group.names())}.")
    return group.parse(raw[group.name])


def _problems_together(parts: dict[str, Any], raw: Mapping[str, Any], unsound: set[str]) -> list[str]:
    """Problems that show when parts meet; those that concern an unsound part show once it is mended.

    The run to start from, and the tokenizer where that is its own, are among the parts then.
    """
    attempts: list[tuple[Sequence[str], Callable[[], Any]]] = [
        (["data"], lambda: _refuse(parts["data"].create().problems())),
        (
            ["task", "data", *MODEL_KEYS],
            lambda: _refuse(problems_of(parts["task"], parts["model"].model, parts["data"])),
        ),
        (
            ["optimizer", "schedule", "trainer"],
            lambda: schedule_of(parts["schedule"], parts["optimizer"], parts["trainer"].max_steps, d_model=1),
        ),
        (["trainer"], lambda: parts["trainer"].batch),
        (["trainer", "task"], lambda: _refuse(_problems_of_final_validations(parts["trainer"], parts["task"]))),
        (["root"], lambda: _refuse(_problems_of_root(raw["root"]))),
        (["margin"], lambda: Margin.parse(raw["margin"]) if raw.get("margin") is not None else None),
        (["tokenizer"], lambda: parts["tokenizer"].create()),
        (["decoding"], lambda: parts["decoding"].create()),
        (["tracking", "root", "init_from", "adapter"], lambda: parts.update(init_from=_start_of(raw))),
        (["tracking", "root", "init_from", "tokenizer"], lambda: parts.update(tokenizer=_tokenizer_of(parts, raw))),
    ]
    problems: list[str] = []
    for needed, attempt in attempts:
        if unsound.isdisjoint(needed):
            try:
                attempt()
            except ConfigError as error:
                problems += error.problems
    return problems


def _build(parsed: Mapping[str, Any], parts: Parts) -> Body:
    config: ModelConfig = parsed["model"]
    # Sizes are known once the data are read and the tokenizer is trained; any will do to see whether the parts fit.
    vocab_size = config.model.options.get("vocab_size") or 64
    source_vocab_size = config.model.options.get("source_vocab_size") or vocab_size
    head = parsed["task"].create().head if "task" in parsed else language_model
    return assembled(config, parts, Sizes(vocab_size, source_vocab_size, num_classes=2), head, "meta")


def _start_of(raw: Mapping[str, Any]) -> Start | None:
    """The run that a run starts from, by its whole id: ``last`` is soon another one."""
    if raw.get("init_from") is None:
        return None
    return find_start(InitFrom.model_validate(raw["init_from"]), adapter_of(raw), get_store(raw))


def _tokenizer_of(parts: Mapping[str, Any], raw: Mapping[str, Any]) -> Choice[TokenizerTrainer]:
    """The tokenizer that was chosen, or the choice of the run to start from where it stands for that."""
    chosen, start = parts["tokenizer"], parts.get("init_from")
    if not chosen.component.of_base or (start is None and raw.get("init_from") is not None):
        return chosen
    if start is None:
        raise ConfigError(f"tokenizer: {chosen.name} is that of the run to start from; name that: init_from=RUN.")
    return start.tokenizer(get_store(raw))


def _unread(parts: Mapping[str, Any], built: Parts) -> set[str]:
    unread = {group for group in PARTS if not built.reads(group)}
    unread |= {f"model.{option}" for option in built.unread_options()}
    return unread if parts["task"].component.decodes else {*unread, "decoding"}


def _problems_of_final_validations(options: TrainerOptions, task: Choice[Task]) -> list[str]:
    count = options.final_validations
    if count == 1:
        return []
    problem = f"trainer.final_validations: {count} validations have no mean that counts"
    if options.average is not None:
        return [f"{problem} where the run ends with averaged weights (trainer.average={options.average}); set it to 1."]
    if task.component.decodes:
        where = f"the whole split is decoded at the end of training (task={task.name})"
        return [f"{problem} where {where}; set it to 1."]
    return []


def _problems_of_root(root: str) -> list[str]:
    try:
        file = next((path for path in (Path(root), *Path(root).parents) if path.exists() and not path.is_dir()), None)
    except (OSError, ValueError) as error:
        return [f"root: {shown(root)} is no name of a folder ({error})."]
    return [f"root: {root!r} is no folder: '{file}' is a file."] if file else []


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)


def _missing(config: Any, where: str = "") -> list[str]:
    if isinstance(config, Mapping):
        return [key for name, value in config.items() for key in _missing(value, f"{where}.{name}" if where else name)]
    return [where] if config == "???" else []
