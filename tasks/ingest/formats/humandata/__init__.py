"""HumanData: npz files of many data sets, each with conventions of its own."""

from collections.abc import Iterator
from dataclasses import replace

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.humandata.reader import NAME, HumanData, files_of
from tasks.ingest.formats.look import Candidate, Look, NpzLook, PatternLook


def recognise(look: Look) -> Iterator[Candidate]:
    """By two members of an npz."""
    if isinstance(look, NpzLook) and {"image_path", "bbox_xywh"} <= set(look.npz.names):
        yield look.candidate(NAME, "an npz with image_path and bbox_xywh")
    elif isinstance(look, PatternLook):
        for each in look.looker.at(files_of(look.url)[0]).candidates:
            if each.format == NAME:
                yield replace(each, url=look.url, why=f"its first file is {each.why}")


FORMAT = Format(
    NAME,
    "HumanData .npz: HI4D, BEDLAM, RenBody, GTA-Human II, SPEC, InstaVariety, CHI3D, or your own",
    "people",
    HumanData,
    recognise,
    {
        "variant": "the data set that the file is of; by default its name shows it",
        "zero_betas": "true: betas of SMPL and SMPL-H are zero, as the published loaders read them",
        "gendered": "true: the file's genders and betas, also where it has betas_neutral",
        "body": "smplx, smpl or smplh, where a file has several",
        "image_size": "WIDTHxHEIGHT of all pictures, in place of what the file says",
        "label_kind": "gt or pseudo",
        "keypoints3d": "camera, root or unused: how 3D key-points beside a body are compared with it",
        "place": "found or refused: people of whom the file doesn't say where they are, or without a focal length",
    },
    documentation="HumanData `.npz` (mmhuman3d), key-points compressed or not, SMPL, SMPL-H or SMPL-X: HI4D, BEDLAM, "
    "RenBody, GTA-Human II, SPEC, InstaVariety, CHI3D, or your own",
    rank=0,
)
