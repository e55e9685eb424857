"""What an item of work costs: as this store has seen it of the same work, else as it was measured on one machine."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from flows.cost.work import recorded
from infra.stages import StageRecord
from schemas.digests import canonical_json

MACHINE: Final = "2 cores of an AMD EPYC with AVX512-BF16, no GPU"
"""Where MEASURED was measured."""


class PerItem(NamedTuple):
    """Seconds and bytes of an item (see `flows.cost.work`)."""

    seconds: float
    bytes: float


MEASURED: Final[Mapping[str, Mapping[str, PerItem]]] = {
    "tiny": {
        "synthesize": PerItem(3.0e-3, 8_500),
        "ingest": PerItem(0.67e-3, 7_780),
        "train_base": PerItem(68e-3, 16),
        "train_scorer": PerItem(88e-3, 17),
        "train_clean": PerItem(90e-3, 70),
        "generate": PerItem(0.50e-3, 545),
        "score": PerItem(0.25e-3, 10),
        "pair": PerItem(0.22e-3, 4_510),
        "align": PerItem(240e-3, 70),
        "evaluate": PerItem(0.70e-3, 575),
        "pseudo_label": PerItem(1.2e-3, 720),
        "score_labels": PerItem(1.7e-3, 12),
        "keep": PerItem(0.15e-3, 520),
        "calibrate_scorer": PerItem(0.2, 6_600),
        "compare": PerItem(1.3, 12_000),
        "measures": PerItem(10.0, 40_000),
        "report": PerItem(3.0, 2_000_000),
    },
    "micro": {
        "synthesize": PerItem(40e-3, 8_500),
        "ingest": PerItem(5.6e-3, 9_780),
        "train_base": PerItem(0.23, 1_630),
        "train_scorer": PerItem(78e-3, 1_530),
        "train_clean": PerItem(0.2, 1_700),
        "generate": PerItem(3.5e-3, 716),
        "score": PerItem(1.7e-3, 44),
        "pair": PerItem(2.1e-3, 1_610),
        "align": PerItem(0.2, 1_710),
        "evaluate": PerItem(5.4e-3, 1_260),
        "pseudo_label": PerItem(5.0e-3, 1_000),
        "score_labels": PerItem(5.0e-3, 100),
        "keep": PerItem(6.0e-3, 1_430),
        "calibrate_scorer": PerItem(0.12, 6_600),
        "compare": PerItem(0.25, 12_000),
        "measures": PerItem(0.6, 32_000),
        "report": PerItem(2.8, 2_000_000),
    },
    "paper": {
        "generate": PerItem(18e-3, 545),
        "score": PerItem(13e-3, 10),
        "pair": PerItem(0.25e-3, 1_130),
        "align": PerItem(175.0, 70),
        "evaluate": PerItem(25e-3, 575),
        "compare": PerItem(1.3, 12_000),
        "report": PerItem(3.0, 8_000_000),
    },
}
"""By profile and stage, on MACHINE with both cores at work. Those of `paper` follow from what a single hypothesis,
picture and step take a core there (docs/benchmarks.md): nobody has run it to its end on two cores."""

_SMALL: Final = 10
"""Records of so many times less than the largest tell more of what a stage begins with than of an item."""
NARROW, WIDE = (0.8, 1.3), (0.3, 3.0)
"""How far from what was seen in this store, and on another machine, it may be: factors of the least and the most."""


@dataclass(frozen=True)
class Rate:
    """The least and the most seconds of an item, its bytes, and whether this store has seen it."""

    least: float
    most: float
    bytes: float
    seen: bool


class Rates:
    """The rates of a store, for models of these `networks` (canonical JSON of their configurations)."""

    def __init__(self, records: Iterable[StageRecord], networks: Mapping[str, str], wanted: Collection[str]) -> None:
        """`networks` are those of the store's models, by digest. Only `wanted` ones count."""
        self._records = [
            record
            for record in records
            if record.seconds > 0 and all(networks.get(digest) in wanted for digest in record.models)
        ]

    def seen(self, stage: str, device: str, about: Mapping[str, Any] | None) -> Rate | None:
        """As this store has seen a stage of this name on a device; `about` is what its key says of the configuration,
        if that is known yet: of it whatever changes the time of an item has to be the same."""
        alike = [record for record in self._records if record.stage == stage and record.device == device]
        if about is not None:
            alike = [record for record in alike if _alike(record.config, json.loads(canonical_json(about)))]
        if not alike:
            return None
        # of a stage that went on after a kill, the seconds are those of its last run
        did = {record.stage_key: recorded(record).items * record.done_share for record in alike}
        most = max(did.values())
        alike = [record for record in alike if 0 < most <= did[record.stage_key] * _SMALL]
        if not alike:
            return None
        seconds = [record.seconds / did[record.stage_key] for record in alike]
        written = [sum(record.bytes.values()) / recorded(record).items for record in alike]
        return Rate(min(seconds) * NARROW[0], max(seconds) * NARROW[1], max(written), seen=True)


def measured(profile: str, stage: str, device: str) -> Rate | None:
    """As it was measured on MACHINE; None for what was not, such as anything on a GPU."""
    known = MEASURED.get(profile, {}).get(stage)
    if stage == "draw" and profile in MEASURED:  # what it keeps says how many bytes
        known = PerItem(sum(MEASURED[profile][part].seconds for part in ("generate", "score")), 0)
    if known is None or device != "cpu":
        return None
    return Rate(known.seconds * WIDE[0], known.seconds * WIDE[1], known.bytes, seen=False)


_COUNTS: Final = frozenset(
    {"seed", "targets", "target", "labelled", "people", "replay", "round_seed", "temperature", "hypotheses", "steps"}
    | {"shard_size", "noise_temperature", "keep_share", "controls", "source", "resamples", "swap_share"}
    | {"warmup_steps", "checkpoint_every", "report_every", "learning_rate", "beta", "campaign", "round", "why"}
    | {"promoted", "notices", "gates", "pairs_per_instance", "least_margin", "strategy", "part"}
    | {"other_strategy", "other_share", "least_distance", "most_per_picture", "legs", "margin_sharpness"}
    | {"timestep_power", "advantage_clip", "guard", "winner_reserve", "nft_mix"}
)
"""Fields that say of whom, how many or how, and leave the time of an item as it is."""


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = (one.keys() | other.keys()) - _COUNTS
        return all(_alike(one.get(name), other.get(name)) for name in names)
    return bool(one == other)
