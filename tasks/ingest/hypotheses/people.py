"""The person whom a published crop shows: one of an earlier ingest, by the picture's path and the place in the picture.

Preference files name people by the row of an annotation file, which is not in our tables. But they say which
picture a crop was cut from, and by which map.
"""

import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.standing import read_standing
from infra.store import Store
from models.published_crops import CROP_PX
from schemas.ids import StageKey, Target
from tasks.ingest.plan.rows import rows_matrix
from tasks.ingest.source.folder import RefusedError
from tasks.rows.instances import instance_ids, of_target

NOT_INGESTED: Final = "picture not ingested"
NO_SUCH_INSTANCE: Final = "no such instance"
AMBIGUOUS_PICTURE: Final = "picture ambiguous"
AMBIGUOUS_PERSON: Final = "person ambiguous"

_FARTHEST: Final = 0.35
"""A crop by another rule lies up to 0.15 off (in sides of the crop) and is a fifth smaller or larger; a neighbour whom
the crop doesn't show is further away."""
_SIZE_WEIGHT: Final = 0.25
_APART: Final = 0.01


@dataclass(frozen=True)
class Match:
    """The instance that a crop shows, and its own crop."""

    instance_id: str
    affine: NDArray[np.float64]
    """(2, 3), from picture pixels to pixels of the instance's crop as if that had CROP_PX a side."""
    intrinsics: NDArray[np.float64]
    """(4,) its camera, likewise."""
    by_suffix: bool
    """The picture was known by the end of its path alone."""


COLUMNS: Final = ("instance_id", "image_id", "crop_affine", "crop_size_px", "crop_intrinsics")


def people_of_crops(store: Store, ingest_keys: Sequence[StageKey], target: Target) -> "PeopleOfCrops":
    """The people of `target` in these ingests. DataError where there are none."""
    rows = read_standing(store, "instances", ingest_keys, where=of_target(target), columns=COLUMNS)
    if len(rows) == 0:
        instance_ids(store, ingest_keys, [target])  # which says what there is instead
    return PeopleOfCrops(rows, target)


class PeopleOfCrops:
    """The people of a split, found by picture and crop."""

    def __init__(self, rows: pa.Table, target: Target) -> None:
        """`rows` of the table instances, all of `target`, with at least COLUMNS."""
        self.ids: pa.ChunkedArray = rows.column("instance_id")
        scale = CROP_PX / rows.column("crop_size_px").to_numpy().astype(np.float64)
        self.affine = rows_matrix(rows, "crop_affine", (2, 3)) * scale[:, None, None]
        self.intrinsics = rows_matrix(rows, "crop_intrinsics", (4,)) * scale[:, None]
        self.centre, self.side = square_of(self.affine)
        start = len(f"{target}/")
        self.of_picture: defaultdict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(rows.column("image_id").to_pylist()):
            self.of_picture[name[start:]].append(place)
        self.by_name: defaultdict[str, list[str]] = defaultdict(list)
        for key in self.of_picture:
            self.by_name[posixpath.basename(key)].append(key)

    def find(self, path: str, trans: NDArray[np.float64]) -> Match:
        """The person whom the crop with the map `trans` (2, 3), from the picture `path` to CROP_PX pixels, shows.

        RefusedError where the picture is not among the ingested, or no person's crop is near, or two are alike.
        """
        key, exact = self._picture(path)
        people = np.array(self.of_picture[key])
        centre, side = square_of(trans[None])
        off = np.linalg.norm(self.centre[people] - centre, axis=-1) / side
        off = off + _SIZE_WEIGHT * np.abs(np.log(self.side[people] / side))
        order = np.argsort(off, kind="stable")
        if not off[order[0]] <= _FARTHEST:
            x, y = centre[0]
            raise RefusedError(
                NO_SUCH_INSTANCE,
                f"{path}: the crop is {side[0]:.4g} px wide around ({x:.4g}, {y:.4g}), and none of the {len(people)} "
                "people of that picture is there",
            )
        if len(order) > 1 and off[order[1]] - off[order[0]] < _APART:
            first, second = (self.ids[int(people[place])].as_py() for place in order[:2])
            raise RefusedError(AMBIGUOUS_PERSON, f"{path}: the crop may show {first} or {second}")
        row = int(people[order[0]])
        return Match(self.ids[row].as_py(), self.affine[row], self.intrinsics[row], not exact)

    def _picture(self, path: str) -> tuple[str, bool]:
        """The key of a picture, and whether it is the very path: else one is the end of the other."""
        plain = posixpath.normpath(path.strip().replace("\\", "/")).lstrip("/")
        if plain in self.of_picture:
            return plain, True
        fitting = [
            key
            for key in self.by_name.get(posixpath.basename(plain), ())
            if plain.endswith(f"/{key}") or key.endswith(f"/{plain}")
        ]
        if not fitting:
            raise RefusedError(NOT_INGESTED, f"{path}: no ingested picture has this path, or an end of it")
        if len(fitting) > 1:
            raise RefusedError(AMBIGUOUS_PICTURE, f"{path} may be {' or '.join(sorted(fitting)[:3])}")
        return fitting[0], False


def square_of(affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre (N, 2) and side (N,), picture pixels, of what crops of CROP_PX with the maps (N, 2, 3) show."""
    middle = np.full(2, CROP_PX / 2)
    centre = np.linalg.solve(affine[:, :, :2], (middle - affine[:, :, 2])[..., None])[..., 0]
    side: NDArray[np.float64] = CROP_PX / np.sqrt(np.abs(np.linalg.det(affine[:, :, :2])))
    return centre.astype(np.float64), side
