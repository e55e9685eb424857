"""A model card claims what its store says, and nothing else. Whole rounds have theirs in tests/flows/test_rounds.py."""

from collections.abc import Sequence
from typing import Any

import torch
import yaml

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from models.policy import Policy
from models.statistics import Interval
from schemas.ids import ModelDigest
from schemas.splits import WILD_TEST
from schemas.tables import build
from tasks.report.ancestry import People, ancestry
from tasks.report.model_card import model_card
from tasks.rows.metrics import Metric, metrics_table
from tasks.rows.models import model_rows, save_model
from tests.samples.truth import true_people
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.export import tables

ABSENT = "f" * 64
REPLAYED = {
    "train": {"objective": "dpo", "beta": 10.0, "replay": 1.0, "replay_images": 8, "optimiser": {"steps": 1600}}
}


def stage(name: str, config: dict[str, Any], reads: Sequence[str] = (), **spec: Any) -> StageSpec:
    return StageSpec(name, 1, config, reads=tuple(reads), campaign="mine", in_round=1, **spec)


def trained(
    store: Store, name: str, config: dict[str, Any], reads: Sequence[str] = (), parents: Sequence[str] = ()
) -> str:
    """A policy that a stage of this name and configuration is said to have made."""
    torch.manual_seed(len(f"{name}{config}{parents}"))
    digests = tuple(map(ModelDigest, parents))
    saved = save_model(store, "policy", Policy(micro.CONFIG.policy).state_dict(), micro.CONFIG.policy, digests)
    spec = stage(name, config, reads, models=digests)
    commit_rows(store, spec, {"models": model_rows(saved, spec.key)})
    return saved.digest


def scored_pairs(store: Store, scorer: str) -> str:
    """The key of a stage that paired hypotheses of two people by a scorer."""
    scoring = stage("score", {"scored": 2}, models=(ModelDigest(scorer),))
    row = {"generation_id": "g", "instance_id": "mine/train/a#0", "sample_index": 1, "scorer": scorer, "score": 0.5}
    where = {"stage_key": scoring.key, "round": 1}
    commit_rows(store, scoring, {"scores": build("scores", {name: [value] for name, value in (row | where).items()})})
    pairing = stage("pair", {"pair": {"strategy": "top_bottom"}}, [scoring.key])
    commit_rows(store, pairing, {"pairs": tables.pairs(true_people(2)).drop_columns(["stage_key"])})
    return pairing.key


def test_a_model_of_which_nothing_is_known(micro_store: MicroStore) -> None:
    card = model_card(micro_store.store, ModelDigest(micro_store.policy))
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "adhmr-engine",
        "license": "other",
        "license_name": "as-the-training-data-ask",
        "tags": ["human-mesh-recovery", "3d-human-pose-estimation", "adhmr", "diffusion"],
    }
    assert f"# HypoNet policy {micro_store.policy[:12]}" in text
    assert f"1. `{micro_store.policy}` (this model), policy: made by the stage untrained_policy." in text
    assert "The store has no measurement of it." in text
    assert "people," not in text
    assert "Round" not in text
    assert text.endswith("look them up for each of the data sets above.\n")


def test_people_are_counted_where_they_were_trained_on(micro_store: MicroStore) -> None:
    store, people = micro_store.store, micro_store.ingest_key
    base = trained(store, "train_base", {"target": [["source/train", 0.5], ["scorer/train", 0.5]]}, [people], [ABSENT])
    pairs = scored_pairs(store, micro_store.scorer)
    aligned = trained(store, "align", REPLAYED | {"replay": "source/train"}, [people, pairs], [base])
    alone = trained(store, "align", {"train": {"replay": 0.0}, "replay": "source/train"}, [people, pairs], [base])
    line = ancestry(store, ModelDigest(aligned))
    assert [made.digest for made in line] == [ABSENT, base, micro_store.scorer, aligned]
    by_digest = {made.digest: made for made in line}
    assert by_digest[ModelDigest(base)].people == (
        People("scorer/train", 48, "labelled"),
        People("source/train", 48, "labelled"),
    )
    assert by_digest[ModelDigest(aligned)].people == (
        People("source/train", 48, "labelled"),
        People("mine/train", 2, "pairs"),
    )
    assert by_digest[ModelDigest(aligned)].choosers == (micro_store.scorer,)
    assert ancestry(store, ModelDigest(alone))[-1].people == (People("mine/train", 2, "pairs"),)

    card = model_card(store, ModelDigest(aligned))
    assert f"1. `{ABSENT}`: not of this store, which knows its digest alone." in card
    assert "aligned with pairs of winner and loser (objective dpo; beta 10, replay 1), 1,600 steps." in card
    assert f"   - chosen by the scores of `{micro_store.scorer[:12]}`\n" in card
    assert "   - source/train: 48 people, labelled\n   - mine/train: 2 people, pairs\n" in card


