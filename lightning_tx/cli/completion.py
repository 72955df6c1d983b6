"""``ltx completion``: the shell's completion script, and the words it asks for.

Hydra knows every group, choice and key; this hands its answers to the shell for ``ltx train`` and adds the commands,
their options, and the names of what is recorded.
"""

import argparse
from collections.abc import Iterable
from importlib import import_module
from typing import Any

SCRIPTS = {
    "bash": """_ltx() {
    local IFS=$'\\n'
    COMPREPLY=($(ltx completion words "$COMP_CWORD" "${COMP_WORDS[@]}" 2>/dev/null))
    [[ ${COMPREPLY[0]} == *[=.:] ]] && compopt -o nospace
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//[=:]}
complete -F _ltx ltx
""",
    "zsh": """#compdef ltx
_ltx() {
    local -a found
    found=("${(@f)$(ltx completion words "$((CURRENT - 1))" "${words[@]}" 2>/dev/null)}")
    compadd -S '' -- $found
}
compdef _ltx ltx
""",
    "fish": """function __ltx_words
    set -l before (commandline -opc)
    ltx completion words (count $before) $before (commandline -ct) 2>/dev/null
end
complete -c ltx -f -a '(__ltx_words)'
""",
}


#: How many studies, and how many runs, a command takes as its first arguments.
STUDIES = {"report": 1, "runs": 1}
RUNS = {"generate": 1, "evaluate": 1, "diff": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = 'bash: eval "$(ltx completion bash)"; zsh: the same with zsh; fish: ltx completion fish | source'
    parser.add_argument("shell", choices=[*SCRIPTS, "words"])
    parser.add_argument("asked", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Print a script, or, for ``words INDEX WORD...``, what may stand in place of the word at an index."""
    if arguments.shell != "words":
        print(SCRIPTS[arguments.shell], end="")
        return 0
    index, words = int(arguments.asked[0]), [*arguments.asked[1:], ""]
    print("\n".join(candidates(words[1:index], words[index])))
    return 0


def candidates(before: list[str], word: str) -> list[str]:
    """What may stand in place of ``word`` after the words of the command line before it, ``ltx`` not counted."""
    from lightning_tx.cli import COMMANDS

    if not before:
        return beginning(word, COMMANDS)
    command = before[0]
    if command not in COMMANDS:
        return []
    options = _options(command)
    if word.startswith("--") and "=" in word:
        option, _, value = word.partition("=")
        return [f"{option}={each}" for each in _values(before, options.get(option), value)]
    if word.startswith("-"):
        return beginning(word, sorted(option for option in options if option.startswith("--")))
    asking = options.get(before[-1])
    if asking is not None and asking.nargs is None:
        return _values(before, asking, word)
    return [*_positional(command, before, options, word), *_settings(before, word)]


def beginning(word: str, names: Iterable[str]) -> list[str]:
    """The names that begin with a word."""
    return [name for name in names if name.startswith(word)]


def _options(command: str) -> dict[str, argparse.Action]:
    """The options of a command by each of their names."""
    from lightning_tx.cli import flags

    parser = flags.parser() if command == "train" else argparse.ArgumentParser()
    if command != "train":
        import_module(f"lightning_tx.cli.{command}").add_arguments(parser)
    return parser._option_string_actions


def _values(before: list[str], option: argparse.Action | None, word: str) -> list[str]:
    """What may be the value of an option."""
    from lightning_tx.cli.recorded_names import listing, metric_names

    if option is None:
        return []
    if option.choices is not None:
        return beginning(word, option.choices)
    return beginning(word, metric_names(listing(before), before)) if option.dest == "metric" else []


def _positional(command: str, before: list[str], options: dict[str, argparse.Action], word: str) -> list[str]:
    """What may be the next argument of a command that is no setting."""
    from lightning_tx.cli.recorded_names import listing, run_names, study_names

    takes_value = [options.get(each) for each in before]
    number = sum(
        "=" not in each and not each.startswith("-") and (option is None or option.nargs is not None)
        for each, option in zip(before[1:], takes_value, strict=False)
    )
    if command in ("components", "check"):
        from lightning_tx.cli.plugins import plugins_of

        with plugins_of(before, load=False):
            return _components(word)
    if command == "new":
        from lightning_tx.cli.new import groups

        return beginning(word, groups()) if number == 0 else []
    if number < STUDIES.get(command, 0):
        return beginning(word, study_names(listing(before)))
    if number < RUNS.get(command, 0):
        return run_names(listing(before), word)
    return []


def _settings(before: list[str], word: str) -> list[str]:
    """What may be the next word of the form ``key=value``."""
    from lightning_tx.cli.plugins import plugins_of
    from lightning_tx.cli.recorded_names import values_of_key
    from lightning_tx.cli.stores import KEYS

    command = before[0]
    with plugins_of(before, load=False):
        if command == "train":
            names = values_of_key(before, word)
            return _levels(word) if names is None else names
        if before[:2] == ["show", "model"]:
            return _overrides(word)
        if command in (*STUDIES, *RUNS, "ui"):
            # OVERRIDABLE says what may differ from a run's own config.
            allowed = (*KEYS, *getattr(import_module(f"lightning_tx.cli.{command}"), "OVERRIDABLE", ()))
            return _overrides(word) if word.startswith(allowed) else beginning(word, [f"{key}=" for key in allowed])
    return []


def _levels(word: str) -> list[str]:
    """Overrides of a sweep: after a comma another level of the same key."""
    key, _, value = word.partition("=")
    if value[:1] in ("[", "{", "'", '"'):
        return []
    head, comma, last = word.rpartition(",")
    before = value.rpartition(",")[0]
    if not comma:
        return _overrides(word)
    others = [each.partition("=")[2] for each in _overrides(f"{key}=")]
    return [f"{head},{each}" for each in beginning(last, others) if each not in before.split(",")]


def _components(word: str) -> list[str]:
    from lightning_tx.cli.compose import labels_in
    from lightning_tx.cli.session import hydra_session
    from lightning_tx.groups import GROUPS

    group, slash, _ = word.partition("/")
    with hydra_session():
        found = [f"{group}/{label}" for label in labels_in(group)] if slash and group in GROUPS else list(GROUPS)
    return [candidate for candidate in found if candidate.startswith(word)]


def _overrides(word: str) -> list[str]:
    """What may follow a word that is the beginning of an override."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.plugins.completion_plugin import CompletionPlugin

    from lightning_tx.cli.compose import CONFIG, composed, labels_in
    from lightning_tx.cli.experiments import EXPERIMENT
    from lightning_tx.cli.search_path import CONFIG_GROUPS
    from lightning_tx.cli.session import hydra_session

    key, equals, _ = word.partition("=")
    with hydra_session():
        # Hydra would list the files of every group for these, which takes half a second.
        if equals and key in CONFIG_GROUPS:
            return beginning(word, [f"{key}={label}" for label in labels_in(key)])
        if word.isidentifier() or not word:
            keys = [*composed([]), *CONFIG_GROUPS]
            nodes = [f"{each}." for each in CONFIG_GROUPS if each != EXPERIMENT]
            return beginning(
                word, sorted({*(f"{each}=" for each in keys if each != "hydra"), *nodes, "hydra.", "hydra/"})
            )
        known: Any = Plugins.instance().discover(CompletionPlugin)
        (bash,) = (plugin for plugin in known if plugin.provides() == "bash")
        return bash(GlobalHydra.instance().config_loader())._query(config_name=CONFIG, line=word)
