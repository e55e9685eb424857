"""Samples of preference data as it is published: pair files, hypothesis caches, scorer test caches."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from models.cameras import affine_intrinsics, crop_affine, uvd_from_camera
from models.published_crops import CROP_PX, crop_joints, invert_turned_affine, joint_box, published_square
from tasks.ingest.image.published_crop import cut_published_crop
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.truth import TruePerson, write_pictures

_NOISE_PX, _NOISE_MM, _NOISE_RAD = 8.0, 40.0, 0.3


def true_crop(person: TruePerson, scale: float = 1.25) -> NDArray[np.float64]:
    """The published test crop of a person: its map (2, 3) from picture to 256 px crop."""
    square = published_square(joint_box(torch.from_numpy(person.pixels)), scale)
    affine: NDArray[np.float64] = crop_affine(square, CROP_PX).numpy()
    return affine


def true_joints(person: TruePerson) -> NDArray[np.float64]:
    """(29, 3): the label's joints in pixels of the test crop and mm behind the root."""
    affine = torch.from_numpy(true_crop(person))
    camera = affine_intrinsics(torch.from_numpy(person.intrinsics), affine)
    uvd, _ = uvd_from_camera(torch.from_numpy(person.label.joints.astype(np.float64)), camera, CROP_PX)
    return np.asarray(crop_joints(uvd).numpy(), np.float64)


