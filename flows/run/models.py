"""Models as people name them: a checkpoint file, or a digest of the store, or its beginning."""

from pathlib import Path
from typing import Literal

from infra.store import Store
from models.checkpoints import Kind
from schemas.errors import DataError
from schemas.ids import ModelDigest
from tasks.engine.context import Context
from tasks.import_model import import_model
from tasks.rows.models import find_model


def model_named(context: Context, text: str, kind: Literal["policy", "scorer"]) -> ModelDigest:
    """The digest of a model that is a file, which is imported first, or that the store has.

    Raises DataError where it is neither, or a model of the other kind.
    """
    path = Path(text).expanduser()
    if not path.is_file() and not (path.suffix or len(path.parts) > 1):
        return find_model(context.store, text, kind)
    digest = import_model(context, path)
    if not _is(context.store, digest, kind):
        other: Kind = "scorer" if kind == "policy" else "policy"
        raise DataError(f"{path} holds a {other}, where a {kind} was asked for; `adhmr doctor --checkpoint` says more.")
    return digest


def _is(store: Store, digest: str, kind: Kind) -> bool:
    try:
        return find_model(store, digest, kind) == digest
    except DataError:
        return False
