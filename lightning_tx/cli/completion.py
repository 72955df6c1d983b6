"""``ltx completion``: the shell's completion script, and the words it asks for.

Hydra knows every group, choice and key; this hands its answers to the shell for ``ltx train`` and adds the commands.
"""

import argparse
from importlib import import_module
from typing import Any

SCRIPTS = {
    "bash": """_ltx() {
    local IFS=$'\\n'
    COMPREPLY=($(ltx completion words "$COMP_CWORD" "${COMP_WORDS[@]}" 2>/dev/null))
    [[ ${COMPREPLY[0]} == *= || ${COMPREPLY[0]} == *. ]] && compopt -o nospace
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
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
    from lightning_tx.cli.plugins import plugins_of
    from lightning_tx.cli.stores import KEYS

    if not before:
        return [name for name in COMMANDS if name.startswith(word)]
    command = before[0]
    if word.startswith("-") and command in COMMANDS and command != "train":
        return [option for option in _options(command) if option.startswith(word)]
    if command == "new":
        from lightning_tx.cli.new import groups

        named = any(other in groups() for other in before[1:])
        return [] if named else [group for group in groups() if group.startswith(word)]
    with plugins_of(before, load=False):
        if command in ("components", "check"):
            return _components(word)
        if command == "train" or before[:2] == ["show", "model"]:
            return _overrides(word)
        if command in ("generate", "evaluate", "report", "diff", "ui"):
            # OVERRIDABLE says what may differ from a run's own config.
            allowed = (*KEYS, *getattr(import_module(f"lightning_tx.cli.{command}"), "OVERRIDABLE", ()))
            found = _overrides(word)
            return [each for each in found if each.startswith(allowed) or any(key.startswith(each) for key in allowed)]
    return []


def _options(command: str) -> list[str]:
    parser = argparse.ArgumentParser()
    import_module(f"lightning_tx.cli.{command}").add_arguments(parser)
    return sorted(option for option in parser._option_string_actions if option.startswith("--"))


def _components(word: str) -> list[str]:
    from lightning_tx.cli.compose import hydra_session, labels_in
    from lightning_tx.groups import GROUPS

    group, slash, _ = word.partition("/")
    with hydra_session():
        found = [f"{group}/{label}" for label in labels_in(group)] if slash and group in GROUPS else list(GROUPS)
    return [candidate for candidate in found if candidate.startswith(word)]


def _overrides(word: str) -> list[str]:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.plugins.completion_plugin import CompletionPlugin

    from lightning_tx.cli.compose import CONFIG, hydra_session

    with hydra_session():
        known: Any = Plugins.instance().discover(CompletionPlugin)
        (bash,) = (plugin for plugin in known if plugin.provides() == "bash")
        loader = GlobalHydra.instance().config_loader()
        return bash(loader)._query(config_name=CONFIG, line=word)
