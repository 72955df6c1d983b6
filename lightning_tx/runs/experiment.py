"""From a plain dict to a checked, trained and recorded run.

A config is data: nested plain values, one key a group with ``name`` and the component's options, plus ``trainer``,
``seed``, ``root``, ``study``, ``margin``, ``init_from`` and ``plugins``.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_tx.core import plugin_files, registry
from lightning_tx.core.errors import ConfigError, choices, naming, nearest
from lightning_tx.core.margin import Margin
from lightning_tx.core.measure import LAST, to_text
from lightning_tx.model.adapters import save_adapter
from lightning_tx.model.build import build_model, check_model
from lightning_tx.model.count import count_parameters, forward_flops_per_token
from lightning_tx.model.language_model import LanguageModel
from lightning_tx.model.parts import GROUPS as PARTS
from lightning_tx.model.weights import load_weights
from lightning_tx.runs import plugins
from lightning_tx.runs.facts import facts_of, settle_precision, targets_of
from lightning_tx.runs.identity import VOLATILE, identity
from lightning_tx.runs.loading import ADAPTER, SOURCE_TOKENIZER, TOKENIZER, WEIGHTS
from lightning_tx.runs.materials import Materials, cache_folder, materials
from lightning_tx.runs.pictures import drawn
from lightning_tx.task.base import Loader, Task
from lightning_tx.tracking import tags
from lightning_tx.tracking.errors import TrackingError
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Mlflow, Store
from lightning_tx.tracking.study import Study
from lightning_tx.training.options import TrainerOptions

if TYPE_CHECKING:
    from lightning_tx.training.module import TrainingModule

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
        (["optimizer", "schedule", "trainer"], lambda: _schedule(config, d_model=1)),
        (["trainer"], lambda: TrainerOptions(**config["trainer"]).batch),
        (["trainer", "task"], lambda: _refuse(_problems_of_final_validations(config))),
        ([], lambda: Margin.parse(config["margin"]) if config.get("margin") is not None else None),
        (["tokenizer"], lambda: registry.create("tokenizer", config["tokenizer"])),
        (["decoding"], lambda: registry.create("decoding", config["decoding"])),
        (["tracking"], lambda: registry.create("tracking", config["tracking"])),
        (["tracking", "root"], lambda: _start_weights(config, open_store(config)) if config.get("init_from") else None),
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


def identify(config: Mapping[str, Any]) -> str:
    """The identity of a checked config; reads the data and trains the tokenizer if that was not done yet."""
    made = materials(config)
    code = plugin_files.digests(plugins.files_of(config))
    own = [f"{group} {digest}" for group, digest in code.items() if group not in VOLATILE]
    return identity(config, made.splits.digest, made.tokenizer_digest, *own)


def open_store(config: Mapping[str, Any]) -> Store:
    """The store that a config records to."""
    tracking: Mlflow = registry.create("tracking", config["tracking"], Path(config["root"]))
    return tracking.open()


@dataclass(frozen=True)
class Assembly:
    """A run put together, ready to be trained.

    Attributes:
        module: trains the model: with its task, optimizer and metrics.
        net: the model.
        train: batches to train on.
        validation: batches to select on.
        test: batches to look at once; None where there are none.
        counts: what is worth recording of the data, by name.
    """

    module: "TrainingModule"
    net: LanguageModel
    train: Loader
    validation: Any
    test: Any
    counts: dict[str, int]


def assemble(config: Mapping[str, Any], made: Materials) -> Assembly:
    """Put together what a checked config describes, on its materials.

    Raises:
        ConfigError: the data holds less than a batch.
    """
    # Lightning takes seconds to import; checking a config does without.
    from lightning_tx.training.module import TrainingModule

    options = TrainerOptions(**config["trainer"])
    task: Task = registry.create("task", config["task"])
    corpus = task.prepare(made.splits, made.tokenizers, cache_folder(config))
    net = build_model(config, **made.vocab_sizes, seed=config["seed"])
    sizes: Any = {"max_seq_len": net.dims.max_seq_len, "batch": options.batch}
    metrics = {"val": task.metric(corpus, "validation")}
    if task.decodes or options.average:
        decoding = registry.create("decoding", config["decoding"])
        metrics["validation"] = task.final_metric(corpus, "validation", decoding)
        metrics["test"] = task.final_metric(corpus, "test", decoding)
    else:
        metrics["test"] = task.metric(corpus, "test")
    module = TrainingModule(
        net,
        task,
        registry.create("optimizer", config["optimizer"], net),
        _schedule(config, d_model=net.dims.d_model),
        metrics,
        gradient_clip=options.gradient_clip,
        log_every=options.log_every,
    )
    return Assembly(
        module,
        net,
        task.train_batches(corpus, **sizes, seed=config["seed"]),
        task.eval_batches(corpus, "validation", **sizes),
        task.eval_batches(corpus, "test", **sizes),
        {**made.splits.skipped, **task.counts(corpus, max_seq_len=net.dims.max_seq_len)},
    )


def train(
    config: Mapping[str, Any],
    *,
    name: str,
    labels: Mapping[str, str],
    store: Store,
    study: Study | None = None,
    callbacks: Sequence[Any] = (),
    say: Callable[[str], None] = lambda _: None,
) -> RunRecord:
    """Train one run from start to end, or from its last checkpoint to the end, and record it.

    Args:
        config: a checked config.
        name: the run's name in the UI.
        labels: what the user chose, by group or key; recorded as ``ablation.*``.
        store: where it is recorded.
        study: the study it belongs to.
        callbacks: further Lightning callbacks, such as a progress bar.
        say: told what was chosen where the config leaves a choice.

    Returns:
        The finished run's record, with its metrics.

    Raises:
        RunFinished: a run of this identity is finished in this study.
        RunBusy: another process trains it.
        ConfigError: the data holds less than a batch, or the study cannot take the config's margin.
    """
    # Lightning takes seconds to import; checking a config does without.
    from lightning_tx.tracking.logger import MetricLogger
    from lightning_tx.training.checkpoint import seed_everything
    from lightning_tx.training.fit import FINAL, fit
    from lightning_tx.training.precision import choose_precision

    plugins.load(config)  # a launcher's worker has not checked the config
    made = materials(config)
    options = TrainerOptions(**config["trainer"])
    task: Task = registry.create("task", config["task"])
    if config.get("margin") is not None:
        _state_margin(config["margin"], study)
    measured = {
        tags.METRIC: f"{LAST}{task.primary}",
        tags.DIRECTION: task.direction,
        tags.MEASURES: to_text(task.measures),
    }
    with TrackedRun(
        store,
        name=name,
        identity=identify(config),
        config=config,
        choices=labels,
        seed=config["seed"],
        study=study,
        tags=measured,
    ) as run:
        seed_everything(config["seed"])
        parts = assemble(config, made)
        net, counts = parts.net, parts.counts
        if config.get("init_from"):
            _start_from(net, config, store)
        precision, reason = (settle_precision(study, [config]) if study else None) or choose_precision(
            options.precision, options.accelerator, net.dims.d_model
        )
        say(f"precision {precision}: {reason}")
        for tokenizer, file in zip(made.tokenizers[::-1], (TOKENIZER, SOURCE_TOKENIZER), strict=False):
            tokenizer.save(run.folder / file)
            run.log_file(run.folder / file)
        run.log_facts(facts_of(made, task, options, max_seq_len=net.dims.max_seq_len, precision=precision))
        run.log_params({"data_counts": counts})
        plugins.record(run, config)
        for name, count in counts.items():
            if count:
                say(f"data: {name} {count:,}")
        costs = _costs(net, config, made)
        run.log_metrics(costs, step=0)
        fit(
            parts.module,
            options,
            train=parts.train,
            validation=parts.validation,
            test=parts.test,
            folder=run.folder,
            precision=precision,
            logger=MetricLogger(run),
            before_save=run.flush,
            callbacks=list(callbacks),
        )
        run.log_facts(targets_of(parts.module.targets))
        flops = 3 * costs["flops/forward_per_token"] * parts.module.latest["train/positions"]
        run.log_metrics({"memory/peak_bytes": _peak_memory(), "flops/total": flops}, step=options.max_steps)
        run.log_file(run.folder / FINAL, WEIGHTS)
        run.flush()
        own = registry.create("adapter", config["adapter"]).state_dict(net)
        if own:
            save_adapter(own, config["adapter"], run.folder / ADAPTER)
            run.log_file(run.folder / ADAPTER)
        for name, content in {**parts.module.files, **dict(drawn(store.run(run.run_id), store))}.items():
            run.log_content(name, content)
    return store.run(run.run_id)


def _state_margin(margin: Any, study: Study | None) -> None:
    if study is None:
        raise ConfigError(f"margin: {margin!r} is that of a study, and this run belongs to none; add study=NAME.")
    study.state_margin(margin)


def _start_from(net: nn.Module, config: Mapping[str, Any], store: Store) -> None:
    """Fill the model with the weights of the run ``init_from``; an adapter of its own stays as initialised."""
    new = registry.create("adapter", config["adapter"]).state_dict(net)
    path = _start_weights(config, store)
    try:
        load_weights(net, path, may_lack=new)
    except ConfigError as error:
        raise ConfigError(f"init_from: {config['init_from']!r}: {error}") from error


def _start_weights(config: Mapping[str, Any], store: Store) -> Path:
    """The weights of the run ``init_from``.

    Raises:
        ConfigError: there is no such run, or it has left none.
    """
    try:
        return store.artifact_path(config["init_from"], WEIGHTS)
    except TrackingError as error:
        raise ConfigError(f"init_from: {config['init_from']!r}: {error}") from error


def _schedule(config: Mapping[str, Any], d_model: int) -> Any:
    lr, max_steps = (
        registry.options("optimizer", config["optimizer"])["lr"],
        TrainerOptions(**config["trainer"]).max_steps,
    )
    try:
        return registry.create("schedule", config["schedule"], lr, max_steps, d_model)
    except ConfigError as error:
        raise ConfigError(naming(error.problems, schedule=config["schedule"]["name"])) from error


def _costs(net: nn.Module, config: Mapping[str, Any], made: Materials) -> dict[str, float]:
    counts = count_parameters(net)
    flops = forward_flops_per_token(config, **made.vocab_sizes)
    return {
        "params/total": counts.total,
        "params/trainable": counts.trainable,
        "params/active": counts.active,
        "flops/forward_per_token": flops,
    }


def _peak_memory() -> float:
    """Bytes: the GPU's peak, else the process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _missing(config: Any, where: str = "") -> list[str]:
    if isinstance(config, Mapping):
        return [key for name, value in config.items() for key in _missing(value, f"{where}.{name}" if where else name)]
    return [where] if config == "???" else []
