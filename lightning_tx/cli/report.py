"""``ltx report``: the effects that a study found."""

import argparse
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_tx.cli.console import console
from lightning_tx.cli.imports import bulk_imports
from lightning_tx.cli.stores import add_store_arguments, get_store
from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.package import default_root

if TYPE_CHECKING:
    from rich.console import Console

    from lightning_tx.core.measure import Direction
    from lightning_tx.tracking.study import Study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("study", nargs="?", default="last", help="name of the study (default: the latest one)")
    parser.add_argument("--metric", help="metric to compare (default: the task's primary metric)")
    way = parser.add_mutually_exclusive_group()
    for option, value, words in (("--maximise", "max", "more"), ("--minimise", "min", "less")):
        way.add_argument(
            option, action="store_const", const=value, dest="direction", help=f"{words} of the --metric is better"
        )
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="FACTOR=LEVEL",
        help="what a factor's levels are compared with (default: its first level); may be repeated",
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help="keep it as the study's own report, though it is on another metric or baseline",
    )
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the report and keep it as artifacts of the study."""
    with bulk_imports():
        from lightning_tx.studies.reporting import find_study

    baselines = dict(_pair(text) for text in arguments.baseline)
    study = find_study(get_store(arguments), arguments.study)
    print_report(study, console(), arguments.metric, arguments.direction, baselines, save=arguments.save)
    return 0


def print_report(
    study: "Study",
    out: "Console",
    metric: str | None = None,
    direction: "Direction | None" = None,
    baselines: dict[str, str] | None = None,
    *,
    save: bool = False,
) -> None:
    """Compare the runs of a study on the terminal; see :func:`lightning_tx.studies.reporting.report_on`."""
    from lightning_tx.cli.render_report import to_rich
    from lightning_tx.studies.reporting import is_own, report_on

    report = report_on(study, metric, direction, baselines, save=save)
    out.print("", to_rich(report), sep="\n")
    kept = f"Report: {_shown(study)}" if save or is_own(metric, baselines) else "Not kept; --save keeps it."
    out.print(f"\n{kept}", markup=False, soft_wrap=True)
    out.print(f"On disk: {study.disk_use() / 1e6:,.1f} MB", markup=False)
    out.print(f"All runs in the MLflow UI: {_command()} ui{_options(study)}", markup=False, soft_wrap=True)


def _pair(text: str) -> tuple[str, str]:
    factor, equals, level = text.partition("=")
    if not equals:
        raise ConfigError(f"--baseline: {text!r} is not of the form FACTOR=LEVEL.")
    return factor, level


def _shown(study: "Study") -> str:
    path = study.store.artifact_path(study.run_id, names.REPORT_FILE)
    short = os.path.relpath(path)
    return str(path) if short.startswith("..") else short


def _command() -> str:
    """How this shell calls us: by name where it is on the path, else by the file."""
    if shutil.which("ltx"):
        return "ltx"
    path = os.path.relpath(Path(sys.executable).with_name("ltx"))
    return str(Path(sys.executable).with_name("ltx")) if path.startswith("..") else path


def _options(study: "Study") -> str:
    """What ``ltx ui`` must be told to find this study's store."""
    from lightning_tx.tracking.options import TrackingOptions

    root, options, words = study.store.root, study.store.options, []
    if study.store.uri != TrackingOptions().uri_for(root):
        words += ["--uri", study.store.uri]
    elif root != Path(default_root()).absolute():
        words += ["--root", str(root)]
    if options.experiment_name != TrackingOptions().experiment_name:
        name = options.experiment_name
        # Hydra reads numbers and signs of its own out of what stands without quotation marks.
        name = name if re.fullmatch(r"[A-Za-z_][\w.-]*", name) else json.dumps(name, ensure_ascii=False)
        words.append(f"tracking.experiment_name={name}")
    return "".join(f" {shlex.quote(word)}" for word in words)
