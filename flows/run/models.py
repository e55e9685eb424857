"""Models as a user names them: a checkpoint file or folder, or a digest of the store or its beginning."""

from pathlib import Path
from typing import TYPE_CHECKING

from infra.store import Store
from schemas.errors import DataError
from schemas.ids import ModelDigest
from tasks.engine.context import Context
from tasks.rows.models import find_model
from tasks.stages.import_model import import_model

if TYPE_CHECKING:
    from models.checkpoints.ours import Kind


def file_of(text: str) -> Path | None:
    """The path of a model that is named as a file or folder; None for a digest."""
    path = Path(text).expanduser()
    return path if path.exists() or path.suffix or len(path.parts) > 1 else None


def model_named(context: Context, text: str, kind: "Kind") -> ModelDigest:
    """The digest of a model that is a file, which is imported first, or that the store has.

    Raises DataError where it is neither, or a model of the other kind.
    """
    path = file_of(text)
    if path is None:
        return find_model(context.store, text, kind)
    digest = import_model(context, path)
    check_kind(context.store, digest, kind, path)
    return digest


def check_kind(store: Store, digest: ModelDigest, kind: "Kind", path: Path) -> None:
    """Raise DataError where the model that `path` held is of the other kind."""
    try:
        of_kind = find_model(store, digest, kind) == digest
    except DataError:
        of_kind = False
    if not of_kind:
        other: Kind = "scorer" if kind == "policy" else "policy"
        raise DataError(f"{path} holds a {other}, where a {kind} was asked for; `adhmr doctor --checkpoint` says more.")
