"""The pose prior: what people do in each domain, in the angles that a physiotherapist would name.

A pose is a vector of anatomical angles in degrees. Base poses are written down by hand; a sample is a base pose at some
amplitude plus correlated noise (stride, crouch, both arms together …) plus noise of each angle alone, clipped to what a
body can do. Angles rather than axis-angle vectors, because limits and left/right symmetry are plain statements there:
flexion is forward, spread is away from the body, and a mirrored pose only swaps the sides.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

#: Angles of the trunk: lowest, highest, usual deviation (degrees). Positive: forward, to the person's left.
TRUNK_ANGLES: dict[str, tuple[float, float, float]] = {
    "pelvis_pitch": (-30, 80, 4),
    "pelvis_roll": (-20, 20, 3),
    "spine_bend": (-20, 75, 7),
    "spine_side": (-25, 25, 5),
    "spine_turn": (-40, 40, 8),
    "head_nod": (-35, 40, 10),
    "head_tilt": (-20, 20, 6),
    "head_turn": (-60, 60, 16),
}
#: The same for the angles that each side has. Turn of arm and leg is positive inwards.
SIDE_ANGLES: dict[str, tuple[float, float, float]] = {
    "hip_flexion": (-30, 120, 7),
    "hip_spread": (-12, 55, 5),
    "hip_turn": (-45, 35, 8),
    "knee": (0, 140, 8),
    "ankle": (-40, 25, 6),
    "toes": (-8, 20, 4),
    "arm_swing": (-50, 170, 14),
    "arm_spread": (4, 165, 9),
    "arm_turn": (-85, 75, 16),
    "elbow": (0, 140, 15),
    "forearm_turn": (-75, 75, 24),
    "wrist": (-35, 35, 9),
    "hand": (-8, 18, 5),
}
SIDES = ("left", "right")
NAMES: tuple[str, ...] = (*TRUNK_ANGLES, *(f"{side}_{name}" for side in SIDES for name in SIDE_ANGLES))
COLUMN = {name: column for column, name in enumerate(NAMES)}


def _per_angle(entry: int) -> NDArray[np.float64]:
    trunk = [entries[entry] for entries in TRUNK_ANGLES.values()]
    side = [entries[entry] for entries in SIDE_ANGLES.values()]
    return np.array(trunk + len(SIDES) * side)


LOWEST, HIGHEST, DEVIATION = _per_angle(0), _per_angle(1), _per_angle(2)


def pose(**angles: float) -> NDArray[np.float64]:
    """A pose vector; a name without a side means both sides. Everything that is not named is zero."""
    vector = np.zeros(len(NAMES))
    for name, degrees in angles.items():
        for full_name in (f"left_{name}", f"right_{name}") if name in SIDE_ANGLES else (name,):
            vector[COLUMN[full_name]] = degrees
    return vector


def _standing(**angles: float) -> NDArray[np.float64]:
    usual = {"arm_spread": 12.0, "arm_swing": 4.0, "elbow": 15.0, "knee": 4.0, "hip_spread": 4.0}
    return pose(**{**usual, **angles})


# Where hips and pelvis bend together, the thighs lean forward by flexion - pelvis pitch, the shanks by that - knee.
BASE_POSES: dict[str, NDArray[np.float64]] = {
    # upright
    "stand": _standing(),
    "walk": _standing(
        left_hip_flexion=26, right_hip_flexion=-16, left_knee=10, right_knee=28, right_ankle=-12,
        left_arm_swing=-22, right_arm_swing=26, elbow=24, spine_turn=5,
    ),
    "arms_out": _standing(arm_spread=85),
    "arms_forward": _standing(arm_swing=80, arm_spread=10),
    "hands_on_hips": _standing(arm_spread=48, arm_swing=-12, arm_turn=62, elbow=95),
    "wave": _standing(left_arm_spread=95, left_arm_turn=-75, left_elbow=80),
    "carry": _standing(arm_swing=25, elbow=85),
    "arms_up": _standing(arm_swing=150, arm_spread=22, elbow=18),
    # in the wild
    "sit": pose(hip_flexion=86, hip_spread=14, knee=86, arm_swing=34, arm_spread=14, elbow=42, spine_bend=12),
    "sit_low": pose(
        pelvis_pitch=-12, hip_flexion=78, hip_spread=12, knee=38, arm_swing=-32, arm_spread=22, elbow=12, spine_bend=14,
    ),
    "half_squat": pose(
        pelvis_pitch=22, hip_flexion=75, hip_spread=16, knee=78, ankle=18, arm_swing=70, arm_spread=14, elbow=30,
    ),
    "squat": pose(
        pelvis_pitch=26, hip_flexion=108, hip_spread=18, knee=108, ankle=22, arm_swing=70, arm_spread=12, elbow=35,
        spine_bend=15,
    ),
    "lunge": pose(
        pelvis_pitch=5, left_hip_flexion=78, left_knee=74, right_hip_flexion=-20, right_knee=38, right_ankle=-15,
        hip_spread=5, left_arm_swing=-20, right_arm_swing=40, arm_spread=16, elbow=50,
    ),
    "side_lunge": pose(
        pelvis_pitch=22, left_hip_flexion=72, left_hip_spread=30, left_knee=78, left_ankle=15, right_hip_flexion=22,
        right_hip_spread=42, right_knee=4, arm_swing=55, arm_spread=25, elbow=45, spine_bend=10,
    ),
    "kick": pose(
        pelvis_pitch=-14, left_hip_flexion=82, left_knee=22, left_ankle=-20, right_hip_flexion=-12, right_knee=10,
        hip_spread=6, left_arm_swing=-30, right_arm_swing=50, arm_spread=38, elbow=35, spine_bend=16,
    ),
    "run": pose(
        pelvis_pitch=8, left_hip_flexion=72, left_knee=92, right_hip_flexion=-12, right_knee=22, right_ankle=-20,
        hip_spread=3, left_arm_swing=-38, right_arm_swing=48, arm_spread=14, elbow=88, spine_bend=6,
    ),
    "bend": pose(
        pelvis_pitch=48, spine_bend=42, hip_flexion=52, hip_spread=7, knee=12, arm_swing=80, arm_spread=12, elbow=14,
    ),
    "pick_up": pose(
        pelvis_pitch=42, spine_bend=36, hip_flexion=96, hip_spread=14, knee=78, ankle=15, left_arm_swing=75,
        right_arm_swing=55, arm_spread=14, right_elbow=55,
    ),
    "kneel": pose(
        left_hip_flexion=84, left_knee=84, right_hip_flexion=-4, right_knee=88, right_ankle=-30, hip_spread=8,
        left_arm_swing=45, right_arm_swing=10, arm_spread=14, elbow=40, spine_bend=8,
    ),
    "star_jump": _standing(hip_spread=32, arm_spread=125, knee=10, elbow=14),
    "throw": pose(
        left_hip_flexion=34, left_knee=24, right_hip_flexion=-16, right_knee=26, hip_spread=9, left_arm_swing=72,
        left_arm_spread=20, left_elbow=28, right_arm_spread=98, right_arm_turn=-62, right_elbow=88, spine_turn=-24,
    ),
    "guard": pose(
        pelvis_pitch=10, left_hip_flexion=42, right_hip_flexion=14, hip_spread=10, knee=36, ankle=12, spine_bend=14,
        arm_swing=42, arm_spread=14, arm_turn=18, elbow=112,
    ),
    "arms_crossed": _standing(arm_swing=26, arm_spread=14, arm_turn=62, elbow=96),
    "reach_up": _standing(left_arm_swing=158, left_arm_spread=16, left_elbow=8, spine_side=-10, right_arm_spread=26),
    "balance": pose(
        left_hip_flexion=62, left_hip_spread=42, left_hip_turn=-28, left_knee=112, right_knee=4, arm_spread=72,
        elbow=22,
    ),
}  # fmt: skip

#: What moves together: the loadings, in degrees, of one standard deviation of a shared factor.
FACTORS: NDArray[np.float64] = np.stack([
    pose(hip_flexion=11, knee=14, spine_bend=4, ankle=3),  # crouching
    pose(left_hip_flexion=9, right_hip_flexion=-9, left_arm_swing=-11, right_arm_swing=11, spine_turn=3),  # stride
    pose(arm_swing=14, elbow=9),  # both arms forward
    pose(arm_spread=11, arm_turn=-8),  # both arms away
    pose(left_arm_spread=9, right_arm_spread=-9, left_elbow=13, right_elbow=-13),  # one arm more than the other
    pose(spine_turn=8, head_turn=12),  # looking round
    pose(spine_side=5, pelvis_roll=3, head_tilt=4),  # leaning
    pose(hip_spread=6, hip_turn=-6),  # standing wide
    pose(spine_bend=6, head_nod=8, pelvis_pitch=3),  # looking down
])  # fmt: skip

_NEGATED_BY_MIRROR = ("pelvis_roll", "spine_side", "spine_turn", "head_tilt", "head_turn")


def mirrored(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(…, A) angles of the pose seen in a mirror."""
    count = len(SIDE_ANGLES)
    first = len(TRUNK_ANGLES)
    swapped = np.concatenate(
        [angles[..., :first], angles[..., first + count :], angles[..., first : first + count]], axis=-1
    )
    swapped[..., [COLUMN[name] for name in _NEGATED_BY_MIRROR]] *= -1
    return swapped


