"""Rows of our tables for synthetic people, as an ingest, a generation and a pairing would have left them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch

from models.cameras import affine_intrinsics, crop_affine, square_box, uvd_from_camera
from schemas.tables import FLOAT_VECTOR, build
from tasks.ingest.image.crop import encode_crop
from tests.samples.truth import TruePerson

SIZE = 64


def name_of(person: TruePerson) -> str:
    return f"mine/train/sub/{person.index:03d}.jpg#0"


def instances(people: Sequence[TruePerson]) -> pa.Table:
    boxes = np.array([person.box for person in people])
    camera = torch.from_numpy(np.array([person.intrinsics for person in people]))
    affine = crop_affine(square_box(torch.from_numpy(boxes)), SIZE)
    return build(
        "instances",
        {
            "instance_id": [name_of(person) for person in people],
            "image_id": [name_of(person)[:-2] for person in people],
            "dataset": "mine",
            "split": "train",
            "person": [0] * len(people),
            "box_xywh": boxes,
            "crop": [encode_crop(np.full((SIZE, SIZE, 3), person.index, np.uint8), 95) for person in people],
            "crop_size_px": [SIZE] * len(people),
            "crop_intrinsics": affine_intrinsics(camera, affine).numpy(),
            "crop_affine": affine.reshape(-1, 6).numpy(),
            "crop_rule": "box",
            "image_intrinsics": camera.numpy(),
            "intrinsics_source": "given",
            "stage_key": "a",
        },
    )


def images(people: Sequence[TruePerson]) -> pa.Table:
    return build(
        "images",
        {
            "image_id": [name_of(person)[:-2] for person in people],
            "dataset": "mine",
            "split": "train",
            "key": [f"sub/{person.index:03d}.jpg" for person in people],
            "uri": [f"somewhere/{person.index:03d}.jpg" for person in people],
            "width_px": [person.width for person in people],
            "height_px": [person.height for person in people],
            "content_sha256": "0",
            "stage_key": "a",
        },
    )


def labels(people: Sequence[TruePerson], body_model: str = "smpl") -> pa.Table:
    of = [person.label for person in people]
    pose = np.array([label.body_pose for label in of])
    columns = {
        "instance_id": [name_of(person) for person in people],
        "label_set": "gt",
        "dataset": "mine",
        "split": "train",
        "label_kind": "gt",
        "body_model": body_model,
        "body_digest": "d",
        "gender": [label.gender for label in of],
        "global_orient": np.array([label.global_orient for label in of]),
        "body_pose": pose,
        "betas": np.array([label.betas for label in of]),
        "transl": np.array([label.transl for label in of]),
        "joints": np.array([label.joints for label in of]).reshape(len(of), 87),
        "joints_valid": np.ones((len(of), 29), bool),
        "twist": np.array([label.twist for label in of]).reshape(len(of), 46),
        "stage_key": "a",
    }
    if body_model == "smplx":
        pose[:, 63:] = 0
        columns["left_hand_pose"] = pa.array([[0.1] * 45] + [None] * (len(of) - 1), FLOAT_VECTOR)
    return build("labels", columns)


def pairs(people: Sequence[TruePerson], each: int = 2) -> pa.Table:
    random = np.random.Generator(np.random.PCG64(0))
    known = instances(people)
    camera = torch.from_numpy(np.array(known.column("crop_intrinsics").to_pylist()))
    joints = torch.from_numpy(np.array([person.label.joints for person in people], np.float64))
    uvd = np.repeat(uvd_from_camera(joints, camera, SIZE)[0].numpy(), each, 0)
    angles = random.uniform(-3, 3, (2, len(uvd), 23))
    twist = np.stack([np.cos(angles), np.sin(angles)], -1).reshape(2, len(uvd), 46)
    loser = uvd + 0.05 * random.standard_normal(uvd.shape)
    return build(
        "pairs",
        {
            "pair_set": "p",
            "instance_id": np.repeat([name_of(person) for person in people], each).tolist(),
            "generation_id": "g",
            "winner": [-1] * len(uvd),
            "loser": np.tile(np.arange(each), len(people)),
            "loser_score": random.standard_normal(len(uvd)),
            "strategy": "label",
            "winner_uvd": uvd.reshape(-1, 87),
            "winner_twist": twist[0],
            "winner_betas": np.zeros((len(uvd), 10)),
            "loser_uvd": loser.reshape(-1, 87),
            "loser_twist": twist[1],
            "loser_betas": np.ones((len(uvd), 10)),
            "dataset": "mine",
            "round": [1] * len(uvd),
            "stage_key": "p",
        },
    )
