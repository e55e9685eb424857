"""The published file of preference pairs: what is written has its fields, with their types and shapes."""

import json
from pathlib import Path

import numpy as np

from tasks.export.dpo_json import export_dpo_json
from tests.parity.rules import FIXTURES
from tests.samples.truth import true_people
from tests.tasks.export import tables


def test_fields_of_an_exported_pair_are_the_published_ones(tmp_path: Path) -> None:
    published = json.loads((FIXTURES / "09_dpo_pair_json_example_shape.json").read_text(encoding="utf-8"))["fields"]
    people = true_people(2)
    count = export_dpo_json(tables.pairs(people), tables.instances(people), str(tmp_path / "pairs.json"))
    written = json.loads((tmp_path / "pairs.json").read_text(encoding="utf-8"))
    assert isinstance(written, list)
    assert len(written) == count
    for pair in written:
        assert {name: [type(value).__name__, list(np.shape(value))] for name, value in pair.items()} == published
