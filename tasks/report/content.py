"""Everything that a round's page shows, as plain values: strings, numbers, lists, arrays.

Who fills a `RoundReport` reads the tables; who draws it (`page`) never does. The same page serves DPO rounds, cleaning
rounds and evaluations: what differs are the rows that it is given.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.statistics import Interval
from schemas.ids import ModelDigest, StageKey
from tasks.gates import GateVerdict
from tasks.report.curves.findings import Diagnosis
from tasks.report.curves.trends import Trend
from tasks.report.settings import SettingRow
from tasks.rows.metrics import Metric

Better = Literal["lower", "higher", "neither"]
Direction = Literal["better", "worse", "unclear", "neutral"]


def direction_of(change: Interval, better: Better) -> Direction:
    """What the interval of a change says: only one that lies wholly on one side of zero says anything."""
    if better == "neither":
        return "neutral"
    if math.isnan(change.low) or math.isnan(change.high) or change.low <= 0 <= change.high:
        return "unclear"
    return "better" if (change.high < 0) == (better == "lower") else "worse"


@dataclass(frozen=True)
class Control:
    """Something else that was done to the same policy, so that a reader sees what the scorer alone is worth."""

    name: str
    """Short; the head of its column: "random pairs", "less noise"."""
    description: str
    """One sentence: what was done instead."""


@dataclass(frozen=True)
class HeadlineRow:
    """One measure, before and after, with the controls' changes of the same measure in the same row."""

    name: str
    unit: str
    """"mm", "%", "none" or "count": sets the number of decimals as well."""
    before: float
    after: float
    change: Interval | None
    """Change in %, with its 95 % interval; None where there is none, which the page then says."""
    n: int
    """How many instances it was taken over."""
    note: str = ""
    controls: Mapping[str, Interval] = field(default_factory=dict)
    """By `Control.name`: that control's change in %, against the same `before`."""
    better: Better = "lower"


@dataclass(frozen=True)
class HeadlineGroup:
    """Headline rows that belong together: "Held-out wild test", "Diversity", "Drift on source"."""

    title: str
    rows: Sequence[HeadlineRow]
    note: str = ""
    """Which labels, which split, how many samples."""
    role: Literal["test", "drift", "validation"] = "test"
    """What the split is held out for."""


@dataclass(frozen=True)
class NumberRow:
    """A number that is no before-and-after: AUC of the score, kept and dropped counts, Spearman of the scorer."""

    name: str
    unit: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str = ""

    @staticmethod
    def of(name: str, unit: str, metric: Metric, note: str) -> "NumberRow":
        """A metric under a name and unit of the page's."""
        return NumberRow(name, unit, metric.value, metric.low, metric.high, metric.n, note)


@dataclass(frozen=True)
class StageRow:
    """A stage of the round. Units end as ok, filtered or failed; the page marks a row where they don't add up."""

    name: str
    stage_key: StageKey
    state: str
    """"run", "resumed" or "reused"."""
    units_in: int
    ok: int
    filtered: int
    failed: int
    seconds: float
    """How long it took when it was run; of a reused stage, back then."""
    unit: str = "units"
    """What is counted: "images", "instances", "hypotheses"."""
    reads: Sequence[StageKey] = ()
    """Keys of the stages that it read."""
    models: Sequence[ModelDigest] = ()
    """Digests of the models that it used."""
    config_digest: str = ""

    @property
    def unaccounted(self) -> int:
        """Units that ended as none of the three: 0, or something is wrong."""
        return self.units_in - self.ok - self.filtered - self.failed


@dataclass(frozen=True)
class FailureRow:
    """Units that ended for the same reason in the same stage."""

    stage: str
    outcome: str
    """"failed" or "filtered"."""
    reason: str
    count: int
    examples: Sequence[str] = ()
    """A few ids, with their detail if there is one."""


@dataclass(frozen=True)
class ScoreAgainstError:
    """Scores and errors of the same hypotheses, from which the page draws error by score within each instance."""

    scores: NDArray[np.floating]
    """(N, M) higher is better."""
    errors: NDArray[np.floating]
    """(N, M) mm."""
    spearman_within: Interval
    spearman_overall: float
    left_out: int = 0
    """Instances whose scores or errors are all equal."""
    note: str = ""
    """Which error, which split, which scorer."""


@dataclass(frozen=True)
class Margins:
    """Score of the winner minus score of the loser, of all pairs of the round."""

    values: NDArray[np.floating]
    """(P,)"""
    note: str = ""
    """How the pairs were chosen."""


@dataclass(frozen=True)
class Series:
    """One line of a curve."""

    name: str
    """"winner" and "loser" get the same colours in every panel."""
    steps: NDArray[np.number]
    values: NDArray[np.floating]
    leg: int | None = None
    """Of a round in several legs."""


@dataclass(frozen=True)
class Curve:
    """One panel: lines over optimiser steps."""

    title: str
    unit: str
    series: Sequence[Series]
    reference: float | None = None
    """A thin level line: 0.5 for a preference accuracy, 0 for a loss against the reference's."""
    note: str = ""
    breaks: Sequence[float] = ()
    """Steps at which a leg begins, but for the first."""


