"""NeuralAnnot's json: parameters of SMPL or SMPL-X by the ids of a COCO file's annotations.

The file says nothing of pictures and boxes, so the COCO file that it goes with is an option. Bodies are in the frame of
a camera that sees the whole picture, and are guesses of a network: pseudo labels. The COCO file's own key-points are
what they are compared with.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from models.skeleton import BETAS, SMPL_JOINTS
from schemas.errors import ConfigError, DataError
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.coco.reader import ROWS_LOOKED_AT, CocoReader
from tasks.ingest.formats.disk_table import DiskTable
from tasks.ingest.formats.json_rows import beyond, cut_words, entry, numbers, shown, table, vector
from tasks.ingest.people.annotations import AnnotationSource, Survey
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import NO_PARAMETERS, RefusedError
from tasks.ingest.source.json_stream import begins_with, pairs

NAME: Final = "neuralannot"
KINDS: Final = {"smpl_param": "smpl", "smplx_param": "smplx"}
"""Keys of an entry's parameters, and the body that they are of."""
CROP_SCALE: Final = 1.25
_BODY_JOINTS: Final = 21
_HANDS: Final = {"lhand": "left_hand_pose", "rhand": "right_hand_pose"}
_FINGERS: Final = 45
_EXPRESSION: Final = 10


class NeuralAnnotReader:
    """The people of the COCO file of whom the json has parameters, in that file's order; then ids that it lacks.

    `options`: annotations, the COCO file; category, as CocoReader takes it.
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        beside = source.options.get("annotations")
        if not beside:
            raise ConfigError(
                f"{source.url} has parameters by the ids of a COCO file's annotations: name that file with the option "
                "annotations (--option annotations=person_keypoints_train2017.json)."
            )
        self.file = local_file(source.url, work, "parameters")
        if begins_with(self.file) != "{":
            raise DataError(f"{source.url} is a list; parameters by the ids of annotations are an object.")
        others = {name: value for name, value in source.options.items() if name != "annotations"}
        self.coco = CocoReader(replace(source, url=str(beside), options=others), work)

    @cached_property
    def first(self) -> list[Mapping[str, Any]]:
        """The first entries. DataError where none of them is one of NeuralAnnot's."""
        entries = [value for _, value in islice(pairs(self.file), ROWS_LOOKED_AT) if isinstance(value, dict)]
        found: list[Mapping[str, Any]] = [each for each in entries if parameters_key(each)]
        if not found:
            keys = shown(sorted({key for each in entries for key in each})[:20])
            raise DataError(
                f"{self.source.url} has no entry with {' or '.join(KINDS)} by an annotation's id; entries have {keys}. "
                "Files by subject or action (Human3.6M, MPI-INF-3DHP) are read as osx-h36m, or not at all."
            )
        return found

    def survey(self) -> Survey:
        """What the first entries show, and what is said of the COCO file."""
        coco, kinds = self.coco.survey(), sorted({KINDS[str(parameters_key(each))] for each in self.first})
        facts = {
            "labels": "pseudo",
            "body model": " and ".join(kinds),
            "camera": "given",
            "people": f"of {self.coco.name}",
            **{name: coco.facts[name] for name in ("key-points", "pictures")},
            "crop": f"joints x {CROP_SCALE:g}",
        }
        shapes = (beyond(_body_in(each).get("shape"), BETAS) for each in self.first)
        remarks = [*coco.remarks, cut_words("shapes", [rest for rest in shapes if rest is not None])]
        files = [self.source.url, *coco.files]
        return Survey(NAME, files, coco.rows, coco.images, facts, [*filter(None, remarks)], kinds)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All people of the COCO file, then the entries of which it has none."""
        return json_rows.in_batches(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        assert self.first
        places, listed = count(), set()
        with DiskTable(pairs(self.file), self.work) as entries:
            for name, row in self.coco.rows_by_id():
                try:
                    found = entries.find(name)
                    listed.add(_spelled(name))
                except KeyError:
                    found = None
                number = next(places)
                row |= {"row": number, "counts_as": number}
                yield self._labelled(row, found) if found is not None else _without(row)
        for name, _ in pairs(self.file):
            if name not in listed:
                row = json_rows.new_row(next(places), f"{self.source.url.rpartition('/')[2]}, {shown(name)}", "box")
                what = f"{self.coco.name} has no annotation with this id, or it is of another category"
                yield row | {"reason": "annotation not listed", "detail": what}

    def _labelled(self, row: dict[str, Any], found: Any) -> dict[str, Any]:
        """The COCO file's row with its label; one that is refused stays as it is."""
        if row.get("reason") is None:
            row |= {"crop_rule": "joints", "crop_scale": CROP_SCALE}
            with json_rows.refusal_in(row):
                row |= label_of(table(found, "the entry"))
        return row


def parameters_key(found: Mapping[str, Any]) -> str | None:
    """Which of `KINDS` an entry has, if any."""
    return next((key for key in KINDS if isinstance(found.get(key), dict)), None)


def label_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of an entry's body and camera. Raises RefusedError for one that can't be used."""
    key = parameters_key(found)
    camera = table(entry(found, "cam_param"), "cam_param")
    if camera.get("R") is not None:
        raise RefusedError("camera not usable", "cam_param has R: bodies in the frame of a world are not read here")
    body = table(entry(found, key or "smpl_param"), key or "smpl_param")
    label: dict[str, Any] = {
        **json_rows.camera(entry(camera, "focal"), entry(camera, "princpt")),
        "label_kind": "pseudo",
        "body_model": KINDS[key or "smpl_param"],
        "gender": json_rows.gender(body.get("gender")),
        "betas": vector(numbers(entry(body, "shape"), "shape", BETAS, at_least=True)),
        "transl": vector(numbers(entry(body, "trans"), "trans", 3)),
    }
    if label["body_model"] == "smpl":
        pose = numbers(entry(body, "pose"), "pose", 3 * SMPL_JOINTS)
        return label | {"global_orient": vector(pose[:3]), "body_pose": vector(pose[3:])}
    pose = numbers(entry(body, "body_pose"), "body_pose", 3 * _BODY_JOINTS)
    label["global_orient"] = vector(numbers(entry(body, "root_pose"), "root_pose", 3))
    label["body_pose"] = vector(np.pad(pose, (0, 3 * (SMPL_JOINTS - 1) - len(pose))))
    for hand, column in _HANDS.items():
        if body.get(f"{hand}_pose") is not None and body.get(f"{hand}_valid", True):
            label[column] = vector(numbers(body[f"{hand}_pose"], f"{hand}_pose", _FINGERS))
    if body.get("face_valid", True):
        if body.get("jaw_pose") is not None:
            label["jaw_pose"] = vector(numbers(body["jaw_pose"], "jaw_pose", 3))
        if body.get("expr") is not None:
            face = numbers(body["expr"], "expr", 1, at_least=True, whole=True)[:_EXPRESSION]
            label["expression"] = vector(np.pad(face, (0, _EXPRESSION - len(face))))
    return label


def _body_in(found: Mapping[str, Any]) -> Mapping[str, Any]:
    body: Mapping[str, Any] = found[str(parameters_key(found))]
    return body


def _without(row: dict[str, Any]) -> dict[str, Any]:
    """A person of whom there are no parameters: also one whom the COCO file's own fault would refuse."""
    return row | {"reason": NO_PARAMETERS, "detail": "the file has none for this annotation"}


def _spelled(name: Any) -> str:
    """An id as the keys of the json have it."""
    return str(int(name)) if isinstance(name, float) else str(name)
