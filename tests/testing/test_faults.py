"""The suite catches what is planted, each fault by the property that is there for it."""

from collections import Counter

import pytest
import torch

from lightning_tx.kernels.attend import attend
from lightning_tx.testing.baseline import BASELINE, VOCAB_SIZE
from lightning_tx.testing.component import Component
from lightning_tx.testing.properties import PROPERTIES, patterns
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.suite import cases, check_choice, failures
from tests.testing import (
    faulty_adapters,
    faulty_attention,
    faulty_blocks,
    faulty_calls,
    faulty_data,
    faulty_decoding,
    faulty_layers,
    faulty_options,
    faulty_routers,
    faulty_steps,
    faulty_tasks,
)
from tests.testing.planted import NAME, Fault, check, planted, property_named

FILES = (
    faulty_layers,
    faulty_routers,
    faulty_blocks,
    faulty_attention,
    faulty_adapters,
    faulty_calls,
    faulty_options,
    faulty_data,
    faulty_tasks,
    faulty_steps,
    faulty_decoding,
)
FAULTS = [fault for file in FILES for fault in file.FAULTS]
HONEST = [
    *faulty_layers.HONEST,
    *faulty_routers.HONEST,
    *faulty_attention.HONEST,
    *faulty_adapters.HONEST,
    *faulty_calls.HONEST,
]
OUTSIDE = [*faulty_data.HONEST, *faulty_steps.HONEST, *faulty_decoding.HONEST]
#: Properties of faults that stand in tests of their own.
ELSEWHERE = {"builds_at_its_own_size", "sparse_is_dense"}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_planted_fault_is_caught(fault: Fault) -> None:
    check(fault)


@pytest.mark.parametrize(
    ("group", "component"), HONEST, ids=lambda part: part if isinstance(part, str) else part.__name__
)
def test_what_the_faults_were_planted_in_is_sound(group: str, component: type) -> None:
    not_asked = {"describes_itself", "compiles_in_one_graph", "cache_keeps_the_window_alone", "sparse_is_dense"}
    with planted(group, component) as config:
        results = [each.run(subject) for each, subject in cases(group, NAME, config) if each.name not in not_asked]
    assert [str(failure) for failure in failures(results)] == []
    assert sum(result.status == "passed" for result in results) > 50


@pytest.mark.parametrize(("group", "component"), OUTSIDE, ids=lambda part: getattr(part, "__name__", str(part)))
def test_what_stands_outside_of_models_is_sound_without_its_fault(group: str, component: type) -> None:
    with planted(group, component) as config:
        results = [each.run(subject) for each, subject in cases(group, NAME, config) if each.name != "describes_itself"]
    assert [str(failure) for failure in failures(results)] == []
    assert sum(result.status == "passed" for result in results) > 4


def test_every_property_has_a_fault() -> None:
    assert {each.name for each in PROPERTIES} == {fault.property for fault in FAULTS} | ELSEWHERE


def test_there_are_many_faults() -> None:
    assert len({(fault.property, fault.component) for fault in FAULTS}) > 100


def test_a_model_that_is_too_large_is_noticed() -> None:
    subject = Subject("model/decoder", {"name": "decoder", "d_model": 30, "num_heads": 4}, BASELINE, "model")
    assert property_named("shape_dtype_device").run(subject).status == "passed"
    failure = property_named("builds_at_its_own_size").run(subject).failure
    assert failure is not None and "30" in failure.seen


def test_a_sparse_kernel_that_forgets_a_key_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(q, k, v, mask, **options):
        v = v.clone()
        v[..., 50, :] = 0
        return attend(q, k, v, mask, **options)

    monkeypatch.setattr(patterns, "LONG", 203)
    honest = property_named("sparse_is_dense")
    with planted("pattern", faulty_attention.Window) as config:
        component = Component("pattern", NAME, config)
        assert honest.run(component).status == "passed"
        monkeypatch.setattr(patterns, "attend", forgetful)
        failure = honest.run(component).failure
    assert failure is not None and "causal attention and the dense softmax" in failure.seen


def test_a_failure_says_what_where_and_why() -> None:
    with planted("feed_forward", faulty_layers.LooksOneAhead) as config:
        subject = Subject(
            "feed_forward/planted", {"name": "decoder"}, {**BASELINE, "feed_forward": config}, "feed_forward"
        )
        text = str(property_named("causality").run(subject).failure)
    first, built, seen, cause = text.splitlines()
    assert first.startswith("feed_forward/planted violates 'causality': In a causal model")
    assert "model=decoder positions=rope attention=multi_head(num_kv_heads=2)" in built
    assert "the state of token 0 moves by" in seen and "when token 1 changes" in seen
    assert "off by one" in cause


def test_what_cannot_be_built_is_said_once() -> None:
    with planted("feed_forward", faulty_layers.DeclaresNoInitialisation) as config:
        found = failures(check_choice("feed_forward", NAME, config))
    assert Counter(failure.property for failure in found) == {"initialisation": 3, "describes_itself": 1}
    assert all("declare initial" in failure.seen for failure in found if failure.property == "initialisation")


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    subject = Subject("all", {"name": "decoder"}, BASELINE, "combination")
    for each in PROPERTIES:
        if each.about == "model" and each.groups is None:
            each.run(subject)
    assert torch.equal(before, torch.get_rng_state())
    assert VOCAB_SIZE == 50