def sample_angles(generator: np.random.Generator, weights: Mapping[str, float], noise: float) -> NDArray[np.float64]:
    """(A,) degrees: one pose of a mixture of base poses, mirrored half of the time, within limits.

    `weights` are relative shares of names in `BASE_POSES`; `noise` scales all deviations.
    """
    shares = np.fromiter(weights.values(), dtype=np.float64)
    name = list(weights)[int(generator.choice(len(shares), p=shares / shares.sum()))]
    amplitude = generator.uniform(0.75, 1.1)
    angles = BASE_POSES["stand"] + amplitude * (BASE_POSES[name] - BASE_POSES["stand"])
    angles = angles + noise * (generator.standard_normal(len(FACTORS)) @ FACTORS)
    angles = angles + noise * DEVIATION * generator.standard_normal(len(NAMES))
    angles = np.clip(angles, LOWEST, HIGHEST)
    return mirrored(angles) if generator.random() < 0.5 else angles


def rotations_from_angles(angles: NDArray[np.float64]) -> Rotation:
    """Local rotations of the 24 SMPL joints, as one scipy `Rotation` of B·24 entries, joint fastest.

    Args:
        angles: (B, A) degrees in the order of `NAMES`.

    The rest pose is SMPL's: a T, y up, facing +z, the left hand at +x. A joint turns by Rx · Rz · Ry · Rx(twist); the
    last factor, about the arm's own axis, is used by shoulders and elbows. Joint 0 holds pitch and roll of the pelvis.
    """
    turns = np.zeros((len(angles), 24, 3))  # about x, z, y in this order
    twists = np.zeros((len(angles), 24))

    def angle(name: str) -> NDArray[np.float64]:
        return angles[:, COLUMN[name]]

    turns[:, 0] = np.stack([angle("pelvis_pitch"), -angle("pelvis_roll"), np.zeros(len(angles))], axis=1)
    spine = np.stack([angle("spine_bend"), -angle("spine_side"), angle("spine_turn")], axis=1)
    for joint, share in ((3, 0.3), (6, 0.35), (9, 0.35)):
        turns[:, joint] = share * spine
    head = np.stack([angle("head_nod"), -angle("head_tilt"), angle("head_turn")], axis=1)
    for joint, share in ((12, 0.45), (15, 0.55)):
        turns[:, joint] = share * head
    for offset, side in enumerate(SIDES):
        sign = 1.0 - 2.0 * offset  # about y and z the right side turns the other way

        def of(name: str, side: str = side) -> NDArray[np.float64]:
            return angles[:, COLUMN[f"{side}_{name}"]]

        hip, knee, ankle, foot, collar, shoulder, elbow, wrist, hand = (
            joint + offset for joint in (1, 4, 7, 10, 13, 16, 18, 20, 22)
        )
        turns[:, hip] = np.stack([-of("hip_flexion"), sign * of("hip_spread"), -sign * of("hip_turn")], axis=1)
        turns[:, knee, 0] = of("knee")
        turns[:, ankle, 0] = -of("ankle")
        turns[:, foot, 0] = -of("toes")
        # The collar bone follows an arm that is raised beyond a third of its range.
        raised = np.maximum(np.maximum(of("arm_swing"), of("arm_spread")) - 40.0, 0.0)
        turns[:, collar, 1] = sign * 0.15 * raised
        turns[:, shoulder, 0] = -of("arm_swing")
        turns[:, shoulder, 1] = -sign * (90.0 - of("arm_spread"))
        twists[:, shoulder] = of("arm_turn")
        turns[:, elbow, 2] = -sign * of("elbow")
        twists[:, elbow] = 0.5 * of("forearm_turn")
        turns[:, wrist] = np.stack([0.5 * of("forearm_turn"), -sign * of("wrist"), np.zeros(len(angles))], axis=1)
        turns[:, hand, 1] = -sign * of("hand")
    joints = Rotation.from_euler("XZY", turns.reshape(-1, 3), degrees=True)
    return joints * Rotation.from_euler("X", twists.reshape(-1, 1), degrees=True)
