"""BEDLAM's labels (Black et al., CVPR 2023) as they are published: an .npz for each scene, and others in that form.

A row is a person: `imgname`, `center` and `scale` of a square around it (200 px), `pose_cam` (SMPL-X: root, 21 joints,
jaw, two eyes, 15 joints of each hand, 165 numbers; SMPL: 72), `shape`, `cam_int` (3, 3), `gtkps` in the picture. The
body's translation is `trans_cam` plus the last column of `cam_ext`. Hands are absolute. `gender` is that of the person,
while the parameters are of the neutral body.
"""

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from tasks.ingest.formats.flat_npz import PLACE, FlatNpz, as_vectors, by_name, seen_points
from tasks.ingest.formats.flat_reader import FlatReader, FlatRows
from tasks.ingest.formats.humandata.block import Block
from tasks.ingest.formats.option_values import flag
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.boxes import LARGEST
from tasks.ingest.source.files import open_url

NAME: Final = "bedlam"
NEEDED: Final = ("pose_cam", "shape", "cam_int")
_PLACES: Final = ("trans_cam", "cam_ext")
_UNREAD: Final = ("pose_world", "trans_world", "proj_verts", "motion_info", "sub", "gender", "gtkps")
_OF_HANDS: Final = ("lh_c", "rh_c", "lh_s", "rh_s", "hand_det_conf")
USED: Final = (*PLACE, *NEEDED, *_PLACES, *_UNREAD, *_OF_HANDS)
"""Members that are used, or left out without a word."""
_SMPL, _SMPLX_BODY, _SMPLX = 72, 66, 165
_POINTS: Final = {24: "smpl_45", 45: "smpl_45", 127: "smplx", 144: "smplx"}
"""What the first key-points of so many are."""
_SIZES: Final = ((1280, 720), (720, 1280))
"""Of BEDLAM's pictures, those of close-ups once they are turned upright."""


class Bedlam(FlatReader):
    """Reads such files. Pictures are in `images`: in its folder SCENE/png, or SCENE, if it has one with the name of the
    file (as BEDLAM is unpacked), else at once. Options: gendered, label_kind.
    """

    name = NAME
    needed = NEEDED
    used = USED

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        super().__init__(source, work)
        self.gendered = flag(source.options, "gendered", NAME)

    def part(self, url: str, file: FlatNpz) -> "BedlamRows":
        """As `FlatReader`."""
        scene = posixpath.basename(url).removesuffix(".npz")
        fs, images = open_url(self.images)
        inner = (f"{scene}/png", scene)
        folder = next((f"{one}/" for one in inner if fs.isdir(posixpath.join(images, one))), "")
        return BedlamRows(file, folder, self.gendered, self.label_kind)

    def remarks(self) -> Iterator[str]:
        """What genders mean."""
        if any("gender" in part.file for part in self.parts) and not self.gendered:
            yield (
                "gender is taken for the person's, and parameters for those of the neutral body, as BEDLAM's are; "
                "gendered=true reads them as those of the person's gender."
            )


class BedlamRows(FlatRows):
    """The rows of one file, whose pictures are in `folder`."""

    def __init__(self, file: FlatNpz, folder: str, gendered: bool, label_kind: str) -> None:
        self.file, self.folder, self.gendered, self.label_kind = file, folder, gendered, label_kind
        self.pose = file.numbers("pose_cam", _SMPL, _SMPLX_BODY, _SMPLX)
        self.numbers = int(np.prod(self.pose.shape[1:]))
        self.model = "smpl" if self.numbers == _SMPL else "smplx"
        shape = file.betas(("shape",))
        assert shape is not None
        self.shape, self.camera = shape, file.numbers("cam_int", 9)
        self.place = file.first(("trans_cam",), 3)
        self.outer = file.first(("cam_ext",), 16, 12) if self.place else None
        self.points = file.points(("gtkps",), tuple(_POINTS), (2, 3))
        if gendered:
            file.genders()
        self.facts = {
            "body": self.model,
            "box": f"center and scale, in {'pixels' if file.in_pixels else '200 px'}",
            "2D key-points": f"gtkps, {self.points[1]}" if self.points else "none",
            "camera": "cam_int",
            "place": "fitted" if not self.place else "trans_cam + cam_ext" if self.outer else "trans_cam",
            "pictures": f"below {folder}" if folder else "as imgname has them",
            "labels": label_kind,
        }

    def put(self, block: Block, first: int) -> None:
        """As `FlatRows`."""
        block.fill("crop_rule", "joints")
        block.fill("label_kind", self.label_kind)
        self.file.put_place(block, first, self.folder)
        self._put_camera(block)
        if self.points is not None:
            column, count = self.points
            points = seen_points(block, column, "gtkps", 2)
            block.put("pixels", as_vectors(by_name(points, _POINTS[count])))
        self._put_body(block)

    def _put_camera(self, block: Block) -> None:
        camera = block.numbers(self.camera, "cam_int").reshape(-1, 3, 3)
        read = {"fx": camera[:, 0, 0], "fy": camera[:, 1, 1], "cx": camera[:, 0, 2], "cy": camera[:, 1, 2]}
        for name, values in read.items():
            block.put(name, values)
        with np.errstate(invalid="ignore"):
            lenses = np.stack([read["fx"], read["fy"]], 1)
            good = ((lenses > 0) & (lenses < LARGEST)).all(1) & (np.abs(camera[:, :2, 2]) < LARGEST).all(1)
        for number in np.flatnonzero(~good):
            fx, fy = lenses[number]
            block.refuse(int(number), "camera not usable", f"cam_int: focal lengths {fx:g}, {fy:g}")
        if self.place is not None:
            block.fill("box_per_joints", None)
        sizes = [_size(2 * cx, 2 * cy) for cx, cy in camera[:, :2, 2]]
        block.put("width_px", [size and size[0] for size in sizes])
        block.put("height_px", [size and size[1] for size in sizes])

    def _put_body(self, block: Block) -> None:
        pose = as_vectors(block.numbers(self.pose, "pose_cam"))
        block.fill("body_model", self.model)
        block.put("global_orient", pose[:, :3])
        body = pose[:, 3 : _SMPL if self.model == "smpl" else _SMPLX_BODY]
        block.put("body_pose", np.pad(body, ((0, 0), (0, 69 - body.shape[1]))))
        if self.numbers == _SMPLX:
            block.put("jaw_pose", pose[:, 66:69])
            block.put("left_hand_pose", pose[:, 75:120])
            block.put("right_hand_pose", pose[:, 120:165])
            block.fill("hands_absolute", True)
        self.file.put_betas(block, self.shape, "shape")
        if self.gendered:
            self.file.put_genders(block)
        else:
            block.fill("gender", "neutral")
        if self.place is not None:
            transl = block.numbers(self.place, "trans_cam")
            if self.outer is not None:
                outer = block.numbers(self.outer, "cam_ext").reshape(len(transl), -1, 4)
                transl = transl + outer[:, :3, 3]
            block.put("transl", as_vectors(transl))


def _size(width: float, height: float) -> tuple[int, int] | None:
    """The picture's size by the principal point, which is its middle in BEDLAM's; None for others."""
    return next((size for size in _SIZES if np.allclose(size, (width, height), atol=0.01)), None)
