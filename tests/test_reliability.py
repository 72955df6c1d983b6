"""The page on what happens when something goes wrong names tests that exist and the exit codes that there are."""

import re
import signal
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_the_files_that_it_names_exist() -> None:
    files = set(re.findall(r"`((?:tests|lightning_tx)/[\w/]+\.py)`", PAGE))
    assert len(files) > 5 and [file for file in files if not (ROOT / file).exists()] == []


def test_exit_codes_of_signals_are_those_of_the_shell() -> None:
    codes = dict(re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE))
    signals = {code: re.search(r"SIG[A-Z]+", text) for code, text in codes.items()}
    assert {code: 128 + signal.Signals[found[0]] for code, found in signals.items() if found} == {
        "130": 130,
        "137": 137,
        "143": 143,
    }
    assert codes.keys() - {"130", "137", "143"} == {"0", "1", "2"}
