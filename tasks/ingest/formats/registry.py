"""The formats that can be ingested, by name: what each is, what it brings, which options it takes, and its reader."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from schemas.errors import ConfigError
from tasks.ingest.formats.coco.reader import CocoReader
from tasks.ingest.formats.humandata.reader import HumanData
from tasks.ingest.formats.hypothesis_cache.reader import HypothesisCacheReader
from tasks.ingest.formats.osx_h36m.reader import OsxHuman36mReader
from tasks.ingest.formats.pair_json.reader import PairJsonReader
from tasks.ingest.formats.scorehypo.reader import ScoreHypoReader
from tasks.ingest.formats.scorer_cache.reader import ScorerCacheReader
from tasks.ingest.formats.video.reader import VideoReader
from tasks.ingest.people.annotations import AnnotationSource, Reader

Brings: TypeAlias = Literal["pictures", "people", "pairs", "hypotheses"]
"""pictures: a folder and tables. people: rows of ANNOTATIONS. pairs: of people who are in the tables. hypotheses: with
the people whom they are of."""


@dataclass(frozen=True)
class Format:
    """A format. `reader` is None for a folder, whose pictures are listed rather than read from a file.

    `options` are the format's own, name to what it says; those among `whole` are whole numbers.
    """

    name: str
    title: str
    brings: Brings
    reader: Callable[[AnnotationSource, Path], Reader] | None
    options: Mapping[str, str] = field(default_factory=dict)
    whole: tuple[str, ...] = ()


FORMATS: Final[Mapping[str, Format]] = {
    known.name: known
    for known in (
        Format(
            "humandata",
            "HumanData .npz: HI4D, BEDLAM, RenBody, GTA-Human II, SPEC, InstaVariety, CHI3D, or your own",
            "people",
            HumanData,
            {
                "variant": "the data set that the file is of; by default told by its name",
                "zero_betas": "true: betas of SMPL and SMPL-H are zero, as the published loaders read them",
                "gendered": "true: the file's genders and betas, also where it has betas_neutral",
                "body": "smplx, smpl or smplh, where a file has several",
                "image_size": "WIDTHxHEIGHT of all pictures, in place of what the file says",
                "label_kind": "gt or pseudo",
                "keypoints3d": "camera, root or unused: how 3D key-points beside a body are compared with it",
            },
        ),
        Format(
            "scorehypo",
            "json of ScoreHypo and ADHMR (HybrIK's): 3DPW, Human3.6M, MPI-INF-3DHP, COCO, MPII, UP3D, SURREAL",
            "people",
            ScoreHypoReader,
            {"set": "which of the seven it is; by default told by its structure"},
        ),
        Format(
            "osx-h36m",
            "Human3.6M as OSX has it: four json files for each subject, with SMPL-X bodies",
            "people",
            OsxHuman36mReader,
            {"subjects": "such as 9,11; by default those of the split", "cameras": "such as 4, or all"},
        ),
        Format(
            "coco",
            "COCO person json: boxes and key-points, no 3D",
            "people",
            CocoReader,
            {"category": "the category that people are in; by default person"},
        ),
        Format(
            "folder",
            "a folder of pictures, with a table of boxes or without",
            "pictures",
            None,
            {
                "boxes": "table of the people: path, x, y, w, h (CSV, Parquet, JSON)",
                "labels": "Parquet table of their bodies",
            },
        ),
        Format(
            "video",
            "a video, with a table of boxes by frame or without",
            "people",
            VideoReader,
            {
                "boxes": "table of the people: frame, x, y, w, h (CSV, Parquet, JSON)",
                "frames_as": "jpg or png",
                "max_pixels": "the most that a frame may have",
            },
            whole=("max_pixels",),
        ),
        Format("dpo-json", "the published json of preference pairs", "pairs", PairJsonReader),
        Format(
            "multihypo-npz",
            "the published cache of many hypotheses per person, with their crops",
            "hypotheses",
            HypothesisCacheReader,
            {"pictures": "folder of the pictures that the crops were cut from, for sizes and focal lengths"},
        ),
        Format(
            "scorer-eval",
            "the published test cache of HMR-Scorer: hypotheses and their errors",
            "hypotheses",
            ScorerCacheReader,
        ),
    )
}
"""By name. Where several could read a file, the more particular stands first."""


def format_named(name: str) -> Format:
    """The format of that name. Raises ConfigError for another one."""
    if name not in FORMATS:
        raise ConfigError(f"There is no format {name!r}; there are {', '.join(FORMATS)}.")
    return FORMATS[name]


def checked_options(known: Format, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as readers take them. Raises ConfigError for those that the format doesn't have."""
    unknown = [name for name in given if name not in known.options]
    if unknown:
        there = f"has the options {', '.join(known.options)}" if known.options else "has no options"
        raise ConfigError(f"The format {known.name} has no option {unknown[0]!r}; it {there}.")
    return {name: _whole(name, value) if name in known.whole else value for name, value in given.items()}


def reader_of(source: AnnotationSource, work: Path) -> Reader:
    """The reader of a source; `work` is a local folder of its own.

    Raises ConfigError for a format that is unknown or has no reader, and for options that it doesn't have; DataError,
    as readers do, for a source that can't be used as a whole.
    """
    known = format_named(source.format)
    if known.reader is None:
        raise ConfigError(f"The format {known.name} is {known.title}: there is no file of annotations to read.")
    return known.reader(replace(source, options=checked_options(known, source.options)), work)


def _whole(name: str, value: Any) -> int:
    try:
        number = int(str(value).strip())
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(f"The option {name} is a whole number from 1 on, not {value!r}.")
    return number