def noised(person: TruePerson, count: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hypotheses around the label: joints (M, 29, 3) as `true_joints`, unit twists (M, 23, 2). More noise from one to
    the next."""
    random = np.random.Generator(np.random.Philox([seed, person.index]))
    growing = np.arange(1, count + 1)[:, None, None] / count
    joints = true_joints(person) + growing * random.standard_normal((count, 29, 3)) * [_NOISE_PX, _NOISE_PX, _NOISE_MM]
    joints[:, 0, 2] = 0
    twist = np.asarray(person.label.twist, np.float64).reshape(23, 2)
    angle = np.arctan2(twist[:, 1], twist[:, 0]) + growing[..., 0] * random.standard_normal((count, 23)) * _NOISE_RAD
    return joints, np.stack([np.cos(angle), np.sin(angle)], -1)


def write_pair_json(
    people: Sequence[TruePerson], folder: Path, dataset: str = "sample", split: str = "train", losers: int = 2
) -> AnnotationSource:
    """`pairs.json` and pictures below `images/`: for each person, the label as winner against `losers` hypotheses."""
    paths = _paths(people, folder)
    pairs = []
    for person, path in zip(people, paths, strict=True):
        joints, twists = noised(person, losers)
        for loser in range(losers):
            pairs.append({
                "img_path": path,
                "img_idx": person.index,
                "l_joints": joints[loser].tolist(),
                "w_joints": true_joints(person).tolist(),
                "l_twist": twists[loser].tolist(),
                "w_twist": _twist(person).tolist(),
                **{name: value.tolist() for name, value in _maps(person, np.float64).items()},
            })  # fmt: skip
    file = folder / "pairs.json"
    file.write_text(json.dumps(pairs))
    return AnnotationSource("dpo-json", str(file), dataset, split, str(folder / "images"))


def write_hypothesis_cache(
    people: Sequence[TruePerson],
    folder: Path,
    dataset: str = "sample",
    split: str = "train",
    hypotheses: int = 4,
    strategy: str | None = "sample",
) -> AnnotationSource:
    """`multihypo.npz` with `multihypo_id.npz`, the 256 px crops beside them, and the pictures below `images/`.

    Without `strategy`, data_strategy is left out, as one of the two published writers does.
    """
    paths = _paths(people, folder)
    entries: list[dict[str, Any]] = []
    for person, path in zip(people, paths, strict=True):
        joints, twists = noised(person, hypotheses)
        score = np.concatenate([2 * (joints[..., :2] / CROP_PX - 0.5), joints[..., 2:] / 1000], -1)
        entries.append({
            "img_path": path,
            "img_idx": person.index,
            "output_joints": joints.astype(np.float32),
            "output_twists": twists.astype(np.float32),
            "score_joints": score.reshape(hypotheses, 87).astype(np.float32),
            "score_twists": twists.astype(np.float32),
            "gt_joints": true_joints(person).astype(np.float32),
            "gt_twists": _twist(person).astype(np.float32),
            **_maps(person, np.float32),
        })  # fmt: skip
        crop = cut_published_crop(_decoded(person), true_crop(person))
        Image.fromarray(crop).save(folder / f"{person.index:08d}.png")
    write_list_cache(folder / "multihypo.npz", entries, strategy)
    write_list_cache(folder / "multihypo_id.npz", [person.index for person in people], strategy)
    return AnnotationSource("multihypo-npz", str(folder / "multihypo.npz"), dataset, split)


def write_scorer_cache(
    people: Sequence[TruePerson], folder: Path, dataset: str = "sample", split: str = "test", hypotheses: int = 4
) -> AnnotationSource:
    """`scorer_eval.npz`: per picture the image as HMR-Scorer takes it (3, 512, 384), noised joints and their errors.

    How the published files spell their keys is not known; these are the words of the loader's own variables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for person in people:
        joints, _ = noised(person, hypotheses)
        crop = cut_published_crop(_decoded(person), true_crop(person))
        tall = np.zeros((512, 384, 3), np.float32)
        tall[64:448] = np.asarray(Image.fromarray(crop).resize((384, 384)), np.float32) / 255
        # the square crop is the middle three quarters of the tall one
        u, v = 2 * (joints[..., 0] / CROP_PX - 0.5), 1.5 * (joints[..., 1] / CROP_PX - 0.5)
        uvd = np.stack([u, v, joints[..., 2] / 1000], -1)
        entries.append({
            "img_path": f"{person.index:05d}.jpg",
            "img": tall.transpose(2, 0, 1),
            "joints": uvd.astype(np.float32),
            "mpjpe": scorer_errors(person, joints).astype(np.float32),
        })  # fmt: skip
    write_list_cache(folder / "scorer_eval.npz", entries, "noise")
    return AnnotationSource("scorer-eval", str(folder / "scorer_eval.npz"), dataset, split)


def scorer_errors(person: TruePerson, joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """A mean error (M,) of joints (M, 29, 3) as `noised` makes them, mm: pixels count by the person's size."""
    truth = true_joints(person)
    mm_per_px = 1700 / max(np.ptp(truth[:, 1]), 1.0)
    errors: NDArray[np.float64] = np.linalg.norm((joints - truth) * [mm_per_px, mm_per_px, 1.0], axis=-1).mean(-1)
    return errors


def write_list_cache(file: Path, entries: Sequence[Any], strategy: str | None = None) -> None:
    """A list cache as published pipelines write it: keys "0" to "n-1", data_len and, if given, data_strategy."""
    members: dict[str, Any] = {}
    for number, entry in enumerate(entries):
        box = np.empty((), object)
        box[()] = entry
        members[str(number)] = box
    members["data_len"] = len(entries)
    if strategy is not None:
        members["data_strategy"] = strategy
    np.savez_compressed(file, **members)


def _paths(people: Sequence[TruePerson], folder: Path) -> list[str]:
    paths = [f"{person.index:05d}.jpg" for person in people]
    write_pictures(people, folder / "images", paths)
    return paths


def _decoded(person: TruePerson) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(person.jpeg)).convert("RGB"))


def _maps(person: TruePerson, kind: type[np.floating[Any]]) -> dict[str, NDArray[Any]]:
    affine = true_crop(person)
    back = invert_turned_affine(torch.from_numpy(affine)).numpy()
    return {"trans": affine.astype(kind), "trans_inv": back.astype(kind)}


def _twist(person: TruePerson) -> NDArray[np.float64]:
    return np.asarray(person.label.twist, np.float64).reshape(23, 2)
