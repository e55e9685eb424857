"""The published json of preference pairs."""

from tasks.ingest.formats.dpo_json.reader import NAME, PairJsonReader
from tasks.ingest.formats.dpo_json.recognition import recognise
from tasks.ingest.formats.format import Format

FORMAT = Format(
    NAME,
    "the published json of preference pairs",
    "pairs",
    PairJsonReader,
    recognise,
    documentation="the published file of preference pairs, for people ingested before",
    rank=6,
)
