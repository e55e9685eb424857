"""Pairs as the published pair file: one json list, which the published training code reads."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from models.published_crops import CROP_PX, crop_joints, invert_turned_affine
from schemas.errors import DataError
from tasks.export.rows import Lookup, Rows, batches_of, key_of_image, vectors
from tasks.export.target import whole_file

PAIR_COLUMNS = ("instance_id", "winner_uvd", "winner_twist", "loser_uvd", "loser_twist")
INSTANCE_COLUMNS = ("image_id", "crop_affine", "crop_size_px")


def export_dpo_json(
    pairs: Rows,
    instances: Rows,
    target: str,
    path_of: Callable[[str], str] = key_of_image,
    index_of: Mapping[str, int] | None = None,
) -> int:
    """Write rows of `pairs` to the json file `target` (path or URL), streaming; returns how many.

    The file is a list of {img_path, img_idx, l_joints 29x3, w_joints 29x3, l_twist 23x2, w_twist 23x2, trans 2x3,
    trans_inv 2x3}: u, v in pixels of the crop at 256 px, depth in mm behind the root, `trans` from picture to crop.

    Args:
        pairs: rows of the table pairs, with at least PAIR_COLUMNS; written in their order.
        instances: rows of the table instances (instance_id and INSTANCE_COLUMNS) that has all people of the pairs.
        path_of: image_id -> img_path. The published loader wants the path that its annotations give.
        index_of: instance_id -> img_idx, the person's row in the published annotation file (before thinning out).
            None: the place in the sorted instance_ids of `instances`.

    Raises DataError for pairs of unknown people, an instance without img_idx, no pair, or a target that can't be
    written.
    """
    people = Lookup(instances, "instance_id", INSTANCE_COLUMNS, "instances")
    if index_of is None:
        index_of = {name: place for place, name in enumerate(sorted(people.place))}
    count = 0
    with whole_file(target) as file, file.open("w", encoding="utf-8") as stream:
        for part in batches_of(pairs, PAIR_COLUMNS, "pairs"):
            for entry in _entries(part, people, path_of, index_of):
                stream.write(",\n" if count else "[\n")
                json.dump(entry, stream, allow_nan=False)
                count += 1
        if not count:
            raise DataError("There is no pair to export.")
        stream.write("\n]\n")
    return count


def _entries(
    pairs: pa.Table, lookup: Lookup, path_of: Callable[[str], str], index_of: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    names = pairs.column("instance_id").to_pylist()
    people = lookup.rows(names)
    affine = torch.from_numpy(vectors(people, "crop_affine", 6).reshape(-1, 2, 3))
    size = torch.from_numpy(people.column("crop_size_px").to_numpy().astype(np.float64))
    affine = affine * (CROP_PX / size)[:, None, None]
    columns = {
        "l_joints": _joints(pairs, "loser_uvd"),
        "w_joints": _joints(pairs, "winner_uvd"),
        "l_twist": vectors(pairs, "loser_twist", 46).reshape(-1, 23, 2).tolist(),
        "w_twist": vectors(pairs, "winner_twist", 46).reshape(-1, 23, 2).tolist(),
        "trans": affine.tolist(),
        "trans_inv": invert_turned_affine(affine).tolist(),
    }
    for row, (name, image) in enumerate(zip(names, people.column("image_id").to_pylist(), strict=True)):
        if name not in index_of:
            raise DataError(f"{name} has no img_idx: give the row of the annotation file for each person of the pairs.")
        entry = {"img_path": path_of(image), "img_idx": int(index_of[name])}
        yield {**entry, **{column: values[row] for column, values in columns.items()}}


def _joints(pairs: pa.Table, column: str) -> list[Any]:
    uvd = torch.from_numpy(vectors(pairs, column, 87).reshape(-1, 29, 3))
    joints: list[Any] = crop_joints(uvd).tolist()
    return joints
