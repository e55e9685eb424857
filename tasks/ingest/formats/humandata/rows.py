"""Rows of a HumanData file as rows of `tasks.ingest.people.annotations`, a block at a time."""

from typing import Any

import numpy as np

from schemas.errors import DataError
from tasks.ingest.formats.humandata.block import Block, Values, sampled
from tasks.ingest.formats.humandata.body import HumanDataBody
from tasks.ingest.formats.humandata.file import HumanDataFile, KeyPoints
from tasks.ingest.formats.humandata.missing import BOX_PER_JOINTS, Missing
from tasks.ingest.formats.humandata.variants import CAMERA, FOUND, ROOT, UNUSED, Options
from tasks.ingest.formats.json_rows import NOT_FINITE, POINT_COUNT
from tasks.ingest.people.agreement import root_relative
from tasks.ingest.people.box_checks import are_corners, check_box_form, check_box_points, extent
from tasks.ingest.people.keypoints import BY_MODEL, BY_NAMES, HUMAN36M, JOINTS_29
from tasks.ingest.people.lengths import SMPL_BONES, unit_of
from tasks.ingest.source.folder import RefusedError


class HumanDataRows:
    """The rows of one file. Raises DataError for a file that can't be used as a whole.

    `facts` say what the file has, `remarks` what a user should know of it.
    """

    def __init__(self, file: HumanDataFile, options: Options) -> None:
        self.file, self.options = file, options
        self.remarks = list(file.remarks)
        self.camera = {name: file.camera(name) for name in ("height", "width", "focal_length", "principal_point")}
        self.body = HumanDataBody(file, options) if file.body_name else None
        self.unit = 1.0
        if self.body:
            self.remarks += self.body.remarks
        if file.keypoints_3d and self.compared != UNUSED:
            self.unit = self._unit(file.keypoints_3d)
        self.missing = self._missing()
        self.remarks += [f"{file.name}: {words}." for words in self.missing.words()]
        if file.shared:
            once = ", ".join(file.shared)
            self.remarks.append(f"{file.name}: given once, for all {file.count:,} people: {once}.")
        self.corners = self._are_corners()
        if self.corners:
            self.remarks.append(
                f"{file.name}: most of bbox_xywh look like corners (x1, y1, x2, y2), so no box is taken: write x, y, "
                "width, height."
            )
        self.facts = self._facts()

    @property
    def compared(self) -> str:
        """What 3D key-points are relative to; unused where a body is not to be compared with them."""
        return (self.options.keypoints3d or CAMERA) if self.body else CAMERA

    @property
    def by_body(self) -> bool:
        """The 3D key-points are those of the body beside them, and not only of about the same places."""
        points = self.file.keypoints_3d
        return bool(self.body and points and self.body.as_given and points.name == f"keypoints3d_{self.body.kind}")

    @property
    def _takes_pelvis(self) -> bool:
        """The 3D key-points' pelvis is that of a body in the camera frame, and so says where the body is."""
        return self.by_body and self.compared == CAMERA

    def _missing(self) -> Missing:
        points, given = self.file.keypoints_3d, self.camera["focal_length"] is not None or self.options.variant.focal_px
        joints = "none"
        if points and self.compared != UNUSED:
            joints = "root" if self._relative(points) else "own" if self._takes_pelvis else "camera"
        return Missing(
            self.options.place == FOUND,
            bool(self.body and not self.body.placed),
            joints,
            self.file.keypoints_2d is not None,
            not given and bool(self.body or points),
        )

    def _relative(self, points: KeyPoints) -> bool:
        """Whether 3D key-points are relative to the root, in most rows that are looked at."""
        sample = sampled(self.file.column(points.name))
        joints = points.of(sample.reshape(len(sample), points.count, -1), JOINTS_29) * self.unit
        known = [root_relative(each) for each in joints if np.isfinite(each[0]).all()]
        return self.compared == ROOT or 2 * sum(known) > len(known)

    def rows(self, start: int, stop: int, first: int) -> list[dict[str, Any]]:
        """Rows `start` to before `stop`; `first` is the number of the file's first row in the source."""
        block = Block(start, stop)
        numbers = range(first + start, first + stop)
        block.put("row", numbers)
        block.put("counts_as", numbers)
        block.put("origin", [f"{self.file.name}, row {row}" for row in range(start, stop)])
        block.put("path", block.texts(self.file.column("image_path"), "image_path"))
        block.put("box", block.numbers(self.file.column("bbox_xywh"), "bbox_xywh")[:, :4])
        block.fill("crop_scale", self.options.variant.crop_scale)
        labelled = bool(self.file.body_name or self.file.keypoints_3d)
        block.fill("crop_rule", "joints" if labelled else "box")
        if labelled:
            kinds = None if self.options.label_kind_given else self.file.label_kinds()
            block.put("label_kind", kinds[start:stop] if kinds else [self.options.label_kind] * len(block.rows))
        self._put_camera(block)
        self._put_keypoints(block)
        if self.missing.fits:
            block.fill("box_per_joints", BOX_PER_JOINTS)
        if self.body:
            self.body.put(block)
        for number, (reason, detail) in block.refusals.items():
            row = block.rows[number]
            place = {name: row[name] for name in ("row", "counts_as", "origin", "crop_rule", "crop_scale")}
            block.rows[number] = {**place, "path": row["path"] or None, "reason": reason, "detail": detail}
        return block.rows

    def _put_camera(self, block: Block) -> None:
        variant = self.options.variant
        width, height = self.options.image_size or variant.size or (None, None)
        cx, cy = variant.centre or (None, None)
        usual = {"width_px": width, "height_px": height, "fx": variant.focal_px, "cx": cx, "cy": cy}
        for name, value in usual.items():
            block.fill(name, value)
        for name in ("width", "height"):
            column = self.camera[name]
            if column is not None and self.options.image_size is None:
                block.put(f"{name}_px", block.positive(column, f"meta[{name}]")[:, 0].astype(int))
        focal, centre = self.camera["focal_length"], self.camera["principal_point"]
        if focal is not None:
            lengths = block.positive(focal, "meta[focal_length]")
            block.put("fx", lengths[:, 0])
            block.put("fy", lengths[:, min(1, lengths.shape[1] - 1)])
        if centre is not None:
            points = block.numbers(centre, "meta[principal_point]")
            block.put("cx", points[:, 0])
            block.put("cy", points[:, 1])

    def _put_keypoints(self, block: Block) -> None:
        flat, solid = self.file.keypoints_2d, self.file.keypoints_3d
        if flat is not None:
            stored = self._stored(block, flat)
            self._check_boxes(block, flat.valid(stored))
            block.put("pixels", flat.of(stored, JOINTS_29))
        elif self.corners:
            self._check_boxes(block, None)
        if solid is None:
            return
        values = self._stored(block, solid)
        if self.compared == UNUSED:
            return
        values[..., :3] *= self.unit
        joints = solid.of(values, JOINTS_29)
        if self.body and not self.body.placed and self._takes_pelvis:
            block.put("root", [None if _unplaced(each) else each[0].astype(np.float32) for each in joints])
        if self.compared == ROOT:
            joints = joints - joints[:, :1]
        block.put("joints", joints)
        block.fill("joints_by", BY_MODEL if self.by_body else BY_NAMES)
        if not self.body:
            block.put("human36m", solid.of(values, HUMAN36M))

    def _check_boxes(self, block: Block, points: Values | None) -> None:
        for number, row in enumerate(block.rows):
            if not np.isfinite(row["box"]).all():
                continue
            try:
                check_box_form(row["box"], self.corners)
                if points is not None:
                    check_box_points(row["box"], points[number], (row.get("width_px"), row.get("height_px")))
            except RefusedError as error:
                block.refuse(number, error.reason, error.detail)

    def _are_corners(self) -> bool:
        boxes = sampled(self.file.column("bbox_xywh"))[:, :4]
        extents, sizes = np.full((len(boxes), 4), np.nan), np.full((len(boxes), 2), np.nan)
        flat = self.file.keypoints_2d
        if flat is not None:
            stored = sampled(self.file.column(flat.name)).reshape(len(boxes), flat.count, -1)
            extents = np.array([extent(points) for points in flat.valid(stored)]).reshape(-1, 4)
        if self.options.image_size is None:
            for side, name in enumerate(("width", "height")):
                column = self.camera[name]
                if column is not None:
                    sizes[:, side] = sampled(column).reshape(len(boxes), -1)[:, 0]
        return are_corners(boxes, extents, sizes)

    def _stored(self, block: Block, points: KeyPoints) -> Values:
        """Key-points (n, K, D) as the file has them. Columns that the mask calls invalid may hold anything."""
        part = Block(block.start, block.stop)
        numbers = part.numbers(self.file.column(points.name), points.name, POINT_COUNT)
        stored = numbers.reshape(len(block.rows), points.count, -1)
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.asarray(np.isfinite(stored[:, points.used].astype(np.float32)).all((1, 2)))
        for number, (reason, detail) in part.refusals.items():
            if reason != NOT_FINITE or not finite[number]:
                block.refuse(number, reason, detail)
        return stored

    def _unit(self, points: KeyPoints) -> float:
        sample = sampled(self.file.column(points.name))
        joints = points.of(sample.reshape(len(sample), points.count, -1), JOINTS_29)
        ends = [end for bone in SMPL_BONES for end in (bone.start, bone.end)]
        if not np.isfinite(joints[:, ends]).any():
            self.remarks.append(f"{self.file.name}: no arms or legs to tell the unit by; lengths are taken as metres.")
            return 1.0
        try:
            return unit_of(joints, f"{self.file.name}, {points.name}")
        except DataError as error:
            if not self.body:
                raise
            self.remarks.append(f"{error} They are compared with the bodies as if they were metres.")
            return 1.0

    def _facts(self) -> dict[str, str]:
        file, variant, image_size = self.file, self.options.variant, self.options.image_size
        size = image_size or variant.size
        stated = self.camera["width"] is not None and self.camera["height"] is not None and image_size is None
        published = f"{size[0]} x {size[1]}" if size else "as the pictures have it"
        otherwise = "fitted to 2D key-points" if self.missing.finds_lens else "the diagonal"
        fixed = f"focal length {variant.focal_px:g} px" if variant.focal_px else f"none: from EXIF, else {otherwise}"
        if stated and size is not None:
            self._compare_sizes(size)
        return {
            "body": self.body.described if self.body else "none, key-points alone",
            "2D key-points": _described(file.keypoints_2d),
            "3D key-points": _described(file.keypoints_3d),
            **({"compared with bodies": self._comparison()} if self.body else {}),
            "unit": "metres" if self.unit == 1.0 else "millimetres, turned into metres",
            "picture size": "meta" if stated else published,
            "camera": fixed if self.camera["focal_length"] is None else "meta",
            "labels": self.options.label_kind,
        }

    def _comparison(self) -> str:
        if not self.file.keypoints_3d or self.compared == UNUSED:
            return "no 3D key-points"
        where = {CAMERA: "in the camera frame", ROOT: "from the root on"}[self.compared]
        makers = "of the same body" if self.by_body else "of equal names, some cm away"
        return f"3D key-points {makers}, {where}"

    def _compare_sizes(self, size: tuple[int, int]) -> None:
        columns = (self.camera["width"], self.camera["height"])
        width, height = (sampled(column) for column in columns if column is not None)
        if len(width) and (np.any(width != size[0]) or np.any(height != size[1])):
            self.remarks.append(
                f"{self.file.name}: {self.options.variant.name}'s pictures are published as {size[0]} x {size[1]}; "
                f"meta says {width.flat[0]:g} x {height.flat[0]:g} and is believed (image_size overrules it)."
            )


def _described(points: KeyPoints | None) -> str:
    return f"{points.name}, {len(points.used)} of 190" if points else "none"


def _unplaced(joints: Values) -> bool:
    return not np.isfinite(joints[0]).all() or root_relative(joints)
