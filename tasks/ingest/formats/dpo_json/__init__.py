"""The published json of preference pairs."""

from collections.abc import Iterator

from tasks.ingest.formats.dpo_json.reader import NAME, PairJsonReader
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, JsonLook, Look


def recognise(look: Look) -> Iterator[Candidate]:
    """By winner and loser in each row."""
    if isinstance(look, JsonLook) and {"l_joints", "w_joints"} <= look.keys:
        yield look.candidate(NAME, "a list of pairs with l_joints and w_joints")


FORMAT = Format(
    NAME,
    "the published json of preference pairs",
    "pairs",
    PairJsonReader,
    recognise,
    documentation="the published file of preference pairs, for people ingested before",
    rank=6,
)
