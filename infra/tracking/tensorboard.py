"""TensorBoard: event files below the store's `tracking/<campaign>/<round>`, a folder for each training.

On a disk they grow while the training goes on. At its end one file with all points takes their place: those of a
training that was killed and went on are in it once, and that is what gets into a store on S3.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tensorboardX import SummaryWriter

from infra.tracking.tracking import Point, Tracked

_FOLDER: Final = "tracking"
_SECONDS: Final = 1
"""After which a point is in the file, at the latest."""


class TensorBoard:
    """The event files of a training."""

    def __init__(self, tracked: Tracked) -> None:
        self.store, self.text = tracked.store, f"stage {tracked.stage_key}"
        self.folder = f"{_FOLDER}/{tracked.campaign}/{tracked.round}/{tracked.name}"
        self.live: SummaryWriter | None = None
        if self.store.is_local:
            self.live = SummaryWriter(self.store.path(self.folder), flush_secs=_SECONDS)

    def points(self, points: Sequence[Point]) -> None:
        if self.live is not None:
            _write(self.live, points)

    def end(self, history: Sequence[Point], model: str) -> None:
        self.abort()
        before = self.store.list_files(self.folder)
        with TemporaryDirectory(prefix="adhmr-tracking-") as made:
            writer = SummaryWriter(made)
            _write(writer, history)
            writer.add_text("made", f"{self.text}, model {model}")
            writer.close()
            for file in Path(made).iterdir():
                self.store.atomic_write(f"{self.folder}/{file.name}", file.read_bytes())
                before = [path for path in before if not path.endswith(f"/{file.name}")]
        for path in before:
            self.store.remove(path)

    def abort(self) -> None:
        if self.live is not None:
            self.live.close()


def _write(writer: SummaryWriter, points: Sequence[Point]) -> None:
    for step, figures in points:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
