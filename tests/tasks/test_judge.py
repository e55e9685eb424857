"""judge: what a second scorer says, and what can be, after less before, over the people whom both policies have."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.tables import read
from models.bodies import load_body
from models.cameras import camera_from_uvd
from models.plausibility import beyond_limits, bone_miss
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey
from schemas.splits import SOURCE_TEST, WILD_TRAIN
from tasks.rows.hypotheses import generated_ids, read_hypotheses
from tasks.rows.instances import load_instances
from tasks.rows.metrics import Metric, read_metrics
from tasks.rows.part import Part
from tasks.rows.scores import read_scores
from tasks.stages.generate import Generate
from tasks.stages.judge import Judge
from tasks.stages.score import Score
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

ASIDE = Part(0.0, 0.5)


class Court:
    """Two policies, whose hypotheses of the people who are set aside have a judge's scores."""

    def __init__(self, held: MicroStore) -> None:
        self.context, self.ingests = held.context, (StageKey(held.ingest_key),)
        self.policies = [ModelDigest(micro.untrained(held.store, "policy", seed=seed)) for seed in (1, 2)]
        self.judge = ModelDigest(micro.untrained(held.store, "scorer", seed=3))
        self.generations, self.scores = [], []
        for policy in self.policies:
            drawn = Generate(self.ingests, (WILD_TRAIN, SOURCE_TEST), policy, micro.CONFIG.generate, part=ASIDE)
            self.generations.append(StageKey(drawn.run(self.context).key))
            scored = Score(self.generations[-1], self.ingests, self.judge)
            self.scores.append(StageKey(scored.run(self.context).key))

    def stage(self, before: int, after: int) -> Judge:
        """The judgement of two of them."""
        generations, scores = ([of[at] for at in (before, after)] for of in (self.generations, self.scores))
        return Judge(*generations, *scores, self.ingests)

    def found(self, stage: Judge) -> dict[tuple[str, str, str], Metric]:
        """Its metrics by name, role and split."""
        key = StageKey(stage.run(self.context).key)
        return {(one.name, one.role, str(one.target)): one for one in read_metrics(self.context.store, key)}


@pytest.fixture(scope="module")
def court(shared_micro_store: MicroStore, tmp_path_factory: pytest.TempPathFactory) -> Court:
    folder = tmp_path_factory.mktemp("court") / "store"
    shutil.copytree(shared_micro_store.store.root, folder)
    return Court(shared_micro_store._replace(store=Store.open(folder)))


def test_figures_are_of_the_people_set_aside_alone_and_paired(court: Court) -> None:
    store, found = court.context.store, court.found(court.stage(0, 1))
    ids = generated_ids(store, court.generations[0])
    assert ids == ASIDE.of(ids)
    assert 0 < len(ids) < 36
    wild = [name for name in ids if name.startswith("wild/train")]
    samples = np.arange(micro.CONFIG.generate.hypotheses)
    scores = [read_scores(store, key, wild, samples) for key in court.scores]
    rise, before, after = (found["judge_zero_noise", role, "wild/train"] for role in ("change", "before", "after"))
    assert (rise.n, rise.unit) == (len(wild), "score")
    assert before.value == pytest.approx(scores[0][:, 0].mean())
    assert after.value == pytest.approx(scores[1][:, 0].mean())
    assert rise.value == pytest.approx(after.value - before.value)
    assert rise.low is not None
    assert rise.high is not None
    assert rise.low < rise.value < rise.high
    spread = (scores[1][:, 0] - scores[0][:, 0]).std() / np.sqrt(len(wild))
    assert rise.high - rise.low == pytest.approx(2 * 1.96 * spread, rel=0.3), "the interval of paired differences"
    expected = found["judge_expected", "change", "wild/train"]
    assert expected.value == pytest.approx((scores[1][:, 1:] - scores[0][:, 1:]).mean())
    liked = found["judge_prefers", "after", "wild/train"]
    assert liked.value == pytest.approx((scores[1][:, 0] > scores[0][:, 0]).mean())
    assert [one.model for one in (before, after, rise)] == [*court.policies, court.policies[1]]
    assert {target for _, _, target in found} == {"wild/train", "source/test"}


def test_plausibility_is_that_of_the_zero_noise_bodies(court: Court) -> None:
    store, found = court.context.store, court.found(court.stage(0, 1))
    for generation, role in zip(court.generations, ("before", "after"), strict=True):
        ids = [name for name in generated_ids(store, generation) if name.startswith("wild/train")]
        people, stored = load_instances(store, court.ingests, ids), read_hypotheses(store, generation, ids)
        body = load_body(micro.CONFIG.body)
        zero = stored.hypotheses.at([0])
        recovered = zero.bodies(body, people, np.arange(len(ids)), micro.CONFIG.root_solver)
        rest = body.rest_joints(recovered.rotations.new_tensor(zero.betas[:, 0]))
        share = 100 * beyond_limits(recovered.rotations, rest).any(1).double().mean().item()
        assert found["beyond_limits", role, "wild/train"].value == pytest.approx(share)
        # joints as they were drawn: those of the body itself have its bones
        uvd, depth = torch.from_numpy(zero.uvd[:, 0]), torch.from_numpy(zero.root_depth[:, 0])
        joints = camera_from_uvd(uvd, torch.from_numpy(people.crop_intrinsics).float(), people.crops.shape[1], depth)
        missed = 100 * bone_miss(joints.float(), rest.float()).double().mean().item()
        assert found["bone_miss", role, "wild/train"].value == pytest.approx(missed, rel=1e-4)
    assert found["beyond_limits", "change", "wild/train"].unit == "percentage points"


def test_the_other_way_round_everything_is_the_opposite(court: Court) -> None:
    there, back = court.found(court.stage(0, 1)), court.found(court.stage(1, 0))
    for name in ("judge_zero_noise", "judge_expected", "beyond_limits", "bone_miss"):
        assert there[name, "change", "wild/train"].value == pytest.approx(-back[name, "change", "wild/train"].value)
    same = court.found(court.stage(0, 0))
    assert same["judge_zero_noise", "change", "wild/train"].value == 0
    assert same["judge_prefers", "after", "wild/train"].value == 0.5
    assert court.stage(0, 1).run(court.context).reused


def test_whom_one_of_them_lacks_is_left_out_and_nobody_is_an_error(court: Court) -> None:
    store = court.context.store
    names = generated_ids(store, court.generations[1])
    rows = read(store, "scores", stage_keys=[court.scores[1]])
    kept = [row for row in rows.to_pylist() if row["instance_id"] != names[-1]]
    for made, some in (("fewer", kept), ("none", [])):
        spec, table = StageSpec(made, 1, {}), rows.from_pylist(some, rows.schema)
        commit_rows(store, spec, {"scores": table.drop_columns(["stage_key"])})
        stage = replace(court.stage(0, 1), scores_after=spec.key)
        if some:
            found = court.found(stage)
            counted = (
                found["judge_zero_noise", "before", "wild/train"].n + found["bone_miss", "before", "source/test"].n
            )
            assert counted == len(names) - 1
            continue
        with pytest.raises(DataError, match="The judge has nobody whom it could give scores before and after"):
            stage.run(court.context)
