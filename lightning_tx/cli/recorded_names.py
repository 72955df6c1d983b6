"""The names of recorded studies, runs and metrics, for completion: read in milliseconds, or not at all."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from lightning_tx.core.package import ROOT
from lightning_tx.runs.finding import BEST_OF, LAST
from lightning_tx.tracking import sqlite
from lightning_tx.tracking.listing import Listing
from lightning_tx.tracking.options import TrackingOptions

#: Names that a shell and Hydra both take as they are; others want quotes, which completion cannot place.
_PLAIN = re.compile(r"[\w./-]+")
#: Characters of an id that are offered, as ``ltx runs`` shows them, until more are typed.
_SHOWN_ID = 8


def listing(words: Sequence[str]) -> Listing:
    """What is recorded where a command line says; a server is not asked, for it may take long."""
    root = Path(_said(words, "root") or os.environ.get(ROOT) or "multirun")
    defaults = TrackingOptions()
    database = sqlite.path_of(_said(words, "uri") or defaults.uri_for(root))
    return Listing(database, _said(words, "experiment_name") or defaults.experiment_name)


def study_names(recorded: Listing) -> list[str]:
    """The studies by name, and the latest."""
    return [LAST, *filter(_PLAIN.fullmatch, recorded.studies())]


def run_names(recorded: Listing, word: str) -> list[str]:
    """What stands for runs and begins with a word: beginnings of ids, ``last`` and ``best:STUDY``."""
    if word.startswith(BEST_OF):
        found = [f"{BEST_OF}{study}" for study in recorded.studies() if _PLAIN.fullmatch(study)]
    else:
        length = _SHOWN_ID if len(word) < _SHOWN_ID else None
        found = [LAST, BEST_OF, *dict.fromkeys(run_id[:length] for run_id in recorded.runs())]
    return [name for name in found if name.startswith(word)]


def metric_names(recorded: Listing, words: Sequence[str]) -> list[str]:
    """The metrics of the study that a command line names, or of the latest one."""
    studies = recorded.studies()
    study = next((word for word in words if word in studies), *studies[:1]) if studies else ""
    return recorded.metrics(study)


def values_of_key(words: Sequence[str], word: str) -> list[str] | None:
    """``study=`` and ``init_from=`` with each recorded name that may follow; None where a word is of another key."""
    key, equals, value = word.partition("=")
    if not equals:
        return None
    if key == "study":
        found = [name for name in study_names(listing(words)) if name != LAST and name.startswith(value)]
    elif key == "init_from":
        found = run_names(listing(words), value)
    else:
        return None
    return [f"{key}={name}" for name in found]


def _said(words: Sequence[str], name: str) -> str:
    """What the last of the words says of the place of runs: ``--root FOLDER``, ``root=...``, ``tracking.root=...``."""
    said = ""
    for number, word in enumerate(words):
        key, equals, value = word.lstrip("+").partition("=")
        if equals and key in (name, f"--{name}", f"tracking.{name}"):
            said = value.strip("'\"")
        elif word == f"--{name}":
            said = next(iter(words[number + 1 :]), "")
    return said
