"""Mutated files of annotations, through the whole ingest: an error of ours, or every row as a person or a failure."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.store import Store
from infra.tables import read
from schemas.errors import DataError
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.formats.registry import format_named, reader_of
from tasks.ingest.hypotheses.bodies import IngestBodies
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples import bedlam, spin_npz
from tests.samples.bodies import body_rows, in_weak_perspective, write_bodies
from tests.samples.coco import write_coco
from tests.samples.emdb_pkl import write_emdb_pkl
from tests.samples.humandata import members
from tests.samples.neuralannot import write_neuralannot
from tests.samples.pw3d_pkl import write_pw3d_pkl
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import TruePerson, true_people, write_pictures
from tests.samples.webdataset import Form, write_webdataset
from tests.tasks.ingest.formats.mutations import broken, mutated, places
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


def _worse_values(content: Any, rng: np.random.Generator) -> Any:
    """Some values, however deep, replaced, removed, or with one number gone wrong."""
    for _ in range(int(rng.integers(1, 4))):
        found = list(places(content))
        if not found:
            break
        *path, last = found[int(rng.integers(len(found)))]
        holder = content
        for key in path:
            holder = holder[key]
        held = holder[last]
        if isinstance(held, np.ndarray) and held.size and held.dtype.kind == "f" and rng.random() < 0.5:
            held.flat[int(rng.integers(held.size))] = (np.nan, 1e30, -7.0)[int(rng.integers(3))]
        elif isinstance(holder, dict) and rng.random() < 0.2:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
    return content


def _sequences(people: list[TruePerson], folder: Path, rng: np.random.Generator) -> AnnotationSource:
    write = (write_pw3d_pkl, write_emdb_pkl)[int(rng.integers(2))]
    spoilt = int(rng.integers(COUNT))
    source = write(people, folder, edit=lambda at, content: _worse_values(content, rng) if at == spoilt else content)
    if rng.random() < 0.3:
        file = sorted(Path(source.url).rglob("*.pkl"))[spoilt]
        file.write_bytes(broken(file.read_bytes(), rng))
    return source


def _neuralannot(people: list[TruePerson], folder: Path, rng: np.random.Generator) -> AnnotationSource:
    def edit(content: Any) -> Any:
        return mutated(content, rng)[1]

    body = ("smpl", "smplx")[int(rng.integers(2))]
    return write_neuralannot(people, folder, body=body, edit=edit, edit_coco=edit if rng.random() < 0.3 else _as_it_is)


def _as_it_is(content: Any) -> Any:
    return content


def _tars(people: list[TruePerson], folder: Path, rng: np.random.Generator) -> AnnotationSource:
    forms: tuple[Form, ...] = ("data.pyd", "json", "npz")
    form = forms[int(rng.integers(3))]

    def edit(number: int, label: Any) -> Any:
        if number != 1:
            return label
        return mutated(label, rng)[1] if form == "json" else _worse_values(label, rng)

    source = write_webdataset(people, folder, form=form, edit=edit)
    if rng.random() < 0.3:
        Path(source.url).write_bytes(broken(Path(source.url).read_bytes(), rng))
    return source


def _bodies(people: list[TruePerson], folder: Path, rng: np.random.Generator) -> AnnotationSource:
    """As json lines, which hold whatever json does; as labels, or two hypotheses for each person."""
    as_labels = bool(rng.integers(2))
    content: Any = [row for person in people for row in body_rows(person, 1 if as_labels else 2)]
    content = [in_weak_perspective(row) if rng.integers(2) else row for row in content]
    for _ in range(int(rng.integers(1, 4))):
        _, content = mutated(content, rng)
    source = write_bodies(people, folder, kind="jsonl", rows=content, options={"as": "labels"} if as_labels else {})
    if rng.random() < 0.2:
        Path(source.url).write_bytes(broken(Path(source.url).read_bytes(), rng))
    return source


OTHERS = (_sequences, _neuralannot, _tars, _flat, _bodies)


def survives(
    people: list[TruePerson],
    folder: Path,
    seed: int,
    makers: Sequence[Callable[[list[TruePerson], Path, np.random.Generator], AnnotationSource]] = (_json, _humandata),
) -> None:
    rng = np.random.default_rng(seed)
    source = makers[seed % len(makers)](people, folder, rng)
    here = Context(Store.open(str(folder / "store")), CONFIG, in_process=True)
    brought = format_named(source.format).brought(source.options)
    stage = (IngestBodies if brought == "bodies" else IngestAnnotations)(source, CONFIG.body)
    try:
        result = stage.run(here)
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
    rows = sum(len(batch) for batch in reader.batches())
    assert tally.total == rows if brought != "bodies" else 0 < tally.total <= rows
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
@pytest.mark.parametrize("tens", range(8))
def test_mutated_files_of_other_forms(people: list[TruePerson], tmp_path: Path, tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        survives(people, folder, seed, OTHERS)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("hundreds", range(2, 52))
def test_many_mutated_files(people: list[TruePerson], tmp_path: Path, hundreds: int) -> None:
    for seed in range(100 * hundreds, 100 * hundreds + 100):
        folder = tmp_path / str(seed)
        folder.mkdir()
        survives(people, folder, seed, (_json, _humandata, *OTHERS))
