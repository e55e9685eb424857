"""Values of a JSON file by their ids, kept on disk: what people refer to may be anywhere in it, or in another."""

import json
import tempfile
from array import array
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from tasks.ingest.formats.json_rows import shown
from tasks.ingest.source.folder import RefusedError
from tasks.ingest.source.json_stream import items

NOT_LISTED = "image not listed"


class DiskTable:
    """Values by id, as JSON has them, in a file in `folder` that is gone after `with`; in memory are 24 bytes a value.

    An id counts as the same whether it is written as a number or as a text; of two values with one id the first
    counts. What can be no id (null, a list) is left out, and so is never found.
    """

    def __init__(self, values: Iterable[tuple[Any, Any]], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ids, places = array("q"), array("q", [0])
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is open as long as the table is in use
        try:
            for name, value in values:
                digested = _digest(name)
                if digested is not None:
                    ids.append(digested)
                    places.append(places[-1] + self._file.write(json.dumps(value).encode()))
        except BaseException:
            self._file.close()
            raise
        unsorted = np.array(ids, np.int64)
        self._order = np.argsort(unsorted, kind="stable")
        self._ids = unsorted[self._order]
        self._places = np.array(places, np.int64)

    def find(self, name: Any) -> Any:
        """The value of an id. Raises KeyError where there is none."""
        digested = _digest(name)
        at = len(self._ids) if digested is None else int(np.searchsorted(self._ids, digested))
        if at == len(self._ids) or self._ids[at] != digested:
            raise KeyError(shown(name))
        number = int(self._order[at])
        start, end = self._places[number : number + 2].tolist()
        self._file.seek(start)
        return json.loads(self._file.read(end - start))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class ImageTable(DiskTable):
    """The list `images` of a COCO container by id; of each image `keys` are kept, as the file has them.

    Raises DataError for a file that can't be read.
    """

    def __init__(self, annotations: Path, keys: Sequence[str], work: Path) -> None:
        images = (image for image in items(annotations, "images.item") if isinstance(image, dict))
        kept = ((image.get("id"), {key: image[key] for key in keys if key in image}) for image in images)
        super().__init__(kept, work)

    def image(self, image_id: Any) -> Mapping[str, Any]:
        """The kept keys of an image. Raises RefusedError where the list has none of this id."""
        try:
            return cast(Mapping[str, Any], self.find(image_id))
        except KeyError:
            raise RefusedError(NOT_LISTED, f"the list images has no image with the id {shown(image_id)}") from None


def _digest(name: Any) -> int | None:
    """64 bits in place of an id; None for what can be none."""
    if isinstance(name, float) and name.is_integer():
        name = int(name)
    if isinstance(name, bool) or not isinstance(name, int | str):
        return None
    written = str(name).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(written, digest_size=8).digest(), "big", signed=True)
