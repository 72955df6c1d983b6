"""Everything that is registered conforms, alone and in combination."""

import pytest

from lightning_tx.testing.combinations import Combinations
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.suite import cases, check_combination, combined_subjects, default_choices, failures

CHOICES = [(group, name, config) for group, names in default_choices().items() for name, config in names.items()]
#: ``ltx check`` leaves out nothing; here what takes long, and the third topology where it shows nothing new.
DEAR = ("compiles_in_one_graph", "makes_tensors_on_the_device_of_its_inputs")
WITH_A_SOURCE = ("positions", "attention", "block", "model")


def ids(part: object) -> str:
    return part if isinstance(part, str) else ""


@pytest.mark.parametrize(("group", "name", "config"), CHOICES, ids=ids)
def test_a_component_conforms(group: str, name: str, config: dict) -> None:
    results = [
        each.run(subject)
        for each, subject in cases(group, name, config)
        if each.name not in DEAR
        and (group in WITH_A_SOURCE or not (isinstance(subject, Subject) and subject.has_source))
    ]
    assert "\n".join(map(str, failures(results))) == ""
    assert any(result.status == "passed" for result in results)


@pytest.mark.slow
def test_combinations_conform() -> None:
    subjects = combined_subjects(default_choices())
    found = [failure for subject in subjects for failure in failures(check_combination(subject))]
    assert "\n".join(map(str, found)) == ""
    assert len(subjects) >= len(Combinations(default_choices()).factors["positions"]) * 3
