"""What tells the json of preference pairs: winner and loser in each row."""

from collections.abc import Iterator

from tasks.ingest.formats.dpo_json.reader import NAME
from tasks.ingest.formats.look import Candidate, JsonLook, Look


def recognise(look: Look) -> Iterator[Candidate]:
    if isinstance(look, JsonLook) and {"l_joints", "w_joints"} <= look.keys:
        yield look.candidate(NAME, "a list of pairs with l_joints and w_joints")
