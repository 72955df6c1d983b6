"""Secrets that are typed, or set in the environment, are neither written below the root nor shown on the screen."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_tx.cli import main
from lightning_tx.runs import plugin_files
from tests.tiny import tiny_overrides

#: A data set that takes what remote ones take, and says it aloud.
DATA = '''
import logging
from pathlib import Path
from typing import Any

import lightning_tx
from lightning_tx.data.text_file import TextFile


@lightning_tx.register("data", "remote_text")
class RemoteText(TextFile):
    """Text from a server, which stands in a file here."""

    def __init__(
        self, *, path: str, test_fraction: float = 0.05, hf_token: str | None = None, api_key: str | None = None,
        password: str | None = None, client_secret: str | None = None, url: str | None = None,
        credentials: dict[str, str] | None = None, headers: dict[str, Any] | None = None, note: str | None = None,
        fails: bool = False,
    ) -> None:
        super().__init__(path=path, test_fraction=test_fraction)
        self.secrets = (hf_token, api_key, password, client_secret, url, credentials, headers, note)
        self.fails = fails

    def load(self, cache: Path):
        logging.getLogger("remote").warning("opened with %s", self.secrets)
        if self.fails:
            raise RuntimeError(f"refused: {self.secrets}")
        return super().load(cache)
'''

PLANTED = {
    "environment": "env-value-0001",
    "token": "token-value-0002",
    "api key": "api-key-value-0003",
    "password": "password-value-0004",
    "secret": "secret-value-0005",
    "address": "address-value-0006",
    "nested": "nested-value-0007",
    "header": "headervalue0008abcdef",
    "form": "hf_formvalue0009abcdefgh",
    "file": "file-value-0010",
    "variable": "variable-value-0011",
}


@pytest.fixture
def overrides(root: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A command line with a secret of each kind."""
    monkeypatch.setenv("REMOTE", PLANTED["environment"])
    monkeypatch.setenv("SERVICE_API_KEY", PLANTED["variable"])
    plugin = tmp_path / "remote.py"
    plugin.write_text(DATA)
    choice = tmp_path / "configs" / "data" / "remote.yaml"
    choice.parent.mkdir(parents=True)
    choice.write_text(f"name: remote_text\ncredentials: {{user: ada, key: {PLANTED['file']}}}\n")
    yield [
        "--config-dir",
        str(choice.parent.parent),
        *(line for line in tiny_overrides(root, text) if line != "data=text_file"),
        "data=remote",
        f"plugins=[{plugin}]",
        "+data.hf_token=${oc.env:REMOTE}",
        f"+data.api_key={PLANTED['api key']}",
        f"+data.password='{PLANTED['password']}'",
        f"+data.client_secret={PLANTED['secret']}",
        f"+data.url=https://ada:{PLANTED['address']}@host/texts",
        f"+data.headers={{Authorization: 'Bearer {PLANTED['header']}', token: {PLANTED['token']}, "
        f"proxies: [{{password: {PLANTED['nested']}}}]}}",
        f"+data.note={PLANTED['form']} of ${{oc.env:SERVICE_API_KEY}}",
    ]
    plugin_files.forget()


@pytest.fixture(autouse=True)
def own_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra sets up the root logger for good, with the streams of one test."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler())


def leaks(root: Path, screen: str) -> set[tuple[str, str]]:
    """The kinds of secrets, each with the file, or the screen, that shows it."""
    texts = {str(path): str(path).encode() + (path.read_bytes() if path.is_file() else b"") for path in root.rglob("*")}
    texts["the screen"] = screen.encode()
    return {(kind, place) for place, text in texts.items() for kind, value in PLANTED.items() if value.encode() in text}


HYDRA = [
    "hydra.output_subdir=.hydra",
    "hydra/job_logging=default",
    "hydra/hydra_logging=default",
    "hydra.sweep.subdir=${data.api_key}_${hydra.job.num}",
]


@pytest.mark.parametrize("more", [["+data.fails=false"], ["-m", "seed=0,1", "study=s", "+data.fails=false", *HYDRA]])
def test_nothing_below_the_root_and_nothing_on_the_screen_holds_a_secret(overrides, root, capfd, more) -> None:
    assert main(["train", *overrides, *more]) == 0
    screen = capfd.readouterr()
    assert leaks(root, screen.out + screen.err) == set()


def test_a_failure_tells_no_secret(overrides, root, capfd, monkeypatch) -> None:
    monkeypatch.setenv("LTX_DEBUG", "0")
    assert main(["train", *overrides, "+data.fails=true"]) == 1
    screen = capfd.readouterr()
    assert "refused" in screen.err and leaks(root, screen.out + screen.err) == set()


@pytest.mark.parametrize(
    "words",
    [
        [f"tracking.uri=ftp://ada:{PLANTED['address']}@host/db"],
        [f"tracking.uri='http://ada:{PLANTED['address']}@127.0.0.1:9/db'"],
        [f"+data.hf_token={PLANTED['token']}"],
        [f"data.path=https://ada:{PLANTED['address']}@host/x"],
        [f"+data.token={PLANTED['token']},other-token"],
        [f"init_from={PLANTED['form']}"],
        [f"+data.api_key=12345{PLANTED['secret']}("],
    ],
)
def test_a_refused_command_line_tells_no_secret(root, text, capfd, words) -> None:
    assert main(["train", *tiny_overrides(root, text), *words]) in (1, 2)
    screen = capfd.readouterr()
    key = words[0].lstrip("+").partition("=")[0]
    shown = screen.out + screen.err
    assert key in shown and leaks(root, shown) == set(), shown
