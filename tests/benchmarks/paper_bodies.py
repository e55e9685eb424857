"""Figures of bodies with the 6,890 vertices of SMPL: inverse kinematics and mesh, and errors against labels."""

from collections.abc import Iterator

import numpy as np
import torch

from models.bodies import smplx_model
from models.metrics import mpjpe_mm, mpvpe_mm, pa_mpjpe_mm
from models.recovery import recover_body, recovered_parts
from models.skeleton import SMPL_JOINTS
from tests.benchmarks import plain
from tests.benchmarks.figures import Goal, Measured, Way, measure
from tests.parity.body import arrays, body

SIZE = 256
"""Side of the crop in pixels."""
PUBLISHED_MS, PUBLISHED_CEILING = 0.8875, 83e9
"""What the published code took for a hypothesis, on another day, and operations a second of a product on that day."""


class Hypotheses:
    """Invented hypotheses of one person, with joints within centimetres of a body's."""

    def __init__(self, count: int) -> None:
        draw, self.count = np.random.default_rng(0), count
        self.body = body()
        angle = torch.from_numpy(draw.uniform(-0.5, 0.5, (count, 23)).astype(np.float32))
        self.uvd = torch.from_numpy(draw.uniform(-0.5, 0.5, (count, 29, 3)).astype(np.float32))
        self.twists = torch.stack([angle.cos(), angle.sin()], dim=-1)
        self.betas = torch.from_numpy(draw.standard_normal(10).astype(np.float32)).expand(count, 10)
        self.camera = torch.tensor([1.2 * SIZE, 1.2 * SIZE, SIZE / 2, SIZE / 2]).expand(count, 4)
        self.depth = torch.full((count,), 4.0)
        model = {**arrays(), "leaf_vertices": self.body.leaf_vertices.numpy()}
        self.plain = plain.PlainBody(self.body, smplx_model(model))

    def poses(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int, torch.Tensor]:
        """What `recover_body` takes of some of them."""
        uvd, twists, betas, camera, depth = (
            part[rows] for part in (self.uvd, self.twists, self.betas, self.camera, self.depth)
        )
        return uvd, twists, betas, camera, SIZE, depth

    def flop(self) -> float:
        """Of the mesh of one, by products of matrices: blend shapes and skinning."""
        vertices = self.body.vertex_count
        return 2 * 3 * vertices * (len(self.body.posedirs) + len(self.body.shapedirs)) + 24 * SMPL_JOINTS * vertices


@torch.no_grad()
def body_figures(repeats: int, count: int = 800, of_image: int = 100) -> Iterator[Measured]:
    """Bodies of `count` hypotheses, `of_image` for each image; the published code takes all of them at once."""
    given = Hypotheses(count)
    images = [slice(start, start + of_image) for start in range(0, count, of_image)]
    joints = recover_body(given.body, *given.poses(slice(None)), root="published").camera_joints
    label = recover_body(given.body, *given.poses(slice(1)), root="published")
    mesh, label_joints = label.vertices, label.joints

    def of_images(root: str) -> None:
        for rows in images:
            recover_body(given.body, *given.poses(rows), root=root)

    flop = given.flop()
    # at most 0.4 of the published time, as it would be under this run's ceiling
    goal = Goal("share", flop / (0.4 * PUBLISHED_MS / 1000) / PUBLISHED_CEILING)
    ways = {
        "plain": Way(lambda: given.plain(joints, given.betas, given.twists), count, flop, published_ms=PUBLISHED_MS),
        f"the engine, {of_image} at once": Way(lambda: of_images("published"), count, flop, goals=(goal,)),
        "the engine, root by least squares": Way(lambda: of_images("procrustes"), count, flop),
    }
    yield measure(
        f"IK and mesh, {given.body.vertex_count:,} vertices, {count}",
        "hypothesis",
        ways,
        repeats=repeats,
        precisions=("float32",),
    )

    def whole() -> None:
        rotations, vertices = given.plain(joints, given.betas, given.twists)
        posed = given.body.joints(rotations, given.betas)
        mpvpe_mm(vertices, mesh, posed[:, 0], label_joints[:, 0])
        mpjpe_mm(posed, label_joints)
        pa_mpjpe_mm(posed, label_joints)

    def in_parts() -> None:
        for rows in images:
            seen = []
            for part in recovered_parts(given.body, *given.poses(rows), root="published"):
                mpvpe_mm(part.vertices.mT.contiguous(), mesh, part.joints[:, 0], label_joints[:, 0])
                seen.append(part.joints)
            posed = torch.cat(seen)
            mpjpe_mm(posed, label_joints)
            pa_mpjpe_mm(posed, label_joints)

    ways = {"plain": Way(whole, count), "the engine, a few meshes at a time": Way(in_parts, count)}
    yield measure(f"MPVPE, MPJPE and PA-MPJPE of bodies, {count}", "hypothesis", ways, repeats=repeats)
