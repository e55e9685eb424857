"""Where a campaign's people and models come from: data sets by role, how each is taken in, and what it starts with."""

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, field_validator, model_validator

from schemas.config.base import Config, setting
from schemas.errors import DataError
from schemas.ids import Target, image_id
from schemas.splits import SCORER_TRAIN, SOURCE_TEST, SOURCE_TRAIN, WILD_TEST, WILD_TRAIN, WILD_VALIDATION


def _checked_target(text: str) -> str:
    """A name like dataset/split. ValueError for another."""
    dataset, _, split = text.partition("/")
    try:
        image_id(dataset, split, "x")
    except DataError as error:
        raise ValueError(f"a source is called DATASET/SPLIT, such as 3dpw/train: {error}") from error
    return text


SplitName: TypeAlias = Annotated[str, AfterValidator(_checked_target)]


class Source(Config):
    """A split of a data set, and how much of a batch comes from it. In a file the name alone is enough."""

    data: SplitName = setting(..., "data set and split, such as 3dpw/train", "-")
    weight: float = setting(
        1.0, "share of the people that training draws, against the other sources' weights", "1", gt=0
    )
    protocol: Literal["3dpw", "human36m"] | None = setting(
        None, "of test: a published protocol by which rounds measure it too, beside the engine's own measures", "-"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"data": value} if isinstance(value, str) else value

    @property
    def target(self) -> Target:
        """The split."""
        return Target(*self.data.split("/"))


def _sources(target: Target, description: str, least: int = 1) -> Any:
    return setting((Source(data=str(target)),), description, "-", later=True, min_length=least)


ROLES: Final = ("labelled", "scorer", "wild", "validation", "test", "drift")
"""What the people of a data set are there for; fields of `SourcesConfig`."""


class SourcesConfig(Config):
    """The data sets of a campaign, by role. The default is the world that the engine makes itself."""

    labelled: tuple[Source, ...] = _sources(
        SOURCE_TRAIN, "labelled people: train the base policy, and are replayed by later trainings"
    )
    scorer: tuple[Source, ...] = _sources(SCORER_TRAIN, "labelled people that train HMR-Scorer")
    wild: tuple[Source, ...] = _sources(
        WILD_TRAIN,
        "people who give hypotheses and pairs, or pseudo-labels; `clean --labels ingested` alone reads theirs",
    )
    validation: tuple[Source, ...] = _sources(
        WILD_VALIDATION, "held-out labelled people that gates read; none: nothing is promoted", 0
    )
    test: tuple[Source, ...] = _sources(
        WILD_TEST, "held-out labelled people that reports alone read; the first is the headline", 0
    )
    drift: tuple[Source, ...] = _sources(
        SOURCE_TEST, "held-out labelled people of the kind that the first policy learned: drift", 0
    )

    reviewed: bool = setting(
        False,
        "whether DPO rounds train, beside their own pairs, on those of the campaign's earlier rounds that people have "
        "accepted or swapped",
        "-",
        later=True,
    )

    @field_validator(*ROLES, mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value

    @model_validator(mode="after")
    def _nothing_is_held_out_and_learned(self) -> Self:
        learned = {source.data for role in ("labelled", "scorer", "wild") for source in getattr(self, role)}
        for role in ("validation", "test", "drift"):
            for source in getattr(self, role):
                if source.data in learned:
                    raise ValueError(f"{source.data} is a source of {role}, and one that is trained on too")
        for role in ROLES:
            measured = [source.data for source in getattr(self, role) if source.protocol]
            if measured and role != "test":
                raise ValueError(f"{role}: {measured[0]} has a protocol; those are for sources of test")
            names = [source.data for source in getattr(self, role)]
            if len(set(names)) < len(names):
                raise ValueError(f"{role} names {max(names, key=names.count)} twice")
        return self

    def targets(self, *roles: str) -> tuple[Target, ...]:
        """The splits of these roles, in their order, each once."""
        return tuple(dict.fromkeys(source.target for role in roles for source in getattr(self, role)))

    @property
    def held_out(self) -> tuple[Target, ...]:
        """What a policy is measured on."""
        return self.targets("validation", "test", "drift")


class DataSetConfig(Config):
    """How a split gets into a store that doesn't have it: what `adhmr ingest` is told."""

    name: SplitName = setting(..., "data set and split, such as 3dpw/train", "-")
    format: str = setting(..., "format of the source", "-")
    source: str = setting(..., "path or URL of the file, or of the folder that the format is", "-")
    images: str | None = setting(None, "folder of pictures that the file's paths start from", "-")
    body: str | None = setting(None, "folder of body files that pose the labels", "-")
    every: int = setting(1, "take every N-th row of the file", "rows", ge=1)
    options: dict[str, str] = setting({}, "the format's own options", "-")

    @property
    def target(self) -> Target:
        """The split."""
        return Target(*self.name.split("/"))


TRAIN: Final = "train"
"""In place of a model: the campaign trains one."""


SHIPPED: Final = "shipped"
"""In place of an encoder: the one that comes with the engine."""


class StartConfig(Config):
    """The models that a campaign begins with."""

    encoder: str = setting(
        "train",
        "image encoder that the first policy is trained from: train (from nothing), shipped (the one that comes with "
        "the engine, for the sizes of its file), or a file that `make pretrain` writes; train_base."
        "optimiser.encoder_learning_rate=0 leaves it as it is",
        "-",
        later=True,
    )

    policy: str = setting(
        "train", "first policy: train, a digest (or its beginning), or a checkpoint file", "-", later=True
    )
    raw: str | None = setting(
        None,
        "policy whose weights alignment of the first policy begins with and is measured against, as published: a "
        "digest, or a checkpoint file, of which the raw weights are taken; the first policy's, an average, are where "
        "the moving average begins. Unset: the first policy is all of that",
        "-",
        later=True,
    )
    scorer: str = setting(
        "train", "HMR-Scorer: train, a digest (or its beginning), or a checkpoint file", "-", later=True
    )
    judge: str | None = setting(
        None,
        "second scorer that chooses no pair, for gates.without_labels=judge or gates.watch_score: train (on half of "
        "sources.scorer, which HMR-Scorer then doesn't see), a digest (or its beginning), or a checkpoint file",
        "-",
        later=True,
    )

    @model_validator(mode="after")
    def _raw_weights_are_somebodys(self) -> "StartConfig":
        if self.raw is not None and TRAIN in (self.raw, self.policy):
            raise ValueError("raw is for a first policy that is given: what is trained here has no other weights")
        return self
