"""The npz files of SPIN, which PARE, VIBE, 4D-Humans and others train and evaluate with."""

from collections.abc import Iterator

from tasks.ingest.formats.flat_npz import PLACE
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.humandata.reader import files_of
from tasks.ingest.formats.look import Candidate, Look, NpzLook, PatternLook
from tasks.ingest.formats.spin_npz.reader import NAME, SpinNpz


def recognise(look: Look) -> Iterator[Candidate]:
    """By three members of an npz; BEDLAM's have others beside them."""
    if isinstance(look, NpzLook) and set(PLACE) <= set(look.npz.names) and "pose_cam" not in look.npz:
        yield look.candidate(NAME, f"an npz with {', '.join(PLACE)}")
    elif isinstance(look, PatternLook):
        yield from look.as_first(files_of(look.url)[0], NAME)


FORMAT = Format(
    NAME,
    "npz of SPIN, PARE, VIBE, 4D-Humans: imgname, center, scale, with SMPL parameters or key-points",
    "people",
    SpinNpz,
    recognise,
    {"label_kind": "gt or pseudo (fits of SPIN, EFT, 4D-Humans to pictures)"},
    documentation="the `.npz` of SPIN, PARE, VIBE and 4D-Humans, of training or evaluation: `imgname`, `center`, "
    "`scale`, and as far as they are there SMPL `pose` and `shape` (or `body_pose`, `betas`), 2D key-points, 3D joints",
    rank=1,
)
