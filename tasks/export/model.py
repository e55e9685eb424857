"""Models out of the store: a checkpoint's file, or a folder as hubs keep models."""

import math

from infra.store import Store
from models.checkpoints.export import Progress, not_published, write_published
from models.checkpoints.folder import write_folder
from models.checkpoints.ours import Checkpoint, policy_of, scorer_of
from schemas.ids import ModelDigest
from tasks.export.target import whole_file, whole_folder
from tasks.rows.models import model_path, read_model


def export_checkpoint(store: Store, digest: ModelDigest, target: str) -> str:
    """Write a model as the new file `target` (path or URL); says in which layout.

    That is the published one wherever it can hold the networks, so that the published code reads it; else our own.
    `adhmr import` takes both back, as the same model. Raises DataError where there is such a file already, or it can't
    be written; StoreError for a model that the store hasn't, or not whole.
    """
    checkpoint = read_model(store, digest)
    model = (policy_of if checkpoint.manifest.kind == "policy" else scorer_of)(checkpoint)
    why = not_published(model.config)
    with whole_file(target, replace=False) as file:
        if why:
            file.write_bytes(store.read_bytes(model_path(digest)))
        else:
            write_published(model, file, progress=_progress(checkpoint))
    return f"in this engine's own layout, as {why}" if why else "in the published layout"


def export_hub(store: Store, digest: ModelDigest, target: str, card: str) -> None:
    """Write a model as the new folder `target` (path or URL): weights, config.json, and `card` as README.md.

    Raises as `export_checkpoint`.
    """
    read_model(store, digest)  # a damaged one goes nowhere
    with whole_folder(target) as folder:
        write_folder(folder, store.read_bytes(model_path(digest)))
        (folder / "README.md").write_text(card, encoding="utf-8")


def _progress(checkpoint: Checkpoint) -> Progress:
    """What is known of the training: figures of the file that the model came from, or the steps that it took here."""
    figures = checkpoint.manifest.metrics
    steps = figures.get("step", figures.get("training_steps", 0))
    h36m, pw3d = (figures.get(name, math.inf) for name in ("min_mpjpe_h36m", "min_mpjpe_pw3d"))
    return Progress(int(figures.get("epoch", 0)), int(steps), min_mpjpe_h36m=h36m, min_mpjpe_pw3d=pw3d)
