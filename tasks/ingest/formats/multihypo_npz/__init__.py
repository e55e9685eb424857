"""The published cache of many hypotheses per person."""

from collections.abc import Iterator

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, Look, NpzLook
from tasks.ingest.formats.multihypo_npz.reader import NAME, HypothesisCacheReader


def recognise(look: Look) -> Iterator[Candidate]:
    """By the keys of its entries."""
    if not isinstance(look, NpzLook) or look.cache is None:
        return
    if {"output_joints", "output_twists"} <= look.entry_keys:
        yield look.candidate(NAME, f"a list cache of {len(look.cache)} entries with output_joints and output_twists")
    elif look.url.endswith("_id.npz") and look.entry_keys <= {"img_idx"}:
        whole = f"{look.url.removesuffix('_id.npz')}.npz"
        look.say(f"{look.url} holds numbers of pictures; the hypotheses are in {whole}.")


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
