import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.redaction import (
    is_secret,
    redact,
    redact_file,
    redact_message,
    redact_patch,
    redact_text,
    secrets_in,
    secrets_of,
    secrets_typed,
)

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


def test_the_working_folder_of_a_shell_is_no_password():
    folders = {"PWD": "/home/ada/project", "OLDPWD": "/home/ada/earlier"}
    assert secrets_of({**folders, "DB_PWD": "hunter-22"}) == {"hunter-22"}


@pytest.mark.parametrize(
    ("message", "redacted"),
    [
        ("data.password: unknown key.", None),
        ("data.token: missing; it has no default.", None),
        ("data.password: 'hunter-22' should be a number.", "data.password: '***' should be a number."),
        ("several values (data.token=abc,def) need -m.", "several values (data.token=***) need -m."),
        ("tracking.uri: 'ftp://u:pw@h/d' is no server.", "tracking.uri: 'ftp://***@h/d' is no server."),
        ("data.path: there is no file 'hf_0123456789abcdefghij'.", "data.path: there is no file '***'."),
    ],
)
def test_an_error_names_a_key_and_not_its_secret(message, redacted):
    assert redact_message(message) == str(ConfigError(message)) == (redacted or message)


def test_the_secrets_of_a_command_line_are_known_where_they_stand_alone():
    typed = secrets_typed(
        ["train", "data.token=12345678", "++data={password: hunter-22}", "tracking.uri=x://u:pw-123@h"]
    )
    assert typed == {"12345678", "hunter-22", "pw-123"}
    assert redact_message("data.token: 12345678 should be text.", typed) == "data.token: *** should be text."
