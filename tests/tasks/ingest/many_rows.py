"""Ingest a HumanData file of many rows on Ray, as a program of its own whose memory can be watched.

    python -m tests.tasks.ingest.many_rows FOLDER ROWS PICTURES

Pictures are small; where they are fewer than rows, they have many people each. All rows are good.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from infra.ray_session import ray_session
from infra.store import Store
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.humandata import members
from tests.samples.truth import true_people, write_pictures
from tests.tasks import micro

PEOPLE = 50


def write(folder: Path, rows: int, pictures: int) -> AnnotationSource:
    """The file: row k shows person k % PEOPLE in picture k % `pictures`, in a box of its own."""
    people = true_people(PEOPLE)
    copies = [people[number % PEOPLE] for number in range(pictures)]
    write_pictures(copies, folder, [f"images/{number:06d}.jpg" for number in range(pictures)])
    made = members(people, [""] * PEOPLE, "smpl", compressed=False, meta=True)
    which = np.arange(rows) % PEOPLE

    def spread(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: spread(each) for name, each in value.items()}
        long = isinstance(value, np.ndarray | list) and len(value) == PEOPLE
        return np.asarray(value)[which] if long else value

    arrays = {name: spread(value) for name, value in made.items()}
    arrays["image_path"] = np.array([f"images/{row % pictures:06d}.jpg" for row in range(rows)])
    arrays["bbox_xywh"] = arrays["bbox_xywh"] + (np.arange(rows) // pictures)[:, None] * 1e-3
    np.savez(folder / "many.npz", **arrays)
    return AnnotationSource("humandata", str(folder / "many.npz"), "many", "train")


def main() -> None:
    folder, rows, pictures = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    config = micro.CONFIG.model_copy(update={"ingest": micro.CONFIG.ingest.model_copy(update={"shard_size": 500})})
    source = write(folder, rows, pictures)
    with ray_session(cpus=2):
        result = IngestAnnotations(source, config.body).run(Context(Store.open(str(folder / "store")), config))
    assert result.record.tally.ok == rows
    print(f"{rows} rows in {result.record.seconds:.0f} s")


if __name__ == "__main__":
    main()
