"""Rows of a published test cache of HMR-Scorer (scorer-eval): each entry is a picture of one person, to be scored.

The picture is upright (3:4); the engine's crops are square. Between black bands above and below, the square that
HMR-Scorer's own data put there is taken out; any other picture gets black bands at its sides. Hypotheses move along.
The files have no twists: each is (1, 0), no twist at all. The published scorer doesn't look at them.
"""

import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from models.cameras import apply_affine, crop_affine, default_focal_px
from schemas.config.networks import JOINTS, TWISTS
from schemas.digests import bytes_digest
from tasks.engine.context import Context
from tasks.ingest.formats.scorer_eval.reader import ScorerCacheReader
from tasks.ingest.hypotheses.crops import plain_name, resized
from tasks.ingest.hypotheses.given import CachedPerson, CacheNames, GivenWorker
from tasks.ingest.image.crop import encode_crop
from tasks.ingest.image.reading import read_picture
from tasks.ingest.people.person_rows import image_row, uri_of
from tasks.ingest.source.folder import Folder, PicturePlace, RefusedError, key_of

_BLACK: Final = 8
"""Values up to this are black: pictures may have been stored with loss."""


class PictureNames(CacheNames):
    """Names the rows of a test cache. Each has a picture of its own, also where paths are equal: pictures are crops."""

    def __init__(self, reader: ScorerCacheReader, pictures: Folder | None) -> None:
        super().__init__(reader, pictures)
        self.error_column = reader.error_column

    def described(self, rows: pa.Table) -> list[dict[str, Any]]:
        """Of pictures, whether there are any."""
        has_picture = rows.column("picture").is_valid().to_pylist()
        return [{**row, "picture": has} for row, has in zip(super().described(rows), has_picture, strict=True)]

    def name(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """As the base class says."""
        if row["joints"] != JOINTS:
            detail = f"hypotheses have {row['joints']} joints; the scorer looks at the {JOINTS} of SMPL"
            raise RefusedError("key-point count", detail)
        if not row["picture"] and (row["img_path"] is None or self.pictures is None):
            raise RefusedError("picture missing", "the entry has no picture, and no folder of pictures was given")
        place = PicturePlace("", *self.reader.source.target)
        number = f"{row['row']:08d}"
        key = key_of(place, f"{plain_name(row['img_path'])}/{number}" if row["img_path"] else number)
        return {"key": key, "person": 0, "first": True}


class PictureWorker(GivenWorker):
    """Makes the rows of a shard of a test cache; `source.images` is the folder of pictures that are not in it."""

    def __init__(self, context: Context, **of_all: Any) -> None:
        super().__init__(context, **of_all)
        self.pictures = Folder(self.source.images, self.source.follow_links) if self.source.images else None

    def see(self, unit: Mapping[str, Any], images: list[dict[str, Any]]) -> CachedPerson:
        """As the base class says."""
        picture, uri, sha256, focal, focal_source = self._picture(unit)
        width, height = picture.size
        square, size = square_in(picture), self.config.crop_size_px
        affine = crop_affine(torch.tensor(square, dtype=torch.float64), size)
        x, y, side, _ = square
        shown = picture.crop((x, y, x + side, y + side))
        # the bands are the same in all pictures, and no part of what is shown
        code = self.apart.hash_of(shown, unit["origin"])
        images.append(image_row(self.source, unit["key"], uri, picture.size, sha256, code))
        crop = resized(shown, size)
        uvd = unit["uvd"].reshape(-1, JOINTS, 3).astype(np.float64)
        pixels = (uvd[..., :2] / 2 + 0.5) * [width, height]
        inside = apply_affine(affine, torch.from_numpy(pixels)).numpy()
        uvd[..., :2] = 2 * (inside / size - 0.5)
        twists = np.zeros((len(uvd), TWISTS, 2), np.float32)
        twists[..., 0] = 1
        return CachedPerson(
            unit,
            encode_crop(crop, self.config.jpeg_quality),
            affine.numpy(),
            np.array([0.0, 0.0, width, height]),
            "box",
            np.array([focal, focal, width / 2, height / 2]),
            focal_source,
            uvd.astype(np.float32),
            twists,
        )

    def _picture(self, unit: Mapping[str, Any]) -> tuple[Image.Image, str, str, float, str]:
        """The picture, where it is, its digest, its focal length and where that came from."""
        if unit["picture"] is not None:
            picture = Image.open(io.BytesIO(unit["picture"])).convert("RGB")  # the reader has made this file
            uri = f"{self.source.url}#{unit['row']}"
            return picture, uri, bytes_digest(unit["picture"]), default_focal_px(*picture.size), "diagonal"
        assert self.pictures is not None
        key = key_of(PicturePlace(self.pictures.url, *self.source.target), unit["img_path"])
        photograph = read_picture(self.pictures, key, self.config.max_pixels)
        return photograph.image, uri_of(self.store, self.pictures, key), photograph.sha256, *photograph.focal(None)


def square_in(picture: Image.Image) -> tuple[int, int, int, int]:
    """The square x, y, side, side of a picture that shows its person: the middle where there are black bands above and
    below, which make a square upright; else the smallest one that has the picture in it."""
    width, height = picture.size
    band = (height - width) // 2
    if band > 0:
        values = np.asarray(picture)
        if max(values[:band].max(), values[height - band :].max()) <= _BLACK:
            return 0, band, width, width
    side = max(width, height)
    return (width - side) // 2, (height - side) // 2, side, side