def test_figures_are_those_of_the_round_that_trained_it(micro_store: MicroStore) -> None:
    store = micro_store.store
    before, after = ModelDigest(micro_store.policy), ModelDigest(trained(store, "align", {}, [], [micro_store.policy]))
    evaluations = []
    for policy in (before, after):
        spec = stage("evaluate", {"generate": {"hypotheses": 5}}, models=(policy, ModelDigest(micro_store.scorer)))
        commit_rows(store, spec, {})
        evaluations.append(spec.key)
    change, wide = Interval(-10.0, -12.0, -8.0), Interval(-1.0, -3.0, 1.0)
    metrics = [
        Metric.of("best_of_m_mpvpe", "before", WILD_TEST, "mm", Interval(100.0, 95.0, 105.0), 12, before),
        Metric.of("best_of_m_mpvpe", "after", WILD_TEST, "mm", Interval(90.0, 85.0, 95.0), 12, after),
        Metric.of("best_of_m_mpvpe", "change", WILD_TEST, "%", change, 12, after),
        Metric.of("best_of_m_mpvpe", "change_random_pairs", WILD_TEST, "%", wide, 12),
        Metric.of("spearman_within_mpvpe", "before", WILD_TEST, "1", Interval(0.4, 0.3, 0.5), 11, before),
        Metric.of("spearman_within_mpvpe", "after", WILD_TEST, "1", Interval(0.2, 0.1, 0.3), 12, after),
    ]
    comparison = stage("compare", {"resamples": 1000, "controls": ["random_pairs"]}, [*evaluations, evaluations[0]])
    commit_rows(store, comparison, {"metrics": metrics_table(metrics, comparison)})
    published = stage("evaluate_published", {})
    of_paper = Metric.of("published_min_mpjpe", "3dpw", WILD_TEST, "mm", Interval(50.0, 49.0, 51.0), 12, before)
    commit_rows(store, published, {"metrics": metrics_table([of_paper], published)})

    card = model_card(store, after)
    assert "| measure | value | change against the policy before | random pairs | n |" in card
    row = "| best of 4 MPVPE | 90.0 mm [85.0, 95.0] | −10.0 % [−12.0, −8.0] | −1.0 % [−3.0, 1.0] | 12 |"
    assert row in card.replace("\u00a0", " ")
    assert "1,000 resamples" in card
    assert "- **best of M**" in card
    assert "- **random pairs**" in card
    assert "**MPJPE**" not in card
    first = model_card(store, before).replace("\u00a0", " ")
    assert "| measure | value | n |" in first
    assert "| best of 4 MPVPE | 100.0 mm [95.0, 105.0] | 12 |" in first
    assert "### wild/test, as published (3dpw)" in first
    assert "| published min mpjpe | 50.0 mm [49.0, 51.0] | 12 |" in first
    assert "`min` is the least over the hypotheses and two averages" in first
    assert "**MPJPE**" not in first  # of other joints than the engine's own
    of_scorer = model_card(store, ModelDigest(micro_store.scorer))
    assert "| Spearman within a person, MPVPE | 0.400 [0.300, 0.500] | 11 |" in of_scorer
    assert "best of" not in of_scorer
