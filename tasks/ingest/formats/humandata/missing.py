"""What a HumanData file doesn't say of places and cameras, and what is done about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tasks.ingest.people.posed import NO_PLACE

BOX_PER_JOINTS: Final = 1.2
"""By as much do the converters of mmhuman3d enlarge the box around key-points."""


@dataclass(frozen=True)
class Missing:
    """What one file lacks. `fitted`: the user lets it be fitted to what is seen."""

    fitted: bool
    transl: bool
    """It has bodies without a translation."""
    joints: str
    """Its 3D key-points: own (those of the body beside them, in the camera frame), camera, root or none."""
    points: bool
    """It has 2D key-points (so that the next can be found)."""
    lens: bool
    """It has labels and no focal length."""

    @property
    def place(self) -> bool:
        """People of the file have no place."""
        return self.joints != "own" if self.transl else self.joints == "root"

    @property
    def fits(self) -> bool:
        """Something is fitted: a place, or a focal length."""
        return self.fitted and (self.place or self.finds_lens)

    @property
    def finds_lens(self) -> bool:
        """Focal lengths are fitted to the 2D key-points."""
        return self.fitted and self.lens and self.points

    def words(self) -> Iterator[str]:
        """All of it for people, a sentence each."""
        if self.transl and not self.place:
            yield "there is no transl; bodies are where the pelvis of the 3D key-points is"
        if self.place and not self.fitted:
            yield NO_PLACE
        elif self.place:
            what = "there is no transl" if self.transl else "3D key-points are relative to the root"
            seen = "3D key-points" if self.joints == "camera" else "2D key-points" if self.points else "box"
            yield (
                f"{what}, so that nothing says where people are. Each is put where the label fits its {seen} best "
                "(placed_by in labels), and only what is relative to the root is exact; place=refused lets them fail"
            )
        if self.finds_lens:
            yield (
                "no focal length is given. Each person's, where EXIF has none either, is that by which the label lies "
                "on the 2D key-points (intrinsics_source is points); place=refused takes the picture's diagonal"
            )
