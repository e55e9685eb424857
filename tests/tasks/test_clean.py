"""Clean: pseudo-labels are bodies that fit their hypotheses, swaps are told apart, and the filter loses nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from infra.shards import Tally
from infra.stages import StageSpec, commit_rows
from infra.tables import read
from models.bodies import load_body
from schemas.errors import ConfigError, DataError
from schemas.ids import StageKey
from schemas.splits import WILD_TRAIN, WILD_VALIDATION
from schemas.tables import LABEL_AS_SAMPLE, build, matrix
from tasks.clean.brought import brought_labels, check_brought
from tasks.clean.filters import best_share
from tasks.clean.given import GivenLabels
from tasks.clean.ingested import IngestedLabels
from tasks.clean.names import INCOMPLETE
from tasks.clean.pseudo import swaps
from tasks.rows.hypotheses import generated_ids, read_hypotheses
from tasks.rows.instances import instance_ids, load_instances, pseudo_labelled_crops
from tasks.rows.metrics import read_metrics
from tasks.rows.mix import Mix
from tasks.rows.part import Part
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
from tasks.stages.generate import Generate
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow

TARGETS = [WILD_TRAIN]


def labelled(micro_store: MicroStore, swap_share: float = 0.0) -> str:
    return (
        PseudoLabel((micro_store.ingest_key,), TARGETS, micro_store.policy, swap_share, seed=3)
        .run(micro_store.context)
        .key
    )


def scored_as(micro_store: MicroStore, label_key: str, scores: dict[str, float]) -> str:
    """A stage that gives these scores."""
    spec = StageSpec("made_up_scores", 1, {"scores": sorted(scores.items())}, reads=(label_key,))
    columns = {
        "generation_id": label_key,
        "instance_id": list(scores),
        "sample_index": [LABEL_AS_SAMPLE] * len(scores),
        "scorer": "made up",
        "score": list(scores.values()),
        "round": [0] * len(scores),
        "stage_key": spec.key,
    }
    commit_rows(micro_store.store, spec, {"scores": build("scores", columns)})
    return spec.key


@given(st.integers(0, 40), st.floats(0, 1), st.integers(0, 5))
def test_swaps_are_a_ring_without_fixed_points(count: int, share: float, seed: int) -> None:
    ids = [f"a/b/{row}#0" for row in range(count)]
    donors = swaps(ids, share, seed)
    wanted = round(share * count)
    assert len(donors) == (wanted if wanted > 1 else 0)
    assert all(name != donor for name, donor in donors.items())
    assert set(donors) == set(donors.values()) <= set(ids)
    assert swaps(ids[::-1], share, seed) == donors


def test_who_swaps_with_whom_is_the_seeds_alone_and_stays_so() -> None:
    """Finished stages have these swaps under their keys: another ring would be another stage."""
    assert swaps(["a", "b", "c", "d", "e"], 0.8, 3) == {"e": "c", "b": "e", "a": "b", "c": "a"}
    assert swaps(["e", "d", "c", "b", "a"], 0.8, 3) == swaps(["a", "b", "c", "d", "e"], 0.8, 3)


@given(arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([0.1, 0.5, 0.7])), st.floats(0, 1))
def test_the_best_share_is_kept(scores: np.ndarray, share: float) -> None:
    kept = best_share(scores, share)
    assert kept.sum() == round(share * len(scores))
    if kept.any() and not kept.all():
        assert scores[kept].min() >= scores[~kept].max()


def test_pseudo_labels_are_bodies_that_fit_the_zero_noise_hypothesis(micro_store: MicroStore) -> None:
    keys = [micro_store.ingest_key]
    key = labelled(micro_store)
    assert key == PseudoLabel(keys, TARGETS, micro_store.policy).spec(micro_store.context).key
    rows = read(micro_store.store, "labels", stage_keys=[key]).sort_by("instance_id")
    assert set(rows.column("label_kind").to_pylist()) == {"pseudo"}
    assert set(rows.column("label_set").to_pylist()) == {"pseudo"}
    made = Generate(keys, TARGETS, micro_store.policy, micro.CONFIG.generate).run(micro_store.context).key
    hypotheses = read_hypotheses(micro_store.store, made, generated_ids(micro_store.store, made)).hypotheses
    np.testing.assert_allclose(matrix(rows, "twist"), hypotheses.twists[:, 0].reshape(-1, 46), atol=1e-4)
    np.testing.assert_allclose(matrix(rows, "betas"), hypotheses.betas[:, 0], atol=1e-4)
    theta = np.concatenate([matrix(rows, "global_orient"), matrix(rows, "body_pose")], axis=1).reshape(-1, 24, 3)
    rotations = roma.rotvec_to_rotmat(torch.tensor(theta))
    posed = load_body("tiny").joints(
        rotations, torch.tensor(matrix(rows, "betas")), torch.tensor(matrix(rows, "transl"))
    )
    np.testing.assert_allclose(matrix(rows, "joints").reshape(-1, 29, 3), posed.numpy(), atol=2e-4)
    found = load_instances(micro_store.store, keys, rows.column("instance_id").to_pylist(), [key])
    # the pelvis stands where the hypothesis has it
    pelvis = hypotheses.uvd[:, 0, 0]
    np.testing.assert_allclose(found.uvd[:, 0, :2], pelvis[:, :2], atol=1e-4)
    np.testing.assert_allclose(found.root_depth, hypotheses.root_depth[:, 0] + pelvis[:, 2], rtol=1e-4)


def test_swapped_labels_are_anothers_pose(micro_store: MicroStore) -> None:
    keys = [labelled(micro_store, share) for share in (0.0, 0.5)]
    own, swapped = (read(micro_store.store, "labels", stage_keys=[key]).sort_by("instance_id") for key in keys)
    ids = own.column("instance_id").to_pylist()
    donors = swaps(ids, 0.5, seed=3)
    sets = dict(zip(ids, swapped.column("label_set").to_pylist(), strict=True))
    assert {name for name, label_set in sets.items() if label_set == "pseudo-swapped"} == set(donors)
    assert len(donors) == 12
    seen = [ids.index(donors.get(name, name)) for name in ids]
    for column in ("twist", "betas"):
        np.testing.assert_allclose(matrix(swapped, column), matrix(own, column)[seen], atol=1e-4)


def test_a_perfect_score_finds_every_swap(micro_store: MicroStore) -> None:
    key = labelled(micro_store, 0.25)
    rows = read(micro_store.store, "labels", stage_keys=[key]).to_pylist()
    bad = {row["instance_id"] for row in rows if row["label_set"] == "pseudo-swapped"}
    scores = {row["instance_id"]: 0.2 if row["instance_id"] in bad else 0.8 for row in rows}
    result = Keep(key, scored_as(micro_store, key, scores), share=0.75).run(micro_store.context)
    assert result.record.tally == Tally(ok=18, filtered=6)
    kept = read(micro_store.store, "labels", stage_keys=[result.key])
    dropped = read(micro_store.store, "failures", stage_keys=[result.key]).to_pylist()
    assert set(kept.column("instance_id").to_pylist()) == set(scores) - bad
    assert set(kept.column("label_set").to_pylist()) == {"kept"}
    assert {row["id"] for row in dropped} == bad
    assert {(row["outcome"], row["reason"]) for row in dropped} == {("filtered", "score below the kept share")}
    assert dropped[0]["detail"] == "score 0.200000, least kept 0.800000"
    numbers = {metric.name: metric.value for metric in read_metrics(micro_store.store, result.key)}
    assert numbers == {
        "auc": 1.0,
        "kept_share": 0.75,
        "least_kept_score": 0.8,
        "mean_score": pytest.approx(0.65),
        "swapped_among_kept": 0.0,
        "swapped_share": 0.25,
    }


def test_kept_and_dropped_are_all_and_can_be_trained_on(micro_store: MicroStore) -> None:
    keys = [micro_store.ingest_key]
    key = labelled(micro_store)
    scored = ScoreLabels(key, keys, micro_store.scorer).run(micro_store.context).key
    rows = read(micro_store.store, "scores", stage_keys=[scored])
    assert set(rows.column("sample_index").to_pylist()) == {LABEL_AS_SAMPLE}
    assert set(rows.column("generation_id").to_pylist()) == {key}
    result = Keep(key, scored).run(micro_store.context)
    kept = read(micro_store.store, "labels", stage_keys=[result.key]).column("instance_id").to_pylist()
    dropped = read(micro_store.store, "failures", stage_keys=[result.key]).column("id").to_pylist()
    assert sorted(kept + dropped) == sorted(rows.column("instance_id").to_pylist())
    assert len(kept) == round(micro.CONFIG.clean.keep_share * 24)
    assert not [metric for metric in read_metrics(micro_store.store, result.key) if metric.name == "auc"]
    assert len(pseudo_labelled_crops(micro_store.store, micro.of(keys[0], WILD_TRAIN), [result.key])) == len(kept)
    everything = Keep(key, scored, share=1.0).run(micro_store.context)
    assert everything.key != result.key
    assert everything.record.tally == Tally(ok=24)
    assert Keep(key, scored).run(micro_store.context).reused


def test_labels_without_a_score_are_not_kept(micro_store: MicroStore) -> None:
    key = labelled(micro_store)
    names = read(micro_store.store, "labels", stage_keys=[key]).column("instance_id").to_pylist()
    scored = scored_as(micro_store, key, dict.fromkeys(names[:10], 0.5))
    result = Keep(key, scored, share=1.0).run(micro_store.context)
    assert result.record.tally == Tally(ok=10, filtered=14)
    reasons = read(micro_store.store, "failures", stage_keys=[result.key]).column("reason").to_pylist()
    assert set(reasons) == {"no score"}


def given_table(micro_store: MicroStore, folder: Path) -> tuple[pa.Table, Path]:
    rows = read(micro_store.store, "labels", stage_keys=[labelled(micro_store)]).sort_by("instance_id")
    return rows.drop_columns(["stage_key", "label_set", "dataset", "split", "jaw_pose"]), folder / "labels.parquet"


def test_somebodys_own_labels_go_the_same_way(micro_store: MicroStore, tmp_path: Path) -> None:
    rows, path = given_table(micro_store, tmp_path)
    names, bodies = (rows.column(name).to_pylist() for name in ("instance_id", "body_digest"))
    names[0], bodies[1] = "wild/train/nobody#0", "0" * 64
    valid = np.ones((24, 29), bool)
    valid[2, 20] = False
    for name, values in (
        ("instance_id", pa.array(names)),
        ("body_digest", pa.array(bodies)),
        ("joints_valid", pa.array(valid.tolist())),
    ):
        rows = rows.set_column(rows.schema.get_field_index(name), name, values)
    pq.write_table(rows, path)
    keys = [micro_store.ingest_key]
    result = GivenLabels(keys, str(path)).run(micro_store.context)
    assert result.record.tally == Tally(ok=22, filtered=1, failed=1)
    failed = {row["id"]: row["reason"] for row in read(micro_store.store, "failures").to_pylist()}
    assert failed == {"wild/train/nobody#0": "no such instance", names[1]: "label of another body"}
    labels = read(micro_store.store, "labels", stage_keys=[result.key])
    assert set(labels.column("label_set").to_pylist()) == {"given"}
    assert set(labels.column("dataset").to_pylist()) == {"wild"}
    assert GivenLabels(keys, str(path)).run(micro_store.context).reused
    scored = ScoreLabels(result.key, keys, micro_store.scorer).run(micro_store.context)
    assert scored.record.tally == Tally(ok=21, filtered=1)
    (left_out,) = read(micro_store.store, "failures", stage_keys=[scored.key]).to_pylist()
    assert (left_out["id"], left_out["reason"]) == (names[2], INCOMPLETE)
    assert Keep(result.key, scored.key).run(micro_store.context).record.tally.total == 22


def partly_labelled(rows: list[dict[str, Any]]) -> None:
    """The first has joints alone, the second nothing."""
    rows.sort(key=lambda row: str(row["instance_id"]))
    rows[0] |= dict.fromkeys(("body_model", "body_digest", "global_orient", "body_pose", "betas", "transl", "twist"))
    del rows[1]


def unlabelled(rows: list[dict[str, Any]]) -> None:
    rows.clear()


def test_labels_that_people_were_ingested_with(micro_store: MicroStore) -> None:
    """They are judged as they were ingested; who has none, or joints alone, is left out with the reason."""
    context, store = micro_store.context, micro_store.store
    ingests = (StageKey(micro.reingested(store, WILD_VALIDATION, partly_labelled)),)
    bare, without, *people = instance_ids(store, ingests, (WILD_VALIDATION,))
    result = IngestedLabels(ingests, (WILD_VALIDATION,)).run(context)
    assert result.record.tally == Tally(ok=len(people), filtered=2)
    failures = read(store, "failures", stage_keys=[result.key]).to_pylist()
    assert {row["id"]: row["reason"] for row in failures} == {bare: "label without a body", without: "no label"}
    labels = read(store, "labels", stage_keys=[result.key]).sort_by("instance_id")
    assert labels.column("instance_id").to_pylist() == people
    assert {(row["label_set"], row["label_kind"]) for row in labels.to_pylist()} == {("ingested", "pseudo")}
    before = read(store, "labels", stage_keys=ingests).sort_by("instance_id").slice(1)
    same = ["instance_id", "body_digest", "betas", "body_pose", "transl", "joints", "twist"]
    assert labels.select(same).equals(before.select(same))
    scored = ScoreLabels(result.key, ingests, micro_store.scorer).run(context)
    kept = len(people) // 2
    assert Keep(result.key, scored.key, share=0.5).run(context).record.tally == Tally(ok=kept, filtered=kept)


def test_nobody_was_ingested_with_a_label(micro_store: MicroStore) -> None:
    ingests = (StageKey(micro.reingested(micro_store.store, WILD_TRAIN, unlabelled)),)
    people = Mix(ingests, (WILD_TRAIN,))
    with pytest.raises(DataError, match="Nobody of wild/train was ingested with a label that has a body"):
        check_brought(micro_store.context, "ingested", people)
    with pytest.raises(DataError, match="Nobody of wild/train"):
        IngestedLabels(ingests, (WILD_TRAIN,)).run(micro_store.context)


def test_labels_of_pictures_that_are_still_to_come(micro_store: MicroStore) -> None:
    with pytest.raises(ConfigError, match="a folder of photographs has no labels"):
        check_brought(micro_store.context, "ingested", None, own_pictures=True)
    check_brought(micro_store.context, "ingested", None)
    people = micro.of(micro_store.ingest_key, WILD_TRAIN)
    assert brought_labels("ingested", people) == IngestedLabels(people.ingests, people.targets)
    assert brought_labels("./ingested", people) == GivenLabels(people.ingests, "./ingested")


def test_labels_of_people_whom_a_judge_sees_are_set_aside_by_name(micro_store: MicroStore, tmp_path: Path) -> None:
    rows, path = given_table(micro_store, tmp_path)
    pq.write_table(rows, path)
    everybody = instance_ids(micro_store.store, [micro_store.ingest_key], TARGETS)
    learned = Part(0.3, 1.0).of(everybody)
    result = GivenLabels((micro_store.ingest_key,), str(path), Part(0.3, 1.0)).run(micro_store.context)
    labels = read(micro_store.store, "labels", stage_keys=[result.key]).column("instance_id").to_pylist()
    assert sorted(labels) == learned
    assert 0 < len(learned) < 24
    failed = read(micro_store.store, "failures", stage_keys=[result.key]).to_pylist()
    assert {row["id"] for row in failed} == set(everybody) - set(learned)
    assert {(row["reason"], row["outcome"]) for row in failed} == {("set aside", "filtered")}
    own = PseudoLabel((micro_store.ingest_key,), TARGETS, micro_store.policy, part=Part(0.3, 1.0))
    assert list(own.ids(micro_store.context)) == learned


def test_a_file_that_is_no_table_of_labels(micro_store: MicroStore, tmp_path: Path) -> None:
    rows, path = given_table(micro_store, tmp_path)
    keys = [micro_store.ingest_key]
    with pytest.raises(DataError, match=r"The table of labels .*labels.parquet is not there"):
        GivenLabels(keys, str(path)).run(micro_store.context)
    path.write_text("no parquet at all")
    with pytest.raises(DataError, match=r"labels.parquet is no Parquet file that can be read"):
        GivenLabels(keys, str(path)).run(micro_store.context)
    for column in ("instance_id", "betas"):
        pq.write_table(rows.drop_columns([column]), path)
        with pytest.raises(DataError, match=column):
            GivenLabels(keys, str(path)).run(micro_store.context)
