import pickle

import pytest

from lightning_tx.data.base import Data, Splits


def test_the_digest_sees_content_order_and_split() -> None:
    variants = [
        Splits(["a", "b"], ["c"], []),
        Splits(["b", "a"], ["c"], []),
        Splits(["a", "b"], [], ["c"]),
        Splits(["a"], ["b", "c"], []),
        Splits(["ab"], ["c"], []),
        Splits(["a", "b "], ["c"], []),
    ]
    assert len({splits.digest for splits in variants}) == len(variants)
    assert Splits(("a", "b"), ("c",), ()).digest == variants[0].digest
    assert len(variants[0].digest) == 32


def test_each_split_has_a_digest_of_its_own_documents() -> None:
    whole = Splits(["a", "b"], ["c"], ["d", "e"])
    other = Splits(["a", "x"], ["c"], ["e", "d"])
    same = {name for name, digest in whole.digests.items() if digest == other.digests[name]}
    assert set(whole.digests) == {"train", "validation", "test"} and same == {"validation"}
    assert Splits(["c"], [], []).digests["train"] == whole.digests["validation"]
    assert Splits([], [("c", "d")], []).digests["validation"] != Splits([], ["c", "d"], []).digests["validation"]


def test_pairs_have_a_digest_of_their_own() -> None:
    pairs = Splits([("a", "b")], [("c", "d")], [])
    assert pairs.digest != Splits(["a", "b"], ["c", "d"], []).digest
    assert pairs.digest != Splits([("b", "a")], [("c", "d")], []).digest


def test_splits_survive_a_journey_to_another_process() -> None:
    splits = Splits(["a"], ["b"], [])
    assert pickle.loads(pickle.dumps(splits)).digest == splits.digest


def test_data_without_load_cannot_be_made() -> None:
    class Nothing(Data[str]):
        pass

    with pytest.raises(TypeError, match="load"):
        Nothing()  # pyright: ignore[reportAbstractUsage]
