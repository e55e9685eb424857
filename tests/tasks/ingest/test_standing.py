"""The views of what holds say the same as the code that stages read people with."""

import os
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from infra.standing import newest_ingest, read_standing
from infra.standing_views import STANDING, view_name
from infra.store import Store
from infra.views import query, write_views_sql
from schemas.ids import Target
from schemas.tables import TABLES
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.hypotheses.stage import IngestHypotheses
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.preferences import write_hypothesis_cache
from tests.samples.scorehypo import write_scorehypo
from tests.samples.truth import true_people
from tests.tasks.ingest.pictures import folder, jpeg, noise, pictures
from tests.tasks.ingest.test_annotated import CONFIG

pytestmark = pytest.mark.slow

PEOPLE = true_people(5)
MINE = Target("mine", "train")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A source that was ingested three times, a folder that was ingested twice, and hypotheses of others."""
    root = tmp_path_factory.mktemp("standing")
    here = Context(Store.open(root / "it's a store"), CONFIG, in_process=True)

    def changed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[1]["bbox"] = [value + 1.0 for value in rows[1]["bbox"]]
        rows[2]["bbox"] = [900.0, 0.0, 10.0, 10.0]
        return [row for place, row in enumerate(rows) if place != 3]

    def write(count: int, edit: Any) -> AnnotationSource:
        times = {path: path.stat() for path in (root / "coco").rglob("*.jpg")}
        source = write_scorehypo(PEOPLE[:count], root / "coco", "coco", edit=edit)
        for path, stat in times.items():
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return source

    for count, edit in ((3, None), (4, None), (5, changed)):
        IngestAnnotations(write(count, edit or (lambda rows: rows)), CONFIG.body).run(here)
    images = folder(root, {"a.jpg": jpeg(noise(seed=1)), "b.jpg": jpeg(noise(seed=2))})
    IngestAnnotations(pictures(images)).run(here)
    (images / "a.jpg").unlink()
    IngestAnnotations(pictures(images)).run(here)
    IngestHypotheses(write_hypothesis_cache(PEOPLE, root / "cache")).run(here)
    return here.store


def rows_of(table: pa.Table) -> list[str]:
    return sorted(str(row) for row in table.to_pylist())


@pytest.mark.parametrize("table", STANDING)
def test_views_and_stages_see_the_same(store: Store, table: str) -> None:
    keys = [newest_ingest(store, target) for target in (Target("coco", "train"), MINE)]
    expected = read_standing(store, table, keys)
    found = query(store, f"FROM {view_name(table)}")
    assert found.column_names == TABLES[table].schema.names
    assert len(found) < len(query(store, f"FROM {table}"))
    names = ["stage_key", *TABLES[table].key]
    assert rows_of(found.select(names)) == rows_of(expected.select(names))


def test_who_stands(store: Store) -> None:
    sql = "SELECT dataset, count(*) AS people FROM standing_instances GROUP BY ALL ORDER BY ALL"
    # of five people one was refused and one has gone; of two pictures one has gone
    assert query(store, sql).to_pylist() == [{"dataset": "coco", "people": 3}, {"dataset": "mine", "people": 1}]


def test_any_duckdb_has_the_views(store: Store) -> None:
    write_views_sql(store)
    with duckdb.connect() as plain:
        plain.execute(store.read_bytes("views.sql").decode())
        assert plain.sql("SELECT count(*) FROM standing_instances").fetchall() == [(4,)]


def test_a_store_without_ingests_has_empty_views(tmp_path: Path) -> None:
    for table in STANDING:
        assert len(query(Store.open(tmp_path / "store"), f"FROM {view_name(table)}")) == 0
