"""The bodies and labels that published evaluations measure with.

Those evaluations look at 14 joints that a matrix takes from the mesh: J_regressor_h36m.npy for SMPL (14 of its 17),
SMPLX_to_J14.pkl for SMPL-X. Both lie in the folder of published bodies. A body that is no folder has no such matrix;
there the joints of the 29 with the same names, or the nearest, stand for the 17 (`joint_sets.HUMAN36M_OF_29`), and
numbers compare with each other but not with published tables.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

import pyarrow.compute as pc
import torch
from torch import Tensor

from infra.standing import read_standing
from infra.store import Store
from models.bodies import Body, BodyOutput, load_body
from models.body_files import Gender, find_companion
from models.joint_sets import (
    EVALUATION_JOINTS,
    HUMAN36M_JOINTS,
    HUMAN36M_OF_29,
    load_regressor,
    regress,
)
from models.skeleton import SMPLX_VERTICES
from models.smplx_body import SMPLXBody, load_smplx_body
from schemas.digests import bytes_digest
from schemas.errors import DataError
from schemas.ids import StageKey

SMPL_REGRESSOR: Final = "J_regressor_h36m.npy"
SMPLX_REGRESSOR: Final = "SMPLX_to_J14.pkl"
_COLUMNS: Final = (
    *("instance_id", "body_model", "gender", "global_orient", "body_pose", "betas", "left_hand_pose"),
    *("right_hand_pose", "jaw_pose", "expression", "joints", "joints_valid", "human36m", "body_digest"),
)
_GT_BODY: Final = (pc.field("label_kind") == "gt") & pc.field("body_model").is_valid()
Kind = tuple[Literal["smpl", "smplx"], Gender]
"""Body model and gender of a label."""


class SmplWithJoints(NamedTuple):
    """A body of SMPL's kind, and how its mesh gives the 17 joints of Human3.6M."""

    body: Body
    regressor: Tensor | None
    """(17, V)"""

    @property
    def digest(self) -> str:
        """Of both."""
        own = bytes_digest(self.regressor.numpy().tobytes()) if self.regressor is not None else "nearest joints"
        return f"{self.body.digest} {own}"

    def on(self, device: torch.device) -> "SmplWithJoints":
        """The same on `device`."""
        regressor = None if self.regressor is None else self.regressor.to(device)
        return SmplWithJoints(self.body.on(device), regressor)

    def check(self, label: Mapping[str, Any]) -> None:
        """Raises DataError for a label that was ingested with another body than this one, if this one is alone.

        A folder may hold the label's own body beside this one: published evaluations pose all labels by the neutral.
        """
        if self.regressor is None and label["body_digest"] != self.body.digest:
            raise DataError(
                f"The label of {label['instance_id']} belongs to another body than {self.body.name!r}: name the folder "
                "of body files that the data was ingested with (--body DIR)."
            )

    def seventeen(self, vertices: Tensor, joints: Tensor) -> Tensor:
        """(B, 17, 3) of posed bodies: vertices (B, V, 3), joints (B, 29, 3)."""
        return joints[:, list(HUMAN36M_OF_29)] if self.regressor is None else regress(self.regressor, vertices)

    def fourteen(self, posed: BodyOutput) -> Tensor:
        """(B, 14, 3): those that errors are averaged over."""
        return self.seventeen(posed.vertices, posed.joints)[:, list(EVALUATION_JOINTS)]


class SmplxWithJoints(NamedTuple):
    """A body of SMPL-X's kind, and how its mesh gives the 14 joints."""

    body: SMPLXBody
    regressor: Tensor
    """(14, V)"""

    @property
    def digest(self) -> str:
        """Of both."""
        return f"{self.body.digest} {bytes_digest(self.regressor.numpy().tobytes())}"


def smpl_with_joints(source: str, gender: Gender = "neutral") -> SmplWithJoints:
    """The SMPL body called, in the file, or in the folder `source`. Raises DataError for a folder without regressor."""
    body = load_body(source, gender)
    if not Path(source).is_dir():
        return SmplWithJoints(body, None)
    file = find_companion(Path(source), SMPL_REGRESSOR, "smpl")
    return SmplWithJoints(body, load_regressor(file, len(HUMAN36M_JOINTS), body.vertex_count))


def smplx_with_joints(source: str, gender: Gender = "neutral") -> SmplxWithJoints:
    """The SMPL-X body in the folder `source`. Raises DataError where the body or its regressor is missing."""
    body = load_smplx_body(source, gender)
    file = find_companion(Path(source), SMPLX_REGRESSOR, "smplx")
    return SmplxWithJoints(body, load_regressor(file, len(EVALUATION_JOINTS), SMPLX_VERTICES))


def body_of(source: str, kind: Kind) -> SmplWithJoints | SmplxWithJoints:
    """The body of this kind in `source`. Raises DataError where the source lacks it."""
    model, gender = kind
    return smplx_with_joints(source, gender) if model == "smplx" else smpl_with_joints(source, gender)


def kind_of(label: Mapping[str, Any]) -> Kind:
    """Which body a label's parameters belong to."""
    return cast(Kind, (label["body_model"], label["gender"]))


def kinds_of(store: Store, ingest_keys: Sequence[StageKey], ids: Sequence[str]) -> set[Kind]:
    """The kinds of bodies of the gt labels of these instances."""
    rows = read_standing(store, "labels", ingest_keys, ids=ids, where=_GT_BODY, columns=["body_model", "gender"])
    return {kind_of(row) for row in rows.group_by(["body_model", "gender"]).aggregate([]).to_pylist()}


def gt_labels(store: Store, ingest_keys: Sequence[StageKey], ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By instance_id: the gt labels of these instances, as far as there are any."""
    rows = read_standing(store, "labels", ingest_keys, ids=ids, where=_GT_BODY, columns=_COLUMNS)
    return {row["instance_id"]: row for row in rows.to_pylist()}


def label_rotvec(label: Mapping[str, Any]) -> Tensor:
    """(24, 3) axis-angle, row 0 in the camera frame."""
    return torch.tensor([*label["global_orient"], *label["body_pose"]], dtype=torch.float32).view(24, 3)
