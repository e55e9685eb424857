"""How far people agree, with each other and with the scorer that chose the pairs."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from infra.reviews import ACCEPT, SWAP, VERDICTS
from infra.store import Store
from infra.tables import read
from schemas.ids import StageKey
from tasks.review.verdicts import Frozen, Said, counts, majority
from tasks.review.work import units_of_rows

_THIRDS: Final = ("small", "middling", "large")
_LEAST_FOR_THIRDS: Final = 9
"""Judged pairs, below which a third of them says nothing."""


class Agreement(NamedTuple):
    """How often the verdicts of two reviewers of one pair are the same."""

    share: float
    """Of all couples of reviewers of one pair, 0 to 1; nan where no pair has two."""
    kappa: float
    """The same beyond chance: 1 is always, 0 as often as chance would have it; nan where chance alone agrees."""
    pairs: int
    """Pairs that two or more have reviewed."""
    reviewers: int
    """Of these pairs."""
    method: str
    """Cohen's kappa for two reviewers, Fleiss' for more."""


def agreement(said: Said) -> Agreement:
    """How far the reviewers of these pairs agree."""
    shared = [by for by in said.values() if len(by) > 1]
    names = sorted({name for by in shared for name in by})
    method = "Cohen's kappa" if len(names) <= 2 else "Fleiss' kappa"
    if not shared:
        return Agreement(np.nan, np.nan, 0, 0, method)
    votes = np.array([[list(by.values()).count(verdict) for verdict in VERDICTS] for by in shared], float)
    sizes = votes.sum(axis=1)
    couples = (sizes * (sizes - 1)).sum()
    same = float((votes * (votes - 1)).sum() / couples)
    if len(names) == 2:
        by_name = np.array([[[by[name] == verdict for verdict in VERDICTS] for name in names] for by in shared])
        first, second = by_name.mean(axis=0)
        chance = float(first @ second)
    else:
        chance = float(((votes.sum(axis=0) / sizes.sum()) ** 2).sum())
    kappa = (same - chance) / (1 - chance) if chance < 1 else np.nan
    return Agreement(same, kappa, len(shared), len(names), method)


class Figure(NamedTuple):
    """A number about reviews, for a report; `unit` is "count" or "none"."""

    name: str
    unit: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str = ""


def figures(store: Store, frozen: Frozen) -> list[Figure]:
    """What a round's report says of the reviews that it used."""
    found: list[Figure] = []
    if frozen.own is not None:
        own, done = frozen.own, counts(frozen.own.said)
        margins = _margins(store, own.pairs)
        whole = len(margins)
        found += [
            Figure("pairs that people judged", "count", done.judged, n=whole),
            Figure("pairs that people swapped", "count", done.swapped, n=done.judged),
            Figure("pairs that people rejected", "count", done.rejected, n=done.judged),
        ]
        if done.divided:
            found.append(Figure("pairs on which reviewers are divided", "count", done.divided, n=len(own.said)))
        if frozen.unjudged == "leave_out":
            left = whole - done.judged
            found.append(Figure("pairs left out, as not judged", "count", left, n=whole))
        found += _disagreement(own.said, margins)
    earlier = sum((counts(one.said).accepted + counts(one.said).swapped for one in frozen.earlier), 0)
    if earlier:
        rounds = ", ".join(str(one.round) for one in frozen.earlier)
        note = f"of rounds {rounds}; those of people who are sources of this round are trained on, too"
        found.append(Figure("pairs of earlier rounds that people accepted or swapped", "count", earlier, note=note))
    return found + _between_reviewers(frozen)


def _between_reviewers(frozen: Frozen) -> list[Figure]:
    every = [one for one in (frozen.own, *frozen.earlier) if one is not None]
    said = {f"{one.pairs} {unit}": by for one in every for unit, by in one.said.items()}
    names = {name for by in said.values() for name in by}
    found = agreement(said)
    if not found.pairs:
        if len(names) < 2:
            return []
        return [Figure("agreement between reviewers", "none", np.nan, n=0, note="no pair was judged by two of them")]
    what = f"{found.reviewers} reviewers; n: pairs that two or more of them judged"
    rows = [
        Figure(
            "agreement between reviewers", "none", found.share, *_interval(found.share, found.pairs), found.pairs, what
        )
    ]
    if np.isfinite(found.kappa):
        rows.append(Figure(found.method, "none", found.kappa, n=found.pairs, note="agreement beyond chance"))
    return rows


def _disagreement(said: Said, margins: dict[str, float]) -> list[Figure]:
    """How often people swapped a pair that they could judge: in all, and by thirds of the scorer's margin."""
    verdicts = {unit: majority(list(by.values())) for unit, by in said.items() if unit in margins}
    judged = [(margins[unit], verdict == SWAP) for unit, verdict in verdicts.items() if verdict in (ACCEPT, SWAP)]
    if not judged:
        return []
    every = [_share("disagreement with the scorer", judged, "swapped, of the pairs that people accepted or swapped")]
    scored = sorted((margin, swapped) for margin, swapped in judged if np.isfinite(margin))
    if len(scored) < _LEAST_FOR_THIRDS:
        return every
    for name, places in zip(_THIRDS, np.array_split(np.arange(len(scored)), len(_THIRDS)), strict=True):
        part = [scored[place] for place in places]
        note = f"margins from {part[0][0]:.3f} to {part[-1][0]:.3f}"
        every.append(_share(f"disagreement with the scorer, {name} margins", part, note))
    return every


def _share(name: str, judged: Sequence[tuple[float, bool]], note: str) -> Figure:
    share = sum(swapped for _, swapped in judged) / len(judged)
    return Figure(name, "none", share, *_interval(share, len(judged)), len(judged), note)


def _interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count`."""
    from scipy.stats import binomtest

    interval = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _margins(store: Store, pairs: StageKey) -> dict[str, float]:
    rows = read(store, "pairs", stage_keys=[pairs], columns=["instance_id", "winner", "loser", "margin"])
    margins = [np.nan if margin is None else margin for margin in rows.column("margin").to_pylist()]
    return dict(zip(units_of_rows(rows), margins, strict=True))
