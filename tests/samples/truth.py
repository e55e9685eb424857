"""The synthetic people that samples are written from: pictures, cameras and labels that are known exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.cameras import project
from tasks.synthesize.domains import Domain, domain_named
from tasks.synthesize.people import Label
from tasks.synthesize.picture import make_picture
from tasks.synthesize.surroundings import encode


@dataclass(frozen=True)
class TruePerson:
    """One labelled person, alone in a picture."""

    index: int
    jpeg: bytes
    width: int
    height: int
    box: NDArray[np.float64]
    """(4,) x, y, w, h, pixels."""
    intrinsics: NDArray[np.float64]
    """(4,) fx, fy, cx, cy, pixels."""
    label: Label

    @property
    def pixels(self) -> NDArray[np.float64]:
        """(29, 2): the joints in the picture."""
        joints = torch.from_numpy(self.label.joints.astype(np.float64))
        return project(joints, torch.from_numpy(self.intrinsics)).numpy()


def true_people(
    count: int, domain: str | Domain = "source", split: str = "train", seed: int = 0, body: str = "tiny"
) -> list[TruePerson]:
    """The first `count` people of a split of a labelled synthetic domain; one that is named has the usual cameras."""
    made, drawn = [], domain_named(domain) if isinstance(domain, str) else domain
    for index in range(count):
        picture = make_picture(drawn, split, index, seed, body)
        camera = picture.intrinsics
        height, width = picture.image.shape[:2]
        made.append(
            TruePerson(
                index,
                encode(picture.image),
                width,
                height,
                picture.box,
                np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
                picture.label,
            )
        )
    return made


def write_pictures(people: Sequence[TruePerson], folder: Path, paths: Sequence[str]) -> None:
    """Write each person's picture below `folder` under its path; folders in between are made."""
    for person, path in zip(people, paths, strict=True):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(person.jpeg)
