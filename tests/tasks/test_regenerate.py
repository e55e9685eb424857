"""Any hypothesis can be made again from its noise: the same bits as the row that the stage wrote."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from infra.store import Store
from infra.tables import read
from schemas.config.base import Precision
from schemas.errors import DataError
from schemas.splits import WILD_TEST, WILD_TRAIN
from schemas.tables import matrix
from tasks.regenerate import generation_of, regenerate
from tasks.rows.part import Part
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tests.benchmarks.history import opened_files
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("part", "precision"), [(None, "float32"), (Part(0.0, 0.7), "float32"), (None, "bfloat16")])
def test_every_row_of_a_round(micro_store: MicroStore, part: Part | None, precision: Precision) -> None:
    store, config = micro_store.store, micro.CONFIG.generate
    uneven = config.model_copy(update={"microbatch": 4, "shard_size": 7, "precision": precision})
    stage = Generate((micro_store.ingest_key,), (WILD_TRAIN,), micro_store.policy, uneven, 3, part)
    key = stage.run(micro_store.context).key
    rows = read(store, "hypotheses", stage_keys=[key]).sort_by([("instance_id", "ascending")])
    uvd = matrix(rows, "uvd")
    names, samples = (rows.column(name).to_pylist() for name in ("instance_id", "sample_index"))
    record = generation_of(store, names[0])
    assert record.stage_key == key
    for row in range(0, len(rows), 5):
        made = regenerate(store, record, names[row], samples[row], "tiny")
        assert made.row == "equal"
        assert np.array_equal(made.uvd.ravel(), uvd[row])
    with pytest.raises(DataError, match="drew the samples 0 to"):
        regenerate(store, record, names[0], uneven.hypotheses, "tiny")
    with pytest.raises(DataError, match="is not among the"):
        regenerate(store, record, "wild/train/nobody#0", 0, "tiny")


def test_the_files_of_others_stay_closed(micro_store: MicroStore) -> None:
    config = micro.CONFIG.generate.model_copy(update={"shard_size": 5})
    stage = Generate((micro_store.ingest_key,), (WILD_TRAIN,), micro_store.policy, config)
    stage.run(micro_store.context)
    name = "wild/train/00000012#0"
    store = Store.open(micro_store.store.url)
    with opened_files(Path(store.root)) as opened:
        assert regenerate(store, generation_of(store, name), name, 2, "tiny").row == "equal"
    assert len({path for path in opened if "/hypotheses/" in path and path.endswith(".parquet")}) == 1


def test_of_an_evaluation_with_less_noise(micro_store: MicroStore) -> None:
    evaluate = Evaluate(
        (micro_store.ingest_key,), (WILD_TEST,), micro_store.policy, None, micro.CONFIG.evaluate, temperature=0.5
    )
    key = evaluate.run(micro_store.context).key
    rows = read(micro_store.store, "hypotheses", stage_keys=[key], columns=["instance_id"])
    name = rows.column("instance_id")[0].as_py()
    assert (
        regenerate(micro_store.store, generation_of(micro_store.store, name, key[:8]), name, 1, "tiny").row == "equal"
    )


def test_as_a_command(micro_store: MicroStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADHMR_PROFILE", "micro")
    stage = Generate((micro_store.ingest_key,), (WILD_TRAIN,), micro_store.policy, micro.CONFIG.generate)
    key = stage.run(micro_store.context).key
    name = "wild/train/00000001#0"
    words = ["regenerate", name, "2", "--store", micro_store.store.url]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert (
        f"hypothesis 2 of {name}, drawn by policy {micro_store.policy[:12]} in {key[:12]}: its row is equal"
        in said.stderr
    )
    made = json.loads(said.stdout)
    assert (made["generation_id"], len(made["uvd"]), len(made["betas"])) == (key, 29, 10)
    assert CliRunner().invoke(app, [*words, "--to", str(tmp_path / "one.npz")]).exit_code == 0
    assert np.array_equal(np.load(tmp_path / "one.npz")["uvd"], np.array(made["uvd"], np.float32))
    nobody = CliRunner().invoke(app, ["regenerate", "other/train/x#0", "0", "--store", micro_store.store.url])
    assert nobody.exit_code == 2
    assert "nothing was drawn for other/train; there are: none" in nobody.stderr
