import json

import pytest

from lightning_tx.tracking.code import CodeState
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Row, Study


class Unreachable(Exception):
    pass


PLANTED = {
    "environment": "env-value-0001",
    "key": "key-value-0002",
    "nested": "nested-value-0003",
    "uri": "uri-value-0004",
    "tag": "tag-value-0005",
    "message": "message-value-0006",
    "form": "ghp_formvalue0007abcdefgh",
    "override": "override-value-0008",
    "fact": "fact-value-0009",
    "patch": "patch-value-0010",
    "note": "note-value-0011",
    "plugin": "hf_pluginvalue0012abcdef",
    "name": "name-value-0013",
}


def train_and_fail(run):
    with run:
        run.log_facts({"mirror": f"https://{PLANTED['fact']}@host"})
        run.log_text("plugins/a.py", f"login('{PLANTED['plugin']}')\n")
        raise Unreachable(f"{PLANTED['key']} at password={PLANTED['message']} with {PLANTED['form']}")


def test_nothing_that_a_run_writes_holds_a_secret(root, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", PLANTED["environment"])
    patch = f'+++ b/x.py\n+URI = "mysql://u:{PLANTED["patch"]}@h/d"\n'
    monkeypatch.setattr("lightning_tx.tracking.run.code_state", lambda: CodeState("0" * 40, patch))
    monkeypatch.setattr("lightning_tx.tracking.run.environment", lambda: {"argv": f"--x={PLANTED['environment']}"})
    store = Store.open(root)
    overrides = [f"data.password={PLANTED['override']}", "seed=1"]
    study = Study.open(store, "s", overrides=overrides, note=f"see https://u:{PLANTED['note']}@host")
    name = f"data.token={PLANTED['name']}"
    study.ask([Row("abc", name, 1, {"data.token": PLANTED["name"]})])
    config = {
        "data": {"name": "remote", "token": PLANTED["key"], "hosts": [{"Api-Key": PLANTED["nested"]}]},
        "tracking": {"uri": f"postgresql://u:{PLANTED['uri']}@host/db"},
        "same": PLANTED["environment"],
    }
    choices = {"data.token": PLANTED["name"], "positions": "rope"}
    tags = {"note": f"password: {PLANTED['tag']}"}
    run = TrackedRun(store, name=name, identity="abc", config=config, choices=choices, study=study, tags=tags)
    with pytest.raises(Unreachable, match=PLANTED["key"]):
        train_and_fail(run)
    assert run.config == config  # the run itself works with the true values

    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 6
    leaks = {(kind, path.name) for path in files for kind, v in PLANTED.items() if v.encode() in path.read_bytes()}
    assert leaks == set()
    record = store.run(run.run_id)
    assert record.params["data.token"] == record.choices["data.token"] == "***"
    assert record.tags["ltx.reason"] == "Unreachable: *** at password=*** with ***"
    assert store.config(record)["data"] == {"name": "remote", "token": "***", "hosts": [{"Api-Key": "***"}]}
    assert json.loads(store.artifact_path(run.run_id, "environment.json").read_text()) == {"argv": "--x=***"}
    assert study.rows() == [Row("abc", "data.token=***", 1, {"data.token": "***"})]


def test_a_run_that_is_resumed_with_the_same_secret_differs_in_nothing(tracked, caplog):
    for _ in range(2):
        with pytest.raises(Unreachable), tracked(config={"token": "abc-def-1"}):
            raise Unreachable
    assert "is kept" not in caplog.text
