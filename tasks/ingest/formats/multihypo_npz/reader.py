"""The published cache of many hypotheses per picture (format multihypo-npz), which HMR-Scorer is trained on.

An entry is a picture of one person with M hypotheses: output_joints (M, 29, 3) in pixels of the 256 px test crop and mm
behind the root, output_twists (M, 23, 2), both again as the network put them out (score_joints (M, 87) in -1 to 1 and
metres, score_twists), gt_joints, gt_twists, trans, trans_inv, img_path, img_idx. The crops themselves are beside it as
<img_idx:08d>.png. A second cache, <name>_id.npz, may hold img_idx alone.
"""

import posixpath
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.errors import DataError
from tasks.ingest.formats import preferences
from tasks.ingest.formats.json_rows import UNREADABLE, in_batches, unless_refused
from tasks.ingest.formats.list_cache import Entry, ListCache
from tasks.ingest.formats.plain_values import shown, text, whole_number
from tasks.ingest.formats.preferences import JOINTS_SHAPE, TWIST_SHAPE, needed, numbers
from tasks.ingest.people.annotations import AnnotationSource, Survey, column, vector
from tasks.ingest.source.files import open_url
from tasks.ingest.source.folder import RefusedError

NAME: Final = "multihypo-npz"
HYPOTHESES: Final = pa.schema([
    *preferences.PLACE,
    column("crop", pa.string(), "file of the 256 px crop, relative to the folder of crops"),
    column("count", pa.int32(), "M, how many hypotheses there are"),
    column("uvd", pa.list_(pa.float32()), "M x 29 joints (u, v, d), one after the other", "crop, crop, m"),
    column("twist", pa.list_(pa.float32()), "M x 23 unit (cos, sin)"),
    vector("gt_uvd", 87, "the label's joints, where the entry has them", "crop, crop, m"),
    vector("gt_twist", 46, "the label's twists; NaN where it marks them as invalid", "none"),
    *preferences.JUDGEMENT,
])  # fmt: skip
"""The columns of a batch: a row is an entry of the cache."""

_LOOKED_AT = 20
_INVALID_TWIST = 1e-6
_KEYS: Final = (
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
        entries = [entry for entry in islice(self._cache.entries(), _LOOKED_AT) if entry.refusal is None]
        values = [entry.value for entry in entries if isinstance(entry.value, Mapping)]
        rows = list(map(self._row, entries))
        preferences.check_units(rows, ("uvd",), self.source.url)
        counts = sorted({row["count"] for row in rows if row["reason"] is None})
        facts["hypotheses"] = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(*counts) or "unknown"
        labelled = sum("gt_uvd" in row for row in rows if row["reason"] is None)
        facts["labels"] = f"in {labelled} of the first {len(entries)} entries"
        facts["units"] = "crop pixels and mm -> normalised u, v and metres; twists made unit length"
        unknown = sorted({str(key) for value in values for key in value}.difference(_KEYS))
        if unknown:
            remarks.append(f"Keys that mean nothing here: {shown(', '.join(unknown))}.")
        remarks.extend(filter(None, map(_disagreement, values[:1])))
        files = [self.source.url, *([self._ids.url] if self._ids else [])]
        images = self.source.images or posixpath.dirname(self.source.url) or "."
        return Survey(NAME, files, len(self._cache), images, facts, remarks)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All entries in the order of their numbers, with the schema HYPOTHESES."""
        rows = map(self._row, self._cache.entries())
        checked = preferences.with_checked_units(rows, _LOOKED_AT, ("uvd",), self.source.url)
        return in_batches(checked, HYPOTHESES)

    def _row(self, entry: Entry) -> dict[str, Any]:
        return preferences.read_row(entry.number, f"{self._cache.name}: key {entry.number}", self._columns(entry))

    def _columns(self, entry: Entry) -> Iterator[tuple[str, Any]]:
        if entry.refusal is not None:
            raise entry.refusal
        if not isinstance(entry.value, Mapping):
            raise RefusedError(UNREADABLE, f"a dictionary is expected, not {shown(entry.value)}")
        # what says where the row belongs comes first, so that a refused row has it too
        yield from self._place(entry.value, entry.number).items()
        yield from _hypotheses(entry.value).items()

    def _place(self, value: Mapping[str, Any], number: int) -> dict[str, Any]:
        listed = self._listed(number)
        if listed is None:
            needed(value, ["img_idx"])
        index = whole_number(listed if value.get("img_idx") is None else value["img_idx"], "img_idx")
        if listed is not None and listed != index:
            raise RefusedError("ids disagree", f"img_idx is {index}, but {listed} in {self._ids and self._ids.name}")
        place: dict[str, Any] = {"img_idx": index, "crop": f"{index:08d}.png"}
        if value.get("img_path") is not None:
            place["img_path"] = text(value["img_path"], "img_path")
        needed(value, ["output_joints", "output_twists", "trans"])
        return {**place, "trans": preferences.crop_map(value["trans"], value.get("trans_inv"))}

    def _listed(self, number: int) -> int | None:
        """The img_idx of an entry by the second cache, if there is one."""
        if self._ids is None:
            return None
        value = self._ids.entry(number).value
        index = value.get("img_idx") if isinstance(value, Mapping) else value
        return unless_refused(None, whole_number, index, "img_idx")

    def _find_ids(self) -> ListCache | None:
        url = f"{self.source.url.removesuffix('.npz')}{_SUFFIX}"
        fs, path = open_url(url)
        try:
            exists = bool(fs.isfile(path))
        except OSError:
            exists = False
        return ListCache(url, self.work / "ids", "list of picture numbers") if exists else None


def _hypotheses(value: Mapping[str, Any]) -> dict[str, Any]:
    joints = preferences.joints_uvd(value["output_joints"], "output_joints", (None, *JOINTS_SHAPE))
    twist = preferences.unit_twist(value["output_twists"], "output_twists", (None, *TWIST_SHAPE))
    if len(joints) != len(twist):
        raise RefusedError(UNREADABLE, f"{len(joints)} hypotheses have joints, but {len(twist)} have twists")
    columns: dict[str, Any] = {"count": len(joints), "uvd": joints, "twist": twist}
    if value.get("gt_joints") is not None:
        columns["gt_uvd"] = preferences.joints_uvd(value["gt_joints"], "gt_joints")
    if value.get("gt_twists") is not None:
        label = numbers(value["gt_twists"], "gt_twists", TWIST_SHAPE)
        length = np.linalg.norm(label, axis=-1, keepdims=True)
        unit = label / np.maximum(length, _INVALID_TWIST)
        columns["gt_twist"] = np.where(length > _INVALID_TWIST, unit, np.nan).astype(np.float32)
    return columns


def _disagreement(value: Mapping[str, Any]) -> str:
    """A remark where score_joints are not output_joints in other units, as they are published."""
    try:
        joints = preferences.joints_uvd(value.get("output_joints"), "output_joints", (None, *JOINTS_SHAPE))
        scored = numbers(value.get("score_joints"), "score_joints", (len(joints), 87)).reshape(joints.shape)
    except RefusedError as refusal:
        return f"score_joints can't be compared with output_joints ({refusal.detail})."
    miss = float(np.abs(scored - joints).max())
    if miss <= 1e-3:
        return ""
    return f"score_joints differ from output_joints by up to {miss:.3g}; output_joints are used."
