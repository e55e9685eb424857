"""3DPW's own files, sequenceFiles/<split>/<sequence>.pkl, which Python 2 has written: up to two people a sequence.

Frames whose camera was not aligned with the picture (`campose_valid`) don't count. Boxes are around the file's own 3D
joints, which the posed body is compared with; `poses2d` are detections, and have to lie in the box.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from models.skeleton import BETAS, SMPL_JOINTS
from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.json_rows import shown
from tasks.ingest.formats.sequence_rows import PerFrame, Recording, Track, camera_of
from tasks.ingest.formats.sequences import SequenceReader, ancestor, needed, text_in, track_or_error
from tasks.ingest.people.annotations import AnnotationSource

NAME: Final = "pw3d-pkl"
KEYS: Final = frozenset({"poses", "betas", "trans", "cam_poses", "cam_intrinsics", "campose_valid"})
"""What every file has."""
_JOINTS: Final = ("compared", "unused")
_DETECTED: Final = 18
_MOST_PEOPLE: Final = 100


class Pw3dReader(SequenceReader):
    """The people of 3DPW's sequences. `options`: joints (compared or unused)."""

    name: ClassVar = NAME
    of: ClassVar = "3DPW (sequenceFiles/test)"
    suffix: ClassVar = ".pkl"
    depth: ClassVar = 1

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        super().__init__(source, work)
        joints = str(source.options.get("joints", _JOINTS[0]))
        if joints not in _JOINTS:
            raise ConfigError(f"The option joints is {' or '.join(_JOINTS)}, not {joints!r}.")
        self._compares = joints == _JOINTS[0]

    def usual_images(self) -> str:
        return f"{ancestor(self.urls[0], 3)}/imageFiles"

    def recording(self, content: Mapping[str, Any], name: str, work: Path) -> Recording:
        cameras = needed(content, "cam_poses", name)
        frames, people = _count(cameras, "cam_poses", name), _count(needed(content, "poses", name), "poses", name)
        if not frames:
            raise DataError(f"{name} has no frame.")
        if people > _MOST_PEOPLE:
            raise DataError(f"{name}, poses: {people} people are more than any sequence of 3DPW has.")

        def track(person: int) -> Track:
            def own(key: str) -> Any:
                values = needed(content, key, name)
                if _count(values, key, name) <= person:
                    raise DataError(f"{name}, {key}: there is none of person {person}.")
                return values[person]

            def by_frame(values: Any, key: str, *shape: int, cut: bool = False) -> PerFrame:
                return PerFrame(values, frames, shape, f"{name}, {key} of person {person}", work, cut)

            def optional(key: str, *shape: int) -> PerFrame | None:
                return by_frame(own(key), key, *shape) if content.get(key) is not None else None

            poses = by_frame(own("poses"), "poses", 3 * SMPL_JOINTS)
            return Track(
                person,
                own("genders" if "genders" in content else "gender"),
                by_frame([own("betas")], "betas", BETAS, cut=True),
                poses.part(slice(0, 3)),
                poses.part(slice(3, None)),
                by_frame(own("trans"), "trans", 3),
                by_frame(own("campose_valid"), "campose_valid", 1),
                joints=optional("jointPositions", SMPL_JOINTS, 3) if self._compares else None,
                detected=optional("poses2d", 3, _DETECTED),
            )

        return Recording(
            frames,
            f"{text_in(content, 'sequence', name)}/image_",
            camera_of(content.get("cam_intrinsics")),
            PerFrame(cameras, frames, (4, 4), f"{name}, cam_poses", work),
            [track_or_error(lambda person=person: track(person)) for person in range(people)],  # type: ignore[misc]
            "campose_valid",
        )


def _count(values: Any, key: str, name: str) -> int:
    if not isinstance(values, list) and not (isinstance(values, np.ndarray) and values.ndim):
        raise DataError(f"{name}, {key}: a list is expected, not {shown(values)}.")
    return len(values)
