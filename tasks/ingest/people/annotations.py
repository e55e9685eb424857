"""What annotation files say of people, in one form for all formats: the rows that readers of formats hand on.

A reader knows its format and nothing else: it puts a file's values under the names below, in the units below, and
leaves out (null) what the file does not say. It computes no body and opens no picture. Where a row can't be used it
says so in `reason` and `detail`, and hands the row on: every row of a file ends as an instance or as a failure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from schemas.ids import Target

ROWS_AT_ONCE = 1000
"""Rows of a batch, so that a file of a million people is read in bounded memory."""


def column(name: str, kind: pa.DataType, description: str, unit: str = "none", null: bool = True) -> pa.Field:
    """A column of a row form, described as those of the tables are."""
    return pa.field(name, kind, null, {"description": description, "unit": unit})


def vector(name: str, length: int, description: str, unit: str) -> pa.Field:
    """A column of float32 vectors of fixed length."""
    return column(name, pa.list_(pa.float32(), length), description, unit)


ANNOTATIONS = pa.schema([
    column("row", pa.int64(), "place of the person in the source, over all its files", null=False),
    column("counts_as", pa.int64(), "the number that --every counts: the row, for Human3.6M the frame", null=False),
    column("origin", pa.string(), "file and row or key, to look it up and correct it; empty: in no file", null=False),
    column("path", pa.string(), "the picture, relative to the folder of pictures"),
    column("person", pa.int32(), "which person of the picture; null: counted in the order of rows"),
    column("box", pa.list_(pa.float64(), 4), "x, y, w, h in the upright picture; null: the whole picture", "px"),
    column("box_relative", pa.bool_(), "true: x and w are parts of the picture's width, y and h of its height, not px"),
    column("box_per_joints", pa.float64(), "sides of box over joints; null: no place is fitted to them (`placing`)"),
    column("width_px", pa.int32(), "what the file says that the picture's width is", "px"),
    column("height_px", pa.int32(), "what the file says that the picture's height is", "px"),
    column("fx", pa.float64(), "focal length; null: from EXIF or the diagonal", "px"),
    column("fy", pa.float64(), "as fx; null: fx", "px"),
    column("cx", pa.float64(), "principal point; null: the middle", "px"),
    column("cy", pa.float64(), "as cx", "px"),
    column("label_kind", pa.string(), "gt or pseudo; null: the row brings no label"),
    column("body_model", pa.string(), "smpl or smplx; null: the label is key-points alone"),
    column("gender", pa.string(), "neutral, female or male"),
    vector("global_orient", 3, "root rotation in the camera frame, axis-angle", "rad"),
    vector("body_pose", 69, "joints 1 to 23, axis-angle; of SMPL-X 21, then zeros", "rad"),
    vector("betas", 10, "shape coefficients", "standard deviations"),
    vector("transl", 3, "translation of the body model in the camera frame", "m"),
    vector("extrinsics", 12, "R (row by row) and t of x_cam = R x + t, where transl is in the world frame", "none, m"),
    vector("root", 3, "place of joint 0 in the camera frame, where the file gives it in place of transl", "m"),
    vector("left_hand_pose", 45, "15 finger joints, axis-angle", "rad"),
    vector("right_hand_pose", 45, "15 finger joints, axis-angle", "rad"),
    column("left_hand_pca", pa.list_(pa.float32()), "first components of the hand's PCA, in place of its pose"),
    column("right_hand_pca", pa.list_(pa.float32()), "as left_hand_pca"),
    column("hands_absolute", pa.bool_(), "hand poses are absolute, as in BEDLAM; null: relative to the mean hand"),
    vector("jaw_pose", 3, "axis-angle", "rad"),
    vector("expression", 10, "face coefficients", "standard deviations"),
    vector("joints", 87, "the 29 joints in the camera frame as the file gives them; NaN where it gives none", "m"),
    column("joints_by", pa.string(), "body (its 29), names (points of equal names) or model (such, made by it)"),
    vector("pixels", 58, "the 29 joints in the upright picture; NaN where the file gives none", "px"),
    vector("human36m", 51, "17 joints in the camera frame, in the order of the regressor; NaN where unknown", "m"),
    vector("twist", 46, "cosine and sine of 23 twists; NaN where the file marks them as invalid", "none"),
    column("crop_rule", pa.string(), "joints (the published rule for labelled sets) or box", null=False),
    column("crop_scale", pa.float64(), "side of the crop over that of the rule's box; null: ingest.box_padding"),
    column("reason", pa.string(), "why the row can't be used; null: nothing is known against it"),
    column("detail", pa.string(), "what was seen"),
])  # fmt: skip
"""The columns of a batch. Vectors are float32 lists of fixed length."""


@dataclass(frozen=True)
class AnnotationSource:
    """Annotations to ingest as one split of a data set.

    `url` is the file or folder that the format describes, `images` the folder that its paths are relative to (None: as
    the format has it). `options` are the format's own flags, such as zero_betas for HumanData's published reading;
    `follow_links` is of pictures, as `Folder` takes it.
    """

    format: str
    url: str
    dataset: str
    split: str
    images: str | None = None
    every: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    follow_links: str | None = None

    def __str__(self) -> str:
        return str(self.target)

    @property
    def target(self) -> Target:
        """The split that it is, or belongs to."""
        return Target(self.dataset, self.split)

    def key_config(self) -> dict[str, Any]:
        """What counts towards the key of every stage that reads it. Options and content are for the stages to say."""
        followed = {} if self.follow_links is None else {"follow_links": self.follow_links}
        return {"format": self.format, "dataset": self.dataset, "split": self.split, "every": self.every, **followed}


@dataclass(frozen=True)
class Survey:
    """What a look at a source gives, before anything is ingested."""

    format: str
    """As in `AnnotationSource`; with the variant, where there is one: "humandata (BEDLAM)"."""
    files: Sequence[str]
    rows: int | None
    """People; None where only a whole reading would count them."""
    images: str
    """The folder of pictures."""
    facts: Mapping[str, str]
    """What a user wants to know: body model, units, camera, key-points, coverage; name to short text."""
    remarks: Sequence[str] = ()
    """What differs from what is expected, one sentence each: unknown keys, a guessed convention, what is cut."""
    bodies: Sequence[str] = ()
    """Kinds of bodies (smpl, smplx) that its labels are parameters of; which body files those are, no format says."""
    others: str | None = None
    """Digest of what else there is, beside files and pictures, whose change is to be noticed."""


class Reader(Protocol):
    """Reads a source of one format. Built with `Reader(source, work)`; raises DataError for a source that can't be
    used as a whole: not there, not of the format, a pickle that asks for more than arrays, a unit that nothing fits."""

    source: AnnotationSource
    work: Path
    """A local folder of its own: what must be unpacked to be read in bounded memory is put there."""

    def survey(self) -> Survey:
        """A quick look. May read headers and the first rows."""
        ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in the order of the source, in batches of at most ROWS_AT_ONCE, with the schema ANNOTATIONS."""
        ...
