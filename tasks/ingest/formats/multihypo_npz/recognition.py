"""What tells the cache of hypotheses: the keys of its entries."""

from collections.abc import Iterator

from tasks.ingest.formats.look import Candidate, Look, NpzLook
from tasks.ingest.formats.multihypo_npz.reader import NAME


def recognise(look: Look) -> Iterator[Candidate]:
    if not isinstance(look, NpzLook) or look.entries is None:
        return
    keys = look.entries.keys
    if {"output_joints", "output_twists"} <= keys:
        why = f"a list cache of {look.entries.count} entries with output_joints and output_twists"
        yield look.candidate(NAME, why)
    elif look.url.endswith("_id.npz") and keys <= {"img_idx"}:
        whole = f"{look.url.removesuffix('_id.npz')}.npz"
        look.say(f"{look.url} holds numbers of pictures; the hypotheses are in {whole}.")
