"""Import: a model from a file into the store, a published checkpoint or another store's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from infra.repair import retire
from infra.stages import find
from models.checkpoints.folder import read_folder
from models.checkpoints.opening import open_policy, open_scorer
from models.checkpoints.ours import Checkpoint, Kind, from_bytes
from models.checkpoints.published import TITLES, Weights, read_published
from models.lora import merged_state
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.digests import bytes_digest
from schemas.errors import DataError
from schemas.ids import ModelDigest
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.rows.models import has_model, model_of, model_rows, save_model


class ModelInFile(NamedTuple):
    """A whole model, as `save_model` takes it."""

    kind: Kind
    state: Mapping[str, Tensor]
    config: PolicyConfig | ScorerConfig
    parents: tuple[ModelDigest, ...]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class ImportModel(WholeStage):
    """Takes the model in the file or folder `path` into the store -> table `models`. Files count by their bytes.

    A folder is one that `adhmr export --to hub` writes. Published checkpoints come with their moving averages unless
    `weights` is "raw" (published DPO starts from those); low-rank additions are added to the weights that they belong
    to. DataError for files that hold no whole model.
    """

    path: Path
    weights: Weights | None = None

    name = "import_model"
    writes = ("models",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        data, manifest = self._files
        named = {} if manifest is None else {"manifest": bytes_digest(manifest.encode())}
        return {"file": bytes_digest(data), "weights": self.weights, **named}

    def is_kept(self, context: Context) -> bool:
        return has_model(context.store, model_of(context.store, self.key(context)))

    def make(self, context: Context) -> Rows:
        key = self.key(context)
        if find(context.store, key) is not None:
            retire(context.store, key)  # its file is gone
        context.progress.begin(self.name, 1, "models")
        saved = save_model(context.store, *self.read())
        context.progress.advance(self.name)
        context.progress.end(self.name, f"{saved.kind} {saved.digest[:12]} from {self.path.name}")
        return Rows({"models": model_rows(saved, key)})

    def read(self) -> ModelInFile:
        """The model that was given."""
        data, manifest = self._files
        if manifest is not None or data[8:9] == b"{":
            return _ours(from_bytes(data, str(self.path), manifest))
        return _published(self.path, self.weights)

    @cached_property
    def _files(self) -> tuple[bytes, str | None]:
        """What was given, and of a folder what says what it holds."""
        if self.path.is_dir():
            return read_folder(self.path)
        if not self.path.is_file():
            raise DataError(f"There is no checkpoint {self.path}: give the path of a file.")
        return self.path.read_bytes(), None


def import_model(context: Context, path: Path, weights: Weights | None = None) -> ModelDigest:
    """The digest under which the model in `path` is known from now on; as `ImportModel`."""
    return model_of(context.store, ImportModel(path, weights).run(context).key)


def _ours(checkpoint: Checkpoint) -> ModelInFile:
    manifest = checkpoint.manifest
    config = (PolicyConfig if manifest.kind == "policy" else ScorerConfig).model_validate(manifest.config)
    return ModelInFile(manifest.kind, checkpoint.state, config, manifest.parents, manifest.metrics)


def _published(path: Path, weights: Weights | None) -> ModelInFile:
    file = read_published(path)
    facts = {name: value for name, value in file.facts.items() if math.isfinite(value)}  # infinite: not yet measured
    if file.kind == "hyponet":
        policy, _ = open_policy(file, weights)
        state = {f"hyponet.{name}": value for name, value in merged_state(policy.hyponet).items()}
        state |= {f"condition.{name}": value for name, value in policy.condition.state_dict().items()}
        return ModelInFile("policy", state, policy.config, (), facts)
    if file.kind in ("scorehypo_scorenet", "hmr_scorer"):
        scorer, _ = open_scorer(file, weights)
        return ModelInFile("scorer", scorer.state_dict(), scorer.config, (), facts)
    raise DataError(f"{path} holds an encoder alone, no policy and no scorer. Found: {TITLES[file.kind]}.")
