from models import skeleton
from tests.models.poses import side


def test_the_tables_describe_one_tree() -> None:
    assert len(skeleton.JOINT_NAMES) == len(set(skeleton.JOINT_NAMES)) == len(skeleton.PARENTS) == skeleton.JOINTS
    assert all(parent < joint for joint, parent in enumerate(skeleton.PARENTS))
    for joint, child in enumerate(skeleton.TWIST_CHILD):
        assert skeleton.PARENTS[child] == joint
    assert sorted(joint for level in skeleton.levels() for joint in level) == list(range(skeleton.SMPL_JOINTS))


def test_mirroring_swaps_sides_and_keeps_the_tree() -> None:
    mirror = skeleton.MIRROR_JOINTS
    assert [mirror[mirror[joint]] for joint in range(skeleton.JOINTS)] == list(range(skeleton.JOINTS))
    for joint in range(1, skeleton.JOINTS):
        assert skeleton.PARENTS[mirror[joint]] == mirror[skeleton.PARENTS[joint]]
    opposite = {"left": "right", "right": "left", "middle": "middle"}
    assert all(side(mirror[joint]) == opposite[side(joint)] for joint in range(skeleton.JOINTS))
    assert [m + 1 for m in skeleton.MIRROR_TWISTS] == list(mirror[1 : skeleton.SMPL_JOINTS])
