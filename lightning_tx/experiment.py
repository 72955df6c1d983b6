"""Floor 4: from a plain dict to a checked, trained and recorded run.

A config is data: nested plain values, one key a group with ``name`` and the component's options, plus ``trainer``,
``seed``, ``root``, ``study`` and ``init_from``.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from json import dumps, loads
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from lightning_tx.ablation.identity import identity
from lightning_tx.core import registry
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.data.base import Splits
from lightning_tx.model.build import build_model, check_model
from lightning_tx.model.count import count_parameters, forward_flops_per_token
from lightning_tx.model.language_model import LanguageModel
from lightning_tx.model.parts import GROUPS as PARTS
from lightning_tx.model.weights import load_weights
from lightning_tx.tasks.base import Task
from lightning_tx.tokenizers.base import Tokenizer
from lightning_tx.tokenizers.cached import train_cached
from lightning_tx.tracking.errors import TrackingError
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Mlflow, Store
from lightning_tx.tracking.study import Study
from lightning_tx.training.options import TrainerOptions

#: Groups every training run needs besides the model's own.
RUNNING = ("task", "data", "tokenizer", "optimizer", "schedule", "decoding", "tracking")
PLAIN = ("trainer", "seed", "root", "study", "init_from")
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
SOURCE_TOKENIZER = "source_tokenizer.json"


class VocabSizes(TypedDict):
    """The sizes of vocabularies, as :func:`build_model` takes them."""

    vocab_size: int
    source_vocab_size: int


def _vocab_sizes(tokenizers: tuple[Tokenizer, ...]) -> VocabSizes:
    return {"vocab_size": tokenizers[-1].vocab_size, "source_vocab_size": tokenizers[0].vocab_size}


@dataclass(frozen=True)
class Materials:
    """What a run reads: documents, and what was trained on their training split.

    Attributes:
        splits: the data.
        tokenizers: one, or one for the source and one for the target.
    """

    splits: Splits[Any]
    tokenizers: tuple[Tokenizer, ...]

    @property
    def tokenizer(self) -> Tokenizer:
        """That of what the model writes."""
        return self.tokenizers[-1]

    @property
    def vocab_sizes(self) -> VocabSizes:
        """What a model is built with."""
        return _vocab_sizes(self.tokenizers)

    @property
    def tokenizer_digest(self) -> str:
        """The digests of all tokenizers."""
        return "-".join(tokenizer.digest for tokenizer in self.tokenizers)


def check(config: Mapping[str, Any]) -> list[str]:
    """Every problem of a config, as sentences; nothing is trained and nothing is recorded."""
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
        (["tokenizer"], lambda: registry.create("tokenizer", config["tokenizer"])),
        (["decoding"], lambda: registry.create("decoding", config["decoding"])),
        (["tracking"], lambda: registry.create("tracking", config["tracking"])),
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


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)


def materials(config: Mapping[str, Any]) -> Materials:
    """Read the data and train or load the tokenizers of a checked config; the same ones are made once a process.

    Raises:
        ConfigError: the data cannot be read or split.
    """
    parts = {key: config[key] for key in ("data", "tokenizer", "task")}
    return _materials(dumps(parts, sort_keys=True), cache_folder(config))


@cache
def _materials(parts_json: str, folder: Path) -> Materials:
    parts = loads(parts_json)
    splits = _splits(dumps(parts["data"], sort_keys=True), folder)
    task: Task = registry.create("task", parts["task"])
    tokenizers = (
        train_cached(parts["tokenizer"], texts, folder, task.special_tokens) for texts in task.tokenizer_texts(splits)
    )
    return Materials(splits, tuple(tokenizers))


@cache
def _splits(data_json: str, folder: Path) -> Splits[Any]:
    return registry.create("data", loads(data_json)).load(folder)


def cache_folder(config: Mapping[str, Any]) -> Path:
    """Where prepared data is kept between runs."""
    return Path(config["root"]) / "cache"


def identify(config: Mapping[str, Any]) -> str:
    """The identity of a checked config; reads the data and trains the tokenizer if that was not done yet."""
    made = materials(config)
    return identity(config, made.splits.digest, made.tokenizer_digest)


def open_store(config: Mapping[str, Any]) -> Store:
    """The store that a config records to."""
    tracking: Mlflow = registry.create("tracking", config["tracking"], Path(config["root"]))
    return tracking.open()


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
        ConfigError: the data holds less than a batch.
    """
    # Lightning takes seconds to import; checking a config does without.
    from lightning_tx.tracking.logger import MetricLogger
    from lightning_tx.training.checkpoint import seed_everything
    from lightning_tx.training.fit import FINAL, fit
    from lightning_tx.training.module import TrainingModule
    from lightning_tx.training.precision import choose_precision

    made = materials(config)
    options = TrainerOptions(**config["trainer"])
    seed = config["seed"]
    task: Task = registry.create("task", config["task"])
    primary = {"ltx.metric": f"best/{task.primary}", "ltx.direction": task.direction}
    with TrackedRun(
        store,
        name=name,
        identity=identify(config),
        config=config,
        choices=labels,
        seed=seed,
        study=study,
        tags=primary,
    ) as run:
        seed_everything(seed)
        corpus = task.prepare(made.splits, made.tokenizers, cache_folder(config))
        net = build_model(config, **made.vocab_sizes, seed=seed)
        if config.get("init_from"):
            _start_from(net, config, store)
        max_seq_len, batch = net.dims.max_seq_len, options.batch
        precision, reason = choose_precision(options.precision, options.accelerator, net.dims.d_model)
        say(f"precision {precision}: {reason}")
        for tokenizer, file in zip(made.tokenizers[::-1], (TOKENIZER, SOURCE_TOKENIZER), strict=False):
            tokenizer.save(run.folder / file)
            run.log_file(run.folder / file)
        counts = {**made.splits.skipped, **task.counts(corpus, max_seq_len=max_seq_len)}
        run.log_params(
            {
                "data_digest": made.splits.digest,
                "tokenizer_digest": made.tokenizer_digest,
                "chosen": {"precision": precision},
                "data_counts": counts,
            }
        )
        for name, count in counts.items():
            if count:
                say(f"data: {name} {count:,}")
        run.log_metrics(_costs(net, config, made), step=0)
        metrics = {"val": task.metric(corpus, "validation")}
        if task.decodes or options.average:
            decoding = registry.create("decoding", config["decoding"])
            metrics["best"] = task.final_metric(corpus, "validation", decoding)
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
        fit(
            module,
            options,
            train=task.train_batches(corpus, max_seq_len=max_seq_len, batch=batch, seed=seed),
            validation=task.eval_batches(corpus, "validation", max_seq_len=max_seq_len, batch=batch),
            test=task.eval_batches(corpus, "test", max_seq_len=max_seq_len, batch=batch),
            folder=run.folder,
            precision=precision,
            logger=MetricLogger(run),
            before_save=run.flush,
            callbacks=list(callbacks),
        )
        run.log_metrics({"memory/peak_bytes": _peak_memory()}, step=options.max_steps)
        run.log_file(run.folder / FINAL, WEIGHTS)
        for name, text in module.files.items():
            run.log_text(name, text)
    return store.run(run.run_id)


