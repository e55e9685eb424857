"""The people that an encoder is pretrained on, as crops: of domains of its own, so that no campaign has any of them.

What is drawn for a picture depends on (seed, domain, split, index), and no campaign has a domain of these names.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image

from models.cameras import affine_intrinsics, crop_affine, square_box, uvd_from_camera
from tasks.ingest.image.crop import cut_crop
from tasks.pretrain.settings import PretrainConfig
from tasks.rows.crops import LabelledCrops
from tasks.synthesize.domains import Domain, Range, domain_named
from tasks.synthesize.people import person
from tasks.synthesize.picture import make_picture
from tasks.synthesize.surroundings import encode

BROAD, LEVEL = "pretrain-broad", "pretrain-level"
"""Domains: their names seed their pictures, and no campaign's domain is called so."""
TRAIN, TEST = "train", "test"
_AT_ONCE: Final = 500
"""Pictures of a file: what is lost when the making of them is stopped."""


@dataclass(frozen=True)
class PretrainPeople:
    """N people with what an encoder learns of them."""

    crops: np.ndarray
    """(N, S, S, 3) uint8."""
    uvd: np.ndarray
    """(N, 29, 3) normalised joints."""
    twists: np.ndarray
    """(N, 23, 2) (cos, sin)."""
    betas: np.ndarray
    """(N, 10)."""
    pitch: np.ndarray
    """(N,) of the camera, degrees."""

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def labelled(self) -> LabelledCrops:
        """The same without the pitch."""
        return LabelledCrops(self.crops, self.uvd, self.twists, self.betas)


def domains(config: PretrainConfig) -> dict[str, Domain]:
    """The two domains by their names. Broad people are those of all the engine's domains, and more varied."""
    source, scorer, wild = (domain_named(name) for name in ("source", "scorer", "wild"))
    broad = {
        "name": BROAD,
        "unlabelled_splits": frozenset(),
        "pitch": config.broad_pitch,
        "poses": {name: max(wild.poses[name], source.poses[name]) for name in scorer.poses},
        "pose_noise": 1.2,
        "yaw": 80,
        "truncated": 0.15,
        "saturation": Range(0.1, 0.9),
        "ambient": Range(0.3, 0.7),
        "clutter": (0, 9),
        "texture": Range(0.02, 0.28),
        "occluded": 0.3,
        "recompressed": 0.2,
    }
    return {
        BROAD: wild.model_copy(update=broad),
        LEVEL: source.model_copy(update={"name": LEVEL, "pitch": config.level_pitch}),
    }


def make_people(
    config: PretrainConfig, domain: str, split: str, folder: Path, say: Callable[[str], None]
) -> PretrainPeople:
    """The people of a domain and split, each file of them made once in `folder`."""
    count = config.held_out if split == TEST else {BROAD: config.broad, LEVEL: config.level}[domain]
    parts = []
    for start in range(0, count, _AT_ONCE):
        end = min(start + _AT_ONCE, count)
        file = folder / f"{domain}-{split}-{start:06d}-{end:06d}.npz"
        if not file.exists():
            part = _made(config, domains(config)[domain], split, range(start, end))
            buffer = io.BytesIO()
            np.savez(buffer, **{field.name: getattr(part, field.name) for field in fields(part)})
            whole_file(file, buffer.getvalue())
            say(f"{domain}/{split}: {end} of {count} people")
        with np.load(file) as arrays:
            parts.append({name: arrays[name] for name in arrays.files})
    return PretrainPeople(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def whole_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def _made(config: PretrainConfig, domain: Domain, split: str, indices: range) -> PretrainPeople:
    size = config.network.image_size
    rows: list[tuple[np.ndarray, ...]] = []
    for index in indices:
        picture = make_picture(domain, split, index, config.seed, config.body)
        # as the engine's own folders have it: a JPEG file, and a crop around its box
        image = Image.open(io.BytesIO(encode(picture.image))).convert("RGB")
        square = square_box(torch.tensor(picture.box, dtype=torch.float64), config.box_padding)
        left, top, side, _ = square.tolist()
        camera = torch.tensor(picture.intrinsics, dtype=torch.float64)
        of_crop = affine_intrinsics(camera, crop_affine(square, size)).float()
        uvd, _ = uvd_from_camera(torch.from_numpy(picture.label.joints), of_crop, size)
        pitch = np.array(person(domain, split, index, config.seed, config.body).pitch, np.float32)
        crop = cut_crop(image, (left, top, side), size)
        rows.append((crop, uvd.numpy(), picture.label.twist, picture.label.betas, pitch))
    return PretrainPeople(*(np.stack(column) for column in zip(*rows, strict=True)))
