"""The folder that a prediction is written to, as a whole or not at all; and who is not in it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.standing import read_standing
from infra.tables import read
from models.bodies import Body, load_body
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from schemas.tables import FLOAT_VECTOR
from tasks.engine.context import Context
from tasks.export.body_table import COLUMNS, BodyTable
from tasks.export.humandata import IMAGE_COLUMNS, INSTANCE_COLUMNS, export_humandata
from tasks.export.target import whole_folder
from tasks.ingest.image.reading import read_picture
from tasks.ingest.people.worker import GONE
from tasks.ingest.source.folder import Folder, RefusedError
from tasks.predict.bodies import Bodies, Predicted, read_bodies
from tasks.predict.meshes import write_glb
from tasks.predict.overlays import QUALITY, draw_people
from tasks.predict.table import add_bodies, source_name
from tasks.rows.instances import of_target

TABLE, HUMANDATA, OVERLAYS, MESHES = "bodies.parquet", "humandata.npz", "overlays", "meshes"
_STAGE: Final = "predict"
_VECTORS: Final = ("global_orient", "body_pose", "betas", "transl", "joints")
_UNKNOWN: Final = ("left_hand_pose", "right_hand_pose", "jaw_pose", "expression")


@dataclass(frozen=True)
class Unused:
    """Somebody or something that is not in a prediction."""

    id: str
    stage: StageKey | None
    """The stage whose failure it is; None where only its overlay is missing."""
    reason: str
    detail: str
    outcome: str = "failed"


@dataclass(frozen=True)
class Written:
    """What the folder `out` holds."""

    out: str
    predicted: Predicted
    people: int
    pictures: int
    bodies: int
    files: Mapping[str, str]
    """By name what it is, in a few words; folders end in a slash."""
    unused: tuple[Unused, ...]


def write_prediction(
    context: Context, predicted: Predicted, folder: Folder, out: str, overlays: bool = True, meshes: bool = False
) -> Written:
    """Write all bodies to the new folder `out`: TABLE, HUMANDATA, and if asked an overlay and a file of meshes for each
    picture of `folder`.

    Overlays show one body of each person: of those that are written the one that the scorer prefers, else the first. A
    picture that is gone or was changed since has none. Raises DataError for a folder that has files already, for one
    that can't be written, and where nobody has a body.
    """
    left_out = unused(context, [*predicted.ingests, predicted.generation, *filter(None, [predicted.scores])])
    if not predicted.ids(context):
        raise DataError(nobody(left_out))
    body = load_body(context.config.body)
    faces = body.faces.numpy()
    progress, undrawn = context.progress, list[Unused]()
    people: list[Bodies] = []
    names = _FileNames()
    with whole_folder(out) as target:
        progress.begin(_STAGE, len(predicted.ids(context)), "people")
        with BodyTable(target / TABLE, _about(predicted, body)) as table:
            for bodies in read_bodies(context, predicted):
                add_bodies(table, bodies, [source_name(predicted.policy)] * len(bodies))
                for picture, places in groupby(range(len(bodies)), key=bodies.pictures.__getitem__):
                    name, rows = names.of(picture), list(places)
                    if meshes:
                        write_glb(_place(target / MESHES / f"{name}.glb"), _named(bodies, rows), faces)
                    if overlays:
                        file = _place(target / OVERLAYS / f"{name}.jpg")
                        undrawn += _draw(context, folder, bodies, rows, faces, file)
                people.append(_without_meshes(bodies))
                progress.advance(_STAGE, len(set(bodies.ids)))
        count = sum(len(bodies) for bodies in people)
        _write_humandata(people, predicted, target / HUMANDATA)
        progress.end(_STAGE, f"{count} bodies")
    persons = {name for bodies in people for name in bodies.ids}
    pictures = {name.rpartition("#")[0] for name in persons}
    files = {TABLE: f"a row for each body ({len(COLUMNS)} columns)", HUMANDATA: "the same as HumanData"}
    if overlays:
        files[f"{OVERLAYS}/"] = "bodies over their pictures"
    if meshes:
        files[f"{MESHES}/"] = "bodies as glTF, a file for each picture"
    return Written(out, predicted, len(persons), len(pictures), count, files, (*left_out, *undrawn))


def _about(predicted: Predicted, body: Body) -> dict[str, str]:
    return {
        "policy": predicted.policy,
        "scorer": predicted.scorer or "",
        "body": f"{body.name} {body.digest}",
        "instances": str(predicted.target),
        "ingest": " ".join(predicted.ingests),
        "generation": predicted.generation,
        "scores": predicted.scores or "",
    }


def somebody(context: Context, ingest: StageKey, target: Target) -> bool:
    """Whether an ingest has anybody of a split."""
    return len(read_standing(context.store, "instances", [ingest], where=of_target(target), columns=["person"])) > 0


def unused(context: Context, keys: Sequence[StageKey]) -> list[Unused]:
    """Rows of `failures` of these stages, the ingest first: of people, pictures and boxes that could not be used."""
    columns = ["id", "outcome", "reason", "detail"]
    found: list[Unused] = []
    for place, key in enumerate(keys):
        if place == 0:
            there = pc.field("reason") != GONE
            rows = read_standing(context.store, "failures", [key], where=there, columns=columns)
        else:
            rows = read(context.store, "failures", stage_keys=[key], columns=columns)
        failed = rows.sort_by("id").to_pylist()
        found += [Unused(row["id"], key, row["reason"], row["detail"], row["outcome"]) for row in failed]
    return found


def nobody(left_out: Sequence[Unused]) -> str:
    """What to say where nobody can be used."""
    counted = Counter(one.reason for one in left_out)
    reasons = "; ".join(f"{count} x {reason}" for reason, count in counted.most_common(3))
    first = f" The first: {left_out[0].id}: {left_out[0].detail}" if left_out else ""
    return f"There is nobody whose body could be predicted. Reasons: {reasons or 'none is known'}.{first}"


def _named(bodies: Bodies, rows: Sequence[int]) -> dict[str, NDArray[np.float32]]:
    persons = bodies.people.column("person").to_pylist()
    return {f"person {persons[row]} sample {bodies.samples[row]}": bodies.vertices[row] for row in rows}


def _draw(
    context: Context,
    folder: Folder,
    bodies: Bodies,
    rows: Sequence[int],
    faces: NDArray[np.integer],
    file: Path,
) -> list[Unused]:
    """Write the overlay of a picture; gives it, if it can't be drawn."""
    shown: dict[str, int] = {}
    for row in rows:
        if bodies.preferred[row] or bodies.ids[row] not in shown:
            shown[bodies.ids[row]] = row
    about = bodies.people.slice(rows[0], 1).to_pylist()[0]
    key = about["key"]
    try:
        photograph = read_picture(folder, key, context.config.ingest.max_pixels)
        if photograph.sha256 != about["content_sha256"]:
            raise RefusedError("picture changed", f"{key} is not what it was when it was ingested")
    except RefusedError as refusal:
        return [Unused(about["image_id"], None, f"no overlay: {refusal.reason}", refusal.detail)]
    people = list(shown.values())
    drawn = draw_people(photograph.image, [bodies.vertices[row] for row in people], faces, bodies.cameras[people])
    drawn.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return []