@dataclass(frozen=True)
class LoadedRun:
    """A finished run, ready to be used.

    Attributes:
        record: what MLflow knows of it.
        config: its full resolved config.
        model: with the weights that it ended with, in evaluation mode.
        tokenizers: as they were trained for the run: one, or one for the source and one for the target.
    """

    record: RunRecord
    config: dict[str, Any]
    model: LanguageModel
    tokenizers: tuple[Tokenizer, ...]

    @property
    def tokenizer(self) -> Tokenizer:
        """That of what the model writes."""
        return self.tokenizers[-1]


def load_run(run_id: str, *, root: str | Path = "multirun", uri: str | None = None) -> LoadedRun:
    """Rebuild a run's model and tokenizer from what was recorded; nothing of the run's own machine is needed.

    Args:
        run_id: MLflow's id of the run.
        root: the folder of everything that runs write.
        uri: the tracking store; None for the database below ``root``.

    Raises:
        ConfigError: there is no such run, or it has no weights.
    """
    store = Mlflow(Path(root), uri=uri).open()
    record, config = store.run(run_id), store.config(run_id)
    kept = set(store.artifacts(run_id))
    for needed in (TOKENIZER, WEIGHTS):
        if needed not in kept:
            raise ConfigError(
                f"run {run_id}: it has no {needed}, which a run leaves when it finishes; its status is {record.status}."
            )
    tokenizers = tuple(
        Tokenizer.load(store.artifact_path(run_id, file)) for file in (SOURCE_TOKENIZER, TOKENIZER) if file in kept
    )
    digest = "-".join(tokenizer.digest for tokenizer in tokenizers)
    if record.params.get("tokenizer_digest") != digest:
        raise ConfigError(
            f"run {run_id}: its tokenizer ({digest}) is not the one it was trained with "
            f"({record.params.get('tokenizer_digest')})."
        )
    model = build_model(config, **_vocab_sizes(tokenizers))
    load_weights(model, store.artifact_path(run_id, WEIGHTS))
    return LoadedRun(record, config, model.eval(), tokenizers)


def _start_from(net: nn.Module, config: Mapping[str, Any], store: Store) -> None:
    """Fill the model with the weights of the run ``init_from``; an adapter of its own stays as initialised."""
    new = registry.create("adapter", config["adapter"]).state_dict(net)
    try:
        load_weights(net, store.artifact_path(config["init_from"], WEIGHTS), may_lack=new)
    except (ConfigError, TrackingError) as error:
        raise ConfigError(f"init_from: {config['init_from']!r}: {error}") from error


def _schedule(config: Mapping[str, Any], d_model: int) -> Any:
    lr = registry.options("optimizer", config["optimizer"])["lr"]
    return registry.create("schedule", config["schedule"], lr, TrainerOptions(**config["trainer"]).max_steps, d_model)


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
