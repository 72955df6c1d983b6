import json
import platform
import subprocess
from importlib import metadata

from lightning_tx.tracking.environment import environment, git_state


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_environment_says_what_it_runs_on():
    found = json.loads(json.dumps(environment()))
    assert found["python"] == platform.python_version()
    assert found["libraries"]["torch"] == metadata.version("torch")
    assert f"mlflow=={metadata.version('mlflow')}" in found["packages"]
    assert found["cpu"]["name"]
    assert found["cpu"]["memory_bytes"] > 1e8


def test_git_state(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "a")
    state = git_state(tmp_path)
    assert state.commit == git(tmp_path, "rev-parse", "HEAD").strip()
    assert not state.dirty
    (tmp_path / "b").write_text("2")
    assert git_state(tmp_path).dirty


def test_without_git_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None
