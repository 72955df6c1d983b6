"""A finished run, rebuilt from what was recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_tx.core.errors import ConfigError
from lightning_tx.model.build import build_model
from lightning_tx.model.language_model import LanguageModel
from lightning_tx.model.weights import load_weights
from lightning_tx.runs.materials import digest_of_tokenizers, vocab_sizes_of
from lightning_tx.runs.plugins import admit
from lightning_tx.tokenizer.base import Tokenizer
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.store import Mlflow

#: A run's artifacts.
WEIGHTS = "model.safetensors"
ADAPTER = "adapter.safetensors"
TOKENIZER = "tokenizer.json"
SOURCE_TOKENIZER = "source_tokenizer.json"


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


def load_run(
    run_id: str, *, root: str | Path = "multirun", uri: str | None = None, plugins: Sequence[str | Path] = ()
) -> LoadedRun:
    """Rebuild a run's model and tokenizer from what was recorded; nothing of the run's own machine is needed.

    Args:
        run_id: MLflow's id of the run.
        root: the folder of everything that runs write.
        uri: the tracking store; None for the database below ``root``.
        plugins: the plugin files that may be imported for it. A record alone never makes code run: a run that needs
            a file which is not listed here is refused.

    Raises:
        ConfigError: there is no such run, it has no weights, or it needs a plugin file that is not listed.
    """
    store = Mlflow(Path(root), uri=uri).open()
    record, config = store.run(run_id), store.config(run_id)
    admit(record, store, plugins)
    kept = set(store.artifacts(run_id))
    for needed in (TOKENIZER, WEIGHTS):
        if needed not in kept:
            raise ConfigError(
                f"run {run_id}: it has no {needed}, which a run leaves when it finishes; its status is {record.status}."
            )
    tokenizers = tuple(
        Tokenizer.load(store.artifact_path(run_id, file)) for file in (SOURCE_TOKENIZER, TOKENIZER) if file in kept
    )
    digest = digest_of_tokenizers(tokenizers)
    recorded = record.facts.get("tokenizer", "none recorded")
    if recorded != digest:
        raise ConfigError(f"run {run_id}: its tokenizer ({digest}) is not the one it was trained with ({recorded}).")
    model = build_model(config, **vocab_sizes_of(tokenizers))
    load_weights(model, store.artifact_path(run_id, WEIGHTS))
    return LoadedRun(record, config, model.eval(), tokenizers)
