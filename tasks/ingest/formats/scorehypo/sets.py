"""The seven data sets whose annotations ScoreHypo and ADHMR read as json files: how they differ, and where each has
what. From the public description of the files that HybrIK and ScoreHypo distribute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mode
from typing import Any, Final

from schemas.errors import DataError
from tasks.ingest.formats.json_rows import shown

HUMAN36M_COUNT: Final = 17
MPI_INF_3DHP: Final = {28: ("hybrik_hp3d", "mpi_inf_3dhp"), 17: ("mpi_inf_3dhp_test", "mpi_inf_3dhp_test")}
"""The conventions of MPI-INF-3DHP's points, by their count: for the 29 joints, and for the 17, whose hips and pelvis
are those of the markers. The published conversion calls the same points by both names."""


@dataclass(frozen=True)
class PublishedSet:
    """One of the seven. Keys are those of a person's row, which in a container is its image and its annotation in one.

    `joints`, `human36m` and `pixels` may be missing; of `pixels` the first that a row has counts.
    """

    name: str
    """What the option `set` calls it."""
    title: str
    label_kind: str
    joints: str
    human36m: str
    pixels: tuple[str, ...]
    focal: tuple[str, ...]
    """Where the two focal lengths are, key by key."""
    centre: tuple[str, ...]
    pictures: tuple[str, ...]
    """Folders below the root that the pictures may be in: the first is the published one."""
    path: tuple[str, ...]
    """Keys whose texts, joined by /, are the picture's path there."""
    container: bool = True
    """Two lists, images and annotations; else one list of people."""
    joined: bool = False
    """Annotations name their image by image_id; else the two lists are of one length and order."""
    crop_scale: float = 1.25
    without_leaves: bool = False
    """The five leaves are not labelled, whatever the file has there."""


_LIST: Final[dict[str, Any]] = {
    "label_kind": "pseudo",
    "joints": "joint_cam_29",
    "human36m": "joint_cam_17",
    "pixels": ("joint_img_29",),
    "focal": ("f",),
    "centre": ("c",),
    "path": ("img_path",),
    "container": False,
}
SETS: Final = {
    published.name: published
    for published in (
        PublishedSet(
            "3dpw", "3DPW", "gt", "smpl_joint_cam", "h36m_joints", ("smpl_joint_img", "joint_2d"),
            ("cam_param", "focal"), ("cam_param", "princpt"), ("imageFiles", ""), ("sequence", "file_name"),
            joined=True,
        ),
        PublishedSet(
            "human36m", "Human3.6M", "gt", "smpl_joints", "h36m_joints", ("joint_2d",),
            ("cam_param", "f"), ("cam_param", "c"), ("images", ""), ("file_name",), crop_scale=1.0,
        ),
        PublishedSet(
            "mpi-inf-3dhp", "MPI-INF-3DHP", "gt", "keypoints_cam", "", (),
            ("cam_param", "intrinsic_param"), ("cam_param", "intrinsic_param"),
            ("images", "mpi_inf_3dhp_train_set", "mpi_inf_3dhp_test_set", ""), ("file_name",),
        ),
        PublishedSet("coco", "COCO", pictures=("images", ""), **_LIST),
        PublishedSet("mpii", "MPII", pictures=("", "images"), **_LIST),
        PublishedSet("up3d", "UP3D", pictures=("", "images"), **_LIST),
        PublishedSet(
            "surreal", "SURREAL", pictures=("", "images"), without_leaves=True, **_LIST | {"label_kind": "gt"}
        ),
    )
}  # fmt: skip
"""By name. Bodies of COCO, MPII and UP3D were fitted to key-points, so they are pseudo labels."""


def recognise(container: bool, rows: Sequence[Mapping[str, Any]], file_name: str, where: str) -> PublishedSet:
    """Which set a file holds, by what most of its first rows have. MPII and UP3D are the same but for the file's name.

    Raises DataError for rows of none of the sets.
    """
    names = [name for row in rows if (name := _set_of(container, row, file_name))]
    if not names:
        keys = shown(sorted({key for row in rows[:20] for key in row})[:40])
        what = "an object with images and annotations" if container else "a list"
        raise DataError(
            f"{where} is {what}, but its rows are those of none of {', '.join(each.title for each in SETS.values())}; "
            f"their keys are {keys}. Check the file, or name the set with the option set."
        )
    return SETS[mode(names)]


def _set_of(container: bool, row: Mapping[str, Any], file_name: str) -> str | None:
    if container:
        marks = {"keypoints_cam": "mpi-inf-3dhp", "thetas": "human36m", "smpl_joints": "human36m"}
        marks |= {"smpl_joint_cam": "3dpw", "smpl_param": "3dpw"}
        return next((name for key, name in marks.items() if key in row), None)
    if "joint_cam_29" not in row and "joint_img_29" not in row:
        return None
    if "joint_cam_valid" in row:
        return "coco"
    if "img_name" not in row:
        return "surreal"
    return "up3d" if "up3d" in file_name.lower() or "up-3d" in file_name.lower() else "mpii"
