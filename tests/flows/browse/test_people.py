"""People by the disagreement of their hypotheses: as scores say it, and as poses do where scores don't."""

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest

from flows.browse import people
from flows.browse.app import make_app
from infra import spreads
from infra.listing import Listing
from infra.stages import StageSpec, commit_rows, records
from infra.store import Store
from infra.tables import read
from tests.flows.browse.conftest import PORT
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


def test_the_policy_after_is_who_disagrees(store: Store, tmp_path: Path) -> None:
    scores = read(store, "scores").drop_columns(["stage_key"])
    at, spread = scores.schema.get_field_index("spread_mm"), scores.column("spread_mm")
    keys = []
    for number, times in enumerate((10, 100)):  # each unlike the others, and unlike those of the leg
        spec = StageSpec("evaluate", 1, {"which": number})
        commit_rows(store, spec, {"scores": scores.set_column(at, "spread_mm", pc.multiply(spread, times))})
        keys.append(spec.key)
    (tmp_path / "lists").mkdir()
    _, desk = make_app(Listing(store, tmp_path / "lists"), "t", PORT, "tiny", "procrustes")
    with closing(desk):
        leg = next(one for one in desk.scopes() if one.legs)
        for before, after, times in ((None, None, 1), (keys[0], None, 10), (keys[0], keys[1], 100)):
            scope = replace(leg, before=before, after=after)
            with people.crowd(desk, scope) as table:
                found = desk.listing.rows(f"SELECT instance_id, disagreement FROM {table}")
            own = dict(zip(scores.column("instance_id").to_pylist(), spread.to_pylist(), strict=True))
            assert {row["instance_id"]: row["disagreement"] for row in found} == pytest.approx(
                {name: times * value for name, value in own.items()}
            )
