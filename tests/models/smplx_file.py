"""A body in SMPL-X's format, for tests: the official files may not be copied."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.bodies import load_body
from models.skeleton import SMPLX_VERTICES


def _places() -> NDArray[np.float64]:
    """(55, 3) metres: a person's joints at rest, fingers spread over a hand."""
    body = load_body("tiny").rest_joints(torch.zeros(1, 10))[0].double().numpy()
    face = body[15] + np.array([[0, 0, 0.02], [0.03, 0.05, 0], [-0.03, 0.05, 0]])
    places = np.concatenate([body[:22], face])
    for wrist in (20, 21):
        outwards = (body[wrist + 2] - body[wrist]) / np.linalg.norm(body[wrist + 2] - body[wrist])
        fingers = [body[wrist] + outwards * (0.08 + 0.03 * (k % 3)) + [0, 0, 0.02 * (k // 3 - 2)] for k in range(15)]
        places = np.concatenate([places, fingers])
    return places


def smplx_arrays() -> dict[str, Any]:
    """A body in SMPL-X's format: every vertex belongs to one of the 55 joints."""
    random, count = np.random.default_rng(0), SMPLX_VERTICES
    owner = np.arange(count) % 55
    parents = [0, 0, 0, 0, *range(1, 10), 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15]
    for wrist in (20, 21):
        first = len(parents)
        parents += [wrist if joint % 3 == 0 else first + joint - 1 for joint in range(15)]
    regressor = np.zeros((55, count), np.float32)
    regressor[owner, np.arange(count)] = 1
    weights = np.zeros((count, 55), np.float32)
    weights[np.arange(count), owner] = 1
    return {
        "v_template": _places()[owner] + 0.01 * random.normal(size=(count, 3)),
        "shapedirs": 0.002 * random.normal(size=(count, 3, 20)).astype(np.float32),
        "posedirs": np.zeros((count, 3, 486), np.float16),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights,
        "kintree_table": np.stack([parents, np.arange(55)]),
        "f": random.integers(0, count, (500, 3)).astype(np.uint32),
        "hands_meanl": np.full(45, 0.1),
        "hands_meanr": np.full(45, -0.1),
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
        "lmk_faces_idx": random.integers(0, 500, 51),
        "lmk_bary_coords": np.full((51, 3), 1 / 3),
        "dynamic_lmk_faces_idx": random.integers(0, 500, (79, 17)),
        "dynamic_lmk_bary_coords": np.full((79, 17, 3), 1 / 3),
        "joint2num": np.array({"pelvis": 0}, object),
    }
