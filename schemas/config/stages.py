"""Configuration of the stages that make data and decisions: synthesize to report, gates and cleaning."""

from typing import Literal

from pydantic import field_validator, model_validator

from schemas.config.base import Config, HalfOrNot, Precision, setting

FilterName = Literal["quantile", "calibrated", "mixture"]
"""How labels that a scorer has scored are filtered."""
AnyFilter = Literal[FilterName, "random"]
"""The same, with the control."""
PairStrategy = Literal["top_bottom", "random", "crossed", "disagreement", "surest", "label_wins"]
"""How a person's hypotheses become winner and loser."""
CleanControl = Literal["all_labels", "random_labels", "own_labels"]
"""What is trained beside a cleaning round."""


class PitchConfig(Config):
    """The pitch of a synthetic domain's cameras: normal, and cut off; above zero they look down on people."""

    mean: float = setting(0.0, "mean of the pitch", "degrees", ge=-45, le=45)
    sigma: float = setting(7.0, "standard deviation of the pitch", "degrees", ge=0)
    two_sided: bool = setting(
        False, "turn half of the pitches to the other side: cameras from above and from below", "-", later=True
    )
    limit: float = setting(20.0, "pitches beyond it, upwards or downwards, become it", "degrees", ge=0, le=45)


class SynthesizeConfig(Config):
    """How many pictures of each synthetic domain and split are made, and how high their cameras are."""

    source_train: int = setting(5000, "labelled pictures that train the base policy", "pictures", ge=1)
    source_test: int = setting(500, "held-out labelled source pictures: drift is measured on them", "pictures", ge=1)
    scorer_train: int = setting(5000, "labelled pictures that train HMR-Scorer", "pictures", ge=1)
    wild_train: int = setting(
        2000, "in-the-wild pictures without labels: preference pairs come from them", "pictures", ge=1
    )
    wild_validation: int = setting(400, "held-out in-the-wild pictures: gates and choices", "pictures", ge=1)
    wild_test: int = setting(1000, "held-out in-the-wild pictures: reports only", "pictures", ge=1)
    source_pitch: PitchConfig = setting(PitchConfig(), "of the cameras of source", "-", later=True)
    scorer_pitch: PitchConfig = setting(PitchConfig(), "of the cameras of scorer", "-", later=True)
    wild_pitch: PitchConfig = setting(PitchConfig(), "of the cameras of wild", "-", later=True)
    seed: int = setting(0, "seed of poses, looks and cameras", "1", ge=0)
    shard_size: int = setting(500, "pictures a shard", "pictures", ge=1)


class IngestConfig(Config):
    """How pictures and boxes become instances."""

    crop_size_px: int = setting(64, "side of the square crop", "px", ge=32)
    box_padding: float = setting(1.25, "side of the crop over the longer side of the box", "1", ge=1)
    crop: Literal["published", "box"] = setting(
        "published",
        "what crops are around: as published, a labelled set's joints; or the box of everybody",
        "-",
        later=True,
    )
    max_pixels: int = setting(100_000_000, "pictures with more pixels are refused (decompression bombs)", "px", ge=1)
    max_reprojection: float = setting(
        0.2,
        "largest mean distance of a label's joints from the file's key-points, over the person's scale in the picture: "
        "the root of the area that a person fills (COCO's scale, on which annotators of limbs differ by 0.06 to 0.11)",
        "1",
        gt=0,
    )
    max_joint_error_mm: float = setting(
        30.0,
        "largest mean distance of a posed label's joints from 3D joints that the file has of the same body",
        "mm",
        later=True,
        gt=0,
    )
    max_other_joint_error_mm: float = setting(
        100.0,
        "the same from 3D joints of another make, which lie a few cm from a body's: key-points of equal names, joints "
        "regressed or marked as Human3.6M's 17, and any where the betas are not the file's",
        "mm",
        later=True,
        gt=0,
    )
    jpeg_quality: int = setting(95, "quality of the stored crops", "1", ge=1, le=100)
    shard_size: int = setting(500, "pictures a shard", "pictures", ge=1)


class GenerateConfig(Config):
    """How many hypotheses are drawn, and from which noise."""

    hypotheses: int = setting(16, "samples for each instance; sample 0 starts from zero noise", "hypotheses", ge=2)
    noise_temperature: float = setting(1.0, "factor on the starting noise; 1 is the policy itself", "1", ge=0)
    shard_size: int = setting(250, "instances a shard", "instances", ge=1)
    microbatch: int = setting(10, "instances in one forward pass; the last is padded", "instances", ge=1)
    precision: Precision = setting(
        "float32", "of the denoiser, and tfloat32 of the image encoder, too; it needs a GPU to differ from float32", "-"
    )
    encoder_precision: HalfOrNot = setting(
        "float32",
        "of the image encoder; bfloat16 is refused where it moves zero-noise hypotheses by more than 0.1 mm",
        "-",
        later=True,
    )
    compile: bool = setting(
        False,
        "compile denoiser and image encoder (torch.compile): other last bits, a minute at the start of each process",
        "-",
        later=True,
    )
    seed: int = setting(0, "seed of the noise", "1", ge=0)


