"""doctor --deep: nothing to say of a whole store, and each damage named with its cure, writing nothing."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from flows.doctor.deep import examine_deep
from infra import rounds
from infra.begun import note_begin
from infra.deep import Finding
from infra.stages import StageSpec
from infra.store import Store
from infra.tables import live_files
from tasks.engine.context import Context
from tasks.report.stage import Report
from tasks.rows.models import model_path
from tests.infra import helpers
from tests.tasks import micro
from tests.tasks.report.test_facts import facts

Damage = Callable[[Store], None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "store")
    helpers.run(made)
    policy = micro.untrained(made, "policy")
    rounds.begin(made, "micro", policy)
    rounds.open_round(made, "micro", 1)
    Report(facts(promoted=False, policy_before=policy, reference=policy)).run(Context(made, micro.CONFIG))
    return made


def problems(found: list[Finding]) -> list[str]:
    return [f"{one.what}: {one.text}" for one in found if one.level == "problem"]


def flip(store: Store, path: str, place: int = -9) -> None:
    data = bytearray(store.read_bytes(path))
    data[place] ^= 1
    Path(store.path(path)).write_bytes(data)


def of_table(store: Store, table: str) -> str:
    return live_files(store, table, every_stage=True)[0].name


def receipt(store: Store) -> str:
    return next(path for path in store.list_files("shards") if helpers.spec().key in path)


def lose_event(store: Store) -> None:
    """The log says that there was an event, and its row is nowhere."""
    last = sorted(Path(store.path("tables/rounds/_delta_log")).glob("*.json"))[-1]
    lines = [line for line in last.read_text().splitlines() if '"add"' not in line and '"commitInfo"' not in line]
    last.write_text("".join(f"{line}\n" for line in ['{"commitInfo":{"timestamp":1,"operation":"WRITE"}}', *lines]))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a data file": (
        lambda store: flip(store, of_table(store, "scores")),
        "scores: .* holds other bytes than were written",
    ),
    "a file is gone": (lambda store: store.remove(of_table(store, "failures")), "failures: .* is not there"),
    "the row of a stage": (lambda store: flip(store, of_table(store, "stages")), "stages: .* holds other bytes"),
    "an entry of a log": (
        lambda store: flip(store, "tables/scores/_delta_log/00000000000000000001.json"),
        "scores: .*00000001.json is not as it was written",
    ),
    "a model": (lambda store: flip(store, store.list_files("checkpoints")[0]), "models: .* is damaged: its weights"),
    "a model is gone": (lambda store: store.remove(store.list_files("checkpoints")[0]), "models: There is no model"),
    "a receipt": (lambda store: flip(store, receipt(store)), "receipts: .* is a receipt that is damaged"),
    "facts": (lambda store: flip(store, "reports/micro-round-1.json"), "reports: .* is damaged"),
    "an event": (lose_event, "rounds: campaign micro: of its events, 2 are missing"),
    "the mark": (lambda store: flip(store, "adhmr-store.json", 2), "store: .*adhmr-store.json is damaged"),
}


def test_a_whole_store_has_no_problem_and_nothing_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object, **__: object) -> None:
        raise AssertionError("something is written or removed")

    for name in ("atomic_write", "remove", "remove_folder"):
        monkeypatch.setattr(Store, name, write)
    found = list(examine_deep(store.url))
    assert problems(found) == []
    said = {one.what: one.text for one in found}
    assert "3 files, 7 rows" in said["scores"]
    assert "all as they were committed" in said["scores"]
    assert said["models"] == "1 files, each the model whose digest it is called by"
    assert said["rounds"] == "campaign micro: 2 events, none missing"


@pytest.mark.parametrize("what", DAMAGES)
def test_each_damage_is_a_problem_with_a_cure(store: Store, what: str) -> None:
    damage, words = DAMAGES[what]
    damage(store)
    found = problems(list(examine_deep(store.url)))
    matching = [text for text in found if re.match(words, text)]
    assert matching, found
    assert all(any(cure in text for cure in ("`adhmr", "copy", "next run", "rite {")) for text in found), found


def test_what_does_no_harm_is_noted(store: Store) -> None:
    note_begin(store, StageSpec("align", 1, {}), 600, "steps")
    store.atomic_write("tables/scores/round=1/.tmp-1", b"x")
    long_ago = time.time() - 7 * 24 * 3600
    os.utime(store.path("tables/scores/round=1/.tmp-1"), (long_ago, long_ago))
    store.atomic_write(model_path("0" * 64), b"x")
    store.atomic_write("leases/micro.json", b"{}")
    found = list(examine_deep(store.url))
    assert problems(found) == []
    notes = {(one.what, one.text.split(":")[0].split(",")[0]) for one in found if one.level == "note"}
    assert ("leftovers", "temporary file of a writer that died") in notes
    assert ("leases", "campaign micro") in notes
    assert {what for what, _ in notes} == {"unfinished", "leftovers", "models", "leases"}


def test_the_exit_code_tells(store: Store) -> None:
    whole = CliRunner().invoke(app, ["doctor", "--deep", "--store", store.url])
    assert whole.exit_code == 0, whole.output
    flip(store, of_table(store, "scores"))
    damaged = CliRunner().invoke(app, ["doctor", "--deep", "--store", store.url])
    assert damaged.exit_code == 1
    assert "PROBLEM" in damaged.output
    assert CliRunner().invoke(app, ["doctor", "--deep", "--data", "x", "--store", store.url]).exit_code == 2
