"""The json files of ScoreHypo and ADHMR, of seven data sets."""

from collections.abc import Iterator

from schemas.errors import DataError
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, JsonLook, Look
from tasks.ingest.formats.scorehypo.reader import NAME, ScoreHypoReader
from tasks.ingest.formats.scorehypo.sets import recognise as set_of
from tasks.ingest.source.text_files import without_gz


def recognise(look: Look) -> Iterator[Candidate]:
    """By the keys of its rows."""
    if not isinstance(look, JsonLook) or not look.rows:
        return
    try:
        published = set_of(look.container, look.rows, without_gz(look.name), look.url)
    except DataError as error:
        look.doubt(str(error))
    else:
        what = "images, and annotations" if published.container else "a list of people"
        yield look.candidate(NAME, f"{what} as {published.title} has them")


FORMAT = Format(
    NAME,
    "json of ScoreHypo and ADHMR (HybrIK's): 3DPW, Human3.6M, MPI-INF-3DHP, COCO, MPII, UP3D, SURREAL",
    "people",
    ScoreHypoReader,
    recognise,
    {"set": "which of the seven it is; by default its structure shows it"},
    documentation="the json files of ScoreHypo and ADHMR (HybrIK's style): 3DPW, Human3.6M, MPI-INF-3DHP, COCO, MPII, "
    "UP3D, SURREAL",
    rank=1,
)
