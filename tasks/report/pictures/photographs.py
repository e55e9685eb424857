"""Views of people for pages: their crops once more, as sharp as the pictures have them, with bodies over them."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.standing import read_standing
from infra.store import Store
from models.bodies import Body
from models.cameras import Intrinsics
from models.rendering.shading import overlay
from schemas.config.stages import IngestConfig
from schemas.errors import DataError, StoreError
from schemas.ids import StageKey
from schemas.tables import matrix
from tasks.ingest.image.reading import decode_picture
from tasks.ingest.source.files import open_file, open_url
from tasks.ingest.source.folder import RefusedError
from tasks.rows.instances import Instances, in_order

SIDE: Final = 256
"""Pixels of a view, unless another size is asked for."""
Picture = NDArray[np.uint8]
_IMAGE_COLUMNS = ("image_id", "uri", "content_sha256")


def photographs(
    store: Store, ingest_keys: Sequence[StageKey], people: Instances, side: int = SIDE, *, other_hosts: bool = True
) -> list[Picture]:
    """(side, side, 3) views of the crops, cut from the pictures where those still are as they were ingested, else the
    stored crops enlarged. Without `other_hosts` none is asked for a picture, whatever the rows name: only this machine
    and the store are."""
    columns = ["instance_id", "image_id", "crop_affine"]
    rows = in_order(read_standing(store, "instances", ingest_keys, ids=people.ids, columns=columns), people.ids)
    affines = matrix(rows, "crop_affine").reshape(-1, 2, 3).astype(np.float64)
    names = rows.column("image_id").to_pylist()
    images = read_standing(store, "images", ingest_keys, ids=names, columns=_IMAGE_COLUMNS)
    pictures = {image["image_id"]: image for image in images.to_pylist()}
    photos = []
    for crop, name, affine in zip(people.crops, names, affines, strict=True):
        image = pictures[name]
        asked_for = other_hosts or _is_near(store, image["uri"])
        sharp = _cut(store, image, affine, people.crop_size, side) if asked_for else None
        photos.append(_enlarged(crop, side) if sharp is None else sharp)
    return photos


def draw_over(
    photo: Picture,
    people: Instances,
    row: int,
    body: Body,
    colour: tuple[float, float, float],
    mesh: NDArray[np.float32] | None,
) -> Picture:
    """The mesh (V, 3), in metres of the camera frame, over the view of the person `row`; the bare view without one."""
    if mesh is None:
        return photo
    camera = Intrinsics(*(float(value) for value in people.crop_intrinsics[row])).scaled(len(photo) / people.crop_size)
    return overlay(photo, mesh, body.faces.numpy(), camera, colour=colour)


def _cut(store: Store, image: dict[str, Any], affine: NDArray[np.float64], crop_size: int, side: int) -> Picture | None:
    """The crop once more, at a higher resolution; None where the picture is gone, or another one by now."""
    try:
        photograph = decode_picture(_read(store, image["uri"]), image["uri"], IngestConfig().max_pixels)
    except (OSError, DataError, StoreError, RefusedError):
        return None
    if photograph.sha256 != image["content_sha256"]:
        return None
    scale = affine[0, 0] * side / crop_size  # of picture pixels to pixels of the view
    shift = affine[:, 2] * side / crop_size
    back = (1 / scale, 0.0, -shift[0] / scale, 0.0, 1 / scale, -shift[1] / scale)
    view = photograph.image.transform((side, side), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
    return np.asarray(view)


def _is_near(store: Store, uri: str) -> bool:
    """Whether a picture is on this machine or in the store. `::` has fsspec open one URL by another."""
    if "::" in uri:
        return False
    return "://" not in uri or uri.startswith(("file://", f"{store.url}/"))


def _read(store: Store, uri: str) -> bytes:
    """The bytes of a picture. A path that begins nowhere is one of the store, wherever that is by now (`uri_of`)."""
    if "://" not in uri and not uri.startswith("/"):
        return store.read_bytes(uri)
    with open_file(*open_url(uri)) as file:
        return file.read()


def _enlarged(crop: NDArray[np.uint8], side: int) -> Picture:
    return np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC))
