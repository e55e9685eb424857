"""Whether a scorer's image encoder may compute in bfloat16: only where that leaves the order of hypotheses as it is.

Each scorer is measured on people whom the stage is about to score; the finding is kept in the store.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from infra.store import Store
from models.statistics import within_spearman
from schemas.errors import ConfigError
from schemas.ids import ModelDigest
from tasks.half_encoder import finding

LIMIT = 0.995
"""Least rank correlation within an image, the mean over people, with the scores of 32 bits."""
HYPOTHESES = 10
"""Of a person, at most."""


class Posed(NamedTuple):
    """Crops (N, S, S, 3), and hypotheses of the people in them: uvd (N, M, 29, 3), twists (N, M, 23, 2), betas
    (N, M, 10)."""

    crops: np.ndarray
    uvd: np.ndarray
    twists: np.ndarray
    betas: np.ndarray


class Scores(Protocol):
    """Scores hypotheses."""

    def __call__(self, crops: np.ndarray, uvd: np.ndarray, twists: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """(N, M); NaN where a score is not finite."""


def check_half_scorer(
    half: Scores,
    full: Scores,
    store: Store,
    scorer: ModelDigest,
    about: Mapping[str, Any],
    some: Callable[[], Posed],
) -> None:
    """ConfigError unless the scorer ranks `some` hypotheses, which `about` names, with 16 bits as `full` does with 32.

    Where there is one hypothesis of each person, it is people who are ranked.
    """
    found = finding(store, {"scorer": scorer, **about}, "spearman", lambda: agreement(half, full, some()))
    if not found >= LIMIT:
        raise ConfigError(
            f"score.encoder_precision=bfloat16 would change how scorer {scorer[:12]} ranks hypotheses: its scores have "
            f"a rank correlation of {found:.4f} with those in float32, and {LIMIT:g} is the least that is allowed. Set "
            "score.encoder_precision=float32; score.precision=bfloat16, of the decoder, may stay."
        )


def agreement(half: Scores, full: Scores, some: Posed) -> float:
    """Mean over people of the rank correlation of the scores that their hypotheses get by both."""
    first = slice(None), slice(HYPOTHESES)
    shown = some.uvd[first], some.twists[first], some.betas[first]
    scores = np.stack([score(some.crops, *shown) for score in (half, full)])
    scores = scores[:, np.isfinite(scores).all(axis=(0, 2))]
    if scores.shape[2] == 1:
        scores = scores.swapaxes(1, 2)
    return within_spearman(scores[0], -scores[1]).value
