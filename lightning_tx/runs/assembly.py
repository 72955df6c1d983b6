"""A run put together from its config and its materials, ready to be trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_tx.core import registry
from lightning_tx.core.errors import ConfigError, naming
from lightning_tx.model.build import build_model
from lightning_tx.model.language_model import LanguageModel
from lightning_tx.runs.materials import Materials, cache_folder
from lightning_tx.task.base import Loader, Task
from lightning_tx.training.options import TrainerOptions

if TYPE_CHECKING:
    from lightning_tx.training.module import TrainingModule


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
        schedule_of(config, d_model=net.dims.d_model),
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


def schedule_of(config: Mapping[str, Any], d_model: int) -> Any:
    """The schedule of a config, for a model of a width.

    Raises:
        ConfigError: the schedule does not fit the optimizer or the number of steps.
    """
    lr, max_steps = (
        registry.options("optimizer", config["optimizer"])["lr"],
        TrainerOptions(**config["trainer"]).max_steps,
    )
    try:
        return registry.create("schedule", config["schedule"], lr, max_steps, d_model)
    except ConfigError as error:
        raise ConfigError(naming(error.problems, schedule=config["schedule"]["name"])) from error
