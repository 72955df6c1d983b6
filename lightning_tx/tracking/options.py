"""What the config folder ``tracking`` may set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schema import STRICT, checked
from lightning_tx.tracking import sqlite
from lightning_tx.tracking.client import is_known, kinds


def _known(uri: str) -> str:
    if not is_known(uri):
        raise ValueError(f"is not a database or server of MLflow. Choices: {kinds()}")
    if sqlite.in_memory(uri):
        raise ValueError("is a database in memory, which ends with its process. Choices: sqlite:///FILE, or null")
    if sqlite.path_of(uri) is None and uri.startswith("sqlite"):
        raise ValueError("is not of the form of a SQLite database. Choices: sqlite:///FILE, or null")
    if sqlite.path_of(uri) is not None and "?" in uri:
        raise ValueError("has a query, which is not supported for SQLite. Leave out what follows the question mark")
    return uri


class TrackingOptions(BaseModel):
    """Where and how runs are recorded in MLflow; checked like a component's options.

    Attributes:
        uri: where to record: null for SQLite below the run folder, else sqlite:///, postgresql://, http://, ...
        experiment_name: MLflow's own word for the collection that holds all runs and studies.
        flush_seconds: metrics are sent at least this often while a run trains.
        patience_seconds: how long a store that stopped answering is waited for before a run ends with an error.
        timeout_seconds: how long a server may take to answer one call.
        max_retries: how often one call to a server is repeated, with growing pauses.
    """

    model_config = STRICT

    uri: Annotated[str, AfterValidator(_known)] | None = None
    experiment_name: Annotated[str, Field(min_length=1, max_length=250)] = "lightning_tx"
    flush_seconds: Annotated[float, Field(gt=0)] = 5.0
    patience_seconds: Annotated[float, Field(ge=0)] = 60.0
    timeout_seconds: Annotated[int, Field(gt=0)] = 30
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "TrackingOptions":
        """The options that plain values give.

        Raises:
            ConfigError: with every problem of the values.
        """
        options, problems = checked(cls, values, "tracking")
        if options is None:
            raise ConfigError(problems)
        return options

    def uri_for(self, root: Path) -> str:
        """The uri to connect to, a file in it as an absolute path; ``root`` is the folder of all that runs write."""
        if self.uri is None:
            return sqlite.uri_of(root.absolute() / names.DATABASE)
        return sqlite.absolute(self.uri)
