"""One run trained from start to end, or from its last checkpoint to the end, and recorded."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.measure import to_text
from lightning_tx.model.adapters import save_adapter
from lightning_tx.model.body import Body
from lightning_tx.model.count import count_parameters, forward_flops_per_token
from lightning_tx.runs import plugins
from lightning_tx.runs.assembly import Assembly, assemble
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.facts import facts_of, settle_precision, targets_of
from lightning_tx.runs.identity import identify
from lightning_tx.runs.materials import Materials, materials_of
from lightning_tx.runs.page import show_data, show_results
from lightning_tx.runs.starting import Start, start_from
from lightning_tx.task.base import Task
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study


def train(
    config: RunConfig,
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
        config: the run's config.
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
    from lightning_tx.training.checkpoint import discard_states, seed_everything
    from lightning_tx.training.fit import fit

    materials = materials_of(config)
    task = config.task.create()
    if config.margin is not None:
        _state_margin(config.margin, study)
    measured = {
        names.METRIC: f"{names.LAST}{task.primary}",
        names.DIRECTION: task.direction,
        names.MEASURES: to_text(task.measures),
        names.UNREAD: ",".join(sorted(config.unread)),
    }
    with TrackedRun(
        store,
        name=name,
        identity=identify(config),
        config=config.raw,
        choices=config.read_only(labels),
        seed=config.seed,
        study=study,
        tags=measured,
    ) as run:
        seed_everything(config.seed)
        parts = assemble(config, materials)
        if config.init_from is not None:
            _start(run, config, config.init_from, parts.model, say)
        sizes = _sizes(parts.model, config, task, materials)
        precision = _record_start(run, config, materials, parts, sizes, say)
        fit(
            parts.module,
            config.trainer,
            train=parts.train,
            validation=parts.validation,
            test=parts.test,
            folder=run.folder,
            precision=precision,
            logger=MetricLogger(run),
            before_save=run.flush,
            callbacks=list(callbacks),
        )
        _record_end(run, config, materials, parts, sizes)
    # Only now that the end is recorded: until then the run would have to begin anew.
    discard_states(run.folder)
    return store.run(run.run_id)


def _record_start(
    run: TrackedRun,
    config: RunConfig,
    materials: Materials,
    parts: Assembly,
    sizes: Mapping[str, float],
    say: Callable[[str], None],
) -> Any:
    """Record what the run is made of; returns the precision to train in."""
    from lightning_tx.training.precision import choose_precision

    options, max_seq_len = config.trainer, parts.model.max_seq_len
    shared = settle_precision(run.study, [config]) if run.study else None
    precision, reason = shared or choose_precision(options.precision, options.accelerator, config.d_model)
    say(f"precision {precision}: {reason}")
    own = {names.TOKENIZER_FILE: materials.tokenizers.target}
    if not materials.tokenizers.is_one:
        own[names.SOURCE_TOKENIZER_FILE] = materials.tokenizers.source
    for file, tokenizer in own.items():
        tokenizer.save(run.folder / file)
        run.log_file(run.folder / file)
    if materials.num_classes is not None:
        run.log_params({names.NUM_CLASSES: materials.num_classes})
    run.log_facts(facts_of(materials, parts.module.task, options, max_seq_len=max_seq_len, precision=precision))
    run.log_params({"data_counts": parts.counts})
    plugins.record(run, plugins.files_of(config.all_choices()))
    show_data(run, config, materials, parts.counts)
    for name, count in parts.counts.items():
        if count:
            say(f"data: {name} {count:,}")
    run.log_metrics(sizes, step=0)
    return precision


def _record_end(
    run: TrackedRun, config: RunConfig, materials: Materials, parts: Assembly, sizes: Mapping[str, float]
) -> None:
    """Record what came of the run: its costs, weights, files, pictures and description."""
    run.log_facts(targets_of(parts.module.targets))
    costs = {
        names.PEAK_BYTES: _peak_memory(),
        # The backward pass costs twice the forward pass.
        names.TOTAL_FLOPS: 3 * sizes[names.FORWARD_FLOPS] * parts.module.latest[names.TRAINED_POSITIONS],
    }
    run.log_metrics(costs, step=config.trainer.max_steps)
    run.flush()
    if config.trainer.keeps_weights:
        _record_weights(run, config, parts)
    for name, content in parts.module.files.items():
        run.log_content(name, content)
    show_results(run, config, materials, parts.model)


def _record_weights(run: TrackedRun, config: RunConfig, parts: Assembly) -> None:
    """Record the weights that the run keeps, and those of its adapter; the run's own copies go."""
    kept, adapter = [run.folder / names.WEIGHTS_FILE], config.model.adapter
    own = adapter.create().state_dict(parts.model)
    if own:
        kept.append(run.folder / names.ADAPTER_FILE)
        save_adapter(own, {"name": adapter.name, **adapter.options}, kept[-1])
    for path in kept:
        run.log_file(path)
        path.unlink()


def _state_margin(margin: Any, study: Study | None) -> None:
    if study is None:
        raise ConfigError(f"margin: {margin!r} is that of a study, and this run belongs to none; add study=NAME.")
    study.state_margin(margin)


def _start(run: TrackedRun, config: RunConfig, start: Start, model: Body, say: Callable[[str], None]) -> None:
    """Fill the model with the weights that it starts from; tell and record where its head has none."""
    if not start_from(model, config.model.adapter.create(), start, run.store, config.raw.get("plugins", [])):
        head = model.head.name
        say(f"init_from: the head {head!r} starts fresh: run {start.run_id} has another; its other weights are taken")
        run.set_tags({names.FRESH_HEAD: head})


def _sizes(model: Body, config: RunConfig, task: Task, materials: Materials) -> dict[str, float]:
    counts = count_parameters(model)
    flops = forward_flops_per_token(config.model, head=task.head, **asdict(materials.sizes))
    return {
        names.TOTAL_PARAMETERS: counts.total,
        names.TRAINABLE_PARAMETERS: counts.trainable,
        names.ACTIVE_PARAMETERS: counts.active,
        names.FORWARD_FLOPS: flops,
    }


def _peak_memory() -> float:
    """Bytes: the GPU's peak, else the process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
