import json

import pytest

from lightning_tx.tracking.code import CodeState
from lightning_tx.tracking.redaction import (
    is_secret,
    redact,
    redact_file,
    redact_patch,
    redact_text,
    secrets_in,
    secrets_of,
)
from lightning_tx.tracking.run import TrackedRun
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Row, Study

SECRET_KEYS = (
    "token hf_token HF_TOKEN data.options.token password PASSWORD dbPassword db_passwd secret client_secret api_key "
    "apikey apiKey OPENAI_API_KEY access-key AWS_SECRET_ACCESS_KEY credentials private_key_data passwords pwd"
)
OTHER_KEYS = (
    "tokens tokenizer eos_token pad_token num_token seconds_per_token seconds_to_first_token max_tokens key keys "
    "num_key_value_heads cache_key secretary model.d_model author seed"
)


@pytest.mark.parametrize("key", SECRET_KEYS.split())
def test_keys_of_secrets(key):
    assert is_secret(key)
    assert redact({"a": [{key: "x"}]}) == {"a": [{key: "***"}]}


@pytest.mark.parametrize("key", OTHER_KEYS.split())
def test_keys_of_other_things(key):
    assert not is_secret(key)
    assert redact({key: "x"}) == {key: "x"}


def test_nothing_hides_no_secret_and_the_shape_stays():
    values = {
        "token": None,
        "password": "",
        "secret": False,
        "api_key": 1234,
        "credentials": {"user": ["u"], "on": True},
    }
    blanked = {"api_key": "***", "credentials": {"user": ["***"], "on": True}}
    assert redact(values) == values | blanked
    assert redact(redact(values)) == redact(values)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgresql://user:pw@host/db", "postgresql://***@host/db"),
        ("postgresql://user:p/w@d@host/db", "postgresql://***@host/db"),
        ("git clone https://abc@host/x.git", "git clone https://***@host/x.git"),
        ("https://host/?api_key=abc&page=2", "https://host/?api_key=***&page=2"),
        ("+data.token=abc,def seed=1,2", "+data.token=*** seed=1,2"),
        ("data={path:x,password:pw}", "data={path:x,password:***}"),
        ('{"password": "p w", "n": 1}', '{"password": "***", "n": 1}'),
        (r'"{\"password\": \"pw\"}"', r'"{\"password\": \"***\"}"'),
        ("connect(user='u', password='pw')", "connect(user='u', password='***')"),
        ("Authorization: Bearer abcdefgh1", "Authorization: *** ***"),
        ("denied for ghp_0123456789abcdefghij0", "denied for ***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nx", "***\nx"),
    ],
)
def test_secrets_in_a_text(text, redacted):
    assert redact_text(text) == redacted
    assert redact_text(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "ValueError: unknown token: cat",
        "http://127.0.0.1:5000/api",
        "detect-secrets==1.5.0",
        "tokens=5 eos_token=<eos> num_key_heads=2",
        '{"token": null}',
        "12.5 ms to the first token, 3 ms a token",
        "mail someone@example.org",
    ],
)
def test_other_texts_stay_as_they_are(text):
    assert redact_text(text) == text


def test_values_are_known_from_a_config_and_an_environment():
    config = {
        "data": {"token": "abc-def-1", "other": "postgresql://u:hunter2@h/d"},
        "list": [{"secret": ["in a list"]}],
    }
    assert secrets_in(config) == {"abc-def-1", "hunter2", "in a list"}
    # "none" and "default" are words that stand in texts for themselves.
    assert secrets_in({"token": "none", "password": "default", "secret": 5}) == frozenset()
    assert secrets_of({"HF_TOKEN": "abc-def-1", "HOME": "/home/x", "DB": "mysql://u:hunter2@h"}) == {
        "abc-def-1",
        "hunter2",
    }
    assert redact_text("abc-def-1234 and abc-def-1", {"abc-def-1", "abc-def-1234"}) == "*** and ***"


def test_a_patch_can_still_be_applied():
    patch = ' password = "in the commit 1"\n-x = "https://u:p@h"\n+x = "https://u:q@h"\n+f(token=token)\n'
    redacted = ' password = "in the commit 1"\n-x = "https://u:p@h"\n+x = "https://***@h"\n+f(token=token)\n'
    assert redact_patch(patch, ["in the commit 1"]) == redacted
    assert redact_file("code.patch", patch) == redacted


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


def test_the_working_folder_of_a_shell_is_no_password():
    folders = {"PWD": "/home/ada/project", "OLDPWD": "/home/ada/earlier"}
    assert secrets_of({**folders, "DB_PWD": "hunter-22"}) == {"hunter-22"}
