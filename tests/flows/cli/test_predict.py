"""adhmr predict, as a person types it, on a store that is not there yet; and what it finds done the second time."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import flows.cli.commands.predict
import flows.run.session
from flows.cli.main import app
from flows.run.lease import lease
from infra.rounds import history
from infra.stages import records
from infra.store import Store
from infra.tables import read
from schemas.config.engine import EngineConfig
from tests.prefect_server import PrefectServer
from tests.samples.truth import true_people
from tests.tasks import micro

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
COUNT = 12


@pytest.fixture(scope="module", autouse=True)
def harness(prefect_server: PrefectServer) -> Iterator[None]:
    with prefect_server.used():
        yield


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with twelve photographs, a broken one, a detector's boxes, and checkpoint files."""
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    monkeypatch.setattr(flows.cli.commands.predict, "begin_server", lambda: lambda: None)
    monkeypatch.setenv("ADHMR_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("ADHMR_PROFILE", "micro")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rows = []
    for person in true_people(COUNT, "wild", "test"):
        (tmp_path / "photos" / f"{person.index:06d}.jpg").write_bytes(person.jpeg)
        rows.append({"image_id": person.index, "category_id": 1, "bbox": person.box.tolist(), "score": 0.9})
    (tmp_path / "photos" / "900000.jpg").write_bytes(b"")
    rows.append({"image_id": 900000, "category_id": 1, "bbox": [1, 1, 20, 20], "score": 0.9})
    (tmp_path / "results.json").write_text(json.dumps(rows))
    _checkpoint("policy", tmp_path, micro.CONFIG)
    _checkpoint("scorer", tmp_path, micro.CONFIG)
    return tmp_path


def _checkpoint(kind: str, folder: Path, config: EngineConfig, name: str | None = None) -> None:
    elsewhere = Store.open(folder / "elsewhere")
    digest = micro.untrained(elsewhere, kind, config)  # type: ignore[arg-type]
    made = Path(elsewhere.path(f"checkpoints/{digest}.safetensors"))
    (folder / f"{name or kind}.safetensors").write_bytes(made.read_bytes())


def call(text: str) -> Result:
    return CliRunner().invoke(app, shlex.split(text))


def rows_of(out: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(out / "bodies.parquet").to_pylist()
    return rows


def test_twelve_photographs_and_what_is_reused(here: Path) -> None:
    typed = "predict --policy policy.safetensors --images photos --boxes results.json"
    with lease(Store.open(here / "store"), "micro", "a DPO round"):  # which it doesn't wait for
        done = call(f"{typed} --scorer scorer.safetensors --out first --meshes")
    assert done.exit_code == 0, done.output
    assert "12 people in 12 pictures: 12 bodies, the body that the scorer prefers" in " ".join(done.output.split())
    assert "picture empty" in done.output
    assert {path.name for path in (here / "first").iterdir()} == {
        "bodies.parquet",
        "humandata.npz",
        "overlays",
        "meshes",
    }
    names = [f"{number:06d}" for number in range(COUNT)]
    assert sorted(path.stem for path in (here / "first/overlays").iterdir()) == names
    assert sorted(path.stem for path in (here / "first/meshes").iterdir()) == names

    store = Store.open(here / "store")
    stages = {record.stage: record for record in records(store)}
    assert list(stages) == ["import_model", "ingest", "generate", "score"]
    assert {(record.campaign, record.round) for record in stages.values()} == {(None, 0)}
    assert len(history(store)) == 0
    assert read(store, "failures").column("reason").to_pylist() == ["picture empty"]
    assert f"'{stages['ingest'].stage_key}'" in done.output

    before = len(records(store))
    again = call(f"{typed} --scorer scorer.safetensors --out second --no-overlays")
    assert again.exit_code == 0, again.output
    assert len(records(store)) == before
    assert rows_of(here / "second") == rows_of(here / "first")
    every = call(f"{typed} --scorer scorer.safetensors --out every --take all --no-overlays")
    assert every.exit_code == 0, every.output
    assert len(rows_of(here / "every")) == COUNT * micro.CONFIG.generate.hypotheses
    assert len(records(store)) == before
    refused = call(f"{typed} --out first")
    assert "There is something at" in str(refused.output) + str(refused.exception)
    assert refused.exit_code == 2


def test_crops_are_as_the_policy_takes_them_and_nobody_is_one_line(here: Path) -> None:
    condition = micro.CONFIG.policy.condition.model_copy(update={"image_size": 96})
    policy = micro.CONFIG.policy.model_copy(update={"condition": condition})
    _checkpoint("policy", here, micro.CONFIG.model_copy(update={"policy": policy}), "large")
    done = call("predict --policy large.safetensors --images photos --boxes results.json --out out --no-overlays")
    assert done.exit_code == 0, done.output
    store = Store.open(here / "store")
    assert set(read(store, "instances").column("crop_size_px").to_pylist()) == {96}
    generated = next(record for record in records(store) if record.stage == "generate")
    assert generated.rows["hypotheses"] == 2 * COUNT  # no more than that from zero noise needs
    refused = call("predict --policy large.safetensors --scorer scorer.safetensors --images photos --out new")
    assert "Policy and scorer don't go together" in refused.output
    for picture in (here / "photos").iterdir():
        picture.write_bytes(b"")
    nobody = call("predict --policy large.safetensors --images photos --out new")
    assert "There is nobody whose body could be predicted. Reasons: 13 x picture empty" in nobody.output
    assert (refused.exit_code, nobody.exit_code) == (2, 2)
    assert not (here / "new").exists()
