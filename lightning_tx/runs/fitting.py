"""Whether a config goes with its data: what shows only once they are read, found before anything trains."""

import json
from dataclasses import asdict

from lightning_tx.core.errors import ConfigError
from lightning_tx.model.build import build_model
from lightning_tx.runs.assembly import loaders_of
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.materials import Materials, cache_folder, is_of_kind
from lightning_tx.runs.starting import start_from
from lightning_tx.runs.store import get_store
from lightning_tx.tracking.store import Store

#: What was found of data, task and sizes of batches that several runs share.
_problems_of_batches: dict[str, list[str]] = {}


def problems_with(config: RunConfig, materials: Materials) -> list[str]:
    """What does not fit, one sentence each: a vocabulary, a context, a batch, the weights of another run.

    The data are encoded, as they are for training; no memory is taken for the model.
    """
    problems = list(_of_batches(config, materials))
    if config.model.model.options.get("vocab_size") is None and config.init_from is None:
        return problems  # sizes that come from the data fit them
    try:
        model = build_model(config.model, **asdict(materials.sizes), head=config.task.create().head, device="meta")
        if config.init_from is not None:
            store = get_store(config.raw)
            problems += _of_base(config.init_from.run_id, config, materials, store)
            start_from(model, config.model.adapter.create(), config.init_from, store, config.raw.get("plugins", []))
    except ConfigError as error:
        problems += error.problems
    return problems


def _of_base(run_id: str, config: RunConfig, materials: Materials, store: Store) -> list[str]:
    ours = materials.tokenizers.digest
    theirs = store.run(run_id).facts.get("tokenizer", ours)
    if theirs == ours:
        return []
    if is_of_kind(store.config(run_id)["tokenizer"], config.tokenizer):
        return [
            f"init_from: {run_id!r}: its tokenizer does not do for task={config.task.name}: it lacks special tokens, "
            "or is one for both sides where two are needed, or the other way round."
        ]
    return [
        f"init_from: {run_id!r} was trained with another tokenizer ({theirs}, not {ours}): the rows of its weights "
        "would stand for other tokens. tokenizer=base takes that run's own."
    ]


def _of_batches(config: RunConfig, materials: Materials) -> list[str]:
    data = [materials.splits.digest, materials.tokenizers.digest, config.task.essential(), str(config.root)]
    key = json.dumps([*data, config.max_seq_len, asdict(config.trainer.batch)], sort_keys=True)
    if key not in _problems_of_batches:
        _problems_of_batches[key] = []
        try:
            task = config.task.create()
            corpus = task.prepare(materials.splits, materials.tokenizers, cache_folder(config.root))
            loaders_of(task, corpus, config)
        except ConfigError as error:
            _problems_of_batches[key] = error.problems
    return _problems_of_batches[key]
