"""What was measured of a seed, as a file of the repository: the page is made of these, whichever machine each ran on.

Five seeds take more than an hour, and their stores gigabytes. So each seed leaves a small file as soon as it is done,
with the digests of recipe and domains that it was measured for, and the metrics that pages show.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, overload

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.stages import find
from infra.store import Store
from schemas.errors import ConfigError, DamagedError
from schemas.ids import StageKey, Target
from tasks.pretrain.people import whole_file
from tasks.report.facts import RoundFacts
from tasks.report.measured import Metrics, round_metrics
from tasks.rows.metrics import DIVERSITY, Metric, read_metrics

RESULTS: Final = Path(__file__).with_name("results")
"""Of the sealed seeds, in the repository."""
ENERGY: Final = "energy_score"
KEPT: Final = frozenset(
    {f"{kind}_{error}" for kind in ("zero_noise", "expected", "best_of_m", "selected") for error in ("mpvpe", "mpjpe")}
    | {"zero_noise_pa_mpjpe", DIVERSITY, ENERGY, "drift", "drift_expected", "spearman_within_mpvpe"}
    | {"auc", "swapped_share", "swapped_among_kept", "kept_share"}
)
"""Names of the metrics that pages show."""
_DIGITS: Final = 4


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Told(_Record):
    """How a round ended, and where its figures stand."""

    promoted: bool
    why: str
    policy_before: str
    policy_after: str | None
    scorer: str
    pairs: str | None
    """The stage that paired, and of a cleaning round the one that filtered."""
    comparison: str | None

    @classmethod
    def of(cls, facts: RoundFacts) -> Self:
        """Of a round that was reported."""
        return cls(
            promoted=facts.promoted,
            why=facts.why,
            policy_before=facts.policy_before,
            policy_after=facts.policy_after,
            scorer=facts.scorer,
            pairs=facts.key("pair") or facts.key("keep"),
            comparison=facts.key("compare"),
        )


class Shown(NamedTuple):
    """A metric; a line of the file."""

    name: str
    role: str
    dataset: str
    split: str
    unit: str
    value: float
    n: int
    low: float | None
    high: float | None


class Sealing(NamedTuple):
    """What a seed was measured for: digests, as `tests.evidence.seal` makes them."""

    recipe: str
    domains: str


class SeedEvidence(_Record):
    """What one seed's store said."""

    profile: str
    seed: int
    recipe: str
    domains: str
    commit: str
    measured: str
    """Day."""
    machine: dict[str, str]
    aligned: Told
    cleaned: Told
    controls: tuple[str, ...]
    """The stages that compare the round with all controls."""
    round_rows: tuple[Shown, ...]
    control_rows: tuple[Shown, ...]
    clean_rows: tuple[Shown, ...]
    filter_rows: tuple[Shown, ...]
    seconds: dict[str, float]
    """Wall time of each stage."""

    @classmethod
    def read(
        cls,
        store: Store,
        rounds: tuple[RoundFacts, RoundFacts],
        controls: Sequence[StageKey],
        about: Mapping[str, Any],
    ) -> Self:
        """What the tables say of a DPO round, a cleaning round, and the stages `controls` that compare the first with
        all controls; `about` are the fields that no table has."""
        aligned, cleaned = rounds
        kept = cleaned.key("keep")
        return cls(
            aligned=Told.of(aligned),
            cleaned=Told.of(cleaned),
            controls=tuple(controls),
            round_rows=_shown(round_metrics(store, aligned).values()),
            control_rows=_shown(metric for key in controls for metric in read_metrics(store, key)),
            clean_rows=_shown(round_metrics(store, cleaned).values()),
            filter_rows=_shown(read_metrics(store, kept)) if kept else (),
            seconds=_seconds(store, aligned, cleaned),
            **about,
        )

    @property
    def aligned_metrics(self) -> Metrics:
        """Of the round."""
        return _metrics(self.round_rows)

    @property
    def cleaned_metrics(self) -> Metrics:
        """Of the cleaning round."""
        return _metrics(self.clean_rows)

    @property
    def all_metrics(self) -> Metrics:
        """Of the round, and of all controls beside it."""
        return _metrics((*self.round_rows, *self.control_rows))

    @property
    def filter_metrics(self) -> dict[str, Metric]:
        """Of the filter of the cleaning round, by name."""
        return {metric.name: metric for metric in _metrics(self.filter_rows).values()}


def result_file(folder: Path, profile: str, seed: int) -> Path:
    """Where a seed's results are."""
    return folder / f"{profile}-{seed}.json"


def write_result(result: SeedEvidence, folder: Path) -> Path:
    """Keep them."""
    file = result_file(folder, result.profile, result.seed)
    whole_file(file, _text(result).encode())
    return file


def read_result(folder: Path, profile: str, seed: int, sealing: Sealing) -> SeedEvidence | None:
    """What was measured of a seed; None if nothing was. DamagedError for a file that is none; ConfigError for one that
    was measured for another recipe or other domains."""
    file = result_file(folder, profile, seed)
    if not file.exists():
        return None
    try:
        result = SeedEvidence.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise DamagedError(
            f"{file} holds no results: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}. Take it from "
            "the repository again, or remove it, and the seed is measured anew."
        ) from error
    if (result.recipe, result.domains) != sealing:
        raise ConfigError(
            f"{file} was measured for another recipe or other domains than those of today. Move it away, and the seed "
            "is measured anew."
        )
    return result


def _text(result: SeedEvidence) -> str:
    """JSON with a line for each metric, so that a change shows as one."""
    fields = []
    for name, value in result.model_dump(mode="json").items():
        told = json.dumps(value, ensure_ascii=False)
        if name.endswith("_rows"):
            told = "[\n  " + ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value) + "\n ]"
        fields.append(f" {json.dumps(name)}: {told}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _shown(metrics: Iterable[Metric]) -> tuple[Shown, ...]:
    return tuple(
        Shown(one.name, one.role, *one.target, one.unit, _short(one.value), one.n, _short(one.low), _short(one.high))
        for one in sorted(metrics, key=lambda one: (one.name, one.target, one.role))
        if one.name in KEPT
    )


@overload
def _short(value: float) -> float: ...


@overload
def _short(value: None) -> None: ...


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _metrics(rows: Iterable[Shown]) -> Metrics:
    found = {}
    for row in rows:
        target = Target(row.dataset, row.split)
        found[row.name, row.role, target] = Metric(
            row.name, row.role, target, row.unit, row.value, row.n, row.low, row.high
        )
    return found


def _seconds(store: Store, aligned: RoundFacts, cleaned: RoundFacts) -> dict[str, float]:
    seconds: dict[StageKey, tuple[str, float]] = {}
    for prefix, facts in (("", aligned), ("cleaning: ", cleaned)):
        for run in facts.distinct_runs():
            record = find(store, run.key)
            if record is not None:
                seconds.setdefault(run.key, (prefix + run.title, round(record.seconds, 1)))
    return dict(seconds.values())
