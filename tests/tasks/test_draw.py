"""Draw: the pairs and scores of a round that keeps every hypothesis, without keeping them; whatever is killed when."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest

import flows.api
import tasks.draw
import tasks.generate
from infra import faults
from infra.store import Store
from infra.tables import read
from schemas.config.stages import PairConfig
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey, Target
from schemas.progress import SilentProgress
from schemas.splits import SOURCE_TRAIN, WILD_TRAIN
from schemas.tables import LABEL_AS_SAMPLE
from tasks.draw import NOT_DRAWN
from tasks.engine.context import Context
from tasks.regenerate import generation_of, hypotheses_at, regenerate
from tasks.rows.drawn import everybody
from tasks.rows.hypotheses import Hypotheses
from tasks.stages.draw import Draw, Kept, PairDrawn, kept_of_each
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair, control_of
from tasks.stages.score import Score
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow
PAIRS = PairConfig(pairs_per_instance=2, label_wins_share=0.5)
OF_THE_STAGE = ("pair_set", "generation_id", "stage_key")


@dataclass
class Heard(SilentProgress):
    said: list[str]

    def say(self, text: str) -> None:
        self.said.append(text)


class Thrifty(NamedTuple):
    """A draw, its pairs and those of its control."""

    draw: Draw
    pair: PairDrawn
    control: PairDrawn


def stages(held: MicroStore, keep: Kept, target: Target = WILD_TRAIN, pair: PairConfig = PAIRS) -> Thrifty:
    ingests, context = (StageKey(held.ingest_key),), in_round(held)
    models = ModelDigest(held.policy), ModelDigest(held.scorer)
    draw = Draw(ingests, (target,), *models, micro.CONFIG.generate, pair, keep, 1)
    key = draw.key(context)
    return Thrifty(draw, PairDrawn(key, key, pair, ingests), PairDrawn(key, key, control_of(pair), ingests))


def in_round(held: MicroStore) -> Context:
    return replace(held.context, round=1)


def rows(held: MicroStore, table: str, key: str, without: Sequence[str] = OF_THE_STAGE) -> list[dict[str, Any]]:
    """The rows of a stage, but for what names it."""
    found = read(held.store, table, stage_keys=[StageKey(key)])
    every: list[dict[str, Any]] = found.drop_columns(
        [name for name in without if name in found.column_names]
    ).to_pylist()
    return sorted(
        every, key=lambda row: [row.get(name, 0) for name in ("instance_id", "winner", "loser", "sample_index")]
    )


class Whole(NamedTuple):
    """The same with every hypothesis kept."""

    hypotheses: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    control: list[dict[str, Any]]
    bytes: int
    """Of hypotheses and scores."""


def whole(held: MicroStore, target: Target = WILD_TRAIN, pair: PairConfig = PAIRS) -> Whole:
    context, ingests = in_round(held), (StageKey(held.ingest_key),)
    drawn = Generate(ingests, (target,), ModelDigest(held.policy), micro.CONFIG.generate, 1).run(context)
    scored = Score(drawn.key, ingests, ModelDigest(held.scorer)).run(context)
    pairs, control = (
        Pair(drawn.key, scored.key, config, ingests).run(context).key for config in (pair, control_of(pair))
    )
    return Whole(
        rows(held, "hypotheses", drawn.key),
        rows(held, "scores", scored.key),
        rows(held, "pairs", pairs),
        rows(held, "pairs", control),
        drawn.record.bytes["hypotheses"] + scored.record.bytes["scores"],
    )


def not_again(*_: Any, **__: Any) -> None:
    raise AssertionError("hypotheses were drawn a second time")


@pytest.mark.parametrize(("keep", "target"), [("extremes", SOURCE_TRAIN), ("none", WILD_TRAIN)])
def test_pairs_and_scores_are_those_of_all_hypotheses(
    micro_store: MicroStore, keep: Kept, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of people with labels and without: the same rows to the last bit, and what is kept is the pairs' own."""
    expected, context = whole(micro_store, target), in_round(micro_store)
    draw, pair, control = stages(micro_store, keep, target)
    monkeypatch.setattr(tasks.draw, "sampler_of", not_again)
    drawn, paired, of_control = (stage.run(context) for stage in (draw, pair, control))
    assert rows(micro_store, "scores", drawn.key) == expected.scores
    assert rows(micro_store, "pairs", paired.key) == expected.pairs
    assert rows(micro_store, "pairs", of_control.key) == expected.control
    labels = {row["instance_id"] for row in expected.pairs if row["winner"] == LABEL_AS_SAMPLE}
    assert bool(labels) is (target == SOURCE_TRAIN)
    sides = [(row["instance_id"], row[side]) for row in expected.pairs for side in ("winner", "loser")]
    taken = {name for name in sides if name[1] != LABEL_AS_SAMPLE} if keep == "extremes" else set()
    kept = [row for row in expected.hypotheses if (row["instance_id"], row["sample_index"]) in taken]
    assert rows(micro_store, "hypotheses", drawn.key) == kept
    assert drawn.record.tally.ok == paired.record.tally.total
    config = micro.CONFIG.model_copy(
        update={"pair": PAIRS, "hypotheses": micro.CONFIG.hypotheses.model_copy(update={"keep": keep})}
    )
    assert len(kept) <= kept_of_each(config) * drawn.record.units_in
    if keep == "none":
        written = sum(drawn.record.bytes.get(table, 0) for table in ("hypotheses", "scores"))
        assert written < 0.25 * expected.bytes


