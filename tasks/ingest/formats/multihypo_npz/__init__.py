"""The published cache of many hypotheses per person."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.multihypo_npz.reader import HypothesisCacheReader

FORMAT = Format(
    "multihypo-npz",
    "the published cache of many hypotheses per person, with their crops",
    "hypotheses",
    HypothesisCacheReader,
    {"pictures": "folder of the pictures that the crops were cut from, for sizes and focal lengths"},
    rank=7,
)
