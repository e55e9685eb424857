"""The published test cache of HMR-Scorer."""

from collections.abc import Iterator

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, Look, NpzLook
from tasks.ingest.formats.scorer_eval.reader import NAME, ScorerCacheReader
from tasks.ingest.people.annotations import AnnotationSource


def recognise(look: Look) -> Iterator[Candidate]:
    """By entries of no other format, with hypotheses by their shapes."""
    if isinstance(look, NpzLook) and not look.settled and look.cache is not None:
        # the reader recognises hypotheses by shapes, and raises DataError where it finds none
        ScorerCacheReader(AnnotationSource(NAME, look.url, "any", "any"), look.looker.work / "scorer")
        yield look.candidate(NAME, f"a list cache of {len(look.cache)} entries with hypotheses")


FORMAT = Format(
    NAME,
    "the published test cache of HMR-Scorer: hypotheses and their errors",
    "hypotheses",
    ScorerCacheReader,
    recognise,
    documentation="the published test cache of HMR-Scorer",
    rank=8,
)
