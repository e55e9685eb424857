"""The published json of preference pairs."""

from tasks.ingest.formats.dpo_json.reader import PairJsonReader
from tasks.ingest.formats.format import Format

FORMAT = Format(
    "dpo-json",
    "the published json of preference pairs",
    "pairs",
    PairJsonReader,
    rank=6,
)
