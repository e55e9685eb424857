"""The bodies that annotations describe: joints, twists and places, from parameters, by the body of that gender.

Joints of labels come from the body wherever there is one, because key-points of equal names mean other points in some
places (the hands, the head); files of one data set also disagree about them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
import roma
import torch
from numpy.typing import NDArray

from models.bodies import Body, load_body
from models.body_arrays import BUILT_IN
from models.kinematics import twist_from_rotations
from models.smplx_body import BODY_JOINTS, SMPLXBody, load_smplx_body
from schemas.errors import DataError
from tasks.ingest.source.folder import RefusedError

Rows = Sequence[Mapping[str, Any]]
NO_PLACE = (
    "there is no transl, and no 3D joints of the body in the camera frame that would place it: nothing says how far "
    "away the person is. Write transl, in metres in the camera frame, into the file"
)
_TOGETHER = 16
_HANDS = ("left_hand_pose", "right_hand_pose")
_PCA = {"left_hand_pose": "left_hand_pca", "right_hand_pose": "right_hand_pca"}


@dataclass(frozen=True)
class Posed:
    """A labelled person whose body was computed; metres, camera frame."""

    joints: NDArray[np.float32]
    """(29, 3)"""
    twist: NDArray[np.float32]
    """(23, 2) cosine and sine."""
    transl: NDArray[np.float32]
    """(3,) the body model's translation, also where the file gave the root's place or the world's frame."""
    hands: tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]
    """(45,) each, relative to the mean hand, left first."""
    digest: str
    """Of the body."""
    placed: bool = True
    """False: its row says nothing of its place, and joints are as the body model has them without translation."""


class Bodies:
    """The body files that are at hand: `source` is a body's name or file, or a folder of published ones."""

    checked: Final = True
    """Whether labels are checked (`row_checks`)."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._loaded = cache(self._load)

    def __reduce__(self) -> tuple[type["Bodies"], tuple[str]]:
        return Bodies, (self.source,)  # what is loaded stays in its process

    def pose(self, rows: Rows) -> list[Posed | RefusedError]:
        """Each row's body, or why there is none. Rows of one body are computed together."""
        answers: list[Posed | RefusedError] = [RefusedError("body missing", "not computed")] * len(rows)
        kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            absent = [name for name in ("global_orient", "body_pose", "betas") if row[name] is None]
            if absent:
                answers[place] = RefusedError("label incomplete", f"it has no {', '.join(absent)}")
            elif not _has_place(row) and row.get("box_per_joints") is None:
                answers[place] = RefusedError("no depth", NO_PLACE)
            else:
                kinds[row["body_model"], row["gender"] or "neutral"].append(place)
        for (model, gender), places in kinds.items():
            body = self._loaded(model, gender)
            for start in range(0, len(places), _TOGETHER):
                block = places[start : start + _TOGETHER]
                chosen = [rows[place] for place in block]
                # filled up: the last bits of a product depend on its size, and must not on who else is in the shard
                whole = [*chosen, *[chosen[0]] * (_TOGETHER - len(chosen))]
                posed = [body] * len(block) if isinstance(body, RefusedError) else _posed(body, whole)[: len(block)]
                for place, answer in zip(block, posed, strict=True):
                    answers[place] = answer
        return answers

    def digest(self) -> str:
        """What the bodies are, as far as that is known beforehand: the file's digest, or those in the folder."""
        folder = Path(self.source)
        if not folder.is_dir():
            return load_body(self.source).digest
        digests = {}
        for model, gender in product(("smpl", "smplx"), ("neutral", "male", "female")):
            body = self._loaded(model, gender)
            digests[f"{model} {gender}"] = None if isinstance(body, RefusedError) else body.digest
        return str(sorted(digests.items(), key=str))

    def _load(self, model: str, gender: str) -> Body | SMPLXBody | RefusedError:
        folder, of_gender = Path(self.source), cast(Literal["neutral", "male", "female"], gender)
        try:
            if folder.is_dir() or (model, gender) == ("smpl", "neutral"):
                return load_smplx_body(folder, of_gender) if model == "smplx" else load_body(self.source, of_gender)
        except DataError as error:
            return RefusedError("body missing", f"{model}, {gender}: {error}")
        kind, file = "neutral", f"smpl/SMPL_{gender.upper()}.pkl"
        if model == "smplx":
            kind, file = ("of SMPL's kind", "smplx/SMPLX_NEUTRAL.npz")
        return RefusedError(
            "body missing",
            f"{model}, {gender}: the body here is {self.source}, which is {kind}; give a folder of published bodies "
            f"with {file} (--body DIR)",
        )


