from lightning_tx.studies.facts import between_seeds, unknown_beside
from tests.studies.studies import run


def made(seed=0, **facts):
    return run({"norm": "none"}, seed, params={f"facts.{name}": value for name, value in facts.items()})


def test_older_runs_have_digests_and_a_precision():
    old = run({}, params={"data_digest": "d", "tokenizer_digest": "t", "chosen.precision": "32", "data_counts.x": "1"})
    assert old.facts == {"data": "d", "tokenizer": "t", "precision": "32"}
    assert made(data="e", device="cpu").facts == {"data": "e", "device": "cpu"}


def test_facts_between_seeds():
    runs = [made(seed, torch="2.13" if seed < 2 else "2.14", threads=str(1 + seed % 2)) for seed in (0, 1, 2)]
    # At seed 0 there are both numbers of threads.
    runs.append(made(0, torch="2.13", threads="2"))
    assert between_seeds(runs) == {"facts.torch": {"2.13": [0, 1], "2.14": [2]}}


def test_fact_that_is_not_known_of_some_runs_is_no_other_value():
    assert between_seeds([made(0, torch="2.13"), made(1), made(0)]) == {}


def test_facts_between_seeds_that_follow_from_others_are_not_told_again():
    runs = [made(seed, data="ab"[seed], validation_data="ab"[seed], tokenizer="ab"[seed]) for seed in (0, 1)]
    assert list(between_seeds(runs)) == ["facts.data"]


def test_of_how_many_runs_a_fact_is_not_known():
    runs = [made(data="d", device="cpu", test_targets="7"), made(data="d"), made(data="d")]
    assert unknown_beside(runs) == {"facts.device": 2}
    assert unknown_beside(runs[1:]) == {}
