"""EMDB's own files, P<n>/<sequence>/P<n>_<sequence>_data.pkl: one person a sequence.

Frames in which the person can't be seen (`good_frames_mask`), or whose box the file calls invalid, don't count.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from models.skeleton import BETAS, SMPL_JOINTS
from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.json_rows import or_refusal, shown, sides
from tasks.ingest.formats.sequence_rows import PerFrame, Recording, Track, camera_of
from tasks.ingest.formats.sequences import SequenceReader, ancestor, needed, table_in, text_in, track_or_error
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.source.folder import RefusedError

NAME: Final = "emdb-pkl"
SUFFIX: Final = "_data.pkl"
KEYS: Final = frozenset({"name", "camera", "smpl", "good_frames_mask"})
"""What every file has."""
DEPTH: Final = 3
_PARTS: Final = {"1": "emdb1", "2": "emdb2", "all": None}


class EmdbReader(SequenceReader):
    """The people of EMDB's sequences. `options`: part (1, 2 or all)."""

    name: ClassVar = NAME
    of: ClassVar = "EMDB"
    suffix: ClassVar = SUFFIX
    depth: ClassVar = DEPTH

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        super().__init__(source, work)
        part = str(source.options.get("part", "all"))
        if part not in _PARTS:
            raise ConfigError(f"The option part is {', '.join(_PARTS)}, not {part!r}.")
        self._part = _PARTS[part]

    def usual_images(self) -> str:
        return ancestor(self.urls[0], 3)

    def recording(self, content: Mapping[str, Any], name: str, work: Path) -> Recording | None:
        if self._part is not None and not content.get(self._part):
            return None
        sequence = text_in(content, "name", name)
        subject, _, rest = sequence.partition("_")
        if not subject or not rest:
            raise DataError(f"{name}, name: <subject>_<sequence> is expected, not {shown(sequence)}.")
        camera = table_in(content, "camera", name)
        cameras = needed(camera, "extrinsics", f"{name}, camera")
        frames = len(cameras) if isinstance(cameras, np.ndarray) and cameras.ndim else 0
        if not frames:
            raise DataError(f"{name}, camera: extrinsics have no frame.")
        size = or_refusal(sides, {key: _plain(camera.get(key)) for key in ("width", "height")})
        if isinstance(size, RefusedError):
            raise DataError(f"{name}, camera: {size.detail}.")

        def track() -> Track:
            smpl = table_in(content, "smpl", name)

            def by_frame(values: Any, key: str, *shape: int, cut: bool = False) -> PerFrame:
                return PerFrame(values, frames, shape, f"{name}, {key}", work, cut)

            def parameter(key: str, *shape: int) -> PerFrame:
                return by_frame(needed(smpl, key, f"{name}, smpl"), f"smpl[{key}]", *shape)

            betas = needed(smpl, "betas", f"{name}, smpl")
            pixels, boxes = content.get("kp2d"), table_in(content, "bboxes", name)
            corners = needed(boxes, "bboxes", f"{name}, bboxes")
            good = np.array(_mask(needed(content, "good_frames_mask", name), frames, name))
            invalid = boxes.get("invalid_idxs")
            if isinstance(invalid, np.ndarray) and invalid.dtype.kind in "iu":
                good[invalid[(invalid >= 0) & (invalid < frames)]] = False
            return Track(
                0,
                needed(content, "gender", name),
                by_frame(betas if np.ndim(betas) > 1 else [betas], "smpl[betas]", BETAS, cut=True),
                parameter("poses_root", 3),
                parameter("poses_body", 3 * (SMPL_JOINTS - 1)),
                parameter("trans", 3),
                by_frame(good, "good_frames_mask", 1),
                pixels=None if pixels is None else by_frame(pixels, "kp2d", SMPL_JOINTS, 2),
                corners=by_frame(corners, "bboxes", 4),
            )

        return Recording(
            frames,
            f"{subject}/{rest}/images/",
            camera_of(camera.get("intrinsics")),
            PerFrame(cameras, frames, (4, 4), f"{name}, extrinsics", work),
            [track_or_error(track)],
            "good_frames_mask",
            size,
        )


def _mask(values: Any, frames: int, name: str) -> Any:
    if not isinstance(values, np.ndarray) or values.shape != (frames,) or values.dtype.kind not in "biu":
        raise DataError(f"{name}, good_frames_mask: a value for each of the {frames} frames is expected.")
    return values > 0


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's."""
    return value.item() if isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0 else value
