"""The npz files that SPIN (Kolotouros et al., ICCV 2019) made of data sets, in its names or in those of 4D-Humans.

A row is a person: `imgname`, `center` and `scale` of a square around it, the scale in 200 pixels (SPIN) or in pixels
(4D-Humans). There may be `pose` or `body_pose` (72 numbers, axis-angle, the root turned into the camera's frame),
`shape` or `betas`, `gender`, `has_smpl` or `has_body_pose` and `has_betas`; key-points, 24 of SPIN's own order and 25
of OpenPose, in the picture (`part`, `openpose`); and joints in metres, from the root on (`S`).

No such file says where people are, or what the lens was: places are fitted (`tasks.ingest.people.placing`).
"""

from collections.abc import Iterator
from typing import Final

from tasks.ingest.formats.flat_npz import FlatNpz
from tasks.ingest.formats.flat_reader import FlatReader
from tasks.ingest.formats.spin_npz.rows import USED, SpinRows

NAME: Final = "spin-npz"


class SpinNpz(FlatReader):
    """Reads such files."""

    name = NAME
    needed = ()
    used = USED

    def part(self, url: str, file: FlatNpz) -> SpinRows:
        """As `FlatReader`."""
        return SpinRows(file, self.label_kind)

    def remarks(self) -> Iterator[str]:
        """How people get their places."""
        seen = [part.seen for part in self.parts if part.labelled]
        if not seen:
            return
        by = "2D key-points" if all(seen) else "2D key-points or box" if any(seen) else "box"
        few = "" if all(seen) else " Those by boxes are for measuring, and off by some pixels for training."
        yield (
            f"Nothing says where people are. Each is put where the label fits its {by} best (placed_by in labels), and "
            f"only what is relative to the root is exact.{few}"
        )
