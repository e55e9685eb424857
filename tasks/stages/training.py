"""The trainings: base policy and HMR-Scorer from nothing, alignment by pairs, further training on cleaned data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.body_arrays import body_digest
from models.encoder_files import EncoderFile, encoder_digest, encoder_path, read_encoder
from schemas.config.networks import PolicyConfig
from schemas.config.training import AlignConfig, TrainScorerConfig
from schemas.digests import stream_digest
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey
from schemas.progress import SILENT
from tasks.engine.context import Context
from tasks.engine.run_folder import RunFolder
from tasks.engine.stage import TrainingStage
from tasks.rows.instances import instance_ids
from tasks.rows.mix import Mix
from tasks.rows.models import load_policy

if TYPE_CHECKING:
    import torch

    from tasks.engine.loop import Recipe
    from tasks.engine.training_worker import Builder


@dataclass(frozen=True)
class TrainBase(TrainingStage):
    """Trains the base policy on labelled crops -> tables `models`, `curves`. DataError where labels are missing.

    It begins with the encoder of `start.encoder`, whose digest counts. Raises as `read_encoder`.
    """

    labelled: Mix

    name = "train_base"

    def key_config(self, context: Context) -> Mapping[str, Any]:
        encoder = encoder_digest(context.config.start.encoder)
        return {
            **super().key_config(context),
            "network": context.config.policy,
            "target": self.labelled.key(),
            **({"encoder": encoder} if encoder else {}),
        }

    def reads(self, context: Context) -> Sequence[StageKey]:
        return self.labelled.ingests

    def builder(self, context: Context) -> "Builder":
        path = encoder_path(context.config.start.encoder)
        encoder = None if path is None else read_encoder(path)
        # it travels with the work: a file of this machine may be on no other
        return partial(self.recipe, replace(context, progress=SILENT), encoder=encoder)

    def recipe(
        self, context: Context, run: RunFolder, device: "torch.device", encoder: EncoderFile | None = None
    ) -> "Recipe":
        from tasks.train.base import recipe

        return recipe(self, context, run, device, encoder)


@dataclass(frozen=True)
class TrainScorer(TrainingStage):
    """Trains HMR-Scorer on labelled crops and samples that a policy draws for them -> tables `models`, `curves`.

    DataError where labels are missing; ConfigError for an encoder that can't start from the policy's.
    """

    labelled: Mix
    policy: ModelDigest

    name = "train_scorer"
    kind = "scorer"

    def key_config(self, context: Context) -> Mapping[str, Any]:
        config = context.config
        return {
            **super().key_config(context),
            **_started_from(config.train_scorer),
            "network": config.scorer,
            "target": self.labelled.key(),
            "body": body_digest(config.body),
            "root_solver": config.root_solver,
            **self._measured_with(context),
        }

    def _measured_with(self, context: Context) -> dict[str, Any]:
        """The bodies of labels that are noised, and what gives the joints of errors of joints: `body` is not all."""
        train, source = context.config.train_scorer, context.config.body
        if not train.pool_noised and not any(name.endswith("mpjpe") for name in train.errors):
            return {}
        from tasks.evaluation.bodies import Kind, body_of, kinds_of

        people, store = self.labelled, context.store
        ids = instance_ids(store, people.ingests, people.targets, people.part)
        neutral: Kind = ("smpl", "neutral")
        kinds = kinds_of(store, people.ingests, ids) if train.pool_noised else {neutral}
        return {"bodies": {" ".join(kind): body_of(source, kind).digest for kind in sorted(kinds)}}

    def reads(self, context: Context) -> Sequence[StageKey]:
        return self.labelled.ingests

    def recipe(self, context: Context, run: RunFolder, device: "torch.device") -> "Recipe":
        from tasks.train.scorer import recipe

        return recipe(self, context, run, device)


@dataclass(frozen=True)
class Align(TrainingStage):
    """Moves a policy along pairs, measured against a reference -> tables `models`, `curves`.

    `labelled` are the people who are replayed, `people` (by default the same) those of the pairs; pairs of `earlier`
    rounds are learned from as well. Where `labelled` names nobody nothing is replayed: ConfigError if `align.replay`
    says otherwise. DataError if there are no pairs. Of a round in legs this is one leg. The moving average begins with
    the weights of `average`, by default of `policy`.
    """

    labelled: Mix
    pairs: StageKey
    policy: ModelDigest
    reference: ModelDigest
    people: Mix | None = None
    earlier: tuple[StageKey, ...] = ()
    average: ModelDigest | None = None

    name = "align"
    version = 2
    beside_control = True

    def settings(self, context: Context) -> AlignConfig:
        """Those of a leg, which a round without legs has one of."""
        return context.config.align.leg()

    def key_config(self, context: Context) -> Mapping[str, Any]:
        people = {} if self.people is None else self.people.named_if_several("people")
        return {**super().key_config(context), "replay": self.labelled.key(), **people}

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (*self.labelled.ingests, *self.paired.ingests, self.pairs, *self.earlier)

    @property
    def paired(self) -> Mix:
        """The people of the pairs."""
        return self.people or self.labelled

    def network(self, context: Context) -> PolicyConfig:
        return load_policy(context.store, self.policy).config

    def recipe(self, context: Context, run: RunFolder, device: "torch.device") -> "Recipe":
        from tasks.train.align import recipe

        return recipe(self, context, run, device)


@dataclass(frozen=True)
class TrainClean(TrainingStage):
    """Trains a policy further on what the stages `labels` wrote, beside labelled crops -> tables `models`, `curves`.

    `people` are those with pseudo-labels, by default of the same ingests as `labelled`. DataError if there are none.
    """

    labelled: Mix
    labels: tuple[StageKey, ...]
    policy: ModelDigest
    people: Mix | None = None

    name = "train_clean"
    beside_control = True

    def key_config(self, context: Context) -> Mapping[str, Any]:
        people = {} if self.people is None else self.people.named_if_several("people")
        return {**super().key_config(context), "labelled": self.labelled.key(), **people}

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (*self.labelled.ingests, *(self.people or self.labelled).ingests, *self.labels)

    def network(self, context: Context) -> PolicyConfig:
        return load_policy(context.store, self.policy).config

    def recipe(self, context: Context, run: RunFolder, device: "torch.device") -> "Recipe":
        from tasks.train.clean import recipe

        return recipe(self, context, run, device)


def _started_from(config: TrainScorerConfig) -> dict[str, Any]:
    """A file that an encoder starts from counts by its bytes, wherever it lies."""
    if config.encoder_file is None:
        return {}
    path = Path(config.encoder_file).expanduser()
    if not path.is_file():
        raise DataError(f"train_scorer.encoder_file: there is no file {path}.")
    state = path.stat()
    train = config.model_copy(update={"encoder_file": None})
    return {"train": train, "encoder": _digest_of(path, state.st_size, state.st_mtime_ns)}


@lru_cache(maxsize=4)
def _digest_of(path: Path, size: int, changed: int) -> str:
    """`size` and `changed` make a file that was replaced another entry of the cache."""
    with path.open("rb") as file:
        return stream_digest(file)
