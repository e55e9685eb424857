"""WebDataset's tars of pictures with their labels beside."""

from collections.abc import Iterator

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, FolderLook, Look, TarLook
from tasks.ingest.formats.webdataset.reader import NAME, WebDatasetReader
from tasks.ingest.people.annotations import AnnotationSource


def recognise(look: Look) -> Iterator[Candidate]:
    """By the first labels of a tar: some of their people can be used. Of a folder of tars, the first counts."""
    if isinstance(look, TarLook):
        source = AnnotationSource(NAME, look.url, "any", "any")
        if WebDatasetReader(source, look.looker.work / "tar").usable():
            yield look.candidate(NAME, "a tar of pictures with labels of people")
    elif isinstance(look, FolderLook) and (names := look.named(".tar")):
        for each in look.looker.at(f"{look.url}/{names[0]}").candidates:
            yield Candidate(NAME, look.url, f"{len(names)} tars, the first of them {each.why}", look.looker.images)


FORMAT = Format(
    NAME,
    "WebDataset: tars of pictures with .pyd, .json or .npz labels beside, as 4D-Humans' training data",
    "people",
    WebDatasetReader,
    recognise,
    {
        "label_kind": "pseudo or gt: what its bodies are",
        "place": "found or refused: people of whom no label says where they are",
    },
    documentation="WebDataset: a tar, a folder or a pattern of them, of pictures with `.data.pyd`, `.json` or `.npz` "
    "labels beside, as 4D-Humans' training data; pictures are kept in the store, or in the local folder `--images`",
    makes_pictures=True,
    rank=5,
)
