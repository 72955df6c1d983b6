"""The description of a run or a study in MLflow: what people wrote there, and below it what we have to say."""

from collections.abc import Sequence

from lightning_tx.core import names
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.values import MAX_TAG

#: Stands between the two; the UI does not show it.
_OURS = "<!-- below: lightning_tx, written anew -->"


def describe(store: Store, run_id: str, blocks: Sequence[str], *, whole: str) -> None:
    """Write the description of a run; what stands there of others stays, above it.

    Args:
        store: the store.
        run_id: the run, or a study's parent run.
        blocks: Markdown, what matters most first: what there is no room for is left out from the end.
        whole: the artifact that holds all of it, which is then named.
    """
    theirs = store.run(run_id).tags.get(names.NOTE, "").partition(_OURS)[0].strip()
    room = MAX_TAG - len(theirs) - len(_OURS) - 4
    text = fitted(blocks, room, f"… The rest is in the artifact `{whole}`.")
    if text:
        store.set_tags(run_id, {names.NOTE: f"{theirs}\n\n{_OURS}\n\n{text}" if theirs else f"{_OURS}\n\n{text}"})


def fitted(blocks: Sequence[str], room: int, ending: str) -> str:
    """Blocks of Markdown within a number of characters: whole blocks, then whole lines, then the ending.

    >>> fitted(["# A", "- one", "- two"], 20, "…")
    '# A\\n\\n- one\\n\\n- two'
    """
    text = "\n\n".join(blocks)
    if len(text) <= room:
        return text
    kept: list[str] = []
    left = room - len(ending) - 2
    for block in blocks:
        lines: list[str] = []
        for line in block.splitlines():
            if len(line) + 1 > left:
                break
            lines.append(line)
            left -= len(line) + 1
        # The head of a table without a row says nothing.
        if lines and (len(lines) > 2 or not lines[0].startswith("|")):
            kept.append("\n".join(lines))
        left -= 1
        if len(lines) < len(block.splitlines()):
            break
    return "\n\n".join([*kept, ending]) if room > len(ending) else ""
