"""What a user asks `predict` for, looked over before anything slow begins."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from flows.run.user_pictures import check_readable, check_there, place
from schemas.errors import ConfigError, named
from tasks.export.target import check_new_folder
from tasks.ingest.formats.folder.reader import NAME as FOLDER
from tasks.ingest.formats.registry import checked_options, format_named
from tasks.ingest.people.annotations import AnnotationSource
from tasks.predict.bodies import Take
from tasks.predict.meshes import check_trimesh

DATASET: Final = "predict"
TAKES: Final[tuple[Take, ...]] = get_args(Take)
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Request:
    """A request that makes sense, with paths that hold from any folder."""

    source: AnnotationSource
    """The folder of pictures; as a data set it is the split of DATASET that is called like the folder."""
    out: str
    take: Take


def prediction(
    images: str,
    out: str,
    scorer: str | None = None,
    boxes: str | None = None,
    take: str | None = None,
    options: Mapping[str, str] | None = None,
    meshes: bool = False,
) -> Request:
    """The request in these words. `take` is one of TAKES: if not given, what the scorer selects if there is one, else
    the body from zero noise.

    Raises ConfigError for what doesn't go together, DataError for what isn't there, for an `out` that has files already
    and for pictures or boxes that can't be used as a whole.
    """
    usual: Take = "selected" if scorer else "zero"
    taken = named({name: name for name in TAKES}, take or usual, "choice of bodies")
    if taken == "selected" and not scorer:
        raise ConfigError("--take selected: who selects? Name a scorer with --scorer.")
    check_there("folder of pictures", images)
    check_there("table of boxes", boxes)
    source, target = place(images), place(out)
    if f"{target.rstrip('/')}/".startswith(f"{source.rstrip('/')}/"):
        raise ConfigError(f"--out {out} is among the pictures, and its overlays would be some: name another folder.")
    check_new_folder(target)
    if meshes:
        check_trimesh()
    given = {**(options or {}), **({"boxes": place(boxes)} if boxes else {})}
    chosen = checked_options(format_named(FOLDER), given)
    asked = AnnotationSource(FOLDER, source, DATASET, _split_named(source), options=chosen)
    check_readable(asked)
    return Request(asked, target, taken)


def _split_named(folder: str) -> str:
    """The name of a folder as that of a split: the ids of people seed the noise, so it is the same on any machine."""
    name = _NO_NAME.sub("-", os.path.basename(folder.rstrip("/"))).lstrip("-._")[:100]
    return name or "pictures"