def test_bytes_do_not_grow_with_hypotheses_that_are_not_kept(micro_store: MicroStore) -> None:
    """With four times as many hypotheses, those of a pair are as many as ever; scores take a few bytes each."""
    config = micro.CONFIG.generate.model_copy(update={"hypotheses": 20})
    one = PairConfig(pairs_per_instance=1)
    few, many = (
        replace(stages(micro_store, "extremes", pair=one).draw, config=made).run(in_round(micro_store)).record
        for made in (micro.CONFIG.generate, config)
    )
    assert few.rows["hypotheses"] == many.rows["hypotheses"] == 2 * 24
    assert (few.rows["scores"], many.rows["scores"]) == (5 * 24, 20 * 24)
    assert many.bytes["hypotheses"] < 1.05 * few.bytes["hypotheses"]
    assert many.bytes["hypotheses"] + many.bytes["scores"] < 0.25 * 20 / 5 * whole(micro_store, pair=one).bytes


def test_what_is_not_found_is_drawn_once_more(micro_store: MicroStore) -> None:
    """A shard that went; and pairs by another rule, of which the draw knew nothing."""
    expected, context = whole(micro_store), in_round(micro_store)
    draw, pair, _ = stages(micro_store, "none")
    drawn = draw.run(context)
    heard = Heard([])
    lost = f"shards/{pair.key(context)}/00001.json"
    assert micro_store.store.exists(lost)
    micro_store.store.remove(lost)
    paired = pair.run(replace(context, progress=heard))
    assert rows(micro_store, "pairs", paired.key) == expected.pairs
    (said,) = (text for text in heard.said if "once more" in text)
    of_it = f"pair: of draw {drawn.key[:12]} no hypotheses were kept"
    assert said == f"{of_it}, so the hypotheses of 1 of 3 shards are drawn once more"

    other = PairConfig(strategy="random", pairs_per_instance=1, seed=5)
    again = PairDrawn(drawn.key, drawn.key, other, pair.ingests).run(context)
    everything = Generate(pair.ingests, (WILD_TRAIN,), draw.policy, draw.config, 1).key(context)
    of_all = Pair(everything, Score(everything, pair.ingests, draw.scorer).key(context), other).run(context)
    assert rows(micro_store, "pairs", again.key) == rows(micro_store, "pairs", of_all.key)


