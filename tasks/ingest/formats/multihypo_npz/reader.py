"""The published cache of many hypotheses per picture (format multihypo-npz), as HMR-Scorer is trained on.

An entry is a picture of one person with M hypotheses: output_joints (M, 29, 3) in pixels of the 256 px test crop and mm
behind the root, output_twists (M, 23, 2), the same once more as the network gave them (score_joints (M, 87) in -1 to 1
and metres, score_twists), gt_joints, gt_twists, trans, trans_inv, img_path, img_idx. The crops themselves lie beside
it as <img_idx:08d>.png. A second cache, <name>_id.npz, may hold img_idx alone.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.errors import DataError
from tasks.ingest.formats.list_cache import Entry, ListCache
from tasks.ingest.formats.preferences import (
    JOINTS_SHAPE,
    JUDGEMENT,
    PLACE,
    TWIST_SHAPE,
    UNREADABLE,
    batched,
    check_units,
    crop_map,
    field,
    joints_uvd,
    needed,
    numbers,
    shown,
    text,
    unit_twist,
    vector,
    whole_number,
)
from tasks.ingest.people.annotations import ROWS_AT_ONCE, AnnotationSource, Survey
from tasks.ingest.source.files import open_url
from tasks.ingest.source.folder import RefusedError

NAME: Final = "multihypo-npz"
HYPOTHESES: Final = pa.schema([
    *PLACE,
    field("crop", pa.string(), "file of the 256 px crop, relative to the folder of crops"),
    field("count", pa.int32(), "M, how many hypotheses there are"),
    field("uvd", pa.list_(pa.float32()), "M x 29 joints (u, v, d), one after the other", "crop, crop, m"),
    field("twist", pa.list_(pa.float32()), "M x 23 unit (cos, sin)"),
    vector("gt_uvd", 87, "the label's joints, where the entry has them", "crop, crop, m"),
    vector("gt_twist", 46, "the label's twists; NaN where it marks them as invalid", "none"),
    *JUDGEMENT,
])  # fmt: skip
"""The columns of a batch: a row is an entry of the cache."""

_NUMBERS_AT_ONCE = 4_000_000
_LOOKED_AT = 20
_INVALID_TWIST = 1e-6
_KNOWN: Final = (
    *("img_path", "img_idx", "output_joints", "output_twists", "score_joints", "score_twists"),
    *("gt_joints", "gt_twists", "trans", "trans_inv"),
)
_SUFFIX = "_id.npz"


class HypothesisCacheReader:
    """Reads a cache. `source.images` is the folder of the 256 px crops (default: the cache's own folder)."""

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        if source.url.endswith(_SUFFIX):
            raise DataError(
                f"{source.url} holds the numbers of pictures only. Give the cache that it belongs to: "
                f"{source.url.removesuffix(_SUFFIX)}.npz."
            )
        self._cache = ListCache(source.url, work, "hypothesis cache")
        self._ids = self._find_ids()

    def survey(self) -> Survey:
        """Reads the first entries. Raises DataError where their numbers are in other units than published."""
        facts, remarks = self._cache.facts(), self._cache.remarks()
        entries = [entry for entry in itertools.islice(self._cache.entries(), _LOOKED_AT) if entry.refusal is None]
        found = [entry.value for entry in entries if isinstance(entry.value, Mapping)]
        good = [row for entry in entries if (row := self._row(entry))["reason"] is None]
        self._check_units(good)
        counts = sorted({row["count"] for row in good})
        facts["hypotheses"] = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(*counts) or "unknown"
        facts["labels"] = f"in {sum(row['gt_uvd'] is not None for row in good)} of the first {len(entries)} entries"
        facts["units"] = "crop pixels and mm -> normalised u, v and metres; twists made unit length"
        unknown = sorted({str(key) for value in found for key in value} - set(_KNOWN))
        if unknown:
            remarks.append(f"Keys that mean nothing here: {shown(', '.join(unknown))}.")
        remarks.extend(_disagreement(value) for value in found[:1] if _disagreement(value))
        files = [self.source.url, *([self._ids.url] if self._ids else [])]
        return Survey(NAME, files, len(self._cache), self._images(), facts, remarks)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All entries in the order of their numbers, with the schema HYPOTHESES."""
        return batched(self._checked(), HYPOTHESES, ROWS_AT_ONCE, _NUMBERS_AT_ONCE)

    def _checked(self) -> Iterator[dict[str, Any]]:
        rows = map(self._row, self._cache.entries())
        first = list(itertools.islice(rows, _LOOKED_AT))
        self._check_units([row for row in first if row["reason"] is None])
        yield from itertools.chain(first, rows)

    def _row(self, entry: Entry) -> dict[str, Any]:
        row: dict[str, Any] = {"row": entry.number, "origin": f"{self._cache.name}: key {entry.number}", "reason": None}
        try:
            if entry.refusal is not None:
                raise entry.refusal
            if not isinstance(entry.value, Mapping):
                raise RefusedError(UNREADABLE, f"a dictionary is expected, not {shown(entry.value)}")
            # what says where the row belongs comes first, so that a refused row has it too
            row.update(self._place(entry))
            row.update(_hypotheses(entry.value))
        except RefusedError as refusal:
            row.update(reason=refusal.reason, detail=refusal.detail)
        return row

    def _place(self, entry: Entry) -> dict[str, Any]:
        value = entry.value
        stands = value.get("img_idx")
        listed = self._listed(entry.number)
        if stands is None and listed is None:
            needed(value, ["img_idx"])
        index = whole_number(listed if stands is None else stands, "img_idx")
        if listed is not None and listed != index:
            raise RefusedError("ids disagree", f"img_idx is {index}, but {listed} in {self._ids and self._ids.name}")
        place: dict[str, Any] = {"img_idx": index, "crop": f"{index:08d}.png"}
        if value.get("img_path") is not None:
            place["img_path"] = text(value["img_path"], "img_path")
        needed(value, ["output_joints", "output_twists", "trans"])
        return {**place, "trans": crop_map(value["trans"], value.get("trans_inv"))}

    def _listed(self, number: int) -> int | None:
        if self._ids is None or number not in self._ids:
            return None
        entry = self._ids.entry(number)
        value = entry.value.get("img_idx") if isinstance(entry.value, Mapping) else entry.value
        try:
            return whole_number(value, "img_idx") if entry.refusal is None else None
        except RefusedError:
            return None

    def _find_ids(self) -> ListCache | None:
        url = f"{self.source.url.removesuffix('.npz')}{_SUFFIX}"
        fs, path = open_url(url)
        try:
            there = bool(fs.isfile(path))
        except OSError:
            there = False
        return ListCache(url, self.work / "ids", "list of picture numbers") if there else None

    def _images(self) -> str:
        folder, slash, _ = self.source.url.rpartition("/")
        return self.source.images or (folder if slash else ".")

    def _check_units(self, rows: list[dict[str, Any]]) -> None:
        check_units([row["uvd"][0] for row in rows], self.source.url)


def _hypotheses(value: Mapping[str, Any]) -> dict[str, Any]:
    joints = joints_uvd(value["output_joints"], "output_joints", (None, *JOINTS_SHAPE))
    twist = unit_twist(value["output_twists"], "output_twists", (None, *TWIST_SHAPE))
    if len(joints) != len(twist):
        raise RefusedError(UNREADABLE, f"{len(joints)} hypotheses have joints, but {len(twist)} have twists")
    made: dict[str, Any] = {"count": len(joints), "uvd": joints, "twist": twist}
    if value.get("gt_joints") is not None:
        made["gt_uvd"] = joints_uvd(value["gt_joints"], "gt_joints")
    if value.get("gt_twists") is not None:
        label = numbers(value["gt_twists"], "gt_twists", TWIST_SHAPE)
        length = np.linalg.norm(label, axis=-1, keepdims=True)
        known = length > _INVALID_TWIST
        made["gt_twist"] = np.where(known, label / np.where(known, length, 1), np.nan).astype(np.float32)
    return made


def _disagreement(value: Mapping[str, Any]) -> str:
    """A remark where score_joints are not output_joints in other units, as they are published."""
    try:
        joints = joints_uvd(value.get("output_joints"), "output_joints", (None, *JOINTS_SHAPE))
        scored = numbers(value.get("score_joints"), "score_joints", (len(joints), 87)).reshape(joints.shape)
    except RefusedError as refusal:
        return f"score_joints can't be compared with output_joints ({refusal.detail})."
    miss = float(np.abs(scored - joints).max())
    if miss <= 1e-3:
        return ""
    return f"score_joints differ from output_joints by up to {miss:.3g}; output_joints are used."
