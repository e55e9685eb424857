"""The whole configuration of an engine: one object, one digest."""

from typing import Literal, Self

from pydantic import model_validator

from schemas.config.base import Config, setting
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.config.rounds import RoundsConfig
from schemas.config.sources import DataSetConfig, SourcesConfig, StartConfig
from schemas.config.stages import (
    CleanConfig,
    EvaluateConfig,
    GateConfig,
    GenerateConfig,
    HypothesesConfig,
    IngestConfig,
    PairConfig,
    PublishedConfig,
    RenewConfig,
    ReviewConfig,
    ScoreConfig,
    SynthesizeConfig,
)
from schemas.config.training import AlignConfig, TrainBaseConfig, TrainCleanConfig, TrainScorerConfig


class RayConfig(Config):
    """What a stage asks Ray for. Of this only threads and trainers reach results, and with them the stage keys."""

    actors: int | None = setting(
        None,
        "actors of a sharded stage; if not given, as many as Ray's nodes have room for: by their GPUs where actors ask "
        "for a share of one, else by CPUs (each its threads) and memory (each 1 GiB)",
        "actors",
        ge=1,
    )
    cpus_per_actor: float = setting(0.5, "CPUs that an actor asks for", "CPUs", gt=0)
    gpus_per_actor: float = setting(0.0, "GPUs that an actor asks for", "GPUs", ge=0)
    threads_per_actor: int = setting(1, "torch threads in an actor", "threads", ge=1)
    trainers: int = setting(
        1, "training workers; each does its share of every batch, and their gradients are averaged", "workers", ge=1
    )
    cpus_per_trainer: float = setting(1.0, "CPUs that a training worker asks for", "CPUs", gt=0)
    threads_per_trainer: int = setting(
        2, "torch threads in a training worker that has no other beside it", "threads", ge=1
    )
    threads_beside_control: int = setting(
        1, "torch threads in a training worker of align or train_clean, which run beside their control", "threads", ge=1
    )
    gpus_per_trainer: float = setting(0.0, "GPUs that a training worker asks for", "GPUs", ge=0)
    object_store_mib: int = setting(
        256, "memory that a local session's object store may take; a cluster's nodes have their own", "MiB", ge=80
    )
    spill_folder: str | None = setting(
        None, "where a local session puts objects that its store has no room for; Ray's own folder if not given", "-"
    )
    spill_disk_share: float = setting(
        0.95, "share of that disk which may be in use before Ray refuses to spill more", "1", gt=0, le=1
    )
    features_mib: int = setting(
        512,
        "memory in which a training worker keeps what frozen encoders make of crops (align.keep_features); a file of "
        "the cache folder keeps all of it, as far as that has room, and is read where memory lacks it",
        "MiB",
        later=True,
        ge=0,
    )
    cache_folder: str | None = setting(
        None,
        "folder of each machine for what it keeps of the store: encoded crops of large sets, files of crops from S3, "
        "features of frozen encoders, and arrays that are too large for memory; ADHMR_CACHE of the machine's "
        "environment if not given, else ~/.cache/adhmr-engine",
        "-",
        later=True,
    )
    cache_gib: float = setting(
        64.0, "size of that folder beyond which what was not used for longest is removed", "GiB", gt=0, later=True
    )
    held_crops_mib: int = setting(
        512,
        "decoded crops of a data set that a training worker keeps in memory; larger sets are decoded as they are drawn",
        "MiB",
        ge=0,
        later=True,
    )
    train_retries: int = setting(2, "times that a failed training worker is started again", "times", ge=0)

    @property
    def actor_device(self) -> str:
        """Where an actor's models live: "cuda" if actors ask for a GPU, else "cpu"."""
        return "cuda" if self.gpus_per_actor > 0 else "cpu"

    @property
    def of_trainer(self) -> dict[str, float]:
        """What Ray has to give for one training worker; `trainers` of them make a training."""
        return {"CPU": self.cpus_per_trainer, **({"GPU": self.gpus_per_trainer} if self.gpus_per_trainer else {})}

    def decides_training(self, threads: int) -> dict[str, int | str]:
        """What of a training's result depends on these settings, for its stage key."""
        return {"threads": threads, **({"trainers": self.trainers, "batch": "shared"} if self.trainers > 1 else {})}


