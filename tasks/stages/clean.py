"""Cleaning: pseudo-labels for photographs, what the scorer thinks of them, and the best of them kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.tables import read
from models.body_arrays import body_digest
from schemas.config.stages import AnyFilter
from schemas.ids import ModelDigest, StageKey, Target
from tasks.clean.names import AT_RANDOM
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker
from tasks.engine.stage import Rows, ShardedStage, WholeStage
from tasks.rows.instances import instance_ids
from tasks.rows.part import Part, counting


@dataclass(frozen=True)
class PseudoLabel(ShardedStage):
    """Takes a policy's hypotheses as pseudo-labels -> table `labels`; gt labels are not looked at.

    Those of zero noise; with a `scorer` the one that it prefers of each person's, of as many as are drawn for pairs.

    With `swap_share`, that share of the instances gets the hypothesis of another picture, as it is in that one's
    crop. With a `part`, the people in that part alone get labels.
    """

    ingests: tuple[StageKey, ...]
    targets: tuple[Target, ...]
    policy: ModelDigest
    swap_share: float = 0.0
    seed: int = 0
    part: Part | None = None
    scorer: ModelDigest | None = None

    name = "pseudo_label"
    writes = ("labels",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        generation = context.config.generate
        return {
            "shard_size": generation.shard_size,
            "microbatch": generation.microbatch,
            "targets": [str(target) for target in self.targets],
            "swap_share": self.swap_share,
            "seed": self.seed if self.swap_share else None,
            "root_solver": context.config.root_solver,
            "body": body_digest(context.config.body),
            "threads": context.config.ray.threads_per_actor,
            **generation.unusual("precision", "encoder_precision", "compile"),
            **counting(self.part),
            **self._chosen_among(context),
        }

    def _chosen_among(self, context: Context) -> dict[str, Any]:
        """What of the configuration decides which hypothesis is taken; zero noise needs none."""
        if self.scorer is None:
            return {}
        drawn = context.config.generate
        among = {name: getattr(drawn, name) for name in ("hypotheses", "noise_temperature", "seed")}
        return {"among": among, "score": context.config.score}

    def ids(self, context: Context) -> Sequence[str]:
        return instance_ids(context.store, self.ingests, self.targets, self.part)

    def shard_size(self, context: Context) -> int:
        return context.config.generate.shard_size

    def worker(self, context: Context) -> ShardWorker:
        from tasks.clean.pseudo import PseudoLabelWorker

        return PseudoLabelWorker(self, context)


@dataclass(frozen=True)
class ScoreLabels(ShardedStage):
    """Scores labels -> table `scores`, sample_index -1, with the stage that made the labels as generation_id."""

    labels: StageKey
    ingests: tuple[StageKey, ...]
    scorer: ModelDigest

    name = "score_labels"
    writes = ("scores",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"score": context.config.score, "threads": context.config.ray.threads_per_actor}

    def ids(self, context: Context) -> Sequence[str]:
        rows = read(context.store, "labels", stage_keys=[self.labels], columns=["instance_id"])
        names: list[str] = rows.column("instance_id").to_pylist()
        return names

    def shard_size(self, context: Context) -> int:
        return context.config.score.shard_size

    def worker(self, context: Context) -> ShardWorker:
        from tasks.clean.filtering import ScoreLabelsWorker

        return ScoreLabelsWorker(self, context)


@dataclass(frozen=True)
class Keep(WholeStage):
    """Keeps what a filter of `tasks.clean.filters` finds good of scored labels -> table `labels`, label_set "kept".

    By default the best-scored share; `share` is the configured one unless given. The filter "calibrated" goes by the
    stage `calibration`, and "random", a control, keeps as many labels as the stage `like` did. The others end in
    `failures`, filtered, with their score. Metrics per split, role "filter": kept_share, mean_score, least_kept_score
    and, where labels were swapped on purpose, swapped_share, swapped_among_kept, and auc: how well the score tells the
    swapped from the others; with a calibration, kept_expected_error. Where nothing is good, nothing is kept.
    """

    labels: StageKey
    scores: StageKey
    share: float | None = None
    filter: AnyFilter = "quantile"
    calibration: StageKey | None = None
    like: StageKey | None = None

    name = "keep"
    writes = ("labels", "metrics")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        clean = context.config.clean
        match self.filter:
            case "quantile":
                return {"keep_share": self.kept_share(context)}
            case "calibrated":
                return {"filter": self.filter, "max_error_mm": clean.max_error_mm}
            case "mixture":
                return {"filter": self.filter, "least_chance": clean.least_chance}
            case "random":
                return {"filter": self.filter, "seed": clean.seed, "drawn_as": AT_RANDOM}

    def kept_share(self, context: Context) -> float:
        """The share that is kept."""
        return context.config.clean.keep_share if self.share is None else self.share

    def make(self, context: Context) -> Rows:
        from tasks.clean.filtering import filtered_labels

        return filtered_labels(self, context)
