"""A sample of COCO's key-point annotations: boxes and 17 key-points, no 3D."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.keypoints import names_of
from tests.samples.truth import TruePerson, write_pictures

# The joint among the 29 for each of COCO's 17; the face's five are put at the head.
NEAREST: Final = (15, 15, 15, 15, 15, 16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8)


def write_coco(
    people: Sequence[TruePerson],
    folder: Path,
    split: str = "val",
    *,
    edit: Callable[[Any], Any] = lambda content: content,
) -> AnnotationSource:
    """Write pictures and annotations/person_keypoints_<split>2017.json into `folder`, and return the source that reads
    it. `edit` may change the content before it is written."""
    names = [f"{person.index:012d}.jpg" for person in people]
    write_pictures(people, folder, [f"{split}2017/{name}" for name in names])
    images, annotations = [], []
    for person, name in zip(people, names, strict=True):
        images.append({"id": person.index, "file_name": name, "width": person.width, "height": person.height})
        marked = np.concatenate([person.pixels[list(NEAREST)], np.full((len(NEAREST), 1), 2.0)], 1)
        annotations.append(
            {
                "id": 1000 + person.index,
                "image_id": person.index,
                "category_id": 1,
                "iscrowd": 0,
                "area": float(person.box[2] * person.box[3]),
                "bbox": person.box.tolist(),
                "num_keypoints": len(NEAREST),
                "keypoints": marked.reshape(-1).tolist(),
            }
        )
    points = [name.removesuffix("_extra") for name in names_of("coco")]
    categories = [{"id": 1, "name": "person", "supercategory": "person", "keypoints": points, "skeleton": []}]
    content = {"info": {}, "annotations": annotations, "images": images, "categories": categories}
    file = folder / "annotations" / f"person_keypoints_{split}2017.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(edit(content)))
    return AnnotationSource("coco", str(file), "coco", split)
