"""The published cache of many hypotheses per person."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.multihypo_npz.reader import NAME, HypothesisCacheReader
from tasks.ingest.formats.multihypo_npz.recognition import recognise

FORMAT = Format(
    NAME,
    "the published cache of many hypotheses per person, with their crops",
    "hypotheses",
    HypothesisCacheReader,
    recognise,
    {"pictures": "folder of the pictures that the crops were cut from, for sizes and focal lengths"},
    places={"pictures": "folder of pictures"},
    documentation="the published cache of many hypotheses per person",
    rank=7,
)
