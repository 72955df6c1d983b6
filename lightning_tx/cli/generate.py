"""``ltx generate``: what a recorded run writes, given texts."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_tx.cli.recorded import add_run_arguments, loaded_run, overridden, replace_file
from lightning_tx.core.errors import ConfigError

if TYPE_CHECKING:
    from lightning_tx.core.group import Choice
    from lightning_tx.decoding.base import Decoding
    from lightning_tx.decoding.generate import Generated

OVERRIDABLE = ("decoding", "plugins")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = "Without TEXT and --file, inputs are read from the standard input, one a line."
    parser.add_argument("--file", type=Path, help="file of inputs, one a line")
    parser.add_argument(
        "--max-new-tokens",
        type=_positive,
        metavar="N",
        help="longest output, in tokens (default: as the task has it for translations, else to model.max_seq_len)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of decoding=sample (default: 0)")
    parser.add_argument(
        "--batch-size", type=_positive, default=64, metavar="N", help="inputs decoded side by side (default: 64)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="where outputs go instead of the standard output")
    add_run_arguments(parser, "TEXT", "inputs; words such as decoding=beam decoding.num_beams=8 say how to decode")


def run(arguments: argparse.Namespace) -> int:
    """Print the outputs, one a line in the order of the inputs; on the error output, what they took."""
    from lightning_tx.decoding.base import DECODING
    from lightning_tx.model.generation import generator_of
    from lightning_tx.runs.writing import write

    overrides = [word for word in arguments.words if _is_override(word)]
    texts = [word for word in arguments.words if not _is_override(word)]
    if texts and arguments.file is not None:
        raise ConfigError(f"--file: inputs come from TEXT ({len(texts)} given) or from '{arguments.file}', not both.")
    if arguments.output is not None and arguments.output.is_dir():
        raise ConfigError(f"--output: '{arguments.output}' is a folder.")
    _, loaded = loaded_run(arguments)
    decoding = DECODING.parse(overridden(loaded.config, overrides, OVERRIDABLE)["decoding"])
    generator_of(loaded.model)  # refuses a model that does not generate, before inputs are waited for
    outputs, generated = write(
        loaded,
        _given(texts) if texts else _lines(arguments.file),
        decoding.create(),
        max_new_tokens=arguments.max_new_tokens,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
    )
    if len(texts) != 1:  # the only output of all keeps its lines
        outputs = [" ".join(output.splitlines()) for output in outputs]
    text = "".join(f"{output}\n" for output in outputs)
    if arguments.output is None:
        print(text, end="", flush=True)
    else:
        replace_file(arguments.output, text)
    print(_costs(generated, decoding), file=sys.stderr)
    return 0


def _is_override(word: str) -> bool:
    """Whether a word sets something in a config rather than being an input."""
    from lightning_tx.groups import GROUPS

    match = re.match(r"(?:\+\+?)?(\w+)(?:\.[\w.]+)?=", word)
    return match is not None and match[1] in (*GROUPS, "trainer", "plugins")


def _given(texts: Sequence[str]) -> dict[str, str]:
    """The inputs of the command line, by number."""
    for number, text in enumerate(texts, start=1):
        try:
            text.encode()
        except UnicodeEncodeError as error:  # bytes of the shell's that are no text
            raise ConfigError(f"TEXT {number}: character {error.start + 1} is not valid UTF-8.") from error
    return {f"TEXT {number}": text for number, text in enumerate(texts, start=1)}


def _lines(file: Path | None) -> dict[str, str]:
    """The lines of a file or of the standard input, by where they stand.

    Raises:
        ConfigError: there are none, or one is not UTF-8.
    """
    try:
        content = sys.stdin.buffer.read() if file is None else file.read_bytes()
    except OSError as error:
        raise ConfigError(f"--file: '{file}' cannot be read: {error.strerror}.") from error
    where = "the standard input" if file is None else f"'{file}'"
    key = "TEXT" if file is None else "--file"
    # Not splitlines(), which would end lines within a sentence, at U+2028 and others.
    lines = content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n") if content else []
    if not lines:
        raise ConfigError(f"{key}: {where} is empty; one input a line is expected.")
    texts = {}
    for number, line in enumerate(lines, start=1):
        name = f"{key}: line {number} of {where}"
        try:
            texts[name] = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{name} is not UTF-8 text: byte {error.start + 1}, 0x{line[error.start]:02x}, is not valid."
            ) from error
    return texts


def _costs(generated: "Generated", decoding: "Choice[Decoding]") -> str:
    from lightning_tx.runs.evaluation import label_of

    return (
        f"{label_of(decoding)}: {1000 * generated.seconds_to_first_token:,.1f} ms to the first token, "
        f"{1000 * generated.seconds_per_token:,.2f} ms per token, {generated.tokens_per_second:,.0f} tokens/s, "
        f"cache {generated.cache_bytes:,} bytes"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number
