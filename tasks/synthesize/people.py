"""The people of a domain: pose, shape and orientation of each, and the meshes and labels that follow.

Randomness is counter-based: a picture's numbers depend on (seed, domain, split, index) and on nothing that was drawn
before. Bodies are computed in fixed blocks of neighbouring indices, because the last bits of a matrix product depend on
the size of the batch: so a picture that is made again alone has the very bits that it had in its shard.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import roma
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.bodies import load_body
from models.kinematics import twist_from_rotations
from schemas.config.stages import PitchConfig
from tasks.synthesize.domains import Domain
from tasks.synthesize.poses import rotations_from_angles, sample_angles

#: Bodies that are computed together; part of what a seed means.
BLOCK = 16
#: One stream of random numbers per concern, so that a change to one leaves the others as they are.
PERSON, CAMERA, LOOK, SENSOR = range(4)


@dataclass(frozen=True)
class Label:
    """What is known of the person; lengths in metres, angles in radians, all in the picture's camera frame."""

    global_orient: NDArray[np.float32]
    """(3,) axis-angle of the root in the camera frame (y down), so about pi around x for upright people."""
    body_pose: NDArray[np.float32]
    """(69,) axis-angle of joints 1 to 23."""
    betas: NDArray[np.float32]
    """(10,) shape coefficients."""
    transl: NDArray[np.float32]
    """(3,) metres."""
    gender: str
    joints: NDArray[np.float32]
    """(29, 3) metres."""
    twist: NDArray[np.float32]
    """(23, 2) cosine and sine."""


@dataclass(frozen=True)
class Person:
    """One person before a camera is placed: the pelvis near the origin, camera axes (y down, facing −z)."""

    label: Label
    """Where the body is without translation."""
    vertices: NDArray[np.float32]
    """(V, 3) metres."""
    pitch: float
    """How far the camera looks down, degrees; below zero it looks up."""


def stream(seed: int, domain: str, split: str, index: int, concern: int) -> np.random.Generator:
    """The random numbers of one concern (PERSON, CAMERA, LOOK, SENSOR) of one picture."""
    digest = hashlib.sha256(f"{seed}/{domain}/{split}".encode()).digest()
    key = int.from_bytes(digest[:16], "little")
    # Philox counts up in the lowest of its four words; picture and concern sit in the highest two.
    return np.random.Generator(np.random.Philox(key=key, counter=(index << 192) + (concern << 128)))


def person(domain: Domain, split: str, index: int, seed: int, body: str = "tiny") -> Person:
    """Person number `index` of a split; see `Person`."""
    return _block(domain, split, index // BLOCK, seed, body)[index % BLOCK]


def _pitch(config: PitchConfig, generator: np.random.Generator) -> float:
    """Degrees."""
    drawn = generator.normal(config.mean, config.sigma)
    if config.two_sided and generator.random() < 0.5:
        drawn = -drawn
    return float(np.clip(drawn, -config.limit, config.limit))


@lru_cache(maxsize=4)
def _block(domain: Domain, split: str, block: int, seed: int, body: str) -> tuple[Person, ...]:
    angles, facing, betas = [], [], []
    for index in range(block * BLOCK, (block + 1) * BLOCK):
        generator = stream(seed, domain.name, split, index, PERSON)
        angles.append(sample_angles(generator, domain.poses, domain.pose_noise))
        facing.append(
            (
                _pitch(domain.pitch, generator),
                np.clip(generator.normal(0, domain.tilt / 2), -10, 10),
                generator.uniform(-domain.yaw, domain.yaw),
            )
        )
        betas.append(np.clip(generator.standard_normal(10), -domain.betas_limit, domain.betas_limit))
    local = rotations_from_angles(np.stack(angles)).as_matrix().reshape(BLOCK, 24, 3, 3)
    # Rx(pi) takes the body's axes (y up, facing +z) to the camera's; pitch and roll are the camera's, yaw the person's.
    upside = Rotation.from_euler("X", np.pi)
    tilt_and_yaw = np.array(facing)
    towards = Rotation.from_euler("XZ", tilt_and_yaw[:, :2], degrees=True) * upside
    towards = towards * Rotation.from_euler("Y", tilt_and_yaw[:, 2:], degrees=True)
    local[:, 0] = towards.as_matrix() @ local[:, 0]
    axis_angle = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(BLOCK, 24, 3).astype(np.float32)
    shape = np.stack(betas).astype(np.float32)
    model = load_body(body)
    with torch.no_grad():
        # The matrices come from the stored axis-angle, so that labels and pictures agree to the last digit stored.
        rotations = roma.rotvec_to_rotmat(torch.from_numpy(axis_angle))
        output = model(rotations, torch.from_numpy(shape), None)
        twist = twist_from_rotations(rotations, model.rest_joints(torch.from_numpy(shape)))
        vertices, joints, twists = output.vertices.numpy(), output.joints.numpy(), twist.numpy()
    pose, origin = axis_angle[:, 1:].reshape(BLOCK, 69), np.zeros(3, np.float32)
    labels = (Label(axis_angle[i, 0], pose[i], shape[i], origin, "neutral", joints[i], twists[i]) for i in range(BLOCK))
    return tuple(map(Person, labels, vertices, tilt_and_yaw[:, 0].tolist()))
