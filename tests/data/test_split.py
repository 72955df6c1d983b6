import pytest

from lightning_tx.data.split import by_content, by_position, fraction_problems


def test_one_document_is_split_as_nanogpt_does() -> None:
    text = "".join(chr(ord("a") + number % 26) for number in range(1003))
    splits = by_position([text], 0.1, 0.0)
    assert splits.train == [text[: int(len(text) * 0.9)]]
    assert splits.validation == [text[int(len(text) * 0.9) :]]
    assert splits.test == []


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.0), (0.25, 0.25), (0.3, 0.1), (0.98, 0.01)])
def test_by_position_loses_and_reorders_nothing(validation: float, test: float) -> None:
    documents = ["first document", "2", "the third one, which is longer", "", "last"]
    splits = by_position(documents, validation, test)
    text = "".join(documents)
    assert "".join([*splits.train, *splits.validation, *splits.test]) == text
    assert len("".join(splits.train)) == pytest.approx(len(text) * (1 - validation - test), abs=1)
    assert len("".join(splits.test)) == pytest.approx(len(text) * test, abs=1)
    assert all([*splits.train, *splits.validation, *splits.test])


def test_by_position_keeps_documents_apart_and_cuts_the_one_on_the_border() -> None:
    splits = by_position(["aaaa", "bbbb", "cc"], 0.4, 0.0)
    assert (splits.train, splits.validation) == (["aaaa", "bb"], ["bb", "cc"])


def test_by_content_meets_the_fractions_and_keeps_the_order() -> None:
    documents = [f"document {number}" for number in range(4000)]
    splits = by_content(documents, 0.1, 0.2)
    assert sorted([*splits.train, *splits.validation, *splits.test]) == sorted(documents)
    assert len(splits.validation) == pytest.approx(400, abs=60)
    assert len(splits.test) == pytest.approx(800, abs=80)
    for split in (splits.train, splits.validation, splits.test):
        assert list(split) == sorted(split, key=documents.index)


def test_a_document_stays_in_its_split_when_others_come_and_go() -> None:
    documents = [f"document {number}" for number in range(500)]
    few, many = by_content(documents[::3], 0.1, 0.1), by_content(documents, 0.1, 0.1)
    assert set(few.train) <= set(many.train)
    assert set(few.validation) <= set(many.validation)
    assert set(few.test) <= set(many.test)


def test_more_test_documents_leave_validation_as_it_is() -> None:
    documents = [f"document {number}" for number in range(500)]
    assert by_content(documents, 0.1, 0.0).validation == by_content(documents, 0.1, 0.3).validation


def test_fractions_must_leave_something_to_train_on() -> None:
    assert fraction_problems(0.5, 0.4) == []
    (problem,) = fraction_problems(0.5, 0.5)
    assert problem.startswith("data.validation_fraction: 0.5 and data.test_fraction 0.5")
