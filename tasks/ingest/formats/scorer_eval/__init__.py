"""The published test cache of HMR-Scorer."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.scorer_eval.reader import ScorerCacheReader

FORMAT = Format(
    "scorer-eval",
    "the published test cache of HMR-Scorer: hypotheses and their errors",
    "hypotheses",
    ScorerCacheReader,
    rank=8,
)
