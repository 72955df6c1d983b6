"""What must not be recorded: passwords, tokens and keys stand as ``***`` in everything that is written of a run.

A secret is known by its key (``password``, ``api_key``, ...), by its place in an address (``https://user:pw@host``), by
its form (the prefixes of well-known services), or because a config or the environment has it under such a key. The run
itself works with the true values.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

REDACTED = "***"

#: Parts of a key that make its value a secret, whatever stands around them.
_SECRET_WORDS = "password|passwd|passphrase|secret|credentials?|(?:api|access|private|auth)[_-]?key|authorization"
#: Variables of every shell that look like passwords and hold the working folder.
_FOLDERS = ("PWD", "OLDPWD")
_SECRET_KEY = re.compile(rf"(?:^|[_.\-]|(?<=[a-z]))(?:{_SECRET_WORDS}|pwd)(?:s|[_.\-]\w*)?$", re.IGNORECASE)
#: ``token`` is a secret too, unless it is one of a text.
_TOKEN_KEY = re.compile(r"(?:^|[_.\-]|(?<=[a-z]))token$", re.IGNORECASE)
_TEXT_TOKEN = re.compile(
    r"(?:^|[_.\-])(?:bos|eos|pad|unk|mask|sep|cls|start|end|first|last|next|per|num|max|min|special|padding|unknown)"
    r"_token$",
    re.IGNORECASE,
)

#: Bounded, so that a long text without blanks takes no longer.
_USERINFO = re.compile(
    r"(?<=://)(?:[^\s:/@'\"{}<>]{0,500}:[^\s@'\"{}<>]{0,500}@(?:[^\s/@'\"{}<>]{0,500}@)*|[^\s:/@'\"{}<>]{1,500}@)"
)
_FORMS = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}"
    r"|A[KS]IA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
    r"|(?<=Bearer )[\w.~+/=-]{8,}|(?<=Basic )[A-Za-z0-9+/=]{12,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
#: ``password=``, ``"token": ``: a key, which :func:`is_secret` judges, and a sign; and the value after it.
_KEY = re.compile(r"(?<![\w.\-])(?P<key>[A-Za-z_][\w.\-]*)(?P<sign>(?:\\?['\"])?(?:=(?!=)|:|: | = )(?=\S))")
_VALUE = re.compile(r"(?P<quote>\\?['\"])(?P<quoted>[^\n]*?)(?<!\\)(?P=quote)|(?P<bare>[^\s'\"&;)\]}]+)")
#: What texts have for nothing.
_NO_SECRETS = ("", REDACTED, "null", "None", "true", "false", "True", "False")
#: A shorter word, or a longer one of letters alone, may stand in a text for itself.
_SHORTEST = 6
_SHORTEST_WORD = 12


def is_secret(key: str) -> bool:
    """Whether a key, dotted or not, names a secret."""
    last = key.rpartition(".")[2]
    if _TOKEN_KEY.search(last):
        return not _TEXT_TOKEN.search(last)
    return _SECRET_KEY.search(last) is not None


def secrets_in(values: Any) -> frozenset[str]:
    """Every secret value of nested plain values that can be looked for in a text."""
    return frozenset(_long_enough(_secrets(values)))


def secrets_of(environment: Mapping[str, str]) -> frozenset[str]:
    """The secrets among environment variables: by their names, or as passwords in addresses."""
    return secrets_in({name: value for name, value in environment.items() if name not in _FOLDERS})


def secrets_typed(lines: Iterable[str]) -> frozenset[str]:
    """The secrets of a command line: the values of secret keys, and passwords in addresses."""
    lines = list(lines)
    values = [line[start:stop] for line in lines for start, stop in _assigned(line)]
    return secrets_in(lines) | frozenset(_long_enough(values))


def redact(values: Any, secrets: Iterable[str] = ()) -> Any:
    """Nested plain values without secrets; keys, numbers and the shape stay.

    Args:
        values: dicts, lists and plain values.
        secrets: values to leave out wherever they stand.
    """
    if isinstance(values, Mapping):
        return {key: _redact_entry(str(key), value, secrets) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [redact(value, secrets) for value in values]
    return redact_text(values, secrets) if isinstance(values, str) else values


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """A message, a traceback, a line of overrides without secrets."""
    return _without_assigned(redact_source(text, secrets))


def redact_message(text: str, secrets: Iterable[str] = ()) -> str:
    """A message of an error without secrets: after ``password: `` stands a sentence there, and values in quotes."""
    return _without_assigned(redact_source(text, secrets), in_sentences=True)


def redact_source(text: str, secrets: Iterable[str] = ()) -> str:
    """Source, or a text of the data, without secrets: ``token=token`` is none there, so that keys are not judged."""
    text = _FORMS.sub(REDACTED, _USERINFO.sub(f"{REDACTED}@", text))
    # The longest first: one secret may begin with another.
    known = sorted(secrets, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, known)), REDACTED, text) if known else text


def redact_patch(text: str, secrets: Iterable[str] = ()) -> str:
    """A patch whose added lines have no secrets; the others stand in the commit, and git compares them with it."""
    return "".join(
        redact_source(line, secrets) if line.startswith("+") else line for line in text.splitlines(keepends=True)
    )


def redact_file(name: str, text: str, secrets: Iterable[str] = ()) -> str:
    """The text of a file without secrets; of a patch (``.patch``) git can still apply what is left."""
    return (redact_patch if name.endswith(".patch") else redact_source)(text, secrets)


def _redact_entry(key: str, value: Any, secrets: Iterable[str]) -> Any:
    return _blanked(value) if is_secret(key) else redact(value, secrets)


def _blanked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _blanked(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_blanked(each) for each in value]
    return value if value is None or isinstance(value, bool) or value == "" else REDACTED


def _without_assigned(text: str, *, in_sentences: bool = False) -> str:
    pieces, end = [], 0
    for start, stop in _assigned(text, in_sentences=in_sentences):
        pieces += [text[end:start], REDACTED]
        end = stop
    return "".join([*pieces, text[end:]])


def _assigned(text: str, *, in_sentences: bool = False) -> Iterator[tuple[int, int]]:
    """Where the values of secret keys begin and end in a text."""
    position = 0
    while key := _KEY.search(text, position):
        position = key.end()
        # "unknown token: x" is a sentence about a text.
        is_sentence = key["key"].lower() == "token" and key["sign"] == ": "
        if is_sentence or not is_secret(key["key"]):
            continue
        value = _VALUE.match(text, position)
        if value is not None:
            part = "quoted" if value["bare"] is None else "bare"
            if part == "bare" and in_sentences and key["sign"] == ": ":
                continue
            position = value.end()
            if value[part] not in _NO_SECRETS:
                yield value.span(part)


def _secrets(values: Any, under_secret: bool = False) -> Iterator[str]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _secrets(value, under_secret or is_secret(str(key)))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _secrets(value, under_secret)
    elif isinstance(values, str):
        if under_secret:
            yield values
        yield from (match[0][:-1].partition(":")[2] for match in _USERINFO.finditer(values))


def _long_enough(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        if len(value) >= (_SHORTEST_WORD if value.isalpha() else _SHORTEST):
            yield value