class HypothesesConfig(Config):
    """What is kept of the hypotheses that a round draws for its pairs. Those of evaluations and of a judge stay."""

    keep: Literal["all", "extremes", "none"] = setting(
        "all",
        "all; or the winners and losers alone; or none beside the pairs themselves. All scores are kept, and what was "
        "not can be made again (adhmr regenerate)",
        "-",
        later=True,
    )


class ScoreConfig(Config):
    """How hypotheses are scored."""

    mirror: bool = setting(True, "average the scores of picture and mirrored picture", "-")
    precision: Precision = setting("float32", "of the decoder, and tfloat32 of the image encoder, too", "-", later=True)
    encoder_precision: HalfOrNot = setting(
        "float32",
        "of the image encoder; bfloat16 is refused where it changes the order of a person's hypotheses by more than a "
        "rank correlation of 0.995",
        "-",
        later=True,
    )
    compile: bool = setting(
        False,
        "compile decoder and image encoder, but HRNet (torch.compile): other last bits, a minute for each process",
        "-",
        later=True,
    )
    shard_size: int = setting(250, "instances a shard", "instances", ge=1)
    microbatch: int = setting(10, "instances in one forward pass; the last is padded", "instances", ge=1)


class PairConfig(Config):
    """How scored hypotheses become winner and loser."""

    strategy: PairStrategy = setting(
        "top_bottom",
        "best against worst by score; two at random; each of the k best against each of the k worst, k the root of "
        "pairs_per_instance; those that scores and poses set farthest apart; those of whose order the scorer's heads "
        "are surest (scorer.score_heads); or labels alone against the worst",
        "-",
    )
    other_strategy: Literal["top_bottom", "random", "crossed", "disagreement", "surest"] = setting(
        "random", "strategy of the instances in other_share", "-", later=True
    )
    other_share: float = setting(
        0.0, "share of the instances whose pairs other_strategy chooses", "1", later=True, ge=0, le=1
    )
    pairs_per_instance: int = setting(4, "pairs an instance gives", "pairs", ge=1)
    label_wins_share: float = setting(
        0.0,
        "share of the labelled instances whose label itself wins, against the worst samples (published: 0.5)",
        "1",
        ge=0,
        le=1,
    )
    least_margin: float = setting(0.0, "smallest difference of scores that makes a pair", "1", ge=0)
    least_distance: float = setting(
        0.0,
        "smallest mean distance of the joints of winner and loser: nearer ones are near-duplicates; labels win all the "
        "same",
        "half crop sides, and metres of depth",
        later=True,
        ge=0,
    )
    most_per_picture: int = setting(
        0,
        "most pairs of a picture, in equal shares of its people; 0: as many as its people give",
        "pairs",
        later=True,
        ge=0,
    )
    seed: int = setting(0, "seed of the random strategy", "1", ge=0)

    @property
    def labels_win(self) -> float:
        """Share of the labelled instances whose label itself wins."""
        return 1.0 if self.strategy == "label_wins" else self.label_wins_share

    @model_validator(mode="after")
    def _random_knows_no_margin(self) -> "PairConfig":
        if self.strategy == "random" and self.least_margin > 0:
            raise ValueError("strategy=random ignores scores: set least_margin=0")
        return self


class ReviewConfig(Config):
    """How a DPO round honours what people say of its pairs."""

    before_training: bool = setting(
        False,
        "end a run after the pairs are made, with the round open; a later run trains on what was judged: rejected "
        "pairs left out, swapped ones swapped",
        "-",
        later=True,
    )
    at_least: int = setting(
        1, "judged pairs without which such a round does not go on; 0: it waits for none", "pairs", later=True, ge=0
    )
    unjudged: Literal["keep", "leave_out"] = setting(
        "keep", "what becomes of its pairs that nobody judged, or on which reviewers are divided", "-", later=True
    )


class EvaluateConfig(Config):
    """How a policy is measured on held-out labels."""

    generate: GenerateConfig = setting(
        GenerateConfig(hypotheses=11, seed=7), "M random samples and the zero-noise sample 0", "-"
    )
    less_noise: float = setting(0.4, "noise temperature of the control that only shrinks the noise", "1", gt=0, lt=1)
    resamples: int = setting(1000, "bootstrap resamples behind an interval", "resamples", ge=100)
    seed: int = setting(0, "seed of the bootstrap", "1", ge=0)
    measures: bool = setting(
        False,
        "let rounds measure, too, what docs/measures.md lists beyond mean errors: the curve of the best of M, energy "
        "score, depth of limbs, spread, parts of the body, reprojection, plausibility; no gate reads these",
        "-",
        later=True,
    )

    @property
    def bootstrap(self) -> dict[str, int]:
        """What an interval depends on, as `models.statistics` takes it and as keys have it."""
        return {"resamples": self.resamples, "seed": self.seed}


