"""Mutated files of annotations, through the whole ingest: an error of ours, or every row as a person or a failure."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.store import Store
from infra.tables import read
from schemas.errors import DataError
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.formats.registry import reader_of
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples import bedlam, spin_npz
from tests.samples.coco import write_coco
from tests.samples.humandata import members
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, true_people, write_pictures
from tests.tasks.ingest.formats.mutations import broken, mutated
from tests.tasks.ingest.formats.test_humandata import ODD
from tests.tasks.ingest.npz_files import saved
from tests.tasks.ingest.test_annotated import CONFIG

COUNT = 3
FLAT = ("spin", "hmr2", "smpl")
JSON = ("3dpw", "human36m", "coco", "surreal", "persons")


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(COUNT)


def _json(people: list[TruePerson], folder: Path, rng: np.random.Generator) -> AnnotationSource:
    name = JSON[int(rng.integers(len(JSON)))]

    def edit(content: Any) -> Any:
        for _ in range(int(rng.integers(1, 4))):
            _, content = mutated(content, rng)
        return content

    source = (
        write_coco(people, folder, "train", edit=edit)
        if name == "persons"
        else write_scorehypo(people, folder, name, edit=edit)
    )
    if rng.random() < 0.2:
        file = Path(source.url)
        file.write_bytes(broken(file.read_bytes(), rng))
    return source


def _humandata(people: list[TruePerson], folder: Path, rng: np.random.Generator) -> AnnotationSource:
    paths = [f"{number}.jpg" for number in range(COUNT)]
    write_pictures(people, folder, paths)
    body = ("smpl", "smplx", "none")[int(rng.integers(3))]
    made = members(people, paths, body, bool(rng.integers(2)), True)  # type: ignore[arg-type]
    for _ in range(int(rng.integers(1, 4))):
        held = [one for one in (made, made.get("meta"), made.get(body)) if isinstance(one, dict) and one]
        chosen = held[int(rng.integers(len(held)))]
        chosen[sorted(chosen)[int(rng.integers(len(chosen)))]] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
    arrays = {}
    for key, value in made.items():
        arrays[key] = value
        if isinstance(value, list):
            arrays[key] = np.empty(len(value), object)
            arrays[key][:] = value
    return _saved("humandata", arrays, folder, rng)


def _flat(people: list[TruePerson], folder: Path, rng: np.random.Generator) -> AnnotationSource:
    """SPIN's or BEDLAM's npz, an array for everything."""
    paths = [f"{number}.jpg" for number in range(COUNT)]
    write_pictures(people, folder, paths)
    kind = FLAT[int(rng.integers(len(FLAT)))]
    if kind == "smpl":
        name, made = "bedlam", bedlam.members(people, paths, kind)
    else:
        some = [bool(rng.integers(2)) for _ in range(3)]
        name, made = "spin-npz", spin_npz.members(people, paths, kind, *some)
    for _ in range(int(rng.integers(1, 4))):
        key, how = sorted(made)[int(rng.integers(len(made)))], int(rng.integers(3))
        values = made[key]
        if how == 0 or not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            values = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
        elif how == 1:
            with np.errstate(invalid="ignore"):
                values = values * (0.0, -1.0, 1e6, np.nan)[int(rng.integers(4))]
        else:
            values = values.copy()
            values.reshape(-1)[int(rng.integers(values.size))] = (np.nan, np.inf, -1e30, 1e30)[int(rng.integers(4))]
        if isinstance(values, list):
            held = np.empty(len(values), object)
            held[:] = values
            values = held
        made[key] = values
    return _saved(name, made, folder, rng)


def _saved(name: str, arrays: dict[str, Any], folder: Path, rng: np.random.Generator) -> AnnotationSource:
    """An npz of arrays, at times with a byte gone wrong."""
    data = bytearray(saved(**arrays))
    if rng.random() < 0.3:
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    (folder / "own.npz").write_bytes(data)
    return AnnotationSource(name, str(folder / "own.npz"), "own", "train")


def survives(people: list[TruePerson], folder: Path, seed: int, flat: bool = False) -> None:
    rng = np.random.default_rng(seed)
    source = (_flat if flat else _humandata if seed % 2 else _json)(people, folder, rng)
    here = Context(Store.open(str(folder / "store")), CONFIG, in_process=True)
    try:
        result = IngestAnnotations(source, CONFIG.body).run(here)
    except DataError:
        return
    tally = result.record.tally
    failures = read(here.store, "failures", columns=["reason", "detail"]).to_pylist()
    assert tally.crashed == 0, failures
    assert not [row for row in failures if row["reason"].startswith("exception")], failures
    assert all(row["detail"] for row in failures)
    assert tally.ok == len(read(here.store, "instances"))
    assert tally.failed + tally.filtered == len(failures)
    reader = reader_of(source, folder / "again")
    assert tally.total == sum(len(batch) for batch in reader.batches())
    assert json.loads(json.dumps(failures)) == failures


def test_once_found(people: list[TruePerson], tmp_path: Path) -> None:
    """Genders without a number, for one."""
    for seed in (437,):
        (tmp_path / str(seed)).mkdir()
        survives(people, tmp_path / str(seed), seed)


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(20))
def test_mutated_files(people: list[TruePerson], tmp_path: Path, tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        survives(people, folder, seed)


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(4))
def test_mutated_flat_files(people: list[TruePerson], tmp_path: Path, tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        survives(people, folder, seed, flat=True)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("hundreds", range(2, 52))
def test_many_mutated_files(people: list[TruePerson], tmp_path: Path, hundreds: int) -> None:
    for seed in range(100 * hundreds, 100 * hundreds + 100):
        folder = tmp_path / str(seed)
        folder.mkdir()
        survives(people, folder, seed, flat=seed % 4 == 3)
