"""A study as files: page, document and figures, below the store or in a folder of the user's own."""

import json
from pathlib import Path

from infra.store import Store
from schemas.errors import StoreError
from tasks.study.figures import draw
from tasks.study.found import StudyFound
from tasks.study.page import document, markdown

PAGE, DOCUMENT = "study.md", "study.json"


def folder_of(store: Store, found: StudyFound, out: str | None = None) -> str:
    """Where they are."""
    return store.uri(_below(found)) if out is None else str(Path(out).expanduser())


def write_study(store: Store, found: StudyFound, out: str | None = None) -> None:
    """Write them; the same study is written over. StoreError for a folder that can't be written to."""
    text = json.dumps(document(found), indent=1, sort_keys=True, allow_nan=False)
    files = {PAGE: markdown(found).encode(), DOCUMENT: text.encode() + b"\n", **draw(found)}
    if out is None:
        for name, data in files.items():
            store.atomic_write(f"{_below(found)}/{name}", data)
        return
    place = Path(out).expanduser()
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (place / name).write_bytes(data)
    except OSError as error:
        raise StoreError(f"--out {out}: {error.strerror or error}.") from error


def _below(found: StudyFound) -> str:
    return f"studies/{found.study.name}-{found.key[:12]}"
