"""Bodies as text: read back as `report.js` does, they are where they were, to a few hundredths of a millimetre."""

import base64
import json

import numpy as np
import pytest

from tasks.report.content import PosedPerson
from tasks.report.pictures.meshes import packed, quantised


def test_there_and_back() -> None:
    mesh = np.random.default_rng(0).uniform((-1, -1, 3), (1, 1, 4), (500, 3))
    found = quantised(mesh)
    numbers = np.frombuffer(base64.b64decode(found["data"]), "<u2").reshape(-1, 3)
    again = np.array(found["low"]) + np.array(found["step"]) * numbers
    assert np.abs(again - mesh).max() < 2e-5, "metres"


def test_a_mesh_that_is_flat_on_one_side() -> None:
    mesh = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 3.0]])
    found = quantised(mesh)
    numbers = np.frombuffer(base64.b64decode(found["data"]), "<u2").reshape(-1, 3)
    assert np.array(found["low"]) + np.array(found["step"]) * numbers == pytest.approx(mesh, abs=1e-4)


@pytest.mark.parametrize(("most", "bits"), [(65_535, 16), (65_536, 32)])
def test_faces_have_the_bits_that_they_need(most: int, bits: int) -> None:
    faces = np.array([[0, 1, most]])
    one = PosedPerson("wild/test/1#0", (1.0, 2.0, 3.0, 4.0), 64, {"before": np.zeros((2, 3), np.float32)})
    plain = packed([one], faces)
    assert plain["faces"]["bits"] == bits
    read = np.frombuffer(base64.b64decode(plain["faces"]["data"]), f"<u{bits // 8}")
    assert read.tolist() == [0, 1, most]
    assert json.loads(json.dumps(plain))["people"]["wild/test/1#0"]["camera"] == [1.0, 2.0, 3.0, 4.0, 64]
