"""Everything that is registered conforms, alone and in combination."""

import pytest

from lightning_tx.data.base import DATA
from lightning_tx.testing.combinations import Combinations
from lightning_tx.testing.component import Component
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.suite import cases, check_combination, combined_subjects, default_choices, failures
from tests.testing.planted import property_named

CHOICES = [(group, name, config) for group, names in default_choices().items() for name, config in names.items()]
#: Options that make another computation of a component than its defaults do, and that no yaml sets.
OPTIONS = [
    ("feed_forward", "moe", {"capacity_factor": 1.0, "num_shared_experts": 1}),
    ("feed_forward", "moe", {"top_k": 1, "bias_rate": 0.01, "z_loss": 0.001}),
    ("attention", "multi_head", {"num_kv_heads": 2, "bias": True, "output_bias": False, "qk_norm": True}),
    ("attention", "latent", {"q_rank": 6, "value_head_dim": 6}),
    ("attention", "multi_head", {"num_kv_heads": 2, "logit_cap": 2.0, "sinks": True, "output_gate": "headwise"}),
    ("attention", "latent", {"value_head_dim": 6, "logit_cap": 2.0, "output_gate": "elementwise"}),
    ("attention", "differential", {"bias": True, "logit_cap": 2.0, "sinks": True, "output_gate": "elementwise"}),
    ("positions", "rope", {"fraction": 0.5, "pairing": "interleaved"}),
    ("adapter", "bottleneck", {"norms": True}),
]
CHOICES += [(group, name, {"name": name, **options}) for group, name, options in OPTIONS]
#: Data that read files have no defaults, and are checked on an example of them.
CHOICES += [("data", name, {"name": name}) for name in DATA.names() if name not in default_choices(["data"])["data"]]
#: ``ltx check`` leaves out nothing; here what takes long, and the third topology where it shows nothing new.
DEAR = "makes_tensors_on_the_device_of_its_inputs"
WITH_A_SOURCE = ("positions", "attention", "block", "model")


def ids(part: object) -> str:
    return part if isinstance(part, str) else ""


@pytest.mark.parametrize(("group", "name", "config"), CHOICES, ids=ids)
def test_a_component_conforms(group: str, name: str, config: dict) -> None:
    results = [
        each.run(subject)
        for each, subject in cases(group, name, config)
        if not each.dear
        and each.name != DEAR
        and (group in WITH_A_SOURCE or not (isinstance(subject, Subject) and subject.has_source))
    ]
    assert "\n".join(map(str, failures(results))) == ""
    assert any(result.status == "passed" for result in results)


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA.names())
def test_data_are_the_same_in_another_process(name: str) -> None:
    result = property_named("splits_stay").run(Component("data", name, {"name": name}))
    assert (result.failure, result.status) == (None, "passed")


@pytest.mark.slow
def test_combinations_conform() -> None:
    subjects = combined_subjects(default_choices())
    found = [failure for subject in subjects for failure in failures(check_combination(subject))]
    assert "\n".join(map(str, found)) == ""
    assert len(subjects) >= len(Combinations(default_choices()).factors["positions"]) * 3
