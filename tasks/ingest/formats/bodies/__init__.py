"""Bodies of any model: a table with a row for each."""

from collections.abc import Iterator

from tasks.ingest.formats.bodies.reader import AS, HYPOTHESES_AS, LABELS_AS, NAME, BodiesReader
from tasks.ingest.formats.bodies.rows import NEEDED
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, FolderLook, LinesLook, Look, NpzLook, TableLook


def recognise(look: Look) -> Iterator[Candidate]:
    """By its columns; several such files in a folder are one table."""
    if isinstance(look, FolderLook):
        parts = [file for file in look.files if any(each.format == NAME for each in file.candidates)]
        if len(parts) > 1:
            yield look.candidate(NAME, f"{len(parts)} files with bodies, a row for each")
        return
    match look:
        case NpzLook():
            columns, what = look.npz.names, "an npz"
        case TableLook():
            columns, what = tuple(look.columns), look.what
        case LinesLook():
            columns, what = tuple(look.keys), "json lines"
        case _:
            return
    if {*NEEDED} <= {*columns} and {"path", "instance_id"} & {*columns}:
        yield look.candidate(NAME, f"{what} with bodies, a row for each")


FORMAT = Format(
    NAME,
    "bodies of any model, a row for each (Parquet, npz, json lines), as hypotheses or labels",
    "bodies",
    BodiesReader,
    recognise,
    {
        AS: "what rows become: hypotheses (of people whom they bring, or who are in the store), or labels",
        "label_kind": "of labels: pseudo (guessed, as a rule), or gt (true)",
    },
    ways={HYPOTHESES_AS: "bodies", LABELS_AS: "people"},
    documentation="bodies of any model, SMPL or SMPL-X, a row for each: Parquet, npz or json lines, as hypotheses "
    "(`--as hypotheses`) or labels (`--as labels`); `any-model.md`",
    rank=2,
)
