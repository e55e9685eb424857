"""NeuralAnnot's json of parameters, beside the COCO file that it goes with."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from schemas.errors import DataError
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import ROWS, Candidate, JsonLook, Look, names_in
from tasks.ingest.formats.neuralannot.reader import NAME, NeuralAnnotReader, parameters_key
from tasks.ingest.source.files import local_file, open_url
from tasks.ingest.source.json_stream import begins_with, items, pairs

_MOST_BESIDE: Final = 20


def recognise(look: Look) -> Iterator[Candidate]:
    """By the parameters of its first entries; the COCO file is looked for beside it."""
    if not isinstance(look, JsonLook) or not look.container or look.rows:
        return
    first = islice(pairs(local_file(look.url, look.looker.work, "file")), ROWS)
    if not any(isinstance(value, dict) and parameters_key(value) for _, value in first):
        return
    beside = _coco_beside(look)
    if len(beside) == 1:
        why = f"parameters by the ids of {beside[0]}"
        yield replace(look.candidate(NAME, why), options={"annotations": beside[0]})
    else:
        found = f" (there are {', '.join(beside[:3])})" if beside else ""
        look.say(
            f"{look.url} has NeuralAnnot's parameters by the ids of a COCO file{found}: name that file, --format "
            f"{NAME} --source {look.url} --option annotations=FILE."
        )


def _coco_beside(look: Look) -> list[str]:
    """The files in its folder that have annotations with boxes, as COCO has them."""
    fs, folder = open_url(look.folder)
    others = sorted(name for name in names_in(fs, folder) if name.endswith(".json") and name != look.name)
    return [url for name in others[:_MOST_BESIDE] if _is_coco(look, url := f"{look.folder}/{name}")]


def _is_coco(look: Look, url: str) -> bool:
    try:
        file = local_file(url, look.looker.work, "file")
        first = islice(items(file, "annotations.item"), 1) if begins_with(file) == "{" else ()
        return any(isinstance(each, dict) and {"bbox", "image_id"} <= each.keys() for each in first)
    except DataError:
        return False


FORMAT = Format(
    NAME,
    "NeuralAnnot's json: SMPL or SMPL-X parameters beside a COCO file",
    "people",
    NeuralAnnotReader,
    recognise,
    {
        "annotations": "the COCO json whose annotations the parameters are of",
        "category": "the category that people are in; by default person",
    },
    places={"annotations": "COCO json"},
    by_content=("annotations",),
    documentation="NeuralAnnot's json of SMPL or SMPL-X parameters, with the COCO json that they go with "
    "(`--option annotations=FILE`)",
    dataset="coco",
    rank=2,
)
