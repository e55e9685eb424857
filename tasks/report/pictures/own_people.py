"""The people that a round learned from, as pictures: winners and losers, the best and the worst by score, before and
after.

Who is shown follows from names, scores and margins alone, so a page that is written again shows the same. What is no
longer in the store is said in the place of the pictures; the page is written all the same.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow.compute as pc
import torch

from infra.stages import find
from infra.store import Store
from infra.tables import read
from models.bodies import Body, load_body
from models.metrics import mpvpe_mm
from models.recovery import RecoveredBody
from schemas.config.engine import EngineConfig
from schemas.errors import EngineError, StoreError
from schemas.ids import ModelDigest, StageKey
from schemas.tables import LABEL_AS_SAMPLE
from tasks.generate import HypothesisSampler
from tasks.regenerate import hypotheses_at
from tasks.report.content import Gallery, Strip, View
from tasks.report.facts import RoundFacts
from tasks.report.pictures.overlays import LABEL_COLOUR, POLICY_COLOUR, label_meshes
from tasks.report.pictures.photographs import draw_over, photographs
from tasks.report.pictures.winners import ORDER, shown_pairs, spread
from tasks.rows.drawn import everybody
from tasks.rows.instances import Instances, load_instances
from tasks.rows.models import load_policy

_PAIRS: Final = 5
_EACH_END: Final = 3
"""People with the highest and with the lowest scores."""
_PHOTOGRAPHS: Final = 6
NO_LABEL: Final = "No label says which of the two is right."


def own_people(store: Store, config: EngineConfig, facts: RoundFacts) -> list[Gallery]:
    """What a page shows of the people whose hypotheses or pseudo-labels a round has made; nothing if it made none."""
    drawn = facts.drawn or facts.key("pseudo_label") or facts.key("swap_labels") or facts.key("given_labels")
    if drawn is None:
        return []
    galleries = []
    if facts.kind == "dpo":
        winners = _gallery(
            "Winners and losers",
            f"Pairs of this round {ORDER}: winners in green, losers in red.",
            partial(_winners_and_losers, store, config, facts, drawn),
        )
        galleries.append(winners)
    galleries.append(_by_score(store, config, facts, drawn))
    if facts.policy_after is not None:
        before_and_after = _gallery(
            "Before and after",
            f"{_PHOTOGRAPHS} people, evenly spread over the names of each data set, whatever their results; the body "
            f"from zero noise by the policy before and by the one that was trained. {NO_LABEL} The distance is the "
            "mean over vertices, with the pelvises laid together.",
            partial(_before_and_after, store, config, facts, drawn, facts.policy_after),
        )
        galleries.append(before_and_after)
    return galleries


def _gallery(title: str, note: str, make: Callable[[], list[Strip]]) -> Gallery:
    """What `make` makes; or, where the store no longer has what it takes, the reason."""
    try:
        return Gallery(title, note, make())
    except EngineError as error:
        return Gallery(title, note, missing=f"These people can't be shown any more: {error}")


def _winners_and_losers(store: Store, config: EngineConfig, facts: RoundFacts, drawn: StageKey) -> list[Strip]:
    keys = [_finished(store, key) for key in facts.own_pairs()]
    if not keys:
        return []
    pairs = shown_pairs(store, config, _ingests(store, drawn), keys, _PAIRS)
    middle = {1: "median"} if len(pairs) == 3 else {2: "median"} if len(pairs) == _PAIRS else {}
    named = {len(pairs) - 1: "smallest", 0: "largest"} | middle
    return [
        Strip(
            pair.instance_id,
            (
                View(pair.photo, "photograph"),
                View(pair.winner, "winner", _score(pair.winner_score)),
                View(pair.loser, "loser", _score(pair.loser_score)),
            ),
            f"{named[place]} margin, {pair.margin:.3f}" if place in named else f"margin {pair.margin:.3f}",
        )
        for place, pair in enumerate(pairs)
    ]


def _by_score(store: Store, config: EngineConfig, facts: RoundFacts, drawn: StageKey) -> Gallery:
    what = "pseudo-label" if facts.kind == "clean" else "body from zero noise"
    return _gallery(
        "Best and worst by score",
        f"The {_EACH_END} people whose {what} has the highest score, and the {_EACH_END} with the lowest.",
        partial(_best_and_worst, store, config, facts, drawn),
    )


def _best_and_worst(store: Store, config: EngineConfig, facts: RoundFacts, drawn: StageKey) -> list[Strip]:
    labels = facts.kind == "clean"
    legs = [facts] if labels else facts.legs()
    keys = [key for leg in legs if (key := leg.key("score_labels") if labels else leg.scored) is not None]
    if not keys:
        return []
    sample = LABEL_AS_SAMPLE if labels else 0
    rows = read(
        store,
        "scores",
        stage_keys=[_finished(store, key) for key in keys],
        where=pc.field("sample_index") == sample,
        columns=["instance_id", "score", "generation_id"],
    ).to_pylist()
    if not rows:
        return []
    rows.sort(key=lambda row: (-row["score"], row["instance_id"]))
    places = sorted({*range(len(rows))[:_EACH_END], *range(len(rows))[-_EACH_END:]})
    ranked = {rows[place]["instance_id"]: (place + 1, rows[place]["score"]) for place in places}
    ids = sorted(ranked)
    body, kept = load_body(config.body), _kept(store, facts)
    if labels:
        people = load_instances(store, _ingests(store, drawn), ids, [drawn])
        meshes = label_meshes(people, body)
    else:
        people = load_instances(store, _ingests(store, drawn), ids)
        meshes = {}
        drawn_by = {row["instance_id"]: row["generation_id"] for row in rows if row["instance_id"] in ranked}
        for generation in sorted(set(drawn_by.values())):
            names = [name for name in ids if drawn_by[name] == generation]
            of_zero = hypotheses_at(store, generation, names, np.zeros((len(names), 1), np.int64), config.body)
            theirs = np.array([ids.index(name) for name in names])
            bodies = of_zero.bodies(body, people, theirs, config.root_solver)
            meshes |= dict(zip(names, bodies.camera_vertices.numpy(), strict=True))
    photos, colour = photographs(store, _ingests(store, drawn), people), LABEL_COLOUR if labels else POLICY_COLOUR
    strips = []
    for name, (rank, score) in ranked.items():
        row = ids.index(name)
        view = draw_over(photos[row], people, row, body, colour, meshes.get(name))
        shown = "pseudo-label" if labels else "zero noise"
        note = f"rank {rank:,} of {len(rows):,}" + ("" if kept is None else ", kept" if name in kept else ", dropped")
        strips.append(Strip(name, (View(photos[row], "photograph"), View(view, shown, _score(score))), note))
    return strips


def _before_and_after(
    store: Store, config: EngineConfig, facts: RoundFacts, drawn: StageKey, policy_after: ModelDigest
) -> list[Strip]:
    every = _people_of(store, facts, drawn)
    if not every:
        return []
    chosen = sorted(_over_data_sets(every, _PHOTOGRAPHS))
    people = load_instances(store, _ingests(store, drawn), chosen)
    body, photos = load_body(config.body), photographs(store, _ingests(store, drawn), people)
    before, after = (_zero_noise(store, config, people, body, digest) for digest in (facts.policy_before, policy_after))
    roots = before.joints[:, 0], after.joints[:, 0]
    moved = mpvpe_mm(after.vertices, before.vertices, roots[1], roots[0]).tolist()
    view = partial(draw_over, people=people, body=body, colour=POLICY_COLOUR)
    return [
        Strip(
            name,
            (
                View(photos[row], "photograph"),
                *(
                    View(view(photos[row], row=row, mesh=bodies.camera_vertices[row].numpy()), words)
                    for bodies, words in ((before, "before"), (after, "after"))
                ),
            ),
            f"{moved[row]:.1f} mm apart",
        )
        for row, name in enumerate(people.ids)
    ]


@torch.no_grad()
def _zero_noise(
    store: Store, config: EngineConfig, people: Instances, body: Body, policy: ModelDigest
) -> RecoveredBody:
    """The bodies of all the people that a policy of the store draws from zero noise."""
    draw = HypothesisSampler(load_policy(store, policy), config.generate, body, samples=[0])
    hypotheses = draw(people.ids, people.crops, people.crop_intrinsics, people.root_depth)
    return hypotheses.bodies(body, people, np.arange(len(people)), config.root_solver)


def _people_of(store: Store, facts: RoundFacts, drawn: StageKey) -> list[str]:
    """All whom the round has hypotheses or labels of, sorted."""
    if facts.kind == "dpo":
        legs = [key for leg in facts.legs() if (key := leg.drawn) is not None]
        return sorted(name for key in legs for name in everybody(store, _finished(store, key)))
    return sorted(
        read(store, "labels", stage_keys=[_finished(store, drawn)], columns=["instance_id"]).column(0).to_pylist()
    )


def _over_data_sets(ids: Sequence[str], most: int) -> Iterator[str]:
    """Up to `most` of the sorted ids, as many of each split as of any other, spread over its names."""
    splits = [list(names) for _, names in groupby(ids, key=lambda name: name.split("/", 2)[:2])]
    for names in splits:
        yield from (names[place] for place in spread(len(names), max(1, most // len(splits))))


def _kept(store: Store, facts: RoundFacts) -> set[str] | None:
    """Whose pseudo-labels were kept; None where none were chosen."""
    key = facts.key("keep")
    if key is None or find(store, key) is None:
        return None
    return set(read(store, "labels", stage_keys=[key], columns=["instance_id"]).column(0).to_pylist())


def _ingests(store: Store, drawn: StageKey) -> list[StageKey]:
    """The ingests of the people whom the stage `drawn` was for."""
    record = find(store, _finished(store, drawn))
    assert record is not None
    return [StageKey(key) for key in record.reads]


def _finished(store: Store, key: StageKey) -> StageKey:
    """The key, if its stage is finished. StoreError where it is no longer."""
    if find(store, key) is None:
        raise StoreError(f"the rows of stage {key[:12]} are not in {store.url} any more.")
    return key


def _score(score: float | None) -> str:
    return "" if score is None else f"score {score:.3f}"
