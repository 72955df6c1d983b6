"""Floor 6: the command line ``ltx``, and the only place that knows Hydra and the terminal.

Each command is a module with ``add_arguments(parser)`` and ``run(arguments)``, imported cheaply: what takes seconds to
import is imported when the command runs.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

import lightning_tx
from lightning_tx.cli import secrecy
from lightning_tx.core.errors import ConfigError, LtxError

COMMANDS = {
    "train": "train one run, or sweep over many (-m)",
    "generate": "what a recorded run writes, given texts",
    "evaluate": "a recorded run's score on a split of its data",
    "report": "the effects that a study found",
    "runs": "the recorded runs, by the names that other commands take",
    "components": "what can be chosen, with options and sources",
    "check": "whether components keep what every component promises",
    "new": "the files of a component of your own",
    "show": "a model's parameters before it is trained",
    "diff": "what differs between two runs",
    "ui": "open the MLflow UI on everything recorded",
    "completion": "print the shell's completion script",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 where something failed, 2 where what was asked for cannot be done.

    An error that nobody expected is told in a line; with ``LTX_DEBUG=1`` in the environment it is raised.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    secrecy.keep_typed(arguments)
    secrecy.guard_logs()
    try:
        if arguments[:1] == ["train"]:
            # Everything after it is in Hydra's language, not argparse's.
            from lightning_tx.cli import train

            return train.run(arguments[1:])
        parsed = _parser(arguments[:1]).parse_args(arguments)
        return import_module(f"lightning_tx.cli.{parsed.command}").run(parsed)
    except LtxError as error:
        print(f"error: {secrecy.shown(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, such as ``head``, has seen enough; what is still buffered has nowhere to go.
        sys.stdout = None
        return 0
    except Exception as error:
        from lightning_tx.cli import unexpected

        if unexpected.wants_frames():
            raise
        print(f"error: {secrecy.shown_frames(unexpected.told(error))}", file=sys.stderr)
        return 1


def _parser(wanted: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ltx", description="Ablations of Transformers, from one override to a tracked effect."
    )
    parser.add_argument("--version", action="version", version=lightning_tx.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if list(wanted) == [name]:
            import_module(f"lightning_tx.cli.{name}").add_arguments(command)
    return parser