def _write_humandata(people: Sequence[Bodies], predicted: Predicted, file: Path) -> None:
    """The bodies as pseudo-labels, with their samples and scores."""
    labels = pa.concat_tables(_labels(bodies, predicted) for bodies in people)
    persons = pa.concat_tables(bodies.people for bodies in people)
    _, first = np.unique(persons.column("instance_id").to_pylist(), return_index=True)
    _, picture = np.unique(persons.column("image_id").to_pylist(), return_index=True)
    instances = persons.take(pa.array(first)).select(["instance_id", *INSTANCE_COLUMNS])
    images = persons.take(pa.array(picture)).select(["image_id", *IMAGE_COLUMNS])
    export_humandata(labels, instances, images, str(file), hypotheses=True)


def _labels(bodies: Bodies, predicted: Predicted) -> pa.Table:
    count = len(bodies)
    vectors = {name: getattr(bodies, name).reshape(count, -1).tolist() for name in _VECTORS}
    return pa.table(
        {
            "instance_id": list(bodies.ids),
            "label_kind": ["pseudo"] * count,
            "label_set": [predicted.generation] * count,
            "body_model": ["smpl"] * count,
            "gender": ["neutral"] * count,
            **{name: pa.array(values, FLOAT_VECTOR) for name, values in vectors.items()},
            "joints_valid": [[True] * 29] * count,
            **{name: pa.nulls(count, FLOAT_VECTOR) for name in _UNKNOWN},
            "sample_index": bodies.samples,
            "score": pa.array(bodies.scores, from_pandas=True),
        }
    )


def _without_meshes(bodies: Bodies) -> Bodies:
    """Vertices are most of what bodies take, and are written already."""
    return replace(bodies, vertices=np.empty((len(bodies), 0, 3), np.float32))


class _FileNames:
    """Names of files for pictures: without their endings, as long as that is the name of one picture only."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, picture: str) -> str:
        """A name that no picture before has got."""
        stem, dot, ending = picture.rpartition(".")
        name = stem if dot and stem and "/" not in ending else picture
        while name.lower() in self._taken:  # some disks don't tell A from a
            name = picture if name != picture and picture.lower() not in self._taken else f"{name}_"
        self._taken.add(name.lower())
        return name


def _place(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
