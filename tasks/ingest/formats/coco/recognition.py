"""What tells COCO's json: boxes of images, in no form that is more particular."""

from collections.abc import Iterator
from typing import Final

from tasks.ingest.formats.look import Candidate, JsonLook, Look

NAME: Final = "coco"


def recognise(look: Look) -> Iterator[Candidate]:
    if isinstance(look, JsonLook) and look.container and {"bbox", "image_id"} <= look.keys and not look.candidates:
        points = " and keypoints" if "keypoints" in look.keys else ""
        yield look.candidate(NAME, f"images, and annotations with bbox{points}")
