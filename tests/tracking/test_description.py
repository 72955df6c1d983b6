import pytest

from lightning_tx.core import names
from lightning_tx.tracking.description import describe, fitted
from lightning_tx.tracking.values import MAX_TAG

TABLE = "\n".join(["| a | b |", "| --- | ---: |", *(f"| row {number} | {number} |" for number in range(40))])


def test_what_fits_stays_as_it_is() -> None:
    assert fitted(["# A", TABLE, "end"], 10_000, "…") == f"# A\n\n{TABLE}\n\nend"


@pytest.mark.parametrize("room", range(20, 670, 7))
def test_what_is_too_long_is_cut_between_lines_and_says_so(room: int) -> None:
    blocks = ["# A", "one sentence", TABLE, "the end"]
    text = fitted(blocks, room, "… rest")
    assert len(text) <= room and text.endswith("… rest")
    lines = text.removesuffix("… rest").split("\n")
    assert set(lines) <= {"", *(line for block in blocks for line in block.splitlines())}
    assert "| --- | ---: |" not in lines or "| row 0 | 0 |" in lines


def test_what_people_wrote_stays_above(store, tracked) -> None:
    with tracked() as run:
        describe(store, run.run_id, ["first"], whole="report.md")
        assert store.run(run.run_id).tags[names.NOTE].endswith("first")
        store.client.set_tag(run.run_id, names.NOTE, "Mine, with *care*.\n\n" + store.run(run.run_id).tags[names.NOTE])
        describe(store, run.run_id, ["second", "x" * MAX_TAG], whole="report.md")
        note = store.run(run.run_id).tags[names.NOTE]
        assert note.startswith("Mine, with *care*.\n") and "second" in note and "first" not in note
        assert len(note) <= MAX_TAG and note.endswith("… The rest is in the artifact `report.md`.")
        # Where people have filled it, there is no room for more, and theirs stays.
        store.client.set_tag(run.run_id, names.NOTE, "y" * MAX_TAG)
        describe(store, run.run_id, ["third"], whole="report.md")
        assert store.run(run.run_id).tags[names.NOTE] == "y" * MAX_TAG