class EngineConfig(Config):
    """Everything that decides what a campaign computes."""

    profile: Literal["tiny", "micro", "paper"] = setting(..., "the profile that this configuration started from", "-")
    campaign: str = setting("default", "name of the sequence of rounds", "-", pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    seed: int = setting(0, "seed that profile functions spread over all stages", "1", ge=0)
    body: str = setting("tiny", "body model: a name that ships with the engine, or the path of a model file", "-")
    root_solver: Literal["published", "procrustes"] = setting(
        "procrustes", "how inverse kinematics turns the pelvis: as published, or by least squares", "-"
    )
    start: StartConfig = setting(StartConfig(), "models that the campaign begins with", "-", later=True)
    sources: SourcesConfig = setting(SourcesConfig(), "data sets by role", "-", later=True)
    data: tuple[DataSetConfig, ...] = setting(
        (), "how data sets get into a store that doesn't have them yet", "-", later=True
    )
    policy: PolicyConfig = setting(PolicyConfig(), "policy network", "-")
    scorer: ScorerConfig = setting(ScorerConfig(), "HMR-Scorer network", "-")
    synthesize: SynthesizeConfig = setting(SynthesizeConfig(), "synthetic domains", "-")
    ingest: IngestConfig = setting(IngestConfig(), "ingest", "-")
    train_base: TrainBaseConfig = setting(TrainBaseConfig(), "training of the base policy", "-")
    train_scorer: TrainScorerConfig = setting(TrainScorerConfig(), "training of HMR-Scorer", "-")
    rounds: RoundsConfig = setting(RoundsConfig(), "how rounds follow each other", "-", later=True)
    renew: RenewConfig = setting(RenewConfig(), "what rounds make anew", "-", later=True)
    generate: GenerateConfig = setting(GenerateConfig(), "hypotheses for pairs", "-")
    hypotheses: HypothesesConfig = setting(HypothesesConfig(), "what is kept of those for pairs", "-", later=True)
    score: ScoreConfig = setting(ScoreConfig(), "scoring", "-")
    pair: PairConfig = setting(PairConfig(), "pairs", "-")
    review: ReviewConfig = setting(ReviewConfig(), "what people say of pairs", "-", later=True)
    align: AlignConfig = setting(AlignConfig(), "alignment", "-")
    evaluate: EvaluateConfig = setting(EvaluateConfig(), "evaluation", "-")
    published: PublishedConfig = setting(
        PublishedConfig(), "measurement by published protocols within a round", "-", later=True
    )
    gates: GateConfig = setting(GateConfig(), "gates", "-")
    clean: CleanConfig = setting(CleanConfig(), "cleaning", "-")
    train_clean: TrainCleanConfig = setting(TrainCleanConfig(), "further training on cleaned data", "-")
    ray: RayConfig = setting(RayConfig(), "what stages ask Ray for", "-")
    tracking: tuple[Literal["tensorboard", "mlflow"], ...] = setting(
        (), "tools that show the curves of trainings, beside the engine's own pages", "-", later=True
    )

    @property
    def is_judged(self) -> bool:
        """Whether a judge decides: labels would, but none are held out for gates."""
        return self.gates.without_labels == "judge" and not self.sources.validation

    @property
    def has_judge(self) -> bool:
        """Whether there is a judge: it decides, or watches beside held-out labels."""
        return self.is_judged or (self.gates.watch_score and self.start.judge is not None)

    @model_validator(mode="after")
    def _judge_is_there_and_asked(self) -> Self:
        if self.gates.without_labels == "judge" and self.start.judge is None:
            raise ValueError("gates.without_labels=judge needs a second scorer: say start.judge as well")
        is_asked = self.gates.without_labels == "judge" or self.gates.watch_score
        if self.start.judge is not None and not is_asked:
            raise ValueError(
                "start.judge is said, but not gates.without_labels=judge (nor gates.watch_score=True): without it no "
                "judge is asked"
            )
        return self

    @model_validator(mode="after")
    def _legs_go_by_no_reviews(self) -> Self:
        if self.align.legs > 1 and (self.review.before_training or self.sources.reviewed):
            raise ValueError(
                f"align.legs={self.align.legs} makes pairs anew within a round, which no one can have judged: set "
                "align.legs=1, or review.before_training=False and sources.reviewed=False"
            )
        return self
