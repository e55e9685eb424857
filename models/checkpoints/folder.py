"""A model as a folder, in the form that hubs and their tools know: weights, and a config.json that says what they are.

The weights are a checkpoint's file as it is. config.json is the manifest once more: tools that write safetensors anew
leave out what they don't know, and what is uploaded is often one file of several.
"""

import json
from pathlib import Path
from typing import Final

from models.checkpoints.ours import Checkpoint, from_bytes, manifest_of
from schemas.errors import DataError

WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"


def write_folder(folder: Path, data: bytes) -> None:
    """Write the model of a checkpoint's file into a folder that is there. DataError for a file without a manifest."""
    manifest = manifest_of(data)
    if manifest is None:
        raise DataError("The weights to be written have no manifest of this engine.")
    (folder / WEIGHTS).write_bytes(data)
    (folder / CONFIG).write_text(json.dumps(json.loads(manifest), indent=2) + "\n", encoding="utf-8")


def read_ours(path: Path) -> Checkpoint:
    """The model in one of our files, or in such a folder. Raises as `from_bytes`, and DataError where a file is gone.

    Of a folder config.json counts; weights that it doesn't describe are refused.
    """
    data, manifest = read_folder(path) if path.is_dir() else (path.read_bytes(), None)
    return from_bytes(data, str(path), manifest)


def read_folder(path: Path) -> tuple[bytes, str]:
    """Weights and manifest of such a folder, as they stand there. DataError where a file isn't there."""
    for name in (WEIGHTS, CONFIG):
        if not (path / name).is_file():
            raise DataError(
                f"{path} is a folder without {name}: give the file of a checkpoint, or a folder that "
                "`adhmr export --to hub` has written."
            )
    return (path / WEIGHTS).read_bytes(), (path / CONFIG).read_text("utf-8", "replace")
