"""People by the disagreement of their hypotheses: as scores say it, and as poses do where scores don't."""

import re
from pathlib import Path

import pytest

from flows.browse import people
from infra import spreads
from infra.stages import StageSpec, commit_rows, records
from infra.store import Store
from infra.tables import read
from tests.flows.browse.large_store import fill
from tests.flows.browse.test_pages import shown
from tests.flows.browse.test_scopes import browsing


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "store")
    fill(made, 40)
    return made


def test_no_pose_is_read_where_scores_say_it(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "SIZE", 40)
    monkeypatch.setattr(spreads, "read_files", None)
    said = read(store, "scores", columns=["instance_id", "spread_mm"]).to_pylist()
    apart = {row["instance_id"].replace("/", "%2F").replace("#", "%23"): row["spread_mm"] for row in said}
    with browsing(store, tmp_path) as client:
        found = shown(client.get("/people", params={"sort": "disagreement"}).text)
        assert found == sorted(apart, key=lambda name: -apart[name])
        limit = sorted(apart.values())[10]
        page = client.get("/people", params={"disagreement_to": repr(limit)}).text
        assert "of 11 people" in page
        by_name = client.get("/people", params={"sort": "name"}).text  # a list that doesn't ask for it has it too
        assert len(re.findall("<dt>disagreement</dt>", by_name)) == 40


def test_a_drawing_that_nobody_scored_is_measured_on_poses(store: Store, tmp_path: Path) -> None:
    drawn, ingest = (
        next(record.stage_key for record in records(store) if record.stage == stage) for stage in ("generate", "ingest")
    )
    hypotheses = read(store, "hypotheses", stage_keys=[drawn]).drop_columns(["stage_key"])
    again = StageSpec("generate", 2, {"targets": ["wild/train"]}, reads=(ingest,))
    commit_rows(store, again, {"hypotheses": hypotheses})
    with browsing(store, tmp_path) as client:
        scope = again.key[:12]
        page = client.get("/people", params={"scope": scope}).text
        assert "of 40 people" in page
        assert "<dt>disagreement</dt>" not in page
        asked = {"scope": scope, "sort": "disagreement"}
        page = client.get("/people", params=asked).text
        while "comes by itself" in page:
            page = client.get("/people", params=asked).text
        assert "of 40 people" in page
        assert "<dt>disagreement</dt>" in page
