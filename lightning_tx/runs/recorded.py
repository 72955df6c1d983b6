"""The tokenizers and the weights that a recorded run has left, and the sizes that follow."""

from pathlib import Path

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.model.sizes import Sizes
from lightning_tx.tokenizer.base import Tokenizer
from lightning_tx.tokenizer.sides import Tokenizers
from lightning_tx.tracking.store import Store


def weights_of(store: Store, run_id: str) -> Path:
    """The file with the weights that a run has kept.

    Raises:
        ConfigError: it has none.
        TrackingError: there is no such run.
    """
    if names.WEIGHTS_FILE in store.artifacts(run_id):
        return store.artifact_path(run_id, names.WEIGHTS_FILE)
    record = store.run(run_id)
    if record.params.get("trainer.keep") == "none":
        raise ConfigError(
            f"run {run_id}: it was trained with trainer.keep=none, which keeps no weights; delete it in MLflow and "
            "train it again with trainer.keep=best."
        )
    raise ConfigError(
        f"run {run_id}: it has no {names.WEIGHTS_FILE}, which a run leaves when it finishes; its status is "
        f"{record.status}."
    )


def tokenizers_of(store: Store, run_id: str) -> Tokenizers:
    """The tokenizers that a run was trained with.

    Raises:
        ConfigError: the run has left none, or others than it was trained with.
        TrackingError: there is no such run.
    """
    record, kept = store.run(run_id), set(store.artifacts(run_id))
    if names.TOKENIZER_FILE not in kept:
        raise ConfigError(f"run {run_id}: it has no {names.TOKENIZER_FILE}; its status is {record.status}.")
    files = [file for file in (names.SOURCE_TOKENIZER_FILE, names.TOKENIZER_FILE) if file in kept]
    tokenizers = Tokenizers.of([Tokenizer.load(store.artifact_path(run_id, file)) for file in files])
    recorded = record.facts.get("tokenizer", "none recorded")
    if recorded != tokenizers.digest:
        raise ConfigError(
            f"run {run_id}: its tokenizer ({tokenizers.digest}) is not the one it was trained with ({recorded})."
        )
    return tokenizers


def sizes_of(tokenizers: Tokenizers, num_classes: int | None) -> Sizes:
    """What a model takes from tokenizers and a number of classes."""
    return Sizes(tokenizers.target.vocab_size, tokenizers.source.vocab_size, num_classes)
