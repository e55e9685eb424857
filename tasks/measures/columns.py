"""The numbers of people that measures are means of: from a finished evaluation's hypotheses and errors, and the labels.

Bodies are those that the evaluation measured: posed by inverse kinematics with the policy's betas, the depth of the
pelvis from the label. What of a person is not known, or is of nobody (the error of hidden joints where none is hidden),
is nan, and is left out of that measure alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import roma
import torch
from numpy.typing import NDArray

from infra.stages import StageRecord
from infra.standing import read_standing
from infra.store import Store
from models.bodies import Body, load_body
from models.cameras import camera_from_uvd, project
from models.kinematics import Root, solve_rotations
from models.measures import limbs
from models.measures.capsules import behind_body, penetration_mm
from models.measures.samples import best_of_sizes, coverage, energy_score, expected_best, spread_and_error
from models.plausibility import beyond_limits
from models.skeleton import JOINTS, SMPL_JOINTS
from schemas.config.engine import EngineConfig
from schemas.errors import ConfigError
from schemas.ids import StageKey, Target
from schemas.tables import matrix
from tasks.compare import EvaluationTable, evaluation_record, evaluation_table
from tasks.measures.table import LEVELS
from tasks.rows.hypotheses import Hypotheses, read_hypotheses
from tasks.rows.instances import in_order, load_instances

Floats = NDArray[np.float64]
_AT_ONCE = 100
"""People whose bodies are in memory together: of each 100 samples, 29 joints."""


@dataclass(frozen=True)
class Columns:
    """The numbers of N people of a split, sorted by id."""

    ids: tuple[str, ...]
    values: Mapping[str, Floats]
    """By name (N,), nan where a person has none."""
    samples: int
    """Random samples of each, M."""

    def among(self, ids: Sequence[str]) -> "Columns":
        """The rows of `ids`, which are sorted and all here."""
        rows = np.searchsorted(np.array(self.ids), np.array(ids))
        return Columns(tuple(ids), {name: values[rows] for name, values in self.values.items()}, self.samples)


def figures_of(store: Store, key: StageKey) -> dict[Target, Columns]:
    """What `compare` makes of an evaluation, by split. DataError where it is missing or incomplete."""
    return {target: _figures(table) for target, table in evaluation_table(store, key).items()}


def measured(store: Store, key: StageKey, config: EngineConfig) -> dict[Target, Columns]:
    """The numbers of an evaluation, by split.

    DataError as of `figures_of`; ConfigError where `config` has another body than the evaluation was measured with.
    """
    record = evaluation_record(store, key)
    body = load_body(config.body)
    if record.config["body"] != body.digest:
        raise ConfigError(
            f"The evaluation {key[:12]} was measured with another body than {config.body!r}: name its own with --set "
            "body=NAME_OR_FILE."
        )
    root: Root = record.config["root_solver"]
    return {
        target: _measured(store, record, table, body, root) for target, table in evaluation_table(store, key).items()
    }


def _figures(table: EvaluationTable) -> Columns:
    return Columns(table.ids, table.figures(), table.errors["mpvpe"].shape[1] - 1)


def _measured(store: Store, record: StageRecord, table: EvaluationTable, body: Body, root: Root) -> Columns:
    columns: dict[str, Floats] = {}
    for error in ("mpvpe", "mpjpe"):
        random = table.errors[error][:, 1:]
        for size in best_of_sizes(random.shape[1]):
            columns[f"best_of_{size}_{error}"] = expected_best(random, size)
    parts = [
        _of_some(store, record, table.ids[start : start + _AT_ONCE], body, root)
        for start in range(0, len(table.ids), _AT_ONCE)
    ]
    columns |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Columns(table.ids, columns, table.errors["mpvpe"].shape[1] - 1)


def _of_some(store: Store, record: StageRecord, ids: Sequence[str], body: Body, root: Root) -> dict[str, Floats]:
    """All that needs bodies, of some people."""
    view = _view(store, list(map(StageKey, record.reads)), ids, body)
    posed = _pose(body, read_hypotheses(store, record.stage_key, ids).hypotheses, view, root)
    truth = view.label - view.label[:, :1]
    joints = posed.joints - posed.joints[..., :1, :]
    random, smpl = joints[:, 1:], slice(0, SMPL_JOINTS)
    moved = slice(1, SMPL_JOINTS)  # the pelvis is the origin of both
    columns = {"energy_score": energy_score(random[..., smpl, :], truth[:, smpl])}
    if random.shape[1] > 1:
        pair = spread_and_error(random[..., moved, :], truth[:, moved])
        columns |= dict(zip(("spread_squared", "error_squared"), pair, strict=True))
        columns |= {f"coverage_{p}": coverage(random[..., moved, :], truth[:, moved], p / 100) for p in LEVELS}
    right = limbs.right_in_depth(random, truth)
    columns |= {"depth_order": limbs.depth_order(right), "depth_mode": limbs.depth_mode(right)}

    errors = limbs.joint_errors_mm(joints, truth)
    for part, numbers in limbs.PARTS.items():
        columns |= _both(f"{part}_mpjpe", errors[..., list(numbers)].mean(-1))
    known = np.arange(JOINTS) < SMPL_JOINTS
    hidden = behind_body(view.label) & view.inside
    for sight, which in (("seen", view.inside & ~hidden), ("hidden", hidden), ("outside", ~view.inside)):
        columns |= _both(f"{sight}_mpjpe", limbs.over_joints(errors, which & known & view.has_picture[:, None]))
    apart = np.sqrt(np.square(posed.pixels - view.pixels[:, None]).sum(-1))
    columns |= _both("reprojection", apart[..., smpl].mean(-1))
    columns |= _both("beyond_limits", 100 * posed.beyond.astype(np.float64))
    columns |= _both("penetration", penetration_mm(joints))
    return columns


def _both(name: str, values: Floats) -> dict[str, Floats]:
    """Of values (N, M + 1) that of the zero-noise sample, and the mean of the random ones."""
    return {f"zero_noise_{name}": values[:, 0], f"expected_{name}": values[:, 1:].mean(axis=1)}


@dataclass(frozen=True)
class _View:
    """N labelled people before their cameras."""

    label: Floats
    """(N, 29, 3) m, camera frame."""
    pixels: Floats
    """(N, 29, 2) the label in the crop."""
    inside: NDArray[np.bool_]
    """(N, 29) whether a joint of the label lies in the picture."""
    has_picture: NDArray[np.bool_]
    """(N,) whether the store knows the size of the picture."""
    cameras: torch.Tensor
    """(N, 4) of the crops."""
    crop_size: int


@dataclass(frozen=True)
class _Posed:
    """M + 1 bodies of each of N people."""

    joints: Floats
    """(N, M + 1, 29, 3) m, camera frame."""
    pixels: Floats
    """(N, M + 1, 29, 2) in the crop."""
    beyond: NDArray[np.bool_]
    """(N, M + 1) whether a joint is beyond its limits."""


def _view(store: Store, ingests: Sequence[StageKey], ids: Sequence[str], body: Body) -> _View:
    people = load_instances(store, ingests, ids)
    rotations = roma.rotvec_to_rotmat(torch.from_numpy(people.theta))
    posed = body.joints(rotations, torch.from_numpy(people.betas))
    cameras, depth = torch.from_numpy(people.crop_intrinsics), torch.from_numpy(people.root_depth)
    pelvis = camera_from_uvd(torch.from_numpy(people.uvd[:, :1]), cameras, people.crop_size, depth)
    label = posed - posed[:, :1] + pelvis
    pixels = project(label, cameras)
    inside, has_picture = _in_picture(store, ingests, ids, pixels)
    return _View(_floats(label), _floats(pixels), inside, has_picture, cameras, people.crop_size)


def _in_picture(
    store: Store, ingests: Sequence[StageKey], ids: Sequence[str], pixels: torch.Tensor
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which points (N, P, 2) of crops lie in the picture (N, P), and of whom (N,) the picture's size is known."""
    columns = ["instance_id", "image_id", "crop_affine"]
    people = in_order(read_standing(store, "instances", ingests, ids=ids, columns=columns), ids)
    names = people.column("image_id").to_pylist()
    sized = ["image_id", "width_px", "height_px"]
    pictures = read_standing(store, "images", ingests, ids=sorted(set(names)), columns=sized).to_pylist()
    sides = {row["image_id"]: (row["width_px"], row["height_px"]) for row in pictures}
    size = np.array([sides.get(name, (0, 0)) for name in names], np.float64)
    affine = matrix(people, "crop_affine").reshape(-1, 2, 3).astype(np.float64)
    at = (_floats(pixels) - affine[:, None, :, 2]) @ np.linalg.inv(affine[..., :2]).swapaxes(-1, -2)
    inside = np.asarray(((at >= 0) & (at <= size[:, None])).all(axis=-1))
    return inside, size[:, 0] > 0


@torch.no_grad()
def _pose(body: Body, hypotheses: Hypotheses, view: _View, root: Root) -> _Posed:
    count = hypotheses.count
    uvd, twists, betas, depth = (
        torch.from_numpy(np.array(part, np.float32)).flatten(0, 1)
        for part in (hypotheses.uvd, hypotheses.twists, hypotheses.betas, hypotheses.root_depth)
    )
    cameras = view.cameras.repeat_interleave(count, 0)
    seen = camera_from_uvd(uvd, cameras, view.crop_size, depth)
    rest = body.rest_joints(betas)
    rotations = solve_rotations(seen, rest, twists, root)
    joints = body.joints(rotations, betas)
    placed = joints - joints[:, :1] + seen[:, :1]
    beyond = beyond_limits(rotations, rest).any(-1).numpy().reshape(-1, count)
    several = (-1, count, JOINTS)
    return _Posed(_floats(placed).reshape(*several, 3), _floats(project(placed, cameras)).reshape(*several, 2), beyond)


def _floats(values: torch.Tensor) -> Floats:
    array: Floats = values.double().numpy()
    return array
