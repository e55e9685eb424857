"""Rows of a published hypothesis cache (multihypo-npz): the crop as the cache has it, and what is known of its picture.

With a folder of the pictures (option `pictures`), the picture's size and focal length come from the file. Without one,
the picture is taken to end where the crop does, which is too small rather than too large, and its diagonal is the focal
length; the row in `images` then has the crop's digest, and for its uri the mere path.
"""

import math
import posixpath
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.cameras import default_focal_px
from models.published_crops import CROP_PX
from schemas.config.networks import JOINTS, TWISTS
from schemas.digests import bytes_digest
from tasks.engine.context import Context
from tasks.ingest.hypotheses.given import CachedPerson, CacheNames, GivenWorker
from tasks.ingest.hypotheses.people import square_of
from tasks.ingest.image.crop import encode_crop
from tasks.ingest.image.leakage import Pictures
from tasks.ingest.image.reading import read_picture
from tasks.ingest.people.annotations import Reader
from tasks.ingest.people.person_rows import image_row, uri_of
from tasks.ingest.source.folder import Folder, PicturePlace, RefusedError, key_of

PICTURES: Final = "pictures"
"""The option that names the folder which img_path is relative to."""
_FARTHEST_PX: Final = 1e6
_TURNED: Final = 1e-3


class CropNames(CacheNames):
    """Names the rows of a hypothesis cache, whose pictures are those that its crops were cut from."""

    def __init__(self, reader: Reader, pictures: Folder | None) -> None:
        super().__init__(reader, pictures)
        assert pictures is not None
        self.source = reader.source
        self.crops = {name for name, _ in pictures.files()}
        self.indices: set[int] = set()
        self.people: Counter[str] = Counter()

    def name(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """As the base class says."""
        if row["img_idx"] in self.indices:
            raise RefusedError("duplicate id", f"an earlier row has img_idx {row['img_idx']}, too, and stands")
        check_crop_map(np.reshape(row["trans"], (2, 3)))
        if row["crop"] not in self.crops:
            raise RefusedError("picture missing", f"the crop {row['crop']} is not there")
        key = self._key(row)
        self.indices.add(row["img_idx"])
        self.people[key] += 1
        return {"key": key, "person": self.people[key] - 1, "first": self.people[key] == 1}

    def _key(self, row: Mapping[str, Any]) -> str:
        place = PicturePlace(str(self.source.options.get(PICTURES, "")), *self.source.target)
        if PICTURES in self.source.options:
            return key_of(place, row["img_path"])
        return key_of(place, plain_name(row["img_path"] or row["crop"]))


class CropWorker(GivenWorker):
    """Makes the rows of a shard of a hypothesis cache; `source.images` is the folder of crops."""

    def __init__(self, context: Context, **of_all: Any) -> None:
        super().__init__(context, **of_all)
        assert self.source.images is not None
        self.crops = Folder(self.source.images, self.source.follow_links)
        pictures = self.source.options.get(PICTURES)
        self.pictures = (
            Pictures(Folder(str(pictures), self.source.follow_links), self.config.max_pixels, self.apart)
            if pictures
            else None
        )

    def see(self, unit: Mapping[str, Any], images: list[dict[str, Any]]) -> CachedPerson:
        """As the base class says."""
        trans = np.reshape(unit["trans"], (2, 3)).astype(np.float64)
        centres, sides = square_of(trans[None])
        box = np.concatenate([centres[0] - sides[0] / 2, [sides[0], sides[0]]])
        if self.pictures is not None:
            photograph, code = self.pictures(unit["key"])
            width, height = photograph.size
            focal, focal_source = photograph.focal(None)
            uri, sha256 = uri_of(self.store, self.pictures.folder, unit["key"]), photograph.sha256
        else:
            width, height = (max(1, math.ceil(edge)) for edge in box[:2] + box[2:])
            focal, focal_source = default_focal_px(width, height), "diagonal"
            uri, sha256 = unit["key"], bytes_digest(self.crops.read(unit["crop"]))
            code = None  # of the crop, it would resemble no picture that the crop may come from
        if unit["first"]:
            images.append(image_row(self.source, unit["key"], uri, (width, height), sha256, code))
        return CachedPerson(
            unit,
            self._crop(unit["crop"]),
            trans * (self.config.crop_size_px / CROP_PX),
            box,
            "joints",
            np.array([focal, focal, width / 2, height / 2]),
            focal_source,
            unit["uvd"].reshape(-1, JOINTS, 3),
            unit["twist"].reshape(-1, TWISTS, 2),
        )

    def _crop(self, name: str) -> bytes:
        """The crop's file as it is where the engine's crops have its size, else made smaller or larger."""
        crop = read_picture(self.crops, name, self.config.max_pixels).image
        if crop.size != (CROP_PX, CROP_PX):
            width, height = crop.size
            raise RefusedError(
                "picture size differs",
                f"the crop {name} has {width} x {height} px, {CROP_PX} x {CROP_PX} are expected",
            )
        size = self.config.crop_size_px
        if size != CROP_PX:
            return encode_crop(resized(crop, size), self.config.jpeg_quality)
        return self.crops.read(name)


def resized(crop: Image.Image, size: int) -> NDArray[np.uint8]:
    """A whole crop in another size (size, size, 3): unlike `crop.cut_crop`, nothing beyond its border counts."""
    return np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR))


def check_crop_map(trans: NDArray[np.float64]) -> None:
    """RefusedError unless the map (2, 3) enlarges and shifts, and does so within reason."""
    scale = (trans[0, 0] + trans[1, 1]) / 2
    turned = max(abs(trans[0, 1]), abs(trans[1, 0]), abs(trans[0, 0] - trans[1, 1]))
    if not (scale > 0 and turned <= _TURNED * scale):
        raise RefusedError("crop turned", "trans turns, mirrors or distorts the picture, as no test crop does")
    centre, side = square_of(trans[None])
    if not max(np.abs(centre).max(), side.max()) <= _FARTHEST_PX:
        raise RefusedError("value out of range", f"trans shows {side[0]:.3g} picture pixels around {centre[0]}")


def plain_name(path: str) -> str:
    """A path that is no more than a name, as a key: relative, whatever it was."""
    plain = posixpath.normpath(path.strip().replace("\\", "/")).lstrip("/")
    while plain.startswith("../"):
        plain = plain[3:]
    return plain
