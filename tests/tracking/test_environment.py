import json
import platform
from importlib import metadata

from lightning_tx.tracking.environment import environment


def test_environment_says_what_it_runs_on():
    found = json.loads(json.dumps(environment()))
    assert found["python"] == platform.python_version()
    assert found["libraries"]["torch"] == metadata.version("torch")
    assert f"mlflow=={metadata.version('mlflow')}" in found["packages"]
    assert found["cpu"]["name"]
    assert found["cpu"]["memory_bytes"] > 1e8
