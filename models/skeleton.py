"""The 29-joint skeleton that every part of the project shares.

24 SMPL joints in SMPL order, then five leaves that give the end bones a direction: head top, middle finger tips,
big toes. A twist turns a bone about its own axis; row k of the 23 twists belongs to SMPL joint k + 1. Left is the
person's own left (SMPL faces +z, so left is +x).
"""

from typing import Final

SMPL_JOINTS: Final = 24
JOINTS: Final = 29
TWISTS: Final = 23
BETAS: Final = 10
SMPLX_VERTICES: Final = 10475

JOINT_NAMES: Final[tuple[str, ...]] = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
    "head_top",
    "left_middle_finger_tip",
    "right_middle_finger_tip",
    "left_big_toe",
    "right_big_toe",
)

SMPL_PARENTS: Final[tuple[int, ...]] = (
    *(-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8),
    *(9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21),
)
LEAF_PARENTS: Final[tuple[int, ...]] = (15, 22, 23, 10, 11)
PARENTS: Final[tuple[int, ...]] = SMPL_PARENTS + LEAF_PARENTS

# Of a joint with several children, the one whose bone carries the joint's twist (pelvis: spine1, spine3: neck).
TWIST_CHILD: Final[tuple[int, ...]] = (
    *(3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 27, 28),
    *(15, 16, 17, 24, 18, 19, 20, 21, 22, 23, 25, 26),
)


def _swapped(name: str) -> str:
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


MIRROR_JOINTS: Final[tuple[int, ...]] = tuple(JOINT_NAMES.index(_swapped(name)) for name in JOINT_NAMES)
"""Joint j of the mirrored person is joint MIRROR_JOINTS[j] of the person."""

MIRROR_TWISTS: Final[tuple[int, ...]] = tuple(MIRROR_JOINTS[row + 1] - 1 for row in range(TWISTS))
"""The same for the 23 twists; the angle changes its sign too (sine negated)."""


def levels() -> tuple[tuple[int, ...], ...]:
    """The 24 SMPL joints by their distance from the root: all joints of one level can be solved at once."""
    depth = [0] * SMPL_JOINTS
    for joint in range(1, SMPL_JOINTS):
        depth[joint] = depth[SMPL_PARENTS[joint]] + 1
    return tuple(tuple(j for j in range(SMPL_JOINTS) if depth[j] == d) for d in range(max(depth) + 1))
