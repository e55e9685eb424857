"""The published file of preference pairs (format dpo-json), which DPO is trained from.

One json list of {img_path, img_idx, l_joints 29x3, w_joints 29x3, l_twist 23x2, w_twist 23x2, trans 2x3, trans_inv 2x3}
(l: loser, w: winner): u, v in pixels of the 256 px test crop, depth in mm behind the root. In the published files the
label is the winner of each pair; nothing in them says so, but then all pairs of a person have the same winner.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.errors import DataError
from tasks.ingest.formats.preferences import (
    JUDGEMENT,
    PLACE,
    UNREADABLE,
    batched,
    check_units,
    crop_map,
    field,
    joints_uvd,
    needed,
    shown,
    text,
    unit_twist,
    vector,
    whole_number,
)
from tasks.ingest.people.annotations import ROWS_AT_ONCE, AnnotationSource, Survey
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import RefusedError
from tasks.ingest.source.json_stream import begins_with, items

NAME: Final = "dpo-json"
KEYS: Final = ("img_path", "img_idx", "l_joints", "w_joints", "l_twist", "w_twist", "trans", "trans_inv")
PAIRS: Final = pa.schema([
    *PLACE,
    field("nth", pa.int32(), "which pair of its img_idx, counted from 0 in the order of the file"),
    vector("winner_uvd", 87, "29 joints (u, v, d)", "crop, crop, m"),
    vector("winner_twist", 46, "23 unit (cos, sin)", "none"),
    vector("loser_uvd", 87, "29 joints (u, v, d)", "crop, crop, m"),
    vector("loser_twist", 46, "23 unit (cos, sin)", "none"),
    *JUDGEMENT,
])  # fmt: skip
"""The columns of a batch: a row is a pair of the file."""

_LOOKED_AT = 100


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
        entries = list(itertools.islice(items(self._path, "item"), _LOOKED_AT))
        if not entries:
            raise DataError(f"{self.source.url} is an empty list: it has no pair.")
        good = [row for number, entry in enumerate(entries) if (row := self._row(number, entry))["reason"] is None]
        self._check_units(good)
        unknown = {key for entry in entries if isinstance(entry, Mapping) for key in entry} - set(KEYS)
        facts = {
            "pairs": f"{len(entries)}" if len(entries) < _LOOKED_AT else "counted while they are read",
            "usable": f"{len(good)} of the first {len(entries)}",
            "winners": _winners(good),
            "units": "crop pixels and mm -> normalised u, v and metres; twists made unit length",
        }
        remarks = [f"Keys that mean nothing here: {shown(', '.join(sorted(unknown)))}."] if unknown else []
        rows = len(entries) if len(entries) < _LOOKED_AT else None
        return Survey(NAME, [self.source.url], rows, self.source.images or "", facts, remarks)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All pairs in the order of the file, with the schema PAIRS."""
        return batched(self._rows(), PAIRS, ROWS_AT_ONCE)

    def _rows(self) -> Iterator[dict[str, Any]]:
        entries = enumerate(items(self._path, "item"))
        first = [self._row(number, entry) for number, entry in itertools.islice(entries, _LOOKED_AT)]
        self._check_units([row for row in first if row["reason"] is None])
        times: Counter[int] = Counter()
        for row in itertools.chain(first, (self._row(number, entry) for number, entry in entries)):
            if row.get("img_idx") is not None:
                row["nth"] = times[row["img_idx"]]
                times[row["img_idx"]] += 1
            yield row

    def _row(self, number: int, entry: Any) -> dict[str, Any]:
        row: dict[str, Any] = {"row": number, "origin": f"{self.name}: pair {number}", "reason": None}
        try:
            if not isinstance(entry, Mapping):
                raise RefusedError(UNREADABLE, f"a pair is expected, not {shown(entry)}")
            needed(entry, KEYS)
            # what says where the pair belongs comes first, so that a refused row has it too
            row["img_path"] = text(entry["img_path"], "img_path")
            row["img_idx"] = whole_number(entry["img_idx"], "img_idx")
            row["trans"] = crop_map(entry["trans"], entry["trans_inv"])
            for side, prefix in (("winner", "w"), ("loser", "l")):
                row[f"{side}_uvd"] = joints_uvd(entry[f"{prefix}_joints"], f"{prefix}_joints")
                row[f"{side}_twist"] = unit_twist(entry[f"{prefix}_twist"], f"{prefix}_twist")
            if np.array_equal(row["winner_uvd"], row["loser_uvd"]) and np.array_equal(
                row["winner_twist"], row["loser_twist"]
            ):
                raise RefusedError("hypotheses identical", "winner and loser are the same")
        except RefusedError as refusal:
            row.update(reason=refusal.reason, detail=refusal.detail)
        return row

    def _check_units(self, rows: list[dict[str, Any]]) -> None:
        check_units([row[f"{side}_uvd"] for row in rows for side in ("winner", "loser")], self.source.url)


def _winners(rows: list[dict[str, Any]]) -> str:
    """Whether the label looks to be the winner: several pairs of a person, and always the same winner."""
    winners: dict[int, set[bytes]] = {}
    for row in rows:
        winners.setdefault(row["img_idx"], set()).add(row["winner_uvd"].tobytes())
    if len(rows) == len(winners):
        return "one pair a person, as far as was looked; labels or samples"
    if all(len(seen) == 1 for seen in winners.values()):
        return "one for all pairs of a person: probably the label"
    return "several a person: samples"
