"""The published test cache of HMR-Scorer."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.scorer_eval.reader import NAME, ScorerCacheReader
from tasks.ingest.formats.scorer_eval.recognition import recognise

FORMAT = Format(
    NAME,
    "the published test cache of HMR-Scorer: hypotheses and their errors",
    "hypotheses",
    ScorerCacheReader,
    recognise,
    documentation="the published test cache of HMR-Scorer",
    rank=8,
)
