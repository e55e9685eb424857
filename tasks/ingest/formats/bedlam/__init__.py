"""BEDLAM's own labels, and those that others made in their form."""

from collections.abc import Iterator

from tasks.ingest.formats.bedlam.reader import NAME, NEEDED, Bedlam
from tasks.ingest.formats.flat_npz import PLACE
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.humandata.reader import files_of
from tasks.ingest.formats.look import Candidate, Look, NpzLook, PatternLook


def recognise(look: Look) -> Iterator[Candidate]:
    """By the members of an npz."""
    if isinstance(look, NpzLook) and {*PLACE, *NEEDED} <= set(look.npz.names):
        yield look.candidate(NAME, f"an npz with {', '.join((*PLACE, *NEEDED))}")
    elif isinstance(look, PatternLook):
        yield from look.as_first(files_of(look.url)[0], NAME)


FORMAT = Format(
    NAME,
    "BEDLAM's own .npz, and others in its form: pose_cam, trans_cam, cam_int",
    "people",
    Bedlam,
    recognise,
    {
        "gendered": "true: parameters are of the gendered body; by default, as in BEDLAM, of the neutral one",
        "label_kind": "gt or pseudo (fits to pictures in this form)",
    },
    documentation="BEDLAM's own label `.npz`, SMPL-X or SMPL, and others in its form (AGORA, CameraHMR): `pose_cam`, "
    "`shape`, `trans_cam`, `cam_ext`, `cam_int` beside `imgname`, `center`, `scale`; one file, or a pattern of them",
    dataset="bedlam",
    rank=2,
)
