"""Ways to divide documents into training, validation and test splits. All are free of randomness."""

import hashlib
from collections.abc import Sequence

from lightning_tx.data.base import Splits


def fraction_problems(validation_fraction: float, test_fraction: float) -> list[str]:
    """Why the two fractions, each of them valid, cannot be used together."""
    if validation_fraction + test_fraction < 1:
        return []
    together = f"{validation_fraction} and data.test_fraction {test_fraction}"
    return [f"data.validation_fraction: {together} leave nothing to train on; their sum must be below 1."]


def by_content(documents: Sequence[str], validation_fraction: float, test_fraction: float) -> Splits[str]:
    """Put each document where the hash of its text says.

    A document stays in its split whatever happens to the others: none moves from test to training when the data
    grows. The fractions are met in the mean, by number of documents.
    """
    train: list[str] = []
    validation: list[str] = []
    test: list[str] = []
    for document in documents:
        place = int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big") / 2**64
        if place < validation_fraction:
            validation.append(document)
        elif place < validation_fraction + test_fraction:
            test.append(document)
        else:
            train.append(document)
    return Splits(train, validation, test)


def by_position(documents: Sequence[str], validation_fraction: float, test_fraction: float) -> Splits[str]:
    """Cut the documents, laid end to end, at two characters: training text first, then validation, then test.

    A document across a cut gives a part to either side. For a single document and no test split this is the split of
    nanoGPT: the first ``int(characters * (1 - validation_fraction))`` characters are for training.
    """
    length = sum(map(len, documents))
    first_cut = int(length * (1 - validation_fraction - test_fraction))
    second_cut = length if test_fraction == 0 else int(length * (1 - test_fraction))
    return Splits(
        _between(documents, 0, first_cut),
        _between(documents, first_cut, second_cut),
        _between(documents, second_cut, length),
    )


def _between(documents: Sequence[str], start: int, end: int) -> list[str]:
    parts = []
    position = 0
    for document in documents:
        part = document[max(start - position, 0) : max(end - position, 0)]
        if part:
            parts.append(part)
        position += len(document)
    return parts
