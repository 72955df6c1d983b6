"""What is odd about a run and no mistake: said before it trains, and trained all the same."""

from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.materials import Materials

#: Fewer characters, or pairs, to train or to validate on say little.
FEW_CHARACTERS, FEW_PAIRS = 1000, 20


def notes_on(config: RunConfig, materials: Materials) -> list[str]:
    """What a user should know of a run before it trains, one sentence each, which names the key."""
    return [*_of_steps(config), *_of_adapter(config), *_of_data(config, materials)]


def _of_steps(config: RunConfig) -> list[str]:
    steps, notes = config.trainer.max_steps, []
    warmup = config.schedule.options.get("warmup_steps", 0)
    if warmup > steps:
        notes.append(
            f"schedule.warmup_steps: {warmup} is beyond trainer.max_steps = {steps}; "
            "the learning rate rises to the end."
        )
    if config.trainer.val_every > steps:
        notes.append(
            f"trainer.val_every: {config.trainer.val_every} is beyond trainer.max_steps = {steps}; "
            "the only validation is that at the end."
        )
    return notes


def _of_adapter(config: RunConfig) -> list[str]:
    adapter = config.model.adapter
    if config.init_from is not None:
        return config.init_from.notes(adapter)
    if adapter.name == "none":
        return []
    return [
        f"adapter: {adapter.name!r} is trained on a base that never was; init_from=RUN takes the weights of a trained "
        "one."
    ]


def _of_data(config: RunConfig, materials: Materials) -> list[str]:
    singles = config.data.component.texts_per_example == 1
    notes = []
    for split, does in (("train", "trained"), ("validation", "validated")):
        examples = getattr(materials.splits, split)
        count = sum(map(len, examples)) if singles else len(examples)
        if 0 < count < (FEW_CHARACTERS if singles else FEW_PAIRS):
            what = "characters" if singles else "pairs"
            notes.append(f"data: the run is {does} on {count} {what}, which says little.")
    return notes
