"""The people that a round learned from: who is shown, with which numbers; and what is said where they are gone."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pytest

from flows.run.round_artifacts import pairs as pairs_artifact
from infra.repair import retire
from infra.stages import find
from infra.store import Store
from infra.tables import read
from schemas.ids import ModelDigest, StageKey
from schemas.splits import WILD_TRAIN
from tasks.engine.context import Context
from tasks.report.content import Gallery
from tasks.report.facts import RoundFacts, StageRun
from tasks.report.fill import fill_round
from tasks.report.page import report_html
from tasks.report.pictures.own_people import NO_LABEL, own_people
from tasks.rows.models import model_path
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
from tasks.stages.draw import Draw, Kept, PairDrawn
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow
CONFIG = micro.CONFIG


class Made(NamedTuple):
    context: Context
    dpo: RoundFacts
    clean: RoundFacts


@pytest.fixture(scope="module")
def made(shared_micro_store: MicroStore, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A round of each kind up to what is trained on, and another policy in the place of one that was trained."""
    shutil.copytree(shared_micro_store.store.root, folder := tmp_path_factory.mktemp("own") / "store")
    context = Context(Store.open(folder), CONFIG, in_process=True)
    ingests = (StageKey(shared_micro_store.ingest_key),)
    policy, scorer = ModelDigest(shared_micro_store.policy), ModelDigest(shared_micro_store.scorer)
    drawn = Generate(ingests, (WILD_TRAIN,), policy, CONFIG.generate, 1).run(context).key
    scores = Score(drawn, ingests, scorer).run(context).key
    pairs = Pair(drawn, scores, CONFIG.pair, ingests).run(context).key
    guessed = PseudoLabel(ingests, (WILD_TRAIN,), policy).run(context).key
    of_labels = ScoreLabels(guessed, ingests, scorer).run(context).key
    kept = Keep(guessed, of_labels).run(context).key
    after = ModelDigest(micro.untrained(context.store, "policy", seed=2))
    dpo = RoundFacts(
        "dpo",
        "micro",
        1,
        policy,
        after,
        policy,
        scorer,
        tuple(StageRun(*run) for run in _runs(generate=drawn, score=scores, pair=pairs)),
    )
    runs = tuple(StageRun(*run) for run in _runs(pseudo_label=guessed, score_labels=of_labels, keep=kept))
    return Made(context, dpo, replace(dpo, kind="clean", number=2, runs=runs))


def _runs(**keys: StageKey) -> list[tuple[str, str, StageKey, str]]:
    return [(name, "", key, "run") for name, key in keys.items()]


def galleries(made: Made, facts: RoundFacts) -> dict[str, Gallery]:
    return {gallery.title: gallery for gallery in own_people(made.context.store, CONFIG, facts)}


@pytest.fixture(scope="module")
def shown(made: Made) -> dict[str, Gallery]:
    """What the page of the DPO round shows."""
    return galleries(made, made.dpo)


def test_pairs_from_the_largest_margin_to_the_smallest(made: Made, shown: dict[str, Gallery]) -> None:
    strips = shown["Winners and losers"].strips
    rows = {row["instance_id"]: row for row in read(made.context.store, "pairs").to_pylist()}
    margins = sorted((row["margin"] for row in rows.values()), reverse=True)
    chosen = [rows[strip.instance_id] for strip in strips]
    places = np.linspace(0, len(margins) - 1, 5).round().astype(int)
    assert [row["margin"] for row in chosen] == [margins[place] for place in places]
    names = ["largest margin, ", "margin ", "median margin, ", "margin ", "smallest margin, "]
    assert [strip.note for strip in strips] == [
        f"{name}{row['margin']:.3f}" for name, row in zip(names, chosen, strict=True)
    ]
    for strip, row in zip(strips, chosen, strict=True):
        photo, winner, loser = strip.views
        assert [winner.number, loser.number] == [f"score {row[side]:.3f}" for side in ("winner_score", "loser_score")]
        assert photo.picture.shape == winner.picture.shape == loser.picture.shape == (256, 256, 3)


def test_best_and_worst_by_what_the_policy_answers(made: Made, shown: dict[str, Gallery]) -> None:
    strips = shown["Best and worst by score"].strips
    rows = read(made.context.store, "scores", stage_keys=[made.dpo.key("score") or ""]).to_pylist()
    of_zero = sorted((-row["score"], row["instance_id"]) for row in rows if row["sample_index"] == 0)
    chosen = [*of_zero[:3], *of_zero[-3:]]
    assert [strip.instance_id for strip in strips] == [name for _, name in chosen]
    assert [strip.views[1].number for strip in strips] == [f"score {-score:.3f}" for score, _ in chosen]
    assert strips[0].note == f"rank 1 of {len(of_zero)}"


