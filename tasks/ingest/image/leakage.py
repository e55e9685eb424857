"""Leakage: pictures that are in the train split of a data set and, as near copies, in another split of it.

A test on them would say nothing. They are refused where they come second, unless the ingest allows them.
"""

from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from infra.standing import newest_of_each, read_standing
from infra.store import Store
from infra.tables import read
from schemas.digests import digest
from schemas.ids import Target
from tasks.ingest.image.hashes import hash_words, perceptual_hash
from tasks.ingest.image.reading import Photograph, read_picture
from tasks.ingest.source.folder import Folder, RefusedError

LEAKED: Final = "picture of another split"
COPY_BITS: Final = 10
"""Pictures whose hashes differ in no more of the 256 bits count as copies."""
TRAIN: Final = "train"
"""The split whose pictures no other split of the data set may have."""


def pictures_elsewhere(store: Store, dataset: str, split: str) -> pa.Table | None:
    """Hashes (image_id, perceptual_hash) of the data set's pictures in splits that must have none of this one's, as
    far as there are people in them; of the newest ingest of each split. None where there is none."""
    apart = pc.field("split") != TRAIN if split == TRAIN else pc.field("split") == TRAIN
    where = (pc.field("dataset") == dataset) & apart
    splits = pc.unique(read(store, "instances", where=where, columns=["split"]).column(0)).to_pylist()
    parts = []
    for other in sorted(splits):
        keys = newest_of_each(store, Target(dataset, other))
        there = (pc.field("dataset") == dataset) & (pc.field("split") == other)
        people = read_standing(store, "instances", keys, where=there, columns=["image_id"])
        images = read_standing(store, "images", keys, where=there, columns=["image_id", "perceptual_hash"])
        with_people = pc.is_in(images.column(0), value_set=people.column(0).combine_chunks())
        parts.append(images.filter(pc.and_(with_people, pc.is_valid(images.column(1)))))
    elsewhere = pa.concat_tables(parts) if parts else None
    return elsewhere if elsewhere else None


def elsewhere_digest(elsewhere: pa.Table | None) -> str | None:
    """What of `pictures_elsewhere` counts towards an ingest's key."""
    return None if elsewhere is None else digest(sorted(elsewhere.column("perceptual_hash").to_pylist()))


class Apart:
    """Looks whether a picture is in another split, too."""

    def __init__(self, elsewhere: pa.Table | None) -> None:
        """`elsewhere` as `pictures_elsewhere` gives it; None: nothing is refused."""
        self._names = elsewhere.column("image_id") if elsewhere is not None else ()
        self._codes = hash_words("".join(elsewhere.column("perceptual_hash").to_pylist()) if elsewhere else "")

    def hash_of(self, picture: Image.Image, name: str) -> str | None:
        """The picture's perceptual hash. RefusedError where it is a near copy of one of another split."""
        code = perceptual_hash(picture)
        if code is not None and len(self._codes):
            differing = np.bitwise_count(self._codes ^ hash_words(code)).sum(1)
            nearest = int(differing.argmin())
            if differing[nearest] <= COPY_BITS:
                raise RefusedError(
                    LEAKED,
                    f"{name} shows what {self._names[nearest]} shows: a test on it would say nothing "
                    "(--allow-leakage takes it)",
                )
        return code


class Pictures:
    """The pictures of a folder with their hashes. The last one is kept: people of one picture follow each other."""

    def __init__(self, folder: Folder, max_pixels: int, apart: Apart | None) -> None:
        """Without `apart`, pictures get no hash: nothing asks whether they are copies."""
        self.folder, self._max_pixels, self._apart = folder, max_pixels, apart
        self._last = lru_cache(maxsize=1)(self._looked_at)

    def __call__(self, key: str) -> tuple[Photograph, str | None]:
        """The picture `key` and its hash. RefusedError for one that can't be used (`read_picture`, `Apart`)."""
        answer = self._last(key)
        if isinstance(answer, RefusedError):
            raise RefusedError(answer.reason, answer.detail)
        return answer

    def _looked_at(self, key: str) -> tuple[Photograph, str | None] | RefusedError:
        """Refusals are handed back, because a cache keeps what is returned and not what is raised."""
        try:
            photograph = read_picture(self.folder, key, self._max_pixels)
            return photograph, self._apart.hash_of(photograph.image, key) if self._apart is not None else None
        except RefusedError as refusal:
            return refusal
