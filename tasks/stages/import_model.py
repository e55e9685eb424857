"""Import: a model from a file into the store, a published checkpoint or another store's."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.repair import retire
from infra.stages import find
from schemas.digests import bytes_digest
from schemas.errors import DataError
from schemas.ids import ModelDigest
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.rows.models import has_model, model_of, model_rows, save_model

if TYPE_CHECKING:
    from models.checkpoints.published import Weights
    from tasks.import_model import ModelInFile


@dataclass(frozen=True)
class ImportModel(WholeStage):
    """Takes the model in the file or folder `path` into the store -> table `models`. Files count by their bytes.

    A folder is one that `adhmr export --to hub` writes. Published checkpoints come with their moving averages unless
    `weights` is "raw" (published DPO starts from those); low-rank additions are added to the weights that they belong
    to. DataError for files that hold no whole model.
    """

    path: Path
    weights: "Weights | None" = None

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

    def read(self) -> "ModelInFile":
        """The model that was given."""
        from tasks.import_model import model_in

        return model_in(self.path, *self._files, self.weights)

    @cached_property
    def _files(self) -> tuple[bytes, str | None]:
        """What was given, and of a folder what says what it holds."""
        if self.path.is_dir():
            from models.checkpoints.folder import read_folder

            return read_folder(self.path)
        if not self.path.is_file():
            raise DataError(f"There is no checkpoint {self.path}: give the path of a file.")
        return self.path.read_bytes(), None


def import_model(context: Context, path: Path, weights: "Weights | None" = None) -> ModelDigest:
    """The digest under which the model in `path` is known from now on; as `ImportModel`."""
    return model_of(context.store, ImportModel(path, weights).run(context).key)
