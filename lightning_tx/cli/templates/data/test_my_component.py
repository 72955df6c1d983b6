from pathlib import Path

from my_component import MyComponent

from lightning_tx.testing import conformance

test_conforms = conformance("data/my_component")


def test_texts_are_what_they_claim_and_in_one_split_each() -> None:
    splits = MyComponent(size=2000).load(Path())
    texts = [*splits.train, *splits.validation, *splits.test]
    assert len(set(texts)) == len(texts) > 1500
    assert all(text == text[::-1] and set(text) <= set("abcd") for text in texts)
    assert min(map(len, (splits.train, splits.validation, splits.test))) > 50
    assert MyComponent(size=2000).load(Path()).digest == splits.digest