class PublishedConfig(Config):
    """How rounds measure sources of test that name a published protocol."""

    hypotheses: int = setting(100, "M, the zero-noise hypothesis among them", "hypotheses", ge=2, later=True)


class GateConfig(Config):
    """Limits that a round must keep, read on `sources.validation`, those of drift on `sources.drift`, or by a judge."""

    max_failed_share: float = setting(0.05, "largest share of failed units in a stage", "1", ge=0, le=1)
    min_pairs: int = setting(200, "fewest pairs worth training on", "pairs", ge=1)
    min_margin: float = setting(0.02, "smallest mean margin between winner and loser", "score", ge=0)
    min_spearman: float = setting(
        0.2, "smallest rank correlation of score and error within an instance", "1", ge=-1, le=1
    )
    best_of_m_change: float = setting(1.0, "largest rise of the best of M", "%", ge=0)
    min_diversity: float = setting(0.75, "smallest diversity over that of the campaign's first policy", "1", ge=0, le=1)
    max_drift: float = setting(3.0, "largest rise of the error on held-out source data", "%", ge=0)
    without_labels: Literal["nothing", "judge"] = setting(
        "nothing",
        "what may be promoted where sources.validation is empty: nothing, or what start.judge finds better and nothing "
        "below finds less plausible",
        "-",
        later=True,
    )
    judged_share: float = setting(
        0.2,
        "share of the in-the-wild pictures that a judge sees and nothing is learned from; where it grows between "
        "rounds, a judge sees people whom earlier ones have learned from",
        "1",
        later=True,
        gt=0,
        le=0.5,
    )
    watch_score: bool = setting(
        False,
        "keep the old policy where the scorer's score rises on held-out people, and the true error does not fall, or a "
        "judge's score does not rise: the policy has then learned what the scorer has wrong; start.judge may then be "
        "said beside held-out labels, and only watches",
        "-",
        later=True,
    )
    min_judged: int = setting(30, "fewest people of a split that a judge may decide by", "people", later=True, ge=1)
    min_judge_rise: float = setting(
        0.0, "above this the whole interval of the rise of the judge's score must lie", "score", later=True, ge=0, lt=1
    )
    max_beyond_limits: float = setting(
        2.0,
        "largest rise of the share of bodies with a joint beyond what a joint can do",
        "percentage points",
        later=True,
        ge=0,
    )
    max_bone_miss: float = setting(
        0.5,
        "largest rise of what bones miss of the length that the body's shape gives them",
        "percentage points",
        later=True,
        ge=0,
    )


class RenewConfig(Config):
    """Whether HMR-Scorer goes with the policy from round to round."""

    scorer: Literal["never", "recalibrate", "retrain"] = setting(
        "never",
        "with never the campaign's scorer stays as it is; recalibrate: each round says anew what its score means in "
        "mm, by the current policy's samples on sources.validation; retrain: each round trains one on hypotheses of "
        "the current policy, and calibrates it",
        "-",
        later=True,
    )


class CleanConfig(Config):
    """How pseudo-labelled in-the-wild data is filtered."""

    keep_share: float = setting(0.7, "share of the pseudo-labels that is kept, best scores first", "1", gt=0, le=1)
    swap_share: float = setting(
        0.0, "share of pseudo-labels swapped between pictures on purpose, to measure the filter", "1", ge=0, le=1
    )
    seed: int = setting(0, "seed of the swaps, and of the control random_labels", "1", ge=0)
    label: Literal["zero_noise", "best_of_m"] = setting(
        "zero_noise",
        "the policy's pseudo-label of a person: its zero-noise hypothesis, or the one that the scorer prefers among "
        "generate.hypotheses, that one among them",
        "-",
        later=True,
    )
    filter: FilterName = setting(
        "quantile",
        "what is kept of scored labels: the best keep_share; those whose score means an error of max_error_mm or less "
        "(calibrated, on sources.validation); or those that belong to the better of two groups of scores (mixture)",
        "-",
        later=True,
    )
    max_error_mm: float = setting(
        100.0, "with filter=calibrated: largest error to be expected of a label that is kept", "mm", later=True, gt=0
    )
    least_chance: float = setting(
        0.5,
        "with filter=mixture: smallest chance that a label which is kept belongs to the better group",
        "1",
        later=True,
        gt=0,
        lt=1,
    )
    controls: tuple[CleanControl, ...] = setting(
        ("all_labels",),
        "what is trained beside a cleaning round: on all labels; on as many as were kept, drawn at random; on the "
        "policy's zero-noise labels, filtered alike (own_labels), where those aren't its labels anyway",
        "-",
        later=True,
    )

    @field_validator("controls")
    @classmethod
    def _controls_are_different(cls, value: tuple[CleanControl, ...]) -> tuple[CleanControl, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"names {max(value, key=value.count)} twice")
        return value