def test_before_and_after_are_two_policies_on_the_same_people(made: Made, shown: dict[str, Gallery]) -> None:
    gallery = shown["Before and after"]
    assert NO_LABEL in gallery.note
    assert len(gallery.strips) == 6
    ids = sorted({row["instance_id"] for row in read(made.context.store, "hypotheses").to_pylist()})
    assert (gallery.strips[0].instance_id, gallery.strips[-1].instance_id) == (ids[0], ids[-1])
    assert all(float(strip.note.split()[0]) > 0 for strip in gallery.strips)
    again = galleries(made, replace(made.dpo, policy_after=made.dpo.policy_before))["Before and after"]
    for strip, earlier in zip(again.strips, gallery.strips, strict=True):
        assert strip.note == "0.0 mm apart"
        assert np.array_equal(strip.views[1].picture, strip.views[2].picture)
        assert np.array_equal(strip.views[1].picture, earlier.views[1].picture), "written again, it is the same"


def test_a_cleaning_round_tells_who_was_kept(made: Made) -> None:
    of_clean = galleries(made, made.clean)
    assert list(of_clean) == ["Best and worst by score", "Before and after"]
    kept = read(made.context.store, "labels", stage_keys=[made.clean.key("keep") or ""]).column("instance_id")
    strips = of_clean["Best and worst by score"].strips
    for strip in strips:
        assert strip.note.endswith("kept" if strip.instance_id in kept.to_pylist() else "dropped")
    assert (strips[0].note.rpartition(", ")[2], strips[-1].note.rpartition(", ")[2]) == ("kept", "dropped")
    assert len(of_clean["Before and after"].strips) == 6


def test_a_round_that_trained_nothing_shows_its_pairs(made: Made) -> None:
    without = galleries(made, replace(made.dpo, policy_after=None))
    assert {title: len(gallery.strips) for title, gallery in without.items()} == {
        "Winners and losers": 5,
        "Best and worst by score": 6,
    }


@pytest.mark.parametrize("keep", ["extremes", "none"])
def test_what_a_draw_did_not_keep_is_shown_all_the_same(made: Made, shown: dict[str, Gallery], keep: Kept) -> None:
    context, dpo = replace(made.context, round=1), made.dpo
    ingests = tuple(find(context.store, dpo.runs[0].key).reads)  # type: ignore[union-attr]
    models = dpo.policy_before, dpo.scorer
    draw = Draw(ingests, (WILD_TRAIN,), *models, CONFIG.generate, CONFIG.pair, keep, 1).run(context).key
    pairs = PairDrawn(draw, draw, CONFIG.pair, ingests).run(context).key
    runs = tuple(StageRun(*run) for run in _runs(draw=draw, pair=pairs))
    thrifty = galleries(made, replace(dpo, runs=runs))
    assert list(thrifty) == list(shown)
    for title, gallery in thrifty.items():
        assert gallery.missing == ""
        for strip, of_all in zip(gallery.strips, shown[title].strips, strict=True):
            assert (strip.instance_id, strip.note) == (of_all.instance_id, of_all.note)
            for view, other in zip(strip.views, of_all.views, strict=True):
                assert np.abs(view.picture.astype(int) - other.picture.astype(int)).mean() < 0.01
    artifact = pairs_artifact(context.store, CONFIG, replace(dpo, runs=runs))
    assert artifact is not None
    assert str(artifact.data).startswith("data:image/jpeg;base64,")


def test_what_is_gone_is_said_and_the_page_is_written(made: Made) -> None:
    """The last test of this store: it takes from it."""
    store = made.context.store
    assert made.dpo.policy_after is not None
    store.remove(model_path(made.dpo.policy_after))
    page = _page(store, made.dpo)
    assert f"can&#39;t be shown any more: There is no model {made.dpo.policy_after[:12]}" in page
    assert page.count("<figcaption>") == 11
    for run in made.dpo.runs:
        retire(store, run.key)
    page = _page(store, made.dpo)
    assert page.count("can&#39;t be shown any more: the rows of stage") == 3
    assert page.count("<figcaption>") == 0
    assert own_people(store, CONFIG, replace(made.dpo, runs=())) == []


def _page(store: Store, facts: RoundFacts) -> str:
    return report_html(fill_round(store, CONFIG, facts, datetime(2026, 3, 14, tzinfo=UTC)))
