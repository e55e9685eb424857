"""In a copy with the recipe of a stage: it runs once, a plan knows it, and each of its fields decides its key."""

import json

from tasks.certainty import Certainty
from typer.testing import CliRunner

from flows.cli.main import app
from flows.run.dry import DryRunner
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from schemas.profiles import micro
from schemas.splits import WILD_TRAIN
from schemas.tables import build
from tasks.engine.context import Context
from tasks.rows.metrics import read_metrics
from tests.tasks.conftest import MicroStore
from tests.tasks.engine import test_stage

SCORES = {
    "generation_id": "generation",
    "instance_id": ["a", "a", "b", "b"],
    "sample_index": [0, 1, 0, 1],
    "scorer": "scorer",
    "score": [0.1, 0.9, 0.5, 0.6],
    "round": 0,
    "stage_key": "",
}


def main() -> None:
    """Print what it measured, whether it was reused the second time, what a plan says, and whether flows name it."""
    store = Store.open("store")
    context = Context(store, micro(), in_process=True)
    spec = StageSpec("score", 1, {})
    commit_rows(store, spec, {"scores": build("scores", SCORES).drop_columns(["stage_key"])})
    stage, stricter = Certainty(spec.key, WILD_TRAIN), Certainty(spec.key, WILD_TRAIN, least=0.5)
    done, again = stage.run(context), stage.run(context)
    (share,) = read_metrics(store, done.key)
    plan = DryRunner(context)
    for one in (stage, stricter):
        plan.run(one)
    test_stage.test_every_stage_is_here()
    listed = [one for one in test_stage.STAGES if isinstance(one, Certainty)]
    test_stage.test_every_field_counts(listed[0], MicroStore(store, "", "", ""))
    planned = CliRunner().invoke(app, ["plan", "--profile", "micro", "--store", "elsewhere"]).output
    verdicts = [look.verdict for look in plan.looks.values()]
    print(json.dumps([share.value, done.reused, again.reused, verdicts, "certainty" in planned]))


if __name__ == "__main__":
    main()