@dataclass(frozen=True)
class Overlay:
    """One person: the meshes of the two policies, and the label's if one is known, over the same crop."""

    instance_id: str
    before: NDArray[np.uint8]
    """(H, W, 3) RGB"""
    after: NDArray[np.uint8]
    label: NDArray[np.uint8] | None
    before_error_mm: float | None = None
    after_error_mm: float | None = None
    photo: NDArray[np.uint8] | None = None
    """The bare crop."""
    score: float | None = None
    """By the scorer, of what is shown of the policy after, or of the only policy."""
    disagreement_mm: float | None = None
    """How far the person's hypotheses by that policy lie apart."""
    lists: Sequence[str] = ()
    """Why this person is shown: names of `PEOPLE_LISTS`."""

    @property
    def change_mm(self) -> float | None:
        """Of the error; below zero it became smaller."""
        if self.before_error_mm is None or self.after_error_mm is None:
            return None
        return self.after_error_mm - self.before_error_mm


OWN_PEOPLE: Final = "own"
"""Behind the # of a page's address: the people that its round learned from, winners and losers among them."""
PEOPLE_LISTS: Final[Mapping[str, str]] = {
    "first": "the first by name, whatever their results",
    "improved": "most improved",
    "worsened": "most worsened",
    "disputed": "most disputed: hypotheses farthest apart",
}
"""What the people of a page are chosen by, and its words for that."""


@dataclass(frozen=True)
class PosedPerson:
    """The bodies of a person in 3D, in the camera of the crop."""

    instance_id: str
    """One of the overlays'."""
    camera: tuple[float, float, float, float]
    """fx, fy, cx, cy in pixels of the crop."""
    crop_size: int
    meshes: Mapping[str, NDArray[np.floating]]
    """"before", "after" and "label", as far as they are known: (V, 3) metres, camera frame."""


@dataclass(frozen=True)
class View:
    """One picture of a person, and what it shows."""

    picture: NDArray[np.uint8]
    """(H, W, 3) RGB"""
    title: str
    """"photograph", "winner", "before"."""
    number: str = ""
    """What was measured of it: "score 0.412"."""


@dataclass(frozen=True)
class Strip:
    """A person, seen several times side by side."""

    instance_id: str
    views: Sequence[View]
    note: str = ""
    """What sets this person apart from those beside: "largest margin, 0.41"."""


@dataclass(frozen=True)
class Gallery:
    """A few of the people that a round learned from."""

    title: str
    note: str
    """How they were chosen, and what colours mean."""
    strips: Sequence[Strip] = ()
    missing: str = ""
    """Why there is none."""


@dataclass(frozen=True)
class MixRow:
    """What a data set of several gave to a round."""

    data: str
    """dataset/split."""
    share: float
    """Of the people that training draws, by the weights, 0 to 1."""
    counts: Sequence[int]
    """One for each of `MixTable.counted`."""


@dataclass(frozen=True)
class MixTable:
    """Several data sets that a round learned from."""

    counted: Sequence[str]
    """Heads of columns: "people", "hypotheses", "pairs", "drawn in training"."""
    rows: Sequence[MixRow]
    note: str = ""


@dataclass(frozen=True)
class ModelRow:
    """A model of the round and where it came from."""

    role: str
    """"policy before", "policy after", "reference", "scorer"."""
    digest: ModelDigest
    parents: Sequence[ModelDigest] = ()
    config_digest: str = ""


@dataclass(frozen=True)
class RoundReport:
    """The whole page. Sections without content are not left out: the page says that nothing was measured."""

    title: str
    """"DPO round 1", "Cleaning round 3"."""
    campaign: str
    created_at: str
    """When, as text; the page itself never looks at a clock, so the same report gives the same bytes."""
    outcome: str
    """One word or two: "promoted", "kept the old policy"."""
    promoted: bool
    summary: str
    """One or two sentences without context: what happened and why."""
    headline: Sequence[HeadlineGroup]
    """Held-out errors first, then diversity, then drift on source; every round has all three."""
    controls: Sequence[Control]
    before_name: str = "before"
    after_name: str = "after"
    notices: Sequence[str] = ()
    """What a reader must know before the numbers: boxes that were missing, labels that were not the images' own."""
    numbers: Sequence[NumberRow] = ()
    numbers_title: str = "Further numbers"
    gates: Sequence[GateVerdict] = ()
    """Their units are those of this page: "none" for a pure number."""
    stages: Sequence[StageRow] = ()
    failures: Sequence[FailureRow] = ()
    score_against_error: ScoreAgainstError | None = None
    margins: Margins | None = None
    curves: Sequence[Curve] = ()
    diagnosis: Diagnosis | None = None
    """What the curve doctor says; None where nothing was trained."""
    trends: Sequence[Trend] = ()
    """Every measure over the rounds up to this one; empty where it is the first that measured."""
    samples: int = 0
    """M of the best of M; for the words of measures."""
    overlays: Sequence[Overlay] = ()
    overlays_note: str = ""
    """How the people were chosen, so that a dozen is not taken for the best dozen."""
    bodies: Sequence[PosedPerson] = ()
    """Some of these people in 3D."""
    faces: NDArray[np.integer] | None = None
    """(F, 3) of all bodies' meshes."""
    galleries: Sequence[Gallery] = ()
    """People that the round learned from."""
    mix: MixTable | None = None
    """Where these come from, if they are of several data sets."""
    models: Sequence[ModelRow] = ()
    profile: str = ""
    settings: Sequence[SettingRow] = ()
    """The fields of the configuration that differ from the profile."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Config digest, code digest, seed, store, device, ...: name -> text."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Library -> version."""

    def __post_init__(self) -> None:
        names = {control.name for control in self.controls}
        for group in self.headline:
            for row in group.rows:
                unknown = sorted(set(row.controls) - names)
                if unknown:
                    listed = ", ".join(sorted(names)) or "none"
                    raise ValueError(f"headline row {row.name!r} has controls {unknown} that are not listed ({listed})")
