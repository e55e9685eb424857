"""HumanData: npz files of many data sets, each with conventions of its own."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.humandata.reader import HumanData
from tasks.ingest.formats.humandata.recognition import NAME, recognise

FORMAT = Format(
    NAME,
    "HumanData .npz: HI4D, BEDLAM, RenBody, GTA-Human II, SPEC, InstaVariety, CHI3D, or your own",
    "people",
    HumanData,
    recognise,
    {
        "variant": "the data set that the file is of; by default told by its name",
        "zero_betas": "true: betas of SMPL and SMPL-H are zero, as the published loaders read them",
        "gendered": "true: the file's genders and betas, also where it has betas_neutral",
        "body": "smplx, smpl or smplh, where a file has several",
        "image_size": "WIDTHxHEIGHT of all pictures, in place of what the file says",
        "label_kind": "gt or pseudo",
        "keypoints3d": "camera, root or unused: how 3D key-points beside a body are compared with it",
    },
    documentation="HumanData `.npz` (mmhuman3d), key-points compressed or not, SMPL, SMPL-H or SMPL-X: HI4D, BEDLAM, "
    "RenBody, GTA-Human II, SPEC, InstaVariety, CHI3D, or your own",
    rank=0,
)