class AsWritten:
    """In the place of `Bodies`, for labels that a stage made with the body of this digest: they are taken as they are,
    to the last bit, and are not checked."""

    checked: Final = False

    def __init__(self, digest: str | None) -> None:
        self._digest = digest

    def pose(self, rows: Rows) -> list[Posed | RefusedError]:
        """Each row's own joints, twists and place."""
        posed: list[Posed | RefusedError] = []
        for row in rows:
            assert self._digest is not None
            joints, twist, transl = (np.asarray(row[name], np.float32) for name in ("joints", "twist", "transl"))
            posed.append(Posed(joints.reshape(29, 3), twist.reshape(23, 2), transl, (None, None), self._digest))
        return posed


def _has_place(row: Mapping[str, Any]) -> bool:
    return row["transl"] is not None or row["root"] is not None


def bodies_missing(url: str, kinds: Sequence[str]) -> str:
    """What to do about labels that are parameters of bodies (smpl, smplx), where no body files were named."""
    named = " and ".join({"smpl": "SMPL", "smplx": "SMPL-X"}[kind] for kind in kinds)
    return (
        f"{url} has parameters of {named} bodies. Say which body files pose them: --body DIR, the folder of published "
        "ones (human_model_files). The free body of this engine is another body, whose joints lie 5 to 7 cm "
        f"elsewhere; --body {' or '.join(BUILT_IN)} takes it, for files that were written from it, as this engine's "
        "exports are."
    )


def _posed(body: Body | SMPLXBody, rows: Rows) -> list[Posed | RefusedError]:
    betas, orient, pose = (_stack(rows, name) for name in ("betas", "global_orient", "body_pose"))
    with torch.no_grad():
        axis_angles = torch.cat([orient, pose], 1).view(len(rows), 24, 3)
        hands: list[torch.Tensor | None] = [None, None]
        if isinstance(body, Body):
            rotations = roma.rotvec_to_rotmat(axis_angles)
            joints, rest = body.joints(rotations, betas), body.rest_joints(betas)
        else:
            hands = [_relative(rows, *hand) for hand in zip(_HANDS, body.mean_hands, body.hand_components, strict=True)]
            jaw, expression = (_stack(rows, name, size) for name, size in (("jaw_pose", 3), ("expression", 10)))
            axis_angles = axis_angles.clone()
            axis_angles[:, BODY_JOINTS + 1 :] = 0
            rotations = roma.rotvec_to_rotmat(axis_angles)
            shaped = axis_angles[:, 1 : BODY_JOINTS + 1]
            joints = body.joints29(
                body(orient, shaped, betas, None, hands[0], hands[1], jaw=jaw, expression=expression)
            )
            rest = body.joints29(body(torch.zeros_like(orient), torch.zeros_like(shaped), betas))
        twist = twist_from_rotations(rotations, rest).numpy()
    joints_at_origin, root_at_rest = joints.numpy(), rest[:, 0].numpy()
    answers: list[Posed | RefusedError] = []
    for place, row in enumerate(rows):
        transl = _translation(row, joints_at_origin[place, 0], root_at_rest[place])
        left, right = (
            hand[place].numpy() if hand is not None and _has_hand(row, name) else None
            for hand, name in zip(hands, _HANDS, strict=True)
        )
        joints = joints_at_origin[place] + transl
        answers.append(Posed(joints, twist[place], transl, (left, right), body.digest, _has_place(row)))
    return answers


def _translation(
    row: Mapping[str, Any], root: NDArray[np.float32], root_at_rest: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(3,) what has to be added to a body whose root is at `root`."""
    if not _has_place(row):
        return np.zeros(3, np.float32)
    if row["transl"] is None:
        return np.asarray(row["root"], np.float32) - root
    transl = np.asarray(row["transl"], np.float64)
    if row["extrinsics"] is not None:
        turn, shift = np.reshape(row["extrinsics"][:9], (3, 3)), np.asarray(row["extrinsics"][9:])
        transl = turn @ (root_at_rest + transl) + shift - root
    return transl.astype(np.float32)


def _relative(rows: Rows, name: str, mean: torch.Tensor, components: torch.Tensor) -> torch.Tensor:
    """(B, 45): the file's hands, relative to the mean hand also where they were absolute, or components of its PCA."""
    hands = _stack(rows, name, 45)
    for place, row in enumerate(rows):
        if row.get(_PCA[name]) is not None:
            coefficients = torch.tensor(row[_PCA[name]], dtype=torch.float32)
            hands[place] = coefficients @ components[: len(coefficients)]
    absolute = torch.tensor([bool(row["hands_absolute"]) and _has_hand(row, name) for row in rows])
    return torch.where(absolute[:, None], hands - mean, hands)


def _has_hand(row: Mapping[str, Any], name: str) -> bool:
    return row[name] is not None or row.get(_PCA[name]) is not None


def _stack(rows: Rows, name: str, size: int = 0) -> torch.Tensor:
    """(B, size) float32; zero where a row has none."""
    return torch.tensor([row[name] if row[name] is not None else [0.0] * size for row in rows], dtype=torch.float32)