def test_a_last_shard_of_one_person_is_drawn_once(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ingests, context, heard = (StageKey(micro_store.ingest_key),), in_round(micro_store), Heard([])
    of_23 = micro.CONFIG.generate.model_copy(update={"shard_size": 23})
    draw = replace(stages(micro_store, "none").draw, config=of_23)
    monkeypatch.setattr(tasks.draw, "sampler_of", not_again)
    drawn = draw.run(context)
    paired = PairDrawn(drawn.key, drawn.key, PAIRS, ingests).run(replace(context, progress=heard))
    assert (drawn.shards_done, paired.shards_found, paired.shards_done) == (2, 2, 0)
    assert [text for text in heard.said if "once more" in text] == []
    assert paired.record.tally.ok == 24


def test_a_single_step_makes_no_control(micro_store: MicroStore) -> None:
    draw, _, control = stages(micro_store, "none")
    assert [one.config for one in draw.pairings(in_round(micro_store))] == [PAIRS, control.config]
    assert [one.config for one in draw.pairings(micro_store.context)] == [PAIRS]


class Killed(BaseException):
    """What a test dies of: no `except Exception` sees it."""


def test_killed_at_every_point_it_ends_with_the_same_rows(
    micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run dies where none has died before, in the store that those have left."""
    expected, context = whole(micro_store), in_round(micro_store)
    thrifty, died = stages(micro_store, "extremes"), set()

    def reach(point: str) -> None:
        if point not in died:
            died.add(point)
            raise Killed(point)

    monkeypatch.setattr(faults, "reach", reach)
    done = False
    while not done:
        context = replace(context, store=Store.at(micro_store.store.url))
        with suppress(Killed):
            for stage in thrifty:
                stage.run(context)
            done = True
    assert died >= {
        *(f"{point}:{name}" for point in ("begin", "shards") for name in ("draw", "pair")),
        *(f"{point}:{table}" for point in ("shard-file", "commit") for table in ("hypotheses", "scores", "pairs")),
        *("shard:draw", "append:stages", "file:shards", "file:tables", "committed:pair"),
    }
    assert "shard:pair" not in died, "the draw does the shards of the pairings"
    assert rows(micro_store, "scores", thrifty.draw.key(context)) == expected.scores
    for stage, pairs in ((thrifty.pair, expected.pairs), (thrifty.control, expected.control)):
        assert rows(micro_store, "pairs", stage.key(context)) == pairs


def test_who_fails_in_the_draw_is_filtered_in_the_pairs(
    micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, call = "wild/train/00000005#0", tasks.generate.HypothesisSampler.__call__

    def spoiled(self: Any, ids: Sequence[str], *arguments: Any) -> Hypotheses:
        made = call(self, ids, *arguments)
        made.uvd[[row for row, name in enumerate(ids) if name == victim], 1, 5, 2] = np.nan
        return made

    monkeypatch.setattr(tasks.generate.HypothesisSampler, "__call__", spoiled)
    draw, pair, _ = stages(micro_store, "none")
    drawn, paired = draw.run(in_round(micro_store)), pair.run(in_round(micro_store))
    assert (drawn.record.tally.ok, drawn.record.tally.failed) == (23, 1)
    assert (paired.record.tally.ok, paired.record.tally.filtered, paired.record.tally.failed) == (23, 1, 0)
    failures = read(micro_store.store, "failures").to_pylist()
    assert {(row["stage"], row["id"], row["outcome"], row["reason"]) for row in failures} == {
        ("draw", victim, "failed", "not finite"),
        ("pair", victim, "filtered", NOT_DRAWN),
    }
    assert victim not in everybody(micro_store.store, drawn.key)


def test_a_person_who_raises_costs_nobody_else(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard that raised is tried person by person: none of these counts as the shard of the pairing."""
    victim, load = "wild/train/00000005#0", tasks.draw.load_instances
    expected = [row for row in whole(micro_store).pairs if row["instance_id"] != victim]

    def fails(store: Any, ingests: Any, ids: Sequence[str], *more: Any) -> Any:
        if victim in ids and len(more) == 0:
            raise RuntimeError("a bad crop")
        return load(store, ingests, ids, *more)

    draw, pair, _ = stages(micro_store, "none")
    monkeypatch.setattr(tasks.draw, "load_instances", fails)
    drawn = draw.run(in_round(micro_store))
    assert (drawn.record.tally.ok, drawn.record.tally.failed) == (23, 1)
    monkeypatch.undo()
    paired = pair.run(in_round(micro_store))
    assert (paired.record.tally.ok, paired.record.tally.filtered) == (23, 1)
    assert rows(micro_store, "pairs", paired.key) == expected


def test_any_hypothesis_can_be_made_again(micro_store: MicroStore) -> None:
    """One by `regenerate`, bit by bit; those of pictures together, rows where there are some."""
    expected = {(row["instance_id"], row["sample_index"]): row for row in whole(micro_store).hypotheses}
    drawn = stages(micro_store, "extremes").draw.run(in_round(micro_store))
    names = sorted({name for name, _ in expected})
    record = generation_of(micro_store.store, names[0], drawn.key[:12])
    seen = set()
    for number, (name, sample) in enumerate(sorted(expected)):
        if number % 11 == 0:
            made = regenerate(micro_store.store, record, name, sample, "tiny")
            assert made.uvd.ravel().tolist() == expected[name, sample]["uvd"]
            assert made.root_depth_m == expected[name, sample]["root_depth_m"]
            seen.add(made.row)
    assert seen == {"equal", "not kept"}
    wanted = np.array([[0, 3], [4, 0], [2, 2]])
    ids = [names[7], names[2], names[7]]
    together = hypotheses_at(micro_store.store, drawn.key, ids, wanted, "tiny")
    assert together.uvd.shape == (3, 2, 29, 3)
    for row, name in enumerate(ids):
        for place, sample in enumerate(wanted[row].tolist()):
            of_row = np.array(expected[name, sample]["uvd"])
            np.testing.assert_allclose(together.uvd[row, place].ravel(), of_row, atol=1e-5)
            assert together.root_depth[row, place] == pytest.approx(expected[name, sample]["root_depth_m"], abs=1e-5)


def test_notebooks_show_hypotheses_that_were_not_kept(micro_store: MicroStore) -> None:
    kept = Generate(
        (StageKey(micro_store.ingest_key),), (WILD_TRAIN,), ModelDigest(micro_store.policy), micro.CONFIG.generate, 1
    ).run(in_round(micro_store))
    draw, pair, _ = stages(micro_store, "none")
    drawn, pairs = draw.run(in_round(micro_store)), pair.run(in_round(micro_store))
    opened = flows.api.open(micro_store.store.url)
    row = next(one for one in rows(micro_store, "pairs", pairs.key) if one["winner"] > LABEL_AS_SAMPLE)
    person = row["instance_id"]
    winner, loser = opened.pair(person, pairs.key)
    assert winner.tobytes() != loser.tobytes()
    newest = opened.overlay(person, row["loser"])
    again, of_row = (opened.overlay(person, row["loser"], one.key[:12]) for one in (drawn, kept))
    assert newest.tobytes() == again.tobytes()
    np.testing.assert_allclose(np.asarray(again, float), np.asarray(of_row, float), atol=8)


def test_rows_that_should_be_there_are_not_made_up(micro_store: MicroStore) -> None:
    key = (
        Generate((StageKey(micro_store.ingest_key),), (WILD_TRAIN,), micro_store.policy, micro.CONFIG.generate)
        .run(micro_store.context)
        .key
    )
    with pytest.raises(DataError, match=f"The stage {key[:12]} holds no hypothesis 0 of wild/train/nobody#0"):
        hypotheses_at(micro_store.store, key, ["wild/train/nobody#0"], np.array([[0]]), "tiny")
