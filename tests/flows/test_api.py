"""The door for notebooks, on the store of the release before, and the example notebooks, cell by cell."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow as pa
import pytest
from PIL import Image

import flows.api
from infra import rounds
from infra.stages import StageSpec, commit_rows, records
from infra.store import Store
from infra.tables import read
from schemas.errors import ConfigError, DataError, StoreError
from tests.earlier.make_store import ARCHIVE

pytestmark = pytest.mark.slow
NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("api")
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(place)
    (place / "store").rename(place / "adhmr-store")
    return place


@pytest.fixture
def opened(folder: Path) -> flows.api.OpenStore:
    return flows.api.open(str(folder / "adhmr-store"))


def cells(notebook: Path) -> Iterator[str]:
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            yield "".join(cell["source"])


def test_tables_are_those_of_the_store(opened: flows.api.OpenStore) -> None:
    (campaign,) = opened.campaigns()
    history = opened.rounds()
    assert set(history.column("campaign").to_pylist()) == {campaign}
    assert history.column("is_current").to_pylist().count(True) == 1
    assert "zero_noise_mpvpe_change_percent" in history.to_pandas().columns
    metrics = opened.metrics(round=1)
    assert set(metrics.column("round").to_pylist()) <= {1}
    assert {"before", "after"} <= set(metrics.column("role").to_pylist())
    assert len(opened.metrics()) >= len(metrics) > 0
    people = opened.people("wild/test")
    assert set(people.column("split").to_pylist()) == {"test"}
    assert "crop" not in people.column_names
    assert len(opened.people()) > len(people)
    pairs = opened.pairs(round=1)
    margins = pairs.column("margin").to_pylist()
    assert margins == sorted(margins, reverse=True)
    assert "winner_uvd" not in pairs.column_names
    assert len(opened.reviews()) == 0
    assert isinstance(opened.failures(), pa.Table)
    assert set(opened.curves(round=1).column("stage").to_pylist()) >= {"align"}
    assert opened.query("SELECT count(*) AS n FROM pairs").to_pylist()[0]["n"] > 0


def test_pictures_are_pictures_of_people(opened: flows.api.OpenStore) -> None:
    row = opened.pairs(round=1).to_pylist()[0]
    person = row["instance_id"]
    photo, overlay = opened.picture(person), opened.overlay(person)
    assert photo.size == (64, 64) or photo.size[0] == photo.size[1]
    assert overlay.tobytes() != photo.convert("RGB").resize(overlay.size).tobytes()
    winner, loser = opened.pair(person, row["pair_set"])
    assert winner.tobytes() != loser.tobytes()


def test_people_are_pictured_as_those_saw_them_who_drew(tmp_path: Path) -> None:
    """However they were ingested since, and also where only somebody else's hypotheses brought them."""
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    store = Store.open(tmp_path / "store")
    opened = flows.api.OpenStore(store)
    row = opened.pairs(round=1).to_pylist()[0]
    person = row["instance_id"]
    overlay, pair = opened.overlay(person, generation=row["generation_id"]), opened.pair(person, row["pair_set"])

    seen = read(store, "instances", ids=[person])
    black = Image.new("RGB", (64, 64))
    black.save(crop := io.BytesIO(), "PNG")
    anew = _with(seen, crop=pa.array([crop.getvalue()], pa.binary()))
    again = StageSpec("ingest", 1, {"again": True}, reads=tuple(seen.column("stage_key").to_pylist()))
    commit_rows(store, again, {"instances": anew.drop_columns(["stage_key"])})
    assert opened.picture(person).convert("RGB").tobytes() == black.tobytes()
    assert opened.overlay(person, generation=row["generation_id"]) == overlay
    assert opened.pair(person, row["pair_set"]) == pair

    brought = StageSpec("ingest_hypotheses", 1, {})
    hypotheses = read(store, "hypotheses", stage_keys=[row["generation_id"]], ids=[person])
    named = {"instance_id": "brought/train/a#0", "dataset": "brought"}
    images = read(store, "images", ids=seen.column("image_id").to_pylist())
    rows = {
        "instances": _with(seen, **named, image_id="brought/train/a"),
        "images": _with(images, dataset="brought", image_id="brought/train/a"),
        "hypotheses": _with(hypotheses, **named, generation_id=brought.key),
    }
    commit_rows(store, brought, {name: table.drop_columns(["stage_key"]) for name, table in rows.items()})
    assert opened.overlay("brought/train/a#0") == overlay


def _with(rows: pa.Table, **columns: Any) -> pa.Table:
    """Rows of a table with one value, or these values, in some columns."""
    for name, value in columns.items():
        kind = rows.schema.field(name)
        values = value if isinstance(value, pa.Array) else pa.array([value] * len(rows), kind.type)
        rows = rows.set_column(rows.schema.get_field_index(name), kind, values.cast(kind.type))
    return rows


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (lambda opened: opened.picture("wild/test/nobody#0"), DataError, "There is no person"),
        (lambda opened: opened.picture("x'; DROP TABLE"), DataError, "no instance_id"),
        (lambda opened: opened.overlay("wild/train/00000000#0", 999), DataError, "There is no hypothesis 999"),
        (lambda opened: opened.people("wild"), ConfigError, "DATASET/SPLIT"),
        (lambda opened: opened.pairs(campaign="'; --").to_pylist()[0], IndexError, "range"),
        (lambda opened: flows.api.open("nowhere"), StoreError, "There is no store"),
    ],
)
def test_what_is_not_there_is_said(opened: flows.api.OpenStore, ask: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        ask(opened)


def test_nothing_is_written(opened: flows.api.OpenStore) -> None:
    store = Store.open(opened.store.url, create=False)
    before = store.list_files("")
    opened.rounds()
    opened.overlay(opened.pairs(round=1).column("instance_id")[0].as_py())
    assert store.list_files("") == before
    assert rounds.campaigns(store)
    assert records(store)


def test_there_are_two_example_notebooks() -> None:
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(
    notebook: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("ADHMR_STORE", raising=False)
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, source in enumerate(cells(notebook)):
        with redirect_stdout(io.StringIO()):
            exec(compile(source, f"{notebook.name}, cell {number}", "exec"), names)
    plain = json.loads(notebook.read_text("utf-8"))
    assert all(not cell.get("outputs") for cell in plain["cells"]), "outputs are not committed"
