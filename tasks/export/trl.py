"""Pairs as a vision preference data set in the columns that Hugging Face `datasets` and TRL know.

TRL's conversational preference form: `prompt`, `chosen` and `rejected` are lists of messages (role, content parts),
`images` is a list of pictures. A hypothesis becomes a text that a language model can write: its joints and twists as
JSON. The exact numbers are in columns of their own, which trainers that don't know them leave aside.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.skeleton import JOINT_NAMES
from schemas.errors import DataError
from tasks.export.rows import Lookup, Rows, batches_of, vectors
from tasks.export.target import whole_folder

PAYLOAD: Final = {"uvd": 87, "twist": 46, "betas": 10}
_SIDES: Final = {"chosen": "winner", "rejected": "loser"}
_MEASURES: Final = ("winner", "loser", "winner_score", "loser_score", "margin", "strategy")
PAIR_COLUMNS: Final = (
    *("instance_id", *_MEASURES),
    *(f"{side}_{name}" for side in ("winner", "loser") for name in PAYLOAD),
)
INSTANCE_COLUMNS: Final = ("crop",)
PROMPT: Final = (
    "Where is the person in this picture, and how is every limb twisted? Answer in JSON. joints: for each of "
    "the 29 joints u, v (-1 to 1 over the picture, right and down) and depth behind the pelvis in metres. "
    "twist_degrees: for each of the 23 joints after the pelvis the turn of its bone about its own axis."
)

_TEXT: Final = pa.string(), {"dtype": "string", "_type": "Value"}
_MESSAGES: Final = (
    pa.list_(pa.struct({"role": _TEXT[0], "content": pa.list_(pa.struct({"type": _TEXT[0], "text": _TEXT[0]}))})),
    [{"role": _TEXT[1], "content": [{"type": _TEXT[1], "text": _TEXT[1]}]}],
)
# versions of `datasets` before 4 know lists as Sequence only, and later ones still read that
_PICTURES: Final = (
    pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
    {"feature": {"_type": "Image"}, "_type": "Sequence"},
)
_NUMBERS: Final = (
    pa.list_(pa.float32()),
    {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"},
)
_PLACE: Final = pa.int32(), {"dtype": "int32", "_type": "Value"}
_MEASURE: Final = pa.float64(), {"dtype": "float64", "_type": "Value"}
_COLUMNS: Final[Mapping[str, tuple[pa.DataType, Any]]] = {
    "prompt": _MESSAGES,
    "images": _PICTURES,
    "chosen": _MESSAGES,
    "rejected": _MESSAGES,
    "instance_id": _TEXT,
    **dict.fromkeys(("winner", "loser"), _PLACE),
    **dict.fromkeys(("winner_score", "loser_score", "margin"), _MEASURE),
    "strategy": _TEXT,
    **{f"{side}_{name}": _NUMBERS for side in _SIDES for name in PAYLOAD},
}
"""Arrow type of each column, and how `datasets` spells it."""


def trl_schema() -> pa.Schema:
    """The Arrow schema of the files; `datasets` finds its features in the metadata."""
    info = {"info": {"features": {name: spelling for name, (_, spelling) in _COLUMNS.items()}}}
    return pa.schema({name: kind for name, (kind, _) in _COLUMNS.items()}, {"huggingface": json.dumps(info)})


def export_trl(pairs: Rows, instances: Rows, target: str, split: str = "train", rows_per_file: int = 5000) -> int:
    """Write rows of `pairs` as Parquet files into the new folder `target` (path or URL); returns how many.

    `datasets.load_dataset(target)` reads it, and so does load_dataset("parquet", data_files=...).

    Args:
        pairs: rows of the table pairs, with at least PAIR_COLUMNS.
        instances: rows of the table instances with instance_id and crop, for all people of the pairs. They are held
            in memory.
        split: name of the split in the data set's card and file names.
        rows_per_file: pairs in one Parquet file.

    Raises DataError for pairs of unknown people, no pair, or a target that has something in it or can't be written.
    """
    people = Lookup(instances, "instance_id", INSTANCE_COLUMNS, "instances")
    schema, count, files = trl_schema(), 0, 0
    with whole_folder(target) as folder:
        (folder / "data").mkdir()
        writer: pq.ParquetWriter | None = None
        try:
            # small batches: a crop is repeated for each of its pairs
            for part in batches_of(pairs, PAIR_COLUMNS, "pairs", at_once=min(500, rows_per_file)):
                if writer is None:
                    writer = pq.ParquetWriter(folder / "data" / f"{split}-{files:05d}.parquet", schema)
                    files, in_file = files + 1, 0
                writer.write_table(_table(part, people, schema))
                count, in_file = count + len(part), in_file + len(part)
                if in_file >= rows_per_file:
                    writer.close()
                    writer = None
        finally:
            if writer is not None:
                writer.close()
        if not count:
            raise DataError("There is no pair to export.")
        _write_card(folder, split)
    return count


def hypothesis_text(uvd: np.ndarray, twist: np.ndarray) -> str:
    """A hypothesis, uvd (29, 3) and twist (23, 2), as JSON for people and language models: rounded to what they see."""
    joints = {name: [round(float(value), 3) for value in joint] for name, joint in zip(JOINT_NAMES, uvd, strict=True)}
    degrees = np.degrees(np.arctan2(twist[:, 1], twist[:, 0]))
    return json.dumps({"joints": joints, "twist_degrees": [round(float(angle)) for angle in degrees]})


def _table(pairs: pa.Table, people: Lookup, schema: pa.Schema) -> pa.Table:
    names = pairs.column("instance_id").to_pylist()
    crops = people.rows(names).column("crop").to_pylist()
    question = [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": PROMPT}]}]
    columns: dict[str, Any] = {
        "prompt": [question] * len(names),
        "images": [[{"bytes": crop, "path": None}] for crop in crops],
        "instance_id": names,
        **{name: pairs.column(name).to_pylist() for name in _MEASURES},
    }
    for side, stored in _SIDES.items():
        payload = {name: vectors(pairs, f"{stored}_{name}", length) for name, length in PAYLOAD.items()}
        answers = map(hypothesis_text, payload["uvd"].reshape(-1, 29, 3), payload["twist"].reshape(-1, 23, 2))
        columns[side] = [[{"role": "assistant", "content": [{"type": "text", "text": text}]}] for text in answers]
        columns.update({f"{side}_{name}": values.astype(np.float32).tolist() for name, values in payload.items()})
    return pa.table(columns, schema=schema)


def _write_card(folder: Path, split: str) -> None:
    (folder / "README.md").write_text(
        "---\n"
        "configs:\n- config_name: default\n  data_files:\n"
        f"  - split: {split}\n    path: data/{split}-*.parquet\n"
        "tags:\n- dpo\n- trl\n- human-mesh-recovery\n"
        "---\n\n"
        "# Preferences between human pose hypotheses\n\n"
        "Each row is a person's square crop with a better (`chosen`) and a worse (`rejected`) hypothesis of the pose, "
        "in TRL's\nconversational preference form. The exact numbers are in `chosen_uvd`, `chosen_twist`, "
        "`chosen_betas` and likewise for\n`rejected`: 29 joints (u, v in -1 to 1 over the crop, d in metres behind the "
        "pelvis), 23 twists as (cos, sin), 10 betas.\n",
        encoding="utf-8",
    )
