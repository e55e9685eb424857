"""What tells the json files of ScoreHypo and ADHMR: the keys of their rows."""

from collections.abc import Iterator
from typing import Final

from schemas.errors import DataError
from tasks.ingest.formats.look import Candidate, JsonLook, Look
from tasks.ingest.formats.scorehypo.sets import recognise as set_of
from tasks.ingest.source.text_files import without_gz

NAME: Final = "scorehypo"


def recognise(look: Look) -> Iterator[Candidate]:
    if not isinstance(look, JsonLook) or not look.rows:
        return
    try:
        published = set_of(look.container, look.rows, without_gz(look.name), look.url)
    except DataError as error:
        look.doubt(str(error))
    else:
        what = "images, and annotations" if published.container else "a list of people"
        yield look.candidate(NAME, f"{what} as {published.title} has them")
