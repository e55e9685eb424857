"""The published file of preference pairs (format dpo-json), which DPO is trained from.

One json list of {img_path, img_idx, l_joints 29x3, w_joints 29x3, l_twist 23x2, w_twist 23x2, trans 2x3, trans_inv 2x3}
(l: loser, w: winner): u, v in pixels of the 256 px test crop, depth in mm behind the root. In the published files the
label is the winner of each pair; nothing in them says so, but then all pairs of a person have the same winner.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.errors import DataError
from tasks.ingest.formats import preferences
from tasks.ingest.formats.json_rows import UNREADABLE, in_batches
from tasks.ingest.formats.plain_values import shown, text, whole_number
from tasks.ingest.formats.preferences import crop_map, joints_uvd, needed, unit_twist
from tasks.ingest.people.annotations import AnnotationSource, Survey, column, vector
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import RefusedError
from tasks.ingest.source.json_stream import begins_with, items

NAME: Final = "dpo-json"
KEYS: Final = ("img_path", "img_idx", "l_joints", "w_joints", "l_twist", "w_twist", "trans", "trans_inv")
PAIRS: Final = pa.schema([
    *preferences.PLACE,
    column("nth", pa.int32(), "which pair of its img_idx, counted from 0 in the order of the file"),
    vector("winner_uvd", 87, "29 joints (u, v, d)", "crop, crop, m"),
    vector("winner_twist", 46, "23 unit (cos, sin)", "none"),
    vector("loser_uvd", 87, "29 joints (u, v, d)", "crop, crop, m"),
    vector("loser_twist", 46, "23 unit (cos, sin)", "none"),
    *preferences.JUDGEMENT,
])  # fmt: skip
"""The columns of a batch: a row is a pair of the file."""

_LOOKED_AT = 100
_SIDES: Final = {"winner": "w", "loser": "l"}
_UVD: Final = tuple(f"{side}_uvd" for side in _SIDES)


class PairJsonReader:
    """Reads a pair file. `source.images` is the folder that img_path is relative to, if it is known."""

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        self.name = source.url.rstrip("/").rsplit("/", 1)[-1]
        self._path = local_file(source.url, work, "file of pairs")
        if begins_with(self._path) != "[":
            raise DataError(
                f"{source.url} holds an object, but a file of pairs is a list of {{{', '.join(KEYS)}}}. Is it an "
                "annotation file? Then name its format."
            )

    def survey(self) -> Survey:
        """Reads the first pairs. Raises DataError where their numbers are in other units than published."""
        entries = list(islice(items(self._path, "item"), _LOOKED_AT))
        if not entries:
            raise DataError(f"{self.source.url} is an empty list: it has no pair.")
        rows = [self._row(number, entry) for number, entry in enumerate(entries)]
        preferences.check_units(rows, _UVD, self.source.url)
        usable = [row for row in rows if row["reason"] is None]
        unknown = {key for entry in entries if isinstance(entry, Mapping) for key in entry} - set(KEYS)
        count = len(entries) if len(entries) < _LOOKED_AT else None
        facts = {
            "pairs": "counted while they are read" if count is None else str(count),
            "usable": f"{len(usable)} of the first {len(entries)}",
            "winners": _winners(usable),
            "units": "crop pixels and mm -> normalised u, v and metres; twists made unit length",
        }
        remarks = [f"Keys that mean nothing here: {shown(', '.join(sorted(unknown)))}."] if unknown else []
        return Survey(NAME, [self.source.url], count, self.source.images or "", facts, remarks)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All pairs in the order of the file, with the schema PAIRS."""
        return in_batches(self._rows(), PAIRS)

    def _rows(self) -> Iterator[dict[str, Any]]:
        rows = (self._row(number, entry) for number, entry in enumerate(items(self._path, "item")))
        pairs_of: Counter[int] = Counter()
        for row in preferences.with_checked_units(rows, _LOOKED_AT, _UVD, self.source.url):
            if row.get("img_idx") is not None:
                row["nth"] = pairs_of[row["img_idx"]]
                pairs_of[row["img_idx"]] += 1
            yield row

    def _row(self, number: int, entry: Any) -> dict[str, Any]:
        return preferences.read_row(number, f"{self.name}: pair {number}", _columns(entry))


def _columns(entry: Any) -> Iterator[tuple[str, Any]]:
    """What says where the pair belongs comes first, so that a refused row has it too."""
    if not isinstance(entry, Mapping):
        raise RefusedError(UNREADABLE, f"a pair is expected, not {shown(entry)}")
    needed(entry, KEYS)
    yield "img_path", text(entry["img_path"], "img_path")
    yield "img_idx", whole_number(entry["img_idx"], "img_idx")
    yield "trans", crop_map(entry["trans"], entry["trans_inv"])
    hypotheses = []
    for side, prefix in _SIDES.items():
        uvd = joints_uvd(entry[f"{prefix}_joints"], f"{prefix}_joints")
        yield f"{side}_uvd", uvd
        twist = unit_twist(entry[f"{prefix}_twist"], f"{prefix}_twist")
        yield f"{side}_twist", twist
        hypotheses.append(np.concatenate([uvd.reshape(-1), twist.reshape(-1)]))
    winner, loser = hypotheses
    if np.array_equal(winner, loser):
        raise RefusedError("hypotheses identical", "winner and loser are the same")


def _winners(rows: list[dict[str, Any]]) -> str:
    """Whether the label looks to be the winner: several pairs of a person, and always the same winner."""
    winners: dict[int, set[bytes]] = {}
    for row in rows:
        winners.setdefault(row["img_idx"], set()).add(row["winner_uvd"].tobytes())
    if len(rows) == len(winners):
        return "one pair a person, as far as was looked; labels or samples"
    if all(len(different) == 1 for different in winners.values()):
        return "one for all pairs of a person: probably the label"
    return "several a person: samples"
