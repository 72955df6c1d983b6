"""A run put together from its config and its materials, ready to be trained."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lightning_tx.model.body import Body
from lightning_tx.model.build import build_model
from lightning_tx.runs.config import RunConfig, schedule_of
from lightning_tx.runs.materials import Materials, cache_folder
from lightning_tx.task.base import Loader, Task

if TYPE_CHECKING:
    from lightning_tx.training.module import TrainingModule


@dataclass(frozen=True)
class Assembly:
    """A run put together, ready to be trained.

    Attributes:
        module: trains the model: with its task, optimizer and evaluators.
        model: the model.
        train: batches to train on.
        validation: batches to select on.
        test: batches to look at once; None where there are none.
        counts: what is worth recording of the data, by name.
    """

    module: "TrainingModule"
    model: Body
    train: Loader
    validation: Any
    test: Any
    counts: dict[str, int]


def assemble(config: RunConfig, materials: Materials) -> Assembly:
    """Put together what a config describes, on its materials.

    Raises:
        ConfigError: the data holds less than a batch.
    """
    # Lightning takes seconds to import; checking a config does without.
    from lightning_tx.training.module import TrainingModule

    options = config.trainer
    task = config.task.create()
    corpus = task.prepare(materials.splits, materials.tokenizers, cache_folder(config.root))
    model = build_model(config.model, **asdict(materials.sizes), head=task.head, seed=config.seed)
    evaluators = {"val": task.evaluator(corpus, "validation")}
    if task.decodes or options.average:
        decoding = config.decoding.create()
        evaluators["validation"] = task.final_evaluator(corpus, "validation", decoding)
        evaluators["test"] = task.final_evaluator(corpus, "test", decoding)
    else:
        evaluators["test"] = task.evaluator(corpus, "test")
    module = TrainingModule(
        model,
        task,
        config.optimizer.create(model),
        schedule_of(config.schedule, config.optimizer, options.max_steps, model.d_model),
        evaluators,
        gradient_clip=options.gradient_clip,
        log_every=options.log_every,
    )
    return Assembly(
        module,
        model,
        *loaders_of(task, corpus, config),
        {**materials.splits.skipped, **task.counts(corpus, max_seq_len=model.max_seq_len)},
    )


def loaders_of(task: Task, corpus: Any, config: RunConfig) -> tuple[Loader, Any, Any]:
    """The batches to train on, to select on, and to look at once; None for those of a split that is empty.

    Raises:
        ConfigError: the data hold less than a batch, or no example that is short enough.
    """
    sizes: Any = {"max_seq_len": config.max_seq_len, "batch": config.trainer.batch}
    return (
        task.train_batches(corpus, **sizes, seed=config.seed),
        task.eval_batches(corpus, "validation", **sizes),
        task.eval_batches(corpus, "test", **sizes),
    )
