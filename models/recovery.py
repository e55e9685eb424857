"""From a hypothesis (uvd joints, twists, betas) to the body that it stands for.

Source: HybrIK (Li et al., CVPR 2021) and ScoreHypo (CVPR 2024, section 3.2): back-project the joints, solve the
rotations by inverse kinematics, pose the body. Bone lengths come from the betas, so only the directions of the
hypothesis's bones count.
"""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from models.bodies import Body, PosedPart
from models.cameras import camera_from_uvd, root_depth_from_bones
from models.kinematics import Root, solve_rotations


class RecoveredBody(NamedTuple):
    """N bodies, root at the origin of the body model."""

    rotations: Tensor
    """(N, 24, 3, 3)."""
    vertices: Tensor
    """(N, V, 3) metres."""
    joints: Tensor
    """(N, 29, 3) metres, of the posed body."""
    camera_joints: Tensor
    """(N, 29, 3) metres, the hypothesis's own joints, back-projected."""

    @property
    def camera_vertices(self) -> Tensor:
        """(N, V, 3) metres, with the pelvis where the hypothesis has it."""
        return self.vertices - self.joints[:, :1] + self.camera_joints[:, :1]


def recover_body(
    body: Body,
    uvd: Tensor,
    twists: Tensor,
    betas: Tensor,
    crop_intrinsics: Tensor,
    size: int,
    root_depth: Tensor,
    root: Root = "procrustes",
) -> RecoveredBody:
    """Bodies of N hypotheses.

    Args:
        uvd: (N, 29, 3) normalised; twists: (N, 23, 2); betas: (N, 10).
        crop_intrinsics: (N, 4) crop pixels; size: side of the crop in pixels.
        root_depth: (N,) metres.
        root: how the pelvis is turned: "published" from the spine's and the hips' directions, "procrustes" by least
            squares, which bears noisy joints far better (20 mm of noise turn the root by 14 instead of 58 degrees).
    """
    camera_joints = camera_from_uvd(uvd, crop_intrinsics, size, root_depth)
    rotations = solve_rotations(camera_joints, body.rest_joints(betas), twists, root)
    posed = body(rotations, betas)
    return RecoveredBody(rotations, posed.vertices, posed.joints, camera_joints)


def recovered_parts(
    body: Body,
    uvd: Tensor,
    twists: Tensor,
    betas: Tensor,
    crop_intrinsics: Tensor,
    size: int,
    root_depth: Tensor,
    root: Root = "procrustes",
) -> Iterator[PosedPart]:
    """The same bodies, a few meshes at a time: for errors, of which a mesh isn't needed any more once it is measured.

    Arguments as of `recover_body`.
    """
    camera_joints = camera_from_uvd(uvd, crop_intrinsics, size, root_depth)
    yield from body.posed(solve_rotations(camera_joints, body.rest_joints(betas), twists, root), betas)


def root_depth_of(body: Body, uvd: Tensor, betas: Tensor, crop_intrinsics: Tensor, size: int) -> Tensor:
    """Root depth (N,) in metres of hypotheses that no label gives one: the best fit of the bones to their lengths."""
    return root_depth_from_bones(uvd, crop_intrinsics, size, body.rest_joints(betas))
