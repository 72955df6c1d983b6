from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightning_tx.core.errors import ConfigError
from lightning_tx.tracking.options import TrackingOptions

CONF = Path(__file__).parents[2] / "conf" / "tracking"


def test_the_config_file_names_every_option_at_its_default():
    assert [path.name for path in CONF.iterdir()] == ["default.yaml"]
    assert OmegaConf.to_container(OmegaConf.load(CONF / "default.yaml")) == TrackingOptions().model_dump()


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", "databricks", "ftp://host", "sqlite://", "http://"])
def test_other_stores_are_refused_by_name(uri):
    with pytest.raises(ConfigError, match=r"tracking\.uri: '.*' is not .*Choices: null"):
        TrackingOptions.parse({"uri": uri})


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("sqlite:///:memory:", "is a database in memory"),
        ("sqlite:///file::memory:?cache=shared", "is a database in memory"),
        ("sqlite:///x.db?mode=ro", "has a query"),
        ("sqlite:////abs/x.db?", "has a query"),
        ("sqlite+pysqlite:///:memory:", "is a database in memory"),
        ("sqlite+pysqlite:///x.db?mode=ro", "has a query"),
        ("sqlite+aiosqlite:///x.db", "is not of the form of a SQLite database. Choices: sqlite:///FILE"),
        ("sqlite:x.db", "is not of the form of a SQLite database"),
        ("sqlite://host/x.db", "is not of the form of a SQLite database"),
    ],
)
def test_sqlite_that_is_no_plain_file_is_refused_by_name(uri, why):
    with pytest.raises(ConfigError, match=rf"tracking\.uri: .*{why}"):
        TrackingOptions.parse({"uri": uri})


@pytest.mark.parametrize("uri", ["sqlite:///a.db", "postgresql+psycopg2://host/db", "https://host", "http://u:p@h:1"])
def test_databases_and_servers_are_taken(uri):
    assert TrackingOptions.parse({"uri": uri}).uri == uri


def test_every_problem_is_named_by_its_key():
    with pytest.raises(ConfigError) as caught:
        TrackingOptions.parse({"max_retries": 11, "experiment_name": "", "experiment": "mine"})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "tracking.experiment_name",
        "tracking.max_retries",
        "tracking.experiment",
    ]
    assert "Did you mean 'experiment_name'?" in caught.value.problems[-1]


def test_a_relative_database_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert TrackingOptions(uri="sqlite:///here.db").uri_for(Path("runs")) == f"sqlite:///{tmp_path}/here.db"
    assert TrackingOptions(uri="sqlite+pysqlite:///a.db").uri_for(Path("runs")) == f"sqlite:///{tmp_path}/a.db"
    assert TrackingOptions().uri_for(Path("runs")) == f"sqlite:///{tmp_path}/runs/mlflow.db"
