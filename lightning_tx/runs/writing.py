"""What a recorded run writes, given texts."""

from collections.abc import Mapping, Sequence

from lightning_tx.core.errors import ConfigError
from lightning_tx.data.base import DATA
from lightning_tx.decoding.base import Decoding
from lightning_tx.decoding.generate import Generated, generate
from lightning_tx.model.generation import Generator, generator_of
from lightning_tx.runs.loading import LoadedRun
from lightning_tx.task.base import TASK

#: How many inputs with a problem are named one by one.
_NAMED_INPUTS = 10


def write(
    loaded: LoadedRun,
    texts: Mapping[str, str],
    decoding: Decoding,
    *,
    max_new_tokens: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> tuple[list[str], Generated]:
    """What a run's model writes: the translation of each text, or its continuation.

    Texts are cleaned as the run's data were. Of a source that is empty then, the translation is empty.

    Args:
        loaded: the run.
        texts: by how each is named in a message.
        decoding: the strategy.
        max_new_tokens: limit of the new tokens, ``<eos>`` included; None for what a translation has in its task, and
            for what a prompt leaves of ``model.max_seq_len``.
        batch_size: texts decoded side by side.
        seed: of the random numbers.

    Returns:
        The outputs in the order of the texts, and what they took.

    Raises:
        ConfigError: the model does not generate, or texts are longer than its positions reach; nothing was generated.
    """
    generator = generator_of(loaded.model)
    reader, writer = loaded.tokenizers.source, loaded.tokenizers.target
    data = DATA.create(loaded.config["data"])
    cleaned = {name: data.clean(text) for name, text in texts.items()}
    if loaded.model.num_inputs == 2:
        inputs = {name: [*reader.encode(text), reader.eos_id] for name, text in cleaned.items() if text}
    else:
        inputs = {name: [reader.bos_id, *reader.encode(text)] for name, text in cleaned.items()}
    _check_lengths(generator, inputs)
    task = TASK.create(loaded.config["task"])
    limits = [task.max_new_tokens(len(ids), loaded.model.max_seq_len) for ids in inputs.values()]
    generated = generate(
        loaded.model,
        list(inputs.values()),
        decoding,
        bos_id=writer.bos_id,
        eos_id=writer.eos_id,
        pad_id=writer.pad_id,
        max_new_tokens=limits if max_new_tokens is None else max_new_tokens,
        batch_size=batch_size,
        seed=seed,
    )
    outputs = {name: writer.decode(ids) for name, ids in zip(inputs, generated.sequences, strict=True)}
    return [outputs.get(name, "") for name in texts], generated


def _check_lengths(generator: Generator, inputs: Mapping[str, Sequence[int]]) -> None:
    problems = []
    for name, ids in inputs.items():
        try:
            generator.room([ids])
        except ConfigError as error:
            problems.append(f"{name}: {error.problems[0].partition(': ')[2]}")
    if len(problems) > _NAMED_INPUTS:
        problems[_NAMED_INPUTS:] = [f"{len(problems) - _NAMED_INPUTS} more inputs are too long."]
    if problems:
        raise ConfigError(problems)
