"""A sample of NeuralAnnot's parameters, beside the COCO file whose annotations they are of."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.coco import write_coco
from tests.samples.truth import TruePerson


def write_neuralannot(
    people: Sequence[TruePerson],
    folder: Path,
    split: str = "train",
    *,
    body: str = "smpl",
    edit: Callable[[Any], Any] = lambda content: content,
    edit_coco: Callable[[Any], Any] = lambda content: content,
) -> AnnotationSource:
    """Write COCO's pictures and annotations, and MSCOCO_<split>_<BODY>_NeuralAnnot.json beside the latter; return the
    source that reads them. `body`: smpl or smplx. The two `edit` may change what is written."""
    coco = write_coco(people, folder, split, edit=edit_coco)
    content = {str(1000 + person.index): _entry(person, body) for person in people}
    file = Path(coco.url).with_name(f"MSCOCO_{split}_{body.upper()}_NeuralAnnot.json")
    file.write_text(json.dumps(edit(content)))
    return AnnotationSource("neuralannot", str(file), "coco", split, options={"annotations": coco.url})


def _entry(person: TruePerson, body: str) -> dict[str, Any]:
    label = person.label
    fx, fy, cx, cy = person.intrinsics.tolist()
    shape, trans = label.betas.tolist(), label.transl.tolist()
    if body == "smpl":
        pose = np.concatenate([label.global_orient, label.body_pose]).tolist()
        parameters: dict[str, Any] = {"pose": pose, "shape": shape, "trans": trans}
    else:
        parameters = {
            "root_pose": label.global_orient.tolist(),
            "body_pose": label.body_pose[:63].tolist(),
            "shape": shape,
            "trans": trans,
            **{f"{hand}_pose": [0.1] * 45 for hand in ("lhand", "rhand")},
            "lhand_valid": True,
            "rhand_valid": False,
            "jaw_pose": [0.0] * 3,
            "expr": [0.0] * 10,
            "face_valid": True,
        }
    return {f"{body}_param": parameters, "cam_param": {"focal": [fx, fy], "princpt": [cx, cy]}}
